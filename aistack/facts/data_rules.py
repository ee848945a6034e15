"""Rules that a vendor's document states: data, which `compose/rules/data.py` asks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from aistack.facts.systems import Checked, Source
from aistack.facts.version import Scheme
from aistack.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One line of a data rule: where every `when` fits, every `needs` must fit (component → range or list of values).

    What the rule says in general about its reason and its source, a case may say of its own.
    """

    when: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    needs: Mapping[str, str | tuple[str, ...]]
    because: str | None = None
    source: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRule:
    """A rule that a vendor's document states; `message` may name components (`{driver}`).

    `label` stands beside the wish that is wrong; without it the range that it should have does. `topics` name what the rule is about,
    in the words in which failures are filed. A rule `of_builds` tells what the builds hold that projects offer; of what somebody
    compiled it is doubtful, and no question where a snapshot lists the architectures.
    """

    id: str
    name: str
    severity: Literal["error", "warning"]
    message: str
    label: str | None = None
    because: str
    cases: tuple[Case, ...]
    topics: tuple[str, ...] = ()
    allowable: bool = False
    of_builds: bool = False
    source: Source
    checked: Checked

    def __hash__(self) -> int:
        """By its id alone, since mappings have no hash."""
        return hash(self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFile:
    """A file of data rules, about one vendor or one part of the stack.

    `versions` says how the versions of components are compared that have no file of their own (`runtime.podman`: `release`).
    """

    schema: Literal["aistack/rules/v1"] = "aistack/rules/v1"
    versions: Mapping[str, Scheme] = field(default_factory=dict)
    rules: tuple[DataRule, ...]
