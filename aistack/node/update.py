"""What an update and a rollback need of the machine: what the node follows, what that names today, and that only one runs."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from aistack.diagnostics import unable
from aistack.facts import events
from aistack.facts.following import REFERENCE, SEALED_LABEL
from aistack.host import durable, journal, oci, registry
from aistack.host.ostree import VERSION_LABEL
from aistack.host.probes.reading import inside, read
from aistack.node.deployments import Image, Listed
from aistack.node.following import Offer

LAST = "/var/lib/aistack/update.json"
"""What the last update did: a document aistack/node-update/v1, with `time` (UTC, ISO 8601)."""
LOCK = "/run/aistack/update.lock"
CREDENTIALS = "/run/credentials/@system"
WAIT_SECONDS = 300.0
"""For another one that holds the lock: what cleans after a boot is soon done, a download may not be."""
EVENTS = {"staged": events.STAGED, "failed": events.NOT_UPDATED, "live": events.REPLACED, "undone": events.NOT_REPLACED}
"""What an outcome is to the journal; the others are told to whoever asked alone."""
OWN = "localhost/"
"""Begins the reference of a node that follows nothing: its disk was made without a registry's name."""
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@contextmanager
def alone(root: Path, say: Callable[[str], None], *, seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """Holds the lock of what changes this node's deployments; it goes with the process.

    Another one is waited for, and that is said. Raises DiagnosticError (exit 3) where it is not done within `seconds`.
    """
    path, until = inside(root, LOCK), time.monotonic() + seconds
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        waits = False
        while not _locked(file):
            if time.monotonic() > until:
                hints = ("what the timer began, `systemctl stop aistack-update` ends: what came whole is kept",)
                message = "another update or rollback is running on this node"
                raise unable("UPD003", "update-runs", message, why=(f"lock: {path}, waited {seconds:.0f} s",), hints=hints)
            if not waits:
                say(f"another update, rollback or cleaning runs on this node; waiting for it, {seconds:.0f} s at most")
            waits = True
            time.sleep(0.2)
        yield


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def remember(root: Path, document: Mapping[str, object]) -> None:
    """Keep what an update did, or why it did not, and tell the journal where that matters; a full disk keeps it out of the file alone."""
    if event := EVENTS.get(str(document["outcome"])):
        fields = {name: str(document[name]) for name in ("reference", "digest", "version", "rule") if document.get(name)}
        journal.send(event, f"update {document['outcome']}: {document['because']}", fields)
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    with contextlib.suppress(OSError):
        durable.write(inside(root, LAST), json.dumps({**document, "time": now}, indent=2) + "\n")


def remembered(root: Path) -> dict[str, Any]:
    """What the last update did; empty where there was none, or nobody can read it."""
    return read(LAST, lambda: dict(json.loads(inside(root, LAST).read_text()))).value or {}


def credential(root: Path, name: str) -> str | None:
    """The first line of a credential that the machine was given, None without one."""
    path = inside(root, f"{CREDENTIALS}/{name}")
    return (path.read_text().splitlines() or [""])[0].strip() or None if path.exists() else None


def followed(root: Path, listed: Sequence[Listed]) -> str | None:
    """HOST/REPOSITORY:TAG that this node follows: the credential's, else that of what is staged or booted; None where it follows none."""
    said = [one.reference for one in sorted(listed, key=lambda one: not one.staged) if one.staged or one.booted]
    reference = credential(root, "aistack.follow") or next(iter(said), None)
    return None if reference is None or reference.startswith(OWN) else reference


def offered(reference: str, current: str | None) -> Offer:
    """The image that HOST/REPOSITORY[:TAG][@DIGEST] names now; without a tag, that of `current` (what is followed) is kept.

    Raises DiagnosticError (exit 3): see host/registry.py.
    """
    named, _, _ = reference.partition("@")
    if not re.fullmatch(REFERENCE, named):
        named = current if current and current.rpartition(":")[0] == named else f"{named}:latest"
    digest, manifest = registry.resolve(reference if "@" in reference else named, ARCHITECTURES[os.uname().machine])
    try:
        config = json.loads(manifest)["config"]["digest"]
        described = json.loads(registry.inspected(reference, f"{registry.repository(reference)}@{digest}", config, "--config"))
        labels = (described.get("config") or {}).get("Labels") or {}
        return Offer(image=Image(reference=named, digest=digest), version=labels.get(VERSION_LABEL), sealed=labels.get(SEALED_LABEL, ""))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise oci.not_an_image(reference, f"{type(error).__name__}: {error}") from error
