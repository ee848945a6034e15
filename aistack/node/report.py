"""The guest's side of a boot report: phases as JSON lines over a virtio-serial port, and an end that cannot be mistaken for another.

Runs only where the credential `aistack.report` names the port. It sends `started`, then what the gates wrote, then every other failed unit;
when the host says `finish`, it answers `finished` and powers the machine off with the agreed exit code (see the shutdown script).
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from pathlib import Path
from typing import Any

from aistack.diagnostics import DiagnosticError
from aistack.host.probes import services
from aistack.host.process import run
from aistack.node.gate import SCHEMA

RUN = Path("/run/aistack")
PORTS = Path("/dev/virtio-ports")
PORT_SECONDS = 120.0
PAUSE_SECONDS = 0.5
FAILED_UNITS_SECONDS = 15.0
LINES_OF_A_FAILED_UNIT = 15


def main() -> int:
    """Report this boot; ends when the machine does, or with 3 when there is no such port."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY", "/run/credentials/@system")
    name = (Path(credentials) / "aistack.report").read_text().strip()
    port = _open(PORTS / name)
    if port is None:
        print(f"no virtio-serial port {name} within {PORT_SECONDS:.0f} s", file=sys.stderr)
        return 3
    _send(port, {"phase": "started"})
    unsent = ["check", "confirm"]
    told: set[str] = set()
    looked = time.monotonic()
    heard = b""
    while b"finish\n" not in heard:
        heard += _listen(port)
        while unsent and (RUN / f"{unsent[0]}.json").exists():
            document = json.loads((RUN / f"{unsent[0]}.json").read_text())
            phase = unsent.pop(0)
            told.add(f"aistack-{phase}.service")  # it has answered: that it failed says nothing more
            if phase == "confirm":
                _tell_failed_units(port, told)
            _send(port, document)
        if unsent and time.monotonic() - looked > FAILED_UNITS_SECONDS:
            # A gate that dies leaves no answer: its failed unit is then the answer.
            _tell_failed_units(port, told)
            looked = time.monotonic()
    RUN.mkdir(parents=True, exist_ok=True)
    (RUN / "exit-status").touch()
    _send(port, {"phase": "finished"})
    run(["systemctl", "--no-block", "poweroff"], timeout=60)
    return 0


def _open(path: Path) -> int | None:
    end = time.monotonic() + PORT_SECONDS
    while time.monotonic() < end:
        try:
            return os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            time.sleep(PAUSE_SECONDS)
    return None


def _listen(port: int) -> bytes:
    readable, _, _ = select.select([port], [], [], PAUSE_SECONDS)
    received = os.read(port, 4096) if readable else b""
    if readable and not received:
        # The host's side is closed: the port is readable at once and says nothing.
        time.sleep(PAUSE_SECONDS)
    return received


def _send(port: int, document: dict[str, Any]) -> None:
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    line = {"schema": SCHEMA, "uptime_seconds": round(uptime, 2), **document}
    unwritten = (json.dumps(line, ensure_ascii=False) + "\n").encode()
    while unwritten:
        unwritten = unwritten[os.write(port, unwritten) :]


def _tell_failed_units(port: int, told: set[str]) -> None:
    failed = services.failed_units()
    for unit in failed.value or ():
        if unit not in told:
            told.add(unit)
            _send(port, {"phase": "failed-unit", "unit": unit, "lines": _said(unit)})
    if failed.error is not None:
        print(f"failed units are not known: {failed.error}", file=sys.stderr)


def _said(unit: str) -> list[str]:
    try:
        argv = ["journalctl", "--boot", "--unit", unit, "--lines", str(LINES_OF_A_FAILED_UNIT), "--output", "cat", "--no-pager"]
        return run(argv, timeout=120).stdout.splitlines()
    except DiagnosticError as error:
        return [str(error)]


if __name__ == "__main__":
    sys.exit(main())
