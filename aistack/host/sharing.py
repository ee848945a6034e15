"""Other stores to take from: folders that this machine can read, like a file server's, named by AISTACK_STORE_FROM.

They are never written to. A file that is taken is held against its digest; which step made which image is taken on trust, so name only
stores whose writers you would let build for you.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aistack.host import uses
from aistack.host.store import Store

VARIABLE = "AISTACK_STORE_FROM"
UNSHARED = ("root", "files")
"""Outputs that are not taken: unpacked roots belong to their builder's users, and a disk is made faster than it is copied."""


def others(environment: Mapping[str, str]) -> tuple[Store, ...]:
    """The stores named by AISTACK_STORE_FROM (paths with `:` between them) that are there."""
    named = (Store(Path(path)) for path in environment.get(VARIABLE, "").split(":") if path)
    return tuple(store for store in named if store.blobs.is_dir())


def take(store: Store, wanted: Iterable[str], sources: Iterable[Store]) -> int:
    """Copies those files that the store lacks and another has, each held against its digest; returns how many bytes came."""
    came = 0
    for sha256 in dict.fromkeys(wanted):
        for source in sources:
            if store.has(sha256):
                break
            if not source.has(sha256):
                continue
            with source.blob(sha256).open("rb") as stream:
                found, size = store.add(stream, only=sha256)  # what is damaged there is not kept here
            came += size if found == sha256 else 0
    return came


def take_output(store: Store, step: str, sources: Iterable[Store]) -> Mapping[str, Any] | None:
    """The output of a step that another store holds whole, with all its files; None where none does."""
    for source in sources:
        document = uses.read_output(source, step)
        if not document or any(kind in document for kind in UNSHARED):
            continue
        wanted = uses.blobs_of(source, document)
        take(store, wanted, (source,))
        if all(store.has(sha256) for sha256 in wanted):
            with store.produce(step) as folder:
                (folder / "output.json").write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
            return document
    return None
