"""What a file is that does not say it: whether its keys are those of a snapshot."""

from __future__ import annotations

from dataclasses import replace

from aistack.compose.recipe import SCHEMA, Recipe
from aistack.diagnostics import Diagnostic, Severity
from aistack.facts.decode import fields_of
from aistack.facts.document import Mapping, Scalar

SNAPSHOT = "aistack/snapshot/v1"


def is_like_a_snapshot(root: Mapping) -> bool:
    """Whether the file has keys of a snapshot, and none that only a recipe has: no recipe does without those."""
    seen, wished = _keys()
    written = {key.text for key, _ in root}
    return bool(written & seen) and not written & wished - seen


def unlike_anything(root: Mapping) -> Diagnostic | None:
    """The one thing to say of a file that has no key of a recipe or a snapshot; None for every other."""
    seen, wished = _keys()
    if any(key.text in seen | wished for key, _ in root):
        return None
    return Diagnostic(
        rule="REC011",
        name="schema-unknown",
        severity=Severity.ERROR,
        message="the file does not say what it is, and has no key of a recipe or of a snapshot",
        place=root.place,
        hints=(f"begin a recipe with `schema: {SCHEMA}`, a snapshot with `schema: {SNAPSHOT}`",),
    )


def schema_missing(root: Mapping) -> Diagnostic:
    """The note that a file like a snapshot does not say what it is."""
    return Diagnostic(
        rule="REC014",
        name="schema-missing",
        severity=Severity.INFO,
        message="the file does not say what it is: by its keys it was judged as a snapshot",
        place=root.place,
        hints=(f"begin it with `schema: {SNAPSHOT}`; a recipe begins with `schema: {SCHEMA}`",),
    )


def _keys() -> tuple[set[str], set[str]]:
    """The keys of a snapshot, and those of a recipe."""
    from aistack.facts.snapshot import Snapshot  # which a recipe is read without

    seen, wished = ({field.key for field in fields_of(kind)} - {"schema"} for kind in (Snapshot, Recipe))
    return seen, wished


def with_schema(root: Mapping, schema: str) -> Mapping:
    """The document with the line that it lacks."""
    added = (Scalar("schema", root.place), Scalar(schema, root.place))
    return replace(root, entries=(added, *root.entries))
