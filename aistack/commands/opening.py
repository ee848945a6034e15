"""What every verb that builds begins with: the recipe resolved and judged, and the places that bytes come from and go to."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from aistack.commands import proving
from aistack.commands.changes import change_lines
from aistack.commands.judging import stack_of
from aistack.commands.lock import current, ensure, lock_path
from aistack.commands.pinning import Places
from aistack.commands.reading import text_for_snippet, written
from aistack.compose.diff import changes
from aistack.compose.lock import Lock
from aistack.compose.stack import Stack
from aistack.diagnostics import Diagnostic, Severity, refuse
from aistack.host.store import Store, default_path
from aistack.report.progress import Progress
from aistack.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the build verbs have in common."""

    offline: bool = False
    models_from: Path | None = None
    without_models: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A recipe that was judged fit to build."""

    recipe: Path
    stack: Stack
    places: Places
    progress: Progress
    with_models: bool = True

    @property
    def lock_path(self) -> Path:
        """Where the lock lies: the whole one where it fits, though models are left out; else the kind that is asked for."""
        whole = lock_path(self.recipe)
        return whole if self.with_models or current(whole, self.stack) else lock_path(self.recipe, with_models=False)

    def locked(self) -> Lock:
        """The lock beside the recipe; raises DiagnosticError (exit 1) when it is missing, or that of another wish."""
        found = current(self.lock_path, self.stack)
        if found is None:
            message = f"{self.lock_path} is {'not the lock of this recipe' if self.lock_path.exists() else 'not there'}"
            hints: tuple[str, ...] = (f"aistack lock {self.recipe}{'' if self.with_models else ' --without-models'}",)
            if self.with_models and current(lock_path(self.recipe, with_models=False), self.stack):
                hints = (*hints, "for what was built without models: `--without-models`")
            raise refuse(Diagnostic(rule="LOCK003", name="lock-missing", severity=Severity.ERROR, message=message, hints=hints))
        return found

    def lock(self) -> tuple[Lock, bool]:
        """The recipe's lock, made now (true) where the one beside it is missing or of another wish; what moved is told."""
        require = proving.guard(self.places, self.progress)
        lock, older = ensure(self.stack, self.lock_path, self.places, self.progress, with_models=self.with_models, require=require)
        if older is not None and lock != older:
            self.progress.say(f"{self.lock_path}: made anew, because the recipe changed")
            for line in change_lines(changes(older, lock)):
                self.progress.say(f"    {line}")
        return lock, lock != older


def progress_on_stderr() -> Progress:
    """Progress for people, on the terminal's error stream."""
    return Progress(stream=sys.stderr, terminal=sys.stderr.isatty())


def opened(recipe: Path, options: Options, environment: Mapping[str, str] = os.environ) -> Opened:
    """Judges a recipe and tells its warnings on stderr; raises DiagnosticError when it must not be built."""
    source, stack, findings = stack_of(recipe, environment)
    if findings:
        from aistack.report import terminal
        from aistack.report.text import colour_wanted

        sys.stderr.write(terminal.render(findings, text_for_snippet, colour=colour_wanted(sys.stderr, environment)))
    places = Places(
        store=Store(default_path(environment)),
        environment=environment,
        models_from=options.models_from,
        written=written(source),
        offline=options.offline,
        folder=recipe.parent,
    )
    return Opened(recipe=recipe, stack=stack, places=places, progress=progress_on_stderr(), with_models=not options.without_models)
