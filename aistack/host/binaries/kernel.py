"""Kernels, read from their files: the version string and, where the file has an ELF file inside, every symbol that modules may use.

An x86 kernel is a small program with the kernel proper, an ELF file, compressed behind it. Its symbols are gone but its sections are there.
The header is https://docs.kernel.org/arch/x86/boot.html. Kernels of other architectures are flat, and tell their version and processor
alone; they may be compressed, or in a program for EFI that decompresses them: the kernel's drivers/firmware/efi/libstub/zboot-header.S.
"""

from __future__ import annotations

import re
import struct

from aistack.facts.kernel_files import Kernel
from aistack.host.binaries import compression
from aistack.host.binaries.elf import MAGIC, DamagedError, Object, UnreadError, machine, parts
from aistack.host.binaries.module import EXPORT_SECTIONS, exports

X86 = b"HdrS"
SECTORS, X86_PLACE, PROTOCOL, VERSION, FLAGS, PAYLOAD = 0x1F1, 0x202, 0x206, 0x20E, 0x236, 0x248
SECTOR = 512
HAS_FLAGS, LONG_MODE = 0x20C, 1
"""The protocol since which there are flags, and the flag of a kernel for 64 bits."""
BANNER = re.compile(rb"Linux version (\S+) ")

ZBOOT = b"MZ\0\0zimg"
ZBOOT_PAYLOAD, ZBOOT_METHOD = 8, 24
READ = (b"gzip", b"lz4", b"lzma", b"xz", b"zstd")
"""How the kernel's build calls the methods of compression that are read here (`xzkern`, `zstd22`)."""

DOS, PE, PE_PLACE = b"MZ", b"PE\0\0", 0x3C
PROCESSORS = {0x8664: "EM_X86_64", 0x014C: "EM_386", 0xAA64: "EM_AARCH64", 0x01C2: "EM_ARM", 0x5064: "EM_RISCV", 0x6264: "EM_LOONGARCH"}
"""Processors as programs for EFI name them: https://uefi.org/specs/UEFI/2.10/02_Overview.html#uefi-images."""
IMAGE_PLACE = 0x38
IMAGES = {b"ARM\x64": "EM_AARCH64", b"RSC\x05": "EM_RISCV"}
"""What a kernel's header has there: https://docs.kernel.org/arch/arm64/booting.html, https://docs.kernel.org/arch/riscv/boot-image-header.html."""


def kernel(data: bytes) -> Kernel:
    """The kernel in a file (`vmlinuz`).

    Raises DamagedError for what is none, or ends too early, UnreadError for what nothing here reads.
    """
    if data[X86_PLACE : X86_PLACE + len(X86)] == X86:
        return _x86(data)
    inside = _zboot(data) if data.startswith(ZBOOT) else compression.unpacked(data)
    banner = BANNER.search(inside)
    if banner is None:
        raise DamagedError("it has no header of a kernel and no version string")
    return Kernel(version=banner[1].decode(errors="replace"), machine=_processor(inside) or _processor(data))


def _zboot(data: bytes) -> bytes:
    """The kernel in a program for EFI."""
    start, length = struct.unpack_from("<II", data, ZBOOT_PAYLOAD)
    method = data[ZBOOT_METHOD : data.index(0, ZBOOT_METHOD)]
    if not method.startswith(READ):
        raise UnreadError(f"the kernel inside it is compressed with {method.decode(errors='replace')}, which nothing here reads")
    return compression.unpacked(_inside(data, start, length))


def _inside(data: bytes, start: int, length: int) -> bytes:
    if start + length > len(data):
        raise DamagedError("it ends before the kernel inside it does")
    return data[start : start + length]


def _processor(data: bytes) -> str:
    """The processor that a flat kernel, or a program for EFI, says it is for; empty where it says none."""
    if data.startswith(DOS) and len(data) >= PE_PLACE + 4:
        (place,) = struct.unpack_from("<I", data, PE_PLACE)
        if data[place : place + len(PE)] == PE:
            return PROCESSORS.get(int.from_bytes(data[place + len(PE) :][:2], "little"), "")
    if data.startswith(MAGIC):
        return machine(data)
    return IMAGES.get(data[IMAGE_PLACE : IMAGE_PLACE + 4], "")


def _x86(data: bytes) -> Kernel:
    (place,) = struct.unpack_from("<H", data, VERSION)
    version = data[place + SECTOR : data.index(0, place + SECTOR)].decode(errors="replace").partition(" ")[0]
    start, length = struct.unpack_from("<II", data, PAYLOAD)
    packed = _inside(data, start + (data[SECTORS] + 1) * SECTOR, length)
    inside = compression.unpacked(packed if packed.startswith(compression.GZIP) else packed[:-4])  # behind others stands the size
    if not inside.startswith(MAGIC):
        protocol, flags = (struct.unpack_from("<H", data, place)[0] for place in (PROTOCOL, FLAGS))
        told = "EM_X86_64" if flags & LONG_MODE else "EM_386"
        return Kernel(version=version, machine=told if protocol >= HAS_FLAGS else "")
    magic = re.search(rb"\0(" + re.escape(version.encode()) + rb" (?:\w+ )+)\0", inside)
    found = parts(inside, EXPORT_SECTIONS)
    return Kernel(
        version=version,
        machine=found.machine,
        vermagic=magic[1].decode().strip() if magic else "",
        exports=exports(found, lambda *word: _pointed(found, *word)),
    )


def _pointed(found: Object, table: str, place: int, width: int) -> int | None:
    """Where in the table of names a word of a table points: it counts from its own address, or is an address; None where it is zero."""
    (value,) = struct.unpack_from(found.order + ("i" if width == 4 else "Q"), found.sections[table].data, place)
    address = found.sections[table].address + place + value if width == 4 else value
    return address - found.sections["__ksymtab_strings"].address if value else None
