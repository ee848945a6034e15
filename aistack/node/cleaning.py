"""What goes from a node: deployments that nobody goes back to, and the layers and bound images that only they had."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aistack.diagnostics import ExitCode
from aistack.host.probes.reading import inside
from aistack.node import following, live, state, update
from aistack.node.decide import State
from aistack.node.deployments import Deployments, Listed


def run_clean(root: Path, deployments: Deployments) -> int:
    """What follows a boot that confirmed its deployment; says what went."""
    with update.alone(root, print):
        for digest in clean(root, deployments):
            print(f"removed {digest}")
    return int(ExitCode.OK)


def clean(root: Path, deployments: Deployments) -> tuple[str, ...]:
    """Remove what is not needed, and return the digests that went; for who holds the lock of updates.

    Nothing goes where another deployment than the confirmed one is booted.
    """
    listed, remembered, over = deployments.listed(), state.load(inside(root, state.PATH)), live.in_force(root)
    if remembered.confirmed not in [one.digest for one in listed if one.booted]:
        return ()
    return deployments.clean(kept(listed, remembered, over.promised_manifest if over else None))


def kept(listed: Sequence[Listed], remembered: State, over: str | None) -> frozenset[str]:
    """The digests that stay whatever else goes: the confirmed one, the one that a rollback would start, and the one whose apps run."""
    back = following.to_go_back_to(listed, remembered.confirmed, remembered.quarantined)
    return frozenset(digest for digest in (remembered.confirmed, back.digest if back else None, over) if digest)
