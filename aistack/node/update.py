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

from aistack.compose.render.policy import POLICY
from aistack.diagnostics import Diagnostic, Severity, refuse, unable
from aistack.facts import events
from aistack.facts.following import DIGEST, REFERENCE, SEALED_LABEL
from aistack.host import durable, journal, oci, registry
from aistack.host.ostree import VERSION_LABEL
from aistack.host.probes.reading import inside, read
from aistack.node import following
from aistack.node.deployments import Image, Listed
from aistack.node.following import Offer

LAST = "/var/lib/aistack/update.json"
"""What the last update did: a document aistack/node-update/v1, with `time` (UTC, ISO 8601)."""
HELD = "/var/lib/aistack/held"
"""HOST/REPOSITORY:TAG@DIGEST as somebody named it by hand, one a line: while such an image is staged or booted, no tag is followed."""
LOCK = "/run/aistack/update.lock"
CREDENTIALS = "/run/credentials/@system"
WAIT_SECONDS = 300.0
"""For another one that holds the lock: what cleans after a boot is soon done, a download may not be."""
REGISTRY = {"aistack.registry-auth": "REGISTRY_AUTH_FILE", "aistack.registry-ca": "SSL_CERT_FILE"}
"""Credentials that are skopeo's to read, and the variables that name their files: Go looks for certificates in /etc/ssl/certs as well."""
EVENTS = {"staged": events.STAGED, "failed": events.NOT_UPDATED, "live": events.REPLACED, "undone": events.NOT_REPLACED}
"""What an outcome is to the journal; the others are told to whoever asked alone."""
ANEW = "and name the image anew: aistack node update --to HOST/REPOSITORY:TAG@DIGEST"
OWN = "localhost/"
"""Begins the reference of a node that follows nothing: its disk was made without a registry's name."""
LONGEST_LABEL = 255
"""Characters of a version, or of a time."""
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
    """The first line of a credential that the machine was given, None without one; bytes that are no text are told by whoever reads it."""
    path = inside(root, f"{CREDENTIALS}/{name}")
    return (path.read_text(errors="replace").splitlines() or [""])[0].strip() or None if path.exists() else None


def use_credentials(root: Path) -> None:
    """Let skopeo find the login and the certificates that this machine was given for its registry, unless whoever asks names others."""
    for name, variable in REGISTRY.items():
        path = inside(root, f"{CREDENTIALS}/{name}")
        if path.exists():
            os.environ.setdefault(variable, str(path))


def followed(root: Path, listed: Sequence[Listed]) -> str | None:
    """HOST/REPOSITORY:TAG that this node follows: the credential's, else that of what is staged or booted; None where it follows none.

    With @DIGEST while the node is held to one image. Raises DiagnosticError (exit 3) where nobody can tell whether it is.
    """
    said = [one for one in sorted(listed, key=lambda one: not one.staged) if one.staged or one.booted]
    by_digest = {named.partition("@")[2]: named for named in held(root)}
    if named := next((by_digest[one.digest] for one in said if one.digest in by_digest), None):
        return named
    reference = credential(root, "aistack.follow") or next((one.reference for one in said), None)
    return None if reference is None or reference.startswith(OWN) else reference


def asked(root: Path, to: str | None, listed: Sequence[Listed]) -> str | None:
    """HOST/REPOSITORY:TAG[@DIGEST] that is to be looked at: what is named by hand (`to`), else what the node follows, None for nothing.

    Raises DiagnosticError (exit 1) where it is none. A digest is a person's to name: a credential would name a bad image for ever.
    """
    current = followed(root, listed)
    if to is not None:
        found, what = following.named(to, current.partition("@")[0] if current else None), f"`--to {to}` names no image to follow"
    else:
        follow = credential(root, "aistack.follow")
        found, what = current, f"the credential aistack.follow is `{follow}`"
        if follow and current not in held(root) and not re.fullmatch(REFERENCE, follow):
            found = None
        elif current is None:
            return None
    if found is None:
        hints = ("HOST/REPOSITORY:TAG, like registry.example/nodes/l4:stable", "only `--to` takes @DIGEST")
        raise refuse(Diagnostic(rule="UPD008", name="update-reference", severity=Severity.ERROR, message=what, hints=hints))
    return found


def held(root: Path) -> tuple[str, ...]:
    """The images that the node was held to, the last one first; none where it was not.

    Raises DiagnosticError (exit 3) where the file cannot be read: taken for none, it would end what somebody ordered by hand.
    """
    path = inside(root, HELD)
    try:
        named = tuple(path.read_text().split())
        if not all(re.fullmatch(f"{REFERENCE}{DIGEST}", one) for one in named):
            raise ValueError("it names something else than images by their digests")
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        message, hints = "nobody can tell which image this node is held to", (f"look at it, then remove it: rm {path}", ANEW)
        raise unable("UPD014", "held-damaged", message, why=(f"{path}: {error}",), hints=hints) from error
    return named


def hold(root: Path, named: str, listed: Sequence[Listed]) -> None:
    """Hold the node to HOST/REPOSITORY:TAG@DIGEST, or without a digest let it follow its tag again.

    What is staged or booted stays held beside it: the new image may never come, or be undone.
    """
    here = [one.digest for one in listed if one.staged or one.booted]
    before = held(root)
    wanted = (named, *(one for one in before if one != named and one.partition("@")[2] in here)) if "@" in named else ()
    if wanted != before:
        durable.write(inside(root, HELD), "".join(f"{one}\n" for one in wanted))


def offered(reference: str) -> Offer:
    """The image that HOST/REPOSITORY:TAG[@DIGEST] names now.

    Raises DiagnosticError (exit 3): see host/registry.py, and where a label that is told to terminals and journals is no plain text.
    """
    named, _, _ = reference.partition("@")
    digest, labels = registry.labels(reference, ARCHITECTURES[os.uname().machine])
    for label in (VERSION_LABEL, SEALED_LABEL):
        said = labels.get(label, "")
        if not said.isprintable() or len(said) > LONGEST_LABEL:
            raise oci.not_an_image(reference, f"its label {label} is no plain text: {said[:LONGEST_LABEL]!a}")
    return Offer(image=Image(reference=named, digest=digest), version=labels.get(VERSION_LABEL), sealed=labels.get(SEALED_LABEL, ""))


def require_allowed(root: Path, image: Image) -> None:
    """Have skopeo open the image by the policy that a download is held to; no layer comes. Raises DiagnosticError (exit 3)."""
    from aistack.host import remote_image  # the gates need none of it

    policy = inside(root, POLICY)
    with remote_image.opened(image.reference, image.digest, policy=policy if policy.exists() else None):
        pass
