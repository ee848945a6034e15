"""The store: files kept under their sha256, and each build step's output kept under the step's id.

STORE/blobs/sha256/HEX     content-addressed files; an OCI layout can share them by a link
STORE/outputs/STEP_ID/     what a step made, `output.json` included; appears whole or not at all
STORE/roots/STEP_ID/       unpacked throw-away roots
STORE/tmp/                 unfinished work; safe to delete when nothing runs
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

CHUNK = 1 << 20


def default_path(environment: Mapping[str, str]) -> Path:
    """`$AISTACK_STORE`, else `$XDG_CACHE_HOME/aistack`, else `~/.cache/aistack`."""
    if named := environment.get("AISTACK_STORE"):
        return Path(named)
    cache = environment.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "aistack"


@dataclass(frozen=True, slots=True)
class Store:
    """A folder that keeps what was fetched and built."""

    path: Path

    @property
    def blobs(self) -> Path:
        """The folder of content-addressed files (`blobs/sha256`)."""
        return self.path / "blobs" / "sha256"

    def blob(self, sha256: str) -> Path:
        """Where a file of that digest (64 hex digits) is or would be kept."""
        return self.blobs / sha256

    def has(self, sha256: str) -> bool:
        """Whether a file of that digest is kept."""
        return self.blob(sha256).is_file()

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for unfinished work, on the store's own file system, removed afterwards."""
        parent = self.path / "tmp"
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def add(self, stream: BinaryIO) -> tuple[str, int]:
        """Keep the stream's bytes; returns (sha256, size)."""
        self.blobs.mkdir(parents=True, exist_ok=True)
        with self.scratch() as folder:
            digest, size = hashlib.sha256(), 0
            target = folder / "blob"
            with target.open("wb") as out:
                while chunk := stream.read(CHUNK):
                    digest.update(chunk)
                    size += len(chunk)
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            target.replace(self.blob(digest.hexdigest()))
        return digest.hexdigest(), size

    def adopt(self, file: Path, sha256: str) -> Path:
        """Move a finished file, whose digest the caller has just computed, into the store."""
        self.blobs.mkdir(parents=True, exist_ok=True)
        file.replace(self.blob(sha256))
        return self.blob(sha256)

    def output(self, step: str) -> Path | None:
        """The folder that a finished step left, or None when it has not been done."""
        folder = self.path / "outputs" / step
        return folder if folder.is_dir() else None

    @contextmanager
    def alone(self, step: str, waiting: Callable[[], None]) -> Iterator[None]:
        """Only one process at a time is inside for one step; `waiting` is called once when another is. A killed process lets go."""
        folder = self.path / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / step).open("w") as held:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(held, fcntl.LOCK_EX)
            yield

    @contextmanager
    def produce(self, step: str) -> Iterator[Path]:
        """A folder to fill; it becomes the step's output, whole, when the block ends without an error, in the place of an older one."""
        (self.path / "outputs").mkdir(parents=True, exist_ok=True)
        with self.scratch() as folder:
            fresh = folder / "output"
            fresh.mkdir()
            yield fresh
            final = self.path / "outputs" / step
            if final.is_dir():
                final.rename(folder / "older")
            fresh.rename(final)
