"""Faults as they happen to kernel modules, and what faults of every kind consist of (`mutations`)."""

from __future__ import annotations

import lzma
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random

import elf_samples
from images_read import Files
from kernel_samples import CLAIM

from aistack.compose.checks import driver
from aistack.compose.checks.tree import trees
from aistack.facts.filesystem import Filesystem
from aistack.facts.kernel_files import module_name


@dataclass(frozen=True, slots=True)
class Base:
    """An image without a fault, and the bytes of the files that may be broken."""

    files: Filesystem
    data: Mapping[str, bytes]

    def module(self, random: Random, *, packed: bool) -> str:
        """A module, compressed or not."""
        return random.choice([path for path in self.modules() if path.endswith(".xz") is packed])

    def modules(self) -> list[str]:
        """The modules that chance may pick."""
        return [path for tree in trees(self.files) for path in sorted(tree.modules) if path in self.data]

    def text(self, random: Random, pattern: str, says: str) -> str:
        """A file whose path and content match."""
        return random.choice([path for path, data in sorted(self.data.items()) if re.fullmatch(pattern, path) and says.encode() in data])


@dataclass(frozen=True, slots=True)
class Fault:
    """What is laid over an image, the check that must find it, and what that must name. Others of the `company` may speak up as well."""

    check: str
    named: str
    files: Files
    company: frozenset[str] = frozenset()


Kind = Callable[[Random, Base], Fault]
PACKAGE = frozenset({"package-files"})
MODULE = PACKAGE | {"initramfs-modules"}
WITHOUT = frozenset({"module-symbols", "module-indexes", "driver-rivals", "driver-versions", "driver-enabled"})
"""What speaks up where a module is gone, or as good as gone."""


def gone(path: str) -> Files:
    """A file removed."""
    folder, _, name = path.rpartition("/")
    return {f"{folder}/.wh.{name}": b""}


def short(path: str) -> str:
    """A module's place below its kernel's folder."""
    return re.sub(r"^/usr/lib/modules/[^/]+/", "", path)


def flipped(random: Random, data: bytes, last: int | None = None) -> bytes:
    """The data with one bit changed, among the first `last` bytes if it says so."""
    place = random.randrange(len(data) if last is None else last)
    return data[:place] + bytes([data[place] ^ 1 << random.randrange(8)]) + data[place + 1 :]


def flipped_module(random: Random, base: Base) -> Fault:
    path = base.module(random, packed=True)
    files: Files = {path: flipped(random, base.data[path])}
    return Fault("readable-binaries", path, files, MODULE | WITHOUT)


def cut_module(random: Random, base: Base) -> Fault:
    path = base.module(random, packed=random.random() < 0.5)
    data = base.data[path]
    files: Files = {path: data[: random.randrange(1, len(data))]}
    return Fault("readable-binaries", path, files, MODULE | WITHOUT)


def _versioned(random: Random, base: Base) -> tuple[str, bytes, int, str]:
    """A module that states a checksum for a symbol: its path, its bytes as they are loaded, where the checksum stands, the symbol."""
    for path in random.sample(base.modules(), len(base.modules())):
        raw = lzma.decompress(base.data[path]) if path.endswith(".xz") else base.data[path]
        needs = {symbol: crc for symbol, crc in base.files.modules[path].needs.items() if crc is not None and symbol != "module_layout"}
        places = {symbol: raw.find(struct.pack("<Q56s", crc, symbol.encode())) for symbol, crc in needs.items()}
        if found := sorted(symbol for symbol, place in places.items() if place >= 0):
            symbol = random.choice(found)
            return path, raw, places[symbol], symbol
    raise IndexError("no module states a checksum")


def packed_as_it_was(path: str, data: bytes) -> Files:
    """A module's bytes at its path, compressed where the path says so."""
    return {path: lzma.compress(data) if path.endswith(".xz") else data}


def other_checksum(random: Random, base: Base) -> Fault:
    path, raw, place, symbol = _versioned(random, base)
    changed = raw[:place] + flipped(random, raw[place : place + 4]) + raw[place + 4 :]
    return Fault("module-symbols", f"{short(path)} was built against other versions of {symbol}", packed_as_it_was(path, changed), MODULE)


def no_checksum(random: Random, base: Base) -> Fault:
    path, raw, place, symbol = _versioned(random, base)
    changed = raw[: place + 8] + b"?" * len(symbol) + raw[place + 8 + len(symbol) :]
    return Fault("module-symbols", f"{short(path)} states no checksum for {symbol}", packed_as_it_was(path, changed), MODULE)


def other_kernel(random: Random, base: Base) -> Fault:
    path = random.choice(base.modules())
    raw = lzma.decompress(base.data[path]) if path.endswith(".xz") else base.data[path]
    at = raw.index(b"vermagic=") + len(b"vermagic=")
    number = raw[at + 2 : at + 3]
    return Fault("vermagic", short(path), packed_as_it_was(path, raw[: at + 2] + bytes([number[0] ^ 1]) + raw[at + 3 :]), MODULE)


def exchanged_modules(random: Random, base: Base) -> Fault:
    """Two modules of a driver in each other's place: both are whole, fit the kernel, and are of the right version."""
    own = sorted(driver.modules(base.files).keys() & base.data.keys())
    one, other = random.sample(own, 2)
    return Fault("module-indexes", module_name(one), {one: base.data[other], other: base.data[one]}, MODULE)


def lost_module(random: Random, base: Base) -> Fault:
    """A module that others need is not there."""
    modules = {path: base.files.modules[path] for path in base.modules()}
    needed = {symbol for module in modules.values() for symbol in module.needs}
    lost = random.choice([path for path, module in modules.items() if module.exports.keys() & needed])
    needs = next(path for path, module in modules.items() if module.needs.keys() & modules[lost].exports.keys())
    return Fault("module-symbols", short(needs), gone(lost), MODULE | WITHOUT)


def foreign_module(random: Random, base: Base) -> Fault:
    """A module that somebody put beside the others after depmod."""
    folder = trees(base.files)[0].folder
    name = f"extra{random.randrange(1000)}"
    magic = base.files.modules[base.modules()[0]].vermagic
    return Fault("module-indexes", name, {f"{folder}/extra/{name}.ko": elf_samples.module(name, vermagic=magic, in_tree=False)})


def rival(random: Random, base: Base) -> Fault:
    folder, name = trees(base.files)[0].folder, random.choice(("nova_core", "nouveau2", "nvidiafb"))
    magic = base.files.modules[base.modules()[0]].vermagic
    files: Files = {f"{folder}/kernel/{name}.ko": elf_samples.module(name, vermagic=magic, more=[("alias", CLAIM)])}
    if order := base.files.texts.get(f"{folder}/modules.order"):
        files[f"{folder}/modules.order"] = order + f"kernel/{name}.ko\n".encode()
    return Fault("driver-rivals", name, files, PACKAGE | {"module-indexes", "module-signers"})


def second_kernel(random: Random, base: Base) -> Fault:
    version = f"6.1.{random.randrange(99)}"
    path = random.choice(base.modules())
    files: Files = {f"/usr/lib/modules/{version}/kernel/{path.rpartition('/')[2]}": base.data[path]}
    return Fault("one-kernel-tree", version, files, frozenset({"locked-kernel", "kernel-version"}))


def kernel_ahead(random: Random, base: Base) -> Fault:
    """A newer kernel beside the one that the driver was compiled for."""
    version = f"9.{random.randrange(1, 9)}.0"
    files: Files = {
        f"/usr/lib/modules/{version}/vmlinuz": elf_samples.kernel(version),
        f"/usr/lib/modules/{version}/kernel/more.ko": elf_samples.module("more", vermagic=f"{version} SMP mod_unload modversions"),
    }
    company = {"kernel", "one-kernel-tree", "locked-kernel", "module-indexes", "initramfs-modules", "initramfs-start", "driver-rivals"}
    return Fault("driver-versions", f"/usr/lib/modules/{version} has a kernel, and no module", files, frozenset(company))


def broken_index(random: Random, base: Base) -> Fault:
    tree = trees(base.files)[0]
    path = f"{tree.folder}/modules.dep"
    lines = base.data[path].splitlines(keepends=True)
    lost = random.choice(lines)
    return Fault("module-indexes", lost.decode().partition(":")[0], {path: b"".join(line for line in lines if line != lost)})
