"""Reading what an image holds, layer by layer, without unpacking or running it."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from aistack.diagnostics import unable
from aistack.facts.filesystem import Entry, Filesystem
from aistack.host import process

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"
MAGIC = {"zstd": b"\x28\xb5\x2f\xfd", "gzip": b"\x1f\x8b"}


def filesystem(layers: Sequence[Path], wanted: Callable[[str], bool], scratch: Path) -> Filesystem:
    """The merged file system of layers, lowest first; contents are kept for paths that are `wanted`."""
    entries: dict[str, Entry] = {}
    texts: dict[str, bytes] = {}
    keys: set[str] = set()
    for blob in layers:
        with _opened(blob, scratch) as stream:
            try:
                _apply(stream, wanted, entries, texts, keys)
            except tarfile.TarError as error:
                raise unable(
                    "HOST010", "layer-unreadable", f"layer {blob.name[:12]} cannot be read as a tar archive", why=(str(error),)
                ) from error
    for path in tuple(entries):  # an archive need not hold the folders on the way to what it holds
        while (path := path.rpartition("/")[0]) and path not in entries:
            entries[path] = Entry(kind="directory", mode=0o755, uid=0, gid=0)
    return Filesystem(entries=entries, texts=texts, keys=tuple(sorted(keys & entries.keys())))


def _apply(stream: IO[bytes], wanted: Callable[[str], bool], entries: dict[str, Entry], texts: dict[str, bytes], keys: set[str]) -> None:
    own: set[str] = set()  # whiteouts speak of lower layers only, wherever they stand in this one
    with tarfile.open(fileobj=_Blocks(stream), mode="r|") as archive:  # type: ignore[call-overload]  # it asks for read() only
        for member in archive:
            path = _absolute(member.name)
            folder, _, name = path.rpartition("/")
            if name == OPAQUE:
                _forget(folder, entries, texts, own)
                continue
            if name.startswith(WHITEOUT):
                gone = f"{folder}/{name.removeprefix(WHITEOUT)}"
                if gone not in own:
                    _forget(gone, entries, texts, own)
                    entries.pop(gone, None)
                    texts.pop(gone, None)
                continue
            own.add(path)
            if not member.isdir():
                _forget(path, entries, texts, own)
            texts.pop(path, None)
            keys.discard(path)
            entries[path] = _entry(member, entries)
            content = archive.extractfile(member) if member.isreg() else None
            if content is not None:
                head = content.read(64)
                if head.startswith(b"-----BEGIN") and b"PRIVATE KEY" in head:
                    keys.add(path)
                if wanted(path):
                    texts[path] = head + content.read()
            elif member.islnk() and wanted(path):
                texts[path] = texts.get(_absolute(member.linkname), b"")


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
    return "/" + name.removeprefix("./").strip("/")


def _entry(member: tarfile.TarInfo, entries: dict[str, Entry]) -> Entry:
    if member.islnk():
        linked = entries.get(_absolute(member.linkname)) or Entry(kind="file", mode=0, uid=0, gid=0)
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


def _forget(folder: str, entries: dict[str, Entry], texts: dict[str, bytes], keep: set[str]) -> None:
    if folder not in entries or entries[folder].kind != "directory":
        return
    for path in [path for path in entries if path.startswith(folder + "/") and path not in keep]:
        del entries[path]
        texts.pop(path, None)


@contextmanager
def _opened(blob: Path, scratch: Path) -> Iterator[IO[bytes]]:
    """The archive in a blob. How it is compressed, its first bytes tell: what archives and podman's store say of it may be wrong."""
    with blob.open("rb") as stream:
        tool = next((tool for tool, magic in MAGIC.items() if stream.peek(4).startswith(magic)), None)
        if tool is None:
            yield stream
            return
    argv = [process.require(tool, tool), "-dc", "--", str(blob)]
    with process.stream(argv, log=scratch / f"{blob.name[:12]}.log") as decompressor:
        assert decompressor.stdout is not None
        yield decompressor.stdout
        while decompressor.stdout.read(1 << 20):
            pass  # trailing zeros, so that the decompressor ends by itself
