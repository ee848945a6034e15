"""depmod's indexes are what depmod would make of the modules that are there: modprobe and udev go by nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from aistack.compose.checks.tree import NO_KERNEL, NOT_MERGED, Tree, trees
from aistack.compose.findings import Check
from aistack.facts import kmod
from aistack.facts.filesystem import Filesystem
from aistack.facts.kernel_files import module_name

DEPENDENCIES, ALIASES = "modules.dep", "modules.alias"
BINARY = ".bin"
INDEXES = tuple(name + ending for name in (DEPENDENCIES, ALIASES) for ending in ("", BINARY))


def _indexes(filesystem: Filesystem) -> list[str] | str:
    found = trees(filesystem)
    unmade = [tree.folder for tree in found if not tree.files and not any(filesystem.kind(f"{tree.folder}/{name}") for name in INDEXES)]
    wrong = [problem for tree in found if tree.folder not in unmade for problem in stale(filesystem, tree)]
    if filesystem.kind("/etc"):  # else it is no system's root, and nothing looks for modules in it
        wrong += [f"modprobe looks in {NOT_MERGED}, which does not lead to {tree.folder}" for tree in found if _missed(filesystem, tree)]
    return wrong or (f"for {', '.join(unmade)} there are no indexes and no kernel" if unmade else [] if found else NO_KERNEL)


def _missed(filesystem: Filesystem, tree: Tree) -> bool:
    return filesystem.resolved(f"{NOT_MERGED}/{tree.version}") != tree.folder


def stale(filesystem: Filesystem, tree: Tree) -> Iterator[str]:
    """What the indexes beside modules say that is not so, in an image or an initramfs."""
    needed = dependencies(tree)
    modules = {tree.short(path): path for path in tree.modules}
    claimed = frozenset((kmod.normal(alias), module_name(path)) for path, module in tree.modules.items() for alias in module.aliases)
    for name in (DEPENDENCIES, ALIASES):
        files = {file: filesystem.texts.get(file) for file in (f"{tree.folder}/{name}", f"{tree.folder}/{name}{BINARY}")}
        if tree.modules and not any(data is not None for data in files.values()):
            yield f"{tree.folder}/{name} is not there"
        for file, data in files.items():
            try:
                if data is not None and name == DEPENDENCIES:
                    yield from _other_dependencies(file, _dependencies(file, data), needed, modules)
                elif data is not None:
                    yield from _other_aliases(file, _aliases(file, data), claimed)
            except ValueError as error:
                yield f"{file}: {error}"


def _dependencies(file: str, data: bytes) -> dict[str, frozenset[str]]:
    lines = [value for _, value in kmod.index(data)] if file.endswith(BINARY) else data.decode(errors="replace").splitlines()
    return kmod.dependencies(lines)


def _aliases(file: str, data: bytes) -> frozenset[tuple[str, str]]:
    if file.endswith(BINARY):
        return frozenset(kmod.index(data))
    return frozenset((kmod.normal(alias), module) for alias, module in kmod.aliases(data.decode(errors="replace").splitlines()))


def _other_dependencies(
    file: str, found: Mapping[str, frozenset[str]], needed: Mapping[str, frozenset[str]], modules: Mapping[str, str]
) -> Iterator[str]:
    for module in sorted(found.keys() | modules.keys()):
        if module not in modules:
            yield f"{file} names {module}, which is not there"
        elif module not in found:
            yield f"{file} does not know {module}"
        elif found[module] != needed[module]:
            yield f"{file} is not current: {module} needs {', '.join(sorted(needed[module])) or 'no other module'}"


def _other_aliases(file: str, found: frozenset[tuple[str, str]], claimed: frozenset[tuple[str, str]]) -> Iterator[str]:
    for alias, module in sorted(claimed - found):
        yield f"{file} does not know that {module} is for {alias}"
    for alias, module in sorted(found - claimed):
        yield f"{file} names {module} for {alias}, which it does not claim"


def dependencies(tree: Tree) -> dict[str, frozenset[str]]:
    """Every module that a module needs, directly or not, by the symbols that they use; paths below the tree's folder."""
    exporters = {symbol: tree.short(next(iter(paths))) for symbol, paths in tree.exports().items() if len(paths) == 1}
    direct = {
        tree.short(path): {exporters[symbol] for symbol in module.needs if symbol in exporters} for path, module in tree.modules.items()
    }
    whole: dict[str, frozenset[str]] = {}
    for module in direct:
        seen, left = set[str](), [*direct[module]]
        while left:
            needed = left.pop()
            if needed not in seen:
                seen.add(needed)
                left += direct[needed]
        whole[module] = frozenset(seen - {module})
    return whole


CHECKS = (
    Check(name="module-indexes", description="depmod's indexes are made from the modules that are there", look=_indexes, kernel=True),
)
