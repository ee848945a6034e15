"""`aistack push`: a recipe's built system image, and every image that it binds, in a registry, with the digests that they have."""

from __future__ import annotations

import datetime
import getpass
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from pathlib import Path

from aistack.commands import boot as booting
from aistack.commands import build as building
from aistack.commands import making
from aistack.commands.opening import Options, opened
from aistack.compose.lock import Lock
from aistack.compose.render import image_names
from aistack.compose.render.policy import SIGNATURES
from aistack.diagnostics import Diagnostic, DiagnosticError, ExitCode, Severity, refuse
from aistack.facts.following import REFERENCE, SEALED_LABEL, latest
from aistack.host import oci, registry, rootfs
from aistack.host.publish import Signer, publish
from aistack.host.qemu import Firmware
from aistack.host.referrers import Document, attach
from aistack.host.store import Store

SCHEMA = "aistack/push/v1"
EVIDENCE = {
    ".spdx.json": "application/spdx+json",
    ".cdx.json": "application/vnd.cyclonedx+json",
    ".intoto.json": "application/vnd.in-toto+json",
}
"""By the ends of files' names: their media types."""
BOOT = "application/vnd.aistack.boot.v1+json"
SHORT = 12
"""Digits of a digest in the tags of images, which keep a registry from clearing them away."""


def push(
    recipe: Path,
    reference: str,
    *,
    keys: Sequence[Path] = (),
    passphrases: Sequence[Path] = (),
    allow_downgrade: bool = False,
    dry_run: bool,
    as_json: bool,
) -> ExitCode:
    """Pushes what was built, the system image last: whoever follows its tag finds all that it binds, and its signature by each of `keys`.

    `reference` is HOST/REPOSITORY:TAG. Exit 1 where something of the recipe is not built, the reference is none, nodes would refuse it
    as older than what is there, or others would lose what is there; 3 where the registry could not be reached or does not take it, or a
    key does not sign.
    """
    if not re.fullmatch(REFERENCE, reference):
        message = f"`{reference}` does not say where to push"
        raise refuse(_problem("PUSH001", "push-reference", message, "HOST/REPOSITORY:TAG, like registry.example/nodes/l4:stable"))
    found = opened(recipe, Options())
    if dict(found.stack.node).get("signed-by") and not keys:
        message = f"the nodes of {recipe} take what is signed alone, and this push signs nothing"
        raise refuse(_problem("PUSH004", "push-unsigned", message, "`--sign-by KEY` names the private key"))
    locked, store = found.locked(), found.places.store
    built = building.find(locked, store)
    images = built.images()
    bound, tools = making.bound(locked, images), built.find("tools-root")
    system = images.get(f"system-image {locked.name}")
    lacking = [name for name in image_names(locked) if name not in bound]
    if system is None or tools is None or lacking:
        message = f"{recipe} is not built whole: {', '.join(lacking) or ('its tools root' if system else 'its system image')} is missing"
        raise refuse(_problem("PUSH002", "push-not-built", message, f"aistack build {recipe}"))
    repository = reference.rpartition(":")[0]
    # The system image's own tag keeps it from being cleared away when the moving one goes on: a node may be held to it.
    named = [*bound.items(), (locked.name, system)]
    targets = [*((digest, f"{repository}:{_tag(name, digest)}") for name, digest in named), (system, reference)]
    require_later(recipe, locked, None if dry_run or allow_downgrade else reference)
    documents = evidence(store, built)
    if not dry_run:
        with store.in_use(lambda: found.progress.say("another aistack is cleaning the store; waiting")):
            skopeo = rootfs.foreign(store.path / "roots" / tools[1]["root"], ("skopeo",))
            signers = [_signer(skopeo, key, file) for key, file in zip_longest(keys, passphrases) if key]
            for digest, name in targets:
                found.progress.say(f"pushing {name}")
                signs = signers if name == targets[-2][1] else ()  # its signatures come before its first tag
                publish(store, digest, name, partial(found.progress.advance, name), signers=signs)
            attach(store, skopeo, system, repository, documents)
    _tell(store, targets, documents, signed=bool(keys), dry_run=dry_run, as_json=as_json)
    return ExitCode.OK


def evidence(store: Store, built: building.Built) -> tuple[Document, ...]:
    """What is known of a system image beside it: bills of materials, what its checks found, and how it booted."""
    found = [
        Document(media_type=media_type, title=name, content=(store.path / "outputs" / step.id / name).read_bytes())
        for step, output in filter(None, (built.find("sbom"), built.find("verify")))
        for name in sorted(output["files"].values())
        for ending, media_type in EVIDENCE.items()
        if name.endswith(ending)
    ]
    if disk := built.find("disk"):
        for firmware in Firmware:
            if seen := booting.evidence(store, disk[0].id, firmware):
                text = json.dumps(seen, indent=2, sort_keys=True) + "\n"
                found.append(Document(media_type=BOOT, title=f"boot.{firmware}.json", content=text.encode()))
    return tuple(found)


def require_later(recipe: Path, locked: Lock, reference: str | None) -> None:
    """Refuses what every node would refuse: a lock from the future, or one that is older than what the reference names already. And what
    takes others something away: the nodes of another architecture what they follow, or whoever put it there something that is no image.

    Who may not see what it names, or finds nothing there, takes nobody anything away.
    """
    again = f"aistack lock {recipe} --reseal"
    if locked.sealed > latest(datetime.datetime.now(datetime.UTC)):
        message = f"the lock of {recipe} was sealed {locked.sealed}, which is yet to come: a clock was wrong"
        raise refuse(_problem("PUSH005", "push-ahead", message, again))
    if reference is None:
        return
    try:
        found = registry.architectures(reference)
        if found - {locked.arch}:
            message = f"{reference} names an image of another architecture than {locked.arch}, and its nodes would find theirs no more"
            problem = _problem("PUSH007", "push-other-architecture", message, "each architecture needs a tag of its own")
            why = (f"it is built for: {', '.join(sorted(found))}",)
            raise refuse(replace(problem, why=why, hints=(*problem.hints, "`--allow-downgrade` puts it there all the same")))
        there = registry.labels(reference, locked.arch)[1].get(SEALED_LABEL, "")
    except DiagnosticError as error:
        first = error.diagnostics[0]
        if first.rule in ("OCI003", "REG004"):
            message = f"{reference} names something that is no image for any node, and would name it no more"
            problem = _problem("PUSH008", "push-over-no-image", message, "push to another tag")
            hints = (*problem.hints, "`--allow-downgrade` puts it there all the same")
            raise refuse(replace(problem, why=(first.message, *first.why), hints=hints)) from error
        if first.rule not in ("REG002", "REG003"):
            raise
        return
    if locked.sealed < there <= latest(datetime.datetime.now(datetime.UTC)):
        problem = _problem("PUSH006", "push-older", f"{reference} names a later image already, and nodes take no older one", again)
        hints = (*problem.hints, "`--allow-downgrade` here, and on each node")
        raise refuse(replace(problem, why=(f"sealed there: {there}", f"sealed here: {locked.sealed or 'nobody knows when'}"), hints=hints))


def _signer(skopeo: tuple[str, ...], key: Path, passphrase: Path | None) -> Signer:
    """The key with its passphrase, and the locked tools' skopeo: what a machine's own can sign depends on who packaged it."""
    if passphrase is not None:
        word = passphrase.read_text(errors="replace").partition("\n")[0]
    else:
        word = getpass.getpass(f"passphrase of {key}: ") if sys.stdin.isatty() else ""
    return Signer(skopeo=skopeo, key=key, passphrase=word, attachments=SIGNATURES)


def _tag(name: str, digest: str) -> str:
    """An image's own tag, of its name and its digest: `app-chat-0123456789ab`."""
    return f"{name.rpartition('/')[2]}-{digest.removeprefix('sha256:')[:SHORT]}"


def _tell(
    store: Store, targets: list[tuple[str, str]], documents: tuple[Document, ...], *, signed: bool, dry_run: bool, as_json: bool
) -> None:
    """What was pushed; the last of the targets is the system image, to which the documents are attached."""
    sizes = {digest: sum(layer.size for layer in oci.read_image(store, digest).layers) for digest, _ in targets}
    system, reference = targets[-1]
    if as_json:
        images = [{"reference": name, "digest": digest, "bytes": sizes[digest]} for digest, name in targets]
        said = {"schema": SCHEMA, "reference": reference, "digest": system, "pushed": not dry_run, "signed": signed, "images": images}
        print(json.dumps({**said, "attached": [document.title for document in documents]}, indent=2))
        return
    for digest, name in targets:
        how = ", signed" if signed and digest == system else ""
        print(f"{'would push' if dry_run else 'pushed'} {name}@{digest}, {sizes[digest] / 1e6:.1f} MB{how}")
    for document in documents:
        print(f"{'would attach' if dry_run else 'attached'} {document.title} ({document.media_type})")


def _problem(rule: str, name: str, message: str, hint: str) -> Diagnostic:
    return Diagnostic(rule=rule, name=name, severity=Severity.ERROR, message=message, hints=(hint,))
