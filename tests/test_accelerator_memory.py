"""Memory that nobody has and nobody can use, and what a level promises to try and could not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from accelerator_bench import H100, L4, Bench
from accelerator_profiles import MACHINES, MIB

from aistack.facts.device_readings import Device, Plain
from aistack.facts.readings import Reading
from aistack.node.results import Outcome, Result, verdict

pytestmark = pytest.mark.slow

SMALL_MIB = 200
SMALL = {"0.memory": str(SMALL_MIB * MIB)}
"""Too little of a device's memory for copies, which take a second."""
USED = f"{81559 * MIB} {78000 * MIB}"
"""Nearly all of an H100's memory."""


def told(results: tuple[Result, ...], check: str) -> Result:
    return next(result for result in results if result.name == f"accelerator-{check}")


def test_memory_that_is_used_by_nobody_is_told(bench: Bench) -> None:
    (found,) = (one for one in bench.judge(H100, bench.look(H100, {"3.nvmlDeviceGetMemoryInfo": USED})) if one.outcome != "healthy")
    assert (found.name, found.outcome, found.device) == ("accelerator-memory", Outcome.DEGRADED, MACHINES[H100].addresses()[3])
    assert "78000 of 81559 MiB of memory are used, and no program is seen on it" in found.message


@pytest.mark.parametrize(
    "changes",
    [
        {"nvmlDeviceGetComputeRunningProcesses": "1"},
        {"nvmlDeviceGetGraphicsRunningProcesses": "1"},  # a screen
        {"nvmlDeviceGetVirtualizationMode": "3"},  # virtual machines have it
        {"nvmlDeviceGetComputeRunningProcesses": None},  # nobody can see who
        {"nvmlDeviceGetMemoryInfo": f"{81559 * MIB} {20000 * MIB}"},
    ],
)
def test_memory_that_somebody_has_is_not(bench: Bench, changes: dict[str, str | None]) -> None:
    seen = bench.look(H100, {"3.nvmlDeviceGetMemoryInfo": USED, **{f"3.{name}": value for name, value in changes.items()}})
    assert verdict(bench.judge(H100, seen)).outcome is Outcome.HEALTHY


def test_copies_that_find_no_room_are_told(bench: Bench) -> None:
    results = bench.judge(L4, bench.look(L4, cuda={"0.memory": str(300 * MIB)}, level="standard"))
    copies = told(results, "copies")
    assert copies.outcome is Outcome.DEGRADED and "no copies were tried: 300 MiB of it are free, and no program is seen" in copies.message
    assert told(results, "compute").outcome is Outcome.HEALTHY and "30 MiB of memory keep" in told(results, "compute").message


@pytest.mark.parametrize(("programs", "outcome"), [("0", Outcome.DEGRADED), ("1", Outcome.HEALTHY)])
def test_memory_of_which_nothing_was_tried_is_told(bench: Bench, programs: str, outcome: Outcome) -> None:
    seen = bench.look(L4, {"0.nvmlDeviceGetComputeRunningProcesses": programs}, {"0.memory": "500000"}, level="thorough")
    compute = told(bench.judge(L4, seen), "compute")
    assert compute.outcome is outcome and "no memory was tried: 0 MiB of it are free" in compute.message


def test_a_level_that_tries_no_memory_misses_none(bench: Bench) -> None:
    compute = told(bench.judge(L4, bench.look(L4, cuda={"0.memory": "500000"}, level="quick")), "compute")
    assert compute.outcome is Outcome.HEALTHY and "no memory" not in compute.message


LISTED = {"under its own number": {}, "under the machine's": {"0.nvmlDeviceGetComputeRunningProcesses.own": "77"}}


@pytest.mark.parametrize("listed", LISTED)
@pytest.mark.parametrize(("counts", "others"), [("0 2 1 0", 1), ("0 1 2 0", 1), ("0 1 1 0", 0)])
def test_a_program_that_comes_and_goes_beside_the_copies_is_seen(bench: Bench, counts: str, others: int, listed: str) -> None:
    """Before, beside (this one counted) and behind them; without it they would be held against a floor, and a second check was."""
    changes = {"0.nvmlDeviceGetComputeRunningProcesses": counts, **LISTED[listed]}
    (device,) = bench.look(L4, changes, SMALL, level="quick").devices.value or ()
    assert (device.number("compute.programs"), device.number("programs")) == (others, 0)


@pytest.mark.parametrize(("counts", "others"), [("0 0 1 0", 1), ("0 0 0 0", 0), ("1 1 2 0", 2)])
def test_a_program_is_seen_where_this_one_is_not_listed(bench: Bench, counts: str, others: int) -> None:
    """As in a container whose driver knows processes of the machine alone, or of that container."""
    changes = {"0.nvmlDeviceGetComputeRunningProcesses": counts, "0.nvmlDeviceGetComputeRunningProcesses.own": "0"}
    (device,) = bench.look(L4, changes, SMALL, level="quick").devices.value or ()
    assert device.number("compute.programs") == others


CONTAINER = {
    "used by others": {"0.nvmlDeviceGetMemoryInfo_v2": str(3000 * MIB)},
    "used by nobody": {"0.nvmlDeviceGetMemoryInfo_v2": str(4 * MIB)},
}


@pytest.mark.parametrize("used", CONTAINER)
def test_who_is_not_listed_is_known_by_the_memory(bench: Bench, used: str) -> None:
    """In a container NVML lists its programs alone: a slow copy beside others is none, and one beside nobody is."""
    bench.namespace = "pid:[4026532000]"
    seen = bench.look(L4, CONTAINER[used], level="quick")
    values = {**(seen.devices.value or ())[0].values, "copies.to-device-gbps": Reading[Plain](source="CUDA", value=1.0)}
    copies = told(bench.judge(L4, replace(seen, devices=Reading(source="NVML", value=(Device(values=values),)))), "copies")
    assert copies.outcome is (Outcome.HEALTHY if used == "used by others" else Outcome.DEGRADED), copies.message
    assert ("beside 1 program no floor holds" in copies.message) == (used == "used by others")


@pytest.mark.parametrize(("later", "is_there"), [(100 * MIB, True), (SMALL_MIB * MIB - 1000, None)])
def test_a_program_that_comes_later_is_known_by_the_memory(bench: Bench, later: int, is_there: bool | None) -> None:
    (device,) = bench.look(L4, {}, {"0.memory": str(SMALL_MIB * MIB), "0.memory.later": str(later)}, level="quick").devices.value or ()
    assert device.get("compute.unlisted") is is_there


def test_memory_that_is_used_is_not_said_to_be_nobodys_in_a_container(bench: Bench) -> None:
    bench.namespace = "pid:[4026532000]"
    seen = bench.look(H100, {"3.nvmlDeviceGetMemoryInfo": USED})
    device = (seen.devices.value or ())[3]
    assert device.get("programs") is None and device.values["programs"].error == "only programs of this container are seen"
    assert verdict(bench.judge(H100, seen)).outcome is Outcome.HEALTHY


def test_a_job_that_ends_while_the_device_is_tried_is_no_fault(bench: Bench) -> None:
    """It had the memory when a program was tried, and is gone when NVML is asked: what it takes is seen before and after."""
    changes = {"0.nvmlDeviceGetComputeRunningProcesses": "1 0"}
    (found,) = (one for one in bench.judge(L4, bench.look(L4, changes, {"0.cuMemAlloc": "!2"}, level="quick")) if one.outcome != "healthy")
    assert (found.name, found.outcome) == ("accelerator-compute", Outcome.UNKNOWN) and "taken by 1 program" in found.message
