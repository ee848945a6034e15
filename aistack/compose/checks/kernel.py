"""One kernel, and modules that were built for it: version strings, symbols with their checksums, licences, depmod's indexes.

What a kernel refuses is told in the kernel's source: kernel/module/main.c and version.c.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from aistack.compose.checks.tree import NO_KERNEL, Tree, alone, setting, trees
from aistack.compose.findings import Check, some
from aistack.facts import kmod
from aistack.facts.binary import DRIVER_FILE
from aistack.facts.filesystem import Filesystem
from aistack.facts.kernel_files import INITRAMFS_FILE, KERNEL_FILE, PERMITTED, UNIFIED_FILE, Export, Module, module_name

USED = re.compile(
    r"(?:/usr)?/lib/(?:modules|firmware)/.*|.*/(?:bin|sbin|libexec)/.*|.*\.so[.\d]*"
    rf"|{KERNEL_FILE.pattern}|{INITRAMFS_FILE.pattern}|{UNIFIED_FILE.pattern}|{DRIVER_FILE.pattern}"
)
"""Binaries that are loaded or run; others may be damaged to test programs with."""


def _readable(filesystem: Filesystem) -> list[str] | str:
    unread = list(_unread(filesystem))
    return _damaged(filesystem, boots=bool(trees(filesystem))) or (some(unread) if unread else [])


def _damaged(filesystem: Filesystem, *, boots: bool) -> list[str]:
    """An empty file in the place of one of the driver's is where a container's runtime mounted that of a node."""
    wrong = [
        f"{path}: {why}"
        for path, why in sorted(filesystem.damaged.items())
        if USED.fullmatch(path) and (boots or filesystem.entries[path].size or not DRIVER_FILE.fullmatch(path))
    ]
    inner = filesystem.initramfs.items()
    return wrong + [f"{image}: {problem}" for image, inside in inner for problem in _damaged(inside, boots=boots)]


def _unread(filesystem: Filesystem) -> Iterator[str]:
    yield from (f"{path}: {why}" for path, why in sorted(filesystem.unread.items()))
    yield from (f"{image}: {problem}" for image, inside in filesystem.initramfs.items() for problem in _unread(inside))


def _one_tree(filesystem: Filesystem) -> list[str]:
    kernels = sorted({tree.version for tree in trees(filesystem) if tree.files})
    wrong = [f"{folder} has {count} modules and no kernel" for folder, count in sorted(alone(filesystem).items())]
    return wrong + ([f"kernels: {', '.join(kernels)}"] if len(kernels) > 1 else [])


def _versions(filesystem: Filesystem) -> list[str] | str:
    found = trees(filesystem)
    said = [(file, tree.version, filesystem.kernels.get(file)) for tree in found for file in tree.files]
    wrong = [f"{file} says that it is {kernel.version}" for file, version, kernel in said if kernel and kernel.version != version]
    unread = [f"{file} cannot be read" for file, _, kernel in said if not kernel]
    unread += [f"no kernel was found for the modules in {folder}" for folder in sorted(alone(filesystem))]
    return wrong or "; ".join(unread) or ([] if found else NO_KERNEL)


def _built_for(filesystem: Filesystem) -> list[str] | str:
    found = trees(filesystem)
    wrong, blind = [], []
    for tree in found:
        magic, size = _expected(tree)
        if tree.modules and not magic:
            blind.append(tree.version)
            continue
        for path, module in tree.modules.items():
            if not _fits(module, magic, linked=filesystem.kind(path) == "link"):
                wrong.append(f"{tree.short(path)} was built for `{module.vermagic}`, the kernel is `{magic}`")
            elif size and module.size != size:
                wrong.append(f"{tree.short(path)} has a `struct module` of {module.size} bytes, the kernel's own have {size}")
    if wrong or not blind:
        return wrong if found else NO_KERNEL
    return f"what {', '.join(blind)} wants of modules cannot be told: none of them came with it"


def _expected(tree: Tree) -> tuple[str, int]:
    """The vermagic that modules must have, and the size of their `struct module` (0: not known): the kernel's own say it, or it does."""
    own = [module for module in tree.modules.values() if module.in_tree]
    magic = Counter(module.vermagic for module in own).most_common(1)
    size = Counter(module.size for module in own).most_common(1)
    said = tree.kernel.vermagic if tree.kernel else ""
    return said or (magic[0][0] if magic else ""), size[0][0] if size else 0


def _fits(module: Module, magic: str, *, linked: bool) -> bool:
    """A module from another kernel's folder may be of another version where checksums tell whether it fits."""
    if linked and any(crc is not None for crc in module.needs.values()):
        return module.vermagic.partition(" ")[2] == magic.partition(" ")[2]
    return module.vermagic == magic


def _symbols(filesystem: Filesystem) -> list[str] | str:
    found = trees(filesystem)
    wrong = [problem for tree in found for problem in _unmet(tree)]
    blind = _blind(found)
    if wrong or not blind:
        return wrong if found else NO_KERNEL
    return f"what the kernel {', '.join(blind)} exports cannot be told from its file; what its modules say of it agrees"


def _blind(found: Iterable[Tree]) -> list[str]:
    """The kernels that do not tell what they export."""
    return [tree.version for tree in found if tree.kernel is None or tree.kernel.exports is None]


def _unmet(tree: Tree) -> Iterator[str]:
    known = tree.kernel.exports if tree.kernel else None
    exports = tree.exports()
    agreed = {} if known is not None else _agreed(tree)
    for path, module in tree.modules.items():
        lacking, others, unstated = [], [], []
        for symbol, crc in module.needs.items():
            offered = [known[symbol]] if known and symbol in known else list(exports.get(symbol, {}).values())
            if not offered and known is None:
                offered = [Export(crc=agreed.get(symbol, crc))]
            if not offered:
                if symbol not in module.weak:
                    lacking.append(symbol)
            elif crc is None and offered[0].crc is not None:
                unstated.append(symbol)
            elif all(offer.crc not in (None, crc) for offer in offered):
                others.append(f"{symbol} (0x{crc or 0:08x}, exported is 0x{offered[0].crc or 0:08x})")
        if lacking:
            yield f"{tree.short(path)} needs what nothing exports: {_few(lacking)}"
        if others:
            yield f"{tree.short(path)} was built against other versions of {_few(others)}"
        if unstated:
            yield f"{tree.short(path)} states no checksum for {_few(unstated)}, and the kernel asks for it"


def _agreed(tree: Tree) -> dict[str, int]:
    """The checksums of the kernel's symbols as the modules that came with it have them."""
    return {symbol: crc for module in tree.modules.values() if module.in_tree for symbol, crc in module.needs.items() if crc is not None}


def _few(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(sorted(names)[:3]) + more


def _terms(filesystem: Filesystem) -> list[str] | str:
    found = trees(filesystem)
    wrong = []
    for tree in found:
        known = tree.kernel.exports if tree.kernel and tree.kernel.exports else {}
        exports = tree.exports()
        lenient = setting(filesystem, tree.version, "CONFIG_MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS") == "y"
        for path, module in tree.modules.items():
            offers = {symbol: known.get(symbol) or next(iter(exports.get(symbol, {}).values()), None) for symbol in module.needs}
            gpl = [symbol for symbol, offer in offers.items() if offer and offer.gpl]
            if gpl and module.licence not in PERMITTED:
                wrong.append(f"{tree.short(path)} (licence `{module.licence}`) uses what is for GPL modules only: {_few(gpl)}")
            spaces = {offer.namespace for offer in offers.values() if offer and offer.namespace}
            closed = [space for space in sorted(spaces) if not _imports(module, module_name(path), space)]
            if closed and not lenient:
                wrong.append(f"{tree.short(path)} does not import the namespace {', '.join(closed)}, from which it takes symbols")
    if wrong or not (blind := _blind(found)):
        return wrong if found else NO_KERNEL
    return f"what the kernel {', '.join(blind)} exports, and to whom, cannot be told from its file"


def _imports(module: Module, name: str, namespace: str) -> bool:
    """Whether a module may use a namespace: it imports it, or the namespace is for modules of its name (`module:kvm,snd-*`)."""
    if not namespace.startswith("module:"):
        return namespace in module.imports
    patterns = (kmod.normal(pattern) for pattern in namespace.removeprefix("module:").split(","))
    return any(name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern for pattern in patterns)


CHECKS = (
    Check(name="readable-binaries", description="every kernel, module, program and library can be read", look=_readable),
    Check(name="one-kernel-tree", description="one kernel, and no modules of another", look=_one_tree, bootable=True),
    Check(name="kernel-version", description="the kernel is of the version that its folder names", look=_versions, kernel=True),
    Check(name="vermagic", description="every module was built for the kernel", look=_built_for, kernel=True),
    Check(
        name="module-symbols",
        description="every symbol that a module needs is exported, in the version that it was built against",
        look=_symbols,
        kernel=True,
    ),
    Check(name="module-terms", description="no module uses what its licence or its imports forbid", look=_terms, kernel=True),
)
