"""Accelerators on boot: the real probes ask stand-ins for NVIDIA's libraries, and the catalog's facts judge what they said."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from accelerator_bench import A100, H100, L4, PCIE, RECORDED, Bench, recorded
from accelerator_profiles import DRIVER, INVALID, LIBRARY_MISMATCH, LOST, MACHINES, MIB, NOT_LOADED, UNKNOWN, compile_library
from node_samples import LOCK
from node_samples import lay as lay_node

from aistack.compose.lock import LockedAccelerator
from aistack.facts.device_readings import UNSUPPORTED, Device, from_plain
from aistack.facts.readings import Reading
from aistack.host.probes.accelerators import take_accelerators
from aistack.node.accelerators import judge
from aistack.node.device_checks import Promise
from aistack.node.first_gate import look
from aistack.node.results import Cause, Outcome, verdict


@pytest.mark.parametrize("product", MACHINES)
def test_a_machine_as_delivered_is_healthy(bench: Bench, product: str) -> None:
    results = bench.judge(product, bench.look(product))
    assert [result for result in results if result.outcome is not Outcome.HEALTHY] == []


def test_a_bridge_over_some_links_is_as_good_as_none(bench: Bench) -> None:
    """Two bridges of three join 12 of 18 links: https://github.com/Azure/azurehpc-health-checks/issues/162."""
    product = "nvidia/h100-pcie-80gb"
    bridged = {f"{device}.nvmlDeviceGetNvLinkState.{link}": str(int(link % 6 < 4)) for device in (0, 1) for link in range(18)}
    for changes, words in (({}, "0 of 18 NVLinks are up"), (bridged, "12 of 18 NVLinks are up")):
        (links,) = (result for result in bench.judge(product, bench.look(product, changes)) if result.name == "accelerator-nvlink")
        assert links.outcome is Outcome.HEALTHY and words in links.message


def uncounted(device: int) -> dict[str, str | None]:
    """A device without counters of errors, as where they are not corrected."""
    return {f"{device}.nvmlDeviceGetTotalEccErrors.{kind}.{counter}": None for kind in (0, 1) for counter in (0, 1)}


FAULTS: dict[str, tuple[str, dict[str, str | None], str, str, str | None, str]] = {
    "gone from the bus": (H100, {"3.nvmlDeviceGetHandleByIndex": LOST}, "accelerator-count", "unhealthy", "unknown", "lost 1 of 8"),
    "one fewer": (H100, {"nvmlDeviceGetCount": "7"}, "accelerator-count", "unhealthy", "unknown", "knows 7 of 8 x nvidia/h100-sxm-80gb"),
    "another product": (H100, {"2.nvmlDeviceGetPciInfo": "0 32 0 0x233110de"}, "accelerator-count", "unhealthy", "unknown", "and 1 other"),
    "uncorrectable error": (H100, {"5.nvmlDeviceGetTotalEccErrors.1.0": "2"}, "accelerator-ecc", "unhealthy", "hardware", "2 errors"),
    "caches worn out": (H100, {"5.nvmlDeviceGetSramEccErrorStatus": "1"}, "accelerator-ecc", "unhealthy", "hardware", "SRAM"),
    "error correction off next time": (H100, {"5.nvmlDeviceGetEccMode": "1 0"}, "accelerator-ecc", "degraded", None, "next reset"),
    "error correction off": (
        H100,
        {"5.nvmlDeviceGetEccMode": "0 0", **uncounted(5)},
        "accelerator-ecc",
        "degraded",
        None,
        "correction is off",
    ),
    "error correction on next time": (
        H100,
        {"5.nvmlDeviceGetEccMode": "0 1", **uncounted(5)},
        "accelerator-ecc",
        "degraded",
        None,
        "next reset",
    ),
    "error correction off, on a card with a default of its own": (
        "nvidia/l4",
        {"0.nvmlDeviceGetEccMode": "0 0", **uncounted(0)},
        "accelerator-ecc",
        "degraded",
        None,
        "correction is off",
    ),
    "no counters of errors": (H100, uncounted(5), "accelerator-ecc", "degraded", None, "counts no errors"),
    "no word of error correction": (
        H100,
        {"5.nvmlDeviceGetEccMode": None, "5.nvmlDeviceGetDefaultEccMode": None, **uncounted(5)},
        "accelerator-ecc",
        "degraded",
        None,
        "counts no errors",
    ),
    "row failed": (H100, {"1.nvmlDeviceGetRemappedRows": "0 3 0 1"}, "accelerator-rows", "unhealthy", "hardware", "could not be replaced"),
    "memory that cannot be repaired": (
        H100,
        {"1.nvmlDeviceGetUnrepairableMemoryFlag_v1": "1"},
        "accelerator-rows",
        "unhealthy",
        "hardware",
        "cannot be repaired",
    ),
    "channel pending": (H100, {"6.nvmlDeviceGetRepairStatus": "1 0"}, "accelerator-rows", "degraded", None, "a channel of memory is"),
    "processors pending": (H100, {"6.nvmlDeviceGetRepairStatus": "0 1"}, "accelerator-rows", "degraded", None, "of its processors (TPC)"),
    "row pending": (A100, {"1.nvmlDeviceGetRemappedRows": "0 1 1 0"}, "accelerator-rows", "degraded", None, "next reset"),
    "wrong memory": (H100, {"0.nvmlDeviceGetMemoryInfo": f"{40960 * MIB} 0"}, "accelerator-memory", "unhealthy", "unknown", "40960 MiB"),
    "some memory gone": (L4, {"0.nvmlDeviceGetMemoryInfo": f"{22500 * MIB} 0"}, "accelerator-memory", "unhealthy", "unknown", "22.0 GiB"),
    "link down": (H100, {"4.nvmlDeviceGetNvLinkState.7": "0"}, "accelerator-nvlink", "unhealthy", "unknown", "17 of 18 NVLinks"),
    "no links": (
        H100,
        {f"4.nvmlDeviceGetNvLinkState.{link}": None for link in range(18)},
        "accelerator-nvlink",
        "unhealthy",
        "unknown",
        "no NVLink",
    ),
    "fabric not started": (H100, {"0.nvmlDeviceGetGpuFabricInfo": "1 0"}, "accelerator-fabric", "unhealthy", "unknown", "not started"),
    "fabric failed": (H100, {"0.nvmlDeviceGetGpuFabricInfo": "3 5"}, "accelerator-fabric", "unhealthy", "unknown", "status 5"),
    "fabric not ready": (H100, {"0.nvmlDeviceGetGpuFabricInfo": "2 0"}, "accelerator-fabric", "unknown", None, "still going on"),
    "fabric is slower": (H100, {"2.nvmlDeviceGetGpuFabricInfoV": "0x1a9 3"}, "accelerator-fabric", "degraded", None, "degraded-bandwidth"),
    "fabric cut off": (H100, {"2.nvmlDeviceGetGpuFabricInfoV": "0x19a 2"}, "accelerator-fabric", "unhealthy", "unknown", "route-unhealthy"),
    "fabric set up wrongly": (H100, {"2.nvmlDeviceGetGpuFabricInfoV": "0x5aa 2"}, "accelerator-fabric", "unhealthy", "unknown", "too-few"),
    "fabric unhealthy": (H100, {"2.nvmlDeviceGetGpuFabricInfoV": "0x1aa 2"}, "accelerator-fabric", "unhealthy", "unknown", ": unhealthy"),
    "narrow link": (L4, {"0.nvmlDeviceGetCurrPcieLinkWidth": "4"}, "accelerator-link", "degraded", None, "4 x4, though"),
    "narrow slot": (
        "nvidia/h100-pcie-80gb",
        {"0.nvmlDeviceGetCurrPcieLinkWidth": "8", "0.nvmlDeviceGetMaxPcieLinkWidth": "8"},
        "accelerator-link",
        "degraded",
        None,
        "diagnosis asks for 3 x16",
    ),
    "too hot": (L4, {"0.nvmlDeviceGetCurrentClocksThrottleReasons": "0x48"}, "accelerator-clocks", "degraded", None, "board itself"),
    "less power": (L4, {"0.nvmlDeviceGetEnforcedPowerLimit": "40000"}, "accelerator-power", "degraded", None, "40 W of 72 W"),
    "made with less power": (
        H100,
        {"1.nvmlDeviceGetEnforcedPowerLimit": "350000", "1.nvmlDeviceGetPowerManagementDefaultLimit": "350000"},
        "accelerator-power",
        "degraded",
        None,
        "350 W, as it was made; the vendor's own diagnosis asks for 525 W",
    ),
    "split": (A100, {"0.nvmlDeviceGetMigMode": "1 1"}, "accelerator-modes", "degraded", None, "MIG"),
    "prohibited": (L4, {"0.nvmlDeviceGetComputeMode": "2"}, "accelerator-modes", "unhealthy", "unknown", "no program"),
    "no persistence": (L4, {"0.nvmlDeviceGetPersistenceMode": "0"}, "accelerator-modes", "degraded", None, "unloads"),
    "needs a reset": (H100, {"6.nvmlDeviceGetFieldValues.230": "1"}, "accelerator-recovery", "unhealthy", "unknown", "reset the device"),
    "needs its bus reset": (H100, {"6.nvmlDeviceGetFieldValues.230": "6"}, "accelerator-recovery", "unhealthy", "unknown", "device's bus"),
    "needs what nobody knows": (H100, {"6.nvmlDeviceGetFieldValues.230": "9"}, "accelerator-recovery", "unhealthy", "unknown", "action 9"),
    "older firmware": (H100, {"0.nvmlDeviceGetGspFirmwareVersion": "570.1"}, "accelerator-driver", "unhealthy", "software", "570.1"),
    "older library": (H100, {"nvmlSystemGetDriverVersion": "570.1"}, "accelerator-driver", "unhealthy", "software", "module 580.159.04"),
    "library mismatch": (
        H100,
        {"nvmlInitWithFlags": LIBRARY_MISMATCH},
        "accelerator-driver",
        "unhealthy",
        "software",
        "LibRmVersionMismatch",
    ),
    "no module": (H100, {"nvmlInitWithFlags": NOT_LOADED}, "accelerator-driver", "unhealthy", "unknown", "Driver Not Loaded"),
    "a reading failed": (L4, {"0.nvmlDeviceGetMemoryInfo": UNKNOWN}, "accelerator-memory", "unknown", None, "cannot tell memory.total-mib"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_with_its_device_and_cause(bench: Bench, name: str) -> None:
    product, changes, check, outcome, cause, words = FAULTS[name]
    results = bench.judge(product, bench.look(product, changes))
    found = [result for result in results if result.outcome is not Outcome.HEALTHY]
    assert [(result.name, str(result.outcome), result.cause and str(result.cause)) for result in found] == [(check, outcome, cause)]
    assert words in found[0].message
    if check not in ("accelerator-count", "accelerator-driver"):
        index = int(next(iter(changes)).partition(".")[0])
        assert found[0].device == MACHINES[product].addresses()[index]
    assert found[0].action or outcome == "unknown"


def test_a_driver_that_knows_of_no_recovery_is_not_asked_for_one(bench: Bench) -> None:
    (device,) = bench.look(L4, {"0.nvmlDeviceGetFieldValues.230": INVALID}).devices.value or ()
    assert device.values["recovery"].error == UNSUPPORTED


def test_an_older_driver_tells_the_fabric_by_its_older_function(bench: Bench) -> None:
    (device, *_) = bench.look(H100, {"0.nvmlDeviceGetGpuFabricInfoV": None}).devices.value or ()
    assert device.get("fabric.state") == "completed" and device.values["fabric.health"].error == UNSUPPORTED


def test_memory_is_judged_of_whole_devices_with_their_own(bench: Bench) -> None:
    """A virtual machine's part (vGPU) and what a processor shares are as large as somebody made them; older drivers show less."""
    part: dict[str, str | None] = {"0.nvmlDeviceGetMemoryInfo": f"{8192 * MIB} 0", "0.nvmlDeviceGetVirtualizationMode": "2"}
    assert verdict(bench.judge(L4, bench.look(L4, part))).outcome is Outcome.HEALTHY
    older: dict[str, str | None] = {f"{device}.nvmlDeviceGetMemoryInfo": f"{81251 * MIB} 0" for device in range(8)}
    assert verdict(bench.judge(A100, bench.look(A100, older))).outcome is Outcome.HEALTHY
    shared = Device(values={"memory.total-mib": Reading(source="mem_info_vram_total", value=512)})
    wanted = Promise(vendor="amd", product=bench.catalog.accelerators["amd/ryzen-ai-max-395"])
    assert verdict(judge(wanted, replace(recorded(), devices=Reading(source="amdgpu", value=(shared,))), {})).outcome is Outcome.HEALTHY


GIVEN: dict[str, tuple[str, dict[str, str | None], str, str]] = {
    "without its links": (
        H100,
        {
            **{f"{device}.nvmlDeviceGetVirtualizationMode": "1" for device in range(8)},
            **{f"{device}.nvmlDeviceGetGpuFabricInfo": "0 0" for device in range(8)},
            **{f"{device}.nvmlDeviceGetGpuFabricInfoV": "0 0" for device in range(8)},
            **{f"{device}.nvmlDeviceGetNvLinkState.{link}": None for device in range(8) for link in range(18)},
        },
        "degraded",
        "given the device without its NVLinks",
    ),
    "with its links": (H100, {f"{device}.nvmlDeviceGetVirtualizationMode": "1" for device in range(8)}, "healthy", ""),
}


@pytest.mark.parametrize("name", GIVEN)
def test_a_device_that_a_virtual_machine_was_given(bench: Bench, name: str) -> None:
    product, changes, outcome, words = GIVEN[name]
    results = bench.judge(product, bench.look(product, changes))
    assert str(verdict(results).outcome) == outcome and any(words in result.message for result in results)


@pytest.mark.slow
def test_encrypted_copies_are_held_against_no_link(bench: Bench) -> None:
    for settings, floor in (("1 0 0 0", "15.8"), ("1 1 0 0", "none"), ("1 0 0 1", "none")):
        seen = bench.look(L4, {"nvmlSystemGetConfComputeSettings": settings}, level="quick")
        (copies,) = (result for result in bench.judge(L4, seen) if result.name == "accelerator-copies")
        assert dict(copies.evidence)["floor-gbps"].startswith(floor)


def test_a_loaded_module_without_its_nodes_is_told(bench: Bench) -> None:
    driver = bench.judge(H100, bench.look(H100, {"nvmlInitWithFlags": NOT_LOADED}))[0]
    assert "its module is loaded" in (driver.action or "")


SMALL = {"0.memory": str(64 * MIB)}
"""Too little of a device's memory for copies to be timed, which takes a second."""
COMPUTE = {
    "no context": ({"0.cuDevicePrimaryCtxRetain": "!2"}, "unknown", "CUDA_ERROR_OUT_OF_MEMORY"),
    "memory is bad": ({"0.cuCtxSynchronize": "!214"}, "hardware", "ECC_UNCORRECTABLE"),
    "the kernel does not end well": ({"0.cuLaunchKernel": "!719"}, "unknown", "LAUNCH_FAILED"),
    "another driver": ({"0.cuInit": "!803"}, "software", "SYSTEM_DRIVER_MISMATCH"),
    "no fabric": ({"0.cuInit": "!802"}, "unknown", "SYSTEM_NOT_READY"),
    "wrong answers": ({"0.wrong": "7"}, "unknown", "7 wrong answers"),
    "not listed": ({"0.pci": "0000:99:00.0"}, "unknown", "does not list"),
}


@pytest.mark.parametrize("name", COMPUTE)
def test_programs_that_do_not_run_are_told(bench: Bench, name: str) -> None:
    changes, cause, words = COMPUTE[name]
    results = bench.judge(L4, bench.look(L4, cuda=SMALL | changes, level="standard"))
    found = [result for result in results if result.outcome is Outcome.UNHEALTHY]
    assert [(result.name, str(result.cause)) for result in found] == [("accelerator-compute", cause)]
    assert words in found[0].message


@pytest.mark.slow
def test_programs_run_and_copies_are_measured(bench: Bench) -> None:
    seen = bench.look(L4, level="standard")
    (device,) = seen.devices.value or ()
    assert device.get("compute.wrong-answers") == 0 and device.get("compute.wrong-words") == 0 and device.get("compute.tested-mib") == 102
    assert (device.number("copies.to-device-gbps") or 0) > 0
    compute = next(result for result in bench.judge(L4, seen) if result.name == "accelerator-compute")
    assert compute.outcome is Outcome.HEALTHY and "102 MiB of memory keep what is written" in compute.message


def test_a_link_that_went_to_sleep_again_is_not_called_damaged(bench: Bench) -> None:
    """It is read beside a program, and once more when that has ended."""
    seen = bench.look(L4, level="quick")
    (device,) = seen.devices.value or ()
    assert device.get("compute.pcie-generation") == 4 and device.get("compute.pcie-lanes") == 16
    asleep = Device(values={**device.values, "pcie.generation": Reading(source="nvmlDeviceGetCurrPcieLinkGeneration", value=1)})
    found = {result.name: result for result in bench.judge(L4, replace(seen, devices=Reading(source="NVML", value=(asleep,))))}
    assert found["accelerator-link"].outcome is Outcome.HEALTHY and "PCI Express 4 x16" in found["accelerator-link"].message
    assert ("floor-gbps", "15.8, 50% of PCI Express 4 x16") in found["accelerator-copies"].evidence
    one = bench.look(L4, {"0.nvmlDeviceGetCurrPcieLinkGeneration": "1"}, SMALL, level="quick")
    slow = {result.name: result for result in bench.judge(L4, one)}
    assert slow["accelerator-link"].outcome is Outcome.DEGRADED and "1 x16, though" in slow["accelerator-link"].message


@pytest.mark.slow
def test_a_driver_that_hangs_is_data(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aistack.host.probes.accelerators.SECONDS", {"none": 0.7})
    seen = bench.look(L4, {"0.nvmlDeviceGetMemoryInfo": "hang"})
    results = bench.judge(L4, seen)
    assert verdict(results).outcome is Outcome.UNHEALTHY and verdict(results).cause is Cause.UNKNOWN
    assert "did not end within" in results[0].message


@pytest.mark.slow
def test_one_device_that_hangs_is_named_and_the_others_are_judged(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aistack.host.probes.accelerators.SECONDS", {"none": 8.0})
    seen = bench.look(H100, {"2.nvmlDeviceGetPowerUsage": "hang", "0.nvmlDeviceGetPersistenceMode": "0"})
    found = [result for result in bench.judge(H100, seen) if result.outcome is not Outcome.HEALTHY]
    assert [(result.name, result.device) for result in found] == [
        ("accelerator-count", "0000:20:00.0"),
        ("accelerator-modes", "0000:10:00.0"),
    ]
    assert "0000:20:00.0 does not answer" in found[0].message and "2 of 8 devices answered before it" in found[0].message


@pytest.mark.slow
def test_a_program_that_hangs_on_one_device_blames_that_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aistack.host.probes.accelerators.SECONDS", {"quick": 15.0})
    seen = bench.look(PCIE, cuda={"0.memory": "1000000", "1.cuDevicePrimaryCtxRetain": "hang"}, level="quick")
    found = {result.device: result for result in bench.judge(PCIE, seen) if result.name == "accelerator-compute"}
    assert {device: str(result.outcome) for device, result in found.items()} == {"0000:10:00.0": "healthy", "0000:18:00.0": "unhealthy"}
    assert "did not end within" in found["0000:18:00.0"].message


def test_no_library_is_never_healthy(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bench.libraries = tmp_path
    results = bench.judge(L4, bench.look(L4, level="quick"))
    assert (results[0].name, results[0].outcome, results[0].cause) == ("accelerator-driver", Outcome.UNHEALTHY, Cause.SOFTWARE)


def test_a_library_of_another_processor_is_none(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(57))
    bench.libraries = tmp_path
    assert bench.look(L4).devices.error == "LibraryNotFound: NVML Shared Library Not Found"


@pytest.mark.parametrize(
    ("library", "source", "check", "words"),
    [
        ("libnvidia-ml.so.1", "int other;", "accelerator-driver", "FunctionNotFound"),
        ("libcuda.so.1", "int cuInit(unsigned flags) { return 0; }", "accelerator-compute", "LibraryUnusable: "),
        ("libcuda.so.1", None, "accelerator-compute", "LibraryUnusable: libcuda.so.1: cannot open shared object file"),
    ],
)
def test_a_library_that_lacks_a_function_or_is_missing_is_softwares_fault(
    bench: Bench, tmp_path: Path, library: str, source: str | None, check: str, words: str
) -> None:
    bench.libraries = shutil.copytree(bench.libraries, tmp_path / "libraries")
    (bench.libraries / library).unlink()
    if source is not None:
        compile_library(bench.libraries / library, source)
    (found,) = (result for result in bench.judge(L4, bench.look(L4, level="quick")) if result.outcome is Outcome.UNHEALTHY)
    assert (found.name, found.cause) == (check, Cause.SOFTWARE) and words in found.message


def test_a_device_that_programs_take_is_not_called_broken(bench: Bench) -> None:
    for call, code in (("cuMemAlloc", "!2"), ("cuDevicePrimaryCtxRetain", "!46")):
        busy = bench.look(L4, {"0.nvmlDeviceGetComputeRunningProcesses": "2"}, {f"0.{call}": code}, level="quick")
        (found,) = (result for result in bench.judge(L4, busy) if result.name == "accelerator-compute")
        assert found.outcome is Outcome.UNKNOWN and "taken by 2 programs" in found.message
    little = bench.look(L4, {"0.nvmlDeviceGetComputeRunningProcesses": "1"}, SMALL, level="quick")
    every = {one.name: one for one in bench.judge(L4, little)}
    assert every["accelerator-copies"].message == "no copies were tried: 64 MiB of it are free"
    assert verdict(tuple(every.values())).outcome is Outcome.HEALTHY


def test_who_hides_devices_from_their_programs_hides_none_from_the_gate(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("CUDA_DISABLE_PTX_JIT", "1")
    compute = next(result for result in bench.judge(L4, bench.look(L4, cuda=SMALL, level="quick")) if result.name == "accelerator-compute")
    assert compute.outcome is Outcome.HEALTHY


def test_one_device_alone_needs_no_fabric(bench: Bench) -> None:
    alone: dict[str, str | None] = {"nvmlDeviceGetCount": "1", "0.nvmlDeviceGetGpuFabricInfo": "0 0"}
    alone |= {f"0.nvmlDeviceGetNvLinkState.{link}": None for link in range(18)}
    results = bench.judge(H100, bench.look(H100, alone), count=1)
    assert verdict(results).outcome is Outcome.HEALTHY


def test_a_node_is_judged_as_a_whole(bench: Bench, tmp_path: Path) -> None:
    lock = replace(LOCK, accelerator=LockedAccelerator(product=H100, count=8), components=(*LOCK.components, ("driver", f"{DRIVER}-1")))
    root = lay_node(bench.folder / "root", lock)
    bench.look(H100)
    for address in MACHINES[H100].addresses():
        device = root / "sys/bus/pci/devices" / address
        device.mkdir()
        for name, text in (("vendor", "0x10de"), ("device", "0x2330"), ("class", "0x030200")):
            (device / name).write_text(f"{text}\n")
    found = {result.name: result for result in look(root, "none").results if result.name.startswith("accelerator")}
    assert {result.outcome for result in found.values()} == {Outcome.HEALTHY}
    assert found["accelerator"].message == f"8 x {H100} are in PCI configuration space"
    assert found["accelerator-driver"].evidence[-1] == ("lock", DRIVER)
    shutil.rmtree(root / "sys/bus/pci/devices" / MACHINES[H100].addresses()[3])
    bench.look(H100, {"nvmlDeviceGetCount": "7"})
    results = look(root, "none").results
    assert [result.name for result in results if result.outcome is Outcome.UNHEALTHY] == ["accelerator"]


def test_an_accelerator_that_no_probe_knows_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kmsg").touch()
    results = judge(Promise(vendor="intel"), take_accelerators(tmp_path, "intel", "quick"), {})
    assert verdict(results).outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("name", "product", "memory", "copies", "floor"),
    [
        ("h100", H100, "72496 MiB", "47.8 GB/s to it, 54.6 GB/s from it, 2875 GB/s inside", "1524, of 1905"),
        ("h200", "nvidia/h200-sxm-141gb", "128366 MiB", "55.1 GB/s to it, 55.2 GB/s from it, 4080 GB/s inside", "none"),
    ],
)
def test_real_devices_are_healthy(bench: Bench, name: str, product: str, memory: str, copies: str, floor: str) -> None:
    found = {result.name: result for result in bench.judge(product, recorded(name), count=1)}
    assert {result.outcome for result in found.values()} == {Outcome.HEALTHY}
    assert f"its answer was right, {memory}" in found["accelerator-compute"].message
    said = found["accelerator-copies"]
    assert said.message == copies
    assert {("floor-gbps", "31.5, 50% of PCI Express 5 x16"), ("floor-inside-gbps", floor)} <= set(said.evidence)


def test_slow_memory_and_a_slow_bus_are_told(bench: Bench) -> None:
    for name, rate, words in (("inside", 1500.0, "its memory is slow"), ("to-device", 12.0, "copies are slow")):
        (device,) = recorded().devices.value or ()
        slow = Device(values={**device.values, f"copies.{name}-gbps": Reading(source="libcuda.so.1", value=rate)})
        seen = replace(recorded(), devices=Reading(source="NVML", value=(slow,)))
        (found,) = (result for result in bench.judge(H100, seen, count=1) if result.outcome is not Outcome.HEALTHY)
        assert found.outcome is Outcome.DEGRADED and words in found.message
        busy = Device(values={**slow.values, "programs": Reading(source="nvmlDeviceGetComputeRunningProcesses", value=1)})
        results = bench.judge(H100, replace(seen, devices=Reading(source="NVML", value=(busy,))), count=1)
        assert verdict(results).outcome is Outcome.HEALTHY


def test_copies_are_held_against_a_part_of_what_another_program_reaches(bench: Bench) -> None:
    for rate, outcome in ((1600.0, Outcome.HEALTHY), (1500.0, Outcome.DEGRADED)):
        (device,) = recorded().devices.value or ()
        slower = Device(values={**device.values, "copies.inside-gbps": Reading(source="libcuda.so.1", value=rate)})
        results = bench.judge(H100, replace(recorded(), devices=Reading(source="NVML", value=(slower,))), count=1)
        assert verdict(results).outcome is outcome


def test_the_stand_in_says_what_a_real_h100_says(bench: Bench) -> None:
    """All but the address, what a virtual machine with one device lacks, and what changes from minute to minute."""
    (device,) = bench.look(H100, {"nvmlDeviceGetCount": "1"}).devices.value or ()
    real = from_plain(RECORDED["h100"]["devices"][0])
    changing = {"pci.address", "temperature.celsius", "power.watts", "clocks.mhz", "clocks.held-by", "pcie.replays"}
    differ = {name for name in real if name in device.values and name not in changing and device.values[name] != real[name]}
    assert differ == {"fabric.state", "fabric.health", "links.up", "links.all", "links.errors", "virtualization", "confidential"}
    computed = {name for name in real if name.startswith(("compute", "copies"))} - {"compute-capability", "compute-mode"}
    assert set(real) - set(device.values) == computed | {"uuid"}


@pytest.mark.system
@pytest.mark.parametrize("product", MACHINES)
def test_the_bindings_that_debian_packages_do_as_well(bench: Bench, product: str, older: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(older))
    results = bench.judge(product, bench.look(product))
    assert [result for result in results if result.outcome is not Outcome.HEALTHY] == []


@pytest.fixture(scope="session")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bindings of the release that Debian 13 packages for its driver 550."""
    folder = tmp_path_factory.mktemp("bindings")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), "nvidia-ml-py==12.550.89"]
    subprocess.run(pip, check=True)
    return folder
