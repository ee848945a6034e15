"""The kernel's log since boot, as the kernel itself keeps it; what it has overwritten is asked of the journal."""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

from aistack.facts.device_readings import KernelEvent
from aistack.facts.kernel_log import events
from aistack.facts.readings import Reading
from aistack.host.probes.reading import inside, read
from aistack.host.process import run

SOURCE = "/dev/kmsg"
RECORD_BYTES = 1 << 16
"""More than any one record: a shorter buffer makes the kernel refuse it."""
TROUBLE = "NVRM|nvidia-nvswitch|AER:|amdgpu|EDAC|mce:|Out of memory|oom-kill|aistack:"
"""What lines hold that can speak of trouble."""


def kernel_log(root: Path) -> Reading[tuple[KernelEvent, ...]]:
    """What the kernel said of trouble since it started; only root may read it where the kernel is so configured."""
    return read(SOURCE, lambda: tuple(_since_boot(root, _everything(inside(root, SOURCE)).decode(errors="replace"))))


def _since_boot(root: Path, kept: str) -> Iterator[KernelEvent]:
    first = re.match(r"\d+,(\d+),(\d+),", kept)
    if first is not None and int(first[1]) > 0:
        microseconds = int(first[2])
        before = (
            read("journalctl", lambda: _journal(microseconds)) if root == Path("/") else Reading(source="journalctl", error="not asked")
        )
        if before.value is None:
            yield KernelEvent(
                kind="gap", code="gap", address=None, seconds=microseconds / 1e6, message=f"overwritten before: {before.error}"
            )
        yield from events(before.value or "")
    yield from events(kept)


def _journal(until: int) -> str:
    """What the journal has of this boot from before that microsecond, as records of /dev/kmsg."""
    argv = ["journalctl", "--dmesg", "--boot", "--output=json", "--output-fields=MESSAGE,_SOURCE_MONOTONIC_TIMESTAMP", f"--grep={TROUBLE}"]
    answer = run(argv, check=False, timeout=60)  # it ends with 1 where it finds nothing
    if answer.stderr:
        raise ValueError(answer.stderr.strip())
    entries = [json.loads(line) for line in answer.stdout.splitlines() if line.startswith("{")]
    told = [(int(entry.get("_SOURCE_MONOTONIC_TIMESTAMP") or 0), entry.get("MESSAGE")) for entry in entries]
    return "".join(f"6,0,{at},-;{message}\n" for at, message in told if at < until and isinstance(message, str))


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
