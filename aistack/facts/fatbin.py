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
from collections.abc import Iterable

CONTAINER = struct.Struct("<IHHQ")
"""Magic number, version, length of this header, length of the entries."""
ENTRY = struct.Struct("<HHIQIIHHI")
"""Kind, version, length of this header, length of the code, …, and last the compute capability (`90` for 9.0)."""
START = struct.pack("<IHH", 0xBA55ED50, 1, CONTAINER.size)
PTX = 1
LARGEST = 1 << 28
"""More bytes than the code of one source file takes: what claims more is no container."""
BUNDLE = b"__CLANG_OFFLOAD_BUNDLE__"
BUNDLED = struct.Struct("<QQQ")
"""Where an entry of a bundle lies, its length, and that of its target's name, which follows."""
MOST_TARGETS = 256
"""More than any compiler knows: what claims more is no bundle."""
GFX = re.compile(r"amdgcn-amd-amdhsa-{1,2}(gfx[0-9a-z-]+)")


def architectures(chunks: Iterable[bytes], *, enough: int = 24) -> tuple[str, ...]:
    """The compute capabilities in the first `enough` containers of a file that comes in pieces: `("8.0", "9.0", "12.0+PTX")`.

    Sorted; empty where there is no container. A file is compiled for the same targets throughout but for single kernels, so reading on
    adds nothing; a capability counts where at least half of the containers have it.
    """
    found: dict[tuple[int, bool], int] = {}
    stream = _Stream(chunks)
    containers = 0
    while containers < enough and stream.seek(START):
        head = stream.take(CONTAINER.size)
        length = CONTAINER.unpack(head)[3] if len(head) == CONTAINER.size else 0
        if ENTRY.size <= length <= LARGEST:
            containers += 1
            for target in _targets(stream, length):
                found[target] = found.get(target, 0) + 1
    usual = [target for target, count in found.items() if 2 * count >= containers]
    machine = {number for number, is_ptx in usual if not is_ptx}
    forward = {number for number, is_ptx in usual if is_ptx}
    return tuple(f"{number // 10}.{number % 10}{'+PTX' if number in forward else ''}" for number in sorted(machine | forward))


def gfx_targets(chunks: Iterable[bytes], *, enough: int = 24) -> tuple[str, ...]:
    """The targets in the first `enough` bundles of a file that comes in pieces, without their features: `("gfx1100", "gfx90a")`.

    Sorted; empty where there is no bundle, or only compressed ones. As with `architectures`, a target counts that half of them have.
    """
    found: dict[str, int] = {}
    stream = _Stream(chunks)
    bundles = 0
    while bundles < enough and stream.seek(BUNDLE):
        stream.take(len(BUNDLE))
        if names := _bundled(stream):
            bundles += 1
            for name in names:
                found[name] = found.get(name, 0) + 1
    return tuple(sorted(name for name, count in found.items() if 2 * count >= bundles))


def _bundled(stream: _Stream) -> set[str]:
    """The targets of one bundle's entries that are AMD's; the first is the host's own."""
    found = set()
    for _ in range(min(int.from_bytes(stream.take(8), "little"), MOST_TARGETS)):
        head = stream.take(BUNDLED.size)
        length = BUNDLED.unpack(head)[2] if len(head) == BUNDLED.size else 0
        if not 0 < length <= MOST_TARGETS:
            break
        if match := GFX.search(stream.take(length).decode("ascii", "replace")):
            found.add(match[1])
    return found


def _targets(stream: _Stream, length: int) -> set[tuple[int, bool]]:
    """(capability, whether it is PTX) of each entry of a container; the code itself is passed over."""
    found = set()
    while length >= ENTRY.size and len(head := stream.take(ENTRY.size)) == ENTRY.size:
        kind, _, header, code, *_, capability = ENTRY.unpack(head)
        if header < ENTRY.size or header + code > length:
            break
        found.add((capability, kind == PTX))
        stream.skip(header - ENTRY.size + code)
        length -= header + code
    return found


class _Stream:
    """Bytes that come in pieces; no more is kept than was not yet taken of the last one."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks, self.rest = iter(chunks), b""

    def take(self, count: int) -> bytes:
        """The next bytes, fewer at the end."""
        while len(self.rest) < count and (more := next(self.chunks, b"")):
            self.rest += more
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken

    def skip(self, count: int) -> None:
        """Pass over bytes."""
        while count > len(self.rest):
            count -= len(self.rest)
            self.rest = next(self.chunks, b"")
            if not self.rest:
                return
        self.rest = self.rest[count:]

    def seek(self, marker: bytes) -> bool:
        """Pass over everything before the marker; False where it does not come."""
        while (position := self.rest.find(marker)) < 0:
            more = next(self.chunks, b"")
            if not more:
                return False
            self.rest = self.rest[max(0, len(self.rest) - len(marker) + 1) :] + more
        self.rest = self.rest[position:]
        return True
