"""What the agent asks of an update engine; one module per engine."""

from __future__ import annotations

from typing import Protocol


class Deployments(Protocol):
    """The bootable system versions on a node, known by their system image's manifest digest."""

    def present(self) -> tuple[str, ...]:
        """The digests of the deployments that can be booted, the bootloader's first choice first."""

    def make_default(self, digest: str) -> None:
        """Make the bootloader start this deployment from now on; raises DiagnosticError when that fails."""

    def stop_counting(self) -> None:
        """Tell the bootloader to count no more boots: from here on the order of the deployments alone says what starts."""

    def reboot(self) -> None:
        """Start the machine again in an orderly way; returns at once."""
