"""The kernel arguments that an image asks for: in bootc's files, and where other installers than ours find them.

kernel-install(8) has /etc/kernel/cmdline, else /usr/lib/kernel/cmdline: https://man7.org/linux/man-pages/man8/kernel-install.8.html. GRUB's
scripts have variables of a shell: https://www.gnu.org/software/grub/manual/grub/html_node/Simple-configuration.html.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator

from aistack.compose.render.system import LOCK_PATH
from aistack.facts import kargs, kmod
from aistack.facts.filesystem import Filesystem

LINES = ("/etc/kernel/cmdline", "/usr/lib/kernel/cmdline")
GRUB = re.compile(r"/etc/default/grub(?:\.d/[^/]+\.cfg)?")
EVERYWHERE = ("modprobe.blacklist", "module_blacklist")
IN_INITRAMFS = (*EVERYWHERE, "rd.driver.blacklist")
"""Arguments that keep modules from being loaded for devices: kernel-parameters, modprobe(8), dracut.cmdline(7)."""
VARIABLE = re.compile(r"\s*(?:export\s+)?(GRUB_CMDLINE_LINUX(?:_DEFAULT)?)(\+?)=(.*)")


def wanted(path: str) -> bool:
    """The files that are read for it, beside bootc's."""
    return path in LINES or bool(GRUB.fullmatch(path))


def arguments(filesystem: Filesystem) -> tuple[str, ...]:
    """Every argument; of an image with a lock those in bootc's files, as nothing else counts where we install it."""
    own = tuple(_of_bootc(filesystem))
    if LOCK_PATH in filesystem.entries:
        return own
    line = next((text for path in LINES if (text := filesystem.text(path)) is not None), "")
    words = (word for text in line.splitlines() if not text.startswith("#") for word in kargs.split(text))
    return (*own, *words, *_of_grub(filesystem))


def named(told: Iterable[str], words: tuple[str, ...]) -> frozenset[str]:
    """The modules that arguments of those names list."""
    pairs = (argument.partition("=") for argument in told)
    return frozenset(kmod.normal(name) for word, _, names in pairs if word in words for name in names.split(",") if name)


def last(told: Iterable[str], word: str) -> str | None:
    """What the last argument of that name says; None where there is none."""
    return next((said.partition("=")[2] for said in reversed(tuple(told)) if said.partition("=")[:2] == (word, "=")), None)


def _of_bootc(filesystem: Filesystem) -> Iterator[str]:
    """Those of bootc's files that are for the image's architecture; of an image that does not say it, those for every one."""
    machine = kargs.MACHINES.get(filesystem.arch, filesystem.arch)
    for path in filesystem.below(kargs.FOLDER):
        try:
            words, machines = kargs.read(filesystem.texts.get(path, b"")) if path.endswith(".toml") else ((), None)
        except ValueError:
            continue  # `bootc-kargs` tells
        if machines is None or not machine or machine in machines:
            yield from words


def _of_grub(filesystem: Filesystem) -> Iterator[str]:
    """What GRUB's variables say at the end, where files take up what is in them already."""
    values: dict[str, str] = {}
    for path in sorted(path for path in filesystem.texts if GRUB.fullmatch(path)):
        for line in (filesystem.text(path) or "").splitlines():
            if said := VARIABLE.fullmatch(line):
                name, more, value = said.groups()
                try:
                    value = next(iter(shlex.split(value, comments=True)), "")
                except ValueError:
                    continue  # the shell would not read it either
                value = re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda found: values.get(found[1] or found[2], ""), value)
                values[name] = values.get(name, "") + value if more else value
    for value in values.values():
        yield from kargs.split(value)
