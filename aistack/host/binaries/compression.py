"""What is compressed in an image or is a layer of one: told by its first bytes, as what names and archives say of it may be wrong."""

from __future__ import annotations

import bz2
import io
import lzma
import os
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from aistack.diagnostics import DiagnosticError
from aistack.host import process
from aistack.host.binaries.elf import DamagedError, UnreadError

GZIP, BZIP2, XZ, LZMA = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x5d\0\0"
ZSTD, LZ4, LZO = b"\x28\xb5\x2f\xfd", b"\x02\x21\x4c\x18", b"\x89LZO"
"""LZ4 in the only form that kernels take, which its authors call legacy."""
PROGRAMS = {ZSTD: "zstd", LZ4: "lz4", b"\x04\x22\x4d\x18": "lz4"}
"""What Python cannot decompress itself, and the program that can."""

TOO_SHORT = "it ends before what is compressed in it does"
CHUNK = 1 << 20
LARGEST = 256 << 20
"""Bytes: what is larger is not read into memory; NVIDIA's module takes 90 MiB."""

RESERVED, REPEATED = 3, 1
"""Kinds of blocks in a frame of zstd: none that is, and one byte many times. https://www.rfc-editor.org/rfc/rfc8878#section-3.1.1.2"""


class _Gzip:
    """zlib's decompressor, to be used as those of bz2 and lzma are."""

    def __init__(self) -> None:
        self._inside = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inside.eof

    @property
    def needs_input(self) -> bool:
        return not self._inside.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inside.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inside.decompress(self._inside.unconsumed_tail + data, max_length)


DECOMPRESSORS: dict[bytes, Callable[[], Any]] = {
    GZIP: _Gzip,
    BZIP2: bz2.BZ2Decompressor,
    XZ: lzma.LZMADecompressor,
    LZMA: lzma.LZMADecompressor,
}


def unpacked(data: bytes, begins: bytes = b"") -> bytes:
    """The data as it was before it was compressed, itself where it is not; what stands behind it is passed over.

    Raises DamagedError where it is damaged, ends too early or does not begin so, UnreadError where it is larger than `LARGEST`,
    DiagnosticError (exit 3) where a program is missing.
    """
    if tool := next((tool for magic, tool in PROGRAMS.items() if data.startswith(magic)), None):
        code, found = process.filtered([process.require(tool, tool), "-dqc"], data, LARGEST + 1)
        if code:
            raise DamagedError(f"it cannot be decompressed: `{tool}` ended with exit code {code}")
    elif make := next((make for magic, make in DECOMPRESSORS.items() if data.startswith(magic)), None):
        decompressor = make()
        try:
            found = decompressor.decompress(data, max(len(begins), 1))
            if found.startswith(begins) and not decompressor.eof:
                found += decompressor.decompress(b"", LARGEST)
        except (lzma.LZMAError, zlib.error, OSError) as error:
            raise DamagedError(f"it cannot be decompressed: {error}") from error
        if begins.startswith(found[: len(begins)]) and not decompressor.eof and len(found) <= LARGEST:
            raise DamagedError(TOO_SHORT)
    else:
        found = data
    if not found.startswith(begins):
        raise DamagedError("what it holds is not what its name says")
    if len(found) > LARGEST:
        raise UnreadError(f"it has more than {LARGEST >> 20} MiB")
    return found


def by_name(path: str, data: bytes) -> bytes:
    """The data of firmware as a kernel takes it, by its name. Raises as `unpacked`, and DamagedError where it is not so."""
    magic = {".xz": XZ, ".zst": ZSTD}.get(path[path.rfind(".") :])
    if magic is None:
        return data
    if not data.startswith(magic):
        raise DamagedError("it is not compressed as its name says")
    return unpacked(data)


@contextmanager
def part(stream: IO[bytes], log: Path) -> Iterator[io.BufferedReader]:
    """What is compressed from where a file stands on, decompressed while it is read to its end; the file stands behind it then.

    It is one part, as a kernel takes it: what is compressed behind it is another. What a program says goes to `log`.

    Raises DamagedError for what no kernel decompresses, is damaged or ends too early, UnreadError for what nothing here does,
    DiagnosticError (exit 3) where a program is missing.
    """
    start = stream.tell()
    head = stream.read(len(XZ))
    stream.seek(start)
    if make := next((make for magic, make in DECOMPRESSORS.items() if head.startswith(magic)), None):
        unpacking = _Unpacking(stream, make())
        yield io.BufferedReader(unpacking, CHUNK)
        unpacking.finish()
    elif head.startswith((ZSTD, LZ4)):
        length = (_zstd_end(stream) if head.startswith(ZSTD) else _lz4_end(stream)) - start
        stream.seek(start)
        with tempfile.TemporaryFile(dir=log.parent) as only:
            _copy(stream, only, length)
            tool = PROGRAMS[head[: len(ZSTD)]]
            try:
                with process.stream([process.require(tool, tool), "-dqc"], log=log, stdin=only.fileno()) as decompressor:
                    yield cast("io.BufferedReader", decompressor.stdout)
            except DiagnosticError as error:
                if error.diagnostics[0].name != "tool-failed":
                    raise
                raise DamagedError(f"it cannot be decompressed: {error.diagnostics[0].why[-1]}") from error
    elif head.startswith(LZO):
        raise UnreadError("it is compressed with LZO, which nothing here reads")
    else:
        raise DamagedError("it holds what is neither an archive nor compressed as kernels take it")


class _Unpacking(io.RawIOBase):
    """A file from where it stands on, decompressed."""

    def __init__(self, stream: IO[bytes], decompressor: Any) -> None:
        self._stream, self._decompressor = stream, decompressor

    def readable(self) -> bool:
        return True

    def readinto(self, space: Any) -> int:
        while not self._decompressor.eof:
            packed = self._stream.read(CHUNK) if self._decompressor.needs_input else b""
            ended = self._decompressor.needs_input and not packed
            try:
                found = self._decompressor.decompress(packed, len(space))
            except (lzma.LZMAError, zlib.error, OSError, EOFError) as error:
                raise DamagedError(f"it cannot be decompressed: {error}") from error
            if found or ended:
                space[: len(found)] = found
                return len(found)
        return 0

    def finish(self) -> None:
        """Leaves the file behind what was compressed."""
        if not self._decompressor.eof:
            raise DamagedError(TOO_SHORT)
        self._stream.seek(-len(self._decompressor.unused_data), os.SEEK_CUR)


def _zstd_end(stream: IO[bytes]) -> int:
    """The place behind a frame of zstd, at which a file stands; it may lie behind the file's end."""
    stream.seek(len(ZSTD), os.SEEK_CUR)
    flags = _number(stream, 1)
    single = flags >> 5 & 1
    stream.seek((1 - single) + (0, 1, 2, 4)[flags & 3] + (single, 2, 4, 8)[flags >> 6], os.SEEK_CUR)
    last = 0
    while not last:
        block = _number(stream, 3)
        last, kind, size = block & 1, block >> 1 & 3, block >> 3
        if kind == RESERVED:
            raise DamagedError("it cannot be decompressed: zstd has no such block")
        stream.seek(1 if kind == REPEATED else size, os.SEEK_CUR)
    return stream.seek(4 if flags >> 2 & 1 else 0, os.SEEK_CUR)


def _lz4_end(stream: IO[bytes]) -> int:
    """The place behind what is in LZ4's legacy form, as `_zstd_end`: its blocks end where zeros or the file's end come."""
    stream.seek(len(LZ4), os.SEEK_CUR)
    while any(word := stream.read(4)):
        if word != LZ4:
            stream.seek(int.from_bytes(word, "little"), os.SEEK_CUR)
    return stream.tell() - len(word)


def _number(stream: IO[bytes], size: int) -> int:
    data = stream.read(size)
    if len(data) < size:
        raise DamagedError(TOO_SHORT)
    return int.from_bytes(data, "little")


def _copy(stream: IO[bytes], target: IO[bytes], length: int) -> None:
    """Copies so many of the next bytes of a file."""
    while length:
        piece = stream.read(min(length, CHUNK))
        if not piece:
            raise DamagedError(TOO_SHORT)
        target.write(piece)
        length -= len(piece)
    target.flush()
    target.seek(0)


@contextmanager
def opened(file: Path, log: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, decompressed while they are read; what a program says of them goes to `log`.

    Raises DiagnosticError (exit 3) where a program is missing, or ends badly.
    """
    with file.open("rb", buffering=0) as stream:
        head = stream.read(len(XZ))
        stream.seek(0)
        programs = {**PROGRAMS, GZIP: "gzip"}  # for whole layers another process is quicker
        tool = next((tool for magic, tool in programs.items() if head.startswith(magic)), None)
        if tool is not None:
            argv = [process.require(tool, tool), "-dc"]
            with process.stream(argv, log=log, stdin=stream.fileno()) as decompressor:
                assert decompressor.stdout is not None
                try:
                    yield decompressor.stdout
                except (tarfile.TarError, EOFError) as error:  # where it failed, the reader sees no more than an end
                    if (code := process.ended(decompressor)) > 0:
                        raise process.failure(argv, code, log.read_text(errors="replace"), log=log) from error
                    raise
                while decompressor.stdout.read(CHUNK):
                    pass  # trailing zeros, so that the decompressor ends by itself
        elif head.startswith((XZ, LZMA)):
            with lzma.LZMAFile(stream) as inside:
                yield cast("IO[bytes]", inside)
        elif head.startswith(BZIP2):
            with bz2.BZ2File(stream) as inside:
                yield cast("IO[bytes]", inside)
        else:
            yield stream
