"""What the reference of an image tells, entered into a snapshot where it does not speak of it itself.

A snapshot's own word outweighs what its reference says. Where both speak of one thing and differ, the image is another one than its
reference says, and nothing is concluded from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field, replace

from aistack.compose import requirement
from aistack.compose.rules.situation import Path, Value
from aistack.facts import images
from aistack.facts.catalog import Catalog
from aistack.facts.images import Fact
from aistack.facts.snapshot import SeenFramework, Snapshot, seen_frameworks
from aistack.facts.version import agree
from aistack.values import dataclass

AT: Path = ("image", "ref")
KEYS = {"cuda": "cuda", "requires": "requires", "compat": "cuda_compat", "rocm": "rocm", "gaudi": "gaudi"}
"""By component: the key of a snapshot's image that says it."""
NOWHERE = frozenset({"os", "arch"})
"""Components of an image for which a snapshot has no key of its own; all others are programs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Referred:
    """The snapshot with what the reference adds; `facts` by the place at which it would stand in the snapshot, `os` the image's system."""

    snapshot: Snapshot
    facts: Mapping[Path, Fact] = field(default_factory=dict)
    os: Fact | None = None

    def marked(self, values: Mapping[str, Value]) -> dict[str, Value]:
        """The values, with those that the reference tells saying so."""
        return {name: self._marked(value) for name, value in values.items()} if self.facts else dict(values)

    def _marked(self, value: Value) -> Value:
        fact = self.facts.get(value.path)
        return replace(value, because=value.because or fact.because, assumed=value.assumed or fact.assumed) if fact else value


def refer(snapshot: Snapshot, catalog: Catalog) -> Referred:
    """The snapshot with what the reference of its image tells, if it has one that the catalog knows."""
    reference = snapshot.image.ref
    told = images.told(reference, catalog.images, catalog.scheme) if reference else {}
    if "compat" in told and "cuda" in told:
        branch = requirement.first_branch(told["cuda"].text, catalog.branches)
        told = (
            {**told, "compat": replace(told["compat"], text=branch)} if branch else {name: told[name] for name in told if name != "compat"}
        )
    called = _called(snapshot, catalog)
    if any(_own(snapshot, called, name, fact) is False for name, fact in told.items()):
        return Referred(snapshot=snapshot)
    facts: dict[Path, Fact] = {}
    seen, image = dict(snapshot.frameworks), snapshot.image
    for name, fact in told.items():
        if name in NOWHERE or _own(snapshot, called, name, fact) is not None:
            continue
        if name in KEYS:
            image = replace(image, **{KEYS[name]: fact.text})
            facts["image", KEYS[name]] = fact
        else:
            own = called.get(name, name)
            seen[own] = replace(seen_frameworks(snapshot).get(own, SeenFramework()), version=fact.text)
            facts["frameworks", own, "version"] = fact
    return Referred(snapshot=replace(snapshot, image=image, frameworks=seen), facts=facts, os=told.get("os"))


def _called(snapshot: Snapshot, catalog: Catalog) -> dict[str, str]:
    """The snapshot's own names of programs, by the catalog's."""
    names = {alias: component.id for component in catalog.components.values() for alias in component.aliases}
    plain = {own.lower().replace("_", "-"): own for own in snapshot.frameworks}
    return {names.get(name, name): own for name, own in plain.items()}


def _own(snapshot: Snapshot, called: Mapping[str, str], name: str, fact: Fact) -> bool | None:
    """Whether the snapshot itself says the same; None where it says nothing."""
    if name in KEYS:
        said = getattr(snapshot.image, KEYS[name])
        return None if said is None else name in ("requires", "compat") or _same(said, fact.text)
    program = seen_frameworks(snapshot).get(called.get(name, name))
    return None if program is None or not program.version else _same(program.version, fact.text)


def _same(one: str, other: str) -> bool:
    """Whether two versions are of one release; what follows their numbers does not count."""
    numbers = [re.match(r"v?(\d+(?:\.\d+)*)", text) for text in (one, other)]
    return all(numbers) and agree(*(found[1] for found in numbers if found)) is not False
