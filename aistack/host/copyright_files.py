"""The copyright files of packages in the store; what was read, of wheels too, is kept in `STORE/licences` under the digest of its package.

A package is unpacked only up to its copyright file, and only once.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from aistack.diagnostics import unable
from aistack.facts.pins import LockedPackage
from aistack.host import process
from aistack.host.store import Store
from aistack.values import dataclass

TOGETHER = 2
"""Packages that are unpacked at the same time, each by a process of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a file says about its licence: `text` as it stands there, or the name of the package whose text also holds for it (`link`)."""

    text: str | None = None
    link: str | None = None


def remembered(store: Store, sha256: str) -> Said | None:
    """What was read of the file with that digest, None where nothing was."""
    try:
        return Said(**json.loads((store.path / "licences" / sha256).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def remember(store: Store, sha256: str, said: Said) -> Said:
    """Keeps what was read of a file, whole or not at all."""
    with store.scratch() as scratch:
        unfinished = scratch / sha256
        unfinished.write_text(json.dumps(asdict(said)))
        folder = store.path / "licences"
        folder.mkdir(exist_ok=True)
        unfinished.replace(folder / sha256)
    return said


def read(store: Store, packages: Sequence[LockedPackage]) -> Mapping[str, str | None]:
    """The copyright file of each package by its name, None where it has none; links into other packages are followed.

    What is not remembered must be in the store.
    """
    said = {package.name: remembered(store, package.sha256) for package in packages}
    unread = [package for package in packages if said[package.name] is None]
    with store.scratch() as logs, ThreadPoolExecutor(TOGETHER) as workers:
        found = workers.map(lambda package: remember(store, package.sha256, _unpacked(store, package, logs / package.sha256)), unread)
        said |= {package.name: one for package, one in zip(unread, found, strict=True)}
    return {package.name: _followed(package.name, said) for package in packages}


def _followed(name: str, said: Mapping[str, Said | None]) -> str | None:
    seen: set[str] = set()
    while name not in seen and (one := said.get(name)) is not None:
        if one.link is None:
            return one.text
        seen.add(name)
        name = one.link
    return None


def _unpacked(store: Store, package: LockedPackage, log: Path) -> Said:
    folder = f"usr/share/doc/{package.name}"
    argv = ["dpkg-deb", "--fsys-tarfile", str(store.blob(package.sha256))]
    try:
        with process.stream(argv, log=log, whole=False) as unpacking, tarfile.open(fileobj=unpacking.stdout, mode="r|") as archive:
            for member in archive:
                name = member.name.removeprefix("./").rstrip("/")
                if name not in (folder, f"{folder}/copyright") or member.isdir():
                    continue
                if content := archive.extractfile(member) if member.isreg() else None:
                    return Said(text=content.read().decode("utf-8", "replace"))
                # A link: the folder's leads to its neighbour, the file's into it; a hard link names the whole path.
                target = re.search(r"(?:^|doc/|\.\./)([a-z0-9][a-z0-9+.-]+)(?:/copyright)?/?$", member.linkname)
                return Said(link=target[1] if target else None)
    except tarfile.TarError as error:
        why = (str(error), *log.read_text(errors="replace").splitlines()[-3:])
        raise unable(
            "PKG007", "package-broken", f"`{package.name}` {package.version} cannot be read as a Debian package", why=why
        ) from error
    return Said()
