"""What is thought of NVIDIA's own diagnosis, result by result. Pure judgement."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from aistack.facts.dcgm import Diagnosed
from aistack.facts.readings import Reading
from aistack.node.results import Cause, Outcome, Result, bad, good, untold, worse

NAME = "accelerator-diagnosis"
WORKING = {"monitor", "config"}
"""Severities of DCGM's with which a device can work."""


def judge_diagnosis(seen: Reading[tuple[Diagnosed, ...]], addresses: Sequence[str]) -> Iterator[Result]:
    """One result for each test that a device did not pass, and one for all that passed; tests that were left out say nothing."""
    if seen.value is None:
        yield untold(NAME, seen, "what DCGM finds")
        return
    for result in seen.value:
        if result.status in ("fail", "warn"):
            yield _failed(result, addresses)
    passed = {result.test: None for result in seen.value if result.status == "pass"}
    if passed:
        yield good(NAME, f"DCGM's tests passed: {', '.join(passed)}", ("source", seen.source))
    elif not any(result.status in ("fail", "warn") for result in seen.value):
        yield Result(name=NAME, outcome=Outcome.UNKNOWN, message="DCGM ran no test", evidence=(("source", seen.source),))


def _failed(result: Diagnosed, addresses: Sequence[str]) -> Result:
    device = addresses[result.device] if result.device is not None and result.device < len(addresses) else None
    said = f"{device or 'the machine'}: DCGM's test `{result.test}`: {' '.join(result.warnings) or result.status}"
    evidence = (("status", result.status), ("severity", " ".join(sorted(result.severities)) or "not told"))
    works = result.status == "warn" or (result.severities and result.severities <= WORKING)
    action = "do what DCGM says; `dcgmi diag --run 3` looks deeper"
    found = worse(NAME, said, *evidence, action=action) if works else bad(NAME, Cause.UNKNOWN, said, *evidence, action=action)
    return replace(found, device=device)
