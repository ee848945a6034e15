"""What a node does about a gate's verdict: the table of docs/node.md as one pure function. It reads nothing and does nothing.

Two rules keep a node from going back and forth. A digest is rolled back from at most once (again only where a power cut came between the
decision and the bootloader, which counts such boots or falls back to them): after that it is either quarantined or the node is marked
unfit with it. And a confirmed deployment never reboots, except to end the one experiment that a rollback started.

A third keeps it from being lost. What the bootloader fell back from did not come up: it is quarantined, and what runs becomes the default
before anything ends the count, which alone keeps the other one from being started.
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

    `unfit` is the digest with which the node was found unfit, and stays until a deployment passes both gates or that digest is quarantined.
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
    counted this boot: what may have been decided about it before has not been carried out. `left` says that somebody went back from it by
    hand in this boot. `attempt` counts from 1. `unlisted` is how often nobody could list what is deployed, 0 where it was listed.
    """

    booted: str | None
    confirmed_is_here: bool = False
    newer: str | None = None
    on_trial: bool = False
    left: bool = False
    attempt: int = 1
    unlisted: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The action, why, what the node remembers from now on, and the digest that the bootloader starts from now on, None: as it is."""

    action: Action
    because: str
    state: State
    first: str | None = None


def decide(state: State, situation: Situation, verdict: Verdict) -> Decision:
    """The action for one verdict of the second gate (which includes the first gate's)."""
    if situation.left:
        because = "somebody went back from it by hand; the next boot starts the other one"
        return Decision(action=Action.DEGRADE, because=because, state=state)
    if verdict.outcome is Outcome.UNKNOWN and situation.attempt < MOST_ATTEMPTS:
        return Decision(action=Action.RETRY, because="a check could not tell", state=state)
    if situation.unlisted:  # whether there is a way back is not known: a trial goes on counting
        action = Action.RETRY if situation.unlisted < MOST_ATTEMPTS else Action.DEGRADE
        return Decision(action=action, because="nobody could list what is deployed", state=state)
    booted = situation.booted
    if booted is None:
        return Decision(action=Action.DEGRADE, because="nobody can tell which system image is booted", state=state)
    good = verdict.outcome in (Outcome.HEALTHY, Outcome.DEGRADED)
    fallen = _fallen(state, situation)
    decision = _decide(quarantine(state, fallen), situation, verdict, booted, good=good, fallen=fallen)
    if fallen is None:
        return decision
    because = f"{decision.because}; the bootloader fell back from {fallen}"
    return replace(decision, because=because, first=decision.first or booted)


def quarantine(state: State, *digests: str | None) -> State:
    """The state with these digests quarantined too (None: nothing); an experiment with one, or being unfit with one, is over."""
    every = tuple(dict.fromkeys((*state.quarantined, *filter(None, digests))))
    experiment = state.experiment if state.experiment and state.experiment.digest not in digests else None
    return replace(state, quarantined=every, experiment=experiment, unfit=None if state.unfit in digests else state.unfit)


def _fallen(state: State, situation: Situation) -> str | None:
    """What the bootloader fell back from: the first entry, where another one runs and is not counted.

    Not so where somebody chose another than the confirmed one by hand, or where a rollback, whose boot this is, was cut short.
    """
    rolled_back = state.experiment.digest if state.experiment and situation.booted == state.confirmed else None
    if situation.on_trial or situation.newer in (None, situation.booted, state.confirmed, rolled_back):
        return None
    return situation.newer


def _decide(state: State, situation: Situation, verdict: Verdict, booted: str, *, good: bool, fallen: str | None) -> Decision:
    if booted == state.confirmed:
        return _confirmed(state, verdict, booted, good=good, fallen=fallen)
    if booted in state.quarantined:
        if (situation.on_trial or fallen) and situation.confirmed_is_here:
            because = "it is quarantined, and nobody chose it: the way back from it was cut short"
            return Decision(action=Action.ROLL_BACK, because=because, state=state, first=state.confirmed)
        return Decision(action=Action.DEGRADE, because="a quarantined system image was booted by hand; it is not confirmed", state=state)
    if good:
        kept = replace(state, confirmed=booted, experiment=None, unfit=None, reboots=None)
        return Decision(action=Action.CONFIRM, because="both gates are healthy", state=kept, first=booted)
    return _new_and_bad(state, situation, verdict, booted)


def _confirmed(state: State, verdict: Verdict, booted: str, *, good: bool, fallen: str | None) -> Decision:
    experiment = state.experiment
    if good:
        state = replace(state, unfit=None)
    if experiment is not None:
        if good:
            because = "the confirmed deployment passes what the newer one failed: it was software"
            return Decision(action=Action.MAKE_DEFAULT, because=because, state=quarantine(state, experiment.digest), first=booted)
        if set(experiment.failed) & set(verdict.failed):
            because = f"the confirmed deployment fails the same check ({', '.join(verdict.failed)}): it is hardware"
            unfit = replace(state, experiment=None, unfit=experiment.digest)
            return Decision(action=Action.GO_FORWARD, because=because, state=unfit, first=experiment.digest)
        because = "the confirmed deployment fails another check than the newer one did: nothing is proved, it stays"
        return Decision(action=Action.DEGRADE, because=because, state=quarantine(state, experiment.digest), first=booted)
    if not good:
        return Decision(action=Action.DEGRADE, because="the confirmed deployment is unhealthy; rebooting would not help", state=state)
    action = Action.MAKE_DEFAULT if fallen else Action.NOTHING
    return Decision(action=action, because="the confirmed deployment is healthy", state=state)


def _new_and_bad(state: State, situation: Situation, verdict: Verdict, booted: str) -> Decision:
    if situation.newer is not None and situation.newer == state.confirmed:
        # Chosen by hand, or the confirmed one did not come up again: who cannot tell leaves the bootloader alone.
        return Decision(action=Action.DEGRADE, because="it runs in the place of the confirmed deployment, and is unhealthy", state=state)
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
        return Decision(
            action=Action.ROLL_BACK, because=because, state=quarantine(replace(state, experiment=None), booted), first=state.confirmed
        )
    experiment = Experiment(digest=booted, failed=verdict.failed)
    because = "the cause is unknown: one rollback is the experiment"
    return Decision(action=Action.ROLL_BACK, because=because, state=replace(state, experiment=experiment), first=state.confirmed)
