"""Other stores to take from, named by AISTACK_STORE_FROM: folders that this machine can read, artifacts in a registry or OCI layout.

They are never written to. A file that is taken is held against its digest; which step made which image is taken on trust, so name only
stores whose writers you would let build for you.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from aistack.diagnostics import DiagnosticError
from aistack.host import artifact, uses
from aistack.host.store import Store
from aistack.values import dataclass

VARIABLE = "AISTACK_STORE_FROM"
ENTRY = re.compile(r"(docker://[^/\s]+/[^:@\s]+(?::\w[\w.-]*|@sha256:[0-9a-f]{64})|oci:[^:]+:\w[\w.-]*|[^:]+)(?::+|$)")
"""A reference, with its tag or digest, or a path; between them stand colons."""
UNSHARED = ("root", "files")
"""Outputs that are not taken: unpacked roots belong to their builder's users, and a disk is made faster than it is copied."""


class Source(Protocol):
    """Where files and outputs can be taken from."""

    def output(self, step: str) -> Mapping[str, Any]:
        """The document of a step's output, empty where there is none."""

    def bring(self, store: Store, wanted: Iterable[str]) -> None:
        """Copies those of the wanted files that are there into `store`, each held against its digest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """Another store's folder; `say` is told what is damaged there."""

    store: Store
    say: Callable[[str], None]

    def output(self, step: str) -> Mapping[str, Any]:
        """The document of a step's output, empty where there is none."""
        return uses.read_output(self.store, step)

    def bring(self, store: Store, wanted: Iterable[str]) -> None:
        """Copies those of the wanted files that are there, each held against its digest."""
        for sha256 in wanted:
            if self.store.has(sha256):
                with self.store.blob(sha256).open("rb") as stream:
                    found, _ = store.add(stream, only=sha256)
                if found != sha256:
                    self.say(f"{self.store.path}: the file {sha256} is not what its name says")


def others(environment: Mapping[str, str], say: Callable[[str], None], *, offline: bool = False) -> tuple[Source, ...]:
    """The stores that AISTACK_STORE_FROM names and that can be read; `say` is told of the others. `offline`, no registry is asked."""
    return tuple(_others(environment, say, offline))


def _others(environment: Mapping[str, str], say: Callable[[str], None], offline: bool) -> Iterator[Source]:
    for name in ENTRY.findall(environment.get(VARIABLE, "")):
        if not name.startswith(("docker:", "oci:")):
            if Store(Path(name)).blobs.is_dir():
                yield Folder(store=Store(Path(name)), say=say)
            else:
                say(f"{VARIABLE}: {name} is no store")
        elif not (offline and name.startswith("docker:")):
            try:
                yield artifact.read(name, say)
            except DiagnosticError as error:
                say(f"{VARIABLE}: {name} cannot be read: {artifact.last_words(error)}")


def take(store: Store, wanted: Iterable[str], sources: Sequence[Source]) -> None:
    """Brings those files that the store lacks and another has."""
    missing = dict.fromkeys(sha256 for sha256 in wanted if not store.has(sha256))
    for source in sources:
        source.bring(store, [sha256 for sha256 in missing if not store.has(sha256)])


def take_output(store: Store, step: str, sources: Sequence[Source]) -> Mapping[str, Any] | None:
    """The output of a step that another store holds whole, with all its files; None where none does."""
    for source in sources:
        document = source.output(step)
        if not document or any(kind in document for kind in UNSHARED):
            continue
        wanted = [document["image"].removeprefix("sha256:")] if "image" in document else []
        take(store, wanted, (source,))  # an image's manifest names the rest
        wanted += uses.blobs_of(store, document)
        take(store, wanted, (source,))
        if all(store.has(sha256) for sha256 in wanted):
            with store.produce(step) as folder:
                (folder / "output.json").write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
            return document
    return None
