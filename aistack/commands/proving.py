"""Whether a driver's modules compile for a kernel: told from what was compiled before, else by compiling, once for the same packages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aistack.commands import build as building
from aistack.commands import compiling, making
from aistack.commands.pinning import Places
from aistack.compose import modules, plan
from aistack.compose.lock import Lock
from aistack.facts.pins import LockedRoot
from aistack.host import sharing
from aistack.report.progress import Progress


def prove(root: LockedRoot, kernel: str, driver: str, places: Places, progress: Progress) -> tuple[str, Mapping[str, Any]]:
    """The step's id, and what compiling in that root comes to (`compiling.compiled`)."""
    store = places.store
    step = plan.compilation(root, kernel, driver, making.surroundings())
    with store.alone(step.id, lambda: progress.say("    another aistack is at it; waiting")):
        output = building.output(store, step)
        if output is not None:
            return step.id, output
        with store.produce(step.id) as folder:
            shared = sharing.others(places.environment, progress.say, offline=places.offline)
            document = compiling.compiled(root, kernel, driver, places, shared, progress, folder / "log")
            return step.id, building.finish(step, document, folder)


def known(root: LockedRoot, kernel: str, driver: str, places: Places) -> Mapping[str, Any] | None:
    """What compiling in that root came to here before."""
    return building.output(places.store, plan.compilation(root, kernel, driver, making.surroundings()))


def require(lock: Lock, places: Places, progress: Progress) -> None:
    """Raises DiagnosticError (exit 1) when the driver's modules do not compile for the lock's kernel."""
    root = dict(lock.roots).get(modules.ROOT)
    if root is None:
        return
    kernel, driver = lock.component("kernel"), lock.component("driver")
    step, output = prove(root, kernel, driver, places, progress)
    if output["errors"]:
        raise compiling.refused(places.store, step, output, driver)
