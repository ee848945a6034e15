"""The initramfs has the kernel's own modules and no others, and all that they need: inside, or built into the kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aistack.compose.checks.indexes import stale
from aistack.compose.checks.tree import Tree, tree, trees
from aistack.compose.findings import Check, some
from aistack.facts.filesystem import Filesystem

ANY_MODULES = re.compile(r"(?:/usr)?/lib/modules/([^/]+)/(.+)")


def _initramfs(filesystem: Filesystem) -> list[str] | str:
    wrong, unread = list[str](), list[str]()
    for outside in trees(filesystem):
        file = f"{outside.folder}/initramfs.img"
        inside = filesystem.initramfs.get(file)
        if inside is None:
            return f"{file} cannot be read" if filesystem.kind(file) else f"there is no {file}"
        own = tree(inside, outside.version)
        problems = (*_other_modules(outside, inside), *_lacking(outside, own), *stale(inside, own))
        wrong += [f"{file}: {problem}" for problem in problems]
        unread += [f"{file}: {path}: {why}" for path, why in inside.unread.items()]
    return wrong or (some(unread) if unread else [])


def _other_modules(outside: Tree, inside: Filesystem) -> Iterator[str]:
    """Modules that are not, byte for byte, what lies at their place outside."""
    for path, module in inside.modules.items():
        place = ANY_MODULES.fullmatch(path)
        if place is None or place[1] != outside.version:
            yield f"{path} is of another kernel than {outside.version}"
            continue
        own = outside.modules.get(f"{outside.folder}/{place[2]}")
        if own is None:
            yield f"{place[2]} is not among the kernel's modules"
        elif own.digest != module.digest:
            said = [f"{one.version or one.source_version} outside" for one in (own,) if one.version != module.version]
            yield f"{place[2]} is not the one that lies outside" + "".join(f" ({module.version}, {text})" for text in said)


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
        bootable=True,
    ),
)
