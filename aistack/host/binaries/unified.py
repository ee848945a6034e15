"""Unified kernel images: a program for UEFI that has the kernel and its initramfs as sections.

https://uapi-group.org/specifications/specs/unified_kernel_image/; the form of the file is
https://learn.microsoft.com/windows/win32/debug/pe-format.
"""

from __future__ import annotations

import struct
from typing import IO

from aistack.host.binaries.elf import DamagedError

DOS, PE = b"MZ", b"PE\0\0"
PLACE = 0x3C
HEADER = struct.Struct("<4xHHIIIHH")
SECTION = struct.Struct("<8sIIII16x")
KERNEL, INITRAMFS = ".linux", ".initrd"


def sections(stream: IO[bytes], size: int) -> dict[str, tuple[int, int]]:
    """Where each section of a program for UEFI begins in its file of `size` bytes, and its length; of those with one name, the first.

    Raises DamagedError for what is no such program, or ends too early.
    """
    stream.seek(0)
    head = stream.read(PLACE + 4)
    if not head.startswith(DOS) or len(head) < PLACE + 4:
        raise DamagedError("it is no program for UEFI")
    (start,) = struct.unpack_from("<I", head, PLACE)
    stream.seek(start)
    head = stream.read(HEADER.size)
    if not head.startswith(PE) or len(head) < HEADER.size:
        raise DamagedError("it is no program for UEFI")
    _, count, _, _, _, optional, _ = HEADER.unpack(head)
    stream.seek(start + HEADER.size + optional)
    table = stream.read(SECTION.size * count)
    if len(table) < SECTION.size * count:
        raise DamagedError("it ends before its table of sections does")
    found: dict[str, tuple[int, int]] = {}
    for name, used, _, stored, place in SECTION.iter_unpack(table):
        length = min(used, stored) or stored
        if place + length > size:
            raise DamagedError("it ends before its sections do")
        found.setdefault(name.rstrip(b"\0").decode(errors="replace"), (place, length))
    return found
