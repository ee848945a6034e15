"""The gates as programs: read, judge, write what was found to /run/aistack, and (second gate) act on it.

Run by the node's units as `python3 -m aistack.node.agent check|confirm|clean|watch|status`. It imports only what the first gate needs,
because Python's start is most of that gate's time on an emulated machine.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.facts import events
from aistack.facts.device_readings import JOINING, Accelerators
from aistack.host import journal
from aistack.host.probes.reading import inside, read
from aistack.node import gate
from aistack.node.decide import MOST_ATTEMPTS
from aistack.node.first_gate import Looked, look
from aistack.node.results import Outcome, Result, verdict

RUN = "/run/aistack"
BANNER = "/run/issue.d/50-aistack.issue"
HOST_NAME = "/proc/sys/kernel/hostname"
RETRY_SECONDS = 10.0
JOINING_SECONDS = 300.0
"""How long the devices may take to join their fabric; the unit's own limit is twice that."""
LEVEL = "standard"
"""How deep a boot looks: programs run on each device, and a tenth of its memory is tried; a second for each."""

EXIT_CODES = {Outcome.HEALTHY: ExitCode.OK, Outcome.DEGRADED: ExitCode.OK, Outcome.UNHEALTHY: ExitCode.NO, Outcome.UNKNOWN: ExitCode.UNABLE}


def run_check(root: Path) -> int:
    """The first gate: exit 0 lets the apps start, anything else does not."""
    looked = look_until_told(root, LEVEL)
    publish("check", looked.results, root, seen=looked.seen)
    return int(EXIT_CODES[verdict(looked.results).outcome])


def look_until_told(root: Path, level: str) -> Looked:
    """A look at the machine, as deep as `level` says; what could not be told is asked again before it counts."""
    began = time.monotonic()
    for attempt in itertools.count(1):
        looked = look(root, level)
        waits = any(JOINING in result.evidence for result in looked.results) and time.monotonic() - began < JOINING_SECONDS
        if verdict(looked.results).outcome is not Outcome.UNKNOWN or (attempt >= MOST_ATTEMPTS and not waits):
            break
        time.sleep(RETRY_SECONDS)
    return looked


def keep(phase: str, results: tuple[Result, ...], root: Path) -> None:
    """Write an answer to /run/aistack, as far as that can be written."""
    put(root, {f"{RUN}/{phase}.json": text(report(phase, results, root, None))})


def publish(phase: str, results: tuple[Result, ...], root: Path, *, seen: Accelerators | None = None) -> None:
    """Say the gate's answer on the console and to the journal, and then write it to /run, as far as that can be written."""
    lines = gate.lines(phase, results)
    for line in lines:
        print(f"aistack: {line}", flush=True)
    judged = verdict(results)
    event = events.GATE_PASSED if EXIT_CODES[judged.outcome] is ExitCode.OK else events.GATE_FAILED
    fields = {
        "phase": phase,
        "outcome": judged.outcome.value,
        "cause": judged.cause or "none",
        "failed": ", ".join(judged.failed) or "nothing",
    }
    journal.send(event, lines[-1], fields)
    put(root, {f"{RUN}/{phase}.json": text(report(phase, results, root, seen)), BANNER: f"aistack: {lines[-1]}\n"})


def put(root: Path, texts: Mapping[str, str]) -> None:
    """Replace files below /run, each as a whole; those that cannot be are told in one line: nothing that a node does waits for them.

    An older one of those goes, or it would be taken for this one.
    """
    failed: dict[str, list[str]] = {}
    for path, content in texts.items():
        file = inside(root, path)
        beside = file.with_name(f".{file.name}.{os.getpid()}.new")  # gates, watch and updates write beside each other
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            _remove_left(file)
            beside.write_text(content, encoding="utf-8", errors="backslashreplace")  # half a pair of UTF-16, as JSON too writes it
            beside.replace(file)
        except OSError as error:
            for left in (beside, file):
                with contextlib.suppress(OSError):
                    left.unlink(missing_ok=True)
            failed.setdefault(f"[Errno {error.errno}] {error.strerror}", []).append(path)
    if failed:
        said = "; ".join(f"{why}: {', '.join(paths)}" for why, paths in failed.items())
        print(f"aistack: what this node tells could not be written: {said}", file=sys.stderr, flush=True)


def _remove_left(file: Path) -> None:
    """Remove what writers of this file who were killed left beside it."""
    for left in file.parent.glob(f".{file.name}.*.new"):
        if not Path("/proc", left.name.split(".")[-2]).exists():
            left.unlink(missing_ok=True)


def report(phase: str, results: tuple[Result, ...], root: Path, seen: Accelerators | None) -> dict[str, Any]:
    """What is found in /run/aistack of a gate's answer, at this moment of this machine."""
    uptime = read("/proc/uptime", lambda: float(inside(root, "/proc/uptime").read_text().split()[0])).value or 0.0
    return gate.document(phase, results, seen, host=host_name(root), time=now(), uptime_seconds=uptime)


def text(report: Mapping[str, Any]) -> str:
    """The same as a file has it."""
    return json.dumps(report, ensure_ascii=False) + "\n"


def now() -> str:
    """The time of a report (UTC)."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def host_name(root: Path) -> str | None:
    """What this machine calls itself."""
    return read(HOST_NAME, lambda: inside(root, HOST_NAME).read_text().strip()).value


def main(arguments: list[str]) -> int:
    """Run one gate; exit code 0 healthy or degraded, 1 unhealthy, 3 could not tell, 2 wrong word."""
    root = Path("/")
    try:
        if arguments == ["check"]:
            return run_check(root)
        if arguments == ["confirm"]:
            from aistack.node.deployments.choice import chosen
            from aistack.node.second_gate import run_confirm

            return run_confirm(root, chosen(root))
        if arguments == ["clean"]:
            from aistack.node.cleaning import run_clean
            from aistack.node.deployments.choice import chosen

            return run_clean(root, chosen(root))
        if arguments == ["watch"]:
            from aistack.node.deployments.choice import chosen
            from aistack.node.watch import run_watch

            return run_watch(root, chosen(root))
        if arguments == ["status"]:
            for line in gate.lines("check", look(root, "none").results):
                print(line)
            return int(ExitCode.OK)
    except DiagnosticError as error:
        for diagnostic in error.diagnostics:
            print(f"aistack: {'; '.join((diagnostic.message, *diagnostic.why, *diagnostic.hints))}", file=sys.stderr)
        return int(error.exit_code)
    print("usage: python3 -m aistack.node.agent check|confirm|clean|watch|status", file=sys.stderr)
    return int(ExitCode.USAGE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
