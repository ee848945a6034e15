"""What an ELF program or library says of itself, as read from its file. Values only."""

from __future__ import annotations

import re

from aistack.values import dataclass

DRIVER_VERSION = re.compile(r"\d{3}\.\d{2,3}(?:\.\d{2})?")
"""A version of NVIDIA's driver."""

GSP_FIRMWARE = re.compile(
    r"(?:/usr)?/lib/firmware/(?:updates/)?(?:[^/]+/)?nvidia/(?P<version>" + DRIVER_VERSION.pattern + r")/gsp[^/]*\.bin(?:\.(?:xz|zst))?"
)
"""NVIDIA's firmware for a processor of the accelerator, wherever the kernel looks: it is of one version of the driver."""

DRIVER_FILE = re.compile(
    r".*/lib[^/]+\.so\.(?P<version>" + DRIVER_VERSION.pattern + r")|(?:/usr(?:/local)?)?/s?bin/nvidia-(?:smi|persistenced|modprobe)"
    r"|/usr/lib/nvidia/.*/nvidia-smi"
)
"""Files of NVIDIA's driver by their names, which are programs and libraries whatever they hold; of libraries the name says the version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Binary:
    """A program or a library. `machine` is ELF's own name (`EM_X86_64`), `bits` 32 or 64, `interpreter` the loader that a program asks for.

    `needed` are the libraries that it asks for by name, `rpath` and `runpath` the folders where it wants them sought, as they stand there
    (`$ORIGIN/../lib`). `asked` are the versions of symbols that each of those libraries has to offer (`libc.so.6`: `GLIBC_2.34`), `offered`
    those that it offers itself, as a library. `versions` are the versions of a vendor's driver that stand in it, where it is a part of
    one: text, sorted.
    """

    machine: str
    bits: int
    interpreter: str = ""
    soname: str = ""
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    asked: tuple[tuple[str, tuple[str, ...]], ...] = ()
    offered: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
