"""Whether programs of one environment can agree on what stands beside them, where nothing says what does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

from aistack.compose.rules.pins import EXTENSIONS, minor
from aistack.compose.rules.situation import Finding, Situation, code_rule
from aistack.diagnostics import Severity
from aistack.facts.catalog import Release
from aistack.facts.version import parse_range


def _apart(situation: Situation) -> Iterator[Finding]:
    """Two programs that pin different versions of a third cannot be installed together.

    An installer that is given both finds no solution. Where they were installed one after the other, one of them stands beside a version
    that it was not made for; if its compiled parts are bound to it, as those of extensions are to their torch, it does not load. What is
    said of the third itself is judged by itself (PN101).
    """
    part = situation.part
    if part is None:
        return
    releases: Mapping[str, Release | None] = {**part.pulled, **({part.framework.id: part.release} if part.framework else {})}
    told = {name: exact(release, situation) for name, release in releases.items() if release is not None and _is_said(situation, name)}
    for one, other in combinations(sorted(told), 2):
        for component in sorted(told[one].keys() & told[other].keys()):
            value = situation.value(component)
            first, second = told[one][component], told[other][component]
            if minor(first) == minor(second) or (value is not None and not value.assumed):
                continue
            bound = component == "torch" and {one, other} <= EXTENSIONS
            yield Finding(
                severity=None if bound else Severity.WARNING,
                message=f"{one} {situation.text(one)} is made for {component} {first}, {other} {situation.text(other)} for {second}",
                path=situation.where(other),
                label=f"needs {component} {second}",
                also=((situation.where(one), f"needs {component} {first}"),),
                place=f"{'frameworks' if other in situation.catalog.frameworks else 'components'}/{other}/{situation.text(other)}",
                hints=(f"take releases of both that are made for one {component}",),
            )


def exact(release: Release, situation: Situation) -> dict[str, str]:
    """The components of which a release admits one version only."""
    found = {}
    for component, wanted in {**release.pins, **release.needs}.items():
        if component in situation.catalog.components:
            parts = parse_range(wanted, situation.catalog.scheme(component)).parts
            if len(parts) == 1 and parts[0][0] == "==" and not parts[0][1].endswith("*"):
                found[component] = parts[0][1]
    return found


def _is_said(situation: Situation, name: str) -> bool:
    value = situation.value(name)
    return value is not None and value.text is not None and not value.assumed and value.compiled is None


RULES = (
    code_rule(
        _apart,
        "PN106",
        "pins-apart",
        "app",
        of="snapshot",
        topics=("framework-pins",),
        source=("https://github.com/vllm-project/vllm/issues/11283",),
        checked="2026-11-26",
    ),
)
