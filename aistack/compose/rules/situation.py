"""What a rule sees: the components that were chosen or found so far, the facts about them, and where the document speaks of each.

The document is a recipe (its stack is judged while it is chosen) or a snapshot (what a machine already has). Rules that hold for both
ask for components; only a rule about a wish looks into the recipe, and only one about a machine's state into the snapshot.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from aistack.compose.recipe import AppWish, Recipe
from aistack.diagnostics import Severity
from aistack.facts.catalog import Accelerator, Catalog, Framework, Model, Release
from aistack.facts.images import Fact
from aistack.facts.systems import Driver, Kernel, Os, System
from aistack.facts.version import Scheme, VersionFormatError, parse_range
from aistack.values import dataclass

if TYPE_CHECKING:
    from aistack.facts.snapshot import Snapshot

Path = tuple[str | int, ...]
Of = Literal["recipe", "snapshot", "both"]

IMAGE = "image"
"""The name under which the architectures of a container image stand among the programs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A component's version or name as text; None means that it is there but not known.

    `path` is where the document names it (or what brings it); `because` says in one phrase how it came here. With `series` the text
    is only the beginning of a version: "580" stands for any 580.x. What is `assumed` was concluded from what is usual, not read.
    Of a program whose version nothing tells, `among` are the releases that are known: it may be any of them.
    A program that was `compiled` by somebody is not the build that its project offers: what is in it may be `listed`.
    """

    text: str | None
    path: Path
    because: str = ""
    series: bool = False
    assumed: bool = False
    among: tuple[str, ...] = ()
    compiled: Literal["somehow", "listed"] | None = None

    def fits(self, wanted: str | tuple[str, ...], scheme: Scheme) -> bool | None:
        """Whether it lies in the range or list; None where that is not known. A version that nothing tells does where every one does."""
        if self.text is None:
            return self._fit_all(wanted, scheme)
        return self.text in wanted if isinstance(wanted, tuple) else _lies_in(wanted, scheme, self.text, self.series)

    def _fit_all(self, wanted: str | tuple[str, ...], scheme: Scheme) -> bool | None:
        """Whether all releases that it may be lie in the range, or none of them does; None where they differ, or there are none."""
        if isinstance(wanted, tuple):
            return None
        try:
            admits = parse_range(wanted, scheme).admits
            answers = {admits(version) for version in self.among}
        except VersionFormatError:
            return None
        return answers.pop() if len(answers) == 1 else None


@lru_cache(maxsize=1 << 14)
def _lies_in(wanted: str, scheme: Scheme, text: str, series: bool) -> bool | None:
    """Whether a version, or a whole series, lies in a range; None where that is not known. A search asks the same again and again."""
    try:
        found = parse_range(wanted, scheme)
        return found.admits_all(text) if series else found.admits(text)
    except VersionFormatError:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One app as far as it is chosen: `pulled` are the releases of components that its framework pulls in.

    `models` pairs the document's ids with their facts (None: not in the catalog), `model_paths` says where each is named.
    Beside versions, `values` holds the settings that rules ask about: `context`, `memory-fraction`, `tensor-parallel`. What a snapshot
    says of programs is one part without a name.
    """

    name: str
    wish: AppWish = field(default_factory=AppWish)
    framework: Framework | None
    root: Os | None
    models: tuple[tuple[str, Model | None], ...]
    model_paths: tuple[Path, ...] = ()
    values: Mapping[str, Value] = field(default_factory=dict)
    release: Release | None = None
    pulled: Mapping[str, Release | None] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        """Where the document speaks of the app."""
        return ("apps", self.name) if self.name else ("frameworks",)

    @property
    def title(self) -> str:
        """How a sentence begins that is about this app."""
        return f"app `{self.name}`: " if self.name else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """A stack, or a part of one; `part` is the app that is judged (None for rules about the node).

    `os` is the system that a recipe builds from, `system` the one that a node runs: a recipe's `os`, or what a snapshot says. What the
    reference of an image tells stands in the snapshot too; `referred` says where, and what tells it.
    """

    catalog: Catalog
    today: str
    recipe: Recipe | None = None
    snapshot: Snapshot | None = None
    referred: Mapping[Path, Fact] = field(default_factory=dict)
    os: Os | None
    system: System | None = None
    accelerator: Accelerator | None
    kernel: Kernel | None = None
    driver: Driver | None = None
    values: Mapping[str, Value]
    parts: tuple[Part, ...] = ()
    part: Part | None = None

    @property
    def wish(self) -> Recipe:
        """The recipe, for rules that are asked of recipes only."""
        assert self.recipe is not None
        return self.recipe

    @property
    def seen(self) -> Snapshot:
        """The snapshot, for rules that are asked of snapshots only."""
        assert self.snapshot is not None
        return self.snapshot

    @property
    def system_place(self) -> str | None:
        """The catalog's entry of the system, as named in `Catalog.places`."""
        if self.system is None:
            return None
        return f"{'systems' if isinstance(self.system, Os) else 'distributions'}/{self.system.id}"

    def value(self, component: str) -> Value | None:
        """The component's value, the app's own before the node's; None: the stack has no such component."""
        if self.part is not None and component in self.part.values:
            return self.part.values[component]
        return self.values.get(component)

    def text(self, component: str) -> str | None:
        """The component's text; None where there is none or it is not known."""
        value = self.value(component)
        return value.text if value is not None else None

    def where(self, component: str) -> Path:
        """Where the document names the component; the whole document where it does not."""
        value = self.value(component)
        return value.path if value is not None else ()


def setting(part: Part, name: str) -> str | None:
    """The text of one of an app's values; None where it has none."""
    return part.values[name].text if name in part.values else None


def whole(part: Part, name: str) -> int | None:
    """One of an app's values as a number; None where it is none."""
    text = setting(part, name)
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


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

    `of` says which documents it judges; `topics` name what it is about, in the words in which failures are filed.
    `about` says how often it is asked: once for the `node`, for each `app`, or for the whole `stack` when all is chosen.
    An `error` rule that is not `allowable` cannot be allowed by a recipe; warnings always can.
    """

    code: str
    name: str
    severity: Severity
    about: Literal["node", "app", "stack"]
    reads: frozenset[str]
    judge: Callable[[Situation], Iterator[Finding]]
    explain: Callable[[], str]
    of: Of = "both"
    topics: tuple[str, ...] = ()
    allowable: bool = False
    source: tuple[str, ...] = ()
    checked: str | None = None
    place: str | None = None

    @property
    def explanation(self) -> str:
        """The rule's page."""
        return self.explain()


def code_rule(
    judge: Callable[[Situation], Iterator[Finding]],
    code: str,
    name: str,
    about: Literal["node", "app", "stack"],
    *reads: str,
    severity: Severity = Severity.ERROR,
    of: Of = "recipe",
    topics: tuple[str, ...] = (),
    allowable: bool = False,
    source: tuple[str, ...] = (),
    checked: str | None = None,
) -> Rule:
    """A rule that is a function; the function's docstring is its explanation page."""
    return Rule(
        code=code,
        name=name,
        severity=severity,
        about=about,
        reads=frozenset(reads),
        judge=judge,
        explain=lambda: inspect.getdoc(judge) or "",
        of=of,
        topics=topics,
        source=source,
        checked=checked,
        allowable=allowable or severity is not Severity.ERROR,
    )
