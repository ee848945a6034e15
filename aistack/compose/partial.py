"""A situation of which some axes are still open: who asks for what their values differ in is told so, instead of getting an answer.

A rule that comes to an end without asking has answered for every combination of what is left. So one run of it can stand for thousands
of them, without anybody having to say what it looks at. A question splits the values of one axis into those that answer it alike, and the
rule is run again for each part.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

from aistack.compose.rules.situation import Finding, Rule, Situation, Value

Left = Mapping[str, tuple[int, ...]]
"""What is left of each axis, by the numbers of its values."""


class UndecidedError(Exception):
    """The answer depends on an axis: its values differ in `key`."""

    def __init__(self, axis: str, key: Callable[[int], Hashable] = lambda number: number) -> None:
        super().__init__(axis)
        self.axis, self.key = axis, key


class Column:
    """What an axis decides: an entry for each of its values, None where there is none; each question is put to all of them only once."""

    def __init__(self, axis: str, entries: Sequence[Any]) -> None:
        self.axis, self.entries = axis, tuple(entries)
        self.there = tuple(entry is not None for entry in self.entries)
        self.whole = all(self.there)
        self._answers: dict[tuple[Hashable, ...], tuple[list[Any], list[Hashable]]] = {}

    def agreed(self, left: tuple[int, ...], name: str, *given: Hashable) -> Any:
        """What all entries that are left have as that attribute, or give as the answer of that method; UndecidedError where they differ."""
        answers, keys = self._asked(name, given)
        first = keys[left[0]]
        if any(keys[number] != first for number in left):
            raise UndecidedError(self.axis, keys.__getitem__)
        return answers[left[0]]

    def _asked(self, name: str, given: tuple[Hashable, ...]) -> tuple[list[Any], list[Hashable]]:
        """The answers, and for each a key that is equal where they are."""
        question = (name, *given)
        if question not in self._answers:
            found = [None if entry is None else getattr(entry, name) for entry in self.entries]
            answers = [answer(*given) if given and answer is not None else answer for answer in found]
            self._answers[question] = (answers, [_key(answer, answers) for answer in answers])
        return self._answers[question]


def _key(answer: Any, answers: Sequence[Any]) -> Hashable:
    try:
        hash(answer)
    except TypeError:
        return ("as", answers.index(answer))
    return answer  # type: ignore[no-any-return]  # it is hashable


Columns = Mapping[str, Column]
"""By component: what an axis decides of it."""


class Open:
    """Stands for a thing that an axis decides: it is there, and whoever wants to know more decides the axis."""

    __slots__ = ("_error",)

    def __init__(self, axis: str, key: Callable[[int], Hashable] = lambda number: number) -> None:
        object.__setattr__(self, "_error", UndecidedError(axis, key))

    def __getattribute__(self, name: str) -> Any:
        raise object.__getattribute__(self, "_error")

    def _asked(self, *_: Any) -> Any:
        raise object.__getattribute__(self, "_error")

    __bool__ = __len__ = __iter__ = __contains__ = __getitem__ = __eq__ = __hash__ = __lt__ = __gt__ = __str__ = __repr__ = _asked
    __reversed__ = __int__ = __float__ = __format__ = _asked


class OpenRecord:
    """Stands for a value with fields of which an axis leaves several: it has the fields, and the methods' answers, in which these agree."""

    def __init__(self, column: Column, left: tuple[int, ...]) -> None:
        self._column, self._left = column, left

    def __getattr__(self, name: str) -> Any:
        column, left = self._column, self._left
        if callable(getattr(column.entries[left[0]], name)):
            return lambda *given: column.agreed(left, name, *given)
        agreed = column.agreed(left, name)
        setattr(self, name, agreed)  # and is found at once from now on
        return agreed


class OpenValues(Mapping[str, Any]):
    """Values by component; `columns` has those that an axis decides, `undecided` those of which nothing can be said before that."""

    def __init__(
        self, known: Mapping[str, Value], columns: Columns, left: Left, undecided: Mapping[str, UndecidedError] | None = None
    ) -> None:
        self._known, self._columns, self._left, self._undecided = known, columns, left, undecided or {}
        self._answers: dict[str, Any] = {}

    def get(self, name: str, default: Any = None) -> Any:
        """The value, as far as it is decided; `default` where there is none."""
        found = self._known.get(name)
        if found is None:
            if name not in self._answers:
                self._answers[name] = self._answer(name)
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
        return iter([name for name in {**self._known, **self._columns, **self._undecided} if name in self])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _answer(self, name: str) -> Any:
        if name in self._undecided:
            raise self._undecided[name]
        column = self._columns.get(name)
        return None if column is None else rest(column, self._left)


def rest(column: Column, left: Left) -> Any:
    """What a column leaves: its one entry, one that stands for several, or None where there is none; UndecidedError where only some are."""
    numbers = left[column.axis]
    if len(numbers) == 1:
        return column.entries[numbers[0]]
    first = column.there[numbers[0]]
    if not column.whole and any(column.there[number] is not first for number in numbers):
        raise UndecidedError(column.axis, column.there.__getitem__)
    return OpenRecord(column, numbers) if first else None


def explore(
    rule: Rule, view: Callable[[Left], Situation], left: Left, wanted: Callable[[Left], bool] = lambda left: True
) -> Iterator[tuple[Left, tuple[Finding, ...]]]:
    """What the rule says, each time with the combinations for which it says that; none is in two of them.

    `view` is the situation in which a rule of its kind is asked; it is not asked of combinations that are not `wanted`.
    """
    try:
        found = tuple(rule.judge(view(left)))
    except UndecidedError as asked:
        parts: dict[Hashable, list[int]] = {}
        for number in left[asked.axis]:
            parts.setdefault(asked.key(number), []).append(number)
        for numbers in parts.values():
            part = {**left, asked.axis: tuple(numbers)}
            if wanted(part):
                yield from explore(rule, view, part, wanted)
    else:
        if found:
            yield left, found
