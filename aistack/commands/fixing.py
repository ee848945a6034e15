"""`aistack check --fix`: changes that were proved, made in the user's own text; all else in the file stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aistack.commands import writing
from aistack.diagnostics import Diagnostic, Fix, Severity, unable
from aistack.facts.document import added, parse, replaced


def best(text: str, found: Sequence[Diagnostic]) -> tuple[Fix, str] | None:
    """The first fix that mends all that is wrong and can be made in the text, and the text with it; None without one.

    It is one of an error, or of a warning where there is no error.
    """
    for severity in (Severity.ERROR, Severity.WARNING):
        for fix in (fix for one in found if one.severity is severity for fix in one.fixes):
            if fix.proved and not fix.leaves and (after := applied(text, fix)) is not None:
                return fix, after
        if any(one.severity is severity for one in found):
            return None
    return None


def applied(text: str, fix: Fix) -> str | None:
    """The text with the fix's changes; None where there is none, or one of them does not go into the text as it is written."""
    after: str | None = text if fix.changes else None
    ordered = sorted(fix.changes, key=lambda change: (change.place.line, change.place.column) if change.place else (0, 0), reverse=True)
    for change in ordered:  # from the end, so that places before stay; what is added comes last
        if after is None:
            return None
        if change.place is not None:
            after = replaced(after, change.place, change.replacement)
        else:
            root, _ = parse(after, "")
            after = added(after, root, change.path, change.replacement) if root is not None else None
    return after


def write(path: Path, before: str, after: str) -> None:
    """Replaces the file's text, whole or not at all, its mode kept; raises DiagnosticError (exit 3) where that cannot be."""
    try:
        if path.read_bytes().decode() != before:
            hints = ("run it again",)
            raise unable("FIX001", "recipe-changed", f"{path} was changed by somebody else while it was judged", hints=hints)
        writing.write(path, after.encode())
    except OSError as error:
        hints = ("nothing was changed",)
        raise unable("FIX002", "recipe-not-written", f"{path} cannot be written: {error.strerror}", hints=hints) from error
