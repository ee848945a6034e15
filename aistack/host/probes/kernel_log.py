"""The kernel's log since boot, as the kernel itself keeps it; what it has overwritten is asked of the journal.

All of it is read line by line: a machine in trouble has hundreds of thousands.
"""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aistack.facts.device_readings import KernelEvent
from aistack.facts.kernel_log import TROUBLE, events, gathered
from aistack.facts.readings import Reading
from aistack.host.probes.reading import inside, read
from aistack.host.process import find, left, stream, talk

SOURCE = "/dev/kmsg"
RECORD_BYTES = 1 << 16
"""More than any one record: a shorter buffer makes the kernel refuse it."""
FIRST_WORDS = "Linux version "
"""With which every kernel begins: as they are asked for too, journalctl finds something, and its exit code 1 means that it could not read.

Alone it would say so of nothing found as well (https://github.com/systemd/systemd/issues/32422).
"""
FIRST_MICROSECONDS = 1_000_000
"""Long before that the kernel has said them."""
JOURNAL_SECONDS = 60.0
"""How long the journal may take; of a check that has a deadline, half of its time at most."""


def kernel_log(root: Path) -> Reading[tuple[KernelEvent, ...]]:
    """What the kernel said of trouble since it started, gathered; only root may read it where the kernel is so configured."""
    return read(SOURCE, lambda: _since_boot(root, _lines(inside(root, SOURCE))))


def _since_boot(root: Path, lines: Iterator[str]) -> tuple[KernelEvent, ...]:
    first = next(lines, "")
    # The kernel's own first: it is overwritten while the journal is read.
    kept = events(itertools.chain((first,), lines))
    begins = re.match(r"\d+,(\d+),(\d+),", first)
    if begins is None or int(begins[1]) == 0:
        return kept
    microseconds = int(begins[2])
    asked = read("journalctl", lambda: _journal(root, microseconds))
    before = asked.value if asked.value is not None else (_gap("unread", microseconds, asked.error or ""),)
    return gathered((*before, *kept))


def _gap(code: str, until: int, why: str) -> KernelEvent:
    return KernelEvent(kind="gap", code=code, address=None, seconds=until / 1e6, message=why)


def _journal(root: Path, until: int) -> tuple[KernelEvent, ...]:
    """What the journal has of this boot from before that microsecond; that nobody kept it is an event too."""
    oldest = list(_entries("--lines=+1")) if root == Path("/") and find("journalctl") else []
    if not oldest or oldest[0][0] > FIRST_MICROSECONDS:
        return (_gap("lost", until, "overwritten before, and no journal has kept this boot from its start on"),)
    told = _entries(f"--grep={FIRST_WORDS}|{TROUBLE}")
    return events(f"6,0,{at},-;{message}" for at, message in told if at < until and isinstance(message, str))


def _entries(choice: str) -> Iterator[tuple[int, Any]]:
    """The kernel's entries of this boot: microseconds since its start, and the message, which is a list where it is no text."""
    argv = ["journalctl", "--dmesg", "--boot", "--output=json", "--output-fields=MESSAGE,_SOURCE_MONOTONIC_TIMESTAMP", choice]
    with talk() as log, stream(argv, log=log, timeout=min(JOURNAL_SECONDS, left() / 2)) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(b"{"):
                entry = json.loads(line)
                yield int(entry["_SOURCE_MONOTONIC_TIMESTAMP"]), entry.get("MESSAGE")


def _lines(path: Path) -> Iterator[str]:
    """The lines of all records that the kernel still has; what was overwritten while we read is not among them."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    begun = b""
    try:
        while True:
            try:
                record = os.read(file, RECORD_BYTES)
            except OSError as error:
                if error.errno == errno.EPIPE:  # overwritten: the next read gives the oldest that is left
                    continue
                if error.errno == errno.EAGAIN:
                    break
                raise
            if not record:
                break
            *whole, begun = (begun + record).split(b"\n")
            yield from (line.decode(errors="replace") for line in whole)
        yield begun.decode(errors="replace")
    finally:
        os.close(file)
