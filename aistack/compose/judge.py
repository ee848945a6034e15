"""The verdict on a recipe: resolve, every rule, what `allow` accepts, and fixes that were tried; as diagnostics and a stack."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from aistack.compose.assemble import assemble
from aistack.compose.fixes import Mend, alternatives, change, joined, minimal_conflict, proved, requirements
from aistack.compose.recipe import Allowance, Recipe
from aistack.compose.resolve import Resolution, Verdict, findings, resolve, severity
from aistack.compose.rules import find, rules
from aistack.compose.rules.situation import Finding, Path, Proposal, Rule
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

    With `fixes`, single changes are tried for each error and warning, and those that help are attached. Where none mends the whole
    recipe, but several do together, these are attached to each error too.
    """
    judgement, step = _judge(recipe, catalog, places, today, fixes=fixes)
    steps = []
    while step is not None and step.fix.leaves:  # each takes an error away and brings none
        steps.append(step)
        changed = change(recipe, step.proposal.path, step.proposal.value)
        assert changed is not None
        recipe = changed
        _, step = _judge(recipe, catalog, places, today, fixes=True)
    if not steps or step is None:
        return judgement
    together = joined((*steps, step))
    return replace(
        judgement,
        diagnostics=tuple(
            replace(found, fixes=(together, *found.fixes)) if found.severity is Severity.ERROR else found for found in judgement.diagnostics
        ),
    )


def _judge(recipe: Recipe, catalog: Catalog, places: Mapping[Path, Place], today: str, *, fixes: bool) -> tuple[Judgement, Mend | None]:
    """The verdict, and the best of the changes that mend an error."""
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
    pairs = [(finding, diagnostic_of(rule, finding, places, catalog, allowed.get(rule.code))) for rule, finding in (*verdicts, *complaints)]
    before = _errors(diagnostic for _, diagnostic in pairs)
    diagnostics = []
    mends: list[Mend] = []
    for finding, diagnostic in pairs:
        constrained = any(rule.code == diagnostic.rule and _same(finding, other) for rule, other in resolution.violations)
        found = diagnostic
        if constrained:
            found = _with_conflict(found, conflict, places)
        if fixes and diagnostic.severity in (Severity.ERROR, Severity.WARNING):
            proposals = finding.proposals
            if constrained:
                proposals += tuple(alternatives(resolution, catalog, _most_likely(conflict, finding, recipe)))
            leaves = partial(_left, catalog=catalog, places=places, today=today, before=before, mended=diagnostic)
            made = proved(recipe, proposals, places, leaves)
            found = _mended(found, finding, resolution, conflict, proposals, made)
            mends += made if diagnostic.severity is Severity.ERROR else ()
        diagnostics.append(found)
    stack = None if before else assemble(resolution, catalog)
    judgement = Judgement(stack=stack, diagnostics=in_order(dict.fromkeys(diagnostics)), resolution=resolution)
    return judgement, min(mends, key=lambda mend: bool(mend.fix.leaves), default=None)


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


_Error = tuple[str, str, Place | None]


def _errors(found: Iterable[Diagnostic]) -> dict[_Error, str]:
    """The errors among findings as they are known again in a changed recipe, each with its code."""
    return {(one.rule, one.message, one.place): one.rule for one in found if one.severity is Severity.ERROR}


def _left(
    changed: Recipe,
    *,
    catalog: Catalog,
    places: Mapping[Path, Place],
    today: str,
    before: Mapping[_Error, str],
    mended: Diagnostic,
) -> tuple[str, ...] | None:
    """The codes of the errors that a changed recipe still has; None where it is not `mended`, or another is new."""
    found = _judge(changed, catalog, places, today, fixes=False)[0].diagnostics
    after = _errors(found)
    if mended.severity is Severity.WARNING:
        return None if after or any(one.rule == mended.rule and one.severity is Severity.WARNING for one in found) else ()
    if not after.keys() <= before.keys() - _errors((mended,)).keys():
        return None
    return tuple(dict.fromkeys(after.values()))


def _mended(
    diagnostic: Diagnostic,
    finding: Finding,
    resolution: Resolution,
    conflict: tuple[Path, ...],
    proposals: Sequence[Proposal],
    mends: Sequence[Mend],
) -> Diagnostic:
    """The diagnostic with the single changes that were tried and help; a hint where none of those tried does."""
    if mends:
        offered = {f"did you mean `{mend.proposal.value}`?" for mend in mends}
        hints = tuple(hint for hint in diagnostic.hints if hint not in offered)  # the fix says it
        return replace(diagnostic, fixes=(*diagnostic.fixes, *(mend.fix for mend in mends)), hints=hints)
    if diagnostic.severity is not Severity.ERROR:
        return diagnostic
    if resolution.violations and not conflict and finding.path[:1] in (("kernel",), ("driver",)):
        name = resolution.situation.os.name if resolution.situation.os else resolution.situation.wish.os
        hint = f"nothing that {name} offers fits: another OS, accelerator or framework is needed"
        return replace(diagnostic, hints=(*diagnostic.hints, hint))
    return replace(diagnostic, hints=(*diagnostic.hints, "no single change that was tried mends this")) if proposals else diagnostic


def _most_likely(conflict: tuple[Path, ...], finding: Finding, recipe: Recipe) -> tuple[Path, ...]:
    """The wishes whose change may mend a finding: those at which it points, then those in conflict."""
    pointed = (finding.path, *(path for path, _ in finding.also))
    return tuple(dict.fromkeys((*(path for path in pointed if path in requirements(recipe)), *conflict)))
