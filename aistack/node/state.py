"""The node's memory between boots: /var/lib/aistack/state.json, replaced as a whole."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aistack.diagnostics import DiagnosticError, unable
from aistack.host import durable
from aistack.host.probes.reading import inside
from aistack.node.decide import Experiment, Reboots, State, quarantine

PATH = "/var/lib/aistack/state.json"
SCHEMA = "aistack/node-state/v1"
LOCK = "/run/aistack/state.lock"
LEFT = "/run/aistack/left"
"""There where somebody went back from the booted deployment by hand: no gate of this boot decides about it any more."""


Say = Callable[[str], None]


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Holds what is remembered and what the bootloader is told together: a gate's decision, or a rollback by hand.

    Each is done in a moment, so another one is waited for. The lock goes with the process; a full /run has none, and stops nobody.
    """
    path = inside(root, LOCK)
    with ExitStack() as stack:
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            fcntl.flock(stack.enter_context(path.open("w")), fcntl.LOCK_EX)
        yield


def leave(root: Path) -> None:
    """Keep the gates of this boot from deciding anything more; a full /run cannot be told."""
    with suppress(OSError):
        inside(root, LEFT).touch()


def come_back(root: Path) -> None:
    """Let the gates of this boot decide again: the booted deployment is wanted after all."""
    inside(root, LEFT).unlink(missing_ok=True)


def load(path: Path) -> State:
    """The remembered state; a node that never confirmed anything has no file. Raises DiagnosticError when it cannot be read."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return State()
    except OSError as error:
        raise unable("NODE001", "state-unreadable", f"cannot read `{path}`: {error.strerror}") from error
    try:
        document = json.loads(data)
        if document["schema"] != SCHEMA:
            raise ValueError(f"its schema is `{document['schema']}`")
        experiment, reboots = document["experiment"], document.get("reboots")
        return State(
            confirmed=None if document["confirmed"] is None else _name(document["confirmed"]),
            quarantined=_names(document["quarantined"]),
            experiment=None if experiment is None else Experiment(digest=_name(experiment["digest"]), failed=_names(experiment["failed"])),
            unfit=None if document["unfit"] is None else _name(document["unfit"]),
            reboots=None if reboots is None else Reboots(digest=_name(reboots["digest"]), times=_times(reboots["times"])),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise unable(
            "NODE002",
            "state-damaged",
            f"`{path}` is not a node's state",
            why=(repr(error),),
            hints=(f"look at it, then remove it: rm {path}",),
        ) from error


def _name(said: Any) -> str:
    if not isinstance(said, str) or not said.isprintable():
        raise TypeError(f"{said!r} is no name")
    return said


def _names(said: Any) -> tuple[str, ...]:
    if not isinstance(said, list):
        raise TypeError(f"{said!r} is no list")
    return tuple(map(_name, said))


def _times(said: Any) -> int:
    if type(said) is not int:
        raise TypeError(f"{said!r} is no number of times")
    return said


def recovered(root: Path, say: Say) -> State:
    """The remembered state; where it cannot be read an empty one, and that is said: whoever goes back by hand goes back all the same."""
    try:
        return load(inside(root, PATH))
    except DiagnosticError as error:
        say(f"what this node remembered counts for nothing: {error}")
        return State()


def undone(root: Path, say: Say, *digests: str | None) -> None:
    """Remember not to take these images again."""
    with alone(root):
        remember_undone(root, say, *digests)


def remember_undone(root: Path, say: Say, *digests: str | None) -> None:
    """As `undone`, for who holds `alone`, which is no lock to take twice.

    A full disk, which remembers nothing, keeps no node from going back, and neither does a damaged memory, which begins anew by this.
    """
    try:
        save(inside(root, PATH), quarantine(recovered(root, lambda _: None), *digests))
    except OSError as error:
        say(f"nobody will remember that it was undone, so that it may be taken again: {error}")


def save(path: Path, state: State) -> None:
    """Write the state so that a power cut leaves either the old or the new one."""
    durable.write(path, json.dumps({"schema": SCHEMA, **asdict(state)}, indent=2, sort_keys=True) + "\n")
