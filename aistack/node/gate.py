"""A gate's answer as JSON and as lines: what /run/aistack holds, what the boot report carries, what a person reads."""

from __future__ import annotations

from typing import Any

from aistack import __version__
from aistack.facts.device_readings import Accelerators, to_plain
from aistack.node.results import Result, verdict

SCHEMA, CHECK_SCHEMA = "aistack/boot-report/v1", "aistack/node-check/v1"
"""Of what a gate writes, and of what `node check` prints: the same, less what only a boot has."""


def document(
    phase: str, results: tuple[Result, ...], seen: Accelerators | None = None, *, host: str | None, time: str, uptime_seconds: float
) -> dict[str, Any]:
    """One report: `phase` is `check` or `confirm`, `host` the node's name; keys in the order in which a person wants to read them.

    `time` (UTC, facts.following.SEALED_FORM) tells an old report from a new one, `aistack` which version judged.
    Where accelerators were asked, `accelerators` has every reading with its source: of the driver, and of each device.
    """
    judged = verdict(results)
    report: dict[str, Any] = {
        "schema": SCHEMA,
        "phase": phase,
        "host": host,
        "time": time,
        "aistack": __version__,
        "uptime_seconds": round(uptime_seconds, 2),
        "outcome": judged.outcome.value,
        "cause": judged.cause.value if judged.cause else None,
        "results": [plain(result) for result in results],
    }
    if seen is not None:
        devices = seen.devices
        report["accelerators"] = {
            "level": seen.level,
            "driver": to_plain(seen.driver),
            "devices": [to_plain(device.values) for device in devices.value or ()],
            "error": devices.error,
            "log": [event.told for event in seen.log.value or ()],
        }
    return report


def plain(result: Result) -> dict[str, Any]:
    """One result as a report has it."""
    return {
        "name": result.name,
        "outcome": result.outcome.value,
        "cause": result.cause.value if result.cause else None,
        "message": result.message,
        "device": result.device,
        "evidence": dict(result.evidence),
        "action": result.action,
    }


def lines(phase: str, results: tuple[Result, ...]) -> tuple[str, ...]:
    """One line per result, the worst last, so that it is the one that stays on a console."""
    order = ["healthy", "degraded", "unknown", "unhealthy"]
    shown = sorted(results, key=lambda result: order.index(result.outcome.value))
    judged = verdict(results)
    said = [f"{result.outcome.value:<9} {result.name}: {result.message}" for result in shown]
    said += [
        f"          {result.name}: to mend it: {result.action}" for result in shown if result.action and result.outcome.value != "healthy"
    ]
    cause = f", cause {judged.cause.value}" if judged.cause else ""
    return (*said, f"{phase}: {judged.outcome.value}{cause}")
