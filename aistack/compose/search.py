"""A small search: variables in a fixed order, each with candidates in order of preference, the first combination that fits.

Depth-first with conflict-directed backjumping: when every candidate of a variable fails, the search goes back to the latest
variable that took part in a failure, not merely to the previous one. The answer is the same that trying every combination in
order would give. Nothing here knows what a variable stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import Generic, TypeVar

from aistack.values import dataclass

Candidate = TypeVar("Candidate")
Finding = TypeVar("Finding")
Assignment = Mapping[str, Candidate]


@dataclass(frozen=True, slots=True)
class Conflict(Generic[Finding]):
    """Something that forbids a partial assignment, and the variables that take part in it."""

    finding: Finding
    variables: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain(Generic[Candidate]):
    """The candidates of a variable under an assignment, and the earlier variables that shaped the list."""

    candidates: tuple[Candidate, ...]
    shaped_by: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[Candidate, Finding]):
    """`assignment` is None when nothing fits; `rejected` has, by variable, what was tried before the choice and spoke against it."""

    assignment: dict[str, Candidate] | None
    rejected: dict[str, tuple[tuple[Candidate, Finding], ...]] = field(default_factory=dict)


Domains = Callable[[Assignment[Candidate], str], Domain[Candidate]]
Judge = Callable[[Assignment[Candidate], str], Sequence[Conflict[Finding]]]


def search(variables: Sequence[str], domains: Domains[Candidate], judge: Judge[Candidate, Finding]) -> Outcome[Candidate, Finding]:
    """The first combination, in the order of the variables and of their candidates, in which `judge` finds no conflict.

    `judge(assignment, variable)` is asked after each step for the conflicts that the newest variable brings.
    """
    assignment: dict[str, Candidate] = {}
    rejected: dict[str, tuple[tuple[Candidate, Finding], ...]] = {}

    def descend(level: int) -> tuple[frozenset[str], Finding | None] | None:
        """None when everything below fits; else (the variables to blame, the first finding)."""
        if level == len(variables):
            return None
        variable = variables[level]
        domain = domains(assignment, variable)
        blame = set(domain.shaped_by)
        first: Finding | None = None
        tried: list[tuple[Candidate, Finding]] = []
        for candidate in domain.candidates:
            assignment[variable] = candidate
            conflicts = judge(assignment, variable)
            if conflicts:
                culprits, finding = conflicts[0].variables, conflicts[0].finding
            else:
                below = descend(level + 1)
                if below is None:
                    rejected[variable] = tuple(tried)
                    return None
                culprits, found = below
                if variable not in culprits:
                    del assignment[variable]
                    return culprits, found
                if found is None:
                    blame |= culprits - {variable}
                    continue
                finding = found
            blame |= culprits - {variable}
            tried.append((candidate, finding))
            first = first or finding
        assignment.pop(variable, None)
        return frozenset(blame), first

    if descend(0) is not None:
        return Outcome(assignment=None)
    return Outcome(assignment=assignment, rejected=rejected)


def least_bad(
    variables: Sequence[str], domains: Domains[Candidate], judge: Judge[Candidate, Finding], *, budget: int = 4000
) -> tuple[dict[str, Candidate], tuple[Finding, ...]]:
    """The first combination with the fewest findings, and those findings: what to show when nothing fits.

    After `budget` steps each variable takes its least bad candidate instead, which is quick and may be worse.
    """
    steps = 0

    def descend(
        level: int, assignment: dict[str, Candidate], found: tuple[Finding, ...], most: int
    ) -> tuple[dict[str, Candidate], tuple[Finding, ...]] | None:
        nonlocal steps
        if level == len(variables):
            return dict(assignment), found
        for candidate in domains(assignment, variables[level]).candidates:
            steps += 1
            if steps > budget:
                return None
            assignment[variables[level]] = candidate
            more = tuple(conflict.finding for conflict in judge(assignment, variables[level]))
            if len(found) + len(more) <= most:
                result = descend(level + 1, assignment, found + more, most)
                if result is not None:
                    return result
            del assignment[variables[level]]
        return None

    most = 0
    while steps <= budget:
        result = descend(0, {}, (), most)
        if result is not None:
            return result
        most += 1
    assignment: dict[str, Candidate] = {}
    found: tuple[Finding, ...] = ()
    for variable in variables:
        best: tuple[Candidate, tuple[Finding, ...]] | None = None
        for candidate in domains(assignment, variable).candidates:
            assignment[variable] = candidate
            more = tuple(conflict.finding for conflict in judge(assignment, variable))
            if best is None or len(more) < len(best[1]):
                best = (candidate, more)
        if best is not None:
            assignment[variable] = best[0]
            found += best[1]
    return assignment, found
