"""The kernel's log since boot, as the kernel itself keeps it; what it has overwritten is asked of the journal."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aistack.facts.device_readings import KernelEvent
from aistack.facts.kernel_log import events
from aistack.facts.readings import Reading
from aistack.host.probes.reading import inside, read
from aistack.host.process import find, run

SOURCE = "/dev/kmsg"
RECORD_BYTES = 1 << 16
"""More than any one record: a shorter buffer makes the kernel refuse it."""
TROUBLE = "NVRM|nvidia-nvswitch|AER:|PCIe Bus Error|amdgpu|EDAC|mce:|Out of memory|oom-kill|aistack:"
"""What lines hold that can speak of trouble."""
FIRST_WORDS = "Linux version "
"""With which every kernel begins: as they are asked for too, journalctl finds something, and its exit code 1 means that it could not read.

Alone it would say so of nothing found as well (https://github.com/systemd/systemd/issues/32422).
"""
FIRST_MICROSECONDS = 1_000_000
"""Long before that the kernel has said them."""


def kernel_log(root: Path) -> Reading[tuple[KernelEvent, ...]]:
    """What the kernel said of trouble since it started; only root may read it where the kernel is so configured."""
    return read(SOURCE, lambda: tuple(_since_boot(root, _everything(inside(root, SOURCE)).decode(errors="replace"))))


def _since_boot(root: Path, kept: str) -> Iterator[KernelEvent]:
    first = re.match(r"\d+,(\d+),(\d+),", kept)
    if first is not None and int(first[1]) > 0:
        microseconds = int(first[2])
        asked = read("journalctl", lambda: _journal(root, microseconds))
        yield from asked.value if asked.value is not None else (_gap("unread", microseconds, asked.error or ""),)
    yield from events(kept)


def _gap(code: str, until: int, why: str) -> KernelEvent:
    return KernelEvent(kind="gap", code=code, address=None, seconds=until / 1e6, message=why)


def _journal(root: Path, until: int) -> tuple[KernelEvent, ...]:
    """What the journal has of this boot from before that microsecond; that nobody kept it is an event too."""
    oldest = _entries("--lines=+1") if root == Path("/") and find("journalctl") else []
    if not oldest or oldest[0][0] > FIRST_MICROSECONDS:
        return (_gap("lost", until, "overwritten before, and no journal has kept this boot from its start on"),)
    told = _entries(f"--grep={FIRST_WORDS}|{TROUBLE}")
    return tuple(events("".join(f"6,0,{at},-;{message}\n" for at, message in told if at < until and isinstance(message, str))))


def _entries(choice: str) -> list[tuple[int, Any]]:
    """The kernel's entries of this boot: microseconds since its start, and the message, which is a list where it is no text."""
    argv = ["journalctl", "--dmesg", "--boot", "--output=json", "--output-fields=MESSAGE,_SOURCE_MONOTONIC_TIMESTAMP", choice]
    entries = [json.loads(line) for line in run(argv, timeout=60).stdout.splitlines() if line.startswith("{")]
    return [(int(entry["_SOURCE_MONOTONIC_TIMESTAMP"]), entry.get("MESSAGE")) for entry in entries]


def _everything(path: Path) -> bytes:
    """All records that the kernel still has; what was overwritten while we read is not among them."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    found: list[bytes] = []
    try:
        while True:
            try:
                record = os.read(file, RECORD_BYTES)
            except OSError as error:
                if error.errno == errno.EPIPE:  # overwritten: the next read gives the oldest that is left
                    continue
                if error.errno == errno.EAGAIN:
                    return b"".join(found)
                raise
            if not record:
                return b"".join(found)
            found.append(record)
    finally:
        os.close(file)
