"""What a file system holds, read from an image without running it. Values only."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import field

from aistack.facts.binary import Binary
from aistack.facts.byte_code import ByteCode, PythonSource
from aistack.facts.fatbin import DeviceCode
from aistack.facts.kernel_files import Kernel, Module
from aistack.values import dataclass

MOST_STEPS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One name in a file system: `kind` is `file`, `directory`, `link`, `device` or `other`; size in bytes.

    `capabilities` says whether it has file capabilities. `md5` is its checksum in hex, as Debian's packages have it; empty where none was
    taken. `interpreter` is the program that a script's first line names (`#!/bin/sh -e`: `/bin/sh`).
    """

    kind: str
    mode: int
    uid: int
    gid: int
    size: int = 0
    target: str = ""
    capabilities: bool = False
    md5: str = ""
    interpreter: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filesystem:
    """Absolute paths and their entries; `texts` holds contents that were asked for, `keys` names private keys.

    `texts_below` (small ones) and `keys_below` are those that layers hold, too, though a later one deletes or replaces them. `through` maps
    the links of lower layers that a layer writes through, to the first name that it writes so.

    The others are what was read of the files at those paths: programs and libraries, kernel modules, kernels, the file systems in
    initramfs files, Python's byte code and its sources, why a file could not be read that says it is one of these (`unread`: though it may
    be right), and what programs and libraries hold for accelerators.
    `environment` is what the image sets for its programs, `arch` what it is for (`amd64`; empty: not known).
    """

    entries: Mapping[str, Entry]
    texts: Mapping[str, bytes]
    keys: tuple[str, ...] = ()
    texts_below: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)
    keys_below: tuple[str, ...] = ()
    binaries: Mapping[str, Binary] = field(default_factory=dict)
    modules: Mapping[str, Module] = field(default_factory=dict)
    kernels: Mapping[str, Kernel] = field(default_factory=dict)
    initramfs: Mapping[str, Filesystem] = field(default_factory=dict)
    byte_code: Mapping[str, ByteCode] = field(default_factory=dict)
    sources: Mapping[str, PythonSource] = field(default_factory=dict)
    damaged: Mapping[str, str] = field(default_factory=dict)
    unread: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, DeviceCode] = field(default_factory=dict)
    through: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    arch: str = ""

    def resolved(self, path: str) -> str:
        """Where an absolute path leads when the links on it are followed; `/` where they go in a circle."""
        return _followed(self.entries, path) or "/"

    def below(self, folder: str) -> tuple[str, ...]:
        """Every path below a folder, sorted."""
        return tuple(sorted(path for path in self.entries if path.startswith(folder.rstrip("/") + "/")))

    def kind(self, path: str) -> str:
        """What a path is, links not followed; empty where there is nothing."""
        return self.entries[path].kind if path in self.entries else ""

    def text(self, path: str) -> str | None:
        """The content of a file, links followed, where it was asked for; None without it."""
        content = self.texts.get(self.resolved(path))
        return None if content is None else content.decode(errors="replace")


def placed(entries: Mapping[str, Entry], path: str) -> tuple[str, str]:
    """Where a file of that absolute path is put, and the first link on the way to its folder that leads it there (empty: none does).

    So do all that unpack archives into one root: links on the way are followed, the last name is not. A circle leads nowhere.
    """
    folder, _, name = path.rpartition("/")
    above, link = folder, ""
    while above:
        if (entry := entries.get(above)) is not None and entry.kind == "link":
            link = above
        above = above.rpartition("/")[0]
    leads = _followed(entries, folder) if link else None
    return (posixpath.join(leads, name), link) if leads else (path, "")


def _followed(entries: Mapping[str, Entry], path: str) -> str | None:
    """Where an absolute path leads when the links on it are followed; None where they go in a circle."""
    done, left = "/", path.strip("/").split("/")
    for _ in range(MOST_STEPS):
        if not left:
            return done
        here = posixpath.normpath(posixpath.join(done, left.pop(0)))
        entry = entries.get(here)
        if entry is not None and entry.kind == "link":
            done, left = "/" if entry.target.startswith("/") else done, [*entry.target.strip("/").split("/"), *left]
        else:
            done = here
    return None
