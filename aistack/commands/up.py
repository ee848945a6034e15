"""`aistack up` and `aistack boot`: from a recipe to a booted node that answers, doing only what is not yet done."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from aistack.commands import boot as booting
from aistack.commands import build as building
from aistack.commands.build_verbs import show_built
from aistack.commands.opening import Opened, Options, opened
from aistack.diagnostics import Diagnostic, ExitCode, Severity, refuse
from aistack.host.qemu import Firmware
from aistack.report.progress import duration

SCHEMA = "aistack/up/v1"


def up(recipe: Path, options: Options, *, firmware: str, again: bool, as_json: bool) -> ExitCode:
    """Checks, locks, builds, verifies, makes the disk, boots it, asks the apps; `again` boots though it was done before."""
    chosen = Firmware(firmware)
    started = time.monotonic()
    found = opened(recipe, options)
    progress, store = found.progress, found.places.store
    checked = time.monotonic()
    lock, made = found.lock()
    locked = time.monotonic()
    if not made:
        progress.say(f"{found.lock_path}: still fits the recipe")
    built = building.build(lock, found.places, progress, models=not options.without_models, recipe=recipe)
    finished = time.monotonic()
    disk = built.find("disk")
    path = store.path / "outputs" / disk[0].id / disk[1]["files"]["raw"] if disk else None
    seen = None
    fresh = False
    if disk is not None:
        seen = None if again else booting.evidence(store, disk[0].id, chosen)
        fresh = seen is None
        if seen is None:
            progress.say(f"booting by {firmware}")
            seen = booting.boot(built, lock, store, chosen, progress)
        else:
            progress.say(f"boot by {firmware}: already done; `--again` boots once more")
    ended = time.monotonic()
    spent = {"check": checked - started, "lock": locked - checked, "build": finished - locked, "boot": ended - finished}
    if as_json:
        print(json.dumps(_document(found, path, seen, fresh, spent, built), indent=2))
        return ExitCode.OK
    print(f"lock: {found.lock_path}")
    show_built(built, lock, store, as_json=False)
    for line in booting.sentences(seen) if seen else ("not booted: built without its models",):
        print(line if fresh or seen is None else f"earlier: {line}")
    print("time: " + ", ".join(f"{name} {duration(seconds)}" for name, seconds in spent.items()))
    return ExitCode.OK


def boot(recipe: Path, *, firmware: str, as_json: bool) -> ExitCode:
    """Boots what was built from a recipe's lock; exit 1 when it is not built."""
    found = opened(recipe, Options())
    lock, store = found.locked(), found.places.store
    built = building.find(lock, store)
    if built.find("disk") is None:
        message, hints = f"{recipe} has no built disk", (f"aistack build {recipe}", f"`aistack up {recipe}` builds and boots")
        raise refuse(Diagnostic(rule="VER002", name="not-built", severity=Severity.ERROR, message=message, hints=hints))
    seen = booting.boot(built, lock, store, Firmware(firmware), found.progress)
    if as_json:
        print(json.dumps(seen, indent=2))
    else:
        for line in booting.sentences(seen):
            print(line)
    return ExitCode.OK


def _document(found: Opened, disk: Path | None, seen: Any, fresh: bool, spent: dict[str, float], built: building.Built) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "recipe": str(found.recipe),
        "lock": str(found.lock_path),
        "images": built.images(),
        "disk": None if disk is None else str(disk),
        "booted_now": fresh,
        "boot": seen,
        "seconds": {name: round(seconds, 2) for name, seconds in spent.items()},
    }
