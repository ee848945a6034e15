"""From what speaks against which cells to what decides each: releases are bits, so that a million of them are a few thousand numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aistack.compose.grid import Reason
from aistack.compose.partial import Left

ACCELERATOR, RELEASE, MODEL = "accelerator", "release", "model"

Found = list[tuple[Left, Reason]]
"""What speaks against which cells."""


def bits(numbers: Sequence[int]) -> int:
    """Numbers as the bits of one."""
    return sum(1 << number for number in numbers)


def decided(found: Found, reasons: Sequence[Reason], undecided: Sequence[Sequence[int]]) -> list[list[list[int]]]:
    """By accelerator and model: in turn releases as bits and the number of the reason that decides, each release only once."""
    number = {reason: index for index, reason in enumerate(reasons)}
    open_cells = [list(row) for row in undecided]
    table: list[list[list[int]]] = [[[] for _ in row] for row in undecided]
    for left, reason in sorted(found, key=lambda one: number[one[1]]):
        mask, mine = bits(left[RELEASE]), number[reason]
        for a in left[ACCELERATOR]:
            row = open_cells[a]
            for m in left[MODEL]:
                hit = row[m] & mask
                if hit:
                    row[m] ^= hit
                    table[a][m] += (hit, mine)
    return table


def spread(table: Sequence[Sequence[Sequence[int]]], count: int, fine: int) -> list[list[tuple[int, ...]]]:
    """By accelerator and model a number for each of `count` releases: of the reason that decides, or `fine`.

    Accelerators of which the same is told share one row.
    """
    rows: dict[tuple[int, ...], tuple[int, ...]] = {}

    def row(one: tuple[int, ...]) -> tuple[int, ...]:
        if one not in rows:
            cells = [fine] * count
            for mask, number in zip(one[::2], one[1::2], strict=True):
                for start, length in _runs(mask):
                    cells[start : start + length] = [number] * length
            rows[one] = tuple(cells)
        return rows[one]

    return [[row(tuple(one)) for one in line] for line in table]


def _runs(mask: int) -> Iterator[tuple[int, int]]:
    """(start, length) of each run of set bits."""
    while mask:
        start = (mask & -mask).bit_length() - 1
        ones = mask >> start
        length = (~ones & (ones + 1)).bit_length() - 1
        yield start, length
        mask &= -1 << (start + length)
