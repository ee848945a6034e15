"""Files that the user names: write them, whole or not at all, or say in a diagnostic why not."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from aistack.diagnostics import Diagnostic, Severity, refuse

DESCRIPTOR = re.compile(r"/proc/([0-9]+)(?:/task/[0-9]+)?/fd/([0-9]+)")
"""Where links like `/dev/stdout` lead: to what a process has open, which has a place in it, and perhaps no name."""


def write(path: Path, content: bytes) -> None:
    """Replaces a regular file, its mode kept, or the one that a link leads to; into anything else (a pipe, a device) it is written.

    Raises OSError; a regular file is then as it was.
    """
    number = _descriptor(path)
    if number is not None:
        with os.fdopen(os.dup(number), "wb") as stream:
            stream.write(content)
        return
    target = Path(os.path.realpath(path))
    there = _status(path)
    if there is not None and not stat.S_ISREG(there.st_mode):
        with path.open("wb") as stream:
            stream.write(content)
        return
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        if there is not None:
            unfinished.chmod(stat.S_IMODE(there.st_mode))
        unfinished.replace(target)
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)


def require_other(output: Path, read: Iterable[Path]) -> None:
    """Raises DiagnosticError (exit 1) where the file to be written is one of those that are read."""
    there = _status(output)
    if there is None or not stat.S_ISREG(there.st_mode):
        return
    for path in read:
        try:
            same = os.path.samestat(there, path.stat())
        except OSError:  # whoever reads it tells that
            continue
        if same:
            message, hint = f"`{output}` is to be written, and is what is read: `{path}`", "name another file to write"
            raise refuse(Diagnostic(rule="CLI008", name="output-is-input", severity=Severity.ERROR, message=message, hints=(hint,)))


def _status(path: Path) -> os.stat_result | None:
    """What is there, through links; None where nothing is. Raises OSError where nobody can tell."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _descriptor(path: Path) -> int | None:
    """The number of the open file of this process that a name leads to (`/dev/stdout`, `/dev/fd/3`)."""
    for _ in range(40):  # as many links as Linux follows
        place = Path(os.path.realpath(path.parent), path.name)
        found = DESCRIPTOR.fullmatch(str(place))
        if found is not None:
            return int(found[2]) if int(found[1]) == os.getpid() else None
        if not place.is_symlink():
            return None
        path = place.parent / place.readlink()
    return None
