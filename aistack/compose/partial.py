"""A situation of which some axes are still open: who asks for what their values differ in is told so, instead of getting an answer.

A rule that comes to an end without asking has answered for every combination of what is left. So one run of it can stand for thousands
of them, without anybody having to say what it looks at. A question splits the values of one axis into those that answer it alike, and the
rule is run again for each part. Any part of an axis is one number, whose bits are the numbers of its values: whether a part answers alike
is then one comparison, however large it is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from aistack.compose.rules.situation import Finding, Rule, Situation, Value

Left = Mapping[str, int]
"""What is left of each axis, by the numbers of its values as bits."""


def bits(numbers: Iterable[int]) -> int:
    """Numbers as the bits of one."""
    return sum(1 << number for number in numbers)


@functools.cache
def numbers(part: int) -> tuple[int, ...]:
    """Which bits are set, the lowest first."""
    return tuple(number for number, digit in enumerate(reversed(f"{part:b}")) if digit == "1")


def lowest(part: int) -> int:
    """The lowest bit that is set."""
    return (part & -part).bit_length() - 1


def only(part: int) -> int | None:
    """The one bit that is set; None where there are several."""
    return None if part & (part - 1) else lowest(part)


class UndecidedError(Exception):
    """The answer depends on an axis: it differs from one of its `parts` to the other; each value is one where none are given."""

    def __init__(self, axis: str, parts: Sequence[int] = ()) -> None:
        super().__init__(axis)
        self.axis, self.parts = axis, parts

    def split(self, left: Left) -> Iterator[Left]:
        """What is left, by how it answers."""
        mine = left[self.axis]
        for part in self.parts or (1 << number for number in numbers(mine)):
            if mine & part:
                yield {**left, self.axis: mine & part}


class Alike:
    """Something of each value of an axis; those of which it is the same are one part."""

    def __init__(self, axis: str, things: Sequence[Any]) -> None:
        self.axis, self.things = axis, things
        keys, parts = [_key(thing, things) for thing in things], dict[Hashable, int]()
        for number, key in enumerate(keys):
            parts[key] = parts.get(key, 0) | 1 << number
        self.parts = tuple(parts.values())
        self._mine = [parts[key] for key in keys]

    def agree(self, left: Left) -> bool:
        """Whether all values that are left have the same."""
        mine = left[self.axis]
        return not mine & ~self._mine[lowest(mine)]

    def agreed(self, left: Left) -> Any:
        """What all values that are left have; UndecidedError where they differ."""
        if not self.agree(left):
            raise UndecidedError(self.axis, self.parts)
        return self.things[lowest(left[self.axis])]


def _key(thing: Any, things: Sequence[Any]) -> Hashable:
    try:
        hash(thing)
    except TypeError:
        return ("as", things.index(thing))
    return thing  # type: ignore[no-any-return]  # it is hashable


class Column:
    """What an axis decides: an entry for each of its values, None where there is none; each question is put to all of them only once."""

    def __init__(self, axis: str, entries: Sequence[Any]) -> None:
        self.axis, self.entries = axis, tuple(entries)
        self._there = Alike(axis, [entry is not None for entry in self.entries])
        self._answers: dict[tuple[Hashable, ...], Alike] = {}

    def agreed(self, left: Left, name: str, *given: Hashable) -> Any:
        """What all entries that are left have as that attribute, or give as the answer of that method; UndecidedError where they differ."""
        question = (name, *given)
        if question not in self._answers:
            found = [None if entry is None else getattr(entry, name) for entry in self.entries]
            answers = [answer(*given) if given and answer is not None else answer for answer in found]
            self._answers[question] = Alike(self.axis, answers)
        return self._answers[question].agreed(left)

    def rest(self, left: Left) -> Any:
        """The one entry that is left, one that stands for several, or None where there is none; UndecidedError where only some are."""
        number = only(left[self.axis])
        if number is not None:
            return self.entries[number]
        return OpenRecord(self, left) if self._there.agreed(left) else None


class Table:
    """What two axes decide together: a column of one for each value of the other."""

    def __init__(self, axis: str, columns: Sequence[Column]) -> None:
        self._columns = Alike(axis, columns)

    def rest(self, left: Left) -> Any:
        """As of a column."""
        return self._columns.agreed(left).rest(left)


Columns = Mapping[str, Column | Table]
"""By component: what decides it."""


class Open:
    """Stands for a thing that an axis decides: it is there, and whoever wants to know more decides the axis."""

    __slots__ = ("_parts",)

    def __init__(self, axis: str, parts: Sequence[int] = ()) -> None:
        object.__setattr__(self, "_parts", (axis, parts))

    def _asked(self, *_: Any) -> Any:
        raise UndecidedError(*object.__getattribute__(self, "_parts"))

    __getattribute__ = __bool__ = __len__ = __iter__ = __contains__ = __getitem__ = __eq__ = __hash__ = __lt__ = __gt__ = _asked
    __reversed__ = __int__ = __float__ = __format__ = __str__ = __repr__ = _asked


class OpenRecord:
    """Stands for a value with fields of which an axis leaves several: it has the fields, and the methods' answers, in which these agree."""

    def __init__(self, column: Column, left: Left) -> None:
        self._column, self._left = column, left

    def __getattr__(self, name: str) -> Any:
        column, left = self._column, self._left
        if callable(getattr(column.entries[lowest(left[column.axis])], name)):
            return lambda *given: column.agreed(left, name, *given)
        agreed = column.agreed(left, name)
        setattr(self, name, agreed)  # and is found at once from now on
        return agreed


class OpenValues(Mapping[str, Any]):
    """Values by component; `columns` has those that an axis decides."""

    def __init__(self, known: Mapping[str, Value], columns: Columns, left: Left) -> None:
        self._known, self._columns, self._left = known, columns, left
        self._answers: dict[str, Any] = {}

    def get(self, name: str, default: Any = None) -> Any:
        """The value, as far as it is decided; `default` where there is none."""
        found = self._known.get(name)
        if found is None and name in self._columns:
            if name not in self._answers:
                self._answers[name] = self._columns[name].rest(self._left)
            found = self._answers[name]
        return default if found is None else found

    def __getitem__(self, name: str) -> Any:
        found = self.get(name)
        if found is None:
            raise KeyError(name)
        return found

    def __contains__(self, name: object) -> bool:
        return self.get(str(name)) is not None

    def __iter__(self) -> Iterator[str]:
        return iter([name for name in {**self._known, **self._columns} if name in self])

    def __len__(self) -> int:
        return sum(1 for _ in self)


def explore(
    rule: Rule, view: Callable[[Left], Situation], left: Left, wanted: Callable[[Left], bool] = lambda left: True
) -> Iterator[tuple[Left, tuple[Finding, ...]]]:
    """What the rule says, each time with the combinations for which it says that; none is in two of them.

    `view` is the situation in which a rule of its kind is asked; it is not asked of combinations that are not `wanted`.
    """
    try:
        found = tuple(rule.judge(view(left)))
    except UndecidedError as asked:
        for part in asked.split(left):
            if wanted(part):
                yield from explore(rule, view, part, wanted)
    else:
        if found:
            yield left, found
