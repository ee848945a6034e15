"""Python's byte code: which source it was compiled from, and whether it is whole. Nothing of it is loaded or run.

Behind 16 bytes that PEP 552 describes is a code object as `marshal` writes it: Python/marshal.c, which differs a little with each version.
What begins in another way, Python passes over for the source.
"""

from __future__ import annotations

import _imp
import struct
from typing import IO

from aistack.facts.byte_code import ByteCode, PythonSource

HEADER = struct.Struct("<II8s")
HASHED, CHECKED = 1, 2
"""Flags: valid by the source's hash, and that is looked at before it is run."""

_OLDER, _OLD, _NEW = (20, 8, 4, 1), (24, 8, 4, 1), (20, 8, 4, 2)
FORMS = {3394: _OLDER, **dict.fromkeys((3413, 3425, 3439), _OLD), **dict.fromkeys((3495, 3531, 3571, 3627), _NEW)}
"""By the magic number of each released Python, 3.7 to 3.14, what its code objects are made of: bytes, objects, bytes, objects."""
KEYED = tuple(magic for magic, form in FORMS.items() if form is _NEW)
"""Those that hash sources as this Python does, with their magic number as the key: SipHash-1-3, since 3.11."""
ENDING = 0x0A0D0000
"""What a magic number has in its upper half."""

CODE, FLAG, REFERENCE = ord("c"), 0x80, ord("r")
FIXED = {**dict.fromkeys(b"NTFS.", 0), **dict.fromkeys(b"i", 4), **dict.fromkeys(b"g", 8), **dict.fromkeys(b"y", 16)}
SIZED = {**dict.fromkeys(b"zZ", 1), **dict.fromkeys(b"stuaA", 4)}
"""What has so many bytes, and what says in so many bytes how many it has."""
COUNTED = {ord(")"): 1, ord("("): 4, ord(">"): 4}
"""What says in so many bytes how many objects it has."""
SLICE = ord(":")


def byte_code(path: str, stream: IO[bytes], size: int) -> ByteCode | None:
    """What a file of byte code says; None for one that Python would not take."""
    data = stream.read()
    if len(data) < HEADER.size:
        return None
    number, flags, stamp = HEADER.unpack_from(data)
    magic = number - ENDING
    if flags & ~(HASHED | CHECKED) or not 0 <= magic <= 0xFFFF:
        return None
    damage = _damage(data, FORMS[magic]) if magic in FORMS else ""
    return ByteCode(magic=magic, source_hash=stamp if flags == HASHED else b"", damage=damage)


def python_source(path: str, stream: IO[bytes], size: int) -> PythonSource:
    """What is to be known of a source to tell its byte code."""
    data = stream.read()
    return PythonSource(hashes={magic: _imp.source_hash(magic | ENDING, data) for magic in KEYED})


def _damage(data: bytes, form: tuple[int, int, int, int]) -> str:
    """Why the code object in a file cannot be read, by the lengths and the kinds of all that it is made of."""
    place, end, references = HEADER.size, len(data), 0
    left = [1]  # the objects that are still to come, of each that is begun; below zero: bytes to pass over
    first, objects, between, last = form
    while left:
        count = left.pop()
        if count < 0:
            place -= count
            continue
        if count > 1:
            left.append(count - 1)
        elif not count:
            continue
        if place >= end:
            return "it ends too early"
        kind = data[place]
        place += 1
        if kind & FLAG:
            references += 1
            kind ^= FLAG
        if kind in SIZED:
            wide = SIZED[kind]
            place += wide + int.from_bytes(data[place : place + wide], "little")
        elif kind == REFERENCE:
            if int.from_bytes(data[place : place + 4], "little") >= references:
                return "it refers to what it does not have"
            place += 4
        elif kind in COUNTED:
            wide = COUNTED[kind]
            left.append(int.from_bytes(data[place : place + wide], "little"))
            place += wide
        elif kind in FIXED:
            place += FIXED[kind]
        elif kind == CODE:
            left += (last, -between, objects)
            place += first
        elif kind == ord("l"):
            place += 4 + 2 * abs(int.from_bytes(data[place : place + 4], "little", signed=True))
        elif kind == SLICE:
            left.append(3)
        else:
            return "it holds what is no part of a program"
    return "" if place <= end and data[HEADER.size] & ~FLAG == CODE else "it ends too early" if place > end else "it holds no program"
