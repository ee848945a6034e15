"""From a stack to pins: every byte that it needs, asked of archives, indexes, hubs and registries, where an older lock does not say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

from aistack.commands import licences
from aistack.compose import relock, seal
from aistack.compose.lock import Lock
from aistack.compose.stack import Stack, StackApp
from aistack.diagnostics import Diagnostic, DiagnosticError, Place, Severity, refuse, unable
from aistack.facts.catalog import Model
from aistack.facts.decode import closest
from aistack.facts.pins import LockedImage, LockedRoot, LockedWheel
from aistack.host import apt, apt_upgrade, hub, registry, wheels
from aistack.host.store import Store
from aistack.report.progress import Progress
from aistack.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where bytes may come from and go to: the store, the process's environment, a folder of models.

    `written` are the places where the recipe names suites and addresses; only diagnostics of pinning need them. `folder` is the recipe's.
    """

    store: Store
    environment: Mapping[str, str]
    models_from: Path | None = None
    written: Mapping[str, Place] = field(default_factory=dict)
    offline: bool = False
    folder: Path = Path()


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What a new lock begins with: `kept` is an older lock whose pins stay where they can, `upgrade` names what shall move.

    `before` is the older lock whatever is kept of it: packages stay in its layers.
    """

    kept: Lock | None = None
    upgrade: tuple[str, ...] = ()
    before: Lock | None = None


def pin(stack: Stack, places: Places, progress: Progress, *, basis: Basis, with_models: bool = True) -> tuple[Lock, tuple[Diagnostic, ...]]:
    """Pins a stack: packages by apt, wheels by uv, models by the hub, images by skopeo; reads the licences of what ships.

    Raises DiagnosticError (exit 3) where that cannot be done.
    """
    try:
        return seal.seal(stack, _pins(stack, places, progress, basis, with_models=with_models), older=basis.before)
    except DiagnosticError as error:
        raise DiagnosticError(tuple(_placed(found, places.written) for found in error.diagnostics), error.exit_code) from error


def _placed(found: Diagnostic, written: Mapping[str, Place]) -> Diagnostic:
    """The diagnostic with the place where the recipe names the archive or the index that it is about."""
    text = " ".join((found.message, *found.why))
    place = next((place for name, place in written.items() if f"`{name}`" in found.message or (":" in name and name in text)), None)
    return replace(found, place=found.place or place)


def _pins(stack: Stack, places: Places, progress: Progress, basis: Basis, *, with_models: bool) -> seal.Pins:
    moves = _moves(stack, basis)
    roots: dict[str, LockedRoot] = {}
    for wish in seal.roots(stack):
        roots[wish.name] = pinned_root(wish, basis.kept, moves.packages.get(wish.name, frozenset()), places, progress)
    for wish in seal.roots_for(stack, seal.kernel_version_string(roots["base"])):
        roots[wish.name] = pinned_root(wish, basis.kept, moves.packages.get(wish.name, frozenset()), places, progress)
    models = {model.id: _model(model, basis.kept, moves.models, places, progress) for model in stack.models if with_models}
    pinned = {
        app.name: _wheels(app, stack.arch, basis.kept, moves.wheels.get(app.name, frozenset()), places, progress) for app in stack.apps
    }
    images = {app.name: _image(app.name, app.image, stack.arch, basis.kept, moves, places, progress) for app in stack.apps if app.image}
    return seal.Pins(roots=roots, models=models, wheels=pinned, images=images)


def _moves(stack: Stack, basis: Basis) -> relock.Moves:
    """What `--upgrade` names in the older lock; raises DiagnosticError (exit 1) for a name that means nothing there."""
    if basis.kept is None:
        return relock.Moves(packages={}, wheels={}, models=frozenset(), images=frozenset(), unknown=())
    moves = relock.moves(stack, basis.kept, basis.upgrade)
    problems = []
    for name in moves.unknown:
        guess = closest(name, relock.known_names(stack, basis.kept))
        hint = f"did you mean `{guess}`?" if guess else "name `kernel`, `driver`, an app, a model, a package or a wheel of the lock"
        message = f"nothing in the lock is called `{name}`"
        problems.append(Diagnostic(rule="LOCK008", name="upgrade-name-unknown", severity=Severity.ERROR, message=message, hints=(hint,)))
    if problems:
        raise refuse(*problems)
    return moves


def pinned_root(wish: seal.RootWish, older: Lock | None, moving: frozenset[str], places: Places, progress: Progress) -> LockedRoot:
    """A root's packages: as the older lock has them, but for what is `moving` and what the wish asks in addition, or all by apt."""
    before = relock.kept_root(older, wish)
    if before is not None and (before.wanted, before.archives) == (wish.packages, wish.archives) and not moving:
        return before
    _require_network(places, f"the packages of `{wish.name}`")
    if before is None:
        progress.say(f"resolving {len(wish.packages)} packages of {wish.os.id} for `{wish.name}`")
        root = apt.resolve(places.store, wish.archives, wish.packages, wish.arch, wish.os.id, environment=places.environment)
    else:
        what = f"what is newer than {len(moving)} of" if moving else "what the recipe's change moves of"
        progress.say(f"asking apt {what} the {len(before.packages)} packages of `{wish.name}`")
        root = apt_upgrade.upgrade(places.store, wish.archives, before, wish.packages, moving, environment=places.environment)
    return licences.of_packages(root, places.store, places.environment, progress) if seal.ships(wish.name) else root


def _model(model: Model, older: Lock | None, moving: frozenset[str], places: Places, progress: Progress) -> seal.ModelPins:
    before = seal.pins_of(older).models.get(model.id) if older and model.id not in moving else None
    if before is not None:
        return before
    _require_network(places, model.id)
    progress.say(f"pinning {model.id}")
    pinned = hub.pin(model.id, sources=model.sources, folder=places.models_from, store=places.store)
    return seal.ModelPins(revision=pinned.revision, files=pinned.files)


def _wheels(
    app: StackApp, arch: str, older: Lock | None, moving: frozenset[str], places: Places, progress: Progress
) -> Sequence[LockedWheel]:
    if app.wheels is None:
        return ()
    before = next((one for one in older.apps if one.name == app.name), None) if older else None
    wish = (app.wheels.python, app.wheels.requirements, app.wheels.indexes)
    if before is not None and (before.python, before.requirements, before.indexes) == wish and not moving:
        return before.wheels
    _require_network(places, f"the wheels of `{app.name}`")
    progress.say(f"resolving wheels of app `{app.name}`")
    kept = [wheel for wheel in (before.wheels if before else ()) if wheel.name not in moving]
    found = wheels.find(
        app.wheels.requirements,
        python=app.wheels.python,
        arch=arch,
        glibc=app.wheels.glibc,
        prefer=kept,
        environment=places.environment,
        named=app.wheels.indexes,
    )
    return licences.of_wheels(found, places.store, wheels.asking(places.environment, app.wheels.indexes), progress)


def _image(app: str, reference: str, arch: str, older: Lock | None, moves: relock.Moves, places: Places, progress: Progress) -> LockedImage:
    before = seal.pins_of(older).images.get(app) if older and app not in moves.images else None
    if before is not None and before.reference == reference and older and older.arch == arch:
        return before
    _require_network(places, reference)
    progress.say(f"pinning {reference}")
    return registry.pin(reference, arch=arch, store=places.store)


def _require_network(places: Places, what: str) -> None:
    if places.offline:
        message = f"the lock does not fit the recipe any more, and pinning {what} needs a network"
        raise unable("LOCK006", "lock-needs-network", message, hints=("run once without `--offline`",))
