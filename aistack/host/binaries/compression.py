"""What is compressed in an image or is a layer of one: told by its first bytes, as what names and archives say of it may be wrong."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from aistack.host import process
from aistack.host.binaries.elf import DamagedError

GZIP, BZIP2, XZ, LZMA = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x5d\0\0"
PROGRAMS = {b"\x28\xb5\x2f\xfd": "zstd", b"\x02\x21\x4c\x18": "lz4", b"\x04\x22\x4d\x18": "lz4"}
"""What Python cannot decompress itself, and the program that can."""


def unpacked(data: bytes) -> bytes:
    """The data as it was before it was compressed, itself where it is not. Raises DamagedError where it is damaged or ends too early.

    Raises DiagnosticError (exit 3) where a program is missing.
    """
    if tool := next((tool for magic, tool in PROGRAMS.items() if data.startswith(magic)), None):
        code, found = process.filtered([process.require(tool, tool), "-dqc"], data)
        if code:
            raise DamagedError(f"it cannot be decompressed: `{tool}` ended with exit code {code}")
        return found
    decompressor: zlib._Decompress | bz2.BZ2Decompressor | lzma.LZMADecompressor
    if data.startswith(GZIP):
        decompressor = zlib.decompressobj(wbits=31)
    elif data.startswith(BZIP2):
        decompressor = bz2.BZ2Decompressor()
    elif data.startswith((XZ, LZMA)):
        decompressor = lzma.LZMADecompressor()
    else:
        return data
    try:
        found = decompressor.decompress(data)
    except (lzma.LZMAError, zlib.error, OSError) as error:
        raise DamagedError(f"it cannot be decompressed: {error}") from error
    if not decompressor.eof:
        raise DamagedError("it ends before what is compressed in it does")
    return found


@contextmanager
def opened(file: Path, log: Path, start: int = 0) -> Iterator[IO[bytes]]:
    """The bytes of a file from `start` on, decompressed while they are read; what a program says of them goes to `log`.

    Raises DiagnosticError (exit 3) where a program is missing, or ends badly.
    """
    with file.open("rb", buffering=0) as stream:
        stream.seek(start)
        head = stream.read(len(XZ))
        stream.seek(start)
        programs = {**PROGRAMS, GZIP: "gzip"}  # for whole layers another process is quicker
        tool = next((tool for magic, tool in programs.items() if head.startswith(magic)), None)
        if tool is not None:
            argv = [process.require(tool, tool), "-dc"]
            with process.stream(argv, log=log, stdin=stream.fileno()) as decompressor:
                assert decompressor.stdout is not None
                yield decompressor.stdout
                while decompressor.stdout.read(1 << 20):
                    pass  # trailing zeros, so that the decompressor ends by itself
        elif head.startswith((XZ, LZMA)):
            with lzma.LZMAFile(stream) as inside:
                yield cast("IO[bytes]", inside)
        elif head.startswith(BZIP2):
            with bz2.BZ2File(stream) as inside:
                yield cast("IO[bytes]", inside)
        else:
            yield stream
