"""What goes from a node: deployments that nobody goes back to, and the layers and bound images that only they had."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.host import room
from aistack.host.probes.reading import inside
from aistack.node import following, live, state, update
from aistack.node.decide import State
from aistack.node.deployments import Deployments, Listed

T = TypeVar("T")


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
    booted = [one.digest for one in deployments.listed() if one.booted]
    if state.load(inside(root, state.PATH)).confirmed not in booted:
        return ()
    return deployments.clean(_kept(root, deployments))


def clean_after(root: Path, deployments: Deployments, say: Callable[[str], None]) -> None:
    """What nothing needs goes; where it does not, it goes the next time."""
    try:
        for digest in clean(root, deployments):
            say(f"removed {digest}")
    except (DiagnosticError, OSError) as error:
        say(f"what nothing needs could not be removed: {error}")


def with_room(root: Path, deployments: Deployments, coming: str, say: Callable[[str], None], step: Callable[[], T]) -> T:
    """What the step returns; where it finds no room, it is taken again after all went that nothing needs, save the image `coming`.

    This is how what failed makes room for what mends it: no boot was confirmed in between, and perhaps none ever was.
    Raises DiagnosticError (exit 3, UPD001) where there is none even so.
    """
    try:
        return step()
    except (DiagnosticError, OSError) as error:
        if room.full(error) is None:
            raise
    for digest in deployments.clean(_kept(root, deployments) | {coming}):
        say(f"removed {digest}, to make room")
    try:
        return step()
    except (DiagnosticError, OSError) as error:
        raise room.full(error) or error from error


def _kept(root: Path, deployments: Deployments) -> frozenset[str]:
    over = live.in_force(root)
    return kept(deployments.listed(), state.load(inside(root, state.PATH)), over.promised_manifest if over else None)


def kept(listed: Sequence[Listed], remembered: State, over: str | None) -> frozenset[str]:
    """The digests that stay whatever else goes: the confirmed one, the one that a rollback would start, and the one whose apps run."""
    back = following.to_go_back_to(listed, remembered.confirmed, remembered.quarantined)
    return frozenset(digest for digest in (remembered.confirmed, back.digest if back else None, over) if digest)
