"""`aistack schema`: the JSON Schema of each kind of file, made from the types that read it, for editors and for other programs."""

from __future__ import annotations

import json
from typing import Any

from aistack.diagnostics import Diagnostic, DiagnosticError, ExitCode, Severity
from aistack.facts.decode import closest
from aistack.facts.schema import schema as make_schema

KINDS = (
    "recipe",
    "snapshot",
    "accelerator",
    "branch",
    "kernel",
    "model",
    "framework",
    "component",
    "wheels",
    "os",
    "distribution",
    "image",
    "terms",
    "faults",
    "limits",
    "rules",
    "licences",
    "lock",
    "check",
)
"""What `aistack schema` knows: files that people write, then documents that aistack writes."""


def schema_of(kind: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of one kind; raises DiagnosticError (exit 1) for a kind that there is not."""
    title = f"aistack {kind}"
    if kind == "recipe":
        from aistack.compose.recipe import Recipe

        return make_schema(Recipe, title=title)
    if kind == "snapshot":
        from aistack.facts.snapshot import Snapshot

        return make_schema(Snapshot, title=title)
    if kind == "lock":
        from aistack.compose import lock

        return make_schema(lock.Lock, title=title, dashes=False, extra={"schema": {"const": lock.SCHEMA}})
    if kind == "licences":
        from aistack.compose.admission import Licences

        return make_schema(Licences, title=title)
    if kind == "check":
        from aistack.report.json import Check

        return make_schema(Check, title=title, dashes=False)
    from aistack.facts.catalog_text import KINDS as FILES

    for name, (file, _, _) in FILES.items():
        if name == f"aistack/{kind}/v1":
            return make_schema(file, title=title)
    guess = closest(kind, KINDS)
    hints = ((f"did you mean `{guess}`?",) if guess else ()) + ("known: " + ", ".join(f"`{name}`" for name in KINDS),)
    problem = Diagnostic(rule="CLI001", name="kind-unknown", severity=Severity.ERROR, message=f"there is no schema `{kind}`", hints=hints)
    raise DiagnosticError((problem,), ExitCode.USAGE)


def schema(kind: str) -> ExitCode:
    """Prints the schema as JSON."""
    print(json.dumps(schema_of(kind), indent=2, ensure_ascii=False))
    return ExitCode.OK
