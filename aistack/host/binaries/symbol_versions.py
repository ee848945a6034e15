"""The versions of symbols that an ELF file asks of libraries, and those that it offers: the loader compares them before it starts anything.

https://refspecs.linuxfoundation.org/LSB_5.0.0/LSB-Core-generic/LSB-Core-generic/symversion.html has the tables. They are found by the
dynamic section, as the loader finds them; the table of sections may be gone.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import IO, Any

WEAK = 0x2
"""Of a version that is asked for: its absence is no error."""
BASE = 0x1
"""Of a version that is offered: it is the library's own name."""
SPAN = 4096
"""Bytes of a table that are read at once."""


def versions(elf: Any, stream: IO[bytes], tags: Mapping[str, int]) -> tuple[tuple[tuple[str, tuple[str, ...]], ...], tuple[str, ...]]:
    """By library, the versions that it asks for; then those that it offers. `tags` are the numbers of the dynamic section by their names.

    Raises ValueError where the tables are not whole.
    """
    if "DT_VERNEEDNUM" not in tags and "DT_VERDEFNUM" not in tags:
        return (), ()
    try:
        return _Tables(elf, stream, tags).read()
    except (struct.error, KeyError, StopIteration, RuntimeError) as error:
        raise ValueError(str(error)) from error


class _Tables:
    def __init__(self, elf: Any, stream: IO[bytes], tags: Mapping[str, int]) -> None:
        self.elf, self.stream, self.tags, self.order = elf, stream, tags, "<" if elf.little_endian else ">"
        self.start, self.data = 0, b""
        self.names = self.at(tags["DT_STRTAB"], tags["DT_STRSZ"])

    def read(self) -> tuple[tuple[tuple[str, tuple[str, ...]], ...], tuple[str, ...]]:
        asked: dict[str, list[str]] = {}
        get = self.tags.get
        for place, (_, count, file, first, _) in self.chain(get("DT_VERNEED", 0), get("DT_VERNEEDNUM", 0), "HHIII"):
            wanted = asked.setdefault(self.name(file), [])
            for _, (_, flags, _, name, _) in self.chain(place + first, count, "IHHII"):
                wanted += [] if flags & WEAK else [self.name(name)]
        offered = [
            self.name(self.record(place + first, "I")[0])
            for place, (_, flags, _, _, _, first, _) in self.chain(
                self.tags.get("DT_VERDEF", 0), self.tags.get("DT_VERDEFNUM", 0), "HHHHIII"
            )
            if not flags & BASE
        ]
        return tuple((file, tuple(names)) for file, names in asked.items() if names), tuple(offered)

    def at(self, address: int, size: int) -> bytes:
        """So many bytes of what is loaded to an address."""
        if not self.start <= address <= address + size <= self.start + len(self.data):
            self.stream.seek(next(self.elf.address_offsets(address, size)))
            self.start, self.data = address, self.stream.read(max(size, SPAN))
        return self.data[address - self.start : address - self.start + size]

    def name(self, start: int) -> str:
        return self.names[start : self.names.index(0, start)].decode(errors="replace")

    def chain(self, place: int, count: int, layout: str) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Records and where each is: the last number of each is how far on the next is."""
        for _ in range(count):
            record = self.record(place, layout)
            yield place, record
            place += record[-1]

    def record(self, place: int, layout: str) -> tuple[int, ...]:
        size = struct.calcsize(self.order + layout)
        return struct.unpack(self.order + layout, self.at(place, size))
