"""OCI layers: normalised tar archives, written once into the store while both digests are computed.

Normalised: entries sorted by path, names without a leading `/`, numeric owners without names, modification times clamped, extended
attributes kept as PAX records. Equal entries give an equal layer, wherever and whenever it is written.
The format is POSIX pax, https://pubs.opengroup.org/onlinepubs/9799919799/utilities/pax.html, extended attributes as
`SCHILY.xattr.*` records; the media types are https://github.com/opencontainers/image-spec/blob/main/layer.md.
"""

from __future__ import annotations

import hashlib
import io
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, BinaryIO, Self, cast

from aistack.diagnostics import DiagnosticError, unable
from aistack.host import process
from aistack.host.blobs import UNPACKED_SIZE
from aistack.host.store import CHUNK, Store
from aistack.values import dataclass

TAR = "application/vnd.oci.image.layer.v1.tar"
TAR_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
TAR_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_TAR = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_TAR_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
"""As images have them that were made in Docker's format (schema 2); ours never do."""

GROUP = "io.aistack.layer"
"""The annotation that says what lies in a layer: a group of packages, `lock`, a file's path."""

BLOCK = 512
LARGEST_OCTAL_SIZE = 0o77777777777
LARGEST_OCTAL_ID = 0o7777777

FILE, HARD_LINK, SYMBOLIC_LINK, DIRECTORY = b"0", b"1", b"2", b"5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer in the store: `digest` and `size` of the blob as kept, `diff_id` of the tar inside; digests are `sha256:HEX`."""

    digest: str
    diff_id: str
    size: int
    media_type: str
    annotations: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One member of a layer.

    `path` has no leading or trailing slash; `kind` is FILE, HARD_LINK, SYMBOLIC_LINK or DIRECTORY; `mode` holds the permission bits;
    `target` is a link's target (a path as above for a hard link, the text for a symbolic one); `size` is in bytes and counts for files;
    `mtime` is in seconds since 1970.
    """

    path: str
    kind: bytes = FILE
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    target: str = ""
    mtime: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()


def header(entry: Entry) -> bytes:
    """The tar header of an entry: a PAX header before it where the old format cannot say everything."""
    path = entry.path.encode("utf-8", "surrogateescape") + (b"/" if entry.kind == DIRECTORY else b"")
    target = entry.target.encode("utf-8", "surrogateescape")
    size = entry.size if entry.kind == FILE else 0
    records: dict[bytes, bytes] = {}
    if len(path) > 100 or not path.isascii():
        records[b"path"] = path
    if len(target) > 100 or not target.isascii():
        records[b"linkpath"] = target
    if size > LARGEST_OCTAL_SIZE:
        records[b"size"] = b"%d" % size
    if entry.uid > LARGEST_OCTAL_ID:
        records[b"uid"] = b"%d" % entry.uid
    if entry.gid > LARGEST_OCTAL_ID:
        records[b"gid"] = b"%d" % entry.gid
    for name, value in entry.xattrs:
        records[b"SCHILY.xattr." + name.encode()] = value
    blocks = b""
    if records:
        body = b"".join(_record(name, records[name]) for name in sorted(records))
        blocks = _ustar(b"././@PaxHeader", b"x", 0o644, 0, 0, len(body), 0, b"") + body + padding(len(body))
    return blocks + _ustar(
        path[:100],
        entry.kind,
        entry.mode & 0o7777,
        entry.uid if entry.uid <= LARGEST_OCTAL_ID else 0,
        entry.gid if entry.gid <= LARGEST_OCTAL_ID else 0,
        size if size <= LARGEST_OCTAL_SIZE else 0,
        entry.mtime,
        target[:100],
    )


def padding(size: int) -> bytes:
    """The zeros that fill the last block of `size` bytes."""
    return bytes(-size % BLOCK)


def _record(name: bytes, value: bytes) -> bytes:
    body = b" " + name + b"=" + value + b"\n"
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return b"%d" % length + body


def _ustar(name: bytes, kind: bytes, mode: int, uid: int, gid: int, size: int, mtime: int, target: bytes) -> bytes:
    block = bytearray(BLOCK)
    block[0 : len(name)] = name
    block[100:108] = b"%07o\0" % mode
    block[108:116] = b"%07o\0" % uid
    block[116:124] = b"%07o\0" % gid
    block[124:136] = b"%011o\0" % size
    block[136:148] = b"%011o\0" % mtime
    block[148:156] = b"        "
    block[156:157] = kind
    block[157 : 157 + len(target)] = target
    block[257:265] = b"ustar\x0000"
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


class LayerWriter:
    """Writes one layer; used by `writing`, closed there.

    Entries come in the order in which they shall stand; parents that were `remember`ed are written before their children.
    """

    def __init__(self, sink: Callable[[bytes], object]) -> None:
        self._sink = sink
        self.diff = hashlib.sha256()
        self.length = 0
        self.paths: set[str] = set()

    def add(self, entry: Entry, content: BinaryIO | IO[bytes] | bytes | None = None) -> None:
        """Append an entry; `content` holds exactly `entry.size` bytes for a file."""
        self._write(header(entry))
        self.paths.add(entry.path)
        if entry.kind != FILE:
            return
        left = entry.size
        if isinstance(content, bytes):
            self._write(content)
            left -= len(content)
        elif content is not None:
            while left and (chunk := content.read(min(CHUNK, left))):
                self._write(chunk)
                left -= len(chunk)
        if left:
            raise unable("OCI001", "layer-content", f"`/{entry.path}` has {entry.size - left} bytes where {entry.size} were announced")
        self._write(padding(entry.size))

    def finish(self) -> None:
        """Write the end of the archive: zeros, to a whole record of 20 blocks."""
        end = self.length + 2 * BLOCK
        self._write(bytes(2 * BLOCK + -end % (20 * BLOCK)))

    def _write(self, data: bytes) -> None:
        self.diff.update(data)
        self.length += len(data)
        self._sink(data)


@dataclass(slots=True)
class Written:
    """Where `writing` leaves its layer: `layer` is set once the block has ended without an error."""

    writer: LayerWriter
    layer: Layer | None = None

    def result(self) -> Layer:
        """The finished layer."""
        assert self.layer is not None
        return self.layer


class _Keeper(threading.Thread):
    """Takes a compressor's output into a file, counting and hashing it on the way."""

    def __init__(self, stream: IO[bytes], file: Path) -> None:
        super().__init__(daemon=True)
        self.stream = stream
        self.file = file
        self.digest = hashlib.sha256()
        self.size = 0
        self.error: OSError | None = None

    def run(self) -> None:
        try:
            with self.file.open("wb") as out:
                while chunk := self.stream.read(CHUNK):
                    self.digest.update(chunk)
                    self.size += len(chunk)
                    out.write(chunk)
        except OSError as error:
            self.error = error
            while self.stream.read(CHUNK):  # lets the compressor end, so that the error can be told
                pass

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.join()


ZSTD = ("zstd", "-q", "-c", "-9", "-T2", "--no-check")
"""This machine's own, for layers that no lock describes."""


@contextmanager
def writing(
    store: Store, *, compress: bool = True, compressor: tuple[str, ...] = ZSTD, annotations: tuple[tuple[str, str], ...] = ()
) -> Iterator[Written]:
    """A layer being written into the store; after the block, `result()` is the layer.

    `compressor` reads the tar on its standard input and writes zstd on its standard output. Not compressed, blob and tar are one file.
    """
    with store.scratch() as folder:
        file = folder / "layer"
        if not compress:
            with file.open("wb") as out:
                written = Written(LayerWriter(out.write))
                yield written
                written.writer.finish()
            hex_digest, size, media_type = written.writer.diff.hexdigest(), written.writer.length, TAR
        else:
            process.require(compressor[0], "zstd")
            with process.stream(compressor, log=folder / "log", stdin=subprocess.PIPE) as running:
                assert running.stdin is not None and running.stdout is not None
                try:
                    with _Keeper(running.stdout, file) as keeper:
                        try:
                            written = Written(LayerWriter(running.stdin.write))
                            yield written
                            written.writer.finish()
                        finally:
                            running.stdin.close()
                except BrokenPipeError as error:
                    running.wait()
                    said = (folder / "log").read_text(errors="replace")
                    raise process.failure(compressor, running.returncode, said, log=folder / "log") from error
            if keeper.error is not None:
                raise _full(store, keeper.error)
            hex_digest, size, media_type = keeper.digest.hexdigest(), keeper.size, TAR_ZSTD
            annotations = (*annotations, (UNPACKED_SIZE, str(written.writer.length)))
        store.adopt(file, hex_digest)
        written.layer = Layer(
            digest=f"sha256:{hex_digest}",
            diff_id=f"sha256:{written.writer.diff.hexdigest()}",
            size=size,
            media_type=media_type,
            annotations=annotations,
        )


def _full(store: Store, error: OSError) -> DiagnosticError:
    return unable(
        "OCI002",
        "store-write",
        f"the store could not be written: {error.strerror}",
        why=(f"store: {store.path}",),
        hints=("free space, or set AISTACK_STORE to a folder on a larger disk", "`aistack store prune` removes what nothing uses"),
    )


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of the store, by its sha256, held against it while it is read."""

    sha256: str


Content = BinaryIO | IO[bytes] | bytes | Path | Stored | None


def write_layer(
    store: Store,
    entries: Iterable[tuple[Entry, Content]],
    *,
    compress: bool = True,
    compressor: tuple[str, ...] = ZSTD,
    clamp: int = 0,
    annotations: tuple[tuple[str, str], ...] = (),
) -> Layer:
    """A layer of those entries and nothing else, sorted by path; times later than `clamp` (seconds since 1970) become `clamp`.

    Content may be bytes, a stream, a path to read, a file of the store, or None. Folders above an entry that are not given themselves
    are added, 0755 and root's.
    """
    given = {entry.path: (replace(entry, mtime=min(entry.mtime, clamp)), content) for entry, content in entries}
    for path in list(given):
        for parent in parents(path):
            given.setdefault(parent, (Entry(path=parent, kind=DIRECTORY, mode=0o755), None))
    with writing(store, compress=compress, compressor=compressor, annotations=annotations) as written:
        for path in sorted(given, key=_order):
            entry, content = given[path]
            if isinstance(content, Stored):
                with _checked(store, content.sha256) as stream:
                    written.writer.add(entry, stream)
            elif isinstance(content, Path):
                with content.open("rb") as stream:
                    written.writer.add(entry, stream)
            else:
                written.writer.add(entry, content)
    return written.result()


class _Hashing(io.RawIOBase):
    """A stream that is hashed beside whoever reads it: the bytes are read once, and the second digest has a processor of its own."""

    def __init__(self, stream: BinaryIO, pool: ThreadPoolExecutor) -> None:
        self.stream, self.pool = stream, pool
        self.digest = hashlib.sha256()
        self.last: Future[None] | None = None

    def read(self, size: int = -1, /) -> bytes:
        chunk = self.stream.read(size)
        self.settle()
        self.last = self.pool.submit(self.digest.update, chunk)
        return chunk

    def settle(self) -> str:
        """The digest of all that was read so far."""
        if self.last is not None:
            self.last.result()
        return self.digest.hexdigest()


@contextmanager
def _checked(store: Store, sha256: str) -> Iterator[BinaryIO]:
    """A file of the store to read to its end; raises DiagnosticError (exit 3) when that was not what its name says."""
    with store.blob(sha256).open("rb") as stream, ThreadPoolExecutor(1) as pool:
        hashing = _Hashing(stream, pool)
        yield cast("BinaryIO", hashing)
        if hashing.settle() != sha256:
            raise unable("STO002", "store-damaged", f"the store's file {sha256} is not what it was", hints=("build again",))


def parents(path: str) -> Iterator[str]:
    """The folders above a path, outermost first."""
    parts = path.split("/")[:-1]
    for count in range(1, len(parts) + 1):
        yield "/".join(parts[:count])


def _order(path: str) -> list[str]:
    return path.split("/")


def file_entry(path: str, content: bytes, *, mode: int = 0o644) -> tuple[Entry, bytes]:
    """An entry for a small file that root owns; `path` may start with a slash."""
    return Entry(path=path.strip("/"), mode=mode, size=len(content)), content


def link_entry(path: str, target: str) -> tuple[Entry, None]:
    """An entry for a symbolic link."""
    return Entry(path=path.strip("/"), kind=SYMBOLIC_LINK, mode=0o777, target=target), None


def file_layer(store: Store, path: str, blob: str, *, annotations: tuple[tuple[str, str], ...] = ()) -> Layer:
    """An uncompressed layer that holds one file of the store (`blob`: its sha256) at `path`: a registry can share it by digest."""
    entry = Entry(path=path.strip("/"), size=store.blob(blob).stat().st_size)
    return write_layer(store, [(entry, Stored(blob))], compress=False, annotations=annotations)
