"""`aistack doctor`: what this machine lacks for building and booting, each with the one line that mends it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.facts.pins import Archive
from aistack.host import apt_sources, python_parts, qemu, rootfs, tools
from aistack.host.store import Store
from aistack.values import dataclass

SCHEMA = "aistack/doctor/v1"
DISK_WANTED = 20 * 10**9
MEMORY_WANTED = 4 * 10**9
SUITES = {"debian-13": ("trixie", "trixie-updates", "trixie-security"), "debian-14": ("forky",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at: `outcome` is `ok`, `missing` (something will not work) or `note` (works, but slower or partly)."""

    name: str
    outcome: str
    message: str
    mend: str | None = None


def examine(store: Store) -> Iterator[Finding]:
    """Looks at this machine and changes nothing."""
    for tool in tools.TOOLS:
        if tool.found():
            yield Finding(name=tool.name, outcome="ok", message=f"for: {tool.purpose}")
        else:
            yield Finding(name=tool.name, outcome="missing", message=f"needed to {tool.purpose}", mend=f"apt-get install {tool.package}")
    yield _python()
    yield _privilege()
    yield from _archives()
    accelerator, why = qemu.find_accelerator()
    if accelerator is qemu.Accelerator.KVM:
        yield Finding(name="kvm", outcome="ok", message=why)
    else:
        yield Finding(name="kvm", outcome="note", message=f"{why}; boots run under emulation, about ten times slower")
    yield _disk(store.path)
    yield _memory()


def _python() -> Finding:
    lacking = python_parts.missing()
    if lacking:
        message = f"needed to lock and to build: {', '.join(str(one.name) for one in lacking)}"
        return Finding(name="python", outcome="missing", message=message, mend=python_parts.mend())
    return Finding(
        name="python", outcome="ok", message=", ".join(one.name for one in python_parts.wanted()) or "not installed as a package"
    )


def _privilege() -> Finding:
    try:
        how = " ".join(rootfs.privileges()) or "as root"
    except DiagnosticError as error:
        diagnostic = error.diagnostics[0]
        return Finding(name="roots", outcome="missing", message=diagnostic.message, mend=diagnostic.hints[0] if diagnostic.hints else None)
    return Finding(name="roots", outcome="ok", message=f"package roots can be unpacked and entered ({how})")


def _archives() -> Iterator[Finding]:
    for os_name, suites in SUITES.items():
        try:
            served = apt_sources.locate([Archive(suite=suite) for suite in suites], environment=os.environ)
        except DiagnosticError as error:
            diagnostic = error.diagnostics[0]
            yield Finding(
                name=f"apt {os_name}", outcome="missing", message=diagnostic.message, mend=diagnostic.hints[0] if diagnostic.hints else None
            )
        else:
            yield Finding(name=f"apt {os_name}", outcome="ok", message=f"{len(served)} archives, from this machine's own apt configuration")


def _disk(path: Path) -> Finding:
    place = path
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    message = f"{free / 1e9:.0f} GB free at {path}"
    if free < DISK_WANTED:
        return Finding(
            name="disk",
            outcome="missing",
            message=f"{message}; a build wants {DISK_WANTED / 1e9:.0f} GB",
            mend="set AISTACK_STORE to a folder on a larger disk",
        )
    return Finding(name="disk", outcome="ok", message=message)


def _memory() -> Finding:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    outcome = "ok" if total >= MEMORY_WANTED else "note"
    return Finding(name="memory", outcome=outcome, message=f"{total / 1e9:.0f} GB, {os.cpu_count()} processors")


def doctor(*, as_json: bool, missing_packages: bool, store: Store, environment: Mapping[str, str]) -> ExitCode:
    """Prints the findings; exit 0 when everything works, 3 when something is missing."""
    if missing_packages:
        print(" ".join(sorted({tool.package for tool in tools.missing()})))
        return ExitCode.OK
    findings = tuple(examine(store))
    lacking = [finding for finding in findings if finding.outcome == "missing"]
    if as_json:
        print(json.dumps({"schema": SCHEMA, "ok": not lacking, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            print(f"{finding.outcome:<8} {finding.name:<{width}}  {finding.message}")
            if finding.mend:
                print(f"{'':<8} {'':<{width}}  mend: {finding.mend}")
        print("everything needed is here" if not lacking else f"{len(lacking)} missing", file=sys.stderr)
    return ExitCode.UNABLE if lacking else ExitCode.OK
