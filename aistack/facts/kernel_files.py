"""What a kernel and its modules say of themselves, as read from their files. Values only.

A module's fields are those that `modinfo` prints: https://man7.org/linux/man-pages/man8/modinfo.8.html. Names of modules are spelled as
the kernel spells them, with `_` for `-`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field

from aistack.values import dataclass

MODULE_FILE = re.compile(r"(?P<stem>[^/]+)\.ko(?:\.(?:xz|zst|gz))?")
MODULE_FOLDER = re.compile(r"(?P<folder>(?:/usr)?/lib/modules/(?P<version>[^/]+))/(?P<rest>.+)")

_NO_SIGNATURE = r"(?<!\.sig)(?<!\.asc)(?<!\.hmac)"
KERNEL_FILE = re.compile(r"(?:/usr)?/lib/modules/[^/]+/vmlinuz|/boot/(?:vmlinu[xz]|[Ii]mage|kernel)(?:-[^/]+)?" + _NO_SIGNATURE)
INITRAMFS_FILE = re.compile(
    r"(?:/usr)?/lib/modules/[^/]+/(?:initramfs\.img|initrd)|/boot/(?:initrd|initramfs)(?:[-.][^/]+)?" + _NO_SIGNATURE
)
UNIFIED_FILE = re.compile(r"(?:(?:/boot|/efi|/boot/efi)/EFI/Linux|(?:/usr)?/lib/modules/[^/]+)/[^/]+(?<!\.addon)\.efi")
"""Where bootable containers, distributions and systemd's kernel-install have kernels, initramfs files, and the two in one file:
https://uapi-group.org/specifications/specs/unified_kernel_image/."""

PERMITTED = ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL")
"""Licences of modules that may use what is exported for GPL only: `license_is_gpl_compatible` in the kernel's include/linux/license.h."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A symbol that a kernel or a module offers to modules; `crc` is None where the kernel was built without MODVERSIONS."""

    crc: int | None = None
    gpl: bool = False
    namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """The signature at the end of a module: its signer's common name, the key's serial number or identifier in hex, the hash's name.

    `digest` is that hash of what is signed, `value` the signature. What the signature does not tell is empty.
    """

    signer: str = ""
    key: str = ""
    algorithm: str = ""
    digest: bytes = b""
    value: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A kernel module. `needs` are the symbols that it takes from others, with their CRCs where it states them (0 to 2³²-1).

    `machine` is ELF's own name of the processor that it is for (`EM_X86_64`).

    `in_tree` is what it says of itself. `weak` are the symbols that it can do without, `exports` what it offers. `firmware` are paths below
    the firmware's folder, `parameters` its options with their types (`uint`), `size` the bytes of its `struct module`, `digest` the sha256
    (hex) of the module as it is when not compressed.
    """

    digest: str
    machine: str = ""
    size: int = 0
    name: str = ""
    version: str = ""
    source_version: str = ""
    vermagic: str = ""
    licence: str = ""
    in_tree: bool = False
    depends: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    soft_dependencies: tuple[str, ...] = ()
    firmware: tuple[str, ...] = ()
    imports: tuple[str, ...] = ()
    parameters: tuple[tuple[str, str], ...] = ()
    signature: Signature | None = None
    needs: Mapping[str, int | None] = field(default_factory=dict)
    weak: frozenset[str] = frozenset()
    exports: Mapping[str, Export] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel: its version string, what modules must have as their `vermagic` (empty: it cannot be told), and what it exports.

    `exports` is None where the file does not tell. `machine` is what ELF calls the processor that it is for (`EM_X86_64`; empty: it cannot
    be told).
    """

    version: str
    machine: str = ""
    vermagic: str = ""
    exports: Mapping[str, Export] | None = None


def kernel_places(folder: str) -> tuple[str, ...]:
    """Where the kernel of a folder of modules may be."""
    version = folder.rpartition("/")[2]
    return f"{folder}/vmlinuz", *(f"/boot/{name}-{version}" for name in ("vmlinuz", "vmlinux", "Image", "image", "kernel"))


def initramfs_places(folder: str) -> tuple[str, ...]:
    """Where the initramfs for a folder of modules may be."""
    version = folder.rpartition("/")[2]
    names = (f"initrd.img-{version}", f"initramfs-{version}.img", f"initrd-{version}", f"initramfs-{version}", f"initrd-{version}.img")
    return f"{folder}/initramfs.img", f"{folder}/initrd", *(f"/boot/{name}" for name in names)


def module_name(path: str) -> str:
    """The name of the module in a file, as modprobe and the kernel's arguments know it; empty for a file that is none."""
    found = MODULE_FILE.fullmatch(path.rpartition("/")[2])
    return found["stem"].replace("-", "_") if found else ""
