"""The gates in an image with a lock: nothing keeps them from judging each start, or from undoing an update that fails them.

So with the units that give the apps the accelerators and their models. What systemd makes of them is asked of `checks.systemd`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from aistack.compose.checks.systemd import EMERGENCY, SHELLS, Units, settings
from aistack.compose.findings import Finding, answer, some
from aistack.compose.lock import Lock
from aistack.compose.render import render_driver
from aistack.compose.render.node import PYTHON_PATH, REQUIRED, UNITS, WANTED
from aistack.compose.render.system import LOCK_PATH
from aistack.facts.files import RenderedLink
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


def wanted(path: str) -> bool:
    """The files that are read for it: the node's own program."""
    return path.startswith(f"{PYTHON_PATH}/aistack/") and path.endswith(".py")


def undisturbed(filesystem: Filesystem, lock: Lock) -> Finding:
    """Whether the units of the gates are there, are started, and are neither masked nor overridden, and their program is whole."""
    units, needed = Units(filesystem=filesystem), (*JUDGES, *((MODELS,) if lock.models else ()), *_of_driver(lock))
    wrong = [*_lacking(units, needed), *_not_started(units, needed), *_overridden(units, needed)]
    if LOCK_PATH in filesystem.entries:  # a base gets the program with its lock
        wrong += _incomplete(filesystem)
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
        elif unit in GATES and not any(key == "ExecStart" and AGENT.fullmatch(value) for key, value in _text(units, path)):
            yield f"{path} does not start the gate"


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


def _incomplete(filesystem: Filesystem) -> Iterator[str]:
    """What the node's program lacks: modules, and names that others import of them."""
    program = _Program(filesystem)
    found = (AGENT.fullmatch(value) for gate in GATES for _, value in settings(filesystem.text(f"{UNITS}/{gate}") or ""))
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


class _Program:
    """The node's program in an image, module by module; None is one that is not there, or cannot be read."""

    def __init__(self, filesystem: Filesystem) -> None:
        self.filesystem = filesystem
        self.known: dict[str, ast.Module | None] = {}

    def module(self, name: str) -> ast.Module | None:
        if name not in self.known:
            place = f"{PYTHON_PATH}/{name.replace('.', '/')}"
            path = next((path for path in (f"{place}.py", f"{place}/__init__.py") if self.filesystem.kind(path) == "file"), "")
            try:
                self.known[name] = ast.parse(self.filesystem.texts[path]) if path else None
            except (KeyError, SyntaxError, ValueError, RecursionError, MemoryError):
                self.known[name] = None
        return self.known[name]

    def imported(self, tree: ast.Module) -> Iterator[str]:
        """The modules of our own that one imports; a name that a module does not bind has to be a module in it."""
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names if alias.name.startswith("aistack."))
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level and f"{node.module}.".startswith("aistack."):
                yield node.module
                if (source := self.module(node.module)) is not None and not (bound := _bound(source)) & {"__getattr__", "*"}:
                    yield from (f"{node.module}.{alias.name}" for alias in node.names if alias.name not in {*bound, "*"})


def _bound(tree: ast.Module) -> frozenset[str]:
    """Every name that a module binds somewhere."""
    found = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    return frozenset(found)
