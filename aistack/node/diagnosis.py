"""What is thought of NVIDIA's own diagnosis, result by result. Pure judgement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from aistack.facts.dcgm import STATUSES, Diagnosed
from aistack.facts.readings import Reading
from aistack.node.results import Cause, Outcome, Result, bad, good, untold, worse

NAME = "accelerator-diagnosis"
ACTION = "do what DCGM says; `dcgmi diag --run 3` looks deeper"
WORKING = {"monitor", "config"}
"""Severities of DCGM's with which a device can work."""


def judge_diagnosis(seen: Reading[tuple[Diagnosed, ...]], addresses: Sequence[str]) -> Iterator[Result]:
    """One result for each test that a device did not pass, and one for all that passed; tests that were left out say nothing.

    What a test came to in a word that nobody here knows, such as `error`, is *unknown*.
    """
    if seen.value is None:
        yield untold(NAME, seen, "what DCGM finds")
        return
    for result in seen.value:
        if result.status in ("fail", "warn"):
            yield _failed(result, addresses)
        elif result.status not in STATUSES:
            yield _unknown(result, addresses)
    passed = {result.test: None for result in seen.value if result.status == "pass"}
    if passed:
        yield good(NAME, f"DCGM's tests passed: {', '.join(passed)}", ("source", seen.source))
    elif all(result.status == "skip" for result in seen.value):
        yield Result(name=NAME, outcome=Outcome.UNKNOWN, message="DCGM ran no test", evidence=(("source", seen.source),))


def _unknown(result: Diagnosed, addresses: Sequence[str]) -> Result:
    device = _address(result, addresses)
    told = f": {' '.join(result.warnings)}" if result.warnings else ""
    said = f"{device or 'the machine'}: DCGM's test `{result.test}` did not come to an answer, but to `{result.status}`{told}"
    return Result(name=NAME, outcome=Outcome.UNKNOWN, message=said, evidence=(("status", result.status),), action=ACTION, device=device)


def _failed(result: Diagnosed, addresses: Sequence[str]) -> Result:
    device = _address(result, addresses)
    said = f"{device or 'the machine'}: DCGM's test `{result.test}`: {' '.join(result.warnings) or result.status}"
    evidence = (("status", result.status), ("severity", " ".join(sorted(result.severities)) or "not told"))
    works = result.status == "warn" or (result.severities and result.severities <= WORKING)
    found = worse(NAME, said, *evidence, action=ACTION) if works else bad(NAME, Cause.UNKNOWN, said, *evidence, action=ACTION)
    return replace(found, device=device)


def _address(result: Diagnosed, addresses: Sequence[str]) -> str | None:
    return addresses[result.device] if result.device is not None and result.device < len(addresses) else None
