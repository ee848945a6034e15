"""What a node does about a gate's verdict: the table of docs/node.md as one pure function. It reads nothing and does nothing.

Two rules keep a node from going back and forth. A digest is rolled back from at most once (again only where a power cut came between the
decision and the bootloader, which counts such boots): after that it is either quarantined or the node is marked unfit with it. And a
confirmed deployment never reboots, except to end the one experiment that a rollback started.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum

from aistack.node.results import Cause, Outcome, Verdict
from aistack.values import dataclass

MOST_ATTEMPTS = 3


class Action(StrEnum):
    """What the agent does now; only `ROLL_BACK` and `GO_FORWARD` reboot."""

    NOTHING = "nothing"
    CONFIRM = "confirm"
    RETRY = "retry"
    ROLL_BACK = "roll-back"
    GO_FORWARD = "go-forward"
    MAKE_DEFAULT = "make-default"
    MARK_UNFIT = "mark-unfit"
    DEGRADE = "degrade"


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A rollback that was made to learn whose fault it is: the newer deployment's digest, and the checks that failed on it."""

    digest: str
    failed: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reboots:
    """Reboots that a node made by itself to start a staged digest, `times` one after the other."""

    digest: str
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a node remembers between boots; digests are the system images' manifest digests.

    `unfit` is the digest with which the node was found unfit, and stays with the node until that digest passes both gates.
    """

    confirmed: str | None = None
    quarantined: tuple[str, ...] = ()
    experiment: Experiment | None = None
    unfit: str | None = None
    reboots: Reboots | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What is true at this boot.

    `booted` is None when nobody could tell which system image runs. `confirmed_is_here` says that the confirmed deployment can be
    booted, `newer` is the digest of the bootloader's first entry when that is not the booted one. `on_trial` says that the bootloader
    counted this boot: what may have been decided about it before has not been carried out. `attempt` counts from 1.
    """

    booted: str | None
    confirmed_is_here: bool = False
    newer: str | None = None
    on_trial: bool = False
    attempt: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The action, why, and what the node remembers from now on."""

    action: Action
    because: str
    state: State


def decide(state: State, situation: Situation, verdict: Verdict) -> Decision:
    """The action for one verdict of the second gate (which includes the first gate's)."""
    if verdict.outcome is Outcome.UNKNOWN and situation.attempt < MOST_ATTEMPTS:
        return Decision(action=Action.RETRY, because="a check could not tell", state=state)
    booted = situation.booted
    if booted is None:
        return Decision(action=Action.DEGRADE, because="nobody can tell which system image is booted", state=state)
    good = verdict.outcome in (Outcome.HEALTHY, Outcome.DEGRADED)
    if booted == state.confirmed:
        return _confirmed(state, situation, verdict, booted, good=good)
    if booted in state.quarantined:
        if situation.on_trial and situation.confirmed_is_here:
            return Decision(action=Action.ROLL_BACK, because="it is quarantined: the way back from it was cut short", state=state)
        return Decision(action=Action.DEGRADE, because="a quarantined system image was booted by hand; it is not confirmed", state=state)
    if good:
        kept = replace(state, confirmed=booted, experiment=None, unfit=None, reboots=None)
        return Decision(action=Action.CONFIRM, because="both gates are healthy", state=kept)
    return _new_and_bad(state, situation, verdict, booted)


def _confirmed(state: State, situation: Situation, verdict: Verdict, booted: str, *, good: bool) -> Decision:
    experiment = state.experiment
    if experiment is not None:
        ended = replace(state, experiment=None)
        if good:
            because = "the confirmed deployment passes what the newer one failed: it was software"
            return Decision(action=Action.MAKE_DEFAULT, because=because, state=_quarantine(ended, experiment.digest))
        if set(experiment.failed) & set(verdict.failed):
            because = f"the confirmed deployment fails the same check ({', '.join(verdict.failed)}): it is hardware"
            return Decision(action=Action.GO_FORWARD, because=because, state=replace(ended, unfit=experiment.digest))
        because = "the confirmed deployment fails another check than the newer one did: nothing is proved, it stays"
        return Decision(action=Action.DEGRADE, because=because, state=_quarantine(ended, experiment.digest))
    if not good:
        # What the bootloader fell back from never came up: to take it again would only cost the same starts again.
        kept = _quarantine(state, situation.newer) if situation.newer not in (None, booted) else state
        return Decision(action=Action.DEGRADE, because="the confirmed deployment is unhealthy; rebooting would not help", state=kept)
    if situation.newer is not None and situation.newer != booted:
        because = f"the bootloader fell back from {situation.newer}"
        return Decision(action=Action.MAKE_DEFAULT, because=because, state=_quarantine(state, situation.newer))
    healed = replace(state, unfit=None) if state.unfit == booted else state
    return Decision(action=Action.NOTHING, because="the confirmed deployment is healthy", state=healed)


def _new_and_bad(state: State, situation: Situation, verdict: Verdict, booted: str) -> Decision:
    unfit = replace(state, unfit=booted, experiment=None)
    if state.unfit == booted:
        return Decision(action=Action.MARK_UNFIT, because="this node is unfit already; a rollback was tried and did not help", state=unfit)
    if state.experiment is not None and state.experiment.digest == booted and not situation.on_trial:
        because = "the rollback did not take: this deployment came up again"
        return Decision(action=Action.MARK_UNFIT, because=because, state=unfit)
    if verdict.outcome is Outcome.UNHEALTHY and verdict.cause is Cause.HARDWARE:
        return Decision(action=Action.MARK_UNFIT, because="the fault is in the hardware: rolling back cannot help", state=unfit)
    if state.confirmed is None or not situation.confirmed_is_here:
        return Decision(action=Action.MARK_UNFIT, because="there is no confirmed deployment to go back to", state=unfit)
    if verdict.outcome is Outcome.UNHEALTHY and verdict.cause is Cause.SOFTWARE:
        because = "the fault is in the software of this system image"
        return Decision(action=Action.ROLL_BACK, because=because, state=_quarantine(replace(state, experiment=None), booted))
    experiment = Experiment(digest=booted, failed=verdict.failed)
    because = "the cause is unknown: one rollback is the experiment"
    return Decision(action=Action.ROLL_BACK, because=because, state=replace(state, experiment=experiment))


def _quarantine(state: State, digest: str | None) -> State:
    return state if digest is None or digest in state.quarantined else replace(state, quarantined=(*state.quarantined, digest))
