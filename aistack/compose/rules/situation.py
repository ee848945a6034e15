"""What a rule sees: the components chosen so far, the facts about them, and where the recipe speaks of each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from aistack.compose.recipe import AppWish, Recipe
from aistack.diagnostics import Severity
from aistack.facts.catalog import Accelerator, Catalog, Driver, Framework, Kernel, Model, Os, Release

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A component's version or name as text; None means that it is there but not known.

    `path` is where the recipe asks for it (or for what brings it); `because` says in one phrase how it came here.
    """

    text: str | None
    path: Path
    because: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One app as far as it is chosen: `pulled` are the releases of components that its framework pulls in.

    `models` pairs the recipe's ids with their facts (None: not in the catalog).
    """

    name: str
    wish: AppWish
    framework: Framework | None
    root: Os | None
    models: tuple[tuple[str, Model | None], ...]
    values: Mapping[str, Value] = field(default_factory=dict)
    release: Release | None = None
    pulled: Mapping[str, Release | None] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Where the recipe speaks of the app."""
        return ("apps", self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """A stack, or a part of one; `part` is the app that is judged (None for rules about the node)."""

    recipe: Recipe
    catalog: Catalog
    today: str
    os: Os | None
    accelerator: Accelerator | None
    kernel: Kernel | None = None
    driver: Driver | None = None
    values: Mapping[str, Value]
    parts: tuple[Part, ...] = ()
    part: Part | None = None

    def value(self, component: str) -> Value | None:
        """The component's value, the app's own before the node's; None: the stack has no such component."""
        if self.part is not None and component in self.part.values:
            return self.part.values[component]
        return self.values.get(component)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A change of one value of the recipe that may mend a finding; it is tried before it is offered."""

    path: Path
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a rule says; `severity` is the rule's own unless given. `path` is where to point, `label` what to write there."""

    message: str
    path: Path
    label: str | None = None
    also: tuple[tuple[Path, str], ...] = ()
    why: tuple[str, ...] = ()
    source: str | None = None
    checked: str | None = None
    place: str | None = None
    """The catalog's entry that decided, as named in `Catalog.places`."""
    severity: Severity | None = None
    proposals: tuple[Proposal, ...] = ()
    hints: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule of either kind. `reads` are the components that must be decided before it can judge.

    `about` says how often it is asked: once for the `node`, for each `app`, or for the whole `stack` when all is chosen.
    An `error` rule that is not `allowable` cannot be allowed by a recipe; warnings always can.
    """

    code: str
    name: str
    severity: Severity
    about: Literal["node", "app", "stack"]
    reads: frozenset[str]
    judge: Callable[[Situation], Iterator[Finding]]
    explanation: str
    allowable: bool = False
    source: tuple[str, ...] = ()
    checked: str | None = None
    place: str | None = None


def code_rule(
    judge: Callable[[Situation], Iterator[Finding]],
    code: str,
    name: str,
    about: Literal["node", "app", "stack"],
    *reads: str,
    severity: Severity = Severity.ERROR,
    allowable: bool = False,
) -> Rule:
    """A rule that is a function; the function's docstring is its explanation page."""
    return Rule(
        code=code,
        name=name,
        severity=severity,
        about=about,
        reads=frozenset(reads),
        judge=judge,
        explanation=inspect.getdoc(judge) or "",
        allowable=allowable or severity is not Severity.ERROR,
    )
