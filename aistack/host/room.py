"""Whether a file system has room, asked before it is filled."""

from __future__ import annotations

import os
from pathlib import Path

from aistack.diagnostics import unable


def require(path: Path, need: int, what: str) -> None:
    """Raises DiagnosticError (exit 3) when the file system of `path` has fewer than `need` bytes free for `what`."""
    found = os.statvfs(path)
    free = found.f_bavail * found.f_frsize
    if free < need:
        raise unable(
            "UPD001",
            "no-room",
            f"{what} needs {_mb(need)}, {path} has {_mb(free)} free",
            hints=("make room: `journalctl --vacuum-size=100M`, files below /var", "or enlarge the disk"),
        )


def _mb(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
