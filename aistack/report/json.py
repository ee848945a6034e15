"""The document of `aistack check --json`; its schema comes from these types (`aistack schema check`)."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from aistack.diagnostics import Diagnostic, Fix, Label, Place, Severity, in_order
from aistack.values import dataclass

SCHEMA = "aistack/check/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One diagnostic; whoever reads it may rely on every key being there."""

    rule: Annotated[str, "the code; `aistack explain CODE` tells more"]
    name: Annotated[str, "the readable name"]
    severity: Annotated[Severity, "`unknown`: facts were missing"]
    message: Annotated[str, "what is wrong, enough without the rest"]
    place: Annotated[Place | None, "where; line and column count from 1, columns and length in characters"]
    labels: Annotated[tuple[Label, ...], "more places, each with a few words"]
    why: Annotated[tuple[str, ...], "reasons, in sentences"]
    source: Annotated[str | None, "the document that says so"]
    rule_place: Annotated[Place | None, "where the rule is written"]
    checked: Annotated[str | None, "the day on which the source was last read"]
    hints: Annotated[tuple[str, ...], "ways out that nobody tried"]
    fixes: Annotated[
        tuple[Fix, ...], "what mends it; `proved`: made in a copy, and all checked again; `leaves`: codes of errors that remain"
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """What `aistack check` found; `ok` is its verdict (exit 0)."""

    schema: Literal["aistack/check/v1"]
    ok: bool
    diagnostics: tuple[Finding, ...]


def document(diagnostics: Iterable[Diagnostic], *, ok: bool) -> Check:
    """The document as values, the diagnostics in the order in which people read them."""
    keys = [field.name for field in dataclasses.fields(Finding)]
    found = tuple(Finding(**{key: getattr(diagnostic, key) for key in keys}) for diagnostic in in_order(diagnostics))
    return Check(schema="aistack/check/v1", ok=ok, diagnostics=found)


def render(diagnostics: Iterable[Diagnostic], *, ok: bool) -> str:
    """The document as JSON text with a newline at its end; equal findings give equal bytes."""
    plain: dict[str, Any] = dataclasses.asdict(document(diagnostics, ok=ok))
    return json.dumps(plain, indent=2, ensure_ascii=False) + "\n"
