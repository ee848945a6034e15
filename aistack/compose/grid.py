"""What a matrix is made of: a question, and grids of cells with what decides each. Values only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from aistack.diagnostics import Severity
from aistack.facts.catalog import Model
from aistack.facts.snapshot import SeenAccelerator, SeenFramework, SeenModel, Snapshot
from aistack.values import dataclass

WEIGHTS = {Severity.ERROR: 0, Severity.UNKNOWN: 1, Severity.WARNING: 2}
"""What decides a cell, the heaviest first: with a warning it runs, which nobody can say of what is not known. A note decides nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """What decides a cell."""

    rule: str
    name: str
    severity: Severity
    message: str
    label: str | None = None
    why: tuple[str, ...] = ()
    source: str | None = None
    checked: str | None = None

    @property
    def rank(self) -> tuple[int, str, str]:
        """The lower one decides."""
        return WEIGHTS[self.severity], self.rule, self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model on one accelerator: what decides for each of the grid's releases, as its number in `reasons`.

    The last of `reasons`, which all rows of a matrix share, is None: no rule has anything against it. `delivered` says whether a recipe
    can ask for the framework there, or it is only known.
    """

    accelerator: str
    model: str
    delivered: bool
    reasons: tuple[Reason | None, ...]
    numbers: tuple[int, ...]

    @property
    def cells(self) -> tuple[Reason | None, ...]:
        """What decides for each release, None where nothing is against it."""
        return tuple(self.reasons[number] for number in self.numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """One framework: its releases, newest first, and a row for each model on each accelerator that its builds are for."""

    framework: str
    name: str
    releases: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def size(self) -> int:
        """How many cells there are."""
        return len(self.rows) * len(self.releases)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What all cells have in common: how many accelerators share the model, and the longest request (the model's own unless given).

    Both are said in the snapshot of each cell, so nothing about them is left for the rules to assume.
    """

    count: int = 1
    context: int | None = None

    def snapshot(
        self, accelerator: str | None = None, framework: str = "", release: str | None = None, model: Model | None = None
    ) -> Snapshot:
        """The machine that a cell stands for, as far as it is given."""
        context = self.context or (model.max_context if model else None)
        return Snapshot(
            schema="aistack/snapshot/v1",
            accelerator=SeenAccelerator(product=accelerator, count=self.count if accelerator else None),
            frameworks={framework: SeenFramework(version=release)} if framework else {},
            model=SeenModel(id=model.id if model else None, tensor_parallel=self.count, max_model_len=context),
        )


def deciding(reasons: Iterable[Reason]) -> Reason | None:
    """The reason that decides a cell; None where nothing is against it."""
    return min(reasons, key=lambda reason: reason.rank, default=None)


def runs(cells: Sequence[Reason | None]) -> Iterator[tuple[int, int, Reason | None]]:
    """(first, last, what decides the first) of neighbours with the same verdict by the same rule."""
    first = 0
    for index in range(1, len(cells) + 1):
        if index == len(cells) or _alike(cells[index]) != _alike(cells[first]):
            yield first, index - 1, cells[first]
            first = index


def _alike(reason: Reason | None) -> tuple[str, str]:
    return (reason.severity.value, reason.rule) if reason else ("ok", "")
