"""The node's table, row by row, and over random histories: no boot leads to another for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aistack.node.decide import MOST_ATTEMPTS, Action, Experiment, Situation, State, decide
from aistack.node.results import Cause, Outcome, Verdict

GOOD = Verdict(outcome=Outcome.HEALTHY, cause=None, failed=())
SOFTWARE = Verdict(outcome=Outcome.UNHEALTHY, cause=Cause.SOFTWARE, failed=("kernel",))
HARDWARE = Verdict(outcome=Outcome.UNHEALTHY, cause=Cause.HARDWARE, failed=("accelerator",))
UNKNOWN_CAUSE = Verdict(outcome=Outcome.UNHEALTHY, cause=Cause.UNKNOWN, failed=("memory",))
OTHER_CAUSE = Verdict(outcome=Outcome.UNHEALTHY, cause=Cause.UNKNOWN, failed=("processor",))
UNTOLD = Verdict(outcome=Outcome.UNKNOWN, cause=None, failed=("memory",))
LAST = MOST_ATTEMPTS
NEW = Situation(booted="new", confirmed_is_here=True, attempt=LAST)
OLD = Situation(booted="old", confirmed_is_here=True, attempt=LAST)
FELL_BACK = replace(OLD, newer="new")
KNOWN = State(confirmed="old")
TRYING = State(confirmed="old", experiment=Experiment(digest="new", failed=("memory",)))


@pytest.mark.parametrize(
    ("state", "situation", "verdict", "action", "after"),
    [
        # new, both gates healthy
        (KNOWN, NEW, GOOD, Action.CONFIRM, State(confirmed="new")),
        (State(), NEW, GOOD, Action.CONFIRM, State(confirmed="new")),
        # new, software
        (KNOWN, NEW, SOFTWARE, Action.ROLL_BACK, State(confirmed="old", quarantined=("new",))),
        # new, hardware
        (KNOWN, NEW, HARDWARE, Action.MARK_UNFIT, State(confirmed="old", unfit="new")),
        # new, unknown cause: the experiment, and its three ends
        (KNOWN, NEW, UNKNOWN_CAUSE, Action.ROLL_BACK, TRYING),
        (TRYING, FELL_BACK, GOOD, Action.MAKE_DEFAULT, State(confirmed="old", quarantined=("new",))),
        (TRYING, FELL_BACK, UNKNOWN_CAUSE, Action.GO_FORWARD, State(confirmed="old", unfit="new")),
        (TRYING, FELL_BACK, OTHER_CAUSE, Action.DEGRADE, State(confirmed="old", quarantined=("new",))),
        (State(confirmed="old", unfit="new"), NEW, UNKNOWN_CAUSE, Action.MARK_UNFIT, State(confirmed="old", unfit="new")),
        (State(confirmed="old", unfit="new"), NEW, GOOD, Action.CONFIRM, State(confirmed="new")),
        # new, could not tell
        (KNOWN, replace(NEW, attempt=1), UNTOLD, Action.RETRY, KNOWN),
        (KNOWN, NEW, UNTOLD, Action.ROLL_BACK, TRYING),
        # confirmed, reached by the bootloader's fallback
        (KNOWN, FELL_BACK, GOOD, Action.MAKE_DEFAULT, State(confirmed="old", quarantined=("new",))),
        (KNOWN, FELL_BACK, SOFTWARE, Action.DEGRADE, KNOWN),
        # confirmed
        (KNOWN, OLD, GOOD, Action.NOTHING, KNOWN),
        (KNOWN, OLD, SOFTWARE, Action.DEGRADE, KNOWN),
        (KNOWN, OLD, UNTOLD, Action.DEGRADE, KNOWN),
        # nowhere to go back to
        (State(), NEW, SOFTWARE, Action.MARK_UNFIT, State(unfit="new")),
        (KNOWN, replace(NEW, confirmed_is_here=False), UNKNOWN_CAUSE, Action.MARK_UNFIT, State(confirmed="old", unfit="new")),
        # a rollback that did not take must not become a loop
        (TRYING, NEW, UNKNOWN_CAUSE, Action.MARK_UNFIT, State(confirmed="old", unfit="new")),
        (State(confirmed="old", quarantined=("new",)), NEW, SOFTWARE, Action.DEGRADE, State(confirmed="old", quarantined=("new",))),
        (State(confirmed="old", quarantined=("new",)), NEW, GOOD, Action.DEGRADE, State(confirmed="old", quarantined=("new",))),
        # nobody can tell what is booted
        (KNOWN, replace(NEW, booted=None), SOFTWARE, Action.DEGRADE, KNOWN),
    ],
)
def test_each_row(state: State, situation: Situation, verdict: Verdict, action: Action, after: State) -> None:
    decision = decide(state, situation, verdict)
    assert (decision.action, decision.state) == (action, after)
    assert decision.because


def test_degraded_is_good_enough() -> None:
    assert decide(KNOWN, NEW, Verdict(outcome=Outcome.DEGRADED, cause=None, failed=())).action is Action.CONFIRM


def _verdict(outcome: Outcome, cause: Cause, failed: list[str]) -> Verdict:
    bad = outcome in (Outcome.UNHEALTHY, Outcome.UNKNOWN)
    return Verdict(outcome=outcome, cause=cause if outcome is Outcome.UNHEALTHY else None, failed=tuple(failed) if bad else ())


VERDICTS = st.builds(
    _verdict,
    st.sampled_from(list(Outcome)),
    st.sampled_from(list(Cause)),
    st.lists(st.sampled_from(["memory", "kernel"]), min_size=1, max_size=2, unique=True),
)


@given(
    boots=st.lists(st.tuples(VERDICTS, st.booleans(), st.booleans()), min_size=1, max_size=40),
    confirmed=st.sampled_from([None, "old"]),
)
def test_one_update_costs_at_most_two_reboots(boots: list[tuple[Verdict, bool, bool]], confirmed: str | None) -> None:
    """A simulated node with `new` staged once: gates answer at random, an unconfirmed boot may fall back, a switch may not take."""
    state, order, reboots = State(confirmed=confirmed), ["new", "old"], 0
    for verdict, falls_back, takes in boots:
        booted = order[1] if falls_back and order[0] != state.confirmed else order[0]
        newer = order[0] if order[0] != booted else None
        situation = Situation(booted=booted, confirmed_is_here=state.confirmed is not None, newer=newer, attempt=LAST)
        before, decision = state, decide(state, situation, verdict)
        state = decision.state
        assert set(before.quarantined) <= set(state.quarantined)
        assert state.confirmed not in state.quarantined
        first = booted
        if decision.action in (Action.ROLL_BACK, Action.GO_FORWARD):
            reboots += 1
            wanted = state.confirmed if decision.action is Action.ROLL_BACK else state.unfit
            assert wanted is not None
            assert wanted != booted
            first = wanted if takes else order[0]
        elif decision.action in (Action.CONFIRM, Action.MAKE_DEFAULT):
            assert booted == state.confirmed
        else:
            first = order[0]
        order = [first, *(digest for digest in order if digest != first)]
        if state.confirmed != before.confirmed:
            reboots = 0
        assert reboots <= 2, (state, decision)


@given(verdict=VERDICTS, fell_back=st.booleans(), quarantined=st.sampled_from([(), ("new",)]), unfit=st.sampled_from([None, "old", "new"]))
def test_a_confirmed_deployment_never_reboots_by_itself(
    verdict: Verdict, fell_back: bool, quarantined: tuple[str, ...], unfit: str | None
) -> None:
    state = State(confirmed="old", quarantined=quarantined, unfit=unfit)
    decision = decide(state, FELL_BACK if fell_back else OLD, verdict)
    assert decision.action in (Action.NOTHING, Action.DEGRADE, Action.MAKE_DEFAULT)
    assert decision.state.confirmed == "old"


@given(
    verdict=VERDICTS.filter(lambda verdict: verdict.outcome in (Outcome.UNHEALTHY, Outcome.UNKNOWN)), known=st.sampled_from([None, "old"])
)
def test_nothing_bad_is_ever_confirmed(verdict: Verdict, known: str | None) -> None:
    assert decide(State(confirmed=known), NEW, verdict).state.confirmed == known
