"""Deployments that OSTree laid down and GRUB starts."""

from __future__ import annotations

from pathlib import Path

from aistack.diagnostics import unable
from aistack.host import grub, sysroot
from aistack.host.process import run
from aistack.node.deployments import Listed
from aistack.values import dataclass

GRUB_ENVIRONMENT = "boot/grub/grubenv"


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
        """End the trial in GRUB's environment; a machine without one has nothing to end."""
        path = self.root / GRUB_ENVIRONMENT
        if path.exists():
            grub.set_trial(None, path)

    def reboot(self) -> None:
        """Ask systemd, without waiting: this very service has to end first."""
        run(["systemctl", "--no-block", "reboot"], timeout=60)
