"""`aistack lock`: pins everything that a recipe resolves to, and writes NAME.lock.json beside it."""

from __future__ import annotations

import contextlib
import datetime
import errno
import os
import shlex
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from aistack.commands import pinning, writing
from aistack.commands.pinning import Places
from aistack.compose import modules, relock, seal
from aistack.compose.lock import Lock, LockFormatError, decode, encode
from aistack.compose.stack import Stack
from aistack.diagnostics import Diagnostic, DiagnosticError, ExitCode, Severity, refuse, unable
from aistack.facts.following import SEALED_FORM, latest
from aistack.host import python_parts, signing
from aistack.report.progress import Progress


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


def write(lock: Lock, path: Path) -> None:
    """Writes a lock, whole or not at all."""
    try:
        writing.write(path, encode(lock))
    except OSError as error:
        raise _not_written(path, error) from error


def require_room(path: Path) -> None:
    """Raises DiagnosticError (exit 3) when a lock cannot be written there: found before minutes of resolving, not after."""
    try:
        with contextlib.suppress(FileNotFoundError):
            path.stat()  # links in a circle lead nowhere
        with tempfile.TemporaryFile(dir=Path(os.path.realpath(path)).parent):
            pass
    except OSError as error:
        raise _not_written(path, error) from error


def _not_written(path: Path, error: OSError) -> DiagnosticError:
    hint = "a lock lies beside its recipe: copy the recipe into a folder that can be written"
    if error.errno == errno.ELOOP:
        hint = f"its link leads in a circle: rm {shlex.quote(str(path))}"
    return unable("LOCK005", "lock-not-written", f"{path} cannot be written: {error.strerror}", hints=(hint,))


def ensure(
    stack: Stack,
    path: Path,
    places: Places,
    progress: Progress,
    *,
    anew: bool = False,
    upgrade: Sequence[str] = (),
    reseal: bool = False,
    with_models: bool = True,
    dry_run: bool = False,
    require: Callable[[Lock, Lock], None] | None = None,
) -> tuple[Lock, Lock | None]:
    """The lock of a stack, and the one that it takes the place of (the same one where nothing was done, None where there was none).

    Pins of the older lock stay where the recipe still wants them, but for what `upgrade` names; with `anew` all is pinned again.
    With `reseal` one that fits gets the time of now: it came back from a history, and is to take the place of what came after it.
    With `dry_run` nothing is written. `require` may refuse a lock that would take the place of an older one.
    """
    older = _whatever_is_there(path) if anew else existing(path)
    if older is not None and not (anew or upgrade) and _fits(stack, older, with_models):
        lock = replace(older, sealed=_now(older, places.environment)) if reseal else older
        if reseal and not dry_run:
            write(lock, path)
        return lock, older
    require_room(path)
    python_parts.require()
    if stack.signing and modules.sources(stack) and signing.at_hand(stack.signing, places.folder):
        signing.prove(places.store, stack.signing, places.folder)  # elsewhere it is proved when modules are to be compiled
    basis = pinning.Basis(kept=None if anew else older, upgrade=tuple(upgrade), before=older)
    lock, diagnostics = pinning.pin(stack, places, progress, basis=basis, with_models=with_models)
    lock = dated(lock, older, places.environment)
    errors = tuple(found for found in diagnostics if found.severity is Severity.ERROR)
    if errors:
        raise DiagnosticError(errors, ExitCode.NO)
    for warning in diagnostics:
        progress.say(f"warning[{warning.rule}]: {warning.message}")
    if lock != older:
        if older is not None and require is not None:
            require(lock, older)
        if not dry_run:
            write(lock, path)
    return lock, older


def dated(lock: Lock, older: Lock | None, environment: Mapping[str, str]) -> Lock:
    """The lock with the time of now, or the older one's where that pins the same."""
    if older is not None and replace(lock, sealed=older.sealed) == older:
        return older
    return replace(lock, sealed=_now(older, environment))


def _now(older: Lock | None, environment: Mapping[str, str]) -> str:
    """The time of now, after the older lock's though another builder's clock was fast; a day, and that clock is believed no more."""
    now = datetime.datetime.fromtimestamp(float(environment.get("SOURCE_DATE_EPOCH") or time.time()), datetime.UTC)
    said = now.strftime(SEALED_FORM)
    if older is not None and said <= older.sealed <= latest(now):
        said = (datetime.datetime.strptime(older.sealed, SEALED_FORM) + datetime.timedelta(seconds=1)).strftime(SEALED_FORM)
    return said


def _fits(stack: Stack, lock: Lock, with_models: bool) -> bool:
    return lock.wish == seal.wish(stack) and not (with_models and relock.differences(stack, lock))


def _whatever_is_there(path: Path) -> Lock | None:
    try:
        return existing(path)
    except DiagnosticError:
        return None


def _problem(rule: str, name: str, message: str, hint: str) -> Diagnostic:
    return Diagnostic(rule=rule, name=name, severity=Severity.ERROR, message=message, hints=(hint,))
