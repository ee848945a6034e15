"""Which packages, and which wheels, lie together in a layer: what is built from one source changes together, what is small shares one.

The assignment is written into the lock. A later lock of the same recipe begins with the older one's, so that a package does not move
to another layer because its neighbour grew.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence

from aistack.facts.pins import LockedPackage, LockedWheel

Layers = tuple[tuple[str, tuple[str, ...]], ...]
"""(group, names of its packages or wheels), both sorted, as the lock holds them."""

KERNEL = "kernel"
SMALL_GROUPS = 14
MOST_OWN_GROUPS = 80
"""With the small groups and four layers that no package owns, fewer than 100: an overlay mount takes not many more."""
LEAST_SIZE = 128_000
"""Bytes of a source's packages, as fetched, from which on it has a layer of its own."""

SMALL_WHEEL_GROUPS = 8
MOST_OWN_WHEELS = 36
MOST_BESIDE_WHEELS = 36
"""Sources with a layer of their own in an image that holds wheels too: all groups together are fewer than 100 again."""
LEAST_WHEEL_SIZE = 4_000_000


def group(packages: Sequence[LockedPackage], older: Layers = (), *, most: int = MOST_OWN_GROUPS) -> Layers:
    """A group for every package: the kernel, its source, or a small one; `older`, an earlier lock's answer, is kept where it fits.

    At most `most` sources have a group of their own.
    """
    sources: dict[str, dict[str, int]] = {}
    for package in packages:
        sources.setdefault(_source(package), {})[package.name] = package.size
    return _group(sources, older, "small", SMALL_GROUPS, most, LEAST_SIZE)


def group_wheels(wheels: Sequence[LockedWheel], older: Layers = ()) -> Layers:
    """A group for every wheel, as `group` has one for every package: `wheel-NAME`, or one of the small ones, `wheels-00` and on."""
    sources = {f"wheel-{wheel.name}": {wheel.name: wheel.size} for wheel in wheels}
    return _group(sources, older, "wheels", SMALL_WHEEL_GROUPS, MOST_OWN_WHEELS, LEAST_WHEEL_SIZE)


def _group(sources: Mapping[str, Mapping[str, int]], older: Layers, small: str, count: int, most: int, least: int) -> Layers:
    """Groups for the members (name → bytes) of sources: `count` shared ones called `small`, at most `most` of one source."""
    known = {name: group for group, names in older for name in names}
    sizes = {source: sum(members.values()) for source, members in sources.items()}
    own = _own(sizes, {source for source, members in sources.items() if source in map(known.get, members)}, most, least)
    groups: dict[str, set[str]] = {}
    for source, members in sources.items():
        before = {known[name] for name in members if name in known}
        kept = next(iter(before)) if len(before) == 1 and next(iter(before)).startswith(f"{small}-") and source not in own else None
        home = source if source in own else kept or _small(source, small, count)
        groups.setdefault(home, set()).update(members)
    return tuple((name, tuple(sorted(names))) for name, names in sorted(groups.items()))


def _source(package: LockedPackage) -> str:
    """The group of a package that has a layer of its own."""
    return KERNEL if re.match(r"linux-image-\d", package.name) else package.source.partition(" ")[0]


def _own(sizes: dict[str, int], before: Iterable[str], most: int, least: int) -> set[str]:
    """Sources with a layer of their own: those that had one, then the largest that are large enough, as many as there is room for."""
    kept = sorted(before, key=lambda source: (-sizes[source], source))[:most]
    large = sorted((source for source in sizes if sizes[source] >= least or source == KERNEL), key=lambda one: (-sizes[one], one))
    return set(list(dict.fromkeys([*kept, *large]))[:most])


def _small(source: str, name: str, count: int) -> str:
    """The shared group of a source that is small: by its name alone, so that it never moves."""
    return f"{name}-{int(hashlib.sha256(source.encode()).hexdigest(), 16) % count:02d}"
