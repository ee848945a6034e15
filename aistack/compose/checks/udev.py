"""Whether udev gives devices their drivers when a system starts: udev(7), systemd-udevd.service(8)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aistack.compose.checks import drop_ins
from aistack.compose.checks.systemd import EARLY, Units
from aistack.facts.filesystem import Filesystem

DAEMON, TRIGGER = "systemd-udevd.service", "systemd-udev-trigger.service"
LOADS = re.compile(r'^(?![ \t]*#).*\bRUN\{builtin\}\s*\+?:?=\s*"kmod\s+load(?:\s+[\'$%][^"]*)?\s*"', re.MULTILINE)
"""The rule by which a device's module is loaded."""


def silenced(filesystem: Filesystem) -> Iterator[str]:
    """Why no device gets its driver by udev, in an image whose udev is systemd's; what else loads modules is not asked."""
    units = Units(filesystem=filesystem)
    if not units.file(DAEMON):
        return
    why = next((found for unit in (DAEMON, TRIGGER) if (found := units.why_not(unit))), "")
    if why:
        yield f"no device gets its driver: {why}"
    elif units.file(TRIGGER) and units.file(EARLY) and TRIGGER not in units.starts(EARLY):
        yield f"no device that is there from the start gets its driver: {EARLY} does not start {TRIGGER}"
    if not any(LOADS.search(text.replace("\\\n", " ")) for _, text in drop_ins.files(filesystem, drop_ins.RULES, ".rules")):
        yield "no rule of udev's loads a device's module, as 80-drivers.rules does"
