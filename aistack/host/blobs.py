"""The blobs of an image while it is imported: where they come from, held against their digests, decompressed."""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
import tempfile
import threading
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, BinaryIO, Protocol

from aistack.diagnostics import DiagnosticError, unable
from aistack.host import process
from aistack.values import dataclass

CHUNK = 1 << 20
UNPACKED_SIZE = "io.aistack.unpacked-size"
"""The annotation that says how many bytes a compressed layer's archive has: a node has to know before it fetches."""


class Readable(Protocol):
    """A blob's bytes as they come."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""


class Blobs(Protocol):
    """Blobs by digest (`sha256:HEX`)."""

    def blob(self, digest: str, size: int | None) -> AbstractContextManager[Readable]:
        """The blob, to be read to its end; `size` in bytes as its descriptor says, None for a manifest.

        Raises DiagnosticError (exit 3) when it is not there or does not come whole.
        """


@dataclass(frozen=True, slots=True)
class LayoutFolder:
    """An OCI layout folder."""

    folder: Path

    @contextmanager
    def blob(self, digest: str, size: int | None) -> Iterator[BinaryIO]:
        """The blob's file."""
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise unable("OST003", "digest-not-understood", f"`{digest}` is not a sha256 digest")
        path = self.folder / "blobs" / "sha256" / digest.removeprefix("sha256:")
        if not path.is_file():
            raise unable("OST004", "layout-blob-missing", f"the layout has no blob {digest}", why=(str(path),))
        with path.open("rb") as stream:
            yield stream


def whole(blobs: Blobs, digest: str, size: int | None = None) -> bytes:
    """A small blob, held against its digest; without `size`, a manifest."""
    with blobs.blob(digest, size) as stream:
        raw = Verifying(stream, digest)
        data = b"".join(iter(raw.read, b""))
        raw.require()
    return data


def _damaged(digest: str, found: str) -> DiagnosticError:
    return unable("OST005", "blob-damaged", f"the blob {digest} is damaged", why=(f"its bytes have the digest {found}",))


class Verifying:
    """A blob's bytes, hashed as they pass; `require` reads what is left and compares."""

    def __init__(self, stream: Readable, digest: str) -> None:
        self.stream, self.digest, self.seen = stream, digest, hashlib.sha256()
        self.broken: Exception | None = None

    def read(self, size: int = CHUNK) -> bytes:
        data = self.stream.read(size if size >= 0 else CHUNK)
        self.seen.update(data)
        return data

    def require(self) -> None:
        if self.broken is not None:
            raise self.broken
        while self.read(CHUNK):
            pass
        if f"sha256:{self.seen.hexdigest()}" != self.digest:
            raise _damaged(self.digest, f"sha256:{self.seen.hexdigest()}")


@contextmanager
def verified(blobs: Blobs, digest: str, size: int) -> Iterator[Verifying]:
    """A layer's blob that is read to its end; whoever has read it calls `require`, which raises DiagnosticError when it was another.

    Inside, what reads it may fail of what is in there: no tar archive, names and owners that no file can have, folders without an end.
    """
    with blobs.blob(digest, size) as stream:
        raw = Verifying(stream, digest)
        try:
            yield raw
        except DiagnosticError:
            raw.require()  # a damaged blob is the better explanation
            raise
        except (tarfile.TarError, zlib.error, EOFError, ValueError, OverflowError, RecursionError) as error:
            raw.require()
            why = (f"{type(error).__name__}: {error}",)
            raise unable("OST008", "image-not-understood", f"the layer {digest} cannot be laid down", why=why) from error


@contextmanager
def plain(raw: Verifying, media_type: str) -> Iterator[IO[bytes]]:
    """The layer's tar stream, decompressed."""
    if media_type.endswith(".tar"):
        yield raw  # type: ignore[misc]  # tarfile asks for read() only
        return
    if media_type.endswith(("gzip", "zstd")):
        tool = "gzip" if media_type.endswith("gzip") else "zstd"
        with tempfile.TemporaryDirectory() as folder:
            receive, send = os.pipe()
            feeder = threading.Thread(target=_feed, args=(raw, send), daemon=True)
            try:
                feeder.start()
                with process.stream([tool, "-dc"], log=Path(folder) / "log", stdin=receive) as running:
                    os.close(receive)
                    receive = -1
                    assert running.stdout is not None
                    yield running.stdout
                    while running.stdout.read(CHUNK):
                        pass
            finally:
                if receive >= 0:
                    os.close(receive)
                feeder.join()
        return
    raise unable("OST006", "layer-type-unknown", f"layers of the type `{media_type}` cannot be read")


def _feed(raw: Verifying, send: int) -> None:
    with open(send, "wb", buffering=0) as pipe:  # a descriptor, not a path
        try:
            while chunk := raw.read(CHUNK):
                pipe.write(chunk)
        except BrokenPipeError:
            pass
        except Exception as error:  # noqa: BLE001 told by whoever reads: this is a thread of its own
            raw.broken = error
