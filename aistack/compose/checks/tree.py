"""The kernels of an image with their modules, as the checks of them see it: names, symbols and who has them."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from aistack.facts import kmod
from aistack.facts.filesystem import Filesystem
from aistack.facts.kernel_files import MODULE_FOLDER, Export, Kernel, Module, initramfs_places, kernel_places, module_name
from aistack.facts.version import Scheme, VersionFormatError, in_numbers, key
from aistack.values import dataclass

MODULES, NOT_MERGED = "/usr/lib/modules", "/lib/modules"
PLACE = re.compile(r"(?P<folder>(?:/usr)?/lib/modules/[^/]+)/(?P<file>(?:[^/]+/)?(?P<rest>.+\.ko))(?:\.(?:xz|zst|gz))?")
NO_KERNEL = "there is no kernel, and no folder with modules"
PACKED = ("", ".xz", ".zst", ".gz")
DEPMOD = ("/etc/depmod.d/", "/run/depmod.d/", "/usr/lib/depmod.d/", "/lib/depmod.d/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A folder of modules: its path, what its kernel says (None: it cannot be read), and the module that depmod takes for each name.

    `modules` are by their paths in the image. `files` are those of its kernel (none: no kernel was found), `images` its initramfs files.
    """

    folder: str
    files: tuple[str, ...] = ()
    kernel: Kernel | None = None
    images: tuple[str, ...] = ()
    modules: Mapping[str, Module]

    @property
    def version(self) -> str:
        """The name of its folder."""
        return posixpath.basename(self.folder)

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
    """Every folder of modules with a kernel, by its name; where no kernel was found in the whole image, every one with modules."""
    found = (match for path in filesystem.entries if (match := MODULE_FOLDER.fullmatch(path)))
    folders = {match["folder"] for match in found if match["rest"] == "vmlinuz" or module_name(match["rest"])}
    kernels = tuple(folder for folder in sorted(folders) if _kernels(filesystem, folder))
    return tuple(tree(filesystem, folder) for folder in kernels or sorted(alone(filesystem)))


def newest_first(found: Iterable[Tree]) -> tuple[Tree, ...]:
    """Kernels as boot loaders try them where nobody chooses: by their versions, then by what the distribution counts behind these."""

    def age(tree: Tree) -> tuple[Any, ...]:
        try:
            return key(tree.version, Scheme.KERNEL), in_numbers(tree.version)
        except VersionFormatError:
            return (), in_numbers(tree.version)

    return tuple(sorted(found, key=age, reverse=True))


def alone(filesystem: Filesystem) -> dict[str, int]:
    """The folders without a kernel that have modules, and how many; those that links bring into another folder belong to that one."""
    files = (*filesystem.modules, *(path for path in filesystem.damaged if module_name(path)))
    if not files:
        return {}
    linked = {filesystem.resolved(path) for path, entry in filesystem.entries.items() if entry.kind == "link" and module_name(path)}
    found = Counter(match["folder"] for path in files if path not in linked and (match := MODULE_FOLDER.fullmatch(path)))
    return {folder: count for folder, count in found.items() if not _kernels(filesystem, folder)}


def boots(filesystem: Filesystem) -> bool:
    """Whether there is a kernel for some modules."""
    return any(tree.files for tree in trees(filesystem))


def tree(filesystem: Filesystem, folder: str) -> Tree:
    """One folder of modules, whether the kernel itself is there or, as in an initramfs, is not."""
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
    files = _kernels(filesystem, folder)
    return Tree(
        folder=folder,
        files=files,
        kernel=next((filesystem.kernels[path] for path in files if path in filesystem.kernels), None),
        images=_images(filesystem, folder, files),
        modules=settled(filesystem, modules),
    )


def folder_inside(filesystem: Filesystem, version: str) -> str:
    """The folder of a kernel's modules in a file system that may have them in either place."""
    folders = (f"{MODULES}/{version}", f"{NOT_MERGED}/{version}")
    return next((one for one in folders if any(path.startswith(one + "/") for path in filesystem.modules)), folders[0])


def _kernels(filesystem: Filesystem, folder: str) -> tuple[str, ...]:
    """The files of a folder's kernel: those in its places, whatever is in them, and others that say they are of its version."""
    named = (filesystem.resolved(path) for path in kernel_places(folder))
    said = (path for path, kernel in sorted(filesystem.kernels.items()) if kernel.version == posixpath.basename(folder))
    return tuple(dict.fromkeys((*(path for path in named if filesystem.kind(path) == "file"), *said)))


def _images(filesystem: Filesystem, folder: str, files: tuple[str, ...]) -> tuple[str, ...]:
    """A folder's initramfs files: those in its places and those beside its kernel in one file, else any with modules of its version."""
    named = (filesystem.resolved(path) for path in initramfs_places(folder))
    found = (*(path for path in named if filesystem.kind(path) == "file"), *(path for path in files if path in filesystem.initramfs))
    version = posixpath.basename(folder)
    return tuple(dict.fromkeys(found)) or tuple(
        image
        for image, inside in sorted(filesystem.initramfs.items())
        if any((match := MODULE_FOLDER.fullmatch(path)) and match["version"] == version for path in inside.modules)
    )


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
    places = (f"{MODULES}/{version}/config", f"{NOT_MERGED}/{version}/config", f"/boot/config-{version}")
    text = next((text for path in places if (text := filesystem.text(path))), None)
    if text is None:
        return None
    found = re.search(rf"^{name}=(.*)$", text, re.MULTILINE)
    return found[1].strip('"') if found else ""
