"""`aistack store`: what the store holds, whether it is still what it was, and removing what nothing needs."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aistack.commands import boot
from aistack.diagnostics import Diagnostic, DiagnosticError, ExitCode, Severity, refuse
from aistack.host import rootfs, uses
from aistack.host.qemu import Firmware
from aistack.host.store import IN_USE, Store, digest
from aistack.values import dataclass

SHOW_SCHEMA = "aistack/store/v1"
PRUNE_SCHEMA = "aistack/store-prune/v1"
CHECK_SCHEMA = "aistack/store-check/v1"
DAY = 86_400.0
PARTS = ("blobs", "outputs", "roots", "licences", "apt", "logs", "tmp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """One thing that nothing needs; `part` is the folder of the store that it lies in."""

    part: str
    path: Path


def show(store: Store, *, as_json: bool) -> ExitCode:
    """Prints how much lies in each part of the store, and which locks it serves."""
    if store.path.exists() and not store.is_ours():
        raise _no_store(store)
    parts = {name: _measured(store.path / name) for name in PARTS}
    used: list[dict[str, Any]] = [
        {"name": use.name, "lock": use.lock, "recipe": use.recipe, "last_used": _day(when), "bytes": _bytes(store, use)}
        for use, when, _ in uses.remembered(store)
    ]
    if as_json:
        document = {name: {"files": files, "bytes": size} for name, (files, size) in parts.items()}
        print(json.dumps({"schema": SHOW_SCHEMA, "path": str(store.path), "parts": document, "locks": used}, indent=2))
        return ExitCode.OK
    print(store.path)
    for name, (files, size) in parts.items():
        print(f"  {name:<8} {size / 1e6:10.1f} MB  {files} files")
    for row in used:
        print(f"  {row['last_used']}  {row['lock'][:19]}  {row['bytes'] / 1e6:10.1f} MB  {row['name']}  {row['recipe']}")
    return ExitCode.OK


def prune(store: Store, *, days: float, everything: bool, dry_run: bool, as_json: bool) -> ExitCode:
    """Removes what no lock needs that was built in the last `days`, with `everything` all of it; waits for those who use the store."""
    if not store.path.is_dir():
        return _pruned(store, {}, dry_run=dry_run, as_json=as_json)
    if not store.is_ours():
        raise _no_store(store)
    with store.unused(lambda: print("another aistack uses the store; waiting", file=sys.stderr)):
        removals = list(_everything(store) if everything else unneeded(store, time.time() - days * DAY))
        freed: dict[str, tuple[int, int]] = {}
        for removal in removals:
            files, size = _measured(removal.path)
            count, before = freed.get(removal.part, (0, 0))
            freed[removal.part] = (count + files, before + size)
            if not dry_run:
                _remove(removal)
    return _pruned(store, freed, dry_run=dry_run, as_json=as_json)


def check(store: Store, *, remove: bool, as_json: bool) -> ExitCode:
    """Reads every file that is kept under a digest and names those that are not what they were; exit 1 when there are any."""
    named: dict[str, str] = {}
    for use, _, _ in uses.remembered(store):
        named |= {sha256: f"{what}, for {use.name}" for sha256, what in uses.needs(store, use).items() if sha256 not in named}
    files = sorted(store.blobs.iterdir()) if store.blobs.is_dir() else []
    damaged = [file for file in files if digest(file) != file.name]
    for file in damaged if remove else ():
        file.unlink()
    rows = [{"sha256": file.name, "what": named.get(file.name, "nothing that was built here needs it")} for file in damaged]
    if as_json:
        print(json.dumps({"schema": CHECK_SCHEMA, "ok": not damaged, "files": len(files), "damaged": rows, "removed": remove}, indent=2))
    else:
        for row in rows:
            print(f"{'removed' if remove else 'damaged'} {row['sha256']}: {row['what']}")
        print(f"{len(files)} files read, {len(damaged)} damaged", file=sys.stderr)
    return ExitCode.NO if damaged else ExitCode.OK


def unneeded(store: Store, since: float) -> Iterator[Removal]:
    """What no lock needs that was used after `since` (seconds since 1970); nothing that is yielded is needed by something that is not."""
    kept: set[str] = set()
    steps: set[str] = set()
    for use, when, record in uses.remembered(store):
        if when >= since:
            kept |= uses.needs(store, use).keys()
            steps |= use.steps.keys()
        else:
            yield Removal(part="uses", path=record)
    steps |= {boot.evidence_id(step, firmware) for step in steps for firmware in Firmware}
    roots = {uses.read_output(store, step).get("root") for step in steps}
    yield from (Removal(part="tmp", path=path) for path in _entries(store, "tmp"))
    yield from (Removal(part="outputs", path=path) for path in _entries(store, "outputs") if path.name not in steps)
    yield from (Removal(part="roots", path=path) for path in _entries(store, "roots") if path.name not in roots)
    yield from (Removal(part="blobs", path=path) for path in _entries(store, "blobs/sha256") if path.name not in kept)
    yield from (Removal(part="licences", path=path) for path in _entries(store, "licences") if path.name not in kept)
    for part in ("apt", "logs"):
        yield from (Removal(part=part, path=path) for path in _entries(store, part) if path.stat().st_mtime < since)


def _no_store(store: Store) -> DiagnosticError:
    message, hints = f"{store.path} is no store", ("AISTACK_STORE names another folder than the one that was built in?",)
    return refuse(Diagnostic(rule="STO001", name="not-a-store", severity=Severity.ERROR, message=message, hints=hints))


def _everything(store: Store) -> Iterator[Removal]:
    for part in (*PARTS, "uses", "locks"):
        folder = "blobs/sha256" if part == "blobs" else part
        yield from (Removal(part=part, path=path) for path in _entries(store, folder) if path.name != IN_USE)


def _entries(store: Store, part: str) -> list[Path]:
    folder = store.path / part
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _remove(removal: Removal) -> None:
    if removal.part in ("tmp", "roots"):
        rootfs.remove_root(removal.path)
    elif removal.path.is_dir() and not removal.path.is_symlink():
        shutil.rmtree(removal.path)
    else:
        removal.path.unlink()


def _pruned(store: Store, freed: dict[str, tuple[int, int]], *, dry_run: bool, as_json: bool) -> ExitCode:
    total = sum(size for _, size in freed.values())
    if as_json:
        parts = {part: {"files": files, "bytes": size} for part, (files, size) in freed.items()}
        print(json.dumps({"schema": PRUNE_SCHEMA, "path": str(store.path), "dry_run": dry_run, "bytes": total, "parts": parts}, indent=2))
        return ExitCode.OK
    word = "would remove" if dry_run else "removed"
    for part, (files, size) in freed.items():
        print(f"{word} {size / 1e6:10.1f} MB in {files} files of {part}")
    print(f"{word} {total / 1e6:10.1f} MB from {store.path}")
    return ExitCode.OK


def _bytes(store: Store, use: uses.Use) -> int:
    return sum(store.blob(sha256).stat().st_size for sha256 in uses.needs(store, use) if store.has(sha256))


def _day(when: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(when))


def _measured(path: Path) -> tuple[int, int]:
    if not path.is_symlink() and not path.exists():
        return 0, 0
    if not path.is_dir() or path.is_symlink():
        return 1, path.lstat().st_blocks * 512
    files = size = 0
    for parent, _, names in os.walk(path):
        for name in names:
            files += 1
            size += Path(parent, name).lstat().st_blocks * 512
    return files, size
