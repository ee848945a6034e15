"""Long work, told as it goes: one line for each step, and how far the bytes have come. Everything goes to stderr."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import field
from typing import TextIO

from aistack.report.text import crop, printable, width
from aistack.values import dataclass

PATIENCE = 10.0
"""Seconds between two lines about one download where the stream is no terminal."""

REFRESH = 0.2
"""Seconds between two drawings of the moving line on a terminal."""


@dataclass(slots=True)
class Progress:
    """Writes lines to `stream`; `total` steps are counted off by `begin`, `done` and `skip`.

    `say`, `advance` and the others are plain callables: hand `progress.say` to whatever wants to tell something. On a terminal
    `advance` redraws one line in place; elsewhere it writes a line every few seconds, so that a log stays readable.
    """

    stream: TextIO
    total: int = 0
    terminal: bool = False
    columns: int = 100
    now: Callable[[], float] = time.monotonic
    finished: int = 0
    skipped: int = 0
    _started: float | None = None
    _step_started: float = 0.0
    _last: float | None = None
    _moving: int = 0
    _labels: set[str] = field(default_factory=set)

    def say(self, text: str) -> None:
        """One line (or more, where the text has more)."""
        self._write(printable_lines(text))

    def begin(self, title: str) -> None:
        """A step starts."""
        self._start()
        self._step_started = self.now()
        self._write(f"{self._position(1)} {printable(title)}")

    def done(self, title: str) -> None:
        """The step that began has ended well."""
        self.finished += 1
        self._write(f"{self._position(0)} {printable(title)}: done in {duration(self.now() - self._step_started)}")

    def skip(self, title: str, reason: str = "already built") -> None:
        """A step that need not be done."""
        self._start()
        self.skipped += 1
        self._write(f"{self._position(0)} {printable(title)}: {printable(reason)}")

    def advance(self, label: str, done: int, total: int | None) -> None:
        """How far something has come, in bytes; `total` is None where nobody knows."""
        now = self.now()
        complete = total is not None and done >= total
        if label not in self._labels:
            self._labels.add(label)
            self._last = None if self.terminal else now
            if not self.terminal and not complete:
                return
        wait = REFRESH if self.terminal else PATIENCE
        if not complete and self._last is not None and now - self._last < wait:
            return
        self._last = now
        amount = size(done) if total is None else f"{size(done)} of {size(total)} ({100 * done // total if total else 100} %)"
        line = f"    {printable(label)}: {amount}"
        if complete:
            self._labels.discard(label)
        if not self.terminal or complete:
            self._write(line)
            return
        line = crop(line, self.columns - 1)
        self.stream.write("\r" + line + " " * max(0, self._moving - width(line)))
        self.stream.flush()
        self._moving = width(line)

    def summary(self) -> str:
        """`5 steps done, 4 skipped, in 1 min 3 s`."""
        took = duration(self.now() - self._started) if self._started is not None else "0 s"
        left = self.total - self.finished - self.skipped
        parts = [f"{self.finished} step{'s' * (self.finished != 1)} done", f"{self.skipped} skipped"]
        return ", ".join([*parts, *([f"{left} left"] if left > 0 else []), f"in {took}"])

    def _start(self) -> None:
        if self._started is None:
            self._started = self.now()

    def _position(self, ahead: int) -> str:
        number = self.finished + self.skipped + ahead
        return f"[{number}/{self.total}]" if self.total else f"[{number}]"

    def _write(self, line: str) -> None:
        if self._moving:
            self.stream.write("\r" + " " * self._moving + "\r")
            self._moving = 0
        self.stream.write(line + "\n")
        self.stream.flush()


def printable_lines(text: str) -> str:
    """Printable text that keeps its line ends."""
    return "\n".join(printable(line) for line in text.split("\n"))


def size(count: int) -> str:
    """Bytes for people, in powers of ten: `12.3 MB`."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{count} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def duration(seconds: float) -> str:
    """Seconds for people: `0.4 s`, `42 s`, `3 min 5 s`, `2 h 10 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
