"""A device that is split (MIG): the real probes run a program on each part, that CUDA is told to show, and ask NVML for the parts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest
from accelerator_bench import A100, Bench
from accelerator_profiles import DRIVER, SPLIT

from aistack.node.accelerators import judge
from aistack.node.asking import known_faults
from aistack.node.device_checks import Promise
from aistack.node.results import Outcome, Result, verdict

pytestmark = pytest.mark.slow


def test_a_split_is_nobodys_fault_where_nobody_promised_anything(bench: Bench) -> None:
    wanted = Promise(vendor="nvidia", product=bench.catalog.accelerators[A100], count=2, mig=None)
    assert verdict(judge(wanted, bench.look(A100, SPLIT.nvml()), {})).outcome is Outcome.HEALTHY


@pytest.mark.parametrize(
    ("changes", "outcome", "words"),
    [
        (SPLIT.nvml(), "healthy", "no mode is in the way"),
        ({}, "degraded", "is to be split into 3g.40gb 4g.40gb, and is into nothing: MIG is off"),
        (
            {**SPLIT.nvml(), "1.nvmlDeviceGetMigDeviceHandleByIndex.3": None},
            "degraded",
            "0000:18:00.0: it is to be split into 3g.40gb 4g.40gb, and is into 4g.40gb",
        ),
    ],
)
def test_a_split_is_held_against_the_lock(bench: Bench, changes: dict[str, str | None], outcome: str, words: str) -> None:
    wanted = Promise(vendor="nvidia", product=bench.catalog.accelerators[A100], count=8, driver=DRIVER, mig="3g.40gb 4g.40gb")
    told = [result for result in judge(wanted, bench.look(A100, changes), {}) if result.name == "accelerator-modes"]
    assert {str(result.outcome) for result in told if result.outcome is not Outcome.HEALTHY} == ({outcome} - {"healthy"})
    assert any(words in result.message for result in told)


def test_a_split_that_nobody_asked_for_is_told_with_its_parts(bench: Bench) -> None:
    told = next(result for result in bench.judge(A100, bench.look(A100, SPLIT.nvml())) if result.name == "accelerator-modes")
    assert told.outcome is Outcome.DEGRADED and ("mig.parts", "3g.40gb 4g.40gb") in told.evidence


ONE = replace(SPLIT, count=1)
WELL, SICK = (str(SPLIT.number(0, part)) for part, _ in SPLIT.mig)
"""Both parts of the first device, in the profiles."""


def split(bench: Bench, nvml: Mapping[str, str | None], cuda: Mapping[str, str]) -> tuple[Result, ...]:
    """What is thought of a machine without a lock; what tells a part from all others is in none of it."""
    count = int(nvml["nvmlDeviceGetCount"] or 0)
    small = {f"{number}.memory": "1000000" for number in (1, *(SPLIT.number(device, part) for device in (0, 1) for part, _ in SPLIT.mig))}
    seen = bench.look(A100, nvml, small | dict(cuda), level="quick")
    wanted = Promise(vendor="nvidia", product=bench.catalog.accelerators[A100], count=count, mig=None)
    results = judge(wanted, seen, known_faults(bench.catalog))
    assert not any(name in f"{seen}{results}" for name in ("MIG-", "GPU-"))
    return results


def test_programs_run_on_each_part(bench: Bench) -> None:
    results = split(bench, SPLIT.nvml(), SPLIT.cuda())
    assert verdict(results).outcome is Outcome.HEALTHY
    (compute,) = (one for one in results if one.name == "accelerator-compute")
    assert re.match(
        r"2 devices, the first: part [03] \([43]g.40gb\), the worst of 2: a program ran and its answer was right", compute.message
    )


TAKEN = {f"{part}.nvmlDeviceGetComputeRunningProcesses": "1" for part in ("0", WELL)}
FAULTS: dict[str, tuple[dict[str, str], dict[str, str], str, str | None, str]] = {
    "computes wrongly": ({}, {f"{SICK}.wrong": "7"}, "unhealthy", "unknown", "it computes wrongly: 7 wrong answers"),
    "has bad memory": ({}, {f"{SICK}.cuCtxSynchronize": "!214"}, "unhealthy", "hardware", "ECC_UNCORRECTABLE"),
    "hangs": ({}, {f"{SICK}.cuDevicePrimaryCtxRetain": "hang"}, "unhealthy", "unknown", "did not end within"),
    "is not shown": ({}, {f"{SICK}.uuid": "another"}, "unhealthy", "unknown", "CUDA_ERROR_NO_DEVICE"),
    "is taken": (
        {f"{SICK}.nvmlDeviceGetComputeRunningProcesses": "1"},
        {f"{SICK}.cuMemAlloc": "!2"},
        "unknown",
        None,
        "taken by 1 program",
    ),
    "is taken while it is tried": (
        {f"{SICK}.nvmlDeviceGetComputeRunningProcesses": "0 1 0"},
        {f"{SICK}.cuMemAlloc": "!2"},
        "unknown",
        None,
        "taken by 1 program",
    ),
    "fails while the other is taken": (TAKEN, {f"{SICK}.cuMemAlloc": "!2"}, "unhealthy", "unknown", "OUT_OF_MEMORY"),
    "is wrong while the other is full": (
        TAKEN,
        {f"{WELL}.cuMemAlloc": "!2", f"{SICK}.wrong": "7"},
        "unhealthy",
        "unknown",
        "7 wrong answers",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
@pytest.mark.slow
def test_a_part_that_is_sick_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("aistack.host.probes.accelerators.SECONDS", {"quick": 15.0 if name == "hangs" else 60.0})
    nvml, cuda, outcome, cause, words = FAULTS[name]
    (found,) = (one for one in split(bench, ONE.nvml() | nvml, ONE.cuda() | cuda) if one.outcome is not Outcome.HEALTHY)
    assert (found.name, str(found.outcome), found.cause and str(found.cause)) == ("accelerator-compute", outcome, cause)
    assert found.message.startswith("0000:10:00.0: part 3 (3g.40gb), the worst of 2: ") and words in found.message


def test_copies_of_a_part_are_told_and_not_judged(bench: Bench) -> None:
    alone = replace(ONE, mig=((0, "7g.80gb"),))
    results = split(bench, alone.nvml(), alone.cuda() | {f"{WELL}.memory": str(1 << 30)})
    (copies,) = (one for one in results if one.name == "accelerator-copies")
    assert copies.outcome is Outcome.HEALTHY
    assert copies.message.startswith("part 0 (7g.80gb), the worst of 1: ") and "in a part of a device no floor holds" in copies.message


def test_mig_without_parts_is_told_and_what_to_do(bench: Bench) -> None:
    nvml = {**SPLIT.nvml(), **{f"1.nvmlDeviceGetMigDeviceHandleByIndex.{part}": None for part, _ in SPLIT.mig}}
    told = {one.device: one for one in split(bench, nvml, SPLIT.cuda()) if one.name == "accelerator-compute"}
    assert told["0000:10:00.0"].outcome is Outcome.HEALTHY and told["0000:18:00.0"].outcome is Outcome.DEGRADED
    assert "it has no parts" in told["0000:18:00.0"].message and "nvidia-smi mig -cgi" in (told["0000:18:00.0"].action or "")


def test_a_whole_device_beside_one_that_is_split_is_tried(bench: Bench) -> None:
    """CUDA, until 570, shows a program no whole device where it can show it a part, unless it is told to."""
    nvml = SPLIT.nvml() | {"1.nvmlDeviceGetMigMode": "0 0", "1.nvmlDeviceGetMaxMigDeviceCount": "0"}
    (found,) = (one for one in split(bench, nvml, SPLIT.cuda()) if one.name == "accelerator-compute")
    assert found.outcome is Outcome.HEALTHY and "2 devices" in found.message
    told = split(bench, nvml, SPLIT.cuda() | {"1.wrong": "3"})
    assert [one.message for one in told if one.name == "accelerator-compute"][1] == "0000:18:00.0: it computes wrongly: 3 wrong answers"
