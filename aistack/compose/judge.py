"""The verdict on a recipe: resolve, every rule, what `allow` accepts, and fixes that were tried; as diagnostics and a stack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from aistack.compose.assemble import assemble
from aistack.compose.fixes import alternatives, minimal_conflict, proved
from aistack.compose.recipe import Allowance, Recipe
from aistack.compose.resolve import Resolution, Verdict, findings, resolve, severity
from aistack.compose.rules import find, rules
from aistack.compose.rules.situation import Finding, Path, Rule
from aistack.compose.rules.wish import ALLOW_EXPIRED, ALLOW_FATAL, ALLOW_UNKNOWN, ALLOW_UNUSED, NO_RELEASE
from aistack.compose.stack import Stack
from aistack.diagnostics import Diagnostic, Label, Place, Severity, in_order
from aistack.facts.catalog import Catalog
from aistack.facts.decode import closest
from aistack.values import dataclass

_ENTRIES = ("accelerators", "branches", "components", "distributions", "frameworks", "kernels", "models", "systems", "terms", "wheels")
"""The fields of a catalog whose entries carry a source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """`stack` is None when there is an error, or when something that building needs is not known."""

    stack: Stack | None
    diagnostics: tuple[Diagnostic, ...]
    resolution: Resolution


def judge(recipe: Recipe, catalog: Catalog, places: Mapping[Path, Place], today: str, *, fixes: bool = True) -> Judgement:
    """Everything there is to say about a recipe on the day `today` (`2026-11-22`); `places` has the place of each of its values.

    With `fixes`, single changes are tried for each error and warning, and those that help are attached.
    """
    allowed, complaints = _allowances(recipe, catalog, today)
    resolution = resolve(recipe, catalog, today, allowed=frozenset(allowed))
    verdicts = _verdicts(resolution, catalog)
    used = {rule.code for rule, _ in verdicts}
    for index, allowance in enumerate(recipe.allow):
        rule = find(catalog, allowance.rule)
        if rule is not None and rule.code in allowed and rule.code not in used:
            message = f"nothing was found that `allow` of {rule.code} `{rule.name}` would accept"
            complaints.append((ALLOW_UNUSED, Finding(message=message, path=("allow", index, "rule"), hints=("remove the entry",))))
    conflict = _conflict(resolution, recipe, catalog, today, frozenset(allowed)) if fixes else ()
    diagnostics = []
    for rule, finding in (*verdicts, *complaints):
        accepted = allowed.get(rule.code)
        diagnostic = diagnostic_of(rule, finding, places, catalog, accepted)
        constrained = any(rule.code == code.code and _same(finding, other) for code, other in resolution.violations)
        if constrained:
            diagnostic = _with_conflict(diagnostic, conflict, places)
        if fixes and accepted is None and diagnostic.severity in (Severity.ERROR, Severity.WARNING):
            diagnostic = _mended(diagnostic, rule, finding, resolution, conflict if constrained else (), catalog, places, today)
        diagnostics.append(diagnostic)
    failed = any(diagnostic.severity is Severity.ERROR for diagnostic in diagnostics)
    stack = None if failed else assemble(resolution, catalog)
    return Judgement(stack=stack, diagnostics=in_order(dict.fromkeys(diagnostics)), resolution=resolution)


def _verdicts(resolution: Resolution, catalog: Catalog) -> tuple[Verdict, ...]:
    """What resolve found missing, and what any rule says, each once."""
    missing = tuple(verdict for verdict in resolution.violations if verdict[0] is NO_RELEASE)
    seen: list[Verdict] = []
    for rule, finding in (*missing, *findings(resolution.situation, catalog)):
        if not any(rule.code == known.code and _same(finding, other) for known, other in seen):
            seen.append((rule, finding))
    return tuple(seen)


def _same(one: Finding, other: Finding) -> bool:
    return (one.message, one.path) == (other.message, other.path)


def _conflict(resolution: Resolution, recipe: Recipe, catalog: Catalog, today: str, allowed: frozenset[str]) -> tuple[Path, ...]:
    return minimal_conflict(recipe, catalog, today, allowed) if resolution.violations else ()


def _allowances(recipe: Recipe, catalog: Catalog, today: str) -> tuple[dict[str, Allowance], list[Verdict]]:
    """(what is accepted today, by code; complaints about entries of `allow`)."""
    allowed: dict[str, Allowance] = {}
    complaints: list[Verdict] = []
    for index, allowance in enumerate(recipe.allow):
        path: Path = ("allow", index, "rule")
        rule = find(catalog, allowance.rule)
        if rule is None:
            guess = closest(allowance.rule, [name for known in rules(catalog) for name in (known.code, known.name)])
            hints = (f"did you mean `{guess}`?",) if guess else ("`aistack explain` lists all",)
            complaints.append((ALLOW_UNKNOWN, Finding(message=f"`allow` names no rule: `{allowance.rule}`", path=path, hints=hints)))
        elif not rule.allowable:
            message = f"{rule.code} `{rule.name}` cannot be allowed: such a stack does not work"
            complaints.append((ALLOW_FATAL, Finding(message=message, path=path)))
        elif allowance.until.isoformat() < today:
            message = f"`allow` of {rule.code} `{rule.name}` ended on {allowance.until.isoformat()}"
            complaints.append((ALLOW_EXPIRED, Finding(message=message, path=("allow", index, "until"))))
        else:
            allowed[rule.code] = allowance
    return allowed, complaints


def diagnostic_of(
    rule: Rule, finding: Finding, places: Mapping[Path, Place], catalog: Catalog, accepted: Allowance | None = None
) -> Diagnostic:
    """A finding as people read it; `accepted` is the entry of `allow` that makes a note of it."""
    place = _place(finding.path, places)
    labels = [Label(place=place, text=finding.label)] if place and finding.label else []
    labels += [Label(place=other, text=text) for path, text in finding.also if (other := _place(path, places)) and other != place]
    why = finding.why
    found = severity(rule, finding)
    source, checked = sourced(rule, finding, catalog)
    if accepted is not None and found in (Severity.ERROR, Severity.WARNING):
        found = Severity.INFO
        why = (*why, f"allowed until {accepted.until.isoformat()}: {accepted.because.strip()}")
    return Diagnostic(
        rule=rule.code,
        name=rule.name,
        severity=found,
        message=finding.message,
        place=place,
        labels=tuple(labels),
        why=why,
        source=source,
        rule_place=catalog.places.get(finding.place or rule.place or ""),
        checked=checked,
        hints=finding.hints,
    )


def sourced(rule: Rule, finding: Finding, catalog: Catalog) -> tuple[str | None, str | None]:
    """Where the deciding fact stands, and when it was read: the finding's own, else the rule's, else the catalog entry's."""
    if finding.source:
        return finding.source, finding.checked
    if rule.source:
        return rule.source[0], rule.checked
    kind, _, name = (finding.place or "").partition("/")
    entries: Mapping[str, Any] = getattr(catalog, kind) if kind in _ENTRIES else {}
    entry = entries.get(name) or entries.get(name.rpartition("/")[0])
    return (entry.source[0], entry.checked) if entry else (None, None)


def _place(path: Path, places: Mapping[Path, Place]) -> Place | None:
    """The place of a value, or of the nearest thing around it that the recipe has."""
    while path and path not in places:
        path = path[:-1]
    return places.get(path)


def _with_conflict(diagnostic: Diagnostic, conflict: tuple[Path, ...], places: Mapping[Path, Place]) -> Diagnostic:
    """Point at the other wishes without which there would be no conflict."""
    have = {label.place for label in diagnostic.labels} | {diagnostic.place}
    more = tuple(
        Label(place=place, text="conflicts with this") for path in conflict if (place := _place(path, places)) and place not in have
    )
    return replace(diagnostic, labels=(*diagnostic.labels, *more))


def _mended(
    diagnostic: Diagnostic,
    rule: Rule,
    finding: Finding,
    resolution: Resolution,
    conflict: tuple[Path, ...],
    catalog: Catalog,
    places: Mapping[Path, Place],
    today: str,
) -> Diagnostic:
    """The diagnostic with the single changes that were tried and help; a hint where none of those tried does."""
    recipe = resolution.situation.wish
    proposals = (*finding.proposals, *alternatives(resolution, catalog, _most_likely(conflict, finding)))

    def works(changed: Recipe) -> bool:
        after = judge(changed, catalog, {}, today, fixes=False).diagnostics
        severities = (Severity.ERROR,) if diagnostic.severity is Severity.ERROR else (Severity.ERROR, Severity.WARNING)
        return not any(found.severity in severities and (found.severity is Severity.ERROR or found.rule == rule.code) for found in after)

    if not proposals and diagnostic.severity is Severity.ERROR and resolution.violations and finding.path[:1] in (("kernel",), ("driver",)):
        name = resolution.situation.os.name if resolution.situation.os else recipe.os
        hint = f"nothing that {name} offers fits: another OS, accelerator or framework is needed"
        return replace(diagnostic, hints=(*diagnostic.hints, hint))
    found = proved(recipe, proposals, places, works)
    if found or not proposals or diagnostic.severity is not Severity.ERROR:
        hints = tuple(hint for hint in diagnostic.hints if not (found and hint.startswith("did you mean")))  # the fix says it
        return replace(diagnostic, fixes=(*diagnostic.fixes, *found), hints=hints)
    return replace(diagnostic, hints=(*diagnostic.hints, "no single change that was tried makes the recipe resolve"))


def _most_likely(conflict: tuple[Path, ...], finding: Finding) -> tuple[Path, ...]:
    """The wishes in conflict, the one at which the finding points first; its own too where the recipe admits nothing at all."""
    return tuple(dict.fromkeys((*(path for path in conflict if path == finding.path), *conflict)))
