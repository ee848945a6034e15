"""Standard streams that can be relied on: all three open, any character printable, and a refused output told from other refusals."""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO


class OutputError(OSError):
    """What is printed cannot be written: a full disk behind a redirection, or (EPIPE) a reader that has enough."""


class _Output(io.TextIOWrapper):
    def write(self, text: str, /) -> int:
        try:
            return super().write(text)
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from error

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            raise OutputError(error.errno, error.strerror) from error


def prepare() -> None:
    """Makes the process's standard streams so; to be called first, before any file is opened."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # A closed stream's number would go to the next file that is opened, and what is printed into that file.
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is sys.__stdout__:  # else whoever calls has put another stream there, and wants what is printed
        sys.stdout = _reliable(1, sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _reliable(2, sys.stderr)


def discard() -> None:
    """Lets go of what could not be printed: Python would complain once more when it flushes at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _reliable(number: int, stream: TextIO | None) -> TextIO:
    encoding = stream.encoding if stream else "utf-8"
    # A character that the terminal cannot show is no reason to stop.
    raw = io.BufferedWriter(io.FileIO(number, "w", closefd=False))
    return _Output(raw, encoding=encoding, errors="backslashreplace", line_buffering=number == 2 or raw.isatty())
