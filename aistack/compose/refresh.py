"""What was read of releases, entered into a catalog file's own text: one line for each release, everything else as it was written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import field, replace
from email.message import Message
from email.parser import HeaderParser

from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import Specifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from aistack.compose.programs import release_of
from aistack.facts.catalog import Component, Framework, Release
from aistack.facts.document import Mapping as MappingNode
from aistack.facts.document import Node, Scalar, place_of, replaced
from aistack.facts.document import Sequence as SequenceNode
from aistack.facts.version import key
from aistack.values import dataclass

CUDA = ("cuda-toolkit", "nvidia-cuda-runtime", "nvidia-cuda-runtime-cu13", "nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime-cu11")
"""Packages whose version is that of the CUDA that a wheel was built with."""

BY_HAND = frozenset({"compute-capability"})
"""What releases need that no METADATA states."""

LINUX = {"platform_system": "Linux", "sys_platform": "linux", "platform_machine": "x86_64", "python_version": "3.12"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What was read of one release, as in the catalog; `architectures` is None where nobody looked."""

    version: str
    date: str | None
    needs: Mapping[str, str] = field(default_factory=dict)
    pins: Mapping[str, str] = field(default_factory=dict)
    brings: Mapping[str, str] = field(default_factory=dict)
    architectures: tuple[str, ...] | None = None


def read_metadata(
    text: str, filename: str, known: Mapping[str, str], chosen: frozenset[str] = frozenset(), extras: Set[str] = frozenset()
) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """(needs, pins, brings) of a wheel by its METADATA and its name, installed with `extras`.

    `known` are the components that the catalog has, by the names of their packages, `chosen` those of them that are chosen by what needs
    them: the others are only pinned.
    """
    said = HeaderParser().parsestr(text)
    needs: dict[str, str] = {}
    pins: dict[str, str] = {}
    brings: dict[str, str] = {}
    for requirement in _required(said, extras):
        package = canonicalize_name(requirement.name)
        name = known.get(package)
        if name is not None and requirement.specifier:
            (needs if name in chosen else pins)[name] = range_of(requirement.specifier)
        exact = re.fullmatch(r"==(\d+\.\d+)[\d.]*", str(requirement.specifier))
        if package in CUDA and exact:
            brings["cuda"] = exact[1]
    if python := said.get("Requires-Python"):
        needs["python"] = range_of(SpecifierSet(python))
    if glibc := re.search(r"manylinux_2_(\d+)_x86_64", filename):
        needs["glibc"] = f">=2.{glibc[1]}"
    return needs, pins, brings


def _required(said: Message, extras: Set[str]) -> Iterator[Requirement]:
    """What a wheel asks for on Linux with these extras, and with those that they ask for in turn (`engine[all]` for `engine[cuda]`)."""
    own, waiting, seen = canonicalize_name(said.get("Name", "")), ["", *sorted(extras)], set[str]()
    while waiting:
        extra = canonicalize_name(waiting.pop(0))
        if extra in seen:
            continue
        seen.add(extra)
        for line in said.get_all("Requires-Dist", []):
            try:
                requirement = Requirement(line)
            except InvalidRequirement:
                continue
            marker = requirement.marker
            if (marker is None and extra) or (marker is not None and not _asks(marker, extra)):
                continue
            if canonicalize_name(requirement.name) == own:
                waiting += sorted(requirement.extras)
            else:
                yield requirement


def _asks(marker: Marker, extra: str) -> bool:
    """Whether a marker holds with the extra, and, where there is one, not without it too."""
    return marker.evaluate({**LINUX, "extra": extra}) and not (extra and marker.evaluate({**LINUX, "extra": ""}))


def range_of(specifier: SpecifierSet) -> str:
    """A range as the catalog writes it: lower bounds first, one exact version without its sign, `~=2.1.0` as `>=2.1.0,<2.2`."""
    parts = sorted(one for part in specifier for one in _plain(part))
    if len(parts) == 1 and parts[0].startswith("==") and not parts[0].endswith("*"):
        return parts[0].removeprefix("==")
    return ",".join(sorted(parts, key=lambda part: (part.startswith("<"), part.startswith("!"), part)))


def _plain(part: Specifier) -> Iterator[str]:
    if part.operator != "~=":
        yield str(part)
        return
    *stem, last, _ = Version(part.version).release
    yield from (f">={part.version}", f"<{'.'.join(str(number) for number in (*stem, last + 1))}")


def merged(before: Release, read: Read) -> Release:
    """The catalog's release with what was read; what nobody read stays."""
    return replace(
        before,
        date=read.date or before.date,
        needs={**before.needs, **read.needs},
        pins={**before.pins, **read.pins},
        brings={**before.brings, **read.brings},
        architectures=before.architectures if read.architectures is None else read.architectures,
    )


def entered(text: str, root: Node, owner: Component | Framework, read: Sequence[Read], today: str) -> str:
    """The file's text with one line for each release that was read, the newest first; `checked` becomes `today` where anything is new.

    Comments stay above the release that they stand above; a release of which nothing new was read keeps its own lines. A new one has what
    wheels do not tell where the ones before and after it agree, as it has while it is not listed.
    """
    lines = text.split("\n")
    head, blocks, tail = _blocks(root, lines)
    have = {release.version: release for release in owner.releases}
    changed = False
    for one in read:
        release = merged(have.get(one.version) or _unread(release_of(owner, one.version)), one)
        if release == have.get(one.version):
            continue
        changed = True
        line = f"  - {flow(release)}"
        places = [number for number, (version, _) in enumerate(blocks) if version == one.version]
        if places:
            comments = [own for own in blocks[places[0]][1] if own.lstrip().startswith("#")]
            blocks[places[0]] = (one.version, [*comments, line])
        else:
            rank = key(one.version, owner.versions)
            older = (number for number, (version, _) in enumerate(blocks) if key(version, owner.versions) < rank)
            blocks.insert(next(older, len(blocks)), (one.version, [line]))
    if not changed:
        return text
    kept = "\n".join([*head, *(own for _, block in blocks for own in block), *tail])
    return re.sub(r"(?m)^checked: .*$", f"checked: {today}", kept, count=1)


def _unread(between: Release) -> Release:
    """Of what two neighbours have in common: that which neither METADATA nor a file's name states."""
    needs = {name: wanted for name, wanted in between.needs.items() if name in BY_HAND}
    return replace(between, needs=needs, pins={}, date=None)


def updated(text: str, root: Node, offered: Mapping[tuple[str | int, ...], str], today: str) -> str:
    """An OS's text with the versions that its archives offer; `offered` has packages' versions by the path of what they are entered as.

    What is upstream's in a package's version counts: `6.12.117` of `6.12.117-1`. `checked` becomes `today` where anything is new.
    """
    edits = [(place_of(root, path), f'"{version.rpartition("-")[0] or version}"') for path, version in offered.items()]
    after = text
    for place, replacement in sorted(edits, key=lambda edit: edit[0], reverse=True):
        after = replaced(after, place, replacement)
    return after if after == text else re.sub(r"(?m)^checked: .*$", f"checked: {today}", after, count=1)


def _blocks(root: Node, lines: Sequence[str]) -> tuple[list[str], list[tuple[str, list[str]]], list[str]]:
    """(what stands before the releases, the lines of each release with its version, what stands after them)."""
    releases = root.get("releases") if isinstance(root, MappingNode) else None
    assert isinstance(releases, SequenceNode)
    found: list[tuple[str, list[str]]] = []
    begin = first = next(number for number, line in enumerate(lines) if line.startswith("releases:")) + 1
    for item in releases.items:
        version = item.get("version") if isinstance(item, MappingNode) else None
        end = item.place.line
        while end < len(lines) and lines[end].startswith("    "):
            end += 1
        found.append((version.text if isinstance(version, Scalar) else "", list(lines[begin:end])))
        begin = end
    return list(lines[:first]), found, list(lines[begin:])


def flow(release: Release) -> str:
    """A release as one line of YAML: `{version: "2.15.0", date: 2026-10-28, …}`."""
    parts = [f'version: "{release.version}"']
    parts += [f"date: {release.date}"] if release.date else []
    ranges = (("needs", release.needs), ("pins", release.pins), ("brings", release.brings))
    parts += [f"{name}: {_mapping(own)}" for name, own in ranges if own]
    parts += [f"architectures: {_list(release.architectures)}"] if release.architectures else []
    for name, lists in (("builds", release.builds), ("arm64", release.arm64)):
        if lists:
            parts.append(f"{name}: {{" + ", ".join(f"{build}: {_list(own)}" for build, own in lists.items()) + "}")
    return "{" + ", ".join(parts) + "}"


def _mapping(values: Mapping[str, str]) -> str:
    return "{" + ", ".join(f'{name}: "{text}"' for name, text in values.items()) + "}"


def _list(words: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{word}"' for word in words) + "]"
