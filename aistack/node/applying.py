"""What is staged is put in force: without a reboot where apps and models alone differ, else by a reboot, in the node's window."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path

from aistack.diagnostics import Diagnostic, DiagnosticError, Severity, refuse
from aistack.facts import following as words
from aistack.host import clock
from aistack.host.probes.reading import inside
from aistack.node import cleaning, following, gate, live, state
from aistack.node.agent import keep
from aistack.node.deployments import Deployments, Image, Listed
from aistack.node.first_gate import look
from aistack.node.results import verdict

Say = Callable[[str], None]


def put_in_force(root: Path, engine: Deployments, say: Say, *, may_reboot: bool = True) -> str:
    """Puts what is staged in force, without a reboot where none is needed.

    The outcome: `live`, `undone` (its apps failed), `in-force` (it was already), `reboots` (is to), or `staged` as it was.
    """
    difference = engine.difference()
    reasons = live.needs_reboot(root, difference) if difference else ("this engine cannot tell",)
    if reasons is None:
        return "in-force"
    if difference is None or reasons:
        say(f"it needs a reboot, because of: {', '.join(reasons[:3])}")
        return "reboots" if may_reboot else "staged"
    if verdict(look(root, "quick").results).outcome not in live.GOOD:
        say("this machine itself is not well: its apps stay as they are")
        return "staged"
    digest = difference.deployment.promised_manifest
    try:
        switched = live.go(root, difference, say)
    except DiagnosticError:
        state.undone(root, say, digest)
        _drop_failed(root, engine, say, digest)
        raise
    if switched.ok:
        keep("confirm", switched.results, root)
        cleaning.clean_after(root, engine, say)  # a node whose apps alone are replaced may not restart for months
        return "live"
    for line in gate.lines("live", switched.results):
        say(line)
    keep("confirm", switched.back, root)
    if not switched.judged:
        say("nobody could tell whether the new apps serve; the image stays staged")
        return "staged"
    if verdict(switched.back).outcome in live.GOOD:  # what fails with the former apps as well is not the new image's fault
        state.undone(root, say, digest)
    _drop_failed(root, engine, say, digest)
    return "undone"


def _drop_failed(root: Path, engine: Deployments, say: Say, digest: str | None) -> None:
    """The next boot does not start it, but what is in force again, where that is another image than the booted one."""
    engine.discard()
    over = live.in_force(root)
    if over is None or over.promised_manifest in (None, digest) or over.reference is None:
        return
    confirmed = state.load(inside(root, state.PATH)).confirmed
    try:
        engine.stage(Image(reference=over.reference, digest=over.promised_manifest), [confirmed] if confirmed else [])
    except DiagnosticError as error:
        say(f"{over.promised_manifest}, whose apps run, could not be staged again: {error}")


def reboot(root: Path, engine: Deployments, digest: str) -> None:
    """Into what is staged; counted, since the shutdown has still to put it in place."""
    with state.alone(root):
        state.save(inside(root, state.PATH), following.rebooting(state.load(inside(root, state.PATH)), digest))
    engine.reboot()


def in_window(root: Path, engine: Deployments, say: Say, window: str | None) -> tuple[str, str, Listed] | None:
    """What a timer does with a staged image: reboots in a window alone; apps and models are replaced there, or where none is set.

    `window` is what the credential aistack.window or the lock says. Returns the outcome, why, and the image, where something is done; for
    `reboots` whoever calls has it remembered and then calls `reboot`. Raises DiagnosticError (exit 1) where the window is none.
    """
    if window and (problem := words.window_problem(window)):
        message, hints = f"the window `{window}`: {problem}", ("like `Sun 02:00..04:00`",)
        raise refuse(Diagnostic(rule="UPD009", name="window-not-understood", severity=Severity.ERROR, message=message, hints=hints))
    now, sure = datetime.datetime.now(), clock.synchronized()  # local
    is_open = window is not None and words.is_open(window, now, sure=sure)
    staged = next((one for one in engine.listed() if one.staged), None)
    if staged is None or (window and not is_open):
        if staged and window and words.is_open(window, now):
            say(f"{staged.digest} waits: the window {window} may be open, but nobody has set this machine's clock")
        return None
    outcome = put_in_force(root, engine, say, may_reboot=is_open)
    because = f"the window {window} is open" if window else "no window keeps apps from being replaced"
    return (outcome, because, staged) if outcome in ("live", "undone", "reboots") else None
