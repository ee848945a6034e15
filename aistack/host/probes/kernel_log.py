"""The kernel's log since boot, as the kernel itself keeps it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from aistack.facts.device_readings import KernelEvent
from aistack.facts.kernel_log import events
from aistack.facts.readings import Reading
from aistack.host.probes.reading import inside, read

SOURCE = "/dev/kmsg"
RECORD_BYTES = 1 << 16
"""More than any one record: a shorter buffer makes the kernel refuse it."""


def kernel_log(root: Path) -> Reading[tuple[KernelEvent, ...]]:
    """What the kernel said of trouble since it started; only root may read it where the kernel is so configured."""
    return read(SOURCE, lambda: tuple(events(_everything(inside(root, SOURCE)).decode(errors="replace"))))


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
