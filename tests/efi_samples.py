"""Programs for UEFI made by hand: headers, one section, and a table of signatures, in which stands only what was signed."""

from __future__ import annotations

import hashlib
import struct

SECTION_AT, SIZE = 0x200, 64
CHECKSUM_AT, TABLE_AT = 0x40 + 24 + 64, 0x40 + 24 + 112 + 4 * 8


def program(text: str = "", *, machine: int = 0x8664, signed: bool = True) -> bytes:
    """A program of that text, for a processor as PE numbers them."""
    body = text.encode().ljust(SIZE, b"\0")
    end = SECTION_AT + len(body)
    directories = bytearray(16 * 8)
    if signed:
        struct.pack_into("<II", directories, 4 * 8, end, 64)
    header = struct.pack("<4sHHIIIHH", b"PE\0\0", machine, 1, 0, 0, 0, 112 + len(directories), 0)
    optional = struct.pack("<H58xI44xI", 0x20B, SECTION_AT, 16) + directories
    section = struct.pack("<8sIIII16x", b".text", len(body), 0x1000, len(body), SECTION_AT)
    start = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    whole = (start + header + optional + section).ljust(SECTION_AT, b"\0") + body
    hashed = hashlib.sha256(whole[:CHECKSUM_AT] + whole[CHECKSUM_AT + 4 : TABLE_AT] + whole[TABLE_AT + 8 :])
    return whole + (b"signature of ".ljust(16) + hashed.digest()).ljust(64, b"\0") if signed else whole
