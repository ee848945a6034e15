"""The kernels of an image with their modules, as the checks of them see it: names, symbols and who has them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from aistack.facts import kargs, kmod
from aistack.facts.filesystem import Filesystem
from aistack.facts.kernel_files import Export, Kernel, Module, module_name
from aistack.values import dataclass

MODULES = "/usr/lib/modules"
PLACE = re.compile(rf"(?P<folder>{MODULES}/[^/]+)/(?P<file>(?:[^/]+/)?(?P<rest>.+\.ko))(?:\.(?:xz|zst|gz))?")
PACKED = ("", ".xz", ".zst", ".gz")
DEPMOD = ("/etc/depmod.d/", "/run/depmod.d/", "/usr/lib/depmod.d/", "/lib/depmod.d/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """The folder of a kernel: its name, what its kernel says (None: it cannot be read), and the module that depmod takes for each name.

    `modules` are by their paths in the image.
    """

    version: str
    kernel: Kernel | None
    modules: Mapping[str, Module]

    @property
    def folder(self) -> str:
        """Its path."""
        return f"{MODULES}/{self.version}"

    def exports(self) -> dict[str, dict[str, Export]]:
        """What the modules export: symbol → path → export."""
        found: dict[str, dict[str, Export]] = {}
        for path, module in self.modules.items():
            for symbol, export in module.exports.items():
                found.setdefault(symbol, {})[path] = export
        return found

    def short(self, path: str) -> str:
        """A module's path below the folder."""
        return path.removeprefix(self.folder + "/")


def trees(filesystem: Filesystem) -> tuple[Tree, ...]:
    """Every folder with a kernel, by its name."""
    versions = sorted(match[1] for path in filesystem.entries if (match := re.fullmatch(rf"{MODULES}/([^/]+)/vmlinuz", path)))
    return tuple(tree(filesystem, version) for version in versions)


def tree(filesystem: Filesystem, version: str) -> Tree:
    """The folder of one kernel, whether the kernel itself is there or, as in an initramfs, is not."""
    folder = f"{MODULES}/{version}"
    below = {path: module for path, module in filesystem.modules.items() if path.startswith(folder + "/")}
    for path in filesystem.entries:  # modules of another folder that a link brings into this one
        if path.startswith(folder + "/") and filesystem.kind(path) == "link" and module_name(path):
            target = filesystem.modules.get(filesystem.resolved(path))
            if target is not None:
                below[path] = target
    search = _search(filesystem)
    taken: dict[str, str] = {}
    for path in sorted(below):
        name = module_name(path)
        if name not in taken or _rank(folder, path, search) < _rank(folder, taken[name], search):
            taken[name] = path
    modules = {path: below[path] for path in taken.values()}
    return Tree(version=version, kernel=filesystem.kernels.get(f"{folder}/vmlinuz"), modules=settled(filesystem, modules))


def settled(filesystem: Filesystem, modules: Mapping[str, Module]) -> dict[str, Module]:
    """Modules by their paths, `in_tree` where their kernel knows them too: a module's own word for it is not enough.

    `modules.order` lists what a kernel was built with. Distributions move some of that out of `kernel/`, and leave nothing behind. Where
    there is no such list, the word counts.
    """
    found = dict(modules)
    lists: dict[str, frozenset[str]] = {}
    for path, module in modules.items():
        place = PLACE.fullmatch(path)
        if module.in_tree and place:
            folder, usual = place["folder"], f"kernel/{place['rest']}"
            if folder not in lists:
                lists[folder] = frozenset((filesystem.text(f"{folder}/modules.order") or "").split())
            if (own := lists[folder]) and place["file"] not in own:
                moved = usual in own and not any(f"{folder}/{usual}{ending}" in filesystem.entries for ending in PACKED)
                found[path] = replace(module, in_tree=moved)
    return found


def _search(filesystem: Filesystem) -> tuple[str, ...]:
    """The order of folders in which depmod looks, as its configuration says it last."""
    order: tuple[str, ...] = kmod.SEARCH
    for path in sorted(path for folder in DEPMOD for path in filesystem.below(folder) if path.endswith(".conf")):
        for line in (filesystem.text(path) or "").splitlines():
            match line.split():
                case ["search", *folders]:
                    order = tuple(folders)
    return order


def _rank(folder: str, path: str, search: tuple[str, ...]) -> int:
    inside = path.removeprefix(folder + "/")
    found = [number for number, name in enumerate(search) if inside.startswith(name.rstrip("/") + "/")]
    return found[0] if found else search.index("built-in") if "built-in" in search else len(search)


def setting(filesystem: Filesystem, version: str, name: str) -> str | None:
    """What the configuration of a kernel says of a setting: empty where it is not set, None where there is no configuration."""
    text = next((text for path in (f"{MODULES}/{version}/config", f"/boot/config-{version}") if (text := filesystem.text(path))), None)
    if text is None:
        return None
    found = re.search(rf"^{name}=(.*)$", text, re.MULTILINE)
    return found[1].strip('"') if found else ""


def arguments(filesystem: Filesystem) -> tuple[str, ...]:
    """The kernel arguments that the image asks for; of one whose architecture is not known, those for every one."""
    found: list[str] = []
    machine = kargs.MACHINES.get(filesystem.arch, filesystem.arch)
    for path in filesystem.below(kargs.FOLDER):
        try:
            words, machines = kargs.read(filesystem.texts.get(path, b"")) if path.endswith(".toml") else ((), None)
        except ValueError:
            continue  # `bootc-kargs` tells
        if machines is None or not machine or machine in machines:
            found += words
    return tuple(word for text in found for word in text.split())
