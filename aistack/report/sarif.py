"""`aistack check --sarif`: the findings in the format by which code hosts show them on the changed lines.

SARIF 2.1.0, https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html; its word for info and unknown is `note`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

import aistack
from aistack.diagnostics import Diagnostic, Fix, Place, Severity, in_order

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note", Severity.UNKNOWN: "note"}

Explain = Callable[[str], str | None]
"""The page of a rule's code as text, None where there is none."""


def render(diagnostics: Iterable[Diagnostic], explain: Explain) -> str:
    """The log as JSON text with a newline at its end; paths are relative to the working folder where the given ones are."""
    ordered = in_order(diagnostics)
    rules = {found.rule: found for found in sorted(ordered, key=lambda found: found.rule)}
    numbers = {code: index for index, code in enumerate(rules)}
    driver = {
        "name": "aistack",
        "version": aistack.__version__,
        "rules": [_rule(found, explain(found.rule)) for found in rules.values()],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(found, numbers[found.rule]) for found in ordered],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False) + "\n"


def _rule(found: Diagnostic, page: str | None) -> dict[str, Any]:
    rule: dict[str, Any] = {"id": found.rule, "name": found.name}
    if page:
        first = page.split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".")
        rule |= {"shortDescription": {"text": first}, "fullDescription": {"text": page}}
    if found.source and found.source.startswith("https://"):
        rule["helpUri"] = found.source
    return rule


def _result(found: Diagnostic, number: int) -> dict[str, Any]:
    words = [found.message]
    words += [f"why: {text}" for text in found.why]
    words += [f"source: {found.source}"] if found.source else []
    words += [f"fix: {fix}" for fix in found.fixes] + [f"hint: {text}" for text in found.hints]
    result: dict[str, Any] = {
        "ruleId": found.rule,
        "ruleIndex": number,
        "level": LEVELS[found.severity],
        "message": {"text": "\n".join(words)},
        # The same finding is known again after lines above it have moved.
        "partialFingerprints": {"finding/v1": hashlib.sha256(f"{found.rule}\n{found.message}".encode()).hexdigest()[:32]},
    }
    if found.place is not None:
        result["locations"] = [{"physicalLocation": _location(found.place)}]
    if found.labels:
        result["relatedLocations"] = [
            {"id": index, "physicalLocation": _location(label.place), "message": {"text": label.text}}
            for index, label in enumerate(found.labels)
        ]
    if fixes := [fix for fix in found.fixes if fix.changes and all(change.place for change in fix.changes)]:
        result["fixes"] = [_fix(fix) for fix in fixes]
    return result


def _location(place: Place) -> dict[str, Any]:
    return {"artifactLocation": {"uri": _uri(place.file)}, "region": _region(place)}


def _region(place: Place) -> dict[str, int]:
    # A finding without a line of its own is about the whole file.
    line, column = max(1, place.line), max(1, place.column)
    return {"startLine": line, "startColumn": column, "endLine": line, "endColumn": column + max(1, place.length)}


def _uri(file: str) -> str:
    path = PurePath(file)
    return path.as_uri() if path.is_absolute() else quote(path.as_posix())


def _fix(fix: Fix) -> dict[str, Any]:
    changes = [
        {
            "artifactLocation": {"uri": _uri(change.place.file)},
            "replacements": [{"deletedRegion": _region(change.place), "insertedContent": {"text": change.replacement}}],
        }
        for change in fix.changes
        if change.place is not None
    ]
    return {"description": {"text": str(fix)}, "artifactChanges": changes}
