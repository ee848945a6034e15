"""Deployments that bootc keeps: asked by `bootc status --json`, changed by its own verbs. See docs/updates.md for what was not run.

bootc has no verb to drop a staged deployment, to pin one, or to start one that is neither booted nor its rollback: the ostree below has.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from aistack.diagnostics import DiagnosticError, unable
from aistack.host import bound_images, grub
from aistack.host.probes.images import promised_images
from aistack.host.process import run
from aistack.node.deployments import Advance, Difference, Fetched, Image, Listed
from aistack.values import dataclass

API = "org.containers.bootc/v1"
GRUB_ENVIRONMENT = "boot/grub2/grubenv"
TRIES = 2
SECONDS = 4 * 3600.0
"""For what fetches; everything else answers at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A deployment as bootc tells it; `index` is ostree's number for it, `waits` says that it is staged but no reboot starts it."""

    listed: Listed
    index: int
    waits: bool
    tree: str

    @property
    def digest(self) -> str:
        """The image's."""
        return self.listed.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """bootc's answer: the staged entry, the others in the bootloader's order, and the reference that `upgrade` fetches."""

    follows: str | None
    staged: Entry | None
    others: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BootcDeployments:
    """A node that bootc updates; `root` is another tree only in tests."""

    root: Path = Path("/")

    def listed(self) -> tuple[Listed, ...]:
        """Without what was downloaded only, since no reboot starts it."""
        host = self._host()
        staged = (host.staged.listed,) if host.staged and not host.staged.waits else ()
        return (*staged, *(one.listed for one in host.others))

    def download(self, image: Image, advance: Advance) -> Fetched:
        """What the node follows is fetched and held back; another reference's image comes with `stage`, as bootc cannot hold that back.

        bootc has one place for what comes: an image that was staged earlier makes room for it.
        """
        host = self._host()
        if host.follows == image.reference and (host.staged is None or host.staged.digest != image.digest):
            run(["bootc", "upgrade", "--download-only", "--quiet"], timeout=SECONDS)
            self._require_bound(self._came(image))
        return Fetched(layers=0, new_layers=0, bound=0, new_bound=0, bytes=None)

    def complete(self, image: Image, advance: Advance) -> Fetched | None:
        """bootc pulls what an image binds only while it stages it."""
        return None

    def stage(self, image: Image, keep: Collection[str]) -> None:
        """What was held back is let go; another reference is switched to. Neither stays staged with a bound image missing."""
        if self._host().follows != image.reference:
            run(["bootc", "switch", "--quiet", image.reference], timeout=SECONDS)
        staged = self._came(image)
        self._require_bound(staged)
        for one in self._host().others:
            if one.digest in keep and not one.listed.booted and not one.listed.pinned:
                run(["ostree", "admin", "pin", str(one.index)], timeout=60)
        if staged.waits:
            run(["bootc", "upgrade", "--from-downloaded", "--quiet"], timeout=SECONDS)
        self.try_staged()

    def try_staged(self) -> None:
        """Where there is GRUB's environment."""
        staged, environment = self._host().staged, self.root / GRUB_ENVIRONMENT
        if staged is not None and not staged.waits and environment.exists():
            grub.set_trial(grub.Trial(deployment=staged.tree.rpartition("/")[2], tries=TRIES), environment)

    def lock(self, image: Image) -> bytes | None:
        """bootc shows nothing of what is held back before it is staged."""
        return None

    def difference(self) -> Difference | None:
        """Apps of a bootc node are replaced by a reboot."""
        return None

    def discard(self) -> None:
        """ostree counts the staged deployment as its first."""
        if self._host().staged is not None:
            run(["ostree", "admin", "undeploy", "0"], timeout=600)

    def make_default(self, digest: str) -> None:
        """`bootc rollback` changes between the booted one and its rollback, and drops what is staged without a word."""
        others = self._host().others
        chosen = next((one for one in others if one.digest == digest), None)
        if chosen is None:
            raise unable(
                "NODE003",
                "deployment-missing",
                f"no deployment on this node is {digest}",
                why=tuple(f"here: {one.digest}" for one in others),
            )
        if chosen.listed.default:
            return
        if chosen in others[:2]:
            run(["bootc", "rollback"], timeout=600)
        else:
            run(["ostree", "admin", "set-default", str(chosen.index)], timeout=600)

    def stop_counting(self) -> None:
        """As on any node with GRUB."""
        environment = self.root / GRUB_ENVIRONMENT
        trial, staged = grub.trial(environment) if environment.exists() else None, self._host().staged
        if trial is not None and (staged is None or trial.deployment != staged.tree.rpartition("/")[2]):
            grub.set_trial(None, environment)

    def reboot(self) -> None:
        """Ask systemd, without waiting."""
        run(["systemctl", "--no-block", "reboot"], timeout=60)

    def clean(self, keep: Collection[str]) -> tuple[str, ...]:
        """bootc cleans up by itself, at each upgrade; what was pinned to be gone back to stays until somebody unpins it."""
        return ()

    def _host(self) -> Host:
        said = run(["bootc", "status", "--json", "--format-version=1"], timeout=120).stdout
        try:
            document = json.loads(said)
            if document["apiVersion"] != API or document["kind"] != "BootcHost" or document["status"]["booted"] is None:
                raise ValueError(f"{document['kind']} of {document['apiVersion']}")
            return _read(document)
        except (ValueError, KeyError, TypeError) as error:
            why = (f"wanted: a booted BootcHost of {API}", f"got: {error!r}", said[:600])
            raise unable("BTC001", "bootc-not-understood", "`bootc status` says what this aistack does not understand", why=why) from error

    def _came(self, image: Image) -> Entry:
        """The staged entry, which must be this image: a tag may have moved since it was asked. Another one is dropped."""
        staged = self._host().staged
        if staged is None:
            raise unable("BTC003", "nothing-downloaded", f"{image.digest} was not downloaded", hints=("aistack node update --download",))
        if staged.digest != image.digest:
            self.discard()
            why = (f"wanted: {image.digest}", f"came: {staged.digest}")
            hints = (
                "try again: the tag may have moved meanwhile",
                "bootc takes what a tag names and no other digest; every image that was pushed has a tag of its own: "
                f"aistack node update --to {image.repository}:NAME-{image.digest[7:19]}@{image.digest}",
            )
            raise unable("BTC002", "other-image-came", f"{image.reference} does not name the image that is wanted", why=why, hints=hints)
        return staged

    def _require_bound(self, staged: Entry) -> None:
        """bootc stages before it pulls what is bound, and a reboot starts it all the same (its issue 2013): here it is dropped."""
        reading = promised_images(self.root / staged.tree)
        try:
            if reading.value is None:
                raise unable("BTC001", "bootc-not-understood", f"what {staged.digest} binds cannot be read", why=(reading.error or "",))
            bound_images.require(self.root / "ostree/bootc/storage", reading.value)
        except DiagnosticError:
            self.discard()
            raise


def _read(document: dict[str, Any]) -> Host:
    status, image = document["status"], document["spec"]["image"]
    queued = bool(status.get("rollbackQueued")) or document["spec"].get("bootOrder") == "rollback"
    booted, rollback, further = status["booted"], status["rollback"], status.get("otherDeployments") or []
    order = [one for one in ((rollback, booted) if queued else (booted, rollback)) if one is not None] + further
    before = 1 if status["staged"] else 0
    others = [_entry(one, index, booted=one is booted, default=index == before) for index, one in enumerate(order, start=before)]
    staged = _entry(status["staged"], 0, staged=True) if status["staged"] else None
    return Host(follows=image["image"] if image else None, staged=staged, others=tuple(others))


def _entry(one: dict[str, Any], index: int, *, booted: bool = False, default: bool = False, staged: bool = False) -> Entry:
    image, ostree = one["image"], one["ostree"]
    listed = Listed(
        digest=image["imageDigest"] if image else ostree["checksum"],
        reference=image["image"]["image"] if image else None,
        version=image["version"] if image else None,
        booted=booted,
        default=default,
        staged=staged,
        pinned=one["pinned"],
    )
    tree = f"ostree/deploy/{ostree['stateroot']}/deploy/{ostree['checksum']}.{ostree['deploySerial']}"
    return Entry(listed=listed, index=index, waits=bool(one.get("downloadOnly")), tree=tree)
