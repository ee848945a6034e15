"""Dataclasses that are quick to define: the same decorator as the standard library's, for the one form of which this program has a hundred.

`dataclasses` writes and compiles six functions for each frozen class, which took more than half of a cold `aistack check`. Here one is
compiled, `__init__`, when the first value is made, and the others are shared closures. To the outside nothing differs: `fields`,
`replace`, `asdict` and `is_dataclass` take these classes. Any other form is handed on.
"""

from __future__ import annotations

import dataclasses
from operator import attrgetter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls=None, /, **how):
        """As `dataclasses.dataclass`."""
        if how.get("frozen") and how.get("slots") and not how.keys() - {"frozen", "slots", "kw_only", "order"}:
            made = lambda cls: _frozen(cls, kw_only=how.get("kw_only", False), order=how.get("order", False))  # noqa: E731
        else:
            made = dataclasses.dataclass(**how)
        return made if cls is None else made(cls)


def _frozen(cls: type[Any], *, kw_only: bool, order: bool) -> type[Any]:
    made = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, kw_only=kw_only)(cls)
    fields = dataclasses.fields(made)
    names = tuple(field.name for field in fields)
    of = attrgetter(*names) if names else lambda value: ()

    def equal(self: Any, other: object) -> bool:
        return bool(of(self) == of(other)) if other.__class__ is self.__class__ else NotImplemented

    def hashed(self: Any) -> int:
        return hash(of(self))

    def shown(self: Any) -> str:
        return f"{self.__class__.__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    def refused(self: Any, name: str, *value: object) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot change field {name!r}")

    def state(self: Any) -> list[Any]:
        return [getattr(self, name) for name in names]

    def restored(self: Any, values: list[Any]) -> None:
        for name, value in zip(names, values, strict=True):
            object.__setattr__(self, name, value)

    def first(self: Any, *positions: Any, **names: Any) -> None:
        made.__init__ = _init(made, fields, kw_only)  # most classes that are imported make no value in one run
        made.__init__(self, *positions, **names)

    own = {
        "__init__": first,
        "__eq__": equal,
        "__hash__": hashed,
        "__repr__": shown,
        "__setattr__": refused,
        "__delattr__": refused,
        "__getstate__": state,
        "__setstate__": restored,
    }
    if order:
        own |= {
            "__lt__": lambda self, other: of(self) < of(other) if other.__class__ is self.__class__ else NotImplemented,
            "__le__": lambda self, other: of(self) <= of(other) if other.__class__ is self.__class__ else NotImplemented,
            "__gt__": lambda self, other: of(self) > of(other) if other.__class__ is self.__class__ else NotImplemented,
            "__ge__": lambda self, other: of(self) >= of(other) if other.__class__ is self.__class__ else NotImplemented,
        }
    for name, function in own.items():
        if name not in cls.__dict__:
            setattr(made, name, function)
    return made


def _init(made: type[Any], fields: tuple[dataclasses.Field[Any], ...], kw_only: bool) -> Any:
    """`__init__` with the fields as its parameters, in one compilation."""
    given: dict[str, Any] = {"_set": object.__setattr__, "_missing": dataclasses.MISSING}
    parameters, lines = [], []
    for field in fields:
        name, value = field.name, field.name
        if field.default is not dataclasses.MISSING:
            given[f"_{name}"] = field.default
            parameters.append(f"{name}=_{name}")
        elif field.default_factory is not dataclasses.MISSING:
            given[f"_{name}"] = field.default_factory
            parameters.append(f"{name}=_missing")
            value = f"_{name}() if {name} is _missing else {name}"
        else:
            parameters.append(name)
        lines.append(f" _set(self, '{name}', {value})")
    if hasattr(made, "__post_init__"):
        lines.append(" self.__post_init__()")
    star = ["*"] if kw_only and parameters else []
    exec(f"def __init__({', '.join(['self', *star, *parameters])}):\n" + "\n".join(lines or [" pass"]), given)
    return given["__init__"]
