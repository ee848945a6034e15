"""One-step fixes: a single change of the recipe, offered only when the changed recipe was judged again.

It mends the whole recipe, or, where no single change does, one of its errors without bringing another.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from aistack.compose.recipe import Recipe
from aistack.compose.resolve import Resolution, conflicting
from aistack.compose.rules.situation import Path, Proposal
from aistack.diagnostics import Change, Fix, Place
from aistack.facts.catalog import Catalog, Framework
from aistack.facts.version import Scheme, VersionFormatError, newest_first
from aistack.values import dataclass

ATTEMPTS = 60
"""How many changes of one value are tried before the search for a fix stops."""

Leaves = Callable[[Recipe], tuple[str, ...] | None]
"""The codes of the errors that a changed recipe still has; None where what is to be mended is among them, or one that was not there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mend:
    """A proposal that was tried, and how it is told."""

    proposal: Proposal
    fix: Fix


def change(recipe: Recipe, path: Path, value: str) -> Recipe | None:
    """The recipe with one value replaced (or added); None where the path leads nowhere or the value does not belong there."""
    try:
        changed: Recipe = _change(recipe, path, value)
    except (TypeError, KeyError, IndexError, ValueError, AttributeError):
        return None
    return changed


def _change(owner: Any, path: Path, value: str) -> Any:
    if not path:
        return int(value) if isinstance(owner, int) else value
    step, rest = path[0], path[1:]
    if dataclasses.is_dataclass(owner) and not isinstance(owner, type):
        name = str(step).replace("-", "_")
        inner = _change(getattr(owner, name), rest, value)
        if name == "port":
            inner = int(inner)
        return dataclasses.replace(owner, **{name: inner})
    if isinstance(owner, Mapping):
        return {**owner, step: _change(owner.get(step), rest, value)}
    if isinstance(owner, tuple) and isinstance(step, int):
        return (*owner[:step], _change(owner[step], rest, value), *owner[step + 1 :])
    raise TypeError(f"nothing to change at {path}")


def minimal_conflict(recipe: Recipe, catalog: Catalog, today: str, allowed: frozenset[str]) -> tuple[Path, ...]:
    """The wishes of the recipe that cannot all hold, none of which can be left out: drop each in turn, keep what matters.

    Empty where dropping everything does not help, so that no wish is to blame, or where nothing conflicts.
    """
    wishes = tuple(requirements(recipe))
    clash = partial(conflicting, recipe, catalog, today, allowed=allowed)
    if not clash() or clash(without=frozenset(wishes)):
        return ()
    dropped: frozenset[Path] = frozenset()
    for wish in wishes:
        if clash(without=dropped | {wish}):
            dropped |= {wish}
    return tuple(wish for wish in wishes if wish not in dropped)


def requirements(recipe: Recipe) -> Iterator[Path]:
    """The wishes that restrict a choice, in the recipe's order."""
    yield ("kernel", "flavor")
    if recipe.kernel.version:
        yield ("kernel", "version")
    if recipe.driver and recipe.driver.version:
        yield ("driver", "version")
    if recipe.driver and recipe.driver.flavor:
        yield ("driver", "flavor")
    for name, app in recipe.apps.items():
        if app.framework_range:
            yield ("apps", name, "framework", app.framework_id)


def alternatives(resolution: Resolution, catalog: Catalog, conflict: Sequence[Path]) -> Iterator[Proposal]:
    """Other values for the wishes in conflict: what the catalog knows, newest first."""
    situation = resolution.situation
    vendor = situation.accelerator.vendor if situation.accelerator else None
    os = situation.os
    for path in conflict:
        texts: Sequence[str] = ()
        if path == ("kernel", "version") and os:
            texts = _series(kernel.version for kernel in os.kernels)
        elif path == ("kernel", "flavor") and os:
            texts = [kernel.flavor for kernel in os.kernels]
        elif path == ("driver", "version") and os:
            texts = newest_first({driver.version for driver in os.drivers if driver.vendor == vendor}, Scheme.RELEASE)
        elif path == ("driver", "flavor"):
            texts = ("open", "proprietary")
        elif path[0] == "apps":
            framework: Framework | None = catalog.frameworks.get(str(path[-1]))
            texts = newest_first({release.version for release in framework.releases}, framework.versions) if framework else ()
        for text in list(dict.fromkeys(texts))[:ATTEMPTS]:
            yield Proposal(path=path, value=text)


def _series(versions: Iterator[str]) -> list[str]:
    try:
        return [".".join(version.split(".")[:2]) + ".*" for version in newest_first(set(versions), Scheme.KERNEL)]
    except VersionFormatError:
        return []


def proved(recipe: Recipe, proposals: Sequence[Proposal], places: Mapping[Path, Place], leaves: Leaves) -> tuple[Mend, ...]:
    """The first change for each place of the recipe after which it has no error; where there is none, the first that leaves only others.

    One for each place is enough to read.
    """
    whole: dict[Path, Mend] = {}
    partly: dict[Path, Mend] = {}
    for proposal in proposals:
        if proposal.path in whole:
            continue
        changed = change(recipe, proposal.path, proposal.value)
        left = leaves(changed) if changed is not None and changed != recipe else None
        if left is not None:
            (partly if left else whole).setdefault(proposal.path, Mend(proposal=proposal, fix=_fix(proposal, places, left)))
    return tuple((whole or partly).values())


def joined(mends: Sequence[Mend]) -> Fix:
    """Several changes as one fix, after which the recipe has no error; of two changes of one value the later one holds."""
    fixes = list({mend.proposal.path: mend.fix for mend in mends}.values())
    text = " and ".join(filter(None, (", ".join(fix.text for fix in fixes[:-1]), fixes[-1].text)))
    return Fix(text=text, changes=tuple(change for fix in fixes for change in fix.changes), proved=True)


def _fix(proposal: Proposal, places: Mapping[Path, Place], leaves: tuple[str, ...]) -> Fix:
    name = str(proposal.path[-1]) if isinstance(proposal.path[-1], str) else ""
    made = Change(path=proposal.path, replacement=written(proposal.value), place=places.get(proposal.path))
    line = f"{name}: {made.replacement}" if name else made.replacement
    owner = ".".join(str(step) for step in proposal.path[:-1])
    text = f"set `{line}`" if made.place else f"add `{line}`{f' to `{owner}`' if owner else ''}"
    return Fix(text=text, changes=(made,), proved=True, leaves=leaves)


def written(value: str) -> str:
    """A value as YAML: quoted where a plain one would not be read as the same text."""
    return value if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/+-]*", value) else f'"{value}"'
