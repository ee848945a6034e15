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
from aistack.facts.following import SEALED_FORM
from aistack.facts.readings import Reading
from aistack.host import durable, grub, journal
from aistack.host.probes import deployment
from aistack.host.probes.reading import inside, read
from aistack.node import metrics, state, update
from aistack.node.agent import BANNER, RUN, put, text
from aistack.node.decide import Action, Decision, State
from aistack.node.deployments import Deployments
from aistack.node.first_gate import lock_text
from aistack.node.fleet_reading import NodeReport
from aistack.node.fleet_reading import decode as decode_report
from aistack.node.results import Outcome, Result, Verdict
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
    """The node's status now; of what cannot be read it says why, or it is left out."""
    listed, booted, in_force = read("deployments", deployments.listed), deployment.booted(root).value, deployment.deployment(root).value
    name, whole, settings = _lock(root)
    follows = read("held", lambda: update.followed(root, listed.value or ()))
    remembered = read(state.PATH, lambda: state.load(inside(root, state.PATH)))
    gates = {phase: said for phase in ("check", "confirm", "watch") if (said := _gate(root, phase)) is not None}
    return Status(
        lock_name=name,
        lock=whole,
        booted=booted.manifest if booted else None,
        live=in_force.manifest if in_force and in_force != booted else None,
        commit=booted.commit if booted else None,
        deployment=f"{booted.commit}.{booted.serial}" if booted else None,
        deployments=listed,
        state=remembered.value or State(),
        state_error=remembered.error,
        trial=read("GRUB's environment", lambda: grub.trial(inside(root, str(grub.PATH)))).value,
        follows=follows.value,
        follows_error=follows.error,
        window=update.credential(root, "aistack.window") or settings.get("window"),
        gates=gates,
        last_update=_event(root, update.LAST, "outcome"),
        last_change=_event(root, CHANGE, "action"),
    )


def tell(root: Path, deployments: Deployments, *, watched: dict[str, Any] | None = None) -> None:
    """Write metrics and login prompt anew, and the watch's report where it has just looked."""
    texts = {} if watched is None else {f"{RUN}/watch.json": text(watched)}
    with harmless():
        status = look(root, deployments)
        if watched is not None:
            status = replace(status, gates={**status.gates, "watch": decode_report(text(watched), "watch.json")})
        texts |= {METRICS: metrics.text(status), BANNER: "".join(f"aistack: {line}\n" for line in banner(status))}
    put(root, texts)


def _lock(root: Path) -> tuple[str, str | None, dict[str, str]]:
    """The lock's name, its identity, and its settings of the node."""
    try:
        lock = decode(lock_text(root).value or b"")
    except LockFormatError as error:
        return f"damaged: {error}", None, {}
    return lock.name, identity(lock), dict(lock.node)


def left(root: Path, phase: str) -> Reading[NodeReport]:
    """What a gate, or the watch, left at this boot, if it has the form of a report."""
    path = f"{RUN}/{phase}.json"
    return read(path, lambda: decode_report(inside(root, path).read_text(), path))


def _gate(root: Path, phase: str) -> NodeReport | None:
    """A report, None where there is none; of one that is damaged, that nobody can tell what it found."""
    path = inside(root, f"{RUN}/{phase}.json")
    try:
        return decode_report(path.read_text(), str(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        damaged = Result(name=phase, outcome=Outcome.UNKNOWN, message=f"`{path}` is damaged: {error}")
        return NodeReport(file=str(path), outcome=damaged.outcome, cause=None, results=(damaged,))


def _event(root: Path, path: str, key: str) -> dict[str, Any] | None:
    """What an update, or a decision, is remembered to have come to; None where nobody can read that."""

    def load() -> dict[str, Any]:
        said: dict[str, Any] = json.loads(inside(root, path).read_text())
        if not all(isinstance(said[name], str) for name in ("time", "because", key)):
            raise TypeError(f"{path} lacks a text")
        datetime.datetime.strptime(said["time"], SEALED_FORM)
        return said

    return read(path, load).value
