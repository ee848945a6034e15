"""Whether modules compile for a kernel: told from what was compiled before, else by compiling, once for the same packages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aistack.commands import build as building
from aistack.commands import compiling, making
from aistack.commands.pinning import Places
from aistack.compose import modules, plan
from aistack.compose.lock import Lock
from aistack.facts.pins import LockedRoot
from aistack.host import sharing
from aistack.report.progress import Progress


def prove(root: LockedRoot, kernel: str, places: Places, progress: Progress) -> tuple[str, Mapping[str, Any]]:
    """The step's id, and what compiling in that root comes to (`compiling.compiled`)."""
    store = places.store
    step = plan.compilation(root, kernel, making.surroundings())
    with store.alone(step.id, lambda: progress.say("    another aistack is at it; waiting")):
        output = building.output(store, step)
        if output is not None:
            return step.id, output
        with store.produce(step.id) as folder:
            shared = sharing.others(places.environment, progress.say, offline=places.offline)
            document = compiling.compiled(root, kernel, places, shared, progress, folder / "log")
            return step.id, building.finish(step, document, folder)


def known(root: LockedRoot, kernel: str, places: Places) -> tuple[str, Mapping[str, Any] | None]:
    """The step's id, and what compiling in that root came to here before."""
    step = plan.compilation(root, kernel, making.surroundings())
    return step.id, building.output(places.store, step)


def guard(places: Places, progress: Progress, *, dry_run: bool = False) -> Callable[[Lock, Lock], None]:
    """Refuses a lock in which a kernel or driver moves whose modules do not compile: the older lock may be all that still builds.

    With `dry_run` nothing is compiled, and what was not tried is told. The function raises DiagnosticError (exit 1).
    """

    def compiles(lock: Lock, older: Lock) -> None:
        root = dict(lock.roots).get(modules.ROOT)
        if root is None or root == dict(older.roots).get(modules.ROOT):
            return
        asked = (root, lock.component("kernel"), places)
        step, output = known(*asked) if dry_run else prove(*asked, progress)
        if output is None:
            progress.say(f"nobody has compiled {modules.named(root)} for kernel {asked[1]} here: that comes before the lock is written")
        else:
            compiling.require(places.store, step, output)

    return compiles
