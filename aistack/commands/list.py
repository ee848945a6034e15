"""`aistack list`: what the catalog knows, one line for each."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aistack.compose.recipe import read
from aistack.compose.rules import rules
from aistack.diagnostics import Diagnostic, DiagnosticError, ExitCode, Severity
from aistack.facts.catalog import Catalog, Framework, targets
from aistack.facts.decode import closest
from aistack.facts.document import parse
from aistack.facts.systems import Os, System
from aistack.facts.version import Scheme, newest_first
from aistack.report.text import printable, width

SCHEMA = "aistack/list/v1"

Row = dict[str, Any]


def list_kind(kind: str, *, catalog: Catalog, recipes: Sequence[Path], as_json: bool) -> ExitCode:
    """Prints one kind (`accelerators`, `models`, …); raises DiagnosticError (exit 1) for a kind that there is not."""
    kinds: dict[str, Callable[[], list[Row]]] = {
        "accelerators": lambda: _accelerators(catalog),
        "branches": lambda: _branches(catalog),
        "kernels": lambda: _kernels(catalog),
        "models": lambda: _models(catalog),
        "frameworks": lambda: _frameworks(catalog),
        "components": lambda: _components(catalog),
        "images": lambda: _images(catalog),
        "faults": lambda: _faults(catalog),
        "os": lambda: _systems(catalog),
        "rules": lambda: _rules(catalog),
        "recipes": lambda: _recipes(recipes),
    }
    if kind not in kinds:
        guess = closest(kind, kinds)
        hints = (f"did you mean `{guess}`?",) if guess else ("known: " + ", ".join(f"`{name}`" for name in kinds),)
        problem = Diagnostic(
            rule="CLI003", name="list-unknown", severity=Severity.ERROR, message=f"there is no list of `{kind}`", hints=hints
        )
        raise DiagnosticError((problem,), ExitCode.USAGE)
    rows = kinds[kind]()
    if as_json:
        print(json.dumps({"schema": SCHEMA, "kind": kind, "items": rows}, indent=2, ensure_ascii=False))
    else:
        sys.stdout.write(table(rows))
    return ExitCode.OK


def table(rows: Sequence[Row]) -> str:
    """Rows as aligned columns; the last is not padded."""
    lines = [[printable("" if value is None else str(value)) for value in row.values()] for row in rows]
    widths = [max(width(line[column]) for line in lines) for column in range(len(lines[0]))] if lines else []
    return "".join(
        "  ".join(cell + " " * (wide - width(cell)) for cell, wide in zip(line, widths, strict=True)).rstrip() + "\n" for line in lines
    )


def _accelerators(catalog: Catalog) -> list[Row]:
    return [
        {
            "id": product.id,
            "name": product.name,
            "memory": f"{product.memory_gib} GiB" if product.memory_gib else None,
            "architecture": product.architecture,
            "target": next(iter(targets(product)), None),
            "kind": product.kind,
            "driver": f"from {product.driver_minimum}" if product.driver_minimum and "driver-minimum" not in product.recalled else None,
        }
        for product in sorted(catalog.accelerators.values(), key=lambda product: product.id)
    ]


def _branches(catalog: Catalog) -> list[Row]:
    ordered = newest_first(catalog.branches, Scheme.RELEASE)
    return [
        {"id": branch.id, "kind": branch.kind, "newest": branch.newest, "cuda": branch.cuda, "eol": branch.eol}
        for branch in (catalog.branches[name] for name in ordered)
    ]


def _kernels(catalog: Catalog) -> list[Row]:
    ordered = (catalog.kernels[name] for name in newest_first(catalog.kernels, Scheme.KERNEL))
    return [
        {"id": found.id, "kind": "long-term" if found.long_term else "", "released": found.released, "eol": found.eol} for found in ordered
    ]


def _models(catalog: Catalog) -> list[Row]:
    return [
        {
            "id": model.id,
            "kind": model.kind,
            "weights": f"{model.weights_bytes / 1e9:.1f} GB" if model.weights_bytes else None,
            "licence": model.licence,
            "gated": "gated" if model.gated else "",
        }
        for model in sorted(catalog.models.values(), key=lambda model: model.id.lower())
    ]


def _frameworks(catalog: Catalog) -> list[Row]:
    return [
        {
            "id": framework.id,
            "newest": newest_first((release.version for release in framework.releases), framework.versions)[0],
            "releases": len(framework.releases),
            "runs-on": ", ".join(framework.platforms or framework.vendors),
            "from": _delivery(framework),
        }
        for framework in sorted(catalog.frameworks.values(), key=lambda framework: framework.id)
    ]


def _delivery(framework: Framework) -> str:
    delivery = framework.delivery
    if delivery is None:
        return "known, not delivered"
    on = f" for {', '.join(framework.vendors)}" if set(framework.vendors) < set(framework.platforms) else ""
    return f"{delivery.os}{' and PyPI' if delivery.wheels else ''}{on}"


def _components(catalog: Catalog) -> list[Row]:
    return [
        {
            "id": component.id,
            "name": component.name,
            "newest": newest_first((release.version for release in component.releases), component.versions)[0],
            "releases": len(component.releases),
            "aliases": ", ".join(component.aliases),
        }
        for component in sorted(catalog.components.values(), key=lambda component: component.id)
    ]


def _images(catalog: Catalog) -> list[Row]:
    return [
        {"id": image.id, "name": image.name, "reference": image.references[0]}
        for image in sorted(catalog.images.values(), key=lambda image: image.id)
    ]


def _faults(catalog: Catalog) -> list[Row]:
    return [
        {"of": kind.id, "code": fault.code, "kind": fault.kind, "name": fault.name}
        for kind in (catalog.faults[name] for name in sorted(catalog.faults))
        for fault in kind.faults
    ]


def _systems(catalog: Catalog) -> list[Row]:
    systems: list[System] = [*catalog.systems.values(), *catalog.distributions.values()]
    return [
        {
            "id": system.id,
            "name": system.name,
            "roles": ", ".join(system.roles) if isinstance(system, Os) else "known only",
            "kernels": ", ".join(dict.fromkeys(f"{kernel.flavor} {kernel.version}" for kernel in system.kernels)),
            "glibc": system.glibc,
            "eol": system.eol,
        }
        for system in sorted(systems, key=lambda system: system.id)
    ]


def _rules(catalog: Catalog) -> list[Row]:
    return [
        {
            "code": rule.code,
            "name": rule.name,
            "severity": rule.severity.value,
            "kind": "data" if rule.code in catalog.rules else "code",
            "about": rule.explanation.strip().splitlines()[0] if rule.explanation.strip() else "",
        }
        for rule in rules(catalog)
    ]


def _recipes(paths: Sequence[Path]) -> list[Row]:
    rows = []
    for path in paths:
        text = path.read_text(encoding="utf-8")
        root, _ = parse(text, str(path))
        recipe = read(root)[0] if root is not None else None
        about = text.splitlines()[0].lstrip("# ") if text.startswith("#") else ""
        rows.append({"file": str(path), "name": recipe.name if recipe else None, "about": about})
    return rows
