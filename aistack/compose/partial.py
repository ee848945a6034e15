"""A situation of which some axes are not decided yet: who asks for what depends on one of them is told which, instead of an answer.

A rule that comes to an end without asking has answered for every value of what is open. So one run of it can stand for thousands of
combinations, without anybody having to say what it looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from aistack.compose.rules.situation import Finding, Rule

Known = Mapping[str, int]
"""What is decided: axis → the number of its value."""

Answer = TypeVar("Answer")


class UndecidedError(Exception):
    """The answer depends on an axis that is open."""

    def __init__(self, axis: str) -> None:
        super().__init__(axis)
        self.axis = axis


class Open:
    """Stands for something that an open axis decides: it is there, and nothing else can be said of it."""

    __slots__ = ("_axis",)

    def __init__(self, axis: str) -> None:
        object.__setattr__(self, "_axis", axis)

    def __getattribute__(self, name: str) -> Any:
        raise UndecidedError(object.__getattribute__(self, "_axis"))

    def _asked(self, *_: Any) -> Any:
        raise UndecidedError(object.__getattribute__(self, "_axis"))

    __bool__ = __len__ = __iter__ = __contains__ = __getitem__ = __eq__ = __hash__ = __lt__ = __gt__ = __str__ = __repr__ = _asked
    __reversed__ = __int__ = __float__ = __format__ = _asked


class OpenMapping(Mapping[str, Answer]):
    """A mapping of which the names in `open` depend on open axes, each on the one that is named; the others are as they are."""

    def __init__(self, known: Mapping[str, Answer], open: Mapping[str, str]) -> None:
        self._known, self._open = known, open

    def __getitem__(self, name: str) -> Answer:
        if name in self._open:
            raise UndecidedError(self._open[name])
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        if name in self._open:
            raise UndecidedError(self._open[str(name)])
        return name in self._known

    def get(self, name: str, default: Any = None) -> Any:
        """As of any mapping; said anew because the inherited one is slow."""
        if name in self._open:
            raise UndecidedError(self._open[name])
        return self._known.get(name, default)

    def __iter__(self) -> Iterator[str]:
        for axis in self._open.values():
            raise UndecidedError(axis)
        return iter(self._known)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def explore(
    rule: Rule, situation: Callable[[Known], Any], axes: Mapping[str, Sequence[Any]], known: Known | None = None
) -> Iterator[tuple[Known, tuple[Finding, ...]]]:
    """What the rule says, each time with the axes on which that depends; together they cover every combination once."""
    known = known or {}
    try:
        seen = situation(known)
        views = [replace(seen, part=part) for part in seen.parts] if rule.about == "app" else [seen]
        found = tuple(finding for view in views for finding in rule.judge(view))
    except UndecidedError as asked:
        for number, _ in enumerate(axes[asked.axis]):
            yield from explore(rule, situation, axes, {**known, asked.axis: number})
    else:
        if found:
            yield known, found
