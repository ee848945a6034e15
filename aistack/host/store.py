"""The store: files kept under their sha256, and each build step's output kept under the step's id.

STORE/CACHEDIR.TAG         says that the folder is ours, to us and to backup programs (https://bford.info/cachedir/)
STORE/blobs/sha256/HEX     content-addressed files; an OCI layout can share them by a link
STORE/outputs/STEP_ID/     what a step made, `output.json` included; appears whole or not at all
STORE/roots/STEP_ID/       unpacked throw-away roots
STORE/uses/LOCK_ID.json    what one lock needs of all that, as new as its last use
STORE/locks/               files to take turns with; a killed process lets go of them
STORE/tmp/                 unfinished work; safe to delete when nothing runs
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from aistack.diagnostics import Diagnostic, Severity, refuse
from aistack.values import dataclass

CHUNK = 1 << 20
CATALOG = "catalog"
IN_USE = "in-use"
TAG = "CACHEDIR.TAG"
TAG_TEXT = """\
Signature: 8a477f597d28d172789f06886806bc55
# This folder is a store of aistack: everything in it can be fetched or built again (aistack store show).
"""


def default_path(environment: Mapping[str, str]) -> Path:
    """`$AISTACK_STORE`, else `$XDG_CACHE_HOME/aistack`, else `~/.cache/aistack`."""
    if named := environment.get("AISTACK_STORE"):
        return Path(named)
    cache = environment.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "aistack"


def digest(file: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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

    def is_ours(self) -> bool:
        """Whether the folder is a store, not just any folder that somebody named."""
        return (self.path / TAG).is_file()

    def prepare(self) -> None:
        """Makes the folder a store; raises DiagnosticError (exit 1) where it holds something else already."""
        if self.is_ours():
            return
        other = self.path.is_dir() and not self.blobs.is_dir() and {entry.name for entry in self.path.iterdir()} - {CATALOG}
        if other and not self.is_ours():  # asked again: whoever makes it a store at this moment writes the tag before all else
            raise refuse(
                Diagnostic(
                    rule="STO001",
                    name="not-a-store",
                    severity=Severity.ERROR,
                    message=f"{self.path} is not empty, and no store",
                    why=("what lies in a store is removed when nothing needs it",),
                    hints=("set AISTACK_STORE to an empty folder, or to one that does not exist yet",),
                )
            )
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / TAG).write_text(TAG_TEXT)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for unfinished work, on the store's own file system, removed afterwards."""
        self.prepare()
        parent = self.path / "tmp"
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=parent))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def add(self, stream: BinaryIO, *, only: str | None = None) -> tuple[str, int]:
        """Keep the stream's bytes, or `only` those of that sha256; returns the (sha256, size) that they have."""
        with self.scratch() as folder:
            self.blobs.mkdir(parents=True, exist_ok=True)
            hashed, size = hashlib.sha256(), 0
            target = folder / "blob"
            with target.open("wb") as out:
                while chunk := stream.read(CHUNK):
                    hashed.update(chunk)
                    size += len(chunk)
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())
            if only in (None, hashed.hexdigest()):
                target.replace(self.blob(hashed.hexdigest()))
        return hashed.hexdigest(), size

    def adopt(self, file: Path, sha256: str) -> Path:
        """Move a finished file, whose digest the caller has just computed, into the store."""
        self.blobs.mkdir(parents=True, exist_ok=True)
        file.replace(self.blob(sha256))
        return self.blob(sha256)

    def damaged(self, wanted: Iterable[str]) -> tuple[str, ...]:
        """Those of the kept files that are not what their names say; they are removed, so that nothing takes them for good."""
        found = tuple(sha256 for sha256 in dict.fromkeys(wanted) if self.has(sha256) and digest(self.blob(sha256)) != sha256)
        for sha256 in found:
            self.blob(sha256).unlink(missing_ok=True)
        return found

    def output(self, step: str) -> Path | None:
        """The folder that a finished step left, or None when it has not been done."""
        folder = self.path / "outputs" / step
        return folder if folder.is_dir() else None

    @contextmanager
    def alone(self, step: str, waiting: Callable[[], None]) -> Iterator[None]:
        """Only one process at a time is inside for one step; `waiting` is called once when another is. A killed process lets go."""
        with self._turn(step, fcntl.LOCK_EX, waiting):
            yield

    @contextmanager
    def in_use(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Nothing is removed from the store while this process is inside; any number of them may be."""
        with self._turn(IN_USE, fcntl.LOCK_SH, waiting):
            yield

    @contextmanager
    def unused(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Nobody else uses the store while this process is inside."""
        with self._turn(IN_USE, fcntl.LOCK_EX, waiting):
            yield

    @contextmanager
    def _turn(self, name: str, kind: int, waiting: Callable[[], None]) -> Iterator[None]:
        self.prepare()
        folder = self.path / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("w") as held:
            try:
                fcntl.flock(held, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(held, kind)
            yield

    @contextmanager
    def produce(self, step: str) -> Iterator[Path]:
        """A folder to fill; it becomes the step's output, whole, when the block ends without an error, in the place of an older one."""
        with self.scratch() as folder:
            (self.path / "outputs").mkdir(exist_ok=True)
            fresh = folder / "output"
            fresh.mkdir()
            yield fresh
            final = self.path / "outputs" / step
            if final.is_dir():
                final.rename(folder / "older")
            fresh.rename(final)
