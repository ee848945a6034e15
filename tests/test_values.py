"""Our dataclasses do what the standard library's do."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Mapping
from typing import ClassVar, Generic, TypeVar

import pytest

from aistack import values

Kind_co = TypeVar("Kind_co", covariant=True)


@values.dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """As most classes here are."""

    COUNTED: ClassVar[int] = 3
    name: str
    size: int = 0
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Theirs:
    """The same by the standard library."""

    COUNTED: ClassVar[int] = 3
    name: str
    size: int = 0
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)


@values.dataclass(frozen=True, slots=True, order=True)
class Ordered:
    """With an order, and positions."""

    line: int
    column: int = 1


@values.dataclass(frozen=True, slots=True, kw_only=True)
class Box(Generic[Kind_co]):
    """With a parameter, and work after it is made."""

    held: Kind_co

    def __post_init__(self) -> None:
        object.__setattr__(self, "held", self.held)


def test_they_look_the_same() -> None:
    assert repr(Ours(name="a", size=2)) == repr(Theirs(name="a", size=2)).replace("Theirs", "Ours")
    assert [field.name for field in dataclasses.fields(Ours)] == ["name", "size", "tags"]
    assert dataclasses.asdict(Ours(name="a", tags={"x": "y"})) == {"name": "a", "size": 0, "tags": {"x": "y"}}
    assert dataclasses.is_dataclass(Ours) and Ours.COUNTED == 3 and not hasattr(Ours(name="a"), "__dict__")


def test_they_are_equal_by_their_values_and_by_their_class() -> None:
    assert Ours(name="a") == Ours(name="a") != Ours(name="b")
    assert Ours(name="a") != Theirs(name="a")  # type: ignore[comparison-overlap]
    assert len({Ordered(1), Ordered(1), Ordered(2)}) == 2
    assert Ours(name="a").tags is not Ours(name="a").tags


def test_they_cannot_be_changed() -> None:
    one = Ours(name="a")
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.name = "b"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        del one.name
    assert dataclasses.replace(one, name="b") == Ours(name="b") and one.name == "a"


def test_wrong_arguments_are_refused() -> None:
    for arguments in ({}, {"name": "a", "other": 1}):
        with pytest.raises(TypeError):
            Ours(**arguments)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Ours("a")  # type: ignore[call-arg]


def test_they_have_an_order_where_they_are_asked_for_one() -> None:
    assert sorted([Ordered(2), Ordered(1, 5), Ordered(1)]) == [Ordered(1), Ordered(1, 5), Ordered(2)]
    assert Ordered(1) <= Ordered(1) and Ordered(2) > Ordered(1) and Ordered(2) >= Ordered(1, 9)
    with pytest.raises(TypeError):
        assert Ordered(1) < 2  # type: ignore[operator]


def test_they_are_copied_and_kept() -> None:
    one = Ours(name="a", tags={"x": "y"})
    assert copy.deepcopy(one) == pickle.loads(pickle.dumps(one)) == one
    assert Box(held=3).held == 3 and Box(held=3) == Box(held=3)
