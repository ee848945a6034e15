"""What a disk was told, in order: the log that QEMU's `blklogwrites` keeps, in the format of the kernel's dm-log-writes.

https://docs.kernel.org/admin-guide/device-mapper/log-writes.html; a write stands in the log when it is done, a flush when it is done, so
whatever stands before a flush was on the disk once the flush was answered. Nothing here touches a disk.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import IO, Any, Protocol

MAGIC, VERSION = 0x6A736677736872, 1
FLUSH, FUA, DISCARD = 1, 2, 4
SUPER, ENTRY = struct.Struct("<QQQI"), struct.Struct("<QQQQ")
SECTOR = 512
"""Bytes that a disk writes whole or not at all."""


class Disk(Protocol):
    """What is written to."""

    def seek(self, position: int, /) -> Any:
        """Where the next write goes, in bytes from the disk's beginning."""

    def write(self, data: bytes, /) -> Any:
        """Write there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A request that the disk has carried out: `size` bytes at `offset`; its data begin at `at` in the log (None: nothing to store)."""

    offset: int
    size: int
    flags: int
    at: int | None

    @property
    def is_flush(self) -> bool:
        """Whether everything before it is on the disk for good."""
        return bool(self.flags & FLUSH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A moment at which the power goes: all entries before `durable`, and of those from there to `until` only `kept`, in order.

    Of the last one that is kept only the first `torn` bytes arrive, where that is not None. All numbers are positions in the log.
    """

    durable: int
    until: int
    kept: tuple[int, ...] = ()
    torn: int | None = None


def read(log: IO[bytes]) -> tuple[Entry, ...]:
    """The entries of a log; ValueError where it is none."""
    log.seek(0)
    magic, version, count, sector = SUPER.unpack(log.read(SUPER.size))
    if (magic, version) != (MAGIC, VERSION):
        raise ValueError("not a log of writes")
    found: list[Entry] = []
    at = sector
    for _ in range(count):
        log.seek(at)
        head = log.read(ENTRY.size)
        if len(head) < ENTRY.size:
            raise ValueError(f"the log ends within its {count} entries, after {len(found)}")
        start, length, flags, _ = ENTRY.unpack(head)
        at += sector
        has_data = length > 0 and not flags & DISCARD
        found.append(Entry(offset=start * sector, size=length * sector, flags=flags, at=at if has_data else None))
        at += length * sector if has_data else 0
    return tuple(found)


def apply(log: IO[bytes], entry: Entry, disk: Disk, *, size: int | None = None) -> None:
    """Do to a disk what it was told then, or only the first `size` bytes of it. What was discarded keeps its bytes, as it may."""
    if entry.at is None:
        return
    log.seek(entry.at)
    disk.seek(entry.offset)
    disk.write(log.read(entry.size if size is None else size))


def replay(log: IO[bytes], entries: Sequence[Entry], cut: Cut, disk: Disk, *, done: int = 0) -> None:
    """Make a disk what it is after a cut; the first `done` entries are on it already."""
    for entry in entries[done : cut.durable]:
        apply(log, entry, disk)
    for number in cut.kept:
        apply(log, entries[number], disk, size=cut.torn if number == cut.kept[-1] else None)


def cuts(entries: Sequence[Entry], part: range, *, count: int, seed: int) -> tuple[Cut, ...]:
    """Moments in a part of the log, in its order, `count` of them where there are as many: half of them right after a flush.

    The other half lie after a write that no flush had covered yet: it arrived, perhaps torn, and of those before it that no flush had
    covered either a random part did not.
    """
    chance = random.Random(seed)
    flushes = [number for number in part if entries[number].is_flush]
    chosen = {Cut(durable=number + 1, until=number + 1) for number in chance.sample(flushes, min(len(flushes), (count + 1) // 2))}
    writes = [number for number in part if entries[number].at is not None]
    for _ in range(10 * count if writes else 0):  # the same moment may be drawn twice
        if len(chosen) < count:
            chosen.add(_after(entries, chance.choice(writes), chance))
    return tuple(sorted(chosen, key=lambda cut: (cut.durable, cut.until, cut.kept)))


def _after(entries: Sequence[Entry], last: int, chance: random.Random) -> Cut:
    durable = last
    while durable > 0 and not entries[durable - 1].is_flush:
        durable -= 1
    share = chance.choice((0.1, 0.5, 0.9))
    kept = [number for number in range(durable, last) if entries[number].at is not None and chance.random() < share]
    sectors = entries[last].size // SECTOR
    torn = SECTOR * chance.randrange(1, sectors) if sectors > 1 and chance.random() < 0.5 else None
    return Cut(durable=durable, until=last + 1, kept=(*kept, last), torn=torn)
