"""`aistack check --licences FILE`: holds the locks beside recipes against a site's list of admitted licences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from aistack.commands.lock import current, lock_path
from aistack.commands.reading import read_text
from aistack.compose import admission
from aistack.compose.recipe import Recipe
from aistack.compose.stack import Stack
from aistack.diagnostics import Diagnostic, DiagnosticError, ExitCode
from aistack.facts.document import Node, parse, places
from aistack.host import python_parts

Judge = Callable[[Path, Recipe, Node, Stack | None], tuple[Diagnostic, ...]]
"""What the list says of a recipe in a file, with its document and its stack."""


def read_list(path: Path) -> Judge:
    """The judge by the list in a file; raises DiagnosticError with every problem in it (exit 1)."""
    python_parts.require()
    root, problems = parse(read_text(path), str(path))
    licences, more = admission.read(root) if root is not None else (None, ())
    if licences is None or problems:
        raise DiagnosticError((*problems, *more), ExitCode.NO)

    def judge(recipe_path: Path, recipe: Recipe, root: Node, stack: Stack | None) -> tuple[Diagnostic, ...]:
        lock = current(lock_path(recipe_path), stack) if stack else None
        if lock is None:
            return (admission.without_lock(root, str(lock_path(recipe_path))),)
        return admission.judge(licences, str(path), lock, recipe, places(root))

    return judge
