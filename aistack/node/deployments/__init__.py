"""What the node asks of an update engine; one module per engine.

An engine keeps bootable system versions and knows nothing of gates, quarantine or tags: whoever calls has decided, and names digests.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Protocol

from aistack.facts.readings import Deployment
from aistack.values import dataclass

Advance = Callable[[str, int, int | None], None]
"""Told what comes, how many bytes of it came, and of how many (None: nobody knows)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A system image at one digest: `reference` is HOST/REPOSITORY:TAG as it is followed, `digest` its manifest's (`sha256:HEX`)."""

    reference: str
    digest: str

    @property
    def repository(self) -> str:
        """HOST/REPOSITORY."""
        return self.reference.rpartition(":")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A deployment: its image's digest (its commit where it promises none), the reference that it follows, its version.

    `booted` runs now; `default` is what the bootloader starts next time; `staged` becomes the default at the next orderly shutdown and is
    lost when there is none; `pinned` is kept by the engine until somebody unpins it.
    """

    digest: str
    reference: str | None = None
    version: str | None = None
    booted: bool = False
    default: bool = False
    staged: bool = False
    pinned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What a download brought: layers of the system image and bound images, new of how many; `bytes` None where the engine cannot tell."""

    layers: int
    new_layers: int
    bound: int
    new_bound: int
    bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What the staged `deployment`, whose files lie at `tree`, has otherwise than the booted one: paths, and kernel arguments."""

    deployment: Deployment
    tree: Path
    paths: tuple[str, ...]
    arguments: tuple[str, ...]


class Deployments(Protocol):
    """The bootable system versions on a node, known by their system image's manifest digest.

    Every method raises DiagnosticError when it could not do what it says; what was there before is then still there.
    """

    def listed(self) -> tuple[Listed, ...]:
        """What can be booted, the staged one first where there is one, then in the bootloader's order."""

    def download(self, image: Image, advance: Advance) -> Fetched:
        """Bring all that the image needs, its bound images included, onto the node; stages nothing.

        Checks the space first, the signature as the booted image asks for it, and every digest. Does nothing twice: what came before an
        error is kept.
        """

    def complete(self, image: Image, advance: Advance) -> Fetched | None:
        """Bring again what the booted `image` binds and the node lacks; None where it lacks nothing, or the engine cannot tell."""

    def stage(self, image: Image, keep: Collection[str]) -> None:
        """Make a downloaded image the deployment that the next orderly reboot starts, on trial; an earlier staged one goes.

        Refuses while anything that the image binds is not on the node. /etc is merged, the image's kernel arguments are applied. The
        deployments of `keep` (digests) survive that reboot.
        """

    def try_staged(self) -> None:
        """Note again that the staged deployment is on trial, in case whoever staged it was killed before it could."""

    def lock(self, image: Image) -> bytes | None:
        """The lock inside a downloaded image; None where the engine cannot show it before it is booted."""

    def difference(self) -> Difference | None:
        """What sets the staged deployment apart; None where nothing is staged, or the engine cannot tell."""

    def discard(self) -> None:
        """Drop the staged deployment; nothing happens where there is none."""

    def make_default(self, digest: str) -> None:
        """Make the bootloader start this deployment from now on; a staged one may be dropped by that."""

    def stop_counting(self) -> None:
        """Tell the bootloader to count no more boots: from here on the order of the deployments alone says what starts.

        The trial of what is staged meanwhile stays noted.
        """

    def reboot(self) -> None:
        """Start the machine again in an orderly way; returns at once."""

    def clean(self, keep: Collection[str]) -> tuple[str, ...]:
        """Remove deployments, layers and bound images that nothing needs, and return the digests of the deployments that went.

        Kept are the booted, default, staged and pinned ones, the images of `keep` (digests), deployed or not, and whatever these need.
        """
