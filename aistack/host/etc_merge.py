"""What OSTree will not merge: /etc as it is on a machine, and as another image wants it. It merges at the shutdown, when nobody is there.

Its rules are those of copy_modified_config_file in https://github.com/ostreedev/ostree/blob/main/src/libostree/ostree-sysroot-deploy.c.
"""

from __future__ import annotations

import filecmp
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aistack.diagnostics import unable
from aistack.host.ostree_commit import folders_in

DEFAULTS = "/usr/etc"


def require_mergeable(root: Path, repo: Any, commit: str) -> None:
    """Raises DiagnosticError (exit 3) with every file of /etc below `root` that would end the merge with the commit's /usr/etc."""
    found = tuple(conflicts(root / "etc", root / DEFAULTS.lstrip("/"), set(_folders(repo, commit, DEFAULTS))))
    if found:
        hints = ("move them away, then update again: nothing was staged",)
        message = "files of this machine's /etc cannot be merged with the image's"
        raise unable("OST012", "etc-not-mergeable", message, why=found, hints=hints)


def conflicts(etc: Path, defaults: Path, folders: set[str]) -> Iterator[str]:
    """Why files of `etc` that are not as in `defaults` cannot be merged, where the new defaults have these folders (`/x/y` for etc/x/y)."""
    for place, below, names in os.walk(etc):
        for name in sorted((*names, *(name for name in below if (Path(place) / name).is_symlink()))):
            path = Path(place) / name
            mode, inside = path.lstat().st_mode, path.relative_to(etc)
            if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
                yield f"/etc/{inside} is neither file nor link"
            elif f"/{inside}" in folders and not _same(path, defaults / inside):
                yield f"/etc/{inside} is a folder in the image"


def _same(one: Path, other: Path) -> bool:
    if one.is_symlink() or other.is_symlink():
        return one.is_symlink() and other.is_symlink() and one.readlink() == other.readlink()
    return other.is_file() and filecmp.cmp(one, other, shallow=False)


def _folders(repo: Any, commit: str, folder: str) -> Iterator[str]:
    for name in folders_in(repo, commit, folder):
        yield f"{folder}/{name}".removeprefix(DEFAULTS)
        yield from _folders(repo, commit, f"{folder}/{name}")
