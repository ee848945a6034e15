"""The node's memory between boots: /var/lib/aistack/state.json, replaced as a whole."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from aistack.diagnostics import unable
from aistack.host import durable
from aistack.host.probes.reading import inside
from aistack.node.decide import Experiment, Reboots, State

PATH = "/var/lib/aistack/state.json"
SCHEMA = "aistack/node-state/v1"
LOCK = "/run/aistack/state.lock"
LEFT = "/run/aistack/left"
"""There where somebody went back from the booted deployment by hand: no gate of this boot decides about it any more."""


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


def load(path: Path) -> State:
    """The remembered state; a node that never confirmed anything has no file. Raises DiagnosticError when it cannot be read."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return State()
    except OSError as error:
        raise unable("NODE001", "state-unreadable", f"cannot read `{path}`: {error.strerror}") from error
    try:
        document = json.loads(text)
        if document["schema"] != SCHEMA:
            raise ValueError(f"its schema is `{document['schema']}`")
        experiment, reboots = document["experiment"], document.get("reboots")
        return State(
            confirmed=document["confirmed"],
            quarantined=tuple(document["quarantined"]),
            experiment=None if experiment is None else Experiment(digest=experiment["digest"], failed=tuple(experiment["failed"])),
            unfit=document["unfit"],
            reboots=None if reboots is None else Reboots(digest=reboots["digest"], times=int(reboots["times"])),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise unable(
            "NODE002",
            "state-damaged",
            f"`{path}` is not a node's state",
            why=(repr(error),),
            hints=(f"look at it, then remove it: rm {path}",),
        ) from error


def save(path: Path, state: State) -> None:
    """Write the state so that a power cut leaves either the old or the new one."""
    durable.write(path, json.dumps({"schema": SCHEMA, **asdict(state)}, indent=2, sort_keys=True) + "\n")
