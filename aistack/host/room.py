"""Whether a file system has room, asked before it is filled, and told where it is full all the same."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from aistack.diagnostics import DiagnosticError, unable

HINTS = ("make room: `journalctl --vacuum-size=100M`, files below /var", "or enlarge the disk")
FULL = (os.strerror(errno.ENOSPC).lower(), os.strerror(errno.EDQUOT).lower(), "min-free-space")
"""How tools say it; the last one is OSTree's, which keeps a reserve."""


def require(path: Path, need: int, what: str) -> None:
    """Raises DiagnosticError (exit 3) when the file system of `path` has fewer than `need` bytes free for `what`."""
    found = os.statvfs(path)
    free = found.f_bavail * found.f_frsize
    if free < need:
        raise unable("UPD001", "no-room", f"{what} needs {_mb(need)}, {path} has {_mb(free)} free", hints=HINTS)


def full(error: Exception) -> DiagnosticError | None:
    """The same error for whatever failed of a full disk; None where that is not why."""
    if isinstance(error, DiagnosticError):
        first = error.diagnostics[0]
        if first.rule == "UPD001":
            return error
        why = (first.message, *first.why)
    else:
        why = (str(error),)
    if not any(one in line.lower() for one in FULL for line in why):
        return None
    return unable("UPD001", "no-room", f"a disk of this node is full: {why[0]}", why=why[1:], hints=HINTS)


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
