"""The search finds what trying everything in order would find, and the least bad where nothing fits."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from aistack.compose.search import Conflict, Domain, least_bad, search

Pair = tuple[tuple[str, int], tuple[str, int]]


@st.composite
def problems(draw: st.DrawFn) -> tuple[dict[str, int], frozenset[Pair]]:
    """Variables with their numbers of candidates, and pairs of choices that exclude each other."""
    sizes = {f"v{number}": draw(st.integers(1, 4)) for number in range(draw(st.integers(1, 5)))}
    names = list(sizes)
    pairs = draw(
        st.lists(
            st.tuples(st.sampled_from(names), st.integers(0, 3), st.sampled_from(names), st.integers(0, 3)),
            max_size=25,
        )
    )
    return sizes, frozenset(((one, first), (two, second)) for one, first, two, second in pairs)


def conflicts_of(assignment: Mapping[str, int], variable: str, forbidden: frozenset[Pair]) -> list[Conflict[str]]:
    found = []
    for pair in sorted(forbidden):
        names = {name for name, _ in pair}
        if variable in names and all(assignment.get(name) == value for name, value in pair):
            found.append(Conflict(f"{pair}", frozenset(names)))
    return found


def count(assignment: Mapping[str, int], forbidden: frozenset[Pair]) -> int:
    return sum(all(assignment.get(name) == value for name, value in pair) for pair in forbidden)


@settings(max_examples=150, deadline=None)
@given(problems())
def test_first_solution_of_brute_force(problem: tuple[dict[str, int], frozenset[Pair]]) -> None:
    sizes, forbidden = problem
    everything = [dict(zip(sizes, values, strict=True)) for values in itertools.product(*(range(size) for size in sizes.values()))]
    expected = next((assignment for assignment in everything if count(assignment, forbidden) == 0), None)
    outcome = search(
        tuple(sizes),
        lambda assignment, variable: Domain(candidates=tuple(range(sizes[variable]))),
        lambda assignment, variable: conflicts_of(assignment, variable, forbidden),
    )
    assert outcome.assignment == expected
    if expected is not None:
        for variable, rejected in outcome.rejected.items():
            assert {value for value, _ in rejected} <= set(range(expected[variable]))


@settings(max_examples=100, deadline=None)
@given(problems())
def test_least_bad_of_brute_force(problem: tuple[dict[str, int], frozenset[Pair]]) -> None:
    sizes, forbidden = problem
    everything = [dict(zip(sizes, values, strict=True)) for values in itertools.product(*(range(size) for size in sizes.values()))]
    fewest = min(count(assignment, forbidden) for assignment in everything)
    expected = next(assignment for assignment in everything if count(assignment, forbidden) == fewest)
    assignment, findings = least_bad(
        tuple(sizes),
        lambda assignment, variable: Domain(candidates=tuple(range(sizes[variable]))),
        lambda assignment, variable: conflicts_of(assignment, variable, forbidden),
    )
    assert assignment == expected
    assert len(findings) == fewest


def test_least_bad_keeps_its_budget() -> None:
    sizes = {f"v{number}": 9 for number in range(12)}
    forbidden = frozenset(((one, 0), (two, 0)) for one, two in itertools.combinations(sizes, 2))
    asked = 0

    def judge(assignment: Mapping[str, int], variable: str) -> list[Conflict[str]]:
        nonlocal asked
        asked += 1
        return [*conflicts_of(assignment, variable, forbidden), Conflict("always", frozenset({variable}))]

    assignment, findings = least_bad(tuple(sizes), lambda assignment, variable: Domain(candidates=tuple(range(9))), judge, budget=300)
    assert len(assignment) == 12 and len(findings) >= 12
    assert asked <= 300 + 9 * 12
