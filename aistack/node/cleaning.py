"""What goes from a node after a confirm: deployments that nobody goes back to, and the layers and bound images that only they had."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aistack.diagnostics import ExitCode
from aistack.host.probes.reading import inside
from aistack.node import following, state, update
from aistack.node.decide import State
from aistack.node.deployments import Deployments, Listed


def run_clean(root: Path, deployments: Deployments) -> int:
    """Remove what is not needed and say what went; does nothing where another deployment than the confirmed one is booted."""
    with update.alone(root):
        listed, remembered = deployments.listed(), state.load(inside(root, state.PATH))
        if remembered.confirmed not in [one.digest for one in listed if one.booted]:
            print("the confirmed deployment is not the booted one: everything stays")
            return int(ExitCode.OK)
        for digest in deployments.clean(kept(listed, remembered)):
            print(f"removed {digest}")
    return int(ExitCode.OK)


def kept(listed: Sequence[Listed], remembered: State) -> frozenset[str]:
    """The digests that stay whatever else goes: the confirmed one, and the one that a rollback would start."""
    back = following.to_go_back_to(listed, remembered.confirmed, remembered.quarantined)
    return frozenset(digest for digest in (remembered.confirmed, back.digest if back else None) if digest)
