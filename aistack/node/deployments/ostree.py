"""Deployments that OSTree laid down and GRUB starts."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from aistack.compose.render.policy import POLICY
from aistack.compose.render.system import LOCK_PATH
from aistack.diagnostics import DiagnosticError, unable
from aistack.facts.readings import Deployment, PromisedImage
from aistack.host import bound_arrival, bound_images, etc_merge, grub, ostree, ostree_commit, room, sysroot
from aistack.host.blobs import UNPACKED_SIZE
from aistack.host.process import run
from aistack.node.deployments import Advance, Difference, Fetched, Image, Listed
from aistack.values import dataclass

GRUB_ENVIRONMENT = "boot/grub/grubenv"
TRIES = 2
"""Boots that a new deployment has to reach a gate: a power cut in the first one must not condemn it."""
RESERVE, BOOT_RESERVE = 192 << 20, 4 << 20
"""Bytes that stay free beside what comes: OSTree keeps 64 MiB itself, a deployment takes folders and its own /etc."""
UNPACKED = 3
"""Times that a compressed layer grows, where it does not say itself how large it is unpacked: Debian's packages grow 2.6 times by zstd."""
MOST_DIGITS = 18
"""Of a size that somebody may mean."""


def unpacked(layers: Iterable[ostree.Layer]) -> int:
    """Bytes that layers take on the disk: what they say themselves, else a guess."""

    def size(layer: ostree.Layer) -> int:
        if layer.media_type.endswith(".tar"):
            return layer.size
        said = dict(layer.annotations).get(UNPACKED_SIZE, "")
        return int(said) if said.isdecimal() and len(said) <= MOST_DIGITS else layer.size * UNPACKED

    return sum(map(size, layers))


@dataclass(frozen=True, slots=True, kw_only=True)
class OstreeDeployments:
    """The node's own sysroot; `root` is another tree only in tests."""

    root: Path = Path("/")

    def listed(self) -> tuple[Listed, ...]:
        """As OSTree has them: staged, then in the menu's order."""
        with sysroot.opened(self.root) as opened:
            return tuple(
                Listed(
                    digest=one.promised or one.checksum,
                    reference=one.reference,
                    version=one.version,
                    booted=one.booted,
                    default=one.default,
                    staged=one.staged,
                    pinned=one.pinned,
                )
                for one in sysroot.deployments(opened)
            )

    def download(self, image: Image, advance: Advance) -> Fetched:
        """Layer by layer into OSTree's repository, then the bound images into their store, each part whole or not at all."""
        from aistack.host import remote_image  # the gates need none of it

        came = total = 0

        def arrived(size: int) -> None:
            nonlocal came
            came += size
            if total:
                advance(f"fetching {image.reference}", min(came, total), total)

        self._make_writable()
        policy = self.root / POLICY.lstrip("/")
        opened = remote_image.opened(image.reference, image.digest, arrived, policy=policy if policy.exists() else None)
        with bound_arrival.arriving(self._storage, self._needed()) as scratch, opened as blobs:
            described = ostree.read_image(blobs, image.digest)
            new = ostree.missing(self._repository, described.layers)
            # The last layer, which is small, says what the image binds: with it all the room that is needed is known before the rest comes.
            if not described.layers:
                raise unable("OST008", "image-not-understood", f"{image.reference} has no layer", why=(f"its digest: {image.digest}",))
            top = self._bound(ostree.import_layer(self._repository, blobs, described.layers[-1]))
            lacking = [one for one in top if one.digest not in bound_images.there(self._storage)]
            here = bound_images.layers_there(self._storage)
            apart = [remote_image.missing_layers(image.repository, one, here) for one in lacking]
            parts = {layer.digest: layer for layers in apart for layer in layers}.values()
            # One image after the other lies there compressed, too, until it is whole.
            packed = max((sum(layer.size for layer in layers) for layers in apart), default=0)
            room.require(self._repository, unpacked(new) + unpacked(parts) + packed + RESERVE, f"the update to {image.reference}")
            came, total = 0, sum(part.size for part in (*ostree.missing(self._repository, new), *parts))
            bound = self._bound(ostree.import_image(self._repository, blobs, image.digest).commit)
            sizes = {part.digest: part.size for part in parts}
            for one in bound:
                if one.digest not in bound_images.there(self._storage):
                    bound_images.pull(image.repository, one, self._storage, scratch, lambda digest: arrived(sizes.get(digest, 0)))
        bound_images.require(self._storage, bound)
        return Fetched(
            layers=len(described.layers),
            new_layers=len(new),
            bound=len(bound),
            new_bound=len(lacking),
            bytes=sum(part.size for part in (*new, *parts)),
        )

    def complete(self, image: Image, advance: Advance) -> Fetched | None:
        """As a download does it, of which only what is missing comes; also where the store is not to be believed."""
        with sysroot.opened(self.root) as opened:
            repo = opened.repo()
            bound = {one.digest for deployed in sysroot.deployments(opened) if deployed.booted for one in self._binds(repo, deployed)}
        if not (self._storage / bound_arrival.MARK).exists() and bound <= bound_images.there(self._storage):
            return None
        fetched = self.download(image, advance)
        return fetched if fetched.new_layers or fetched.new_bound else None

    def stage(self, image: Image, keep: Collection[str]) -> None:
        """OSTree lays it out now and swaps the menu at the orderly shutdown; the trial is noted for exactly this deployment."""
        with sysroot.opened(self.root, writable=True) as opened:
            repo = opened.repo()
            commit = repo.resolve_rev(ostree.image_ref(image.digest), False)[1]
            bound_images.require(self._storage, bound_images.bound(repo, commit))
            listed = [one for one in sysroot.deployments(opened) if not one.staged]
            files = sysroot.boot_files(repo, commit)
            if files not in [ostree_commit.undamaged(sysroot.boot_files, repo, one.checksum) for one in listed]:
                room.require(self.root / "boot", sum(size for _, size in files.values()) + BOOT_RESERVE, f"the kernel of {image.reference}")
            booted = next((one for one in listed if one.booted), listed[0])  # OSTree itself refuses where none is booted
            trial = grub.trial(self.root / GRUB_ENVIRONMENT)
            if trial is not None and trial.deployment == booted.name:
                why = ("another one on trial would leave this one, unproved, as what is started without being counted",)
                hints = ("wait for the second gate: aistack node status",)
                raise unable("UPD007", "trial-not-over", "the system image that runs is on trial itself", why=why, hints=hints)
            first = listed[0]
            if trial is not None and trial.deployment == first.name:
                # The bootloader fell back: a power cut before the shutdown must not start what it fell back from, uncounted.
                sysroot.set_default(opened, booted.name)
                first = booted
            etc_merge.require_mergeable(self.root, repo, commit)
            arch = os.uname().machine
            arguments = sysroot.changed_kargs(
                booted.kernel_arguments, sysroot.image_kargs(repo, booted.checksum, arch), sysroot.image_kargs(repo, commit, arch)
            )
            # The first one too: where a rollback waits for its reboot, that is what to fall back to.
            sysroot.hold(opened, [*keep, first.promised or first.checksum])
            sysroot.discard_staged(opened)
            # Noted before it is there: whoever is killed in between leaves no deployment that would start without being counted.
            grub.set_trial(grub.Trial(deployment=sysroot.next_name(opened, commit), tries=TRIES), self.root / GRUB_ENVIRONMENT)
            sysroot.deploy(opened, commit, digest=image.digest, reference=image.reference, kernel_arguments=arguments, staged=True)
        try:
            self.try_staged()
        except DiagnosticError:
            self.discard()
            raise

    def try_staged(self) -> None:
        """GRUB's environment names the deployment."""
        with sysroot.opened(self.root) as opened:
            staged = next((one.name for one in sysroot.deployments(opened) if one.staged), None)
        path = self.root / GRUB_ENVIRONMENT
        noted = grub.trial(path)
        if staged is not None and (noted is None or noted.deployment != staged):
            grub.set_trial(grub.Trial(deployment=staged, tries=TRIES), path)

    def lock(self, image: Image) -> bytes | None:
        """Read from the image's commit."""
        folder, _, name = LOCK_PATH.rpartition("/")
        with sysroot.opened(self.root) as opened:
            repo = opened.repo()
            return ostree_commit.files_in(repo, repo.resolve_rev(ostree.image_ref(image.digest), False)[1], folder).get(name)

    def difference(self) -> Difference | None:
        """OSTree compares the two commits; folders that are the same in both are not looked into."""
        with sysroot.opened(self.root) as opened:
            listed = sysroot.deployments(opened)
        booted = next((one for one in listed if one.booted), None)
        staged = next((one for one in listed if one.staged), None)
        if booted is None or staged is None:
            return None
        said = run(["ostree", f"--repo={self._repository}", "diff", booted.checksum, staged.checksum], timeout=600).stdout
        before, after = ([one for one in side.kernel_arguments if not one.startswith("ostree=")] for side in (booted, staged))
        return Difference(
            deployment=Deployment(
                stateroot=sysroot.STATEROOT,
                commit=staged.checksum,
                serial=staged.serial,
                promised_manifest=staged.promised,
                manifest=staged.digest,
                lock_identity=staged.lock,
                reference=staged.reference,
            ),
            tree=Path(staged.tree),
            paths=tuple(line.split(maxsplit=1)[1] for line in said.splitlines() if line),
            arguments=tuple(sorted(set(before) ^ set(after))) or (() if before == after else tuple(after)),
        )

    def discard(self) -> None:
        """The trial's note stays: it names a deployment that the menu will never have first."""
        with sysroot.opened(self.root, writable=True) as opened:
            sysroot.discard_staged(opened)

    def clean(self, keep: Collection[str]) -> tuple[str, ...]:
        """Deployments first, then the refs of images and layers, then bound images: broken off anywhere, it only left more."""
        with sysroot.opened(self.root, writable=True) as opened:
            sysroot.hold(opened, keep)
            repo = opened.repo()
            listed = sysroot.deployments(opened)
            others = set(keep) - {one.promised for one in listed if one.booted}  # what runs may be there twice: once is enough
            kept = [one for one in listed if one.booted or one.default or one.staged or one.pinned or one.promised in others]
            sysroot.keep_only(opened, [one.name for one in kept])
            # An image whose apps are in force need not be deployed any more.
            wanted = {commit for digest in keep if (commit := repo.resolve_rev(ostree.image_ref(digest), True)[1])}
            commits = wanted | {one.checksum for one in kept}
            # A damaged image loses its refs, so that a download brings it anew.
            refs = [ref for commit in commits for ref in ostree_commit.undamaged(ostree.refs_of, repo, commit) or ()]
            needed = {image.digest for one in kept for image in self._binds(repo, one)}
            needed |= {image.digest for commit in wanted - {one.checksum for one in kept} for image in bound_images.bound(repo, commit)}
            sysroot.prune(opened, refs)
            bound_images.remove_others(self._storage, needed)
        return tuple(one.promised or one.checksum for one in listed if one not in kept)

    def make_default(self, digest: str) -> None:
        """Let OSTree write the bootloader's entries anew with this deployment first; nothing is written when it is first already."""
        with sysroot.opened(self.root, writable=True) as opened:
            listed = [one for one in sysroot.deployments(opened) if not one.staged]
            chosen = next((one for one in listed if one.promised == digest), None)
            if chosen is None:
                here = tuple(f"here: {one.promised or one.checksum}" for one in listed)
                raise unable("NODE003", "deployment-missing", f"no deployment on this node is {digest}", why=here)
            if not chosen.default:
                sysroot.set_default(opened, f"{chosen.checksum}.{chosen.serial}")

    def stop_counting(self) -> None:
        """End the trial in GRUB's environment, save that of what is staged, which has not begun."""
        path = self.root / GRUB_ENVIRONMENT
        if (trial := grub.trial(path)) is None:
            return
        with sysroot.opened(self.root) as opened:
            staged = [one.name for one in sysroot.deployments(opened) if one.staged]
        if trial.deployment not in staged:
            grub.set_trial(None, path)

    def reboot(self) -> None:
        """Ask systemd, without waiting: this very service has to end first."""
        run(["systemctl", "--no-block", "reboot"], timeout=60)

    @property
    def _repository(self) -> Path:
        return self.root / "ostree/repo"

    @property
    def _storage(self) -> Path:
        return (self.root / "ostree/bootc/storage").resolve()

    def _make_writable(self) -> None:
        """The booted sysroot stays writable for this process; its lock is not held, so that a gate can act while an image comes."""
        with sysroot.opened(self.root, writable=True):
            pass

    def _bound(self, commit: str) -> tuple[PromisedImage, ...]:
        with sysroot.opened(self.root) as opened:
            return bound_images.bound(opened.repo(), commit)

    def _needed(self) -> set[str]:
        """The digests of the images that the deployments on this node bind."""
        with sysroot.opened(self.root) as opened:
            repo = opened.repo()
            return {image.digest for one in sysroot.deployments(opened) for image in self._binds(repo, one)}

    def _binds(self, repo: Any, one: sysroot.Deployment) -> tuple[PromisedImage, ...]:
        return bound_images.bound_by(repo, one.checksum, self.root / one.tree.lstrip("/"))
