"""What a file system holds, read from an image without running it. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One name in a file system: `kind` is `file`, `directory`, `link`, `device` or `other`; size in bytes."""

    kind: str
    mode: int
    uid: int
    gid: int
    size: int = 0
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filesystem:
    """Absolute paths and their entries; `texts` holds contents that were asked for, `keys` names private keys."""

    entries: Mapping[str, Entry]
    texts: Mapping[str, bytes]
    keys: tuple[str, ...] = ()

    def below(self, folder: str) -> tuple[str, ...]:
        """Every path below a folder, sorted."""
        return tuple(sorted(path for path in self.entries if path.startswith(folder.rstrip("/") + "/")))
