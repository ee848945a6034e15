"""Kernels, read from their files: the version string and, where the file has an ELF file inside, every symbol that modules may use.

An x86 kernel is a small program with the kernel proper, an ELF file, compressed behind it. Its symbols are gone but its sections are there.
The header is https://docs.kernel.org/arch/x86/boot.html; kernels of other architectures are flat, and tell their version alone.
"""

from __future__ import annotations

import re
import struct

from aistack.facts.kernel_files import Kernel
from aistack.host.binaries import compression
from aistack.host.binaries.elf import MAGIC, DamagedError, Object, parts
from aistack.host.binaries.module import EXPORT_SECTIONS, exports

X86 = b"HdrS"
SECTORS, X86_PLACE, VERSION, PAYLOAD = 0x1F1, 0x202, 0x20E, 0x248
SECTOR = 512
BANNER = re.compile(rb"Linux version (\S+) ")


def kernel(data: bytes) -> Kernel:
    """The kernel in a file (`vmlinuz`). Raises DamagedError for what is none, or ends too early."""
    if data[X86_PLACE : X86_PLACE + len(X86)] != X86:
        banner = BANNER.search(compression.unpacked(data))
        if banner is None:
            raise DamagedError("it has no header of a kernel and no version string")
        return Kernel(version=banner[1].decode(errors="replace"))
    (place,) = struct.unpack_from("<H", data, VERSION)
    version = data[place + SECTOR : data.index(0, place + SECTOR)].decode(errors="replace").partition(" ")[0]
    start, length = struct.unpack_from("<II", data, PAYLOAD)
    start += (data[SECTORS] + 1) * SECTOR
    if start + length > len(data):
        raise DamagedError("it ends before the kernel inside it does")
    packed = data[start : start + length]
    inside = compression.unpacked(packed if packed.startswith(compression.GZIP) else packed[:-4])  # behind others stands the size
    if not inside.startswith(MAGIC):
        return Kernel(version=version)
    magic = re.search(rb"\0(" + re.escape(version.encode()) + rb" (?:\w+ )+)\0", inside)
    found = parts(inside, EXPORT_SECTIONS)
    return Kernel(
        version=version,
        vermagic=magic[1].decode().strip() if magic else "",
        exports=exports(found, lambda *word: _pointed(found, *word)),
    )


def _pointed(found: Object, table: str, place: int, width: int) -> int | None:
    """Where in the table of names a word of a table points: it counts from its own address, or is an address; None where it is zero."""
    (value,) = struct.unpack_from(found.order + ("i" if width == 4 else "Q"), found.sections[table].data, place)
    address = found.sections[table].address + place + value if width == 4 else value
    return address - found.sections["__ksymtab_strings"].address if value else None
