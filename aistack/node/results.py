"""What a check of a node comes to, in the words that gates, reports and the table of actions share."""

from __future__ import annotations

from enum import StrEnum

from aistack.facts.readings import Reading
from aistack.values import dataclass


class Outcome(StrEnum):
    """What a check found; `UNKNOWN` means that it could not tell."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNKNOWN = "unknown"
    UNHEALTHY = "unhealthy"


class Cause(StrEnum):
    """Where the fault lies: `HARDWARE` only with evidence that needs no driver, `SOFTWARE` only where the image itself is at fault."""

    SOFTWARE = "software"
    HARDWARE = "hardware"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One check's finding; `evidence` are (name, value) pairs as they were read, `action` says what a person can do.

    `device` is the PCI address of the one accelerator that it is about.
    """

    name: str
    outcome: Outcome
    message: str
    cause: Cause | None = None
    evidence: tuple[tuple[str, str], ...] = ()
    action: str | None = None
    device: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A gate's outcome: the worst of its results; `cause` is set when it is unhealthy."""

    outcome: Outcome
    cause: Cause | None
    failed: tuple[str, ...]


def verdict(results: tuple[Result, ...]) -> Verdict:
    """The worst outcome counts; no results: unknown.

    One fault of the hardware is the cause of the whole: no other software mends it. Software is the cause where every unhealthy result
    names it, and otherwise the cause is unknown.
    """
    order = list(Outcome)
    outcome = max((result.outcome for result in results), key=order.index, default=Outcome.UNKNOWN)
    unhealthy = [result for result in results if result.outcome is Outcome.UNHEALTHY]
    causes = {result.cause or Cause.UNKNOWN for result in unhealthy}
    cause = (Cause.HARDWARE if Cause.HARDWARE in causes else causes.pop() if len(causes) == 1 else Cause.UNKNOWN) if unhealthy else None
    failed = tuple(sorted(result.name for result in results if result.outcome in (Outcome.UNHEALTHY, Outcome.UNKNOWN)))
    return Verdict(outcome=outcome, cause=cause, failed=failed)


def several(number: float, noun: str) -> str:
    """`1 program`, `2 programs`."""
    return f"{number:.0f} {noun}{'' if number == 1 else 's'}"


def good(name: str, message: str, *evidence: tuple[str, str]) -> Result:
    """What was looked at is as it should be."""
    return Result(name=name, outcome=Outcome.HEALTHY, message=message, evidence=evidence)


def bad(name: str, cause: Cause, message: str, *evidence: tuple[str, str], action: str | None = None) -> Result:
    """What was looked at keeps this node from serving."""
    return Result(name=name, outcome=Outcome.UNHEALTHY, cause=cause, message=message, evidence=evidence, action=action)


def worse(name: str, message: str, *evidence: tuple[str, str], action: str | None = None) -> Result:
    """The node can serve, but not as well as it should."""
    return Result(name=name, outcome=Outcome.DEGRADED, message=message, evidence=evidence, action=action)


def untold(name: str, reading: Reading[object], what: str) -> Result:
    """Nobody could tell; never healthy."""
    return Result(
        name=name,
        outcome=Outcome.UNKNOWN,
        message=f"cannot tell {what}: {reading.error}",
        evidence=(("source", reading.source), ("error", reading.error or "")),
    )
