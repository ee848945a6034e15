"""Reading what an image holds, layer by layer, without unpacking or running it."""

from __future__ import annotations

import lzma
import posixpath
import tarfile
from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import IO

from aistack.diagnostics import DiagnosticError, unable
from aistack.facts.filesystem import Entry, Filesystem, placed
from aistack.host.binaries import compression
from aistack.host.binaries.contents import Contents

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
THREADS = 2


def filesystem(layers: Sequence[Path], wanted: Callable[[str], bool], scratch: Path, lower: Filesystem | None = None) -> Filesystem:
    """The merged file system of layers, lowest first, above a `lower` one; contents are kept for paths that are `wanted`.

    A name whose folder is a link lands where that leads, as where podman (with `vfs`) and umoci unpack one layer after the other into one
    root. What unpacks each into a folder of its own (podman for overlayfs) puts a folder in the place of the link: `Filesystem.through`.
    """
    entries = _Names(lower.entries if lower else {})
    through = dict(lower.through) if lower else {}
    with ThreadPoolExecutor(THREADS) as pool:
        contents = Contents(wanted, scratch, pool, lower)
        for blob in layers:
            try:
                with compression.opened(blob, scratch / f"{blob.name[:12]}.log") as stream:
                    _apply(stream, entries, contents, through)
            except (tarfile.TarError, EOFError, OSError, ValueError, lzma.LZMAError) as error:
                raise _unreadable(blob, (str(error),)) from error
            except DiagnosticError as error:
                first = error.diagnostics[0]
                raise (_unreadable(blob, (first.message, *first.why)) if first.name == "tool-failed" else error) from error
        for path in tuple(entries):
            _folders(path, entries)
        return replace(contents.filesystem(dict(entries.items())), through=through)


class _Names(dict[str, Entry]):
    """Entries by their paths, and for each folder what lies in it: a whiteout asks for all that is below one."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        super().__init__()
        self.inside: dict[str, dict[str, None]] = {}
        for path, entry in entries.items():
            self[path] = entry

    def __setitem__(self, path: str, entry: Entry) -> None:
        super().__setitem__(path, entry)
        while path:
            folder = path.rpartition("/")[0]
            names = self.inside.setdefault(folder, {})
            if path in names:
                return
            names[path], path = None, folder

    def __delitem__(self, path: str) -> None:
        super().__delitem__(path)
        while path and path not in self and not self.inside.get(path):
            folder = path.rpartition("/")[0]
            self.inside.pop(path, None)
            del self.inside[folder][path]
            path = folder

    def below(self, folder: str) -> list[str]:
        """Every path below a folder, whether the folders between have an entry or not."""
        found, left = list[str](), [folder]
        while left:
            names = self.inside.get(left.pop(), {})
            found += (path for path in names if path in self)
            left += names
        return found


def _unreadable(blob: Path, why: tuple[str, ...]) -> DiagnosticError:
    return unable("HOST010", "layer-unreadable", f"layer {blob.name[:12]} cannot be read as a tar archive", why=why)


def _apply(stream: IO[bytes], entries: _Names, contents: Contents, through: dict[str, str]) -> None:
    own: set[str] = set()  # whiteouts speak of lower layers only, wherever they stand in this one
    with tarfile.open(fileobj=_Blocks(stream), mode="r|") as archive:  # type: ignore[call-overload]  # it asks for read() only
        for member in archive:
            said = _absolute(member.name)
            path, link = placed(entries, said)
            if link and link not in own:
                through.setdefault(link, said)
            folder, _, name = path.rpartition("/")
            if name == OPAQUE:
                _forget(folder, entries, contents, own)
                continue
            if name.startswith(WHITEOUT):
                gone = f"{folder}/{name.removeprefix(WHITEOUT)}"
                if gone not in own:
                    _forget(gone, entries, contents, own)
                    if gone in entries:
                        del entries[gone]
                    contents.forget(gone)
                continue
            if not member.isdir():
                _forget(path, entries, contents, frozenset())
            own.add(path)
            contents.forget(path)
            _folders(path, entries)
            target = placed(entries, _absolute(member.linkname))[0] if member.islnk() else ""
            entries[path] = _entry(member, entries.get(target))
            content = archive.extractfile(member) if member.isreg() else None
            if content is not None:
                entries[path] = contents.take(path, entries[path], content)
            elif member.islnk():
                contents.link(path, target)


class _Blocks:
    """An archive in whole blocks: some writers leave out what fills the last one, and what marks the end."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.size = 0

    def read(self, most: int) -> bytes:
        """The next bytes, `most` unless the archive ends."""
        data = self.stream.read(most)
        self.size += len(data)
        missing = -self.size % tarfile.BLOCKSIZE if len(data) < most else 0
        self.size += missing
        return data + bytes(missing)


def _absolute(name: str) -> str:
    """Where a name leads that may be written in more than one way, as whoever unpacks it takes it."""
    return posixpath.normpath("/" + name.strip("/"))


def _entry(member: tarfile.TarInfo, linked: Entry | None) -> Entry:
    if member.islnk():
        linked = linked or Entry(kind="file", mode=0, uid=0, gid=0)
        return replace(linked, mode=member.mode, uid=member.uid, gid=member.gid)
    kind = "other"
    if member.isreg():
        kind = "file"
    elif member.isdir():
        kind = "directory"
    elif member.issym():
        kind = "link"
    elif member.ischr() or member.isblk():
        kind = "device"
    return Entry(
        kind=kind,
        mode=member.mode,
        uid=member.uid,
        gid=member.gid,
        size=member.size,
        target=member.linkname if kind == "link" else "",
        capabilities="SCHILY.xattr.security.capability" in member.pax_headers,
    )


def _folders(path: str, entries: dict[str, Entry]) -> None:
    """Adds the folders on the way to a path: an archive need not hold them."""
    while (path := path.rpartition("/")[0]) and path not in entries:
        entries[path] = Entry(kind="directory", mode=0o755, uid=0, gid=0)


def _forget(folder: str, entries: _Names, contents: Contents, keep: Set[str]) -> None:
    if folder not in entries or entries[folder].kind != "directory":
        return
    for path in entries.below(folder):
        if path not in keep:
            del entries[path]
            contents.forget(path)
