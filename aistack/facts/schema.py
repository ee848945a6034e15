"""JSON Schema (2020-12) from the same dataclasses that `decode` reads, so that an editor completes and underlines."""

from __future__ import annotations

import dataclasses
import datetime
import inspect
import re
import types
import typing
from collections.abc import Mapping as AnyMapping
from enum import IntEnum
from typing import Any

from aistack.facts.decode import Number, Text, choices_of, fields_of, unwrap

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(kind: type[Any], *, title: str, dashes: bool = True, extra: AnyMapping[str, Any] | None = None) -> dict[str, Any]:
    """The JSON Schema of a document whose root is the dataclass `kind`.

    `dashes` is false for documents whose keys are the fields' own names (our JSON files). `extra` are properties of the root
    that the class does not hold, all required. Descriptions are the classes' docstrings and the fields' descriptions.
    """
    maker = _Maker(dashes, {})
    root = maker.members(kind)
    for key, value in (extra or {}).items():
        root["properties"] = {key: value, **root["properties"]}
        root["required"] = sorted({key, *root.get("required", [])})
    return {"$schema": DIALECT, "title": title, **root, "$defs": dict(sorted(maker.definitions.items()))}


@dataclasses.dataclass(frozen=True, slots=True)
class _Maker:
    dashes: bool
    definitions: dict[str, Any]

    def members(self, kind: type[Any]) -> dict[str, Any]:
        fields = fields_of(typing.cast(Any, kind))
        named = [(field, field.key if self.dashes else field.name) for field in fields]
        properties = {}
        for field, key in named:
            properties[key] = {**self.value(field.kind), **({"description": field.about} if field.about else {})}
        made = {
            "description": inspect.getdoc(kind) or "",
            "type": "object",
            "properties": properties,
            "additionalProperties": getattr(kind, "OPEN", False),
        }
        if required := [key for field, key in named if field.required]:
            made["required"] = required
        return made

    def value(self, kind: Any, outer: tuple[Any, ...] = ()) -> dict[str, Any]:
        bare, extras = unwrap(kind)
        extras = (*outer, *extras)
        origin = typing.get_origin(bare)
        if bare is types.NoneType:
            return {"type": "null"}
        if origin in (types.UnionType, typing.Union):
            return {"anyOf": [self.value(option, extras) for option in typing.get_args(bare)]}
        if dataclasses.is_dataclass(bare) and isinstance(bare, type):
            if bare.__name__ not in self.definitions:
                self.definitions[bare.__name__] = {}  # a class may hold itself
                self.definitions[bare.__name__] = self.members(bare)
            return {"$ref": f"#/$defs/{bare.__name__}"}
        if origin is tuple:
            return self._list(typing.get_args(bare))
        if origin in (dict, AnyMapping):
            key, value = typing.get_args(bare)
            names = self.value(key)
            narrowed = {name: names[name] for name in ("pattern", "enum") if name in names}
            made: dict[str, Any] = {"type": "object", "additionalProperties": self.value(value)}
            return {**made, "propertyNames": narrowed} if narrowed else made
        return self._word(bare, extras)

    def _list(self, arguments: tuple[Any, ...]) -> dict[str, Any]:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return {"type": "array", "items": self.value(arguments[0])}
        items = [self.value(argument) for argument in arguments]
        return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}

    def _word(self, bare: Any, extras: tuple[Any, ...]) -> dict[str, Any]:
        if choices := choices_of(bare):
            return {"const": choices[0]} if len(choices) == 1 else {"enum": list(choices)}
        if isinstance(bare, type) and issubclass(bare, IntEnum):
            return {"enum": [member.value for member in bare]}
        if bare is str:
            return self._text(extras)
        if bare is datetime.date:
            return {"type": "string", "format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}
        made: dict[str, Any] = {"type": {int: "integer", float: "number", bool: "boolean"}[bare]}
        for limit in (extra for extra in extras if isinstance(extra, Number)):
            made |= {"minimum": limit.minimum} if limit.minimum is not None else {}
            made |= {"maximum": limit.maximum} if limit.maximum is not None else {}
        return made

    def _text(self, extras: tuple[Any, ...]) -> dict[str, Any]:
        limits = [extra for extra in extras if isinstance(extra, Text)]
        kinds = ["string"]
        # Text that looks like a number is a number to an editor, which knows nothing of how we read it.
        if self.dashes and all(limit.pattern is None or re.fullmatch(limit.pattern, "12.5") for limit in limits):
            kinds.append("number")
        if any(limit.loose for limit in limits):
            kinds.append("boolean")
        made: dict[str, Any] = {"type": kinds if len(kinds) > 1 else "string"}
        for limit in limits:
            made |= {"pattern": f"^(?:{limit.pattern})$"} if limit.pattern is not None else {}
            made |= {"examples": [limit.example]} if limit.example is not None else {}
        return made
