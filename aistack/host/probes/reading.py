"""Turning what can go wrong while reading into data."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from aistack.diagnostics import DiagnosticError
from aistack.facts.readings import Reading

Value = TypeVar("Value")


def read(source: str, reader: Callable[[], Value]) -> Reading[Value]:
    """What `reader` returns, or why it could not: a missing file, no permission, a tool that failed, text that is not what it should be."""
    try:
        return Reading(source=source, value=reader())
    except OSError as error:
        return Reading(source=source, error=f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
    except DiagnosticError as error:
        return Reading(source=source, error=in_words(error))
    except ValueError as error:
        return Reading(source=source, error=str(error))
    except (KeyError, IndexError, TypeError, AttributeError, EOFError, RecursionError, zlib.error) as error:
        return Reading(source=source, error=f"not understood: {error!r}")


def in_words(error: DiagnosticError) -> str:
    """What went wrong, with what the program said of it."""
    details = "; ".join(why for diagnostic in error.diagnostics for why in diagnostic.why)
    return f"{error}: {details}" if details else str(error)


def inside(root: Path, path: str) -> Path:
    """An absolute path of the machine, below `root`."""
    return root / path.lstrip("/")
