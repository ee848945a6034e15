"""From a recipe's file to the verdict on it: what every verb that needs a stack begins with."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from aistack.commands.reading import Source, read_recipe
from aistack.compose.judge import Judgement, judge
from aistack.compose.recipe import Recipe
from aistack.compose.stack import Stack
from aistack.diagnostics import Diagnostic, DiagnosticError, ExitCode, Severity
from aistack.facts.catalog import Catalog
from aistack.facts.document import Node, places
from aistack.host.catalog_files import load_catalog

if TYPE_CHECKING:
    from aistack.facts.snapshot import Snapshot


def today(environment: Mapping[str, str]) -> str:
    """The day on which recipes are judged, as `2026-11-22`: that of `SOURCE_DATE_EPOCH` where it is set, else the current one (UTC)."""
    epoch = environment.get("SOURCE_DATE_EPOCH", "")
    if epoch.isdecimal() and len(epoch) <= 11:
        return datetime.datetime.fromtimestamp(int(epoch), tz=datetime.UTC).date().isoformat()
    return datetime.datetime.now(tz=datetime.UTC).date().isoformat()


def judge_source(
    recipe: Recipe, root: Node, environment: Mapping[str, str], catalog: Catalog | None = None, *, fixes: bool = True
) -> Judgement:
    """The verdict on a recipe that was read without a problem; the catalog is this installation's unless given."""
    return judge(recipe, catalog or load_catalog(environment), places(root), today(environment), fixes=fixes)


def judge_seen(snapshot: Snapshot, root: Node, environment: Mapping[str, str]) -> tuple[Diagnostic, ...]:
    """What the rules say of a snapshot that was read without a problem."""
    from aistack.compose.judge_snapshot import judge_snapshot  # which a recipe's verdict does without

    return judge_snapshot(snapshot, load_catalog(environment), places(root), today(environment))


def stack_of(path: Path, environment: Mapping[str, str]) -> tuple[Source, Stack, tuple[Diagnostic, ...]]:
    """The recipe in a file, its stack, and every finding short of an error; raises DiagnosticError (exit 1) with all findings if not."""
    source = read_recipe(path)
    judged = judge_source(source.recipe, source.root, environment)
    if judged.stack is None:
        failed = any(found.severity is Severity.ERROR for found in judged.diagnostics)
        raise DiagnosticError(judged.diagnostics or (_incomplete(source),), ExitCode.NO if failed else ExitCode.UNABLE)
    return source, judged.stack, judged.diagnostics


def _incomplete(source: Source) -> Diagnostic:
    message = "the recipe has no error, but something that building needs is not known"
    return Diagnostic(rule="REC012", name="stack-incomplete", severity=Severity.UNKNOWN, message=message, place=source.root.place)
