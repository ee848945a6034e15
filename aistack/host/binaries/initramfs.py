"""The archives of an initramfs: one behind the other, each compressed or not.

Microcode for processors comes first, not compressed, then what starts the system. Their form is
https://docs.kernel.org/driver-api/early-userspace/buffer-format.html; how the kernel reads them, its init/initramfs.c says.
"""

from __future__ import annotations

import io
import re
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Protocol

from aistack.facts.filesystem import Entry
from aistack.host.binaries import compression
from aistack.host.binaries.elf import DamagedError

MAGIC = (b"070701", b"070702")
HEADER = 110
ALIGNED = 4
LONGEST_PATH = 4096
CHUNK = 1 << 20
MICROCODE = "/kernel/"
"""Where the first archives have what the processor itself takes."""
LAST = "TRAILER!!!"
KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}

SETTINGS = b"#BOOTCONFIG\n"
"""What ends an initramfs that has settings for the kernel behind it: https://docs.kernel.org/admin-guide/bootconfig.html."""

Member = tuple[str, Entry, "Readable"]
"""An absolute path, what is there, and a file's bytes, to be read before the next; a file with a target is another name of that one."""


def members(file: Path, log: Path) -> Iterator[Member]:
    """Everything in an initramfs, in order: what comes later takes the place of what came before.

    Raises DamagedError for what is none, ends too early or cannot be decompressed, UnreadError for what nothing here decompresses.
    """
    with file.open("rb") as stream:
        source, starts = _Source(stream), False
        end = _end(stream)
        while source.next() and source.place < end:
            for member in _part(source, log):
                starts |= not f"{member[0]}/".startswith(MICROCODE)
                yield member
    if not starts:
        raise DamagedError("it ends before what starts the system does")


class Readable(Protocol):
    """What can be read to its end."""

    def read(self, most: int = -1, /) -> bytes: ...


class _Source:
    """A stream of which is known how much was read."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self.stream, self.place = stream, 0

    def read(self, most: int) -> bytes:
        data = self.stream.read(most)
        self.place += len(data)
        return data

    def next(self) -> bytes:
        """The first byte behind the zeros that come, which is not read yet; none at the end."""
        while chunk := self.stream.peek(1):
            zeros = len(chunk) - len(chunk.lstrip(b"\0"))
            self.read(zeros)
            if zeros < len(chunk):
                return chunk[zeros : zeros + 1]
        return b""


def _end(stream: IO[bytes]) -> int:
    """Where the archives of a file end."""
    behind = 4 + 4 + len(SETTINGS)  # a size and a checksum stand before it
    size = stream.seek(0, io.SEEK_END)
    stream.seek(max(size - behind, 0))
    tail = stream.read()
    stream.seek(0)
    return size - behind - int.from_bytes(tail[:4], "little") if tail.endswith(SETTINGS) else size


def _part(source: _Source, log: Path) -> Iterator[Member]:
    """The members of all archives up to the next compressed one, or of those in it."""
    if source.next() == MAGIC[0][:1]:
        yield from _archives(source)
        return
    with compression.part(source.stream, log) as inside:
        packed = _Source(inside)
        yield from _archives(packed)
        if packed.next():
            raise DamagedError("what is compressed in it is more than archives")
    source.place = source.stream.tell()


def _archives(source: _Source) -> Iterator[Member]:
    while source.next() == MAGIC[0][:1]:
        _require_aligned(source)
        yield from _archive(source)
        if source.next():
            _require_aligned(source)


def _require_aligned(source: _Source) -> None:
    if source.place % ALIGNED:
        raise DamagedError("what follows an archive in it does not begin at a multiple of four bytes")


def _archive(source: _Source) -> Iterator[Member]:
    """The members of one archive. Of a file with several names, one has the bytes; those before it wait for it."""
    have: dict[tuple[int, ...], str] = {}
    wait: dict[tuple[int, ...], list[tuple[str, Entry]]] = {}
    while True:
        header = source.read(HEADER)
        if len(header) < HEADER or header[:6] not in MAGIC:
            raise DamagedError("it ends within an archive, or holds none")
        if not re.fullmatch(rb"[0-9A-Fa-f]+", header):
            raise DamagedError("it holds an archive whose numbers are none")
        inode, mode, uid, gid, names, _, size, *device, _, _, length, _ = (
            int(header[place : place + 8], 16) for place in range(6, HEADER, 8)
        )
        kind = KINDS.get(stat.S_IFMT(mode), "other")
        if length > LONGEST_PATH or (kind == "link" and size > LONGEST_PATH):
            raise DamagedError("it holds an archive with a name that is longer than any may be")
        name = _padded(source, length, HEADER)[:-1].decode("utf-8", "surrogateescape")
        if name == LAST:
            break
        path = "/" + name.removeprefix("./").strip("/")
        target = _padded(source, size, 0).decode("utf-8", "surrogateescape") if kind == "link" else ""
        entry = Entry(kind=kind, mode=stat.S_IMODE(mode), uid=uid, gid=gid, size=size, target=target)
        content = _Content(source, 0 if target else size)
        number = (inode, *device)
        if kind != "file" or names < 2:
            yield path, entry, content
        elif size:
            yield path, entry, content
            have[number] = path
            yield from ((other, replace(known, target=path), io.BytesIO()) for other, known in wait.pop(number, ()))
        elif number in have:
            yield path, replace(entry, target=have[number]), content
        else:
            wait.setdefault(number, []).append((path, entry))
        content.finish()
    for path, entry in (one for group in wait.values() for one in group):
        yield path, entry, io.BytesIO()


class _Content:
    """The bytes of one member."""

    def __init__(self, source: _Source, size: int) -> None:
        self._source, self._size, self._left = source, size, size

    def read(self, most: int = -1, /) -> bytes:
        data = self._source.read(self._left if most < 0 else min(most, self._left))
        self._left -= len(data)
        return data

    def finish(self) -> None:
        """Passes over what was not read, and what fills up the end."""
        while self._left:
            if not self.read(CHUNK):
                raise DamagedError("it ends within an archive")
        self._source.read(-self._size % ALIGNED)


def _padded(source: _Source, size: int, before: int) -> bytes:
    """The next bytes of a stream, and past what fills them up to four, counted with those before."""
    data = source.read(size)
    source.read(-(before + size) % ALIGNED)
    if len(data) < size:
        raise DamagedError("it ends within an archive")
    return data
