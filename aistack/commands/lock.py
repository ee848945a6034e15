"""`aistack lock`: pins everything that a recipe resolves to, and writes NAME.lock.json beside it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aistack.commands import licences
from aistack.compose import seal
from aistack.compose.lock import Lock, LockFormatError, decode, encode
from aistack.compose.recipe import SourceWish
from aistack.compose.stack import Stack
from aistack.diagnostics import Diagnostic, DiagnosticError, ExitCode, Severity, refuse, unable
from aistack.facts.catalog import Model, Suite
from aistack.facts.pins import LockedRoot, LockedWheel
from aistack.host import apt, apt_sources, hub, python_parts, wheels
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


def current(path: Path, stack: Stack) -> Lock | None:
    """The lock in a file when it is the lock of this stack; None when there is none, or one of another wish.

    Raises DiagnosticError (exit 1) when the file is no lock: what it pinned is not given up in silence.
    """
    try:
        found = decode(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, LockFormatError) as error:
        hint = "restore it, or pin everything again: `aistack lock RECIPE --anew`"
        raise refuse(_problem("LOCK004", "lock-unreadable", f"{path}: {error}", hint)) from error
    return found if found.wish == seal.wish(stack) else None


def make(stack: Stack, places: Places, progress: Progress, *, with_models: bool = True) -> tuple[Lock, tuple[Diagnostic, ...]]:
    """Pins a stack: packages by apt, wheels by uv, models by the hub; reads the licences of what ships.

    Raises DiagnosticError (exit 3) where that cannot be done.
    """
    roots: dict[str, LockedRoot] = {}
    for wish in seal.roots(stack):
        progress.say(f"resolving {len(wish.packages)} packages of {wish.os.id} for `{wish.name}`")
        archives = archives_of(wish.os.id, wish.suites, places)
        root = apt.resolve(places.store, archives, wish.packages, wish.arch, wish.os.id, environment=places.environment)
        ships = seal.ships(wish.name)
        roots[wish.name] = licences.of_packages(root, archives, places.store, places.environment, progress) if ships else root
    models = {}
    for model in stack.models if with_models else ():
        progress.say(f"pinning {model.id}")
        models[model.id] = _pin(model, places)
    locked_wheels: dict[str, Sequence[LockedWheel]] = {}
    for app in stack.apps:
        if app.wheels:
            progress.say(f"resolving wheels of app `{app.name}`")
            found = wheels.find(app.wheels.requirements, python=app.wheels.python, arch=stack.arch, environment=places.environment)
            locked_wheels[app.name] = licences.of_wheels(found, places.store, places.environment, progress)
    return seal.seal(stack, seal.Pins(roots=roots, models=models, wheels=locked_wheels))


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


def _pin(model: Model, places: Places) -> seal.ModelPins:
    pinned = hub.pin(model.id, sources=model.sources, folder=places.models_from, store=places.store)
    return seal.ModelPins(revision=pinned.revision, files=pinned.files)


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
    stack: Stack, path: Path, places: Places, progress: Progress, *, anew: bool = False, with_models: bool = True
) -> tuple[Lock, bool]:
    """The lock of a stack and whether it was made now; written to `path` when it was."""
    found = None if anew else current(path, stack)
    if found is not None:
        return found, False
    if places.offline:
        raise unable(
            "LOCK006",
            "lock-needs-network",
            f"{path} is not the lock of this recipe, and making one needs a network",
            hints=("run once without `--offline`",),
        )
    require_room(path)
    python_parts.require()
    lock, diagnostics = make(stack, places, progress, with_models=with_models)
    errors = tuple(found for found in diagnostics if found.severity is Severity.ERROR)
    if errors:
        raise DiagnosticError(errors, ExitCode.NO)
    for warning in diagnostics:
        progress.say(f"warning[{warning.rule}]: {warning.message}")
    write(lock, path)
    return lock, True


def _problem(rule: str, name: str, message: str, hint: str) -> Diagnostic:
    return Diagnostic(rule=rule, name=name, severity=Severity.ERROR, message=message, hints=(hint,))
