"""`aistack check --fix`: one change that was proved, made in the user's own text; all else in the file stays as it is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from aistack.diagnostics import Diagnostic, Fix, Severity, unable
from aistack.facts.document import replaced


def best(found: Sequence[Diagnostic]) -> Fix | None:
    """The first fix of the first error that can be made in place (of the first warning where there is no error); None without one."""
    for severity in (Severity.ERROR, Severity.WARNING):
        fixes = [fix for one in found if one.severity is severity for fix in one.fixes]
        for fix in fixes:
            if fix.proved and fix.place is not None and fix.replacement is not None:
                return fix
        if any(one.severity is severity for one in found):
            return None
    return None


def applied(text: str, fix: Fix) -> str:
    """The text with the fix's replacement at its place."""
    assert fix.place is not None and fix.replacement is not None
    return replaced(text, fix.place, fix.replacement)


def write(path: Path, before: str, after: str) -> None:
    """Replaces the file's text, whole or not at all, its mode kept; raises DiagnosticError (exit 3) where that cannot be."""
    target = path.resolve()  # a link stays a link
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        if target.read_bytes().decode() != before:
            hints = ("run it again",)
            raise unable("FIX001", "recipe-changed", f"{path} was changed by somebody else while it was judged", hints=hints)
        unfinished.write_bytes(after.encode())
        unfinished.chmod(target.stat().st_mode & 0o7777)
        unfinished.replace(target)
    except OSError as error:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        hints = ("nothing was changed",)
        raise unable("FIX002", "recipe-not-written", f"{path} cannot be written: {error.strerror}", hints=hints) from error
