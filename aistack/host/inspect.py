"""Reading what an image holds, layer by layer, without unpacking or running it."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from aistack.diagnostics import unable
from aistack.facts.filesystem import Entry, Filesystem
from aistack.host import process

WHITEOUT = ".wh."
OPAQUE = ".wh..wh..opq"


def filesystem(layers: Sequence[tuple[Path, str]], wanted: Callable[[str], bool], scratch: Path) -> Filesystem:
    """The merged file system of layers (blob, media type), lowest first; contents are kept for paths that are `wanted`."""
    entries: dict[str, Entry] = {}
    texts: dict[str, bytes] = {}
    keys: set[str] = set()
    for blob, media_type in layers:
        with _opened(blob, media_type, scratch) as stream:
            try:
                _apply(stream, wanted, entries, texts, keys)
            except tarfile.TarError as error:
                raise unable(
                    "HOST010", "layer-unreadable", f"layer {blob.name[:12]} cannot be read as a tar archive", why=(str(error),)
                ) from error
    return Filesystem(entries=entries, texts=texts, keys=tuple(sorted(keys & entries.keys())))


def _apply(stream: IO[bytes], wanted: Callable[[str], bool], entries: dict[str, Entry], texts: dict[str, bytes], keys: set[str]) -> None:
    own: set[str] = set()  # whiteouts speak of lower layers only, wherever they stand in this one
    with tarfile.open(fileobj=stream, mode="r|") as archive:
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


def _absolute(name: str) -> str:
    return "/" + name.removeprefix("./").strip("/")


def _entry(member: tarfile.TarInfo, entries: dict[str, Entry]) -> Entry:
    if member.islnk():
        linked = entries.get(_absolute(member.linkname))
        size = linked.size if linked else 0
        return Entry(kind="file", mode=member.mode, uid=member.uid, gid=member.gid, size=size)
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
        kind=kind, mode=member.mode, uid=member.uid, gid=member.gid, size=member.size, target=member.linkname if kind == "link" else ""
    )


def _forget(folder: str, entries: dict[str, Entry], texts: dict[str, bytes], keep: set[str]) -> None:
    if folder not in entries or entries[folder].kind != "directory":
        return
    for path in [path for path in entries if path.startswith(folder + "/") and path not in keep]:
        del entries[path]
        texts.pop(path, None)


@contextmanager
def _opened(blob: Path, media_type: str, scratch: Path) -> Iterator[IO[bytes]]:
    if media_type.endswith("+zstd"):
        argv = [process.require("zstd", "zstd"), "-dc", "--", str(blob)]
    elif media_type.endswith("+gzip") or media_type.endswith(".gzip"):
        argv = [process.require("gzip", "gzip"), "-dc", "--", str(blob)]
    else:
        with blob.open("rb") as stream:
            yield stream
        return
    with process.stream(argv, log=scratch / f"{blob.name[:12]}.log") as decompressor:
        assert decompressor.stdout is not None
        yield decompressor.stdout
        while decompressor.stdout.read(1 << 20):
            pass  # trailing zeros, so that the decompressor ends by itself
