"""Which accelerators a shared object holds code for: NVIDIA's and AMD's fat binaries, read from the bytes of the file.

NVIDIA's code lies in containers of one form: a magic number, then for each target an entry with its kind (machine code or PTX) and
the compute capability that it was made for. The form, read from what `cuobjdump` shows:
https://github.com/GrigoryEvko/nvopen-tools/blob/main/fatbin/FORMAT_SPECIFICATION.md
AMD's lies in bundles: a magic text, how many entries there are, then for each where it lies and the name of its target.
https://clang.llvm.org/docs/ClangOffloadBundler.html
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Iterable, Iterator

from aistack.values import dataclass

CONTAINER = struct.Struct("<IHHQ")
"""Magic number, version, length of this header, length of the entries."""
ENTRY = struct.Struct("<HHIQIIHHI8xQ16x")
"""Kind, version, length of this header, length of the code, …, the compute capability (`90` for 9.0), …, flags, …."""
START = struct.pack("<IHH", 0xBA55ED50, 1, CONTAINER.size)
PTX = 1
SUFFIXES = {1 << 20: "a", 1 << 21: "f"}
"""Flags of code that was compiled with what one architecture, or one family of them, has beyond its capability (`sm_90a`, `sm_100f`)."""
LARGEST = 1 << 28
"""More bytes than the code of one source file takes: what claims more is no container."""
BUNDLE = b"__CLANG_OFFLOAD_BUNDLE__"
BUNDLED = struct.Struct("<QQQ")
"""Where an entry of a bundle lies, its length, and that of its target's name, which follows."""
MOST_TARGETS = 256
"""More than any compiler knows: what claims more is no bundle."""
GFX = re.compile(r"amdgcn-amd-amdhsa-{1,2}(gfx[0-9a-z-]+)")
PACKED = b"CCOB"
PACKED_HEAD = struct.Struct("<4sHH")
"""A bundle that is compressed whole: its magic text, version and method."""
RARE = 4
"""A target that has less than one part in so many of what the most usual one has comes from single kernels, or from a library inside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceCode:
    """What a file holds code for: compute capabilities (`9.0`, `9.0a`, `12.0+PTX`) or AMD's targets (`gfx90a`), sorted.

    `usual` are those that most of its source files were compiled for, `rare` those of single kernels. `packed` says that more may be in
    it, compressed.
    """

    usual: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()
    packed: bool = False


def read(chunks: Iterable[bytes], *, enough: int | None = None) -> DeviceCode:
    """What a file that comes in pieces holds code for; with `enough` as its first so many containers or bundles tell it.

    Only the heads of the entries are read; the code between them is passed over.
    """
    stream, found = _Stream(chunks), Counter[str]()
    markers: tuple[bytes, ...] = (START, BUNDLE, PACKED)
    containers, packed = 0, False
    while (enough is None or containers < enough) and (marker := stream.seek(*markers)):
        if marker is PACKED:
            packed |= _is_packed(stream)
        elif targets := set(_contained(stream) if marker is START else _bundled(stream)):
            containers, markers = containers + 1, (marker,)  # code of one vendor alone
            found.update(targets)
    most = max(found.values(), default=0)
    usual = {target for target, count in found.items() if RARE * count >= most}
    return DeviceCode(usual=_merged(usual), rare=_merged(found.keys() - usual), packed=packed)


def architectures(chunks: Iterable[bytes]) -> tuple[str, ...]:
    """The compute capabilities that a file was usually compiled for, as its first containers tell: reading on adds nothing to them."""
    return read(chunks, enough=24).usual


def _merged(targets: Iterable[str]) -> tuple[str, ...]:
    """Sorted, with machine code and PTX for one capability in one word."""
    forward = {target.removesuffix("+PTX") for target in targets if target.endswith("+PTX")}
    names = {target.removesuffix("+PTX") for target in targets}
    ordered = sorted(names, key=lambda name: (int(re.match(r"\d*", name)[0] or 0), name))  # type: ignore[index]  # it matches anything
    return tuple(f"{name}+PTX" if name in forward else name for name in ordered)


def _contained(stream: _Stream) -> Iterator[str]:
    """The capability of each entry of a container."""
    head = stream.take(CONTAINER.size)
    left = CONTAINER.unpack(head)[3] if len(head) == CONTAINER.size else 0
    while ENTRY.size <= left <= LARGEST and len(head := stream.take(ENTRY.size)) == ENTRY.size:
        kind, _, header, code, *_, capability, flags = ENTRY.unpack(head)
        if header < ENTRY.size or header + code > left:
            break
        suffix = "".join(letter for flag, letter in SUFFIXES.items() if flags & flag)
        yield f"{capability // 10}.{capability % 10}{suffix}{'+PTX' if kind == PTX else ''}"
        stream.skip(header - ENTRY.size + code)
        left -= header + code


def _bundled(stream: _Stream) -> Iterator[str]:
    """The targets of a bundle's entries that are AMD's, without their features; the first entry is the host's own."""
    stream.take(len(BUNDLE))
    for _ in range(min(int.from_bytes(stream.take(8), "little"), MOST_TARGETS)):
        head = stream.take(BUNDLED.size)
        length = BUNDLED.unpack(head)[2] if len(head) == BUNDLED.size else 0
        if not 0 < length <= MOST_TARGETS:
            break
        if match := GFX.search(stream.take(length).decode("ascii", "replace")):
            yield match[1]


def _is_packed(stream: _Stream) -> bool:
    head = stream.take(PACKED_HEAD.size)
    return len(head) == PACKED_HEAD.size and PACKED_HEAD.unpack(head)[1] in (1, 2, 3) and PACKED_HEAD.unpack(head)[2] in (0, 1)


class _Stream:
    """Bytes that come in pieces; no more is kept than was not yet taken of the last one."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks, self.piece, self.place = iter(chunks), b"", 0

    def _more(self, keep: int) -> bool:
        """Brings the next piece, behind the last bytes that were kept; False at the end."""
        more = next(self.chunks, b"")
        self.piece, self.place = self.piece[max(self.place, len(self.piece) - keep) :] + more, 0
        return bool(more)

    def take(self, count: int) -> bytes:
        """The next bytes, fewer at the end."""
        while len(self.piece) - self.place < count and self._more(len(self.piece)):
            pass
        taken = self.piece[self.place : self.place + count]
        self.place += len(taken)
        return taken

    def skip(self, count: int) -> None:
        """Pass over bytes."""
        while (left := len(self.piece) - self.place) < count:
            count -= left
            self.place = len(self.piece)
            if not self._more(0):
                return
        self.place += count

    def seek(self, *markers: bytes) -> bytes:
        """Pass over everything before the first of the markers, and say which it is; empty where none comes."""
        longest = max(map(len, markers))
        while True:
            places = {place: marker for marker in markers if (place := self.piece.find(marker, self.place)) >= 0}
            if places:
                self.place = min(places)
                return places[self.place]
            if not self._more(longest - 1):
                return b""
