"""Which packages lie together in a layer: what is built from one source changes together, and what is small shares a layer.

The assignment is written into the lock. A later lock of the same recipe begins with the older one's, so that a package does not move
to another layer because its neighbour grew.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

from aistack.facts.pins import LockedPackage

Layers = tuple[tuple[str, tuple[str, ...]], ...]
"""(group, names of its packages), both sorted, as the lock holds them."""

KERNEL = "kernel"
SMALL_GROUPS = 14
MOST_OWN_GROUPS = 80
"""With the small groups and four layers that no package owns, fewer than 100: an overlay mount takes not many more."""
LEAST_SIZE = 128_000
"""Bytes of a source's packages, as fetched, from which on it has a layer of its own."""


def group(packages: Sequence[LockedPackage], older: Layers = ()) -> Layers:
    """A group for every package: the kernel, its source, or a small one; `older`, an earlier lock's answer, is kept where it fits."""
    known = {name: group for group, names in older for name in names}
    sources: dict[str, list[LockedPackage]] = {}
    for package in packages:
        sources.setdefault(_source(package), []).append(package)
    sizes = {source: sum(package.size for package in members) for source, members in sources.items()}
    own = _own(sizes, {_source(package) for package in packages if known.get(package.name) == _source(package)})
    groups: dict[str, set[str]] = {}
    for source, members in sources.items():
        before = {known[package.name] for package in members if package.name in known}
        kept = next(iter(before)) if len(before) == 1 and next(iter(before)).startswith("small-") and source not in own else None
        home = source if source in own else kept or _small(source)
        groups.setdefault(home, set()).update(package.name for package in members)
    return tuple((name, tuple(sorted(names))) for name, names in sorted(groups.items()))


def _source(package: LockedPackage) -> str:
    """The group of a package that has a layer of its own."""
    return KERNEL if re.match(r"linux-image-\d", package.name) else package.source.partition(" ")[0]


def _own(sizes: dict[str, int], before: Iterable[str]) -> set[str]:
    """Sources with a layer of their own: those that had one, then the largest that are large enough, as many as there is room for."""
    kept = sorted(before, key=lambda source: (-sizes[source], source))[:MOST_OWN_GROUPS]
    large = sorted((source for source in sizes if sizes[source] >= LEAST_SIZE or source == KERNEL), key=lambda one: (-sizes[one], one))
    return set(list(dict.fromkeys([*kept, *large]))[:MOST_OWN_GROUPS])


def _small(source: str) -> str:
    """The shared group of a source that is small: by its name alone, so that it never moves."""
    return f"small-{int(hashlib.sha256(source.encode()).hexdigest(), 16) % SMALL_GROUPS:02d}"
