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

Columns = Mapping[str, tuple[str, Sequence[Value | None]]]
"""By component: the axis that decides its value, and the value for each of the axis's numbers."""


class UndecidedError(Exception):
    """The answer depends on an axis: its values differ in `key`."""

    def __init__(self, axis: str, key: Callable[[int], Hashable] = lambda number: number) -> None:
        super().__init__(axis)
        self.axis, self.key = axis, key


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


class OpenValue:
    """A component's value where the axis leaves several: it has the fields in which these agree."""

    def __init__(self, axis: str, column: Sequence[Value | None], left: tuple[int, ...]) -> None:
        self._axis, self._column, self._left = axis, column, left

    def __getattr__(self, name: str) -> Any:
        column = self._column
        if len({getattr(column[number], name) for number in self._left}) > 1:
            raise UndecidedError(self._axis, lambda number: getattr(column[number], name))
        agreed = getattr(column[self._left[0]], name)
        setattr(self, name, agreed)  # and is found at once from now on
        return agreed


class OpenValues(Mapping[str, Any]):
    """Values by component; `columns` has those that an axis decides, each with what it is for every value of the axis.

    `undecided` has those of which nothing can be said before an axis is decided further.
    """

    def __init__(
        self, known: Mapping[str, Value], columns: Columns, left: Left, undecided: Mapping[str, UndecidedError] | None = None
    ) -> None:
        self._answers: dict[str, Any] = dict(known)
        self._columns, self._left, self._undecided = columns, left, undecided or {}

    def get(self, name: str, default: Any = None) -> Any:
        """The value, as far as it is decided; `default` where there is none."""
        try:
            found = self._answers[name]
        except KeyError:
            found = self._answers[name] = self._answer(name)
        return default if found is None else found

    def __getitem__(self, name: str) -> Any:
        found = self.get(name)
        if found is None:
            raise KeyError(name)
        return found

    def __contains__(self, name: object) -> bool:
        return self.get(str(name)) is not None

    def __iter__(self) -> Iterator[str]:
        return iter([name for name in {**self._answers, **self._columns, **self._undecided} if name in self])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _answer(self, name: str) -> Any:
        if name in self._undecided:
            raise self._undecided[name]
        if name not in self._columns:
            return None
        axis, column = self._columns[name]
        left = self._left[axis]
        missing = sum(column[number] is None for number in left)
        if missing == len(left):
            return None
        if missing:
            raise UndecidedError(axis, lambda number: column[number] is None)
        return column[left[0]] if len(left) == 1 else OpenValue(axis, column, left)


def explore(
    rule: Rule, views: Callable[[Left], Sequence[Situation]], left: Left, wanted: Callable[[Left], bool] = lambda left: True
) -> Iterator[tuple[Left, tuple[Finding, ...]]]:
    """What the rule says, each time with the combinations for which it says that; none is in two of them.

    `views` are the situations in which a rule of its kind is asked; it is not asked of combinations that are not `wanted`.
    """
    try:
        found = tuple(finding for view in views(left) for finding in rule.judge(view))
    except UndecidedError as asked:
        parts: dict[Hashable, list[int]] = {}
        for number in left[asked.axis]:
            parts.setdefault(asked.key(number), []).append(number)
        for numbers in parts.values():
            part = {**left, asked.axis: tuple(numbers)}
            if wanted(part):
                yield from explore(rule, views, part, wanted)
    else:
        if found:
            yield left, found
