"""What systemd in an initramfs needs to find a system's root and to start the system there: bootup(7), systemd.special(7).

It is asked where OSTree deploys the root, or dracut made the initramfs: another one may be a whole system that stays in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from aistack.compose.checks import references, udev
from aistack.compose.checks.systemd import DEFAULT, EARLY, Units
from aistack.facts.filesystem import Filesystem

SYSTEMD = "systemd"
DRACUT = ("/usr/lib/dracut-lib.sh", "/lib/dracut-lib.sh")
RELEASE, FIRST = "/etc/initrd-release", "initrd.target"
"""By which systemd knows that it is in an initramfs, and what it starts there (older ones: the default target)."""
CLEANUP, SWITCH = "initrd-cleanup.service", "initrd-switch-root.target"
NEEDED = ("basic.target", EARLY, "initrd-root-fs.target", "initrd-parse-etc.service", CLEANUP, SWITCH, "initrd-switch-root.service")
"""Units that start each other by programs, so that no dependency leads from one to the next."""
SHELL = "/bin/sh"
MODPROBE = tuple(f"{folder}/modprobe" for folder in ("/sbin", "/usr/sbin", "/bin", "/usr/bin"))


def unmet(inside: Filesystem, init: str, told: str | None, finders: Sequence[str], by_name: Set[str]) -> Iterator[str]:
    """What an initramfs lacks whose init is systemd.

    `told` is the unit that an argument has it start, `finders` are the programs that make the root of what OSTree deploys, one of which a
    unit has to run (none: nothing is deployed); `by_name` are the modules inside of which the kernel itself asks modprobe for one.
    """
    dracut = any(map(inside.kind, DRACUT))
    if inside.resolved(init).rpartition("/")[2] != SYSTEMD or not (finders or dracut):
        return
    units = Units(filesystem=inside)
    first = told or (FIRST if units.file(FIRST) else DEFAULT)
    if not _is_file(inside, RELEASE):
        yield f"{RELEASE} leads to no file, and without it systemd starts no other system"
    if not (told or _is_file(inside, units.file(first))):
        yield f"there is no {FIRST} to start"
    devices = (udev.DAEMON, udev.TRIGGER) if inside.modules else ()
    for name in (*NEEDED, *devices):
        yield from _not_started(inside, units, name)
    yield from udev.silenced(inside) if devices else ()
    if by_name and not any(_is_file(inside, path) for path in MODPROBE):
        yield f"there is no modprobe, by which the kernel loads the root's file system ({', '.join(sorted(by_name))})"
    if dracut and not _is_file(inside, SHELL):
        yield f"{SHELL} leads to no file, and dracut's programs are scripts for it"
    started = frozenset().union(*map(units.starts, (first, CLEANUP, SWITCH)))
    said = [value for name in started for key, value in units.settings(name) if references.EXEC.fullmatch(key)]
    if finders and not any(path.rpartition("/")[2] in value for path in finders for value in said):
        yield f"no unit that is started there runs {finders[0]}"


def _not_started(inside: Filesystem, units: Units, name: str) -> Iterator[str]:
    """Why a unit, or a program of its, does not run."""
    path = units.file(name)
    if why := units.masked(name):
        yield why
    elif not _is_file(inside, path):
        yield f"{name} is not there" if not path else f"{path} leads to nothing"
    for program in references.needed_programs(units.settings(name)):
        if problem := references.unfit(inside, program, references.SYSTEMD_PATH):
            yield f"{name} names {program}, which {problem}"


def _is_file(inside: Filesystem, path: str) -> bool:
    return inside.kind(inside.resolved(path)) == "file" if path else False
