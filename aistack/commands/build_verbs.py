"""`aistack lock`, `plan`, `build` and `verify` as their users see them: what is printed, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from aistack.commands import build as building
from aistack.commands import making, verifying
from aistack.commands.lock import current, ensure, lock_path
from aistack.commands.opening import Opened, Options, opened
from aistack.compose import seal
from aistack.compose.lock import Lock, identity
from aistack.compose.plan import Step
from aistack.compose.verify import Outcome
from aistack.diagnostics import Diagnostic, ExitCode, Severity, refuse
from aistack.host import oci
from aistack.host.store import Store

PLAN_SCHEMA = "aistack/plan/v1"
BUILD_SCHEMA = "aistack/build/v1"
VERIFY_SCHEMA = "aistack/verify/v1"
LOCK_SCHEMA = "aistack/locked/v1"


def lock(recipe: Path, options: Options, *, anew: bool, dry_run: bool, as_json: bool) -> ExitCode:
    """Makes or keeps a recipe's lock and says which."""
    found = opened(recipe, options)
    path = lock_path(recipe)
    if dry_run:
        kept = None if anew else current(path, found.stack)
        print(f"{path} {'fits' if kept else 'would be made'}")
        for wish in () if kept else seal.roots(found.stack):
            print(f"  {wish.name}: {len(wish.packages)} packages of {wish.os.id} and what they need")
        return ExitCode.OK
    locked, made = ensure(found.stack, path, found.places, found.progress, anew=anew)
    if as_json:
        print(json.dumps({"schema": LOCK_SCHEMA, "path": str(path), "made": made, "lock": identity(locked)}, indent=2))
    else:
        print(f"{path}: {'made' if made else 'still fits'}, {identity(locked)}")
        for name, root in locked.roots:
            print(f"  {name}: {len(root.packages)} packages, {sum(package.size for package in root.packages) / 1e6:.0f} MB")
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
        paths = [folder / name for name in document["files"].values()]
        where = " ".join(map(str, paths)) if step.kind == "disk" else where
        size = sum(path.stat().st_blocks * 512 for path in paths)
    elif "root" in document:
        where = str(store.path / "roots" / document["root"])
    return {"title": step.title, "id": step.id, "where": where, "bytes": size, "seconds": built.seconds.get(step.id)}


def verify(recipe: Path, *, as_json: bool) -> ExitCode:
    """Holds a recipe's built images against its lock and prints every check; exit 1 when one says no."""
    found = opened(recipe, Options())
    locked, store = found.locked(), found.places.store
    built = building.find(locked, store)
    images = built.images()
    system = images.get(f"system-image {locked.name}")
    if system is None:
        raise refuse(_problem("VER002", "not-built", f"{recipe} has no built system image", f"aistack build {recipe}"))
    apps = {f"app-{app.name}": images[f"app-image {app.name}"] for app in locked.apps}
    sbom = built.find("sbom")
    documents = store.path / "outputs" / sbom[0].id if sbom else None
    held = verifying.verify(store, locked, system, apps, making.bound(locked, images), documents)
    bad = any(finding.outcome is Outcome.NO for findings in held.values() for finding in findings)
    if as_json:
        print(json.dumps({"schema": VERIFY_SCHEMA, "ok": not bad, "image": system, "findings": verifying.documents(held)}, indent=2))
    else:
        for image, findings in held.items():
            for finding in findings:
                print(f"{finding.outcome:<8} {image}: {finding.name}: {finding.message}")
    return ExitCode.NO if bad else ExitCode.OK


def _problem(rule: str, name: str, message: str, hint: str) -> Diagnostic:
    return Diagnostic(rule=rule, name=name, severity=Severity.ERROR, message=message, hints=(hint,))
