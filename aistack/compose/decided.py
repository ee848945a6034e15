"""From what speaks against which cells to what decides each: accelerators are bits, so that millions of cells are some thousand numbers."""

from __future__ import annotations

from aistack.compose.grid import Reason
from aistack.compose.partial import Left, numbers

ACCELERATOR, RELEASE, MODEL = "accelerator", "release", "model"


class Cells:
    """All cells by release and model: the accelerators, as bits, for which nothing is decided yet, and what decides for the others."""

    def __init__(self, undecided: list[list[int]]) -> None:
        self._undecided = undecided
        self._decided: list[list[list[tuple[int, int]]]] = [[[] for _ in row] for row in undecided]
        self._reasons: dict[Reason, int] = {}

    def are_open(self, left: Left) -> bool:
        """Whether any of these cells is undecided."""
        accelerators, models = left[ACCELERATOR], numbers(left[MODEL])
        return any(self._undecided[release][model] & accelerators for release in numbers(left[RELEASE]) for model in models)

    def decide(self, left: Left, reason: Reason) -> None:
        """The reason decides for those of these cells for which none did before."""
        accelerators, number = left[ACCELERATOR], self._reasons.setdefault(reason, len(self._reasons))
        for release in numbers(left[RELEASE]):
            undecided, decided = self._undecided[release], self._decided[release]
            for model in numbers(left[MODEL]):
                hit = undecided[model] & accelerators
                if hit:
                    undecided[model] ^= hit
                    decided[model].append((hit, number))

    def numbered(self, accelerators: int) -> tuple[tuple[Reason, ...], list[list[list[int]]]]:
        """The reasons by rank, and by release and model for each of so many accelerators the number of the one that decides.

        Where none does, the number is one more than the last.
        """
        used = {number for row in self._decided for cell in row for _, number in cell}
        reasons = sorted((reason for reason, number in self._reasons.items() if number in used), key=lambda reason: reason.rank)
        place = {self._reasons[reason]: index for index, reason in enumerate(reasons)}

        def line(cell: list[tuple[int, int]]) -> list[int]:
            found = [len(reasons)] * accelerators
            for hit, number in cell:
                mine = place[number]
                for accelerator in numbers(hit):
                    found[accelerator] = mine
            return found

        return tuple(reasons), [[line(cell) for cell in row] for row in self._decided]
