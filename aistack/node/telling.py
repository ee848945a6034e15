"""What a node tells without being asked: the journal, metrics, the login prompt; and what it remembers for those who ask later."""

from __future__ import annotations

import contextlib
import datetime
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from aistack.compose.lock import LockFormatError, decode, identity
from aistack.diagnostics import DiagnosticError
from aistack.facts import events
from aistack.host import durable, grub, journal
from aistack.host.probes import deployment
from aistack.host.probes.reading import inside, read
from aistack.node import gate, metrics, state, update
from aistack.node.agent import BANNER, RUN, put, text
from aistack.node.decide import Action, Decision
from aistack.node.deployments import Deployments
from aistack.node.first_gate import lock_text
from aistack.node.results import Outcome, Verdict
from aistack.node.status import Status, banner

METRICS = f"{RUN}/metrics.prom"
CHANGE = "/var/lib/aistack/change.json"
CHANGE_SCHEMA = "aistack/node-change/v1"

EVENTS = {
    Action.CONFIRM: events.CONFIRMED,
    Action.ROLL_BACK: events.UNDONE,
    Action.GO_FORWARD: events.FORWARD,
    Action.MAKE_DEFAULT: events.FELL_BACK,
    Action.MARK_UNFIT: events.UNFIT,
    Action.DEGRADE: events.DEGRADED,
}
"""What an action is to the journal; the others change nothing."""


@contextlib.contextmanager
def harmless() -> Iterator[None]:
    """What is told in here, and cannot be, is said to the journal, or to whoever sits there: nothing that a node does waits for it."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError, DiagnosticError) as error:
        with contextlib.suppress(OSError):
            print(f"aistack: what this node tells could not be written: {error}", file=sys.stderr, flush=True)


def decided(root: Path, decision: Decision, verdict: Verdict, booted: str | None, *, changes: bool) -> None:
    """Tell the journal what the second gate decided, and keep it for the next boots where it `changes` what the node remembers."""
    fields = {
        "digest": booted or "unknown",
        "confirmed": decision.state.confirmed or "none",
        "failed": ", ".join(verdict.failed) or "nothing",
    }
    if decision.action in EVENTS:
        journal.send(EVENTS[decision.action], f"{decision.action.value}: {decision.because}", fields)
    if changes:
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        said = {"schema": CHANGE_SCHEMA, "time": now, "action": decision.action.value, "because": decision.because, **fields}
        with harmless():
            durable.write(inside(root, CHANGE), json.dumps(said, indent=2) + "\n")


def look(root: Path, deployments: Deployments) -> Status:
    """The node's status now; what cannot be read is left out, save a damaged state, which raises DiagnosticError."""
    listed, booted, in_force = read("deployments", deployments.listed), deployment.booted(root).value, deployment.deployment(root).value
    name, whole, settings = _lock(root)
    gates = {phase: said for phase in ("check", "confirm", "watch") if (said := _gate(root, phase))}
    return Status(
        lock_name=name,
        lock=whole,
        booted=booted.manifest if booted else None,
        live=in_force.manifest if in_force and in_force != booted else None,
        commit=booted.commit if booted else None,
        deployment=f"{booted.commit}.{booted.serial}" if booted else None,
        deployments=listed,
        state=state.load(inside(root, state.PATH)),
        trial=read("GRUB's environment", lambda: grub.trial(inside(root, str(grub.PATH)))).value,
        follows=update.followed(root, listed.value or ()),
        window=update.credential(root, "aistack.window") or settings.get("window"),
        gates=gates,
        last_update=_document(root, update.LAST),
        last_change=_document(root, CHANGE),
    )


def tell(root: Path, deployments: Deployments, *, watched: dict[str, Any] | None = None) -> None:
    """Write metrics and login prompt anew, and the watch's report where it has just looked."""
    texts = {} if watched is None else {f"{RUN}/watch.json": text(watched)}
    with harmless():
        status = look(root, deployments)
        if watched is not None:
            status = replace(status, gates={**status.gates, "watch": watched})
        texts |= {METRICS: metrics.text(status), BANNER: "".join(f"aistack: {line}\n" for line in banner(status))}
    put(root, texts)


def _lock(root: Path) -> tuple[str, str | None, dict[str, str]]:
    """The lock's name, its identity, and its settings of the node."""
    try:
        lock = decode(lock_text(root).value or b"")
    except LockFormatError as error:
        return f"damaged: {error}", None, {}
    return lock.name, identity(lock), dict(lock.node)


def _gate(root: Path, phase: str) -> dict[str, Any] | None:
    """What a gate wrote; None where it wrote nothing, or what is there is none of its reports."""
    said = _document(root, f"{RUN}/{phase}.json")
    return said if said and read(phase, lambda: (Outcome(said["outcome"]), gate.results(said))).value is not None else None


def _document(root: Path, path: str) -> dict[str, Any] | None:
    return read(path, lambda: json.loads(inside(root, path).read_text())).value
