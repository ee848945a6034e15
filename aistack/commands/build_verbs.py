"""`aistack lock`, `plan` and `build` as their users see them: what is printed, and the exit code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aistack.commands import build as building
from aistack.commands import proving
from aistack.commands.changes import change_lines
from aistack.commands.lock import current, ensure, lock_path
from aistack.commands.opening import Opened, Options, opened
from aistack.compose import seal
from aistack.compose.diff import changes
from aistack.compose.lock import Lock, identity
from aistack.compose.plan import Step
from aistack.diagnostics import Diagnostic, ExitCode, Severity, refuse
from aistack.host import oci
from aistack.host.store import Store

PLAN_SCHEMA = "aistack/plan/v1"
BUILD_SCHEMA = "aistack/build/v1"
LOCK_SCHEMA = "aistack/locked/v1"


def lock(
    recipe: Path,
    options: Options,
    *,
    anew: bool = False,
    upgrade: Sequence[str] = (),
    reseal: bool = False,
    dry_run: bool = False,
    as_json: bool = False,
) -> ExitCode:
    """Makes or keeps a recipe's lock, and says which and what moved."""
    found = opened(recipe, options)
    path = lock_path(recipe, with_models=found.with_models)
    if upgrade and not path.exists():
        hint = f"aistack lock {recipe}{'' if found.with_models else ' --without-models'}"
        raise refuse(_problem("LOCK003", "lock-missing", f"{path} does not exist, so there is nothing in it to upgrade", hint))
    if dry_run and not path.exists():
        print(f"{path} would be made")
        for wish in seal.roots(found.stack):
            print(f"  {wish.name}: {len(wish.packages)} packages of {wish.os.id} and what they need")
        for app in found.stack.apps:
            if app.image:
                print(f"  {app.name}: {app.image}, for {found.stack.arch}")
        return ExitCode.OK

    locked, older = ensure(
        found.stack,
        path,
        found.places,
        found.progress,
        anew=anew,
        upgrade=upgrade,
        reseal=reseal,
        with_models=found.with_models,
        dry_run=dry_run,
        require=proving.guard(found.places, found.progress, dry_run=dry_run),
    )
    made, moved = locked != older, changes(older, locked) if older else ()
    if as_json:
        document = {"schema": LOCK_SCHEMA, "path": str(path), "made": made, "lock": identity(locked)}
        print(json.dumps({**document, "changes": [asdict(change) for change in moved]}, indent=2))
    else:
        print(f"{path}: {'still fits' if not made else 'would be made' if dry_run else 'made'}, {identity(locked)}")
        for line in change_lines(moved) if made and older else ():
            print(f"  {line}")
        for name, root in locked.roots:
            print(f"  {name}: {len(root.packages)} packages, {sum(package.size for package in root.packages) / 1e6:.0f} MB")
        for image in (app.image for app in locked.apps if app.image):
            size = sum(layer.size for layer in image.layers)
            print(f"  {image.reference} at {image.digest}: {len(image.layers)} layers, {size / 1e6:.0f} MB")
        for model in locked.models:
            print(f"  {model.id} at {model.revision}: {len(model.files)} files, {sum(file.size for file in model.files) / 1e6:.0f} MB")
    return ExitCode.OK


def plan(recipe: Path, options: Options, *, as_json: bool) -> ExitCode:
    """Prints the steps of a recipe's lock, and which of them are done; exit 1 when there is no lock that fits."""
    found = opened(recipe, options)
    return _show_plan(found, found.locked(), as_json=as_json)


def dry_run(recipe: Path, options: Options, *, as_json: bool) -> ExitCode:
    """Prints what `build` would do, and does nothing: without a lock that fits, the steps are not known yet."""
    found = opened(recipe, options)
    locked = current(found.lock_path, found.stack)
    if locked is not None:
        return _show_plan(found, locked, as_json=as_json)
    if as_json:
        print(json.dumps({"schema": PLAN_SCHEMA, "lock": None, "steps": []}, indent=2))
    else:
        print(f"to do   {found.lock_path}, which the other steps follow from (aistack lock {recipe})")
    return ExitCode.OK


def _show_plan(found: Opened, locked: Lock, *, as_json: bool) -> ExitCode:
    rows = list(building.pending(locked, found.places.store, building.planned(locked, models=found.with_models)))
    if as_json:
        steps = [{"id": step.id, "kind": step.kind, "name": step.name, "inputs": step.inputs, "todo": todo} for step, todo in rows]
        print(json.dumps({"schema": PLAN_SCHEMA, "lock": identity(locked), "steps": steps}, indent=2))
    else:
        for step, todo in rows:
            print(f"{'to do' if todo else 'done ':<6} {step.id[:12]}  {step.title}")
    return ExitCode.OK


def build(recipe: Path, options: Options, *, only: str | None, load: bool, as_json: bool) -> ExitCode:
    """Builds what a recipe's lock names and prints what came out."""
    found = opened(recipe, options)
    locked, _ = found.lock()
    if only is not None and only not in (kinds := sorted({step.kind for step in building.planned(locked)})):
        raise refuse(_problem("BLD001", "step-kind-unknown", f"the plan has no step of the kind `{only}`", f"it has: {', '.join(kinds)}"))
    built = building.build(locked, found.places, found.progress, models=not options.without_models, only=only, recipe=recipe)
    if load:
        from aistack.host import podman

        with podman.connect() as connection:
            for title, digest in built.images().items():
                name = f"localhost/aistack/{title.replace('-image ', '-').replace('/', '--').lower()}"
                podman.load_image(connection, found.places.store, digest, name)
                found.progress.say(f"loaded {name}")
    show_built(built, locked, found.places.store, as_json=as_json)
    return ExitCode.OK


def show_built(built: building.Built, lock: Lock, store: Store, *, as_json: bool) -> None:
    """Prints every artifact: what it is, its digest or path, its size, and how long it took."""
    rows = [row for step in built.steps if (row := _row(step, built, store)) is not None]
    if as_json:
        print(json.dumps({"schema": BUILD_SCHEMA, "lock": identity(lock), "store": str(store.path), "artifacts": rows}, indent=2))
        return
    for row in rows:
        took = "already there" if row["seconds"] is None else f"{row['seconds']:.1f} s"
        size = f"{row['bytes'] / 1e6:8.1f} MB" if row["bytes"] else " " * 11
        print(f"{row['title']:<52} {size}  {took:>13}  {row['where']}")


def _row(step: Step, built: building.Built, store: Store) -> dict[str, Any] | None:
    document = built.outputs.get(step.id)
    if document is None:
        return None
    folder = store.path / "outputs" / step.id
    where, size = str(folder), 0
    if "image" in document:
        where, size = document["image"], oci.read_image(store, document["image"]).total
    elif "files" in document:
        paths = [folder / name for name in sorted(document["files"].values())]
        where = " ".join(map(str, paths)) if step.kind == "disk" else where
        size = sum(path.stat().st_blocks * 512 for path in paths)
    elif "root" in document:
        where = str(store.path / "roots" / document["root"])
    return {"title": step.title, "id": step.id, "where": where, "bytes": size, "seconds": built.seconds.get(step.id)}


def _problem(rule: str, name: str, message: str, hint: str) -> Diagnostic:
    return Diagnostic(rule=rule, name=name, severity=Severity.ERROR, message=message, hints=(hint,))
