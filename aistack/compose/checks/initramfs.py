"""The initramfs has the kernel's own modules and no others, and all that they need: inside, or built into the kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aistack.compose.checks.indexes import stale
from aistack.compose.checks.tree import NO_KERNEL, Tree, folder_inside, tree, trees
from aistack.compose.findings import Check, some
from aistack.facts.filesystem import Filesystem
from aistack.facts.kernel_files import MODULE_FOLDER


def _initramfs(filesystem: Filesystem) -> list[str] | str:
    found = trees(filesystem)
    wrong = []
    unread = [f"no initramfs was found for {one.version}" for one in found if not one.images]
    for outside, file in ((one, file) for one in found for file in one.images):
        inside = filesystem.initramfs.get(file)
        if inside is None:
            unread.append(f"{file} cannot be read")
            continue
        own = tree(inside, folder_inside(inside, outside.version))
        problems = (*_other_modules(outside, inside), *_lacking(outside, own), *stale(inside, own))
        wrong += [f"{file}: {problem}" for problem in problems]
        unread += [f"{file}: {path}: {why}" for path, why in inside.unread.items()]
    return wrong or (some(unread) if unread else []) or ([] if found else NO_KERNEL)


def _other_modules(outside: Tree, inside: Filesystem) -> Iterator[str]:
    """Modules that are not, byte for byte, what lies at their place outside."""
    known = {_unpacked(outside.short(path)): module for path, module in outside.modules.items()}
    for path, module in inside.modules.items():
        place = MODULE_FOLDER.fullmatch(path)
        if place is None or place["version"] != outside.version:
            yield f"{path} is of another kernel than {outside.version}"
            continue
        own = known.get(_unpacked(place["rest"]))
        if own is None:
            yield f"{place['rest']} is not among the kernel's modules"
        elif own.digest != module.digest:
            said = [f"{one.version or one.source_version} outside" for one in (own,) if one.version != module.version]
            yield f"{place['rest']} is not the one that lies outside" + "".join(f" ({module.version}, {text})" for text in said)


def _unpacked(path: str) -> str:
    """A module's path as it is where nothing is compressed: what makes an initramfs may leave that to the whole of it."""
    return re.sub(r"\.(?:xz|zst|gz)$", "", path)


def _lacking(outside: Tree, inside: Tree) -> Iterator[str]:
    """Modules that need others which are neither inside nor, as the symbols of the kernel are, built in."""
    built_in = outside.kernel.exports if outside.kernel and outside.kernel.exports else {}
    all_exports, exports = outside.exports(), inside.exports()
    for path, module in inside.modules.items():
        owners = {
            outside.short(owner)
            for symbol in module.needs
            if symbol not in module.weak and symbol not in exports and symbol not in built_in
            for owner in all_exports.get(symbol, {})
        }
        if owners:
            yield f"{inside.short(path)} needs {', '.join(sorted(owners))}, which is not inside"


CHECKS = (
    Check(
        name="initramfs-modules",
        description="the modules in the initramfs are the kernel's, with all that they need",
        look=_initramfs,
        kernel=True,
    ),
)
