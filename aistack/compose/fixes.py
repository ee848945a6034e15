"""One-step fixes: a single change of the recipe, offered only when the changed recipe was judged again and has no error."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from aistack.compose.recipe import Recipe
from aistack.compose.resolve import Resolution, resolve
from aistack.compose.rules.situation import Path, Proposal
from aistack.diagnostics import Fix, Place
from aistack.facts.catalog import Catalog, Framework
from aistack.facts.version import Scheme, VersionFormatError, newest_first

ATTEMPTS = 60
"""How many changes of one value are tried before the search for a fix stops."""

Works = Callable[[Recipe], bool]
"""Whether a changed recipe has no error (and no longer the finding that is to be mended)."""


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
    if not _conflicting(recipe, catalog, today, frozenset(), allowed) or _conflicting(recipe, catalog, today, frozenset(wishes), allowed):
        return ()
    dropped: frozenset[Path] = frozenset()
    for wish in wishes:
        if _conflicting(recipe, catalog, today, dropped | {wish}, allowed):
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


def _conflicting(recipe: Recipe, catalog: Catalog, today: str, without: frozenset[Path], allowed: frozenset[str]) -> bool:
    return bool(resolve(recipe, catalog, today, without=without, allowed=allowed).violations)


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


def proved(recipe: Recipe, proposals: Sequence[Proposal], places: Mapping[Path, Place], works: Works) -> tuple[Fix, ...]:
    """The first change for each place of the recipe that works; one for each place is enough to read."""
    found: list[Fix] = []
    done: set[Path] = set()
    for proposal in proposals:
        if proposal.path in done:
            continue
        changed = change(recipe, proposal.path, proposal.value)
        if changed is not None and changed != recipe and works(changed):
            done.add(proposal.path)
            found.append(_fix(proposal, places))
    return tuple(found)


def _fix(proposal: Proposal, places: Mapping[Path, Place]) -> Fix:
    name = str(proposal.path[-1]) if isinstance(proposal.path[-1], str) else ""
    text = written(proposal.value)
    place = places.get(proposal.path)
    line = f"{name}: {text}" if name else text
    if place is None:
        owner = ".".join(str(step) for step in proposal.path[:-1])
        return Fix(text=f"add `{line}`{f' to `{owner}`' if owner else ''}", proved=True)
    return Fix(text=f"set `{line}`", place=place, replacement=text, proved=True)


def written(value: str) -> str:
    """A value as YAML: quoted where a plain one would not be read as the same text."""
    return value if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/+-]*", value) else f'"{value}"'
