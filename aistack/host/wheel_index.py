"""What a Python index has of a project: its releases, and single files of their wheels by byte ranges."""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import IO, TYPE_CHECKING

from packaging.utils import InvalidSdistFilename, InvalidWheelFilename, parse_sdist_filename, parse_wheel_filename

from aistack.diagnostics import unable
from aistack.host import python_parts, wheels
from aistack.host.ranges import SECONDS, RemoteFile, WholeFilesOnlyError
from aistack.values import dataclass

if TYPE_CHECKING:
    from pypi_simple import ProjectPage

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01"
PIECE = 4 << 20
"""Bytes that are asked for at a time while a large file is read."""
MACHINES = ("x86_64", "any")


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One release of a project with the file of it that is read: the wheel for Linux on x86-64 and the newest Python.

    Where there are sources only, the index's list is all that is read of it. `date` is written as `2026-10-28`.
    """

    version: str
    date: str | None
    filename: str
    url: str
    size: int
    requires_python: str

    @property
    def is_wheel(self) -> bool:
        """Whether there is a wheel that can be looked into."""
        return self.filename.endswith(".whl")


def names(project: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The names of all files of a project that this machine's index has, but for those that were yanked; raises as `releases` does."""
    return tuple(package.filename for package in _page(project, environment)[0].packages if not package.is_yanked)


def releases(project: str, environment: Mapping[str, str]) -> tuple[Release, ...]:
    """The final releases that this machine's index has, in the index's order; yanked ones and those for other platforms are left out.

    Raises DiagnosticError (exit 3) when the index does not answer, or is none that answers over HTTP.
    """
    found, settings = _page(project, environment)
    best: dict[str, tuple[tuple[int, ...], Release]] = {}
    first: dict[str, str] = {}
    for package in found.packages:
        rank = _rank(package.filename)
        if rank is None or package.version is None or package.is_yanked:
            continue
        day = package.upload_time.date().isoformat() if package.upload_time else ""
        first[package.version] = min(first.get(package.version, day), day)  # wheels for newer Pythons may come weeks later
        if package.version in best and best[package.version][0] >= rank:
            continue
        release = Release(
            version=package.version,
            date=None,
            filename=package.filename,
            url=package.url,
            size=package.size or (wheels.size_of(package.url, settings) if package.filename.endswith(".whl") else 0),
            requires_python=package.requires_python or "",
        )
        best[package.version] = (rank, release)
    return tuple(replace(release, date=first[release.version] or None) for _, release in best.values())


def _page(project: str, environment: Mapping[str, str]) -> tuple[ProjectPage, Mapping[str, str]]:
    """The index's page of a project, and the settings by which it was asked."""
    python_parts.require()
    import pypi_simple

    settings = wheels.asking(environment, ())
    index = settings.get("UV_DEFAULT_INDEX") or settings.get("UV_INDEX_URL") or pypi_simple.PYPI_SIMPLE_ENDPOINT
    opener, bare = wheels.opener_for(f"{index.rstrip('/')}/{project}/", settings)
    try:
        with opener.open(urllib.request.Request(bare, headers={"Accept": ACCEPT}), timeout=SECONDS) as answer:
            text, kind = answer.read().decode("utf-8", "replace"), answer.headers.get_content_type()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            raise unable("WHL009", "project-unknown", f"the index has no project `{project}`", why=(f"asked: {bare}",)) from error
        raise wheels.unreachable(bare, error) from error
    except (OSError, ValueError) as error:
        raise wheels.unreachable(bare, error) from error
    try:
        page = pypi_simple.ProjectPage
        if kind.endswith("json"):
            return page.from_json_data(json.loads(text), base_url=bare), settings
        return page.from_html(project, text, base_url=bare), settings
    except (ValueError, KeyError, pypi_simple.errors.UnsupportedRepoVersionError) as error:
        raise wheels.unreachable(bare, error) from error


def _rank(filename: str) -> tuple[int, ...] | None:
    """How much a file is wanted: wheels for the newest Python first, sources last; None for another platform's and for no final release."""
    try:
        if not filename.endswith(".whl"):
            _, version = parse_sdist_filename(filename)
            return None if version.is_prerelease or version.local else (-1,)
        _, version, _, tags = parse_wheel_filename(filename)
    except (InvalidWheelFilename, InvalidSdistFilename, ValueError):
        return None
    fitting = [tag for tag in tags if tag.platform.endswith(MACHINES) and not tag.platform.startswith(("win", "macosx"))]
    if version.is_prerelease or version.local or not fitting:
        return None
    digits = [tag.interpreter.removeprefix("cp3") for tag in fitting if tag.interpreter.startswith("cp3") and not tag.abi.endswith("t")]
    return (max((int(text) for text in digits if text.isdigit()), default=0),)


@contextmanager
def opened(release: Release, environment: Mapping[str, str]) -> Iterator[zipfile.ZipFile]:
    """The release's wheel, of which only what is read is fetched; raises DiagnosticError (exit 3) when it cannot be."""
    opener, bare = wheels.opener_for(release.url, wheels.asking(environment, ()))
    try:
        with zipfile.ZipFile(
            io.BufferedReader(RemoteFile(opener, bare, release.size), PIECE if release.size > PIECE else 64 << 10)
        ) as wheel:
            yield wheel
    except WholeFilesOnlyError as error:
        hint = "use an index whose server answers range requests"
        raise unable("WHL010", "no-ranges", f"{bare} is served as a whole file only", hints=(hint,)) from error
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise wheels.unreachable(bare, error) from error


def metadata(wheel: zipfile.ZipFile) -> str:
    """The text of a wheel's METADATA, empty where it has none."""
    names = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA") and name.count("/") == 1]
    return wheel.read(names[0]).decode("utf-8", "replace") if names else ""


def member(wheel: zipfile.ZipFile, wanted: Callable[[str], bool]) -> Iterator[bytes]:
    """The largest wanted file of a wheel, in pieces, fetched as they are read; nothing where there is none."""
    found = sorted((info for info in wheel.infolist() if wanted(info.filename)), key=lambda info: info.file_size)
    if found:
        with wheel.open(found[-1]) as file:
            yield from _pieces(file)


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(PIECE):
        yield piece
