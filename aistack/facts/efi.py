"""Programs that UEFI starts: what an image brings of them, and whether one is whole.

Their form is Microsoft's PE, https://learn.microsoft.com/windows/win32/debug/pe-format; names are of the UEFI specification, 3.5.1.1.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Mapping, Sequence

IMAGE = "/usr/lib/aistack/esp"
"""Where an image has them."""
FOLDER = "EFI/BOOT"
"""Where they lie on the EFI system partition."""
VERSIONS = "aistack-versions"
"""Beside them in an image: a line each, package and version."""
SHORT = {"amd64": "x64", "arm64": "aa64"}
"""How UEFI calls architectures."""
MACHINES = {"x64": 0x8664, "aa64": 0xAA64}
DOS, PE, PLACE, LONG = b"MZ", b"PE\0\0", 0x3C, 0x20B
HEADER, SECTION, DIRECTORIES, SIGNATURES = 24, 40, 112, 4
"""Bytes of the header, of a section's, of what stands before the directories, and which of these has the signatures."""
HEADERS, CHECKSUM = 60, 64
"""Where the optional header says how long all headers are, and where it has a checksum, which signing changes."""
CHECKSUMS = ("sha256", "sha384", "sha512")


def names(arch: str) -> tuple[str, ...]:
    """Shim, its key manager and GRUB for an architecture (`amd64`), as firmware and shim look for them; none where it is not known."""
    short = SHORT.get(arch)
    return (f"BOOT{short.upper()}.EFI", f"mm{short}.efi", f"grub{short}.efi") if short else ()


def packages(arch: str) -> tuple[str, ...]:
    """Debian's packages that they are from."""
    return "shim-signed", f"shim-helpers-{arch}-signed", f"grub-efi-{arch}-signed"


def versions_text(versions: Mapping[str, str]) -> bytes:
    """What is in `VERSIONS`, of packages' versions."""
    return "".join(f"{package} {version}\n" for package, version in sorted(versions.items())).encode()


def problems(name: str, data: bytes, *, signed: bool) -> Iterator[str]:
    """Why a program of that name cannot be started, if it cannot; it has to be `signed` where firmware may ask for that."""
    try:
        yield from _problems(name.lower(), data, signed=signed)
    except struct.error:
        yield "it ends within its headers"


def _problems(name: str, data: bytes, *, signed: bool) -> Iterator[str]:
    if not data.startswith(DOS):
        yield "it is no program for UEFI"
        return
    (start,) = struct.unpack_from("<I", data, PLACE)
    if data[start : start + len(PE)] != PE:
        yield "it has no header of a program for UEFI" if start + len(PE) <= len(data) else "it ends within its headers"
        return
    machine, count, size = (struct.unpack_from("<H", data, start + place)[0] for place in (4, 6, 20))
    for short, number in MACHINES.items():
        if name.rpartition(".")[0].endswith(short) and machine != number:
            yield f"it is for another processor than {short}"
            return
    optional = start + HEADER
    magic, directories = struct.unpack_from("<H", data, optional)[0], struct.unpack_from("<I", data, optional + DIRECTORIES - 4)[0]
    if magic != LONG or not count:
        yield "it has no code"
        return
    sections = [struct.unpack_from("<II", data, optional + size + number * SECTION + 16) for number in range(count)]
    if any(place + length > len(data) for length, place in sections):
        yield "it ends before its sections do"
        return
    table = struct.unpack_from("<II", data, optional + DIRECTORIES + 8 * SIGNATURES) if directories > SIGNATURES else (0, 0)
    if sum(table) > len(data):
        yield "it ends before its signatures do"
    elif signed and not all(table):
        yield "nobody signed it"
    elif all(table) and not _is_as_signed(data, optional, sections, *table):
        yield "it is not what was signed"


def _is_as_signed(data: bytes, optional: int, sections: Sequence[tuple[int, int]], start: int, size: int) -> bool:
    """Whether a checksum of the program is among its signatures; that these are of somebody who is trusted, firmware proves.

    What it is made of: https://learn.microsoft.com/windows/win32/debug/pe-format#process-for-generating-the-authenticode-pe-image-hash
    """
    (headers,) = struct.unpack_from("<I", data, optional + HEADERS)
    checksum, directory = optional + CHECKSUM, optional + DIRECTORIES + 8 * SIGNATURES
    parts = [data[:checksum], data[checksum + 4 : directory], data[directory + 8 : headers]]
    end = headers
    for length, place in sorted(sections, key=lambda section: section[1]):
        if length:
            parts.append(data[place : place + length])
            end = max(end, place + length)
    parts.append(data[end:start])
    signatures, whole = data[start : start + size], b"".join(parts)
    return any(hashlib.new(name, whole).digest() in signatures for name in CHECKSUMS)
