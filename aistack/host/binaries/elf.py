"""ELF files, opened by pyelftools: programs and libraries as values, and the sections of modules and kernels.

Tables of many equal records (sections, symbols, relocations) are read at once, in the layouts of
https://gabi.xinuos.com/elf/b-sec.html: a kernel has thousands of modules, and one by one their records take a hundred times as long.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Container, Iterator
from typing import IO, Any

from aistack.facts.binary import Binary
from aistack.host.binaries import symbol_versions
from aistack.values import dataclass

MAGIC = b"\x7fELF"
NO_BITS = 8
CHUNK = 1 << 20
SAYS_VERSION = re.compile(
    r".*/(lib(cuda|cudadebugger|nvcuvid|nvidia-[\w-]+)\.so[\d.]*|nvidia-smi|nvidia-persistenced|nv-fabricmanager|nvidia-imex)"
)
"""Files of NVIDIA's driver in whose bytes its version stands, or may."""
VERSION = re.compile(rb"(?<![\d.])\d{3}\.\d{2,3}(?:\.\d{2})?(?![\d.])")
LONGEST_VERSION = 16
VERSION_SECTION = ".fwversion"


class DamagedError(ValueError):
    """A file is not what its first bytes or its name promise; the message says why."""


class UnreadError(ValueError):
    """A file may be what it should be, but nothing here reads it; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section: its address in memory, and its bytes (none where the file holds none)."""

    address: int
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """A 64-bit ELF file in parts: `order` is its byte order as `struct` writes it; of sections with one name the first counts.

    `kind` and `machine` are ELF's own names (`ET_REL`, `EM_X86_64`).
    """

    order: str
    kind: str
    machine: str
    sections: dict[str, Section]

    def records(self, section: str, layout: str) -> Iterator[tuple[Any, ...]]:
        """The records of a section, of that layout; none where it is absent. What fills up the end is left out."""
        data = self.bytes(section)
        record = struct.Struct(self.order + layout)
        return record.iter_unpack(data[: len(data) // record.size * record.size])

    def bytes(self, section: str) -> bytes:
        """The bytes of a section, none where it is absent."""
        found = self.sections.get(section)
        return found.data if found else b""


def parts(data: bytes, wanted: Container[str]) -> Object:
    """The sections of a 64-bit ELF file that are wanted, by their names.

    Raises DamagedError for a file that is shorter than it says, ELFError for what is no ELF file.
    """
    from elftools.elf.elffile import ELFFile

    elf = ELFFile(io.BytesIO(data))
    if elf.elfclass != 64:
        raise DamagedError("it is for 32 bits")
    order = "<" if elf.little_endian else ">"
    header = struct.Struct(order + "IIQQQQIIQQ")
    start, count = elf["e_shoff"], elf.num_sections()
    if start + count * header.size > len(data):
        raise DamagedError("it ends before its table of sections does")
    table = list(header.iter_unpack(data[start : start + count * header.size]))
    names = table[elf.get_shstrndx()][4]
    found: dict[str, Section] = {}
    for name, kind, _, address, offset, size, *_ in table:
        held = 0 if kind == NO_BITS else size
        if offset + held > len(data):
            raise DamagedError("it ends before its sections do")
        title = text(data, names + name)
        if title in wanted:
            found.setdefault(title, Section(address=address, data=data[offset : offset + held]))
    return Object(order=order, kind=elf["e_type"], machine=elf["e_machine"], sections=found)


def machine(data: bytes) -> str:
    """ELF's own name of the processor that an ELF file is for. Raises ELFError for what is none."""
    from elftools.elf.elffile import ELFFile

    return str(ELFFile(io.BytesIO(data))["e_machine"])


def text(data: bytes, start: int) -> str:
    """The text in a table of strings, up to its final zero."""
    return data[start : data.index(0, start)].decode(errors="replace")


def binary(stream: IO[bytes], size: int, path: str) -> Binary | None:
    """The program or library in a file of that size; None for an ELF file that is neither, as what a compiler makes on the way.

    Raises DamagedError for one that is shorter than it says.
    """
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.elffile import ELFFile
    from elftools.elf.segments import InterpSegment

    elf = ELFFile(stream)
    if elf["e_type"] not in ("ET_EXEC", "ET_DYN"):
        return None
    interpreter, tags, numbers = "", dict[str, list[str]](), dict[str, int]()
    for segment in elf.iter_segments():
        if segment["p_offset"] + segment["p_filesz"] > size:
            raise DamagedError("it ends before its segments do")
        if isinstance(segment, InterpSegment):
            interpreter = segment.get_interp_name()
        elif isinstance(segment, DynamicSegment):
            for tag in segment.iter_tags():
                numbers[tag.entry.d_tag] = tag.entry.d_val
                for kind in ("needed", "soname", "rpath", "runpath"):
                    if hasattr(tag, kind):
                        tags.setdefault(kind, []).append(getattr(tag, kind))
    try:
        asked, offered = symbol_versions.versions(elf, stream, numbers)
    except ValueError as error:
        raise DamagedError("its tables of symbols' versions are not whole") from error
    return Binary(
        machine=elf["e_machine"],
        bits=elf.elfclass,
        interpreter=interpreter,
        soname="".join(tags.get("soname", ())),
        needed=tuple(tags.get("needed", ())),
        rpath=_folders(tags, "rpath"),
        runpath=_folders(tags, "runpath"),
        asked=asked,
        offered=offered,
        versions=_versions(stream) if SAYS_VERSION.fullmatch(path) else (),
    )


def firmware(data: bytes) -> Binary:
    """NVIDIA's firmware, an ELF file for another processor: the driver compares the section `.fwversion` with its own version.

    Raises as `parts`.
    """
    found = parts(data, (VERSION_SECTION,))
    version = found.bytes(VERSION_SECTION).rstrip(b"\0").decode(errors="replace")
    return Binary(machine=found.machine, bits=64, versions=(version,) if version else ())


def _folders(tags: dict[str, list[str]], kind: str) -> tuple[str, ...]:
    return tuple(folder for text in tags.get(kind, ()) for folder in text.split(":") if folder)


def _versions(stream: IO[bytes]) -> tuple[str, ...]:
    """The versions that stand in a file; it is read in pieces, of which the end is read again with the next."""
    stream.seek(0)
    found, rest = set[str](), b""
    while chunk := stream.read(CHUNK):
        data = rest + chunk
        begins = len(rest) and 1  # what stands before a number belongs to it
        found.update(match[0].decode() for match in VERSION.finditer(data, begins) if match.end() < len(data))
        rest = data[-LONGEST_VERSION - 1 :]
    return tuple(sorted(found))
