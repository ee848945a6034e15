"""`aistack explain`: what a code means, in full, with its source."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import asdict
from typing import Literal

from aistack.diagnostics import Diagnostic, ExitCode, Severity, refuse
from aistack.facts import pages
from aistack.facts.catalog import Catalog
from aistack.facts.decode import closest
from aistack.report.text import Paint, colour_wanted, printable
from aistack.values import dataclass

SCHEMA = "aistack/explain/v1"
COLUMNS = 100
"""Where the text of a page is wrapped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One page. `kind`: `code` rules are functions, `data` rules come from a catalog file, `message` is any other code.

    A `check` is one that `aistack verify` asks of images; it has no code but its name.
    """

    code: str
    name: str
    kind: Literal["code", "data", "message", "check"]
    severity: Severity
    text: str
    allowable: bool = False
    source: tuple[str, ...] = ()
    checked: str | None = None
    place: str | None = None


def explanations(catalog: Catalog) -> tuple[Explanation, ...]:
    """Every page, sorted by code."""
    from aistack.compose.rules import rules

    found = [Explanation(code=page.code, name=page.name, kind="message", severity=Severity.ERROR, text=page.text) for page in pages.PAGES]
    for rule in rules(catalog):
        place = catalog.places.get(rule.place) if rule.place else None
        found.append(
            Explanation(
                code=rule.code,
                name=rule.name,
                kind="data" if rule.code in catalog.rules else "code",
                severity=rule.severity,
                text=rule.explanation,
                allowable=rule.allowable,
                source=rule.source,
                checked=rule.checked,
                place=f"{place.file}:{place.line}" if place else None,
            )
        )
    return tuple(sorted(found, key=lambda page: page.code))


def explain(wanted: str | None, *, catalog: Catalog, as_json: bool, environment: Mapping[str, str]) -> ExitCode:
    """Prints one page, or one line for each; raises DiagnosticError (exit 1) for a code or name that there is not."""
    found = explanations(catalog)
    if wanted is not None:
        found = (_find(wanted, found),)
    if as_json:
        print(json.dumps({"schema": SCHEMA, "pages": [asdict(page) for page in found]}, indent=2, ensure_ascii=False))
    elif wanted is not None:
        sys.stdout.write(page_text(found[0], Paint(colour_wanted(sys.stdout, environment))))
    else:
        width = max(len(page.name) for page in found)
        for page in found:
            print(printable(f"{page.code:<8} {page.name:<{width}}  {_summary(page.text, 120 - width)}").rstrip())
    return ExitCode.OK


def page_text(page: Explanation, paint: Paint) -> str:
    """One page as text for a terminal."""
    heads = [f"{paint(page.code, 1)} {paint(page.name, 1)} ({page.severity})", ""]
    for line in page.text.strip().splitlines():
        item = "  " if line.startswith(("- ", "* ")) else ""
        heads += textwrap.wrap(printable(line), COLUMNS, subsequent_indent=item, break_long_words=False, break_on_hyphens=False) or [""]
    facts = [f"source: {source}" for source in page.source]
    facts += [f"checked: {page.checked}"] if page.checked else []
    facts += [f"written in: {page.place}"] if page.place else []
    if page.kind in ("code", "data"):
        can = (
            "can be accepted in a recipe's `allow:`, with a reason and an end date"
            if page.allowable
            else "cannot be allowed: it never works"
        )
        facts.append(f"allow: {can}")
    return "\n".join([*heads, *(["", *facts] if facts else [])]) + "\n"


def _summary(text: str, columns: int) -> str:
    """The first sentence of the first line, cut where it is too long for the list."""
    first = text.strip().splitlines()[0] if text.strip() else ""
    sentence = first.split(". ")[0]
    return textwrap.shorten(sentence, columns, placeholder=" …").removesuffix(".")


def _check(name: str) -> Explanation | None:
    """The page of a check of images; None where none has that name."""
    from aistack.compose.verify import described

    if (known := described().get(name)) is None:
        return None
    text = f"`aistack verify` asks it of images. The answer is yes where this holds: {known[0]}.\n"
    text += "A no condemns the image." if known[1] else "A no is a warning, which condemns what a recipe builds alone."
    severity = Severity.ERROR if known[1] else Severity.WARNING
    return Explanation(code=name, name="check", kind="check", severity=severity, text=f"{text}\ndocs/images.md says how it is told.")


def _find(wanted: str, found: tuple[Explanation, ...]) -> Explanation:
    for page in found:
        if wanted.upper() == page.code or wanted.lower() == page.name:
            return page
    if (check := _check(wanted.lower())) is not None:
        return check
    guess = closest(wanted, [name for page in found for name in (page.code, page.name)])
    hints = (f"did you mean `{guess}`?",) if guess else ("`aistack explain` lists all",)
    message = f"there is no rule `{wanted}`"
    raise refuse(Diagnostic(rule="CLI002", name="page-unknown", severity=Severity.ERROR, message=message, hints=hints))
