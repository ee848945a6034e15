"""The initramfs has the kernel's own modules and no others, with all that they need inside or built into the kernel, and starts a system.

What is in a file system of its own inside is not read: of such an initramfs it cannot be told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Set
from functools import partial

from aistack.compose.checks import drop_ins, switch_root
from aistack.compose.checks.cmdline import IN_INITRAMFS, arguments, last, named
from aistack.compose.checks.indexes import stale
from aistack.compose.checks.libraries import lacking
from aistack.compose.checks.systemd import RESCUE, SHELLS, Units
from aistack.compose.checks.tree import NO_KERNEL, Tree, folder_inside, tree, trees
from aistack.compose.findings import Check, some
from aistack.compose.render.system import LOCK_PATH
from aistack.facts import kmod
from aistack.facts.filesystem import Filesystem
from aistack.facts.kernel_files import MODULE_FOLDER, initramfs_places, module_name

INIT, OTHER_INIT, OTHER_SYSTEM = "/init", "rdinit", "init"
"""What the kernel starts, and the arguments that name another, and another program of the system's own to start behind it:
https://docs.kernel.org/admin-guide/kernel-parameters.html."""
INITS = re.compile(r".*init.*|systemd")
"""What programs are called that may be the first of a system with systemd."""
OTHER_UNIT = "rd.systemd.unit"
STOPS, STOPS_DEBIAN, DEBIAN = ("rd.break", "rdbreak"), ("break",), "/scripts/functions"
"""Arguments, with a value or none, that stop an initramfs for a shell: dracut.cmdline(7), and initramfs-tools(7), whose file it is."""
RESCUES = ("rd.emergency", "rd.rescue")
"""The same of systemd(1); with a value the first says what dracut does instead of a shell."""
SCRIPT = "#!"
SYSTEMD = "/usr/lib/systemd/systemd"
FINDERS = re.compile(r".*/(?:ostree-prepare-root|bootc/initramfs-setup|bootc-initramfs-setup|composefs-setup-root)")
"""What makes the root of a disk's deployment: OSTree's program, bootc's and composefs's."""
DISKS = frozenset({"virtio_blk", "nvme", "sd_mod", "mmc_block", "xen_blkfront", "dasd_mod", "nbd"})
ROOTS = frozenset({"ext4", "xfs", "btrfs", "f2fs", "bcachefs", "zfs"})
"""Drivers of disks, and of the file systems on them that are a system's root."""
USUAL, OURS = frozenset({"virtio_blk", "nvme", "sd_mod"}), frozenset({"ext4"})
"""Those that nearly all disks need, and that of the root on disks that we lay out."""
OTHER_ROOTS = frozenset({"nfs", "9p", "virtiofs", "squashfs", "erofs"})
"""Drivers of file systems that others than disks may have."""

Problems = Callable[[Filesystem, Tree, str, Filesystem], Iterator[str]]
"""What is wrong, by the image, a folder of its modules, the path of an initramfs and what is in it."""


def _asked(filesystem: Filesystem, problems: Problems) -> list[str] | str:
    found = trees(filesystem)
    wrong = []
    unread = [f"no initramfs was found for {one.version}" for one in found if not one.images]
    for outside, file in ((one, file) for one in found for file in one.images):
        inside = filesystem.initramfs.get(file)
        if inside is None:
            unread.append(f"{file} cannot be read")
            continue
        wrong += [f"{file}: {problem}" for problem in problems(filesystem, outside, file, inside)]
        unread += [f"{file}: {path}: {why}" for path, why in inside.unread.items()]
    return wrong or (some(unread) if unread else []) or ([] if found else NO_KERNEL)


def _modules(filesystem: Filesystem, outside: Tree, file: str, inside: Filesystem) -> Iterator[str]:
    own = tree(inside, folder_inside(inside, outside.version))
    yield from _other_modules(outside, inside)
    yield from _lacking(outside, own)
    yield from stale(inside, own)


def _start(filesystem: Filesystem, outside: Tree, file: str, inside: Filesystem) -> Iterator[str]:
    """What an initramfs lacks to start a system, where it is its kernel's own; one that only has its modules may be a part of it."""
    if inside.unread or file not in {*outside.files, *map(filesystem.resolved, initramfs_places(outside.folder))}:
        return
    told = arguments(filesystem)
    init, finders = last(told, OTHER_INIT) or INIT, list[str]()
    yield from _not_run(inside, init)
    yield from _told_otherwise(filesystem, inside)
    deployed = filesystem.kind("/sysroot") == "directory" and filesystem.kind("/ostree") == "link"
    if deployed:
        finders = [path for path in sorted(inside.entries) if FINDERS.fullmatch(path)]
        for path in finders:
            yield from _not_run(inside, path)
        if not finders:
            yield "nothing in it makes a root of what OSTree deploys (ostree-prepare-root)"
    built_in = kmod.built_in(filesystem.texts.get(f"{outside.folder}/modules.builtin.modinfo", b""))
    known = built_in | {module_name(path) for path in inside.modules}
    yield from _blacklisted(filesystem, inside, built_in)
    by_name = known & ROOTS if built_in and not built_in & ROOTS else frozenset[str]()
    yield from switch_root.unmet(inside, init, last(told, OTHER_UNIT), finders, by_name)
    if outside.modules and built_in and deployed:
        for what, drivers in (("disks", DISKS), ("file systems", ROOTS)):
            if not known & drivers:
                yield f"no driver of {what} is inside or built into the kernel, as {' or '.join(sorted(drivers))}"
    elif outside.modules and built_in and not inside.modules and not known & (DISKS | ROOTS | OTHER_ROOTS):
        yield "no module is inside, and no driver of disks or of their file systems is built into the kernel"


def _told_otherwise(filesystem: Filesystem, inside: Filesystem) -> Iterator[str]:
    """Kernel arguments by which it starts something else than the system."""
    told = arguments(filesystem)
    stops = (*STOPS, *(STOPS_DEBIAN if inside.kind(DEBIAN) else ()))
    yield from (
        f"the kernel's arguments stop it for a shell ({word})" for word in told if word in RESCUES or word.partition("=")[0] in stops
    )
    units = Units(filesystem=inside)
    if unit := last(told, OTHER_UNIT):
        if units.called(unit) in SHELLS:
            yield f"the kernel's arguments have it start a shell ({OTHER_UNIT}={unit})"
        elif units.file(RESCUE) and not units.file(unit):
            yield f"the kernel's arguments have it start {unit}, which is not inside"
    if program := last(told, OTHER_SYSTEM):
        end = filesystem.resolved(program)
        if filesystem.kind(end) != "file":
            yield f"the kernel's arguments have it start {program}, which leads to no file"
        elif not filesystem.entries[end].mode & 0o111:
            yield f"the kernel's arguments have it start {program}, which may not be executed"
        elif filesystem.kind(SYSTEMD) and not INITS.fullmatch(end.rpartition("/")[2]):
            yield f"the kernel's arguments have it start {end}, which is no init"


def _blacklisted(filesystem: Filesystem, inside: Filesystem, built_in: Set[str]) -> Iterator[str]:
    """Drivers without which no disk is seen, or no root mounted, that are inside and kept from being loaded.

    A file system's is asked for by name, which `module_blacklist` alone refuses.
    """
    told, there = arguments(filesystem), frozenset(map(module_name, inside.modules))
    roots = OURS if LOCK_PATH in filesystem.entries else ROOTS
    by_device = named(told, IN_INITRAMFS) | drop_ins.modprobe(inside).blacklist
    for what, drivers, off in (("disks", USUAL, by_device), ("file systems", roots, named(told, ("module_blacklist",)))):
        if (lost := there & drivers & off) and not (built_in | there - off) & drivers:
            yield f"blacklisted: {', '.join(sorted(lost))}; no other usual driver of {what} is inside or built into the kernel"


def _not_run(inside: Filesystem, program: str) -> Iterator[str]:
    """Why a program in an initramfs cannot be run."""
    path = inside.resolved(program)
    text = inside.text(program)
    if inside.kind(path) != "file":
        yield f"{program} leads to no file ({path})" if inside.kind(program) else f"{program} is not there"
    elif not inside.entries[path].mode & 0o111:
        yield f"{path} may not be executed"
    elif text is not None and text.startswith(SCRIPT):
        interpreter = next(iter(text.removeprefix(SCRIPT).split()), "")
        if inside.kind(inside.resolved(interpreter)) != "file":
            yield f"{path} is for the interpreter {interpreter}, which is not there"
        yield from lacking(inside, inside.resolved(interpreter))
    elif text is not None and path not in inside.binaries and path not in inside.damaged:
        yield f"{path} is neither a program nor a script"
    else:
        yield from lacking(inside, path)


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
        look=partial(_asked, problems=_modules),
        kernel=True,
    ),
    Check(
        name="initramfs-start",
        description="the initramfs starts the system: its init, what finds the root, and drivers of disks",
        look=partial(_asked, problems=_start),
        kernel=True,
    ),
)
