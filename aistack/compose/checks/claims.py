"""Which driver an accelerator gets: who claims it, what keeps others from it, and what would keep the right one from it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from fnmatch import fnmatchcase

from aistack.compose.checks import drop_ins, udev
from aistack.compose.checks.cmdline import EVERYWHERE, IN_INITRAMFS, arguments, named
from aistack.compose.checks.expected import Expected
from aistack.compose.checks.indexes import dependencies
from aistack.compose.checks.tree import Tree, trees
from aistack.facts import install_lines, kmod, module_parameters, pci
from aistack.facts.filesystem import Filesystem
from aistack.facts.kernel_files import Module, module_name

Needed = Mapping[str, frozenset[str]]
"""Every module that a module needs, as `indexes.dependencies`."""
CLASSES = ("03", "12")
"""Displays, and accelerators that show nothing; other functions of a product, such as its sound, are of other classes."""

SETTING_MODES = ("nouveau", "radeon", "i915", "xe", "amdgpu")
"""Drivers that take no device where the kernel is told `nomodeset`: `drm_firmware_drivers_only` in their sources."""
TURNED_OFF = SETTING_MODES[:3]
"""Those of them that take none with `modeset=0` either."""
TAKERS = ("vfio_pci", "pci_stub")
"""Drivers that have no devices but those that they are told to take from others: `ids=VENDOR:DEVICE[:...],...`."""
EARLY = ("rd.driver.pre", "modules-load", "modules_load", "rd.modules-load", "rd.modules_load")
"""Arguments that name modules to load before any device has a driver: dracut.cmdline(7), systemd-modules-load.service(8)."""
ANY_ID = 0xFFFFFFFF
LOCKED = "kernel.modules_disabled"
NO_MODULES, OFF = ("nomodule", f"sysctl.{LOCKED}"), ("0", "n", "no", "off")
"""The arguments with which the kernel loads no module, the setting by which it loads no more, and what such an argument says to no avail:
https://docs.kernel.org/admin-guide/sysctl/kernel.html#modules-disabled."""
KEY = re.compile(r'([A-Z]+(?:\{[^}]*\})?)\s*([=!]=|[+:-]?=)\s*"([^"]*)"')
OVERRIDE = "ATTR{driver_override}"
"""What udev's rules say and ask, and the file by which a device is kept for one driver:
https://docs.kernel.org/admin-guide/abi-testing.html#abi-sys-bus-pci-devices-driver-override."""
ASKED = ("nvidia", "nvidia_uvm")
"""Modules that programs ask for by these names, whatever a distribution calls their files: nvidia-modprobe(1)."""


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
        own_names = {name for path in wanted for name in _names(tree, path)}
        first = _loaded_first(filesystem, own_names)
        for name in sorted(others - own_names):
            wrong += [f"{name} is for the same devices, and {why}" for why in _free(filesystem, tree, name, first)]
        wrong += _taken(filesystem, tree, expected, own_names)
        wrong += _overridden(filesystem, expected, own_names)
    return wrong


def _names(tree: Tree, path: str) -> frozenset[str]:
    """What a module is called: as its file is, and as it says itself."""
    return frozenset((module_name(path), kmod.normal(tree.modules[path].name)))


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


def _free(filesystem: Filesystem, tree: Tree, name: str, first: Set[str]) -> Iterator[str]:
    """Where nothing keeps a module from devices, of which some are loaded first whatever blacklists say."""
    if all(module_name(path) != name for path in tree.modules):
        if name not in _unbound({}, arguments(filesystem)):
            yield "built into the kernel"
    elif not _is_kept_away(name, filesystem):
        yield "not blacklisted"
    elif name in first and not _is_powerless(name, drop_ins.modprobe(filesystem), arguments(filesystem)):
        yield "loaded before it all the same"
    elif any(_is_free_inside(filesystem, filesystem.initramfs[image], name) for image in tree.images if image in filesystem.initramfs):
        yield "in the initramfs not blacklisted"


def _is_free_inside(filesystem: Filesystem, inside: Filesystem, name: str) -> bool:
    there = any(module_name(path) == name for path in inside.modules)
    return there and not _is_kept_away(name, inside, IN_INITRAMFS, filesystem)


def _loaded_first(filesystem: Filesystem, names: Iterable[str], image: Filesystem | None = None) -> frozenset[str]:
    """What is loaded before modules of those names, as `softdep` and `install` lines, `modules-load.d` or the kernel's arguments say.

    Of a file system that is an initramfs, these are its image's.
    """
    settings, told = drop_ins.modprobe(filesystem), arguments(image or filesystem)
    found = named(told, EARLY) | (drop_ins.modules_load(filesystem) - named(told, EVERYWHERE))
    for name in names:
        found |= settings.loaded_before(name) | (install_lines.loaded(settings, name) or frozenset())
    return found


def _taken(filesystem: Filesystem, tree: Tree, expected: Expected, own_names: Set[str]) -> Iterator[str]:
    """Expected accelerators that a driver takes which takes whatever it is told to.

    By an argument of the kernel's it is told so to be the first; by an option, when it is loaded, which a device alone never does: here, or
    in the initramfs.
    """
    insides = [filesystem.initramfs[image] for image in tree.images if image in filesystem.initramfs]
    first = _loaded_first(filesystem, own_names)
    settings, told = drop_ins.modprobe(filesystem), arguments(filesystem)
    compiled_in = kmod.built_in(filesystem.texts.get(f"{tree.folder}/modules.builtin.modinfo", b""))
    for name in TAKERS:
        modules = any(module_name(path) == name for path in tree.modules)
        if not (name in compiled_in or (modules and not _is_powerless(name, settings, told))):
            continue
        options = [settings.options.get(name, ()) if modules and name in first else ()]
        options += [drop_ins.modprobe(inside).options.get(name, ()) for inside in insides if _loads(inside, name, own_names, filesystem)]
        said = [[word for word in (*words, *_options(told, name)) if word.startswith("ids=")] for words in options]
        ids = {one for words in said for one in "".join(words[-1:]).removeprefix("ids=").split(",")}
        for identity in expected.pci_ids:
            if any(_means(one, identity) for one in ids):
                yield f"{name.replace('_', '-')} is told to take {identity} before the driver can"


def _loads(inside: Filesystem, name: str, own_names: Set[str], image: Filesystem) -> bool:
    """Whether a module is loaded in an initramfs, where it has it."""
    return any(module_name(path) == name for path in inside.modules) and name in _loaded_first(inside, own_names, image)


def _overridden(filesystem: Filesystem, expected: Expected, own_names: Set[str]) -> Iterator[str]:
    """Expected accelerators that a rule of udev's gives to another driver; of a file that jumps over rules it is not known what counts."""
    for path, text in drop_ins.files(filesystem, drop_ins.RULES, ".rules"):
        for line in [] if "GOTO" in text else text.replace("\\\n", " ").splitlines():
            keys = [(key, sign, value) for key, sign, value in KEY.findall(line) if not line.lstrip().startswith("#")]
            given = "".join([value for key, sign, value in keys if key == OVERRIDE and sign in ("=", ":=")][-1:])
            matched = {key for key, sign, _ in keys if sign == "=="}
            for identity in expected.pci_ids if given and "ATTR{vendor}" in matched and kmod.normal(given) not in own_names else ():
                if all(_is_for(key, sign, value, identity) for key, sign, value in keys if sign in ("==", "!=")):
                    yield f"{path} gives {identity} to {given} (driver_override)"


def _is_for(key: str, sign: str, pattern: str, identity: str) -> bool:
    """Whether a rule of udev's with that key is for every device with an identity; one for certain of them need not be for any."""
    vendor, device = (f"0x{name.lower().zfill(4)}" for name in identity.split(":"))
    values = {
        "ACTION": ("add", "bind", "change"),
        "SUBSYSTEM": ("pci",),
        "ATTR{vendor}": (vendor,),
        "ATTR{device}": (device,),
        "ATTR{class}": tuple(f"0x{number}00" for number in pci.ACCELERATOR_CLASSES),
    }
    found = any(fnmatchcase(value, one) for value in values.get(key, ()) for one in pattern.split("|"))
    return key in values and found is (sign == "==")


def _means(said: str, identity: str) -> bool:
    """Whether one of `ids` is for that accelerator, on one card at least."""
    try:
        vendor, device, *_ = (int(number, 16) for number in said.split(":"))
        wanted = [int(number, 16) for number in identity.split(":")]
    except ValueError:
        return False
    return all(one in (other, ANY_ID) for one, other in zip((vendor, device), wanted, strict=True))


def kept_away(filesystem: Filesystem) -> frozenset[str]:
    """The modules that are said to get no device, by modprobe's configuration or by kernel arguments."""
    settings, told = drop_ins.modprobe(filesystem), arguments(filesystem)
    nothing = {name for name in settings.install if install_lines.loaded(settings, name) == frozenset()}
    return settings.blacklist | named(told, EVERYWHERE) | nothing | _unbound(settings.options, told)


def _is_kept_away(name: str, filesystem: Filesystem, words: tuple[str, ...] = EVERYWHERE, image: Filesystem | None = None) -> bool:
    """Whether a module gets no device for which nobody asks for it, in a file system with the kernel arguments of its image."""
    settings, told = drop_ins.modprobe(filesystem), arguments(image or filesystem)
    return name in settings.blacklist | named(told, words) or _is_powerless(name, settings, told)


def _is_powerless(name: str, settings: kmod.Configuration, told: tuple[str, ...]) -> bool:
    """Whether a module gets no device even where one asks for it: nothing loads it, or loaded it takes none."""
    loaded = install_lines.loaded(settings, name)
    return name in named(told, ("module_blacklist",)) | _unbound(settings.options, told) or (loaded is not None and name not in loaded)


def _unbound(options: Mapping[str, tuple[str, ...]], told: tuple[str, ...]) -> frozenset[str]:
    """Drivers that take no device, by their own options or the kernel's arguments; the last one counts."""
    found = set()
    for name in SETTING_MODES:
        said = [word.partition("=")[2] for word in (*options.get(name, ()), *_options(told, name)) if word.startswith("modeset=")]
        if (said[-1:] == ["0"] and name in TURNED_OFF) or (said[-1:] in ([], ["-1"]) and "nomodeset" in told):
            found.add(name)
    return frozenset(found)


def _options(told: Iterable[str], name: str) -> Iterator[str]:
    """The options of a module among the kernel's arguments (`nouveau.modeset=0`)."""
    pairs = (word.partition(".") for word in told)
    return (option for module, _, option in pairs if kmod.normal(module) == name)


def disabled(filesystem: Filesystem, expected: Expected) -> list[str]:
    """What keeps an accelerator's own driver, or what it needs, from being loaded, or from devices once it is."""
    settings, told = drop_ins.modprobe(filesystem), arguments(filesystem)
    wrong = []
    for tree in trees(filesystem):
        wanted = drivers(tree, expected)
        if not wanted:
            continue
        needed, short = dependencies(tree), {tree.short(path) for path in wanted}
        parts = {
            path for path, module in tree.modules.items() if path in wanted or (not module.in_tree and needed[tree.short(path)] & short)
        }
        names: dict[str, frozenset[str]] = {}  # more than one driver's module may say the same name
        for called in (_names(tree, path) for path in parts):
            names |= {name: names.get(name, frozenset()) | called for name in called}
        blacklisted = settings.blacklist | named(told, EVERYWHERE)
        wrong += [f"{name} is blacklisted, and belongs to the accelerator's driver" for name in sorted(names.keys() & blacklisted)]
        wrong += [f"{name} is told to take no device (modeset)" for name in sorted(names.keys() & _unbound(settings.options, told))]
        names |= {
            module_name(needs): frozenset((module_name(needs),))
            for path in parts
            for needs in needed[tree.short(path)]
            if module_name(needs) not in names
        }
        there = {module_name(path): tree.short(path) for path in tree.modules}
        for name, called in sorted(names.items()):
            loaded = install_lines.loaded(settings, name)
            if loaded is None or called & loaded:
                continue
            if any(called & {module_name(path) for path in needed[there[one]]} for one in loaded & there.keys()):
                continue
            if others := sorted(loaded - there.keys() - names.keys()):
                wrong.append(f"modprobe loads {' and '.join(others)} in the place of {name}, and that is not there")
            else:
                wrong.append(f"{name} is never loaded: modprobe runs `{settings.command(name)}` instead")
        wrong += (problem for path in sorted(parts) for problem in _refused(tree.modules[path], module_name(path), settings, told))
        wrong += _none_loaded(filesystem, tree, wanted.keys(), settings, needed)
        if not _loaded_by_name(filesystem, tree, wanted.keys(), settings, needed):
            wrong += (why for why in udev.silenced(filesystem) if why not in wrong)
        wrong += _not_by_device(tree, wanted, expected, settings, needed)
        wrong += _not_by_name(filesystem, tree, parts, settings, needed)
    return wrong


def _refused(module: Module, name: str, settings: kmod.Configuration, told: Iterable[str]) -> Iterator[str]:
    """Options with which a module is not loaded.

    modprobe gives it those of its file's name, of the aliases for that and, by `$CMDLINE_OPTS`, of names whose `install` line asks for it.
    """
    kinds = {kmod.normal(parameter): kind for parameter, kind in module.parameters}
    passed = re.compile(rf"(?<!\w){re.escape(name).replace('_', '[-_]')}\s[^;&|]*\$CMDLINE_OPTS")
    own = {name} | {called for called in (*settings.options, *settings.install) if name in settings.aliased(called)}
    own |= {called for called, command in settings.install.items() if passed.search(command)}
    for word in (word for called in sorted(own) for word in (*settings.options.get(called, ()), *_options(told, called))):
        parameter, sign, value = word.partition("=")
        kind = kinds.get(kmod.normal(parameter), "")
        if module_parameters.refuses(kind, value.removeprefix('"').removesuffix('"') if sign else None):
            yield f"{name} is not loaded with the option {word}: that is of the type {kind}"


def _none_loaded(filesystem: Filesystem, tree: Tree, wanted: Set[str], settings: kmod.Configuration, needed: Needed) -> Iterator[str]:
    """What keeps the kernel from loading any module: from its start on, or from when settings are made, which is after modules-load.d."""
    values = {word.partition("=")[0]: word.partition("=")[2] for word in arguments(filesystem)}
    yield from (f"the kernel loads no module at all ({word})" for word in NO_MODULES if values.get(word, "0").lower() not in OFF)
    inside = [path for image in tree.images if image in filesystem.initramfs for path in filesystem.initramfs[image].modules]
    first = frozenset(map(module_name, inside))
    if drop_ins.sysctl(filesystem, LOCKED) == "1" and not _loaded_by_name(filesystem, tree, wanted, settings, needed, first):
        yield f"no module can be loaded any more once settings are made ({LOCKED} in sysctl.d), and nothing loads the driver before"


def _loaded_by_name(
    filesystem: Filesystem, tree: Tree, wanted: Set[str], settings: kmod.Configuration, needed: Needed, more: Set[str] = frozenset()
) -> bool:
    """Whether a start loads one of those modules, or what needs it, without being asked by a device; `more` are loaded as well."""
    first = named(arguments(filesystem), EARLY) | drop_ins.modules_load(filesystem) | more
    return any(_leads(tree, wanted, install_lines.called(settings, name), needed) for name in first)


def _not_by_device(
    tree: Tree, wanted: Mapping[str, Set[pci.Pattern]], expected: Expected, settings: kmod.Configuration, needed: Needed
) -> Iterator[str]:
    """Accelerators that modprobe's own aliases, which count before the indexes, give to other modules than to a driver's."""
    claimed = frozenset().union(*wanted.values())
    products = [pci.product(identity, number) for identity in expected.pci_ids for number in CLASSES]
    devices = {found for one in claimed for product in products if (found := pci.common(one, product))} or claimed
    for device in sorted(devices):
        given = settings.aliased(kmod.normal(pci.modalias(device)))
        own = {path for path, claims in wanted.items() if any(pci.common(claim, device) for claim in claims)}
        if given and not any(_leads(tree, own, install_lines.loaded(settings, name), needed) for name in given):
            yield f"modprobe's aliases give {pci.modalias(device)} to {' and '.join(sorted(given))}, and not to the accelerator's driver"


def _not_by_name(filesystem: Filesystem, tree: Tree, parts: Set[str], settings: kmod.Configuration, needed: Needed) -> Iterator[str]:
    """Modules that programs do not get by the name that they ask for, where nothing else loads them."""
    first = named(arguments(filesystem), EARLY) | drop_ins.modules_load(filesystem)
    for name in ASKED:
        own = {path for path in parts if kmod.normal(tree.modules[path].name) == name}
        if not own or first & {module_name(path) for path in own} or (settings.command(name) and not settings.aliased(name)):
            continue
        found = install_lines.called(settings, name)
        if found == frozenset((name,)):  # which may be what a module says in its aliases
            found |= {module_name(path) for path, module in tree.modules.items() if name in map(kmod.normal, module.aliases)}
        if not _leads(tree, own, found, needed):
            short = sorted(map(tree.short, own))[0]
            yield f"modprobe does not find {short} as {name}, which programs ask for"


def _leads(tree: Tree, own: Set[str], loaded: Set[str] | None, needed: Needed) -> bool:
    """Whether one of those modules is loaded where modules of these names are (None: any may be), or what they need is."""
    if loaded is None:
        return True
    files = [path for path in tree.modules if module_name(path) in loaded]
    return any(path in own or needed[tree.short(path)] & {tree.short(one) for one in own} for path in files)
