"""While a node runs: the cheap checks again, by a timer. What changed is told; nothing is restarted, and nothing is remembered."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from aistack.facts import events
from aistack.host import journal
from aistack.node import gate, telling
from aistack.node.agent import EXIT_CODES, report
from aistack.node.deployments import Deployments
from aistack.node.first_gate import look
from aistack.node.results import Outcome, Result, verdict

PHASE = "watch"
LEVEL = "none"
"""Nothing is computed: apps may hold all of a device's memory, and want all of its time."""


def run_watch(root: Path, deployments: Deployments) -> int:
    """Look again, mark the node with what was found, and say what is other than at the look before (the first: than at the first gate)."""
    before = next((found for phase in (PHASE, "check") if (found := _reported(root, phase)) is not None), {})
    looked = look(root, LEVEL)
    now = _bad(looked.results)
    if now != before:
        worse = now.keys() - before.keys()
        said = [now[one] for one in sorted(worse)] or [f"gone: {before[one]}" for one in sorted(before.keys() - now.keys())]
        fields = {"outcome": verdict(looked.results).outcome.value, "failed": "; ".join(said) or "nothing"}
        journal.send(events.WORSE if worse else events.BETTER, said[0] if said else "what was found changed", fields)
        for line in gate.lines(PHASE, looked.results):
            print(f"aistack: {line}", flush=True)
    telling.tell(root, deployments, watched=report(PHASE, looked.results, root, looked.seen))
    return int(EXIT_CODES[verdict(looked.results).outcome])


def _reported(root: Path, phase: str) -> dict[str, str] | None:
    """What is not healthy in a gate's report; None where there is none, or it is damaged."""
    report = telling.left(root, phase).value
    return None if report is None else _bad(report.results)


def _bad(results: Iterable[Result]) -> dict[str, str]:
    """What is not healthy, by check, device and outcome, in its words."""
    found = [one for one in results if one.outcome is not Outcome.HEALTHY]
    return {f"{one.name} {one.device or ''} {one.outcome.value}": one.message for one in found}
