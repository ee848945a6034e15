"""Data rules: where every `when` fits, every `needs` must fit. What is not known gives `unknown`, never silence, never an error."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from aistack.compose.rules.situation import Finding, Rule, Situation, Value
from aistack.diagnostics import Severity
from aistack.facts.catalog import Catalog
from aistack.facts.data_rules import Case, DataRule
from aistack.facts.version import Range, Scheme, VersionFormatError, key, parse_range

NODE = frozenset(
    {
        "accelerator",
        "amdgpu",
        "amdgpu-dkms",
        "amdgpu-release",
        "arch",
        "architecture",
        "brand",
        "compute-capability",
        "driver",
        "clang",
        "debian-kernel",
        "driver-flavor",
        "driver-sources",
        "gcc",
        "gfx",
        "interconnect",
        "kernel",
        "kernel-drm",
        "kernel-flavor",
        "kernel-preemptible",
        "kernel-realtime",
        "nvlink-generation",
        "os",
        "os-family",
        "os-release",
        "ubuntu-kernel",
        "vendor",
    }
)
"""The components of a node; every other component belongs to an app."""

SEEN = frozenset(
    {"amdgpu", "amdgpu-dkms", "amdgpu-release", "brand", "clang", "debian-kernel", "driver-sources", "gcc", "gfx", "ubuntu-kernel"}
)
"""Components that only snapshots have, as those with a dot: for a recipe nothing will ever decide them."""

UPPER = frozenset({"cuda", "rocm"})
"""Components that are written in capitals in a sentence."""

_WORDS = {">=": "{} or newer", "<": "older than {}", "<=": "{} or older", ">": "newer than {}", "!=": "not {}", "==": "{}"}


@lru_cache(maxsize=1024)
def as_rule(rule: DataRule) -> Rule:
    """A rule that judges by the data."""
    reads = frozenset(component for case in rule.cases for component in (*case.when, *case.needs))

    def judge(situation: Situation) -> Iterator[Finding]:
        found = [one for number, case in enumerate(rule.cases) for one in _judge_case(rule, case, number, situation)]
        if not found:
            return
        gravest_first = sorted(found, key=lambda one: one.severity is not None)
        certain = {(one.message, one.path): one for one in reversed(gravest_first) if one.severity is not Severity.UNKNOWN}
        known = {path for _, path in certain}
        doubts = [one for one in found if one.severity is Severity.UNKNOWN and one.path not in known]
        # what is wrong is said once, however many cases say it, and so is what is not known
        yield from (one for one in found if certain.get((one.message, one.path)) is one or one in doubts[:1])

    return Rule(
        code=rule.id,
        name=rule.name,
        severity=Severity(rule.severity),
        about="node" if reads <= NODE else "app",
        reads=reads,
        judge=judge,
        explain=lambda: explain(rule),
        topics=rule.topics,
        allowable=rule.allowable,
        source=rule.source,
        checked=rule.checked,
        place=f"rules/{rule.id}",
    )


def explain(rule: DataRule) -> str:
    """The rule in words, from its cases."""
    lines = [rule.because.strip(), ""]
    for case in rule.cases:
        when = " and ".join(f"{component} is {in_words(wanted)}" for component, wanted in case.when.items())
        needs = " and ".join(f"{component} must be {in_words(wanted)}" for component, wanted in case.needs.items())
        lines.append(f"- where {when}: {needs}" if when else f"- {needs}")
    return "\n".join(lines)


def in_words(wanted: str | tuple[str, ...]) -> str:
    """A range or a list of values as words: `580.65.06 or newer`, `open`."""
    if isinstance(wanted, tuple):
        return " or ".join(wanted)
    try:
        parts = parse_range(wanted, Scheme.DEBIAN).parts
    except VersionFormatError:
        return wanted
    return " and ".join(_WORDS[operator].format(bound.removesuffix(".dev0")) for operator, bound in parts)


def fits(value: Value | None, wanted: str | tuple[str, ...], scheme: Scheme) -> bool | None:
    """Whether the value lies in the range or list; None where there is none, or it is not known."""
    return None if value is None else value.fits(wanted, scheme)


def _judge_case(rule: DataRule, case: Case, number: int, situation: Situation) -> Iterator[Finding]:
    unknown: list[str] = []
    for component, wanted in case.when.items():
        value = situation.value(component)
        if value is None:
            return  # the stack has no such component: the rule does not speak of it
        answer = fits(value, wanted, situation.catalog.scheme(component))
        if answer is False:
            return
        if answer is None:
            unknown.append(component)
    for component, wanted in case.needs.items():
        value = situation.value(component)
        if value is None:
            continue  # whether a component must be there at all is another rule's question
        answer = fits(value, wanted, situation.catalog.scheme(component))
        if answer is None or (answer is False and unknown):
            missing = sorted({*unknown, *([component] if answer is None else [])})
            yield Finding(
                severity=Severity.UNKNOWN,
                message=f"could not tell whether {component} is {in_words(wanted)}: {_undecided(missing, situation)}",
                path=value.path,
                place=f"rules/{rule.id}/{number}",
                why=story(situation, (*case.when, *case.needs)),
            )
        elif answer is False:
            of = [found for name in (*case.when, component) if (found := situation.value(name)) is not None]
            compiled = {found.compiled for found in of} if rule.of_builds else set()
            if "listed" in compiled:
                return  # what was compiled in is known, and judged by itself
            yield Finding(
                severity=Severity.WARNING if "somehow" in compiled or any(found.assumed for found in of) else None,
                message=_fill(rule.message, situation),
                path=value.path,
                label=rule.label or f"needs {in_words(wanted)}",
                also=tuple(
                    (found.path, f"brings {name.upper() if name in UPPER else name} {found.text}")
                    for name in case.when
                    if (found := situation.value(name)) is not None and found.path != value.path and found.path[0] == "apps"
                ),
                why=(
                    *((case.because.strip(),) if case.because else ()),
                    *(("somebody compiled this build, maybe for more than its project's builds",) if compiled - {None} else ()),
                    *story(situation, (*case.when, *case.needs)),
                ),
                source=case.source[0] if case.source else None,
                checked=rule.checked if case.source else None,
                place=f"rules/{rule.id}/{number}",
            )


def _undecided(components: list[str], situation: Situation) -> str:
    """Why nothing can be said of components: what is said of them cannot be read, or is not known well enough."""
    unread = {
        name: value.text for name in components if (value := situation.value(name)) is not None and _is_unreadable(name, value, situation)
    }
    unknown = [name for name in components if name not in unread]
    said = [f"{name} `{text}` cannot be read as a version" for name, text in unread.items()]
    return " and ".join((*said, *([f"{' and '.join(unknown)} {'is' if len(unknown) == 1 else 'are'} not known"] if unknown else [])))


def _is_unreadable(component: str, value: Value, situation: Situation) -> bool:
    try:
        key(value.text or "0", situation.catalog.scheme(component))
    except VersionFormatError:
        return True
    return False


def story(situation: Situation, components: tuple[str, ...]) -> tuple[str, ...]:
    """How the components came into the stack, one sentence for the app and one for each value that the recipe does not name."""
    sentences = []
    part = situation.part
    if part is not None:
        chain = [value.because for name in components if (value := part.values.get(name)) is not None and value.because]
        longest = max(chain, key=len, default="")
        if longest:
            sentences.append(f"{part.title}{longest}")
    sentences += [
        value.because
        for name in components
        if (value := situation.values.get(name)) is not None and value.because and name != "accelerator"
    ]
    return tuple(dict.fromkeys(sentences))


def _fill(message: str, situation: Situation) -> str:
    """The message with each `{component}` replaced by its text."""

    def text(found: re.Match[str]) -> str:
        value = situation.value(found[1])
        if value is None:
            return f"(no {found[1]})"
        return value.text if value.text is not None else "(of any release)" if value.among else f"({found[1]} is not known)"

    return re.sub(r"\{([a-z0-9._-]+)\}", text, message)


def ranges(rule: DataRule, catalog: Catalog) -> Iterator[tuple[str, Range]]:
    """Every range of a rule with its component; raises VersionFormatError for one that cannot be read."""
    for case in rule.cases:
        for component, wanted in (*case.when.items(), *case.needs.items()):
            if isinstance(wanted, str):
                yield component, parse_range(wanted, catalog.scheme(component))
