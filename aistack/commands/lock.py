"""`aistack lock`: pins everything that a recipe resolves to, and writes NAME.lock.json beside it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from aistack.compose import relock, seal
from aistack.compose.lock import Lock, LockFormatError, decode, encode
from aistack.compose.recipe import SourceWish
from aistack.compose.stack import Stack, StackApp
from aistack.diagnostics import Diagnostic, DiagnosticError, ExitCode, Severity, refuse, unable
from aistack.facts.catalog import Model, Suite
from aistack.facts.decode import closest
from aistack.facts.pins import LockedRoot, LockedWheel
from aistack.host import apt, apt_sources, apt_upgrade, hub, python_parts, wheels
from aistack.host.apt_sources import Archive
from aistack.host.store import Store
from aistack.report.progress import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where bytes may come from and go to: the store, the process's environment, a folder of models, the recipe's `sources`."""

    store: Store
    environment: Mapping[str, str]
    models_from: Path | None = None
    sources: tuple[SourceWish, ...] = ()
    offline: bool = False


def lock_path(recipe: Path, *, with_models: bool = True) -> Path:
    """Where the lock of a recipe lies: beside it. One without models is another file, so that it is never taken for the whole."""
    return recipe.with_name(recipe.stem + (".lock.json" if with_models else ".without-models.lock.json"))


def read_lock(path: Path) -> Lock:
    """The lock in a file; raises DiagnosticError (exit 1) when it cannot be read."""
    try:
        return decode(path.read_bytes())
    except FileNotFoundError as error:
        raise refuse(_problem("LOCK003", "lock-missing", f"{path} does not exist", "aistack lock RECIPE")) from error
    except (OSError, LockFormatError) as error:
        raise refuse(_problem("LOCK004", "lock-unreadable", f"{path}: {error}", "aistack lock RECIPE")) from error


def existing(path: Path) -> Lock | None:
    """The lock in a file, None when there is none.

    Raises DiagnosticError (exit 1) when the file is no lock: what it pinned is not given up in silence.
    """
    try:
        return decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, LockFormatError) as error:
        hint = "restore it, or pin everything again: `aistack lock RECIPE --anew`"
        raise refuse(_problem("LOCK004", "lock-unreadable", f"{path}: {error}", hint)) from error


def current(path: Path, stack: Stack) -> Lock | None:
    """The lock in a file when it is the lock of this stack; None when there is none, or one of another wish."""
    found = existing(path)
    return found if found and found.wish == seal.wish(stack) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What a new lock begins with: `kept` is an older lock whose pins stay where they can, `upgrade` names what shall move.

    `before` is the older lock whatever is kept of it: packages stay in its layers.
    """

    kept: Lock | None = None
    upgrade: tuple[str, ...] = ()
    before: Lock | None = None


def not_current(recipe: Path, stack: Stack) -> tuple[Diagnostic, ...]:
    """What is wrong with the lock beside a recipe: it is missing, or not the one that would be made, its pins kept; asks nobody."""
    path = lock_path(recipe)
    hint = f"aistack lock {recipe}"
    lock = existing(path)
    if lock is None:
        return (_problem("LOCK003", "lock-missing", f"{path} does not exist", hint),)
    differences = relock.differences(stack, lock)
    if not differences:
        return ()
    problem = _problem("LOCK007", "lock-not-current", f"{path} is not the lock that would be made of {recipe}", hint)
    return (replace(problem, why=differences[:8]),)


def make(
    stack: Stack, places: Places, progress: Progress, *, basis: Basis, with_models: bool = True
) -> tuple[Lock, tuple[Diagnostic, ...]]:
    """Pins a stack: packages by apt, wheels by uv, models by the hub. Raises DiagnosticError (exit 3) where that cannot be done."""
    moves = _moves(stack, basis)
    roots = {wish.name: _root(wish, basis.kept, moves.packages.get(wish.name, frozenset()), places, progress) for wish in seal.roots(stack)}
    models = {model.id: _model(model, basis.kept, moves.models, places, progress) for model in stack.models if with_models}
    pinned = {
        app.name: _wheels(app, stack.arch, basis.kept, moves.wheels.get(app.name, frozenset()), places, progress) for app in stack.apps
    }
    return seal.seal(stack, seal.Pins(roots=roots, models=models, wheels=pinned), older=basis.before)


def _moves(stack: Stack, basis: Basis) -> relock.Moves:
    """What `--upgrade` names in the older lock; raises DiagnosticError (exit 1) for a name that means nothing there."""
    if basis.kept is None:
        return relock.Moves(packages={}, wheels={}, models=frozenset(), unknown=())
    moves = relock.moves(stack, basis.kept, basis.upgrade)
    problems = []
    for name in moves.unknown:
        guess = closest(name, relock.known_names(basis.kept))
        hint = f"did you mean `{guess}`?" if guess else "name `kernel`, `driver`, an app, a model, a package or a wheel of the lock"
        problems.append(_problem("LOCK008", "upgrade-name-unknown", f"nothing in the lock is called `{name}`", hint))
    if problems:
        raise refuse(*problems)
    return moves


def _root(wish: seal.RootWish, older: Lock | None, moving: frozenset[str], places: Places, progress: Progress) -> LockedRoot:
    before = relock.kept_root(older, wish)
    if before is not None and before.wanted == wish.packages and not moving:
        return before
    _require_network(places, f"the packages of `{wish.name}`")
    archives = archives_of(wish.os.id, wish.suites, places)
    if before is None:
        progress.say(f"resolving {len(wish.packages)} packages of {wish.os.id} for `{wish.name}`")
        return apt.resolve(places.store, archives, wish.packages, wish.arch, wish.os.id, environment=places.environment)
    progress.say(f"moving {len(moving) or 'what is asked anew'} of the {len(before.packages)} packages of `{wish.name}`")
    return apt_upgrade.upgrade(places.store, archives, before, wish.packages, moving, environment=places.environment)


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
    wish = (app.wheels.python, app.wheels.requirements)
    if before is not None and (before.python, before.requirements) == wish and not moving:
        return before.wheels
    _require_network(places, f"the wheels of `{app.name}`")
    progress.say(f"resolving wheels of app `{app.name}`")
    kept = [wheel for wheel in (before.wheels if before else ()) if wheel.name not in moving]
    return wheels.lock(
        app.wheels.requirements,
        python=app.wheels.python,
        arch=arch,
        glibc=app.wheels.glibc,
        prefer=kept,
        environment=places.environment,
    )


def _require_network(places: Places, what: str) -> None:
    if places.offline:
        message = f"the lock does not fit the recipe any more, and pinning {what} needs a network"
        raise unable("LOCK006", "lock-needs-network", message, hints=("run once without `--offline`",))


def archives_of(os_id: str, suites: Sequence[Suite], places: Places) -> tuple[Archive, ...]:
    """The archives of an OS's suites: from the recipe's `sources`, else from this machine's own apt configuration."""
    named = {
        (apt_sources.VARIABLE_SECURITY if "security" in source.uri else apt_sources.VARIABLE): source.uri
        for source in places.sources
        if source.kind == "apt" and source.os in (None, os_id)
    }
    found: list[Archive] = []
    for suite in suites:
        found += apt_sources.archives([suite.name], components=suite.components, environment={**places.environment, **named})
    return tuple(found)


def write(lock: Lock, path: Path) -> None:
    """Writes a lock, whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(encode(lock))
        unfinished.replace(path)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise _not_written(path, error) from error


def require_room(path: Path) -> None:
    """Raises DiagnosticError (exit 3) when a lock cannot be written there: found before minutes of resolving, not after."""
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise _not_written(path, error) from error


def _not_written(path: Path, error: OSError) -> DiagnosticError:
    hints = ("a lock lies beside its recipe: copy the recipe into a folder that can be written",)
    return unable("LOCK005", "lock-not-written", f"{path} cannot be written: {error.strerror}", hints=hints)


def ensure(
    stack: Stack,
    path: Path,
    places: Places,
    progress: Progress,
    *,
    anew: bool = False,
    upgrade: Sequence[str] = (),
    with_models: bool = True,
    dry_run: bool = False,
) -> tuple[Lock, Lock | None]:
    """The lock of a stack, and the one that it takes the place of (the same one where nothing was done, None where there was none).

    Pins of the older lock stay where the recipe still wants them, but for what `upgrade` names; with `anew` all is pinned again.
    With `dry_run` nothing is written.
    """
    older = _whatever_is_there(path) if anew else existing(path)
    if older is not None and older.wish == seal.wish(stack) and not (anew or upgrade):
        return older, older
    require_room(path)
    python_parts.require()
    basis = Basis(kept=None if anew else older, upgrade=tuple(upgrade), before=older)
    lock, diagnostics = make(stack, places, progress, basis=basis, with_models=with_models)
    errors = tuple(found for found in diagnostics if found.severity is Severity.ERROR)
    if errors:
        raise DiagnosticError(errors, ExitCode.NO)
    for warning in diagnostics:
        progress.say(f"warning[{warning.rule}]: {warning.message}")
    if lock != older and not dry_run:
        write(lock, path)
    return lock, older


def _whatever_is_there(path: Path) -> Lock | None:
    try:
        return existing(path)
    except DiagnosticError:
        return None


def _problem(rule: str, name: str, message: str, hint: str) -> Diagnostic:
    return Diagnostic(rule=rule, name=name, severity=Severity.ERROR, message=message, hints=(hint,))
