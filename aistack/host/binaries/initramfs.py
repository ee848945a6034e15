"""The archives of an initramfs: microcode for processors, not compressed, and behind it what starts the system, compressed.

Their form is https://docs.kernel.org/driver-api/early-userspace/buffer-format.html.
"""

from __future__ import annotations

import lzma
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from aistack.diagnostics import DiagnosticError
from aistack.facts.filesystem import Entry
from aistack.host.binaries import compression
from aistack.host.binaries.elf import DamagedError

MAGIC = (b"070701", b"070702")
HEADER = 110
MICROCODE = "/kernel/"
"""Where the first archives have what the processor itself takes."""
LAST = "TRAILER!!!"
KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "link", stat.S_IFCHR: "device", stat.S_IFBLK: "device"}

Member = tuple[str, Entry, bytes]
"""An absolute path, what is there, and a file's bytes."""


def members(file: Path, log: Path) -> Iterator[Member]:
    """Everything in an initramfs, in order: what comes later takes the place of what came before.

    Raises DamagedError for what is none, ends too early or cannot be decompressed.
    """
    with file.open("rb") as stream:
        starts = False
        while head := stream.read(len(MAGIC[0])):
            stream.seek(-len(head.lstrip(b"\0")), 1)
            if head in MAGIC:
                for member in _archive(stream):
                    starts |= not f"{member[0]}/".startswith(MICROCODE)
                    yield member
            elif not head.startswith(b"\0"):
                break
        start = stream.tell()
    if not head:
        if not starts:
            raise DamagedError("it ends before what starts the system does")
        return
    try:
        with compression.opened(file, log, start) as inside:
            yield from _archive(inside)
    except DiagnosticError as error:
        if error.diagnostics[0].name != "tool-failed":
            raise
        raise DamagedError(f"it cannot be decompressed: {error.diagnostics[0].why[-1]}") from error
    except (EOFError, OSError, lzma.LZMAError) as error:
        raise DamagedError(f"it cannot be decompressed: {error}") from error


def _archive(stream: IO[bytes]) -> Iterator[Member]:
    """The members of one archive."""
    while True:
        header = stream.read(HEADER)
        if len(header) < HEADER or header[:6] not in MAGIC:
            raise DamagedError("it ends within an archive, or holds none")
        if not re.fullmatch(rb"[0-9A-Fa-f]+", header):
            raise DamagedError("it holds an archive whose numbers are none")
        _, mode, uid, gid, _, _, size, *_, length, _ = (int(header[place : place + 8], 16) for place in range(6, HEADER, 8))
        name = _padded(stream, length, HEADER)[:-1].decode("utf-8", "surrogateescape")
        data = _padded(stream, size, 0)
        if name == LAST:
            return
        kind = KINDS.get(stat.S_IFMT(mode), "other")
        target = data.decode("utf-8", "surrogateescape") if kind == "link" else ""
        entry = Entry(kind=kind, mode=stat.S_IMODE(mode), uid=uid, gid=gid, size=size, target=target)
        yield "/" + name.removeprefix("./").strip("/"), entry, data


def _padded(stream: IO[bytes], size: int, before: int) -> bytes:
    """The next bytes of a stream, and past what fills them up to four, counted with those before."""
    data = stream.read(size)
    stream.read(-(before + size) % 4)
    if len(data) < size:
        raise DamagedError("it ends within an archive")
    return data
