"""The cache that ldconfig(8) writes for glibc's loader, /etc/ld.so.cache: which file each library's name means.

Its form is `struct cache_file_new` of glibc's sysdeps/generic/dl-cache.h; older ldconfigs write the form that libc5 read before it.
"""

from __future__ import annotations

import struct

MAGIC = b"glibc-ld.so.cache1.1"
LONGEST = 4096
"""Bytes of a path, with the one that ends it: PATH_MAX."""
HEADER, ENTRY = "<20sII20x", "<iIIIQ"


def places(data: bytes) -> dict[str, tuple[str, ...]]:
    """The paths under each name, in their order; what is damaged or of another byte order holds nothing, as for the loader."""
    start = data.find(MAGIC)
    if start < 0 or len(data) < start + struct.calcsize(HEADER):
        return {}
    _, count, _ = struct.unpack_from(HEADER, data, start)
    table = start + struct.calcsize(HEADER)
    if table + count * struct.calcsize(ENTRY) > len(data):
        return {}
    found: dict[str, list[str]] = {}
    for _, name, path, _, _ in struct.iter_unpack(ENTRY, data[table : table + count * struct.calcsize(ENTRY)]):
        found.setdefault(_text(data, start + name), []).append(_text(data, start + path))
    return {name: tuple(paths) for name, paths in found.items() if name}


def _text(data: bytes, place: int) -> str:
    end = data.find(b"\0", place, place + LONGEST)
    return data[place:end].decode(errors="replace") if 0 <= place < end else ""
