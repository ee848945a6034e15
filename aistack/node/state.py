"""The node's memory between boots: /var/lib/aistack/state.json, replaced as a whole."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from aistack.diagnostics import unable
from aistack.host import durable
from aistack.node.decide import Experiment, Reboots, State

PATH = "/var/lib/aistack/state.json"
SCHEMA = "aistack/node-state/v1"


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
