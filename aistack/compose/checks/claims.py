"""Which driver an accelerator gets: who claims it, what keeps others from it, and what would keep the right one from it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from aistack.compose.checks.expected import Expected
from aistack.compose.checks.indexes import dependencies
from aistack.compose.checks.tree import Tree, arguments, trees
from aistack.facts import kmod, pci
from aistack.facts.filesystem import Filesystem
from aistack.facts.kernel_files import module_name

CLASSES = ("03", "12")
"""Displays, and accelerators that show nothing; other functions of a product, such as its sound, are of other classes."""

EVERYWHERE = ("modprobe.blacklist", "module_blacklist")
IN_INITRAMFS = (*EVERYWHERE, "rd.driver.blacklist")
NOTHING = re.compile(r"(?:\S*/)?(?:true|false)\b.*|:")
"""Commands in the place of a module that load nothing."""
INSTEAD = re.compile(r"\bmodprobe +(?:\S+ +)*?(?:-i|--ignore-install) +([\w-]+)")


def patterns(aliases: Iterable[str], identity: str = "*:*") -> frozenset[pci.Pattern]:
    """The accelerators that aliases mean, of those with that identity."""
    claimed = [found for alias in aliases if (found := pci.pattern(alias))]
    narrowed = (pci.common(claim, pci.product(identity, number)) for claim in claimed for number in CLASSES)
    return frozenset(found for found in narrowed if found)


def drivers(tree: Tree, expected: Expected) -> dict[str, frozenset[pci.Pattern]]:
    """The modules that are to have accelerators, by path, each with those that it claims.

    These are all that did not come with the kernel and, where none of them claims the expected accelerator, those that did.
    """
    found = {path: patterns(module.aliases) for path, module in tree.modules.items() if not module.in_tree}
    for identity in expected.pci_ids:
        if not any(patterns(tree.modules[path].aliases, identity) for path in found):
            found |= {path: claims for path, module in tree.modules.items() if (claims := patterns(module.aliases, identity))}
    return {path: claims for path, claims in found.items() if claims}


def rivals(filesystem: Filesystem, expected: Expected) -> list[str] | str:
    """Modules that claim what a driver is to have and that nothing keeps from it, and accelerators that no module claims."""
    wrong: list[str] = []
    for tree in trees(filesystem):
        wanted = drivers(tree, expected)
        own = sorted(tree.short(path) for path in wanted if tree.modules[path].in_tree)
        if len(own) > 1:
            return f"{' and '.join(own)} claim {' and '.join(expected.pci_ids)}: which of them gets it cannot be told"
        for identity in expected.pci_ids:
            if not any(patterns(tree.modules[path].aliases, identity) for path in wanted):
                wrong.append(f"no module is for the accelerator {identity}")
        if not wanted:
            continue
        devices = {pci.product(identity, number) for identity in expected.pci_ids for number in CLASSES}.union(*wanted.values())
        others = _claiming(filesystem, tree, devices)
        others -= {name for path in wanted for name in (module_name(path), kmod.normal(tree.modules[path].name))}
        for name in sorted(others):
            wrong += [f"{name} is for the same devices, and {why}" for why in _free(filesystem, tree, name)]
    return wrong


def _claiming(filesystem: Filesystem, tree: Tree, wanted: set[pci.Pattern]) -> set[str]:
    """The names of all modules, those that are built in too, that claim what is wanted.

    An alias without a class is for one device: it counts where that very device is wanted, as another may be of another class.
    """
    aliases = [(alias, module_name(path)) for path, module in tree.modules.items() for alias in module.aliases]
    aliases += kmod.built_in_aliases(filesystem.texts.get(f"{tree.folder}/modules.builtin.modinfo", b""))
    claims = [(claim, name) for alias, name in aliases if (claim := pci.pattern(alias))]
    return {
        name
        for claim, name in claims
        for one in wanted
        if pci.common(claim, one) and (claim.device_class in CLASSES or "*" != claim.device == one.device)
    }


def _free(filesystem: Filesystem, tree: Tree, name: str) -> Iterator[str]:
    """Where nothing keeps a module from devices."""
    if all(module_name(path) != name for path in tree.modules):
        yield "built into the kernel"
        return
    if name in kept_away(filesystem):
        inside = filesystem.initramfs.get(f"{tree.folder}/initramfs.img")
        if inside and any(module_name(path) == name for path in inside.modules) and name not in kept_away(inside, IN_INITRAMFS, filesystem):
            yield "in the initramfs not blacklisted"
    else:
        yield "not blacklisted"


def kept_away(filesystem: Filesystem, words: tuple[str, ...] = EVERYWHERE, image: Filesystem | None = None) -> frozenset[str]:
    """The modules that are not loaded for a device: by modprobe's configuration in a file system, or by its image's kernel arguments."""
    settings = configuration(filesystem)
    nothing = {name for name, command in settings.install.items() if NOTHING.fullmatch(command)}
    return settings.blacklist | nothing | _listed(image or filesystem, words)


def _listed(filesystem: Filesystem, words: tuple[str, ...]) -> set[str]:
    """The modules that kernel arguments of those names list."""
    pairs = (argument.partition("=") for argument in arguments(filesystem))
    return {kmod.normal(name) for word, _, names in pairs if word in words for name in names.split(",")}


def configuration(filesystem: Filesystem) -> kmod.Configuration:
    """modprobe's configuration: of files with one name, the first folder's counts."""
    files: dict[str, str] = {}
    for folder in kmod.CONFIGURATION:
        for path in filesystem.below(folder):
            if path.endswith(".conf"):
                files.setdefault(path.rpartition("/")[2], filesystem.text(path) or "")
    return kmod.configuration(text for _, text in sorted(files.items()))


def disabled(filesystem: Filesystem, expected: Expected) -> list[str]:
    """What keeps an accelerator's own driver, or what it needs, from being loaded."""
    settings, listed = configuration(filesystem), _listed(filesystem, EVERYWHERE)
    wrong = []
    for tree in trees(filesystem):
        wanted = drivers(tree, expected)
        if not wanted:
            continue
        needed, short = dependencies(tree), {tree.short(path) for path in wanted}
        parts = {
            path for path, module in tree.modules.items() if path in wanted or (not module.in_tree and needed[tree.short(path)] & short)
        }
        names = {name for path in parts for name in (module_name(path), kmod.normal(tree.modules[path].name))}
        wrong += [
            f"{name} is blacklisted, and belongs to the accelerator's driver" for name in sorted(names & (settings.blacklist | listed))
        ]
        there = {module_name(path) for path in tree.modules}
        names |= {module_name(needs) for path in parts for needs in needed[tree.short(path)]}
        for name in sorted(names & settings.install.keys()):
            command = settings.install[name]
            if NOTHING.fullmatch(command):
                wrong.append(f"{name} is never loaded: modprobe runs `{command}` instead")
            wrong += [
                f"modprobe loads {other} in the place of {name}, and that is not there"
                for other in INSTEAD.findall(command)
                if kmod.normal(other) not in there
            ]
    return wrong
