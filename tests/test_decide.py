"""The node's table, row by row, and over random histories: no boot leads to another for ever."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aistack.node.decide import MOST_ATTEMPTS, Action, Experiment, Situation, State, decide, quarantine
from aistack.node.deployments import Deployments
from aistack.node.results import Cause, Outcome, Verdict
from aistack.node.second_gate import act

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
QUARANTINED = State(confirmed="old", quarantined=("new",))
LEFT = State(confirmed="first", quarantined=("old",))


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
        (KNOWN, FELL_BACK, SOFTWARE, Action.DEGRADE, State(confirmed="old", quarantined=("new",))),
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
        # a power cut came between what was remembered and the bootloader: the boot still counts, and the decision is carried out
        (QUARANTINED, replace(NEW, on_trial=True), SOFTWARE, Action.ROLL_BACK, QUARANTINED),
        (QUARANTINED, replace(NEW, on_trial=True), GOOD, Action.ROLL_BACK, QUARANTINED),
        (QUARANTINED, replace(NEW, on_trial=True, confirmed_is_here=False), SOFTWARE, Action.DEGRADE, QUARANTINED),
        (TRYING, replace(NEW, on_trial=True), UNKNOWN_CAUSE, Action.ROLL_BACK, TRYING),
        (TRYING, replace(NEW, on_trial=True), GOOD, Action.CONFIRM, State(confirmed="new")),
        # nobody can tell what is booted
        (KNOWN, replace(NEW, booted=None), SOFTWARE, Action.DEGRADE, KNOWN),
        # nobody could list what is deployed: asked again, then nothing is decided
        (KNOWN, replace(NEW, confirmed_is_here=False, unlisted=1), SOFTWARE, Action.RETRY, KNOWN),
        (KNOWN, replace(NEW, confirmed_is_here=False, unlisted=LAST), SOFTWARE, Action.DEGRADE, KNOWN),
        (KNOWN, replace(NEW, confirmed_is_here=False, unlisted=LAST), GOOD, Action.DEGRADE, KNOWN),
        (QUARANTINED, replace(NEW, on_trial=True, confirmed_is_here=False, unlisted=LAST), SOFTWARE, Action.DEGRADE, QUARANTINED),
        # the bootloader fell back to one that is not confirmed
        (State(), replace(FELL_BACK, confirmed_is_here=False), SOFTWARE, Action.MARK_UNFIT, State(unfit="old", quarantined=("new",))),
        (State(unfit="old"), FELL_BACK, UNKNOWN_CAUSE, Action.MARK_UNFIT, State(unfit="old", quarantined=("new",))),
        (State(confirmed="first"), FELL_BACK, GOOD, Action.CONFIRM, State(confirmed="old", quarantined=("new",))),
        (State(confirmed="first"), FELL_BACK, SOFTWARE, Action.ROLL_BACK, State(confirmed="first", quarantined=("new", "old"))),
        (LEFT, FELL_BACK, GOOD, Action.ROLL_BACK, State(confirmed="first", quarantined=("old", "new"))),
        (State(quarantined=("old",)), replace(FELL_BACK, confirmed_is_here=False), GOOD, Action.DEGRADE, State(quarantined=("old", "new"))),
        # not the bootloader but somebody at the console chose it
        (LEFT, replace(OLD, newer="first"), GOOD, Action.DEGRADE, LEFT),
        (State(confirmed="first"), replace(OLD, newer="first"), SOFTWARE, Action.DEGRADE, State(confirmed="first")),
        # a healthy node is not unfit, and neither is one that gave up what it was unfit with
        (State(confirmed="old", unfit="new"), OLD, GOOD, Action.NOTHING, KNOWN),
        (State(confirmed="old", unfit="new"), OLD, SOFTWARE, Action.DEGRADE, State(confirmed="old", unfit="new")),
        (State(confirmed="old", unfit="new"), FELL_BACK, SOFTWARE, Action.DEGRADE, QUARANTINED),
    ],
)
def test_each_row(state: State, situation: Situation, verdict: Verdict, action: Action, after: State) -> None:
    decision = decide(state, situation, verdict)
    assert (decision.action, decision.state) == (action, after)
    assert decision.because


@pytest.mark.parametrize("digests", [("new",), (None, "new"), ("other", "new")])
def test_what_is_quarantined_is_no_experiment_and_no_reason_to_be_unfit(digests: tuple[str | None, ...]) -> None:
    before = replace(TRYING, unfit="new", quarantined=("other",))
    assert quarantine(before, *digests) == State(confirmed="old", quarantined=("other", "new"))
    assert quarantine(before, "another") == replace(before, quarantined=("other", "another"))
    assert quarantine(before, None) == before


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


@dataclass(slots=True)
class Machine:
    """A node with `new` on trial above what ran before; None as a verdict: that system dies before its second gate.

    `cut` is how many of the three changes (state, default, trial) a start lets through before the power goes, None when it stays on.
    GRUB's part is what `COUNTING` in compose/render/grub.py does, one start at a time; what is `unread` it cannot load.
    """

    verdicts: dict[str, Verdict | None]
    tries: int | None
    left: int | None = None
    order: list[str] = field(default_factory=lambda: ["new", "old"])
    state: State = field(default_factory=lambda: KNOWN)
    switches: int = 0
    staged: int = 0
    unread: str | None = None

    def start(self, cut: int | None = None) -> str | None:
        """One start: which system stays up, None when the machine starts again."""
        booted, on_trial = self.order[0], self.tries is not None and self.order[0] == "new"
        if on_trial:
            assert self.tries is not None
            self.tries = self.tries - 1 if self.tries > 0 else -1
            if self.tries < 0:
                booted, on_trial = self.order[1], False
        if booted == self.unread:
            booted, on_trial = self.order[1 if booted == self.order[0] else 0], False
        verdict = self.verdicts[booted]
        newer = self.order[0] if self.order[0] != booted else None
        if verdict is None:
            return None
        here = self.state.confirmed in self.order
        situation = Situation(booted=booted, confirmed_is_here=here, newer=newer, on_trial=on_trial, attempt=LAST)
        decision = decide(self.state, situation, verdict)
        assert set(self.state.quarantined) <= set(decision.state.quarantined)
        assert decision.state.confirmed not in decision.state.quarantined
        self.left = cut
        try:
            act(decision, cast("Deployments", self), self.remember)
        except PowerCutError:
            return None
        if decision.action in (Action.ROLL_BACK, Action.GO_FORWARD):
            self.switches += 1
            return None
        return booted

    def update(self, booted: str, tries: int) -> None:
        """What a timer does that finds `new` offered: staged as the engine does it, and an orderly shutdown."""
        if booted == "new" or "new" in self.state.quarantined:
            return
        if self.order[0] == "new" and self.tries is not None:  # fell back
            self.order = [booted, *(other for other in self.order if other != booted)]
        self.order = ["new", *(other for other in self.order if other != "new")]
        self.tries = tries
        self.staged += 1

    def use_power(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise PowerCutError

    def remember(self, state: State) -> None:
        self.use_power()
        self.state = state

    def make_default(self, digest: str) -> None:
        self.use_power()
        self.order = [digest, *(other for other in self.order if other != digest)]

    def stop_counting(self) -> None:
        self.use_power()
        self.tries = None


class PowerCutError(Exception):
    """The machine is off."""


ALL = {
    "good": GOOD,
    "software": SOFTWARE,
    "hardware": HARDWARE,
    "unknown": UNKNOWN_CAUSE,
    "other": OTHER_CAUSE,
    "untold": UNTOLD,
    "dies": None,
}
CUTS = (None, 0, 1, 2)


@pytest.mark.parametrize("tries", [1, 2, 3])
@pytest.mark.parametrize("new", ALL)
@pytest.mark.parametrize("old", ALL)
def test_every_update_comes_to_rest_whatever_is_cut(new: str, old: str, tries: int) -> None:
    """With the power cut at every combination of places in the first two starts: at most two switches, then rest."""
    for cuts in itertools.product(CUTS, repeat=2):
        node = Machine(verdicts={"new": ALL[new], "old": ALL[old]}, tries=tries)
        told = cuts, node
        starts = (node.start(cut) for cut in (*cuts, *[None] * (tries + 3)))
        rest = next((up for up in starts if up), None)
        assert node.switches <= 2, told
        assert rest is not None or old == "dies", told
        if rest is None:
            continue
        for _ in range(4):
            assert node.start() == rest, told
        uncut = set(cuts) == {None}
        if new == "good" and uncut:
            assert (rest, node.state) == ("new", State(confirmed="new")), told
        if new == "hardware" and uncut:
            assert (rest, node.state) == ("new", State(confirmed="old", unfit="new")), told
        if old == "good" and new in ("software", "unknown", "other", "untold", "dies"):
            assert (rest, node.state) == ("old", State(confirmed="old", quarantined=("new",))), told


BELOW = {
    "confirmed": KNOWN,
    "never confirmed": State(),
    "never judged": State(confirmed="first"),
    "unfit": State(unfit="old"),
    "unfit above a confirmed one": State(confirmed="first", unfit="old"),
    "quarantined": State(quarantined=("old",)),
    "quarantined, booted by hand": LEFT,
}
"""What a node may know of the system that it runs when `new`, which dies, is staged above that."""


def above(state: State, tries: int, old: Verdict, first: Verdict) -> Machine:
    """The confirmed one, where another runs, is on the disk: staging holds it."""
    order = ["new", "old", *(["first"] if state.confirmed == "first" else [])]
    return Machine(verdicts={"new": None, "old": old, "first": first}, tries=tries, state=state, order=order)


def settle(node: Machine, tries: int) -> list[str]:
    """Start again and again, with the timer's update each time; what stayed up."""
    stayed = []
    for _ in range(3 * tries + 8):
        if up := node.start():
            stayed.append(up)
            node.update(up, tries)
    return stayed


@pytest.mark.parametrize("unread", [None, "new"])
@pytest.mark.parametrize("tries", [1, 2, 3])
@pytest.mark.parametrize("old", [name for name in ALL if name != "dies"])
@pytest.mark.parametrize("below", BELOW)
def test_a_node_comes_back_from_a_newer_system_that_dies(below: str, old: str, tries: int, unread: str | None) -> None:
    """Whatever it ran before, and wherever the power is cut while two gates act: it is up again, for good, and takes that one no more.

    So it is from one that GRUB cannot even load.
    """
    for cuts, first in itertools.product(itertools.product(CUTS, repeat=2), (GOOD, SOFTWARE, UNKNOWN_CAUSE)):
        verdict = ALL[old]
        assert verdict is not None
        node = above(BELOW[below], tries, verdict, first)
        node.unread = unread
        told = cuts, first, node
        for cut in (*[None] * tries, *cuts):
            node.start(cut)
        stayed = settle(node, tries)
        assert len(stayed) >= 4 and len(set(stayed[-4:])) == 1, told
        assert node.order[0] == stayed[-1] and "new" in node.state.quarantined, told
        assert node.staged <= 2 and node.switches <= 2, told


@given(
    below=st.sampled_from(list(BELOW)),
    starts=st.lists(st.tuples(VERDICTS, st.sampled_from(CUTS), st.booleans()), max_size=25),
    ends=st.tuples(VERDICTS, VERDICTS),
    tries=st.integers(min_value=1, max_value=3),
)
def test_after_any_history_a_node_comes_up(
    below: str, starts: list[tuple[Verdict, int | None, bool]], ends: tuple[Verdict, Verdict], tries: int
) -> None:
    """The gates say what they like, the power goes when it likes, and `new` dies at each start: nothing of that may become the end."""
    node = above(BELOW[below], tries, *ends)
    for verdict, cut, offered in starts:
        node.verdicts = {"new": None, "old": verdict, "first": verdict}
        if (up := node.start(cut)) and offered:
            node.update(up, tries)
    node.verdicts = {"new": None, "old": ends[0], "first": ends[1]}
    stayed = settle(node, tries)
    assert len(stayed) >= 4 and len(set(stayed[-4:])) == 1, node
    assert "new" in node.state.quarantined and node.order[0] != "new", node


@given(
    starts=st.lists(st.tuples(st.none() | VERDICTS, st.sampled_from(CUTS)), min_size=1, max_size=40),
    tries=st.integers(min_value=1, max_value=3),
)
def test_one_update_costs_at_most_two_switches(starts: list[tuple[Verdict | None, int | None]], tries: int) -> None:
    """The gates say at each start what they like, and the power goes when it likes."""
    node = Machine(verdicts={}, tries=tries)
    for verdict, cut in starts:
        node.verdicts = {"new": verdict, "old": verdict}
        node.start(cut)
        assert node.switches <= 2, node


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
