"""`aistack show`: everything that the catalog knows about one thing, with its sources."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from aistack.compose.rules import find
from aistack.diagnostics import Diagnostic, ExitCode, Severity, refuse
from aistack.facts.catalog import Catalog
from aistack.facts.decode import closest
from aistack.facts.systems import Os
from aistack.report.text import printable

SCHEMA = "aistack/show/v1"


def show(wanted: str, *, catalog: Catalog, as_json: bool) -> ExitCode:
    """Prints one entry of the catalog; raises DiagnosticError (exit 1) for an id that there is not."""
    kind, entry = _find(wanted, catalog)
    facts = {name: value for name, value in _plain(entry).items() if name != "schema"}
    place = catalog.places.get(f"{kind}/{facts['id']}")
    if as_json:
        document = {"schema": SCHEMA, "kind": kind, "place": dataclasses.asdict(place) if place else None, "facts": facts}
        print(json.dumps(document, indent=2, ensure_ascii=False))
        return ExitCode.OK
    for name, value in facts.items():
        if value not in (None, (), [], {}, ""):
            print(printable_lines(_key(name), value))
    if place is not None:
        print(f"written in: {place.file}:{place.line}")
    return ExitCode.OK


def printable_lines(name: str, value: Any) -> str:
    """One fact as text: short lists on one line, lists of mappings one line each."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "\n".join([f"{name}:", *(f"  - {_inline(item)}" for item in value)])
    if isinstance(value, list) and any(len(str(item)) > 40 for item in value):
        return "\n".join([f"{name}:", *(f"  - {printable(str(item))}" for item in value)])
    return f"{name}: {_inline(value)}"


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        kept = {key: inner for key, inner in value.items() if inner not in (None, [], {}, "")}
        return ", ".join(f"{_key(key)} {_inline(inner)}" for key, inner in kept.items())
    if isinstance(value, list):
        return ", ".join(_inline(item) for item in value)
    return printable(str(value).lower() if isinstance(value, bool) else str(value))


def _key(name: str) -> str:
    """A key as the catalog's files write it; the names of environment variables are in capitals, and stay."""
    return name.replace("_", "-") if name.islower() else name


def _find(wanted: str, catalog: Catalog) -> tuple[str, Any]:
    kinds: dict[str, Any] = {
        "accelerators": catalog.accelerator,
        "models": catalog.model,
        "frameworks": catalog.framework,
        "components": catalog.component,
        "systems": catalog.systems.get,
        "distributions": catalog.distribution,
        "terms": catalog.terms.get,
        "branches": catalog.branches.get,
        "kernels": catalog.kernels.get,
        "images": catalog.images.get,
        "faults": catalog.faults.get,
        "limits": catalog.limits.get,
    }
    for kind, lookup in kinds.items():
        entry = lookup(wanted)
        if entry is not None:
            return "systems" if isinstance(entry, Os) else kind, entry
    rule = find(catalog, wanted)
    if rule is not None and rule.code in catalog.rules:
        return "rules", catalog.rules[rule.code]
    if rule is not None:
        hint = f"`aistack explain {rule.code}` tells about this rule"
        raise refuse(_problem(f"`{wanted}` is a rule that is code, not an entry of the catalog", (hint,)))
    if family := catalog.family(wanted):
        may_be = ("it may be " + " or ".join(f"`{product.id}`" for product in family),)
        raise refuse(_problem(f"`{wanted}` is not the name of one product", may_be))
    known = [
        *catalog.accelerators,
        *catalog.models,
        *catalog.frameworks,
        *catalog.components,
        *catalog.systems,
        *catalog.distributions,
        *catalog.terms,
        *catalog.branches,
        *catalog.kernels,
        *catalog.images,
        *catalog.faults,
        *catalog.limits,
        *catalog.rules,
    ]
    guess = closest(wanted, known)
    hint = f"did you mean `{guess}`?" if guess else "`aistack list KIND` lists ids; `aistack list --help` names the kinds"
    raise refuse(_problem(f"the catalog has no `{wanted}`", (hint,)))


def _problem(message: str, hints: tuple[str, ...]) -> Diagnostic:
    return Diagnostic(rule="CLI004", name="id-unknown", severity=Severity.ERROR, message=message, hints=hints)


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(dataclasses.asdict(value), default=lambda entries: {name: _plain(one) for name, one in entries.items()}))
