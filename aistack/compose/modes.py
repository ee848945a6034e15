"""Whether everyone may reach, read and execute what every program needs: folders, loaders, libraries, accounts; and whether only root may
read what is only root's. A service that is no root, and so most of them, starts with nothing less."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from aistack.compose.checks.libraries import searched_folders
from aistack.facts.filesystem import MOST_STEPS, Filesystem, placed

PROGRAM = re.compile(r"(?:/usr(?:/local)?)?/s?bin/[^/]+|(?:/usr)?/lib/systemd/[^/]+")
PASSED = re.compile(
    r"/(?:etc|run|var|usr(?:/local)?)?|(?:/usr(?:/local)?)?/(?:s?bin|lib\d*|lib/(?:systemd|[^/]+-linux-[^/]+)|libexec|share)"
)
"""Folders that every program passes on its way."""
HOMES = ("/root/", "/home/", "/var/roothome/", "/var/home/")
"""Folders of people's own, for whom alone programs and libraries in them may be."""
KNOWN_TO_ALL, KNOWN_TO_ROOT = ("/etc/passwd", "/etc/group"), ("/etc/shadow", "/etc/gshadow")
EVERYONES = ("/tmp", "/var/tmp")
"""Folders in which everyone may write, and nobody delete what is another's: file-hierarchy(7)."""


def wrong(filesystem: Filesystem) -> list[str]:
    """Every file and folder that has not the mode that it needs."""
    programs = (path for path, binary in filesystem.binaries.items() if binary.interpreter and PROGRAM.fullmatch(path))
    found = dict.fromkeys(f"{path} may be executed by nobody" for path in sorted(programs) if not filesystem.entries[path].mode & 0o111)
    found |= dict.fromkeys(_loading(filesystem))
    for path, entry in sorted(filesystem.entries.items()):
        if entry.kind == "directory" and PASSED.fullmatch(path) and entry.mode & 0o555 != 0o555:
            found[f"{path} may not be passed by everyone"] = None
        elif entry.kind == "directory" and path in EVERYONES and entry.mode & 0o1777 != 0o1777:
            found[f"{path} is no folder for everyone's files, as mode 1777 makes one"] = None
        elif entry.kind == "file" and path in KNOWN_TO_ALL and entry.mode & 0o444 != 0o444:
            found[f"{path} may not be read by everyone"] = None
        elif entry.kind == "file" and path in KNOWN_TO_ROOT and entry.mode & 0o007:
            found[f"{path} may be read by everyone"] = None
    return list(found)


def _loading(filesystem: Filesystem) -> Iterator[str]:
    """What keeps everybody's programs from being started: of their loaders, and of the libraries that these find by name."""
    for loader in sorted({binary.interpreter for path, binary in filesystem.binaries.items() if not path.startswith(HOMES)}):
        if loader.startswith("/"):  # another is sought from where somebody happens to be
            yield from _lacking(filesystem, loader, 0o555, "executed")
    searched = map(filesystem.resolved, searched_folders(filesystem))
    folders = {folder for folder in searched if not f"{folder}/".startswith(HOMES)}
    for path in sorted(path for path in filesystem.entries if ".so" in path and posixpath.dirname(path) in folders):
        if filesystem.resolved(path) in filesystem.binaries:
            yield from _lacking(filesystem, path, 0o444, "read")


def _lacking(filesystem: Filesystem, path: str, mode: int, done: str) -> Iterator[str]:
    """What on the way to a file, along its links, has not the mode with which everyone comes to it."""
    for _ in range(MOST_STEPS):
        path = placed(filesystem.entries, f"/{path.lstrip('/')}")[0]
        folder = path
        while folder != "/":
            folder = posixpath.dirname(folder)
            if folder in filesystem.entries and filesystem.entries[folder].mode & 0o111 != 0o111:
                yield f"{folder} may not be passed by everyone"
        if filesystem.kind(path) != "link":
            break
        path = posixpath.normpath(posixpath.join(posixpath.dirname(path), filesystem.entries[path].target))
    if filesystem.kind(path) == "file" and filesystem.entries[path].mode & mode != mode:
        yield f"{path} may not be {done} by everyone"
