"""How versions are compared: one scheme for each component, chosen by name, never guessed from the text; text is never normalised.

`release`  dotted numbers of any length (570.172.08, 12.8): compared number by number, missing numbers count as 0
`kernel`   the upstream part of a version string (6.12.107+deb13-cloud-amd64, 7.3~rc7): as `release`, a candidate before its release
`debian`   Debian Policy 5.6.12: epoch, upstream version, revision; `~` sorts before everything
`pep440`   Python packages, through `packaging`
`word`     names: equal or not

A range is one or more parts, all of which must hold, separated by commas: `6.12.*`, `>=0.11,<0.20`, `!=2.5.0`, or one exact version.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from aistack.values import dataclass

if TYPE_CHECKING:
    from packaging.specifiers import SpecifierSet


class Scheme(StrEnum):
    """A way to compare versions."""

    RELEASE = "release"
    KERNEL = "kernel"
    DEBIAN = "debian"
    PEP440 = "pep440"
    WORD = "word"


SCHEMES = {
    "kernel": Scheme.KERNEL,
    "driver": Scheme.RELEASE,
    "cuda": Scheme.RELEASE,
    "rocm": Scheme.RELEASE,
    "python": Scheme.PEP440,
    "glibc": Scheme.RELEASE,
    "compute-capability": Scheme.RELEASE,
}
"""The schemes of the components that have no file of their own; every other component is a `word` or says its scheme in its file."""

_PART = re.compile(r"^(>=|<=|==|!=|>|<)?\s*(\S+)$")
_RELEASE = re.compile(r"^\d+(\.\d+)*$")
_KERNEL = re.compile(r"^(\d+(?:\.\d+)*)(?:[~-]rc(\d+))?")
_DEBIAN = re.compile(r"^(?:(\d+):)?([0-9A-Za-z.+~-]+?)(?:-([0-9A-Za-z+.~]+))?$")


class VersionFormatError(ValueError):
    """A text that is no version, or no range, of its scheme; the message says which and gives an example."""


@functools.total_ordering
@dataclass(frozen=True, slots=True)
class _DebianKey:
    epoch: int
    upstream: str
    revision: str

    def __lt__(self, other: _DebianKey) -> bool:
        return _debian_order(self, other) < 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _DebianKey) and _debian_order(self, other) == 0

    def __hash__(self) -> int:
        return hash(self.epoch)


def _debian_order(left: _DebianKey, right: _DebianKey) -> int:
    if left.epoch != right.epoch:
        return left.epoch - right.epoch
    return _debian_part(left.upstream, right.upstream) or _debian_part(left.revision, right.revision)


def _debian_weight(character: str) -> int:
    """Letters sort before everything else, `~` before even the end of the text (weight 0)."""
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256


def _debian_part(left: str, right: str) -> int:
    """Compare two parts by turns: a run without digits, then a run of digits as a number (Policy 5.6.12)."""
    first, second = 0, 0
    while first < len(left) or second < len(right):
        while (first < len(left) and not left[first].isdigit()) or (second < len(right) and not right[second].isdigit()):
            one = _debian_weight(left[first]) if first < len(left) and not left[first].isdigit() else 0
            two = _debian_weight(right[second]) if second < len(right) and not right[second].isdigit() else 0
            if one != two:
                return one - two
            first, second = first + 1, second + 1
        start, begin = first, second
        while first < len(left) and left[first].isdigit():
            first += 1
        while second < len(right) and right[second].isdigit():
            second += 1
        difference = int(left[start:first] or "0") - int(right[begin:second] or "0")
        if difference:
            return difference
    return 0


def _numbers(text: str) -> tuple[int, ...]:
    """The numbers of a dotted text without zeros at its end, so that 12.0 and 12 compare equal."""
    numbers = [int(part) for part in text.split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


@functools.lru_cache(maxsize=8192)
def key(text: str, scheme: Scheme) -> Any:
    """A value that sorts as the scheme demands; raises VersionFormatError where the text is no version of the scheme."""
    if scheme is Scheme.WORD:
        return text
    if scheme is Scheme.RELEASE:
        if not _RELEASE.match(text):
            raise VersionFormatError(f"`{text}` is not a version: numbers separated by dots are expected, like `570.172.08`")
        return _numbers(text)
    if scheme is Scheme.KERNEL:
        found = _KERNEL.match(text)
        if not found:
            raise VersionFormatError(f"`{text}` is not a kernel version, like `6.12.107` or `6.12.107+deb13-cloud-amd64`")
        return (_numbers(found[1]), 0 if found[2] else 1, int(found[2] or 0))
    if scheme is Scheme.DEBIAN:
        found = _DEBIAN.match(text)
        if not found or not found[2][0].isalnum():
            raise VersionFormatError(f"`{text}` is not a Debian version, like `1.26.3-3+deb13u1`")
        return _DebianKey(int(found[1] or 0), found[2], found[3] or "")
    from packaging.version import Version  # for Python packages alone, which many a recipe has none of

    try:
        return Version(text)
    except ValueError as error:
        raise VersionFormatError(f"`{text}` is not a version of a Python package, like `0.33.0`") from error


def upstream(text: str) -> str:
    """A driver's or service's version without what a package adds to it: `550.127.08` of `550.127.08-0ubuntu1`."""
    return re.sub(r"^(\d+:)?(\d+(?:\.\d+)*)[-+~].*$", r"\2", text)


def agree(one: str, other: str) -> bool | None:
    """Whether two dotted texts name the same release; None where one is only the beginning of the other ("580" and "580.65.06")."""
    left, right = one.split("."), other.split(".")
    common = min(len(left), len(right))
    if [part.lstrip("0") for part in left[:common]] != [part.lstrip("0") for part in right[:common]]:
        return False
    return True if len(left) == len(right) else None


def in_numbers(text: str) -> list[tuple[int, str]]:
    """What sorts as versions of no scheme do: the numbers of a text as numbers, what stands between them as text."""
    parts = [part.lstrip("0") if place % 2 else part for place, part in enumerate(re.split(r"([0-9]+)", text))]
    return [(len(part) if place % 2 else 0, part) for place, part in enumerate(parts)]


def newest_first(versions: Iterable[str], scheme: Scheme) -> tuple[str, ...]:
    """Versions in falling order; equal ones in the order of their texts."""
    return tuple(sorted(sorted(versions), key=lambda text: key(text, scheme), reverse=True))


def closest_version(wanted: str, known: Iterable[str]) -> str | None:
    """The known version that begins most like a wanted one (`0.8.5`: `0.8.5.post1`), the first of several; None without two parts alike."""
    parts = re.split("[.+-]", wanted)

    def alike(version: str) -> int:
        pairs = zip(parts, re.split("[.+-]", version), strict=False)
        return next((index for index, (mine, its) in enumerate(pairs) if mine != its), len(parts))

    best = max(known, key=alike, default=None)
    return best if best is not None and alike(best) > 1 else None


@functools.lru_cache(maxsize=4096)
def _specifiers(parts: tuple[tuple[str, str], ...]) -> SpecifierSet:
    from packaging.specifiers import SpecifierSet

    return SpecifierSet(",".join(f"{operator}{bound}" for operator, bound in parts))


@dataclass(frozen=True, slots=True)
class Range:
    """Which versions are admitted; `text` is as written."""

    text: str
    scheme: Scheme
    parts: tuple[tuple[str, str], ...]

    def admits(self, version: str) -> bool:
        """Whether the version lies in the range; raises VersionFormatError for a version that is none of the scheme."""
        if self.scheme is Scheme.PEP440:
            return _specifiers(self.parts).contains(key(version, self.scheme), prereleases=True)
        return all(_holds(operator, bound, version, self.scheme) for operator, bound in self.parts)

    def admits_all(self, series: str) -> bool | None:
        """Whether every version of a series ("580", "6.8") lies in the range; None where some do and some do not, or only the text tells.

        Raises VersionFormatError for a text that is no series of numbers.
        """
        if not _RELEASE.match(series):
            raise VersionFormatError(f"`{series}` is not a series: numbers separated by dots are expected, like `580` or `6.8`")
        answers = [_holds_all(operator, bound, [int(part) for part in series.split(".")]) for operator, bound in self.parts]
        return False if False in answers else None if None in answers else True

    def __str__(self) -> str:
        return self.text


_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    ">=": lambda version, bound: bool(version >= bound),
    "<=": lambda version, bound: bool(version <= bound),
    ">": lambda version, bound: bool(version > bound),
    "<": lambda version, bound: bool(version < bound),
    "==": lambda version, bound: bool(version == bound),
    "!=": lambda version, bound: bool(version != bound),
}


def _holds(operator: str, bound: str, version: str, scheme: Scheme) -> bool:
    if bound.endswith(".*"):
        inside = _starts_with(version, bound[:-2], scheme)
        return inside if operator == "==" else not inside
    return _ORDER[operator](_for_range(version, bound, scheme), key(bound, scheme))


def _for_range(version: str, bound: str, scheme: Scheme) -> Any:
    """A kernel's candidate has its release's interfaces: against a bound that names no candidate it counts as the release."""
    found = _KERNEL.match(version) if scheme is Scheme.KERNEL else None
    limit = _KERNEL.match(bound) if found is not None and found[2] else None
    return key(found[1], scheme) if found is not None and limit is not None and not limit[2] else key(version, scheme)


def _holds_all(operator: str, bound: str, series: list[int]) -> bool | None:
    """`_holds` for all versions that begin with the numbers of `series`; None where they differ."""
    stem = bound.endswith(".*")
    found = _KERNEL.match(bound.removesuffix(".*"))
    if found is None:
        return None
    numbers = [int(part) for part in found[1].split(".")]
    common = min(len(numbers), len(series))
    if numbers[:common] != series[:common]:
        return {"==": False, "!=": True}.get(operator, _ORDER[operator](series[:common], numbers[:common]))
    if stem:
        whole = len(numbers) <= len(series)
        return (operator == "==") if whole else None
    if not any(numbers[common:]) and not found[2]:  # the bound is where the series begins
        return {">=": True, "<": False}.get(operator)
    return None


def _starts_with(version: str, stem: str, scheme: Scheme) -> bool:
    if scheme is Scheme.DEBIAN:
        upstream = version.split(":", 1)[-1]
        return upstream == stem or (upstream.startswith(stem) and not upstream[len(stem)].isdigit())
    found = _KERNEL.match(version)
    key(version, scheme)
    assert found is not None
    numbers, wanted = [int(part) for part in found[1].split(".")], [int(part) for part in stem.split(".")]
    numbers += [0] * (len(wanted) - len(numbers))
    return numbers[: len(wanted)] == wanted


@functools.lru_cache(maxsize=4096)
def parse_range(text: str, scheme: Scheme) -> Range:
    """A range from its text; raises VersionFormatError with the part that is wrong."""
    if scheme is Scheme.WORD:
        return Range(text, scheme, (("==", text),))
    parts: list[tuple[str, str]] = []
    for piece in text.split(","):
        found = _PART.match(piece.strip())
        if not found:
            raise VersionFormatError(f"`{piece.strip()}` is not a range: write `6.12.*`, `>=0.11,<0.20` or one version")
        operator, bound = found[1] or "==", found[2]
        if bound.endswith(".*"):
            if operator not in ("==", "!="):
                raise VersionFormatError(f"`{piece.strip()}`: `.*` stands alone or after `!=`, not after `{operator}`")
            key(bound[:-2], scheme)
            if scheme is Scheme.KERNEL and not _RELEASE.match(bound[:-2]):
                raise VersionFormatError(f"`{bound}` is not a kernel series, like `6.12.*`")
        else:
            key(bound, scheme)
        parts.append((operator, bound))
    found_range = Range(text, scheme, tuple(parts))
    if scheme is Scheme.PEP440:
        try:
            _specifiers(found_range.parts)
        except ValueError as error:
            raise VersionFormatError(f"`{text}` is not a range of Python versions: {error}") from error
    return found_range
