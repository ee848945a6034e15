"""What a node says of itself, from what was read: as a document, as lines for people, as two lines above a login prompt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from aistack.facts.readings import Reading
from aistack.host.grub import Trial
from aistack.node import gate
from aistack.node.decide import State
from aistack.node.deployments import Listed
from aistack.node.fleet_reading import NodeReport
from aistack.node.following import to_go_back_to
from aistack.node.results import Outcome, Result
from aistack.values import dataclass

SCHEMA = "aistack/node-status/v1"
SHORT = 19
"""Characters of a digest that a person needs, `sha256:` among them."""

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One node at one moment.

    `booted` is the running image's digest, `deployment` its `CHECKSUM.SERIAL`; `live` is that of the image whose apps and models replaced
    its own since. `gates` are what check and confirm wrote at this boot, and the watch after them.
    `state` is empty where `state_error` says why nobody can tell what the node remembers; `follows_error` is why nobody can tell which
    image it follows.
    `last_update` is what `node update` remembered, `last_change` what the second gate did lately that changed something.
    """

    lock_name: str
    lock: str | None
    booted: str | None
    live: str | None
    commit: str | None
    deployment: str | None
    deployments: Reading[tuple[Listed, ...]]
    state: State
    state_error: str | None = None
    trial: Trial | None
    follows: str | None
    follows_error: str | None = None
    window: str | None
    gates: Mapping[str, NodeReport]
    last_update: Document | None
    last_change: Document | None

    @property
    def staged(self) -> Listed | None:
        """What the next orderly reboot starts, where that is another image."""
        return next((one for one in self.deployments.value or () if one.staged), None)

    @property
    def next_boot(self) -> Listed | None:
        """What the next orderly reboot starts: of a menu whose first deployment has no try left, the second one."""
        menu = [one for one in self.deployments.value or () if not one.staged]
        spent = self.trial is not None and self.trial.tries <= 0 and len(menu) > 1
        return self.staged or (menu[1] if spent else next((one for one in menu if one.default), None))

    @property
    def rollback(self) -> Listed | None:
        """What `aistack node rollback` would start."""
        return to_go_back_to(self.deployments.value or (), self.state.confirmed, self.state.quarantined)

    @property
    def version(self) -> str | None:
        """The booted image's version."""
        return next((one.version for one in self.deployments.value or () if one.booted), None)

    @property
    def on_trial(self) -> bool:
        """Whether the running deployment is the one that has to prove itself."""
        return self.trial is not None and self.trial.deployment == self.deployment

    @property
    def last_look(self) -> NodeReport | None:
        """What the machine was last found to be: by the watch, or before it by the first gate; None before that."""
        return self.gates.get("watch") or self.gates.get("check")

    @property
    def findings(self) -> tuple[Result, ...]:
        """What is not healthy of the last look, and of what the second gate found beside what the first had."""
        looked = self.last_look.results if self.last_look else ()
        first = {result.name for result in (*looked, *self._results("check"))}
        told = (*looked, *(result for result in self._results("confirm") if result.name not in first))
        return tuple(result for result in told if result.outcome is not Outcome.HEALTHY)

    def _results(self, phase: str) -> tuple[Result, ...]:
        return self.gates[phase].results if phase in self.gates else ()

    def outcome(self, phase: str) -> str | None:
        """What a gate (`check`, `confirm`) came to at this boot."""
        return self.gates[phase].outcome.value if phase in self.gates else None


def document(status: Status) -> dict[str, Any]:
    """The status as `node status --json` prints it; what cannot be read is None."""
    state, listed = status.state, status.deployments.value
    return {
        "schema": SCHEMA,
        "is_node": True,
        "name": status.lock_name,
        "lock": status.lock,
        "booted": status.booted,
        "live": status.live,
        "commit": status.commit,
        "version": status.version,
        "staged": status.staged.digest if status.staged else None,
        "next_boot": status.next_boot.digest if status.next_boot else None,
        "rollback": status.rollback.digest if status.rollback else None,
        "confirmed": state.confirmed,
        "quarantined": list(state.quarantined) if status.state_error is None else None,
        "experiment": asdict(state.experiment) if state.experiment else None,
        "unfit": state.unfit,
        "state_error": status.state_error,
        "trial": {"tries": status.trial.tries, "booted": status.on_trial} if status.trial else None,
        "follows": status.follows,
        "follows_error": status.follows_error,
        "window": status.window,
        "last_update": status.last_update,
        "last_change": status.last_change,
        "check": status.outcome("check"),
        "confirm": status.outcome("confirm"),
        "watch": status.outcome("watch"),
        "findings": [gate.plain(found) for found in status.findings],
        "deployments": [asdict(one) for one in listed] if listed is not None else None,
        "deployments_error": status.deployments.error,
    }


def lines(status: Status) -> Iterator[str]:
    """The status for a person, the most important first."""
    unknown = "nobody can tell" if status.state_error else None
    rows = {
        "name": status.lock_name,
        "booted": f"{status.booted or 'nobody can tell'}, version {status.version or 'unknown'}, {_standing(status)}",
        "apps of": status.live or "the booted image",
        "staged": _image(status.staged),
        "next boot": _image(status.next_boot) if status.next_boot else "nobody can tell",
        "rollback": _image(status.rollback),
        "confirmed": status.state.confirmed or unknown or "none",
        "quarantined": ", ".join(status.state.quarantined) or unknown or "none",
        "unfit": f"yes, with {status.state.unfit}" if status.state.unfit else unknown or "no",
        "follows": f"{_followed(status)}, {f'may reboot {status.window}' if status.window else 'never reboots by itself'}",
        "last update": _event(status.last_update, "outcome"),
        "last change": _event(status.last_change, "action"),
        "check": status.outcome("check") or "has not run",
        "confirm": status.outcome("confirm") or "has not run",
        "watch": status.outcome("watch") or "has not run",
    }
    if status.state_error:
        rows["state"] = f"{status.state_error}; until it is mended no update is taken: look at it, then remove it"
    if status.deployments.error:
        rows["deployments"] = f"cannot be read: {status.deployments.error}"
    yield from (f"{name:<12} {text}" for name, text in rows.items())
    yield from (f"{found.outcome.value:<12} {found.name}: {found.message}" for found in status.findings)


def banner(status: Status) -> tuple[str, str]:
    """What runs, and what it does; then what a person has to know next: what failed, or what comes."""
    doing = status.outcome("confirm") or status.outcome("check") or "starting"
    first = f"{status.lock_name} {status.version or ''} ({(status.booted or 'unknown')[:SHORT]}): {doing}, {_standing(status)}"
    failed = [
        result.message
        for report in status.gates.values()
        for result in report.results
        if result.outcome in (Outcome.UNHEALTHY, Outcome.UNKNOWN)
    ]
    if status.state_error or failed:
        second = status.state_error or failed[0]
    elif status.staged:
        second = f"staged: {_image(status.staged)}; the next orderly reboot starts it"
    elif status.last_update:
        second = f"last update: {_event(status.last_update, 'outcome')}"
    else:
        second = f"follows {status.follows}" if status.follows else "follows no image: `aistack node update --to HOST/REPOSITORY:TAG`"
        second = status.follows_error or second
    return first, second


def _followed(status: Status) -> str:
    return status.follows_error or status.follows or "no image"


def _standing(status: Status) -> str:
    if status.state_error:
        return "nobody can tell whether it is confirmed"
    if status.state.unfit is not None:
        return "UNFIT"
    if status.booted is not None and status.booted == status.state.confirmed:
        return "confirmed"
    if status.on_trial and status.trial:
        return f"on trial, {max(status.trial.tries, 0)} more tries"
    return "quarantined" if status.booted in status.state.quarantined else "not confirmed"


def _image(listed: Listed | None) -> str:
    return f"{listed.digest}, version {listed.version or 'unknown'}" if listed else "none"


def _event(said: Document | None, key: str) -> str:
    return f"{said[key]} at {said['time']}: {said['because']}" if said else "none"
