"""For which processors, C libraries and Pythons a project has wheels: what the names of its files on an index say.

A file of the catalog holds one line for each release from which on something is different; each holds until the next one.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from aistack.facts.systems import Checked, Source
from aistack.facts.version import Scheme, VersionFormatError, key
from aistack.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """What a release has for one processor: `glibc` is the least that one of its wheels needs, `pythons` those for which there is one.

    `3.8+` stands for 3.8 and all newer ones; without `pythons` any will do. Without `accelerators` the wheel computes on processors alone.
    """

    glibc: str | None = None
    pythons: tuple[str, ...] = ()
    accelerators: bool = True

    def has(self, python: str) -> bool:
        """Whether there is a wheel for that Python (`3.12`)."""
        minor = _minor(python)
        return not self.pythons or any(minor >= _minor(one[:-1]) if one.endswith("+") else minor == _minor(one) for one in self.pythons)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The wheels of all releases from `since` on; a processor that is not there has none. With `sources` an installer compiles instead."""

    since: str
    amd64: Wheel | None = None
    arm64: Wheel | None = None
    sources: bool = False

    def wheel(self, arch: str) -> Wheel | None:
        """The wheel for a processor, as recipes call it."""
        return {"amd64": self.amd64, "arm64": self.arm64}.get(arch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """What the names of the index's files do not say: corrections, and wheels that lie elsewhere, by `build` (`cpu`, `cu*`, `*torch*`).

    An empty `build` is the one of the index. It holds from `since` on, up to (without) `before`.
    """

    build: str = ""
    since: str | None = None
    before: str | None = None
    amd64: Wheel | None = None
    arm64: Wheel | None = None
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheels:
    """A project's wheels; `id` is the name of its component, or the project's own, `newest` the last release that was read.

    `variants` are written by hand, all else by `facts refresh`.
    """

    schema: Literal["aistack/wheels/v1"] = "aistack/wheels/v1"
    id: str
    project: Annotated[str, "its name in a Python index"]
    newest: str
    variants: tuple[Variant, ...] = ()
    releases: tuple[Span, ...]
    source: Source
    checked: Checked

    def of(self, version: str, build: str = "") -> Span | None:
        """What there is of a release in that build; None where it is not known."""
        other = self.variant(version, build)
        if other is not None and other.build:
            return Span(since=version, amd64=other.amd64, arm64=other.arm64)
        found = None if build else self._listed(version)
        if other is None or found is None:
            return found
        return Span(
            since=found.since,
            amd64=_corrected(found.amd64, other.amd64),
            arm64=_corrected(found.arm64, other.arm64),
            sources=found.sources,
        )

    def variant(self, version: str, build: str) -> Variant | None:
        """What was written by hand of a release in that build."""
        rank = _rank(version)
        return None if rank is None else next((one for one in self.variants if _covers(one, rank, build)), None)

    def _listed(self, version: str) -> Span | None:
        rank = _rank(version)
        if rank is None or rank > key(self.newest, Scheme.PEP440):
            return None
        return next((span for span in self.releases if key(span.since, Scheme.PEP440) <= rank), None)


def _rank(version: str) -> Any:
    """A release's place among all; None for what is none."""
    try:
        return key(version.partition("+")[0], Scheme.PEP440)
    except VersionFormatError:
        return None


def _covers(variant: Variant, rank: Any, build: str) -> bool:
    fits = fnmatchcase(build, variant.build) if variant.build else not build
    after = variant.since is None or rank >= key(variant.since, Scheme.PEP440)
    return fits and after and (variant.before is None or rank < key(variant.before, Scheme.PEP440))


def _corrected(read: Wheel | None, told: Wheel | None) -> Wheel | None:
    if read is None or told is None:
        return read
    return Wheel(glibc=told.glibc or read.glibc, pythons=told.pythons or read.pythons, accelerators=told.accelerators)


def _minor(python: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", python)[:2])
