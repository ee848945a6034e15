"""The METADATA of a wheel that need not be fetched: served apart by the index (PEP 658), else read from the zip by byte ranges."""

from __future__ import annotations

import io
import urllib.error
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from aistack.facts.pins import LockedWheel
from aistack.host import wheels
from aistack.host.copyright_files import Said, remember, remembered
from aistack.host.ranges import RemoteFile, WholeFilesOnlyError
from aistack.host.store import Store

BLOCK = 64 << 10
"""Bytes that are asked for at a time: a zip's list of files and one METADATA rarely need more than two of them."""

TOGETHER = 8
"""Requests that wait for their answers at the same time."""


def read(store: Store, found: Sequence[wheels.Found], environment: Mapping[str, str]) -> tuple[str | None, ...]:
    """The text of each wheel's METADATA, None where it has none; what was read once is remembered.

    Raises DiagnosticError (exit 3) when an index does not answer.
    """
    said = {one.wheel.sha256: remembered(store, one.wheel.sha256) for one in found}
    unread = [one for one in found if said[one.wheel.sha256] is None]

    def one_more(one: wheels.Found) -> Said:
        return remember(store, one.wheel.sha256, Said(text=_read(store, one.wheel, one.url, environment)))

    with ThreadPoolExecutor(TOGETHER) as workers:
        said |= {one.wheel.sha256: text for one, text in zip(unread, workers.map(one_more, unread), strict=True)}
    return tuple(text.text if (text := said[one.wheel.sha256]) else None for one in found)


def _read(store: Store, wheel: LockedWheel, url: str, environment: Mapping[str, str]) -> str | None:
    opener, bare = wheels.opener_for(url, environment)
    try:
        if url.startswith("file:"):
            return _of(Path(unquote(urlsplit(url).path)))
        if store.has(wheel.sha256):
            return _of(store.blob(wheel.sha256))
        try:
            with opener.open(f"{bare}.metadata", timeout=wheels.SECONDS) as answer:
                return str(answer.read().decode("utf-8", "replace"))
        except urllib.error.HTTPError:
            return _inside(io.BufferedReader(RemoteFile(opener, bare, wheel.size), BLOCK))
    except WholeFilesOnlyError:  # the build needs this one anyway
        wheels.download(store, url, wheel.filename, wheel.sha256, environment)
        return _of(store.blob(wheel.sha256))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise wheels.unreachable(bare, error) from error


def _of(path: Path) -> str | None:
    with path.open("rb") as file:
        return _inside(file)


def _inside(file: IO[bytes]) -> str | None:
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA") and name.count("/") == 1]
        return archive.read(names[0]).decode("utf-8", "replace") if names else None
