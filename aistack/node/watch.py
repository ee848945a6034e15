"""While a node runs: the cheap checks again, by a timer. What changed is told; nothing is restarted, and nothing is remembered."""

from __future__ import annotations

from pathlib import Path

from aistack.facts import events
from aistack.host import journal
from aistack.node import gate, telling
from aistack.node.agent import EXIT_CODES, keep
from aistack.node.deployments import Deployments
from aistack.node.first_gate import look
from aistack.node.results import Outcome, verdict

PHASE = "watch"
LEVEL = "none"
"""Nothing is computed: apps may hold all of a device's memory, and want all of its time."""


def run_watch(root: Path, deployments: Deployments) -> int:
    """Look again, mark the node with what was found, and say what is other than at the look before (the first: than at the first gate)."""
    before = next((found for phase in (PHASE, "check") if (found := _bad(root, phase)) is not None), {})
    looked = look(root, LEVEL)
    keep(PHASE, looked.results, root, seen=looked.seen)
    now = _bad(root, PHASE) or {}
    if now != before:
        worse = now.keys() - before.keys()
        said = [now[one] for one in sorted(worse)] or [f"gone: {before[one]}" for one in sorted(before.keys() - now.keys())]
        fields = {"outcome": verdict(looked.results).outcome.value, "failed": "; ".join(said) or "nothing"}
        journal.send(events.WORSE if worse else events.BETTER, said[0] if said else "what was found changed", fields)
        for line in gate.lines(PHASE, looked.results):
            print(f"aistack: {line}", flush=True)
    telling.tell(root, deployments)
    return int(EXIT_CODES[verdict(looked.results).outcome])


def _bad(root: Path, phase: str) -> dict[str, str] | None:
    """What is not healthy in a report, by check, device and outcome, in its words; None where there is no report."""
    report = telling.left(root, phase).value
    if report is None:
        return None
    found = [one for one in report.results if one.outcome is not Outcome.HEALTHY]
    return {f"{one.name} {one.device or ''} {one.outcome.value}": one.message for one in found}
