"""The gates in an image with a lock: nothing keeps them from judging each start, or from undoing an update that fails them.

systemd.unit(5) says which files override a unit, systemd(1) what `systemd.mask=` does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from aistack.compose.checks.cmdline import arguments
from aistack.compose.checks.references import SETTING
from aistack.compose.findings import Finding, answer, some
from aistack.compose.render.node import REQUIRED, UNITS, WANTED
from aistack.facts.filesystem import Filesystem

GATES = ("aistack-check.service", "aistack-confirm.service")
JUDGES = (*GATES, "aistack-deadline.timer", "aistack-deadline.service")
STARTED = (*((f"{target}.wants", unit) for target, unit in WANTED), *((f"{target}.requires", unit) for target, unit in REQUIRED))
AGENT = re.compile(r".*\s-m\s+aistack\.node\.\w+.*")
"""What a gate runs."""
FIRST = ("/etc/systemd/system", "/usr/local/lib/systemd/system")
"""Folders whose units count before those of the image's own."""
DROP_IN = re.compile(rf"(?:{'|'.join((*FIRST, UNITS))})/(?P<unit>aistack-[\w-]*\.(?:service|timer))\.d/[^/]+\.conf")
CHANGING = re.compile(r"Exec\w*|(?:Condition|Assert)\w+|On\w+Sec|(?:Success|Failure)Action|SuccessExitStatus|Unit|Environment\w*|Type")
"""Settings by which a drop-in makes another unit of one; others, such as how long it may take, may be somebody's wish."""
MASK = "systemd.mask="


def undisturbed(filesystem: Filesystem) -> Finding:
    """Whether the units of the gates are there, are started, and are neither masked nor overridden."""
    wrong = [*_lacking(filesystem), *_overridden(filesystem)]
    return answer("gates", not wrong, "the gates are started, and nothing is in their place", some(wrong))


def _lacking(filesystem: Filesystem) -> Iterator[str]:
    for unit in JUDGES:
        path = f"{UNITS}/{unit}"
        if filesystem.kind(path) != "file":
            yield f"{path} is not there, or a link"
        elif unit in GATES and not any(key == "ExecStart" and AGENT.fullmatch(value) for key, value in _settings(filesystem, path)):
            yield f"{path} does not start the gate"
    for folder, unit in STARTED:
        if unit in JUDGES and filesystem.resolved(f"{UNITS}/{folder}/{unit}") != f"{UNITS}/{unit}":
            yield f"{UNITS}/{folder} does not have {unit}"


def _overridden(filesystem: Filesystem) -> Iterator[str]:
    yield from (f"{path} takes the place of the unit" for unit in JUDGES for folder in FIRST if filesystem.kind(path := f"{folder}/{unit}"))
    for path in sorted(filesystem.entries):
        found = DROP_IN.fullmatch(path)
        if found and any(_is_for(found["unit"], unit) for unit in JUDGES):
            changed = sorted({key for key, _ in _settings(filesystem, path) if CHANGING.fullmatch(key)})
            if changed:
                yield f"{path} sets {', '.join(changed)}"
    for word in arguments(filesystem):
        unit = word.removeprefix(MASK)
        if word.startswith(MASK) and (unit in JUDGES or f"{unit}.service" in JUDGES):
            yield f"the kernel's arguments mask {unit}"


def _is_for(named: str, unit: str) -> bool:
    """Whether drop-ins for a name are for a unit: for all that begin so, where the name ends in a dash."""
    name, _, kind = named.rpartition(".")
    return named == unit or (name.endswith("-") and unit.startswith(name) and unit.endswith(f".{kind}"))


def _settings(filesystem: Filesystem, path: str) -> list[tuple[str, str]]:
    return SETTING.findall((filesystem.text(path) or "").replace("\\\n", " "))
