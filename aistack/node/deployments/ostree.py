"""Deployments that OSTree laid down and GRUB starts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from aistack.diagnostics import unable
from aistack.host.process import find, run

GRUB_GENERATOR = "/usr/lib/aistack/grub-gen"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "OSTREE_GRUB2_EXEC": GRUB_GENERATOR}


@dataclass(frozen=True, slots=True, kw_only=True)
class OstreeDeployments:
    """The node's own sysroot; `root` is another tree only in tests."""

    root: Path = Path("/")

    def present(self) -> tuple[str, ...]:
        """The digests in the bootloader's order; a deployment whose origin names no digest is shown as its commit."""
        return tuple(self._digest(stateroot, commit) for stateroot, commit in self._listed())

    def make_default(self, digest: str) -> None:
        """Let OSTree write the bootloader's entries anew with this deployment first."""
        listed = self.present()
        if digest not in listed:
            raise unable("NODE003", "deployment-missing", f"no deployment on this node is {digest}", why=listed)
        index = listed.index(digest)
        if index == 0:
            return
        # /sysroot is read-only; the units that call this have a mount namespace of their own, so this stays inside.
        run(["mount", "-o", "remount,rw", str(self.root / "sysroot")], timeout=60)
        run(["ostree", "admin", "set-default", str(index)], env=ENVIRONMENT, timeout=300)

    def boot_succeeded(self) -> None:
        """Clear GRUB's boot counter where one is set; a machine without one has nothing to clear."""
        path = self.root / "boot/grub/grubenv"
        if not path.exists() or find("grub-editenv") is None:
            return
        listed = run(["grub-editenv", str(path), "list"], timeout=60).stdout
        if re.search(r"^boot_counter=", listed, re.MULTILINE):
            run(["grub-editenv", str(path), "set", "boot_success=1"], timeout=60)
            run(["grub-editenv", str(path), "unset", "boot_counter"], timeout=60)

    def reboot(self) -> None:
        """Ask systemd, without waiting: this very service has to end first."""
        run(["systemctl", "--no-block", "reboot"], timeout=60)

    def _listed(self) -> tuple[tuple[str, str], ...]:
        status = run(["ostree", "admin", "status"], env=ENVIRONMENT, timeout=120).stdout
        return tuple(re.findall(r"^[* ] (\S+) ([0-9a-f]{64}\.\d+)", status, re.MULTILINE))

    def _digest(self, stateroot: str, commit: str) -> str:
        origin = self.root / f"ostree/deploy/{stateroot}/deploy/{commit}.origin"
        try:
            found = re.search(r"^manifest-digest=(\S+)$", origin.read_text(), re.MULTILINE)
        except OSError:
            found = None
        return found.group(1) if found else commit
