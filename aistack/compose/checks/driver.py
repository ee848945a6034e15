"""The parts of an accelerator's driver are there and fit each other: modules, libraries and programs of one version, and firmware.

Of NVIDIA's driver the parts work in one version only. Which modules are its, their devices say: distributions rename them
(`nvidia-current.ko`), and kernels have modules of their own with a vendor's name in theirs.
"""

from __future__ import annotations

import itertools
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Mapping

from aistack.compose.checks.claims import drivers, patterns
from aistack.compose.checks.expected import Expected
from aistack.compose.checks.libraries import searched_folders
from aistack.compose.checks.packages import database, installed
from aistack.compose.checks.tree import Tree, boots, newest_first, settled, trees
from aistack.facts import kmod
from aistack.facts.binary import DRIVER_VERSION, GSP_FIRMWARE
from aistack.facts.filesystem import Filesystem
from aistack.facts.kernel_files import Module, module_name

NVIDIA = "000010DE"
LIBRARY = re.compile(r".*/lib[^/]+\.so\.(?P<version>" + DRIVER_VERSION.pattern + ")")
SAYING = re.compile(r".*/(?:libcuda\.so\.[^/]*|libnvidia-ml\.so\.[^/]*|nvidia-smi)")
"""What has its version in its bytes; of a library, the file's name says it, too."""
PLAIN = re.compile(r".*/(?P<name>lib(?:cuda|cudadebugger|nvcuvid|nvidia-[\w-]+)\.so)\.\d+")
"""A library of the driver's by the name that programs load: where it is no link, it has to be what the link would lead to."""
PERSISTENCED = re.compile(r".*/bin/nvidia-persistenced")
"""Distributions build it from a source of its own: it is of the driver's branch, not always of its version."""
IMEX = "nvidia-imex"
SERVICE = re.compile(r".*/bin/(?P<program>nv-fabricmanager|nvidia-imex)")
SERVICE_PACKAGE = re.compile(r"(?P<program>nvidia-fabric-?manager|nvidia-imex)(?:-\d+)?")
"""What connects accelerators on a board by switches, which refuses a driver of another version, and across a rack, which is of its branch:
https://docs.nvidia.com/datacenter/tesla/fabric-manager-user-guide/, https://docs.nvidia.com/multi-node-nvlink-systems/imex-guide/."""
PACKAGED = re.compile(rf"(?:\d+:)?({DRIVER_VERSION.pattern})(?![\d.]).*")
MAIN = ("libcuda.so.", "libnvidia-ml.so.")
"""What every driver has for programs, who load it as `libcuda.so.1`; one of them alone is there for what links it, and is no driver."""
COMPILER, WITHOUT_COMPILER = "libnvidia-ptxjitcompiler.so.", re.compile(r"(?:[12]\d|3[0-8])\d\..*")
"""What `libcuda` loads, as `libnvidia-ptxjitcompiler.so.1`, for a program that brings PTX; drivers that may have none yet."""
FOR_OLDER = re.compile(r".*/cuda[^/]*/compat/.+")
"""CUDA's own libraries for drivers that are older than it, and so of another version."""
UVM = re.compile(r"nvidia(?:_\w+)?_uvm")
"""The module that CUDA cannot do without: https://download.nvidia.com/XFree86/Linux-x86_64/550.163.01/README/installedcomponents.html."""
INSTALLED = re.compile(
    r"/usr/lib(?:64)?/(?:[^/]+-linux-[^/]+/)?(?:nvidia/(?:[^/]+/)?)?lib(?:cuda|nvidia-ml|nvidia-ptxjitcompiler)\.so\.(?P<version>"
    + DRIVER_VERSION.pattern
    + ")"
)
"""The driver's libraries where distributions have them; those of containers, and CUDA's own for older drivers, lie elsewhere."""

FIRMWARES = ("/usr/lib/firmware", "/lib/firmware")
FOLDERS = ("updates/{kernel}", "updates", "{kernel}", "")
"""Where the kernel looks for firmware below /usr/lib/firmware: https://docs.kernel.org/driver-api/firmware/fw_search_path.html."""
PACKED = ("", ".zst", ".xz")


def versions(filesystem: Filesystem, expected: Expected) -> list[str]:
    """Parts that are of another version than the lock's driver or, where there is none, than most."""
    parts = {**{path: module.version for path, module in modules(filesystem).items()}, **_named(filesystem)}
    counted = Counter(parts.values()).most_common(1)
    wanted = expected.driver or (counted[0][0] if counted else None)
    if wanted is None:
        return []
    wrong = [*_unlike(filesystem, parts, wanted), *_services(filesystem, wanted)]
    for image, inside in filesystem.initramfs.items():
        wrong += [f"{image}: {problem}" for problem in _unlike(inside, _named(inside), wanted)]
    return [*wrong, *_lacking(filesystem, expected, parts, wanted)]


def _lacking(filesystem: Filesystem, expected: Expected, parts: Mapping[str, str], wanted: str) -> Iterator[str]:
    """Parts without which a driver of that version, which a lock promises or which is installed for programs, does not serve them."""
    kernels = [(tree, of_nvidia(tree.modules)) for tree in newest_first(trees(filesystem))]
    own = modules(filesystem)
    installed = [path for path in sorted(parts) if INSTALLED.fullmatch(path)]
    serves = bool(expected.driver) or all(any(f"/{name}" in path for path in installed) for name in MAIN)
    if expected.driver:
        yield from [] if own else [f"there is no module of the driver {wanted}"]
    elif serves and not own and boots(filesystem):
        yield from (f"{path} is of the driver, of which there is no module" for path in installed)
        return
    if any(DRIVER_VERSION.fullmatch(module.version) for module in own.values()):
        ahead = itertools.takewhile(lambda kernel: not kernel[1], kernels)  # an older one may be there to fall back on
        yield from (f"{tree.folder} has a kernel, and no module of the driver" for tree, _ in ahead if tree.files)
    if not serves:
        return
    required = MAIN if WITHOUT_COMPILER.fullmatch(wanted) else (*MAIN, COMPILER)
    yield from (f"there is no {name}{wanted}" for name in required if not any(path.endswith(f"/{name}{wanted}") for path in parts))
    for tree, found in kernels:
        if found and not any(
            UVM.fullmatch(name) for path, module in found.items() for name in (module_name(path), kmod.normal(module.name))
        ):
            yield f"{tree.folder} has no nvidia-uvm, without which no program can use CUDA"
    for name in required:
        if any(f"/{name}" in path for path in installed):
            yield from _not_loaded(filesystem, name, wanted)


def _not_loaded(filesystem: Filesystem, name: str, wanted: str) -> Iterator[str]:
    """Why programs do not get a library of the driver's by the name that they load, `libcuda.so.1` for `libcuda.so.`."""
    folders = sorted({filesystem.resolved(folder) for folder in searched_folders(filesystem)})
    links = {folder: filesystem.resolved(f"{folder}/{name}1") for folder in folders}
    there = {folder: end for folder, end in links.items() if filesystem.kind(end) == "file"}
    if not there:
        yield f"{name}1, as programs load it, leads to no file where they look for libraries"
    for folder, end in there.items():
        binary = filesystem.binaries.get(end)
        own = binary is not None and binary.soname == f"{name}1" and (name not in MAIN or wanted in binary.versions)
        if not (own or end in filesystem.damaged or FOR_OLDER.fullmatch(end)):
            yield f"{folder}/{name}1 leads to {end}, which is not the {name}1 of {wanted}"


def _unlike(filesystem: Filesystem, parts: Mapping[str, str], wanted: str) -> Iterator[str]:
    """Parts that are not of the wanted version by their names, or by what they hold."""
    for path, version in sorted(parts.items()):
        if version != wanted:
            yield f"{path} is of {version or 'no version'}, the driver is {wanted}"
    for path, binary in sorted(filesystem.binaries.items()):
        if FOR_OLDER.fullmatch(path):
            continue
        if (SAYING.fullmatch(path) or GSP_FIRMWARE.fullmatch(path)) and parts.get(path, wanted) not in binary.versions:
            yield f"{path} does not hold the version {parts.get(path, wanted)}, but {', '.join(binary.versions) or 'none'}"
        elif PERSISTENCED.fullmatch(path) and _branch(wanted) not in map(_branch, binary.versions):
            yield f"{path} is of another branch: it holds {', '.join(binary.versions) or 'no version'}, the driver is {wanted}"
        elif match := PLAIN.fullmatch(path):
            yield from _other(filesystem, parts, path, match["name"], wanted)


def _services(filesystem: Filesystem, wanted: str) -> Iterator[str]:
    """Services of accelerators that are connected by switches and of another version, as their programs or their packages say."""
    for path, binary in sorted(filesystem.binaries.items()):
        own = [version for version in binary.versions if version.count(".") == 2]
        if (match := SERVICE.fullmatch(path)) and len(own) == 1 and not _serves(match["program"], own[0], wanted):
            yield f"{path} is of {own[0]}, the driver is {wanted}"
    for name, version, _ in sorted(installed(database(filesystem) or "")):
        package, said = SERVICE_PACKAGE.fullmatch(name), PACKAGED.fullmatch(version)
        if package and said and not _serves(package["program"], said[1], wanted):
            yield f"{name} is of {version}, the driver is {wanted}"


def _serves(program: str, version: str, wanted: str) -> bool:
    return _branch(version) == _branch(wanted) if program == IMEX else version == wanted


def _other(filesystem: Filesystem, parts: Mapping[str, str], path: str, name: str, wanted: str) -> Iterator[str]:
    """A library that is a file where the driver has a link: it is not the driver's own or, where that is not there, says so."""
    binary = filesystem.binaries[path]
    own = [
        other
        for other in sorted(parts)
        if other.endswith(f"/{name}.{wanted}") and (found := filesystem.binaries.get(other)) and found.machine == binary.machine
    ]
    folders = {filesystem.resolved(folder) for folder in searched_folders(filesystem)} | {posixpath.dirname(other) for other in own}
    if posixpath.dirname(path) not in folders:
        return
    if own and filesystem.entries[path].md5 not in {filesystem.entries[other].md5 for other in own}:
        yield f"{path} is a file of its own, and not {own[0]}"
    elif not own and len(binary.versions) == 1 and wanted not in binary.versions and binary.versions[0].count(".") == 2:
        yield f"{path} is of {binary.versions[0]}, the driver is {wanted}"


def modules(filesystem: Filesystem) -> dict[str, Module]:
    """NVIDIA's modules, wherever they lie: those that claim its displays, did not come with the kernel, and what is built on them."""
    return of_nvidia(settled(filesystem, filesystem.modules))


def of_nvidia(modules: Mapping[str, Module]) -> dict[str, Module]:
    """Those of some modules, by their paths, that are NVIDIA's."""
    others = {path: module for path, module in modules.items() if not module.in_tree}
    found = {path: module for path, module in others.items() if any(pattern.vendor == NVIDIA for pattern in patterns(module.aliases))}
    for _ in range(len(others)):
        names = {kmod.normal(module.name) for module in found.values()}
        more = {
            path: module
            for path, module in others.items()
            if path not in found and DRIVER_VERSION.fullmatch(module.version) and names & {kmod.normal(name) for name in module.depends}
        }
        if not more:
            break
        found |= more
    return found


def _named(filesystem: Filesystem) -> dict[str, str]:
    """Libraries and firmware with the version that their names say."""
    named = (match for path in filesystem.binaries if not FOR_OLDER.fullmatch(path) and (match := LIBRARY.fullmatch(path)))
    libraries = {match[0]: match["version"] for match in named}
    return libraries | {path: match["version"] for path in filesystem.entries if (match := GSP_FIRMWARE.fullmatch(path))}


def _branch(version: str) -> str:
    return version.partition(".")[0]


def firmware(filesystem: Filesystem, expected: Expected) -> list[str]:
    """Firmware that is not there, though a module asks for it that did not come with the kernel.

    What came with it asks for the firmware of every product that there ever was: there it is enough that the accelerator's has any.
    """
    wrong = []
    for tree in trees(filesystem):
        own = drivers(tree, expected)
        for path, module in tree.modules.items():
            if module.in_tree and path not in own:
                continue
            lacking = [name for name in module.firmware if not _there(filesystem, tree, name)]
            if not module.in_tree:
                wrong += [f"{tree.short(path)} asks for {name}, which is not there" for name in lacking]
            elif lacking and len(lacking) == len(module.firmware):
                wrong.append(f"{tree.short(path)} asks for firmware of which nothing is there, {lacking[0]} first")
    return wrong


def _there(filesystem: Filesystem, tree: Tree, name: str) -> bool:
    folders = (f"{root}/{folder.format(kernel=tree.version)}" for root in FIRMWARES for folder in FOLDERS)
    return any(filesystem.kind(filesystem.resolved(f"{folder}/{name}{end}")) == "file" for folder in folders for end in PACKED)
