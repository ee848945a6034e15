"""A log of writes as QEMU keeps it: read, replayed in part, and cut at moments."""

from __future__ import annotations

import io
import struct

import pytest
import write_log
from write_log import DISCARD, ENTRY, FLUSH, MAGIC, SECTOR, SUPER, VERSION


def log(*entries: tuple[int, bytes, int], count: int | None = None) -> io.BytesIO:
    """A log of (sector, data, flags)."""
    written = SUPER.pack(MAGIC, VERSION, len(entries) if count is None else count, SECTOR).ljust(SECTOR, b"\0")
    for sector, data, flags in entries:
        written += ENTRY.pack(sector, len(data) // SECTOR, flags, 0).ljust(SECTOR, b"\0")
        written += b"" if flags & DISCARD else data
    return io.BytesIO(written)


A, B, C, D = (letter * SECTOR * 2 for letter in (b"a", b"b", b"c", b"d"))
RECORDED = ((0, A, 0), (0, b"", FLUSH), (2, B, 0), (4, C, 0), (8, A, DISCARD), (2, D, 0), (0, b"", FLUSH))


def replay(cut: write_log.Cut, source: io.BytesIO) -> bytes:
    disk = io.BytesIO(bytes(6 * SECTOR))
    write_log.replay(source, write_log.read(source), cut, disk)
    return disk.getvalue()


def test_entries_are_read_with_their_places() -> None:
    entries = write_log.read(log(*RECORDED))
    assert [(entry.offset // SECTOR, entry.size // SECTOR, entry.is_flush) for entry in entries] == [
        (0, 2, False), (0, 0, True), (2, 2, False), (4, 2, False), (8, 2, False), (2, 2, False), (0, 0, True),
    ]  # fmt: skip
    assert [entry.at is None for entry in entries] == [False, True, False, False, True, False, True]


def test_everything_replayed_is_the_disk_at_the_end() -> None:
    assert replay(write_log.Cut(durable=7, until=7), log(*RECORDED)) == A + D + C


def test_what_no_flush_covered_may_be_lost_or_torn() -> None:
    source = log(*RECORDED)
    assert replay(write_log.Cut(durable=2, until=6, kept=(3,)), source) == A + bytes(2 * SECTOR) + C
    assert replay(write_log.Cut(durable=2, until=6, kept=(2, 5), torn=SECTOR), source) == A + D[:SECTOR] + B[SECTOR:] + bytes(2 * SECTOR)


@pytest.mark.parametrize("data", [b"", bytes(SECTOR), log(*RECORDED, count=9).getvalue()])
def test_what_is_no_whole_log_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, struct.error)):
        write_log.read(io.BytesIO(data))


def test_cuts_keep_what_was_flushed_and_lose_only_what_was_not() -> None:
    entries = write_log.read(log(*RECORDED * 20))
    part = range(5, 120)
    chosen = write_log.cuts(entries, part, count=60, seed=1)
    assert chosen == write_log.cuts(entries, part, count=60, seed=1) != write_log.cuts(entries, part, count=60, seed=2)
    assert len(chosen) == 60 and sum(cut.durable == cut.until for cut in chosen) == 30
    for cut in chosen:
        assert cut.until - 1 in part and entries[cut.durable - 1].is_flush
        assert not any(entry.is_flush for entry in entries[cut.durable : cut.until])
        assert (cut.durable == cut.until) == (cut.kept == ())
        assert all(cut.durable <= number < cut.until for number in cut.kept)
        assert cut.torn is None or 0 < cut.torn < entries[cut.kept[-1]].size
