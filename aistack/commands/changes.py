"""What changed from one lock to another, as lines for people."""

from __future__ import annotations

from collections.abc import Sequence

from aistack.compose.diff import Change

MOST_SHOWN = 25


def change_lines(changes: Sequence[Change]) -> list[str]:
    """A line for each change, as many as one reads."""
    if not changes:
        return ["nothing changed"]
    lines = [_line(change) for change in changes]
    more = len(lines) - MOST_SHOWN
    return lines if more <= 0 else [*lines[:MOST_SHOWN], f"… and {more} more (aistack diff --json has all)"]


def _line(change: Change) -> str:
    moved = f"{change.old or 'not there'} → {change.new or 'gone'}"
    size = f"  {change.size / 1e6:.2f} MB" if change.size else ""
    return f"{change.part:<10} {change.name:<32} {moved}{size}"
