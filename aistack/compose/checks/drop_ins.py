"""What folders of settings say that are merged by the names of their files: modprobe.d(5), modules-load.d(5), sysctl.d(5), udev(7)."""

from __future__ import annotations

from collections.abc import Iterator

from aistack.facts import kmod
from aistack.facts.filesystem import Filesystem

ROOTS = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
MODULES_LOAD, SYSCTL, RULES = (tuple(f"{root}/{name}/" for root in ROOTS) for name in ("modules-load.d", "sysctl.d", "udev/rules.d"))


def files(filesystem: Filesystem, folders: tuple[str, ...], ending: str = ".conf") -> Iterator[tuple[str, str]]:
    """The files that count, by their names: a path and its text. Of two with one name the first folder's counts, a masked one is empty."""
    found: dict[str, str] = {}
    for folder in folders:
        for path in filesystem.below(folder):
            if path.endswith(ending):
                found.setdefault(path.rpartition("/")[2], path)
    yield from ((path, filesystem.text(path) or "") for _, path in sorted(found.items()))


def modprobe(filesystem: Filesystem) -> kmod.Configuration:
    """modprobe's configuration."""
    return kmod.configuration(text for _, text in files(filesystem, kmod.CONFIGURATION))


def modules_load(filesystem: Filesystem) -> frozenset[str]:
    """The modules that systemd loads when a system starts, save those that are blacklisted."""
    lines = (line.strip() for _, text in files(filesystem, MODULES_LOAD) for line in text.splitlines())
    return frozenset(kmod.normal(line) for line in lines if line and line[0] not in "#;") - modprobe(filesystem).blacklist


def sysctl(filesystem: Filesystem, name: str) -> str | None:
    """What a setting of the kernel's is set to when a system starts; None where nothing sets it."""
    value = None
    for _, text in files(filesystem, SYSCTL):
        for line in text.splitlines():
            key, sign, said = line.partition("=")
            if sign and key.strip().lstrip("-").replace("/", ".") == name:
                value = said.strip()
    return value
