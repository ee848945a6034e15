"""Published container images: what the reference by which one is pulled says of what is in it.

A reference is held against patterns, from its end: whatever registry or mirror stands in front does not matter. In a pattern
`{cuda}` stands for the version of that component, `[…]` for what may be missing, and `*` for any text within one part of the reference.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import Literal

from aistack.facts.systems import Checked, Source
from aistack.facts.version import Scheme, VersionFormatError, agree, parse_range
from aistack.values import dataclass

VERSION = r"\d+(?:\.\d+)*(?:\.?(?:post|dev|rc)\d+)*"
KINDS = {
    "os": r"[a-z]+-?\d+(?:\.\d+)?",
    "arch": r"x86_64|amd64|aarch64|arm64",
    "cuda-digits": r"\d{3}",
    "rocm-digits": r"\d{3}",
}
"""What placeholders stand for that are no versions."""

DIGITS = {"cuda": (2, 1), "rocm": (1, 1, 1)}
"""How many digits each number of a version has where it is written without dots: `cu126`, `rocm630`."""

DEPTH = 4
"""More images than ever stand on each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What is in those images of which every `when` fits (placeholder or component → range or list of values).

    `base` is the reference of the image that they are built from, whose contents they have too. `has` are versions by component; in both,
    placeholders are filled in. A version may end with its build (`2.5.1+cu124`); `compat: cuda` says that the driver libraries of its
    CUDA are in the image, `os` names its system. `requires` is the variable NVIDIA_REQUIRE_CUDA, without the driver branches that it
    allows for certain brands, which are `allows`. What is `assumed` is usual, but not sure.
    """

    when: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    base: str | None = None
    has: Mapping[str, str] = field(default_factory=dict)
    requires: str | None = None
    allows: Mapping[Literal["branches", "brands"], tuple[str, ...]] = field(default_factory=dict)
    assumed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A container image that somebody publishes, all of its releases together.

    Of `references` the first pattern that fits is taken. `marks` are placeholders that are no components and only choose the contents,
    with the way in which they are compared.
    """

    schema: Literal["aistack/image/v1"] = "aistack/image/v1"
    id: str
    name: str
    references: tuple[str, ...]
    marks: Mapping[str, Scheme] = field(default_factory=dict)
    contents: tuple[Contents, ...] = ()
    source: Source
    checked: Checked


@dataclass(frozen=True, slots=True)
class Fact:
    """What a reference tells of one component, and the catalog's image that knows it."""

    text: str
    because: str
    assumed: bool
    image: str


def told(reference: str, images: Mapping[str, Image], scheme: Callable[[str], Scheme], depth: int = DEPTH) -> dict[str, Fact]:
    """What a reference says, by component; nothing where no image is known by it, or where only a digest names it."""
    name = _named(reference)
    for image in images.values() if name is not None and depth else ():
        for pattern in image.references:
            found = expression(pattern, tuple(image.marks.items())).fullmatch(name or "")
            if found is not None:
                given = dict(_given({key: text for key, text in zip(placeholders(pattern), found.groups(), strict=True) if text}))
                return _facts(reference, image, given, images, scheme, depth)
    return {}


def placeholders(pattern: str) -> tuple[str, ...]:
    """The names in a pattern, in their order."""
    return tuple(re.findall(r"\{([^}]*)\}", pattern))


@functools.cache
def expression(pattern: str, marks: tuple[tuple[str, Scheme], ...]) -> re.Pattern[str]:
    """A pattern as a regular expression with one group for each placeholder."""
    words = {name: "[a-z]+" for name, scheme in marks if scheme is Scheme.WORD}
    parts = []
    for token in re.findall(r"\{[^}]*\}|.", pattern):
        if token.startswith("{"):
            parts.append(f"({words.get(token[1:-1]) or KINDS.get(token[1:-1], VERSION)})")
        else:
            parts.append({"[": "(?:", "]": ")?", "*": "[^/:]*"}.get(token) or re.escape(token))
    return re.compile(f"(?:.*/)?{''.join(parts)}")


def _named(reference: str) -> str | None:
    """Repository and tag of a reference; None where only a digest says which image it is."""
    name, digest = re.match(r"(?:docker://)?([^@]*)(@.*)?", reference.strip()).groups()  # type: ignore[union-attr]  # it fits any text
    if ":" in name.rpartition("/")[2]:
        return str(name)
    return None if digest else f"{name}:latest"


def _given(found: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What the placeholders say; a version with and without its dots, and a system in the catalog's spelling."""
    for name, text in found.items():
        component, _, ending = name.partition("-digits")
        if name in DIGITS:
            yield f"{name}-digits", "".join(text.split(".")[: len(DIGITS[name])])
        elif component in DIGITS and not ending:
            yield component, _dotted(text, DIGITS[component])
        yield name, _system(text) if name == "os" else text


def _dotted(text: str, lengths: tuple[int, ...]) -> str:
    starts = [sum(lengths[:index]) for index in range(len(lengths))]
    return ".".join(text[start : start + length] for start, length in zip(starts, lengths, strict=True))


def _system(text: str) -> str:
    """`ubuntu-22.04` of `ubuntu22.04` or `ubuntu2204`."""
    return re.sub(r"^([a-z]+)-?(\d\d)(\d\d)$", r"\1-\2.\3", re.sub(r"^([a-z]+)-?(\d{4}|\d+(?:\.\d+)?)$", r"\1-\2", text))


def _facts(
    reference: str, image: Image, given: dict[str, str], images: Mapping[str, Image], scheme: Callable[[str], Scheme], depth: int
) -> dict[str, Fact]:
    said = {name: text for name, text in given.items() if name not in image.marks and not name.endswith("-digits")}
    facts = {name: Fact(text, f"the image's reference says {_spoken(name)} {text}", False, image.id) for name, text in said.items()}
    for contents in image.contents:
        texts = {**{name: fact.text for name, fact in facts.items()}, **given}
        if not all(_fits(texts.get(name), wanted, image.marks.get(name) or scheme(name)) for name, wanted in contents.when.items()):
            continue
        for name, text in contents.has.items():
            if name not in facts or f"{{{name}}}" in text:  # what the reference says may get its build
                filled = _filled(text, texts)
                what = f"{_spoken(name)} {filled}" if name != "compat" else "the driver libraries of its CUDA"
                because = f"image {reference} {'usually ' if contents.assumed else ''}has {what}"
                facts[name] = Fact(filled, because, contents.assumed, image.id)
        if contents.requires is not None:
            facts["requires"] = Fact(_requires(contents), f"image {reference} asks for it", contents.assumed, image.id)
        if contents.base is not None:
            facts = {**_below(reference, _filled(contents.base, texts), contents, facts, images, scheme, depth), **facts}
    return facts


def _below(
    reference: str,
    base: str,
    contents: Contents,
    facts: Mapping[str, Fact],
    images: Mapping[str, Image],
    scheme: Callable[[str], Scheme],
    depth: int,
) -> dict[str, Fact]:
    """What the image below has; nothing where the reference says that it is another one."""
    below = told(base, images, scheme, depth - 1)
    if any(agree(fact.text, facts[name].text) is False for name, fact in below.items() if name in facts):
        return {}
    return {
        name: Fact(fact.text, f"image {reference} is built on {base}", fact.assumed or contents.assumed, fact.image)
        for name, fact in below.items()
    }


def _spoken(name: str) -> str:
    return {"cuda": "CUDA", "rocm": "ROCm", "gaudi": "Gaudi software"}.get(name, name)


def _fits(text: str | None, wanted: str | tuple[str, ...], scheme: Scheme) -> bool:
    if text is None:
        return False
    if isinstance(wanted, tuple):
        return text in wanted
    try:
        return parse_range(wanted, scheme).admits(text)
    except VersionFormatError:
        return False


def _filled(text: str, texts: Mapping[str, str]) -> str:
    return re.sub(r"\{([^}]*)\}", lambda found: texts.get(found[1], ""), text)


def _requires(contents: Contents) -> str:
    """The whole variable: each branch for each brand is a group of its own."""
    branches, brands = contents.allows.get("branches", ()), contents.allows.get("brands", ())
    groups = [f"brand={brand},driver>={branch},driver<{int(branch) + 1}" for branch in branches for brand in brands]
    return " ".join((contents.requires or "", *groups))
