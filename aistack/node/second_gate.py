"""The second gate: wait for the apps, judge them, remember, and do what the table says."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

from aistack.compose.lock import Lock, decode
from aistack.compose.render.grub import TRIAL_ARGUMENT
from aistack.compose.render.system import LOCK_PATH, app_unit
from aistack.diagnostics import DiagnosticError
from aistack.facts.readings import AppsReadings, AppState, Reading, UnitState
from aistack.host.probes import services
from aistack.host.probes.deployment import booted
from aistack.host.probes.reading import inside, read
from aistack.node import state, telling
from aistack.node.agent import EXIT_CODES, RETRY_SECONDS, RUN, look_until_told, publish
from aistack.node.decide import MOST_ATTEMPTS, Action, Decision, Situation, State, decide
from aistack.node.deployments import Deployments
from aistack.node.health import confirm
from aistack.node.results import Outcome, Result, Verdict, verdict
from aistack.values import dataclass

ANSWER_SECONDS = 600.0
PAUSE_SECONDS = 2.0
MANY_RESTARTS = 3
CHECK_UNIT = "aistack-check.service"
PASSED = (Outcome.HEALTHY, Outcome.DEGRADED)
AGAIN = "none"
"""How deep another look is: apps may hold all of a device's memory by then."""
CONFIRMED = f"{RUN}/confirmed"
"""There in a boot that confirmed its deployment, or came back to the confirmed one: what it took the place of, or what failed, may go."""


def run_confirm(root: Path, deployments: Deployments) -> int:
    """The second gate: judge the apps, remember, and do what the table says."""
    first = _read_first_gate(root)
    # With a bad first gate the apps were not started: asking them would only blame them, and the first gate has tried again already.
    attempt, ask = (1, True) if verdict(first).outcome in PASSED else (MOST_ATTEMPTS, False)
    look = 1
    while True:
        results = (*first, *second_gate(decode(inside(root, LOCK_PATH).read_bytes()), seconds=ANSWER_SECONDS)) if ask else first
        judged = verdict(results)
        try:
            with state.alone(root):
                decided = _decided(root, deployments, judged, attempt, look)
        except DiagnosticError as error:
            hints = tuple(hint for diagnostic in error.diagnostics for hint in diagnostic.hints)
            lost = Result(name="state", outcome=Outcome.UNKNOWN, message=str(error), action="; ".join(hints) or None)
            publish("confirm", (*results, lost), root)
            telling.tell(root, deployments)
            return int(EXIT_CODES[Outcome.UNKNOWN])
        if decided is not None:
            break
        attempt, look = attempt + 1, look + 1
        time.sleep(RETRY_SECONDS)
    decision, done = decided.decision, decided.done
    results = (*results, done)
    with telling.harmless():
        publish("confirm", results, root)
    telling.decided(root, decision, judged, decided.booted, changes=decided.changes)
    telling.tell(root, deployments)
    if done.outcome is Outcome.HEALTHY:
        if decision.action in (Action.CONFIRM, Action.MAKE_DEFAULT):
            with telling.harmless():
                inside(root, CONFIRMED).touch()
        if decision.action in (Action.ROLL_BACK, Action.GO_FORWARD):
            deployments.reboot()
    return int(EXIT_CODES[verdict(results).outcome])


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What was decided about the deployment `booted`, how carrying it out went, and whether it changes what the node remembers."""

    decision: Decision
    done: Result
    booted: str | None
    changes: bool


def _decided(root: Path, deployments: Deployments, judged: Verdict, attempt: int, look: int) -> Decided | None:
    """Decides, and carries it out; None where the checks are to be asked again, for the `look` + 1st time. For who holds `state.alone`.

    Raises DiagnosticError (exit 3) where nobody can tell what the node remembers.
    """
    remembered = state.load(inside(root, state.PATH))
    situation = _situation(root, deployments, remembered, attempt, look)
    decision = decide(remembered, situation, judged)
    if decision.action is Action.RETRY:
        return None
    changes = decision.state != remembered

    def remember(changed: State) -> None:
        if changes:
            with contextlib.suppress(OSError):  # a full disk keeps no node from going back; what is not remembered is decided again
                state.save(inside(root, state.PATH), changed)

    return Decided(decision=decision, done=act(decision, deployments, remember), booted=situation.booted, changes=changes)


def act(decision: Decision, deployments: Deployments, remember: Callable[[State], None]) -> Result:
    """Remember what was decided and tell the bootloader, in an order in which a power cut only boots what the table knows; say how it went.

    A confirmation is remembered last: a bootloader that still counts would go back from what is confirmed.
    """
    if decision.action is not Action.CONFIRM:
        remember(decision.state)
    message = f"{decision.action.value}: {decision.because}"
    evidence = (("action", decision.action.value), ("confirmed", decision.state.confirmed or "none"))
    try:
        if decision.first is not None:
            deployments.make_default(decision.first)
        if decision.first is not None or decision.action not in (Action.RETRY, Action.DEGRADE):
            # Before a reboot too: a counter that runs out would start the second entry, which is now the one that is left.
            deployments.stop_counting()
        if decision.action is Action.CONFIRM:
            remember(decision.state)
    except (DiagnosticError, OSError) as error:
        why = tuple(line for diagnostic in getattr(error, "diagnostics", ()) for line in diagnostic.why)
        return Result(
            name="decision",
            outcome=Outcome.DEGRADED,
            message=f"{message}; but the bootloader could not be told: {error}",
            evidence=(*evidence, ("why", "; ".join(why))),
            action="look at `ostree admin status` and /boot",
        )
    return Result(name="decision", outcome=Outcome.HEALTHY, message=message, evidence=evidence)


def second_gate(lock: Lock, *, seconds: float) -> tuple[Result, ...]:
    """Wait at most `seconds` for the apps to answer, and judge them."""
    return confirm(lock, watch_apps(lock, seconds=seconds))


def watch_apps(lock: Lock, *, seconds: float) -> AppsReadings:
    """Ask until every app answers, one can no longer, or the time is over."""
    start = time.monotonic()
    answered: dict[str, Reading[int]] = {}
    while True:
        states = services.units([app_unit(app.name) for app in lock.apps])
        for app in lock.apps:
            unit = states[app_unit(app.name)].value
            if app.port and app.health and unit and unit.active == "active" and not _is_ok(answered.get(app.name)):
                answered[app.name] = services.answer(app.port, app.health, timeout=10.0)
        waited = time.monotonic() - start
        apps = tuple(
            AppState(
                app=app.name,
                unit=states[app_unit(app.name)],
                status=answered.get(app.name, Reading(source="HTTP", error="never asked")) if app.port and app.health else None,
                waited_seconds=waited,
            )
            for app in lock.apps
        )
        if waited >= seconds or all(_is_settled(app) for app in apps):
            return AppsReadings(apps=apps, failed_units=services.failed_units())
        time.sleep(PAUSE_SECONDS)


def _is_ok(reading: Reading[int] | None) -> bool:
    return reading is not None and reading.value == 200


def _is_settled(app: AppState) -> bool:
    unit: UnitState | None = app.unit.value
    if unit is None or unit.load != "loaded" or unit.active in ("failed", "inactive"):
        return True
    if unit.active != "active" and unit.restarts >= MANY_RESTARTS:
        return True
    return unit.active == "active" and (app.status is None or _is_ok(app.status))


def _read_first_gate(root: Path) -> tuple[Result, ...]:
    """What the first gate found; where its answer cannot be read, another look: good only where systemd says that the gate passed, too."""
    reading = telling.left(root, "check")
    if reading.value is not None:
        return reading.value.results
    print(f"aistack: the first gate left no answer, the machine is looked at again: {reading.error}", file=sys.stderr, flush=True)
    results = look_until_told(root, AGAIN).results
    unit = services.units([CHECK_UNIT])[CHECK_UNIT]
    if verdict(results).outcome not in PASSED or (unit.value is not None and unit.value.active == "active"):
        return results
    said = unit.error or f"{CHECK_UNIT} is {unit.value.active if unit.value else 'unknown'}"
    return (Result(name="check", outcome=Outcome.UNKNOWN, message=f"the first gate left no answer: {reading.error}; {said}"),)


def _situation(root: Path, deployments: Deployments, remembered: State, attempt: int, look: int) -> Situation:
    booted = _booted(root)
    listed = read("deployments", deployments.listed)
    if listed.value is None:
        print(f"aistack: what is deployed cannot be listed: {listed.error}", file=sys.stderr, flush=True)
    present = [one.digest for one in listed.value or () if not one.staged]
    newer = present[0] if present and present[0] != booted else None
    arguments = read("/proc/cmdline", lambda: inside(root, "/proc/cmdline").read_text().split()).value or ()
    return Situation(
        booted=booted,
        confirmed_is_here=remembered.confirmed in present,
        newer=newer,
        on_trial=TRIAL_ARGUMENT in arguments,
        left=inside(root, state.LEFT).exists(),
        attempt=attempt,
        unlisted=look if listed.value is None else 0,
    )


def _booted(root: Path) -> str | None:
    reading = booted(root)
    return reading.value.manifest if reading.value else None
