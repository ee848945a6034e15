"""Archives that give only what the recipe names: what they fetched is shown to apt as that of an archive that is not automatic.

Such an archive says `NotAutomatic` in its Release file, as backports do, and apt keeps to it (apt_preferences(5)). A preference would have
to tell archives apart by their hosts or the names in their Release files: two may be alike, and a flat one often has no name at all.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from aistack.facts.pins import Archive
from aistack.host import apt_sources

RELEASES = ("InRelease", "Release", "Release.gpg")


def codenames(archives: Sequence[Archive]) -> dict[str, str]:
    """The names of the archives that give only what is named, each with a codename that no other archive has.

    Those are the further ones of which a recipe names packages; the first is the OS's, and so are its other suites at the same address.
    """
    return {
        archive.name: f"apart-{number}" for number, archive in enumerate(archives) if archive.apart and not _alike(archive, archives[0])
    }


def _alike(archive: Archive, first: Archive) -> bool:
    same = (archive.uri, archive.signed_by) == (first.uri, first.signed_by)
    return same and apt_sources.plain(archive.suite) == apt_sources.plain(first.suite)


def show(fetched: Path, shown: Path, stems: Mapping[str, str | None]) -> None:
    """Make `shown` the folder of lists that `fetched` is, where archives that stand apart have other Release files.

    `stems` has what the names of every archive's files begin with, and the codenames of those that do. The signatures were checked when the
    lists were fetched.
    """
    there = set()
    for file in fetched.iterdir():
        if not file.is_file() or file.name == "lock":
            continue
        there.add(file.name)
        stem = max((stem for stem in stems if file.name.startswith(stem)), key=len, default="")
        codename = stems.get(stem)
        if codename is None:
            _put(shown / file.name, file)
        elif file.name.removeprefix(stem) in RELEASES:
            _put(shown / file.name, f"Codename: {codename}\nNotAutomatic: yes\nButAutomaticUpgrades: yes\n")
        else:  # what is essential there is not for that asked for
            _put(shown / file.name, re.sub(r"^Essential: *yes\n", "", file.read_text(errors="replace"), flags=re.MULTILINE | re.IGNORECASE))
    for file in shown.iterdir():
        if file.is_file() and file.name not in there and file.name != "lock":
            file.unlink(missing_ok=True)


def _put(target: Path, content: Path | str) -> None:
    """A file with that text, or a link to that file, in one step: another process may be reading it."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        new = Path(folder) / "new"
        if isinstance(content, Path):
            os.link(content, new)
        else:
            new.write_text(content)
        new.replace(target)
