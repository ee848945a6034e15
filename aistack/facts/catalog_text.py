"""The catalog from its YAML texts, and from the one compiled file that travels in the wheel; reading files is the caller's work.

The compiled file is JSON that mirrors the types of facts/catalog.py. It is written by this code and read only by the same code
(its key covers both), so it is trusted and not checked again: that keeps a cold `check` fast.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from typing import Any, TypeVar

from aistack.diagnostics import Diagnostic, Place, Severity
from aistack.facts.catalog import Accelerator, Catalog, Component, Framework, Model, Terms
from aistack.facts.data_rules import RuleFile
from aistack.facts.decode import decode, unwrap
from aistack.facts.document import Mapping as MappingNode
from aistack.facts.document import Node, Scalar, parse, place_of
from aistack.facts.faults import Faults
from aistack.facts.images import Image
from aistack.facts.limits import Limits
from aistack.facts.systems import Branch, Distribution, KernelSeries, Os
from aistack.facts.wheel_tags import Wheels

KINDS: Mapping[str, tuple[type[Any], str, str]] = {
    "aistack/os/v1": (Os, "systems", "recipes/os/"),
    "aistack/kernel/v1": (KernelSeries, "kernels", "recipes/os/kernels/"),
    "aistack/distribution/v1": (Distribution, "distributions", "recipes/os/"),
    "aistack/framework/v1": (Framework, "frameworks", "recipes/frameworks/"),
    "aistack/component/v1": (Component, "components", "recipes/frameworks/"),
    "aistack/accelerator/v1": (Accelerator, "accelerators", "accelerators/"),
    "aistack/faults/v1": (Faults, "faults", "accelerators/"),
    "aistack/limits/v1": (Limits, "limits", "accelerators/"),
    "aistack/branch/v1": (Branch, "branches", "accelerators/nvidia/branches/"),
    "aistack/model/v1": (Model, "models", "models/"),
    "aistack/image/v1": (Image, "images", "recipes/images/"),
    "aistack/terms/v1": (Terms, "terms", "licences/"),
    "aistack/wheels/v1": (Wheels, "wheels", "recipes/wheels/"),
    "aistack/rules/v1": (RuleFile, "rules", "accelerators/"),
}
"""By `schema`: the type of the file, the catalog's field that holds it, and the folder where such files lie."""

Value = TypeVar("Value")


def identity(texts: Mapping[str, str]) -> str:
    """`sha256:` over names and texts, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(texts):
        content = texts[name].encode()
        digest.update(f"{name}\n{len(content)}\n".encode() + content)
    return "sha256:" + digest.hexdigest()


def compile_texts(texts: Mapping[str, str]) -> tuple[Catalog, tuple[Diagnostic, ...]]:
    """The catalog of YAML texts by file name (`accelerators/nvidia/l4.yaml`), and every problem found in them.

    Files with a problem are left out, so a catalog that comes with problems is incomplete.
    """
    problems: list[Diagnostic] = []
    places: dict[str, Place] = {}
    entries: dict[str, dict[str, Any]] = {"schemes": {}, **{field: {} for _, field, _ in KINDS.values()}}
    for name in sorted(texts):
        root, found = parse(texts[name], name)
        problems += found
        if root is None or found:
            continue
        schema = root.get("schema") if isinstance(root, MappingNode) else None
        kind = KINDS.get(schema.text) if isinstance(schema, Scalar) else None
        if kind is None:
            problems.append(
                _problem("CT001", "catalog-schema", "`schema` does not name a kind of catalog file", root.place, hints=tuple(KINDS))
            )
            continue
        value, found = decode(kind[0], root)
        problems += found
        if value is not None:
            problems += _enter(value, kind[1], kind[2], name, root, entries, places)
    catalog = Catalog(identity=identity(texts), places=places, **entries)
    return catalog, tuple(problems)


def _enter(
    value: Any, field: str, folder: str, name: str, root: Node, entries: dict[str, dict[str, Any]], places: dict[str, Place]
) -> list[Diagnostic]:
    """Put a decoded file among its kind; a file's name is its id."""
    if isinstance(value, RuleFile):
        problems = []
        for component, scheme in value.versions.items():
            if entries["schemes"].setdefault(component, scheme) is not scheme:
                place = place_of(root, ("versions", component))
                problems.append(_problem("CT003", "catalog-twice", f"the versions of `{component}` are compared in two ways", place))
        for index, rule in enumerate(value.rules):
            place = place_of(root, ("rules", index, "id"))
            if rule.id in entries[field]:
                problems.append(_problem("CT003", "catalog-twice", f"rule `{rule.id}` stands in two places", place))
            entries[field][rule.id] = rule
            places[f"rules/{rule.id}"] = place
            for number, _ in enumerate(rule.cases):
                places[f"rules/{rule.id}/{number}"] = place_of(root, ("rules", index, "cases", number))
        return problems
    place = place_of(root, ("id",))
    if name != f"{folder}{value.id}.yaml":
        return [_problem("CT002", "catalog-name", f"`{value.id}` must stand in `{folder}{value.id}.yaml`", place)]
    entries[field][value.id] = value
    places[f"{field}/{value.id}"] = place
    for index, release in enumerate(getattr(value, "releases", ())):
        begin = release.since if isinstance(value, Wheels) else release.version
        places[f"{field}/{value.id}/{begin}"] = place_of(root, ("releases", index))
    return []


def _problem(rule: str, name: str, message: str, place: Place, hints: tuple[str, ...] = ()) -> Diagnostic:
    return Diagnostic(rule=rule, name=name, severity=Severity.ERROR, message=message, place=place, hints=hints)


def dump(catalog: Catalog) -> bytes:
    """The compiled form of a catalog; equal catalogs give equal bytes."""
    return json.dumps(_plain(catalog), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def load(data: bytes) -> Catalog:
    """A catalog from what `dump` wrote."""
    return typing.cast(Catalog, _reader(Catalog)(json.loads(data)))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple):
        return [_plain(inner) for inner in value]
    return value.value if isinstance(value, Enum) else value


def _same(value: Any) -> Any:
    return value


@functools.cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """A function from the JSON form to the value; `_same` where nothing has to be done."""
    bare, _ = unwrap(kind)
    origin, arguments = typing.get_origin(bare), typing.get_args(bare)
    if dataclasses.is_dataclass(bare):
        return _class_reader(typing.cast(Any, bare))
    if origin in (types.UnionType, typing.Union):
        readers = [_reader(option) for option in arguments if option is not types.NoneType]
        if all(reader is _same for reader in readers):
            return _same
        # Of a union only lists need work: a list of plain values beside a plain value (`range | one of`).
        return lambda value: tuple(value) if isinstance(value, list) else readers[0](value) if isinstance(value, dict) else value
    if origin is tuple:
        inner = _reader(arguments[0])
        return tuple if inner is _same else lambda value: tuple(inner(item) for item in value)
    if origin is not None and issubclass(typing.cast(Any, origin), Mapping) if isinstance(origin, type) else False:
        inner = _reader(arguments[1])
        if dataclasses.is_dataclass(arguments[1]):
            return lambda value: _Entries(value, inner)
        return _same if inner is _same else lambda value: {key: inner(item) for key, item in value.items()}
    if isinstance(bare, type) and issubclass(bare, Enum):
        return bare
    return _same


class _Entries(Mapping[str, Any]):
    """Entries that are read when they are asked for: one run needs few of a thousand."""

    def __init__(self, plain: dict[str, Any], read: Callable[[Any], Any]) -> None:
        self._plain, self._read, self._made = plain, read, dict[str, Any]()

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            self._made[name] = self._read(self._plain[name])
        return self._made[name]

    def get(self, name: str, default: Any = None) -> Any:
        """As of any mapping, without an exception for each of the many that are not there."""
        return self[name] if name in self._plain else default

    def __contains__(self, name: object) -> bool:
        return name in self._plain

    def __iter__(self) -> Iterator[str]:
        return iter(self._plain)

    def __len__(self) -> int:
        return len(self._plain)


def _class_reader(kind: type[Value]) -> Callable[[Any], Value]:
    hints = typing.get_type_hints(kind, include_extras=True)
    work = [(name, reader) for name, hint in hints.items() if (reader := _reader(hint)) is not _same]

    def read(value: dict[str, Any]) -> Value:
        for name, reader in work:
            value[name] = reader(value[name])
        return kind(**value)

    return read
