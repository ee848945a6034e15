"""The gates in an image with a lock: nothing keeps them from judging each start, or from undoing an update that fails them.

So with the units that give the apps the accelerators and their models. What systemd makes of them is asked of `checks.systemd`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from aistack.compose.checks.systemd import EMERGENCY, SHELLS, Units, settings
from aistack.compose.findings import Finding, answer, some
from aistack.compose.lock import Lock
from aistack.compose.node_program import PACKAGE, Program
from aistack.compose.render import VENDORS, grub, render_driver, render_node
from aistack.compose.render.node import REQUIRED, START_NOTES, UNITS, WANTED
from aistack.compose.render.system import LOCK_PATH
from aistack.facts.files import RenderedFile, RenderedLink
from aistack.facts.filesystem import Filesystem

GATES = ("aistack-check.service", "aistack-confirm.service")
JUDGES = (*GATES, "aistack-deadline.timer", "aistack-deadline.service")
MODELS = "aistack-models.service"
AGENT = re.compile(r".*\s-m\s+(aistack\.node\.\w+).*")
"""What a gate runs."""
CHANGING = re.compile(
    r"Exec\w*|(?:Condition|Assert)\w+|On\w+Sec|(?:Success|Failure)Action|SuccessExitStatus|Unit|EnvironmentFile|Type|User|Root(?:Directory|Image)"
)
"""Settings by which a drop-in makes another unit of one; others, such as how long it may take, may be somebody's wish."""
ENVIRONMENT = re.compile(r"|.*\b(?:LD_|PATH=|PYTHON).*")
"""Variables that make another program of one, or what takes all variables away; others, such as a proxy's, are somebody's wish."""


HELD = re.compile(rf"{UNITS}/(?:aistack-[^/]+|ostree-finalize-staged\.service\.d/50-aistack\.conf)|{START_NOTES}|{grub.PROGRAM}")
"""Our own files by which a node judges its starts, undoes updates, and makes them. Settings of other programs are somebody's to change."""


def wanted(path: str) -> bool:
    """The files that are read for it: the node's own program, and what it makes of units and scripts."""
    return (path.startswith(f"{PACKAGE}/") and path.endswith(".py")) or bool(HELD.fullmatch(path))


def undisturbed(filesystem: Filesystem, lock: Lock) -> Finding:
    """Whether the units of the gates are there, are started, and are neither masked nor overridden, and their program is whole."""
    units, needed = Units(filesystem=filesystem), (*JUDGES, *((MODELS,) if lock.models else ()), *_of_driver(lock))
    program = Program(filesystem)
    wrong = [*_lacking(units, needed), *_changed(program), *_not_started(units, needed), *_overridden(units, needed)]
    if LOCK_PATH in filesystem.entries:  # a base gets the program with its lock
        wrong += _incomplete(program)
    return answer("gates", not wrong, "the gates are started, and nothing is in their place", some(wrong))


def _of_driver(lock: Lock) -> tuple[str, ...]:
    files = render_driver(lock.accelerator.vendor) if lock.accelerator else ()
    names = {file.path.removeprefix(f"{UNITS}/") for file in files if not isinstance(file, RenderedLink)}
    return tuple(sorted(name for name in names if "/" not in name))


def _lacking(units: Units, needed: tuple[str, ...]) -> Iterator[str]:
    for unit in needed:
        path = f"{UNITS}/{unit}"
        if units.filesystem.kind(path) != "file":
            yield f"{path} is not there, or a link"


def _changed(program: Program) -> Iterator[str]:
    """Our files that are neither what this aistack makes nor what the image's own makes, which may be of another version."""
    theirs = program.made()
    made = (*render_node(), *(file for vendor in VENDORS for file in render_driver(vendor)))
    for path, content in sorted((file.path, file.content) for file in made if isinstance(file, RenderedFile) and HELD.fullmatch(file.path)):
        is_file = program.filesystem.kind(path) == "file"
        if is_file and program.filesystem.texts.get(path) not in (content, theirs.get(path, content)):
            yield f"{path} is not what aistack makes"


def _not_started(units: Units, needed: tuple[str, ...]) -> Iterator[str]:
    links = [(target, "wants", unit) for target, unit in WANTED] + [(target, "requires", unit) for target, unit in REQUIRED]
    links += [("multi-user.target", "wants", unit) for unit in needed if unit not in (*JUDGES, MODELS)]
    for target, how, unit in links:
        if unit not in needed:
            continue
        link = units.linked(target, how).get(unit, "")
        if not link or units.filesystem.resolved(link) != f"{UNITS}/{unit}":
            yield f"{UNITS}/{target}.{how} does not have {unit}" + (f": {link} is for something else" if link else "")
        elif target == EMERGENCY and (masked := units.masked(target)):
            yield masked
    targets = sorted({target for target, _, unit in links if unit in needed} - {EMERGENCY} - units.started)
    if targets:
        why = units.why_not(units.first) or (f"{units.first} is a shell" if units.called(units.first) in SHELLS else "")
        why = why or next((found for target in targets if (found := units.why_not(target))), "")
        yield f"{units.first} does not start {', '.join(targets)}" + (f": {why}" if why else "")


def _overridden(units: Units, needed: tuple[str, ...]) -> Iterator[str]:
    for unit in needed:
        if (path := units.file(unit)) not in ("", f"{UNITS}/{unit}"):
            yield f"{path} takes the place of the unit"
        elif masked := units.masked(unit):
            yield masked
    for path in sorted({path for unit in needed for path in units.drop_ins(unit)}):
        changed = sorted({key for key, value in _text(units, path) if _is_changing(key, value, path)})
        if changed:
            yield f"{path} sets {', '.join(changed)}"


def _text(units: Units, path: str) -> list[tuple[str, str]]:
    return settings(units.filesystem.text(path) or "")


def _is_changing(key: str, value: str, path: str) -> bool:
    """A drop-in for all units of a kind may bring all of them variables from a file."""
    if key == "EnvironmentFile" and re.search(r"/(?:service|timer)\.d/", path):
        return False
    return bool(ENVIRONMENT.fullmatch(value) if key == "Environment" else CHANGING.fullmatch(key))


def _incomplete(program: Program) -> Iterator[str]:
    """What the node's program lacks: modules, and names that others import of them."""
    found = (AGENT.fullmatch(value) for gate in GATES for _, value in settings(program.filesystem.text(f"{UNITS}/{gate}") or ""))
    left, seen = sorted({match[1] for match in found if match}), set[str]()
    for name in left:
        tree = program.module(name)
        if tree is not None and not tree.body:
            yield f"{name} is empty"
    while left:
        name = left.pop()
        if name in seen:
            continue
        seen.add(name)
        tree = program.module(name)
        if tree is None:
            yield f"{name} is not there, or no program, and the gates need it"
        else:
            left += program.imported(tree)
