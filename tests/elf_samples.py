"""ELF files made by hand for tests: kernel modules, kernels, programs and libraries, with what verify reads and nothing else."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

PROGBITS, SYMTAB, STRTAB, RELA = 1, 2, 3, 4
X86_64 = 62
RELOCATABLE, EXECUTABLE, SHARED = 1, 2, 3
HEADER, SECTION, SEGMENT = "<16sHHIQQQIHHHHHH", "<IIQQQQIIQQ", "<IIQQQQQQ"
NEEDED, STRTAB_TAG, SYMTAB_TAG, STRSZ, SONAME, RPATH, RUNPATH = 1, 5, 6, 10, 14, 15, 29
VERDEF, VERNEED = 0x6FFFFFFC, 0x6FFFFFFE  # the number of their records is the tag behind each

Crcs = Mapping[str, int | None]
"""Symbols with their checksums."""

NONE: Mapping[str, Any] = MappingProxyType({})


def _header(kind: int, machine: int, *, segments: int = 0, sections: int = 0, place: int = 0) -> bytes:
    names = sections - 1 if sections else 0
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    return struct.pack(HEADER, ident, kind, machine, 1, 0, 64 if segments else 0, place, 0, 64, 56, segments, 64, sections, names)


def _relocatable(sections: Mapping[str, tuple[int, int, bytes]], machine: int = X86_64) -> bytes:
    """A file of sections: their kind, address and bytes by name."""
    titles, content, table = b"\0", b"", [bytes(64)]
    for name, (kind, address, data) in {**sections, ".shstrtab": (STRTAB, 0, b"")}.items():
        title, titles = len(titles), titles + name.encode() + b"\0"
        data = titles if name == ".shstrtab" else data
        table.append(struct.pack(SECTION, title, kind, 0, address, 64 + len(content), len(data), 0, 0, 1, 0))
        content += data
    return _header(RELOCATABLE, machine, sections=len(table), place=64 + len(content)) + content + b"".join(table)


class _Names:
    """A table of names that grows."""

    def __init__(self) -> None:
        self.data = b"\0"

    def add(self, name: str) -> int:
        place, self.data = len(self.data), self.data + name.encode() + b"\0"
        return place


def module(
    name: str,
    *,
    vermagic: str = "6.12.1 SMP mod_unload modversions",
    needs: Crcs = NONE,
    weak: Sequence[str] = (),
    exports: Crcs = NONE,
    gpl: Sequence[str] = (),
    namespace: str = "",
    in_tree: bool = True,
    size: int = 64,
    newer_versions: bool = False,
    machine: int = X86_64,
    more: Iterable[tuple[str, str]] = (),
) -> bytes:
    """A module for `name`: symbols with a checksum of None state none; `more` are further pairs of its description (`alias`, …)."""
    said = [("name", name), ("vermagic", vermagic), ("license", "GPL"), *([("intree", "Y")] if in_tree else []), *more]
    names, strings, symbols, relocations = _Names(), _Names(), [bytes(24)], b""
    for symbol in needs:
        symbols.append(struct.pack("<IBBHQQ", names.add(symbol), (2 if symbol in weak else 1) << 4, 0, 0, 0, 0))
    for number, symbol in enumerate(exports):
        for word, text in ((4, symbol), (8, namespace)):
            symbols.append(struct.pack("<IBBHQQ", names.add(f"__kstrtab_{symbol}"), 0, 0, 1, strings.add(text), 0))
            relocations += struct.pack("<QQq", number * 12 + word, len(symbols) - 1 << 32 | 2, 0)
    stated = {symbol: crc for symbol, crc in needs.items() if crc is not None}
    sections = {
        "__ksymtab_strings": (PROGBITS, 0, strings.data),
        ".modinfo": (PROGBITS, 0, b"".join(f"{key}={value}\0".encode() for key, value in said)),
        ".gnu.linkonce.this_module": (PROGBITS, 0, bytes(size)),
        ".symtab": (SYMTAB, 0, b"".join(symbols)),
        ".strtab": (STRTAB, 0, names.data),
    }
    if stated and newer_versions:
        sections["__version_ext_crcs"] = (PROGBITS, 0, b"".join(struct.pack("<I", crc) for crc in stated.values()))
        sections["__version_ext_names"] = (PROGBITS, 0, b"".join(symbol.encode() + b"\0" for symbol in stated))
    elif stated:
        sections["__versions"] = (PROGBITS, 0, b"".join(struct.pack("<Q56s", crc, symbol.encode()) for symbol, crc in stated.items()))
    if exports:
        sections["__ksymtab"] = (PROGBITS, 0, bytes(12 * len(exports)))
        sections[".rela__ksymtab"] = (RELA, 0, relocations)
        sections["__kflagstab"] = (PROGBITS, 0, bytes(int(symbol in gpl) for symbol in exports))
    if any(crc is not None for crc in exports.values()):
        sections["__kcrctab"] = (PROGBITS, 0, b"".join(struct.pack("<I", crc or 0) for crc in exports.values()))
    return _relocatable(sections, machine)


def vmlinux(version: str, exports: Crcs, gpl: Crcs, namespaces: Mapping[str, str], vermagic: str) -> bytes:
    """What is compressed in a kernel: exports for all and for GPL modules, as kernels up to 6.19 have them."""
    strings, base = _Names(), 0x9000
    sections = {".rodata": (PROGBITS, 0x1000, f"\0{version} {vermagic} \0".encode())}
    for address, end, offered in ((0x2000, "", exports), (0x5000, "_gpl", gpl)):
        table = b""
        for number, symbol in enumerate(offered):
            here, words = address + 12 * number, [0]
            for word, text in ((4, symbol), (8, namespaces.get(symbol))):
                words.append(base + strings.add(text) - (here + word) if text is not None else 0)
            table += struct.pack("<iii", *words)
        sections[f"__ksymtab{end}"] = (PROGBITS, address, table)
        if None not in offered.values():
            sections[f"__kcrctab{end}"] = (PROGBITS, 0, b"".join(struct.pack("<I", crc or 0) for crc in offered.values()))
    sections["__ksymtab_strings"] = (PROGBITS, base, strings.data)
    return _relocatable(sections)


def kernel(
    version: str,
    exports: Crcs = NONE,
    *,
    gpl: Crcs = NONE,
    namespaces: Mapping[str, str] = NONE,
    vermagic: str = "SMP mod_unload modversions",
    packed: bytes | None = None,
    flags: int | None = None,
) -> bytes:
    """A bzImage of two sectors with the kernel behind them; `packed` replaces what is compressed, `flags` are those of newer headers."""
    inside = gzip.compress(vmlinux(version, exports, gpl, namespaces, vermagic), mtime=0) if packed is None else packed
    start = bytearray(1024)
    start[0x1F1] = 1
    start[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", start, 0x20E, 0x300 - 0x200)
    struct.pack_into("<II", start, 0x248, 0, len(inside))
    if flags is not None:
        struct.pack_into("<H", start, 0x206, 0x20C)
        struct.pack_into("<H", start, 0x236, flags)
    said = f"{version} (somebody@example.org) #1 SMP\0".encode()
    start[0x300 : 0x300 + len(said)] = said
    return bytes(start) + inside


def flat_kernel(version: str, machine: int = 0xAA64) -> bytes:
    """A kernel of another architecture: what EFI calls the processor, and the version."""
    start = bytearray(1024)
    start[:2], start[0x3C:0x40], start[0x40:0x46] = b"MZ", (0x40).to_bytes(4, "little"), b"PE\0\0" + machine.to_bytes(2, "little")
    return bytes(start) + b"Linux version " + version.encode() + b" (somebody@example.org) #1 SMP\0" + bytes(1000)


def zboot_kernel(packed: bytes, method: str, machine: int = 0xAA64) -> bytes:
    """A program for EFI with a kernel inside."""
    start = bytearray(flat_kernel("", machine)[:1024])
    struct.pack_into("<4s4sII8x8s", start, 0, b"MZ", b"zimg", len(start), len(packed), method.encode())
    return bytes(start) + packed + len(packed).to_bytes(4, "little")


def binary(
    *,
    needed: Sequence[str] = (),
    soname: str = "",
    runpath: str = "",
    rpath: str = "",
    interpreter: str = "",
    machine: int = X86_64,
    asked: Mapping[str, Sequence[str]] = NONE,
    weakly: bool = False,
    offered: Sequence[str] = (),
    behind: bytes = b"",
) -> bytes:
    """A program (with an interpreter) or a library; `asked` are versions of symbols by library, `behind` is what else stands in it."""
    names = _Names()
    tags = [(NEEDED, names.add(name)) for name in needed]
    tags += [(tag, names.add(text)) for tag, text in ((SONAME, soname), (RPATH, rpath), (RUNPATH, runpath)) if text]
    count = 3 if interpreter else 2
    place = 64 + 56 * count
    loader = interpreter.encode() + b"\0" if interpreter else b""
    strings = place + len(loader)
    tables = (_asked(names, asked, weakly), _offered(names, (soname or "own", *offered) if offered else ()))
    needs = strings + len(names.data)
    start = needs + sum(map(len, tables))
    counts = ((VERNEED, needs, len(asked)), (VERDEF, needs + len(tables[0]), len(offered) + 1 if offered else 0))
    tags += [pair for tag, where, many in counts if many for pair in ((tag, where), (tag + 1, many))]
    tags += [(STRTAB_TAG, strings), (STRSZ, len(names.data)), (SYMTAB_TAG, strings), (0, 0)]
    dynamic = b"".join(struct.pack("<qQ", *tag) for tag in tags)
    whole = start + len(dynamic) + len(behind)
    segments = [
        struct.pack(SEGMENT, 1, 4, 0, 0, 0, whole, whole, 1),
        struct.pack(SEGMENT, 2, 4, start, start, start, len(dynamic), len(dynamic), 8),
    ]
    if interpreter:
        segments.append(struct.pack(SEGMENT, 3, 4, place, place, place, len(loader), len(loader), 1))
    return _header(SHARED, machine, segments=count) + b"".join((*segments, loader, names.data, *tables, dynamic, behind))


def _asked(names: _Names, asked: Mapping[str, Sequence[str]], weakly: bool) -> bytes:
    """The table of versions that are asked for: each library, and behind it its versions."""
    table = b""
    for number, (library, wanted) in enumerate(asked.items(), start=1):
        size = 16 * (1 + len(wanted))
        table += struct.pack("<HHIII", 1, len(wanted), names.add(library), 16, size if number < len(asked) else 0)
        for place, version in enumerate(wanted, start=1):
            table += struct.pack("<IHHII", 0, 2 * weakly, 2, names.add(version), 16 if place < len(wanted) else 0)
    return table


def _offered(names: _Names, offered: Sequence[str]) -> bytes:
    """The table of versions that are offered, the first of which is the library's own name."""
    sizes = (28 if number < len(offered) else 0 for number in range(1, len(offered) + 1))
    return b"".join(
        struct.pack("<HHHHIIIII", 1, number == 1, number, 1, 0, 20, size, names.add(name), 0)
        for number, (name, size) in enumerate(zip(offered, sizes, strict=True), start=1)
    )


def firmware(version: str) -> bytes:
    """NVIDIA's firmware, in the one section that says its version."""
    return _relocatable({".fwversion": (PROGBITS, 0, version.encode() + b"\0")}, machine=243)


def initramfs(files: Mapping[str, bytes], *, microcode: bool = False, packed: bool = True, mode: int = 0o755) -> bytes:
    """An initramfs of those files, with an archive of microcode before it, if it is wanted."""
    early = _archive({"kernel/x86/microcode/GenuineIntel.bin": b"microcode"}) + bytes(512) if microcode else b""
    inside = _archive(files, mode)
    return early + (gzip.compress(inside, mtime=0) if packed else inside)


def unified(parts: Mapping[str, bytes]) -> bytes:
    """A program for UEFI with those sections, each filled up to 512 bytes."""
    start, optional = 0x80, 240
    place = -(-(start + 24 + optional + 40 * len(parts)) // 512) * 512
    table, content = b"", b""
    for name, data in parts.items():
        stored = data + bytes(-len(data) % 512)
        table += struct.pack("<8sIIII16x", name.encode(), len(data), 0x1000, len(stored), place + len(content))
        content += stored
    coff = struct.pack("<4sHHIIIHH", b"PE\0\0", 0x8664, len(parts), 0, 0, 0, optional, 0)
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", start)
    return (head.ljust(start, b"\0") + coff + bytes(optional) + table).ljust(place, b"\0") + content


def link(name: str, target: str) -> bytes:
    """A link in an archive of an initramfs."""
    return _member(name, target.encode(), 0o120777, 0)


def _archive(files: Mapping[str, bytes], mode: int = 0o755) -> bytes:
    return b"".join(_member(*file, 0o100000 | mode, number) for number, file in enumerate({**files, "TRAILER!!!": b""}.items(), start=1))


def _member(name: str, data: bytes, mode: int, number: int) -> bytes:
    title = name.strip("/").encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(title), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + title
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)
