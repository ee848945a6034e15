"""Accelerators on boot: the real probes ask stand-ins for NVIDIA's libraries, and the catalog's facts judge what they said."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from accelerator_profiles import DRIVER, INVALID, LIBRARY_MISMATCH, LOST, MACHINES, MIB, NOT_LOADED, UNKNOWN, lay
from node_samples import LOCK
from node_samples import lay as lay_node

from aistack.compose.lock import LockedAccelerator
from aistack.facts.catalog import Catalog
from aistack.facts.device_readings import UNSUPPORTED, Accelerators, Device, KernelEvent, from_plain
from aistack.facts.kernel_log import events
from aistack.facts.readings import Reading
from aistack.host.probes import kernel_log
from aistack.host.probes.accelerators import take_accelerators
from aistack.node.accelerators import judge
from aistack.node.asking import known_faults
from aistack.node.device_checks import Promise
from aistack.node.first_gate import look
from aistack.node.results import Cause, Outcome, Result, verdict

XID = "6,{number},{micros},-;NVRM: Xid (PCI:0000:18:00): {code}, pid=1234, name=python3, a message\n"


class Bench:
    """A machine with stand-ins for its driver's libraries; what the probes read of it, and what is thought of that."""

    def __init__(self, libraries: Path, folder: Path, patch: pytest.MonkeyPatch, catalog: Catalog) -> None:
        self.libraries, self.folder, self.patch, self.catalog = libraries, folder, patch, catalog

    def look(
        self,
        product: str,
        nvml: Mapping[str, str | None] | None = None,
        cuda: Mapping[str, str] | None = None,
        *,
        level: str = "none",
        kmsg: str = "",
    ) -> Accelerators:
        machine = MACHINES[product]
        changed = {name: value for name, value in (machine.nvml() | dict(nvml or {})).items() if value is not None}
        for name, value in lay(self.folder, changed, machine.cuda() | dict(cuda or {})).items():
            self.patch.setenv(name, value)
        self.patch.setenv("LD_LIBRARY_PATH", str(self.libraries))
        root = self.folder / "root"
        for name, text in (("sys/module/nvidia/version", f"{DRIVER}\n"), ("dev/kmsg", kmsg)):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        return take_accelerators(root, "nvidia", level)

    def judge(self, product: str, seen: Accelerators, *, count: int | None = None, driver: str = DRIVER) -> tuple[Result, ...]:
        wanted = Promise(vendor="nvidia", product=self.catalog.accelerators[product], count=count or MACHINES[product].count, driver=driver)
        return judge(wanted, seen, known_faults(self.catalog))


@pytest.fixture
def bench(stand_ins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, catalog: Catalog) -> Bench:
    return Bench(stand_ins, tmp_path, monkeypatch, catalog)


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


PCIE = "nvidia/h100-pcie-80gb"
H100, L4, A100 = "nvidia/h100-sxm-80gb", "nvidia/l4", "nvidia/a100-sxm-80gb"
FAULTS: dict[str, tuple[str, dict[str, str | None], str, str, str | None, str]] = {
    "gone from the bus": (H100, {"3.nvmlDeviceGetHandleByIndex": LOST}, "accelerator-count", "unhealthy", "unknown", "lost 1 of 8"),
    "one fewer": (H100, {"nvmlDeviceGetCount": "7"}, "accelerator-count", "unhealthy", "unknown", "knows 7 of 8 x nvidia/h100-sxm-80gb"),
    "another product": (H100, {"2.nvmlDeviceGetPciInfo": "0 32 0 0x233110de"}, "accelerator-count", "unhealthy", "unknown", "and 1 others"),
    "uncorrectable error": (H100, {"5.nvmlDeviceGetTotalEccErrors.1.0": "2"}, "accelerator-ecc", "unhealthy", "hardware", "2 errors"),
    "caches worn out": (H100, {"5.nvmlDeviceGetSramEccErrorStatus": "1"}, "accelerator-ecc", "unhealthy", "hardware", "SRAM"),
    "error correction off next time": (H100, {"5.nvmlDeviceGetEccMode": "1 0"}, "accelerator-ecc", "degraded", None, "next reset"),
    "row failed": (H100, {"1.nvmlDeviceGetRemappedRows": "0 3 0 1"}, "accelerator-rows", "unhealthy", "hardware", "could not be replaced"),
    "row pending": (A100, {"1.nvmlDeviceGetRemappedRows": "0 1 1 0"}, "accelerator-rows", "degraded", None, "next reset"),
    "wrong memory": (H100, {"0.nvmlDeviceGetMemoryInfo": f"{40960 * MIB} 0"}, "accelerator-memory", "unhealthy", "unknown", "40960 MiB"),
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


PARTS = {"nvmlDeviceGetMigMode": "1 1", "nvmlDeviceGetMaxMigDeviceCount": "7"}
PARTS |= {f"nvmlDeviceGetMigDeviceHandleByIndex.{index}": str(100 + index) for index in (0, 3)}
SPLIT = {
    **{f"{device}.{name}": value for device in range(8) for name, value in PARTS.items()},
    "100.nvmlDeviceGetName": "NVIDIA A100-SXM4-80GB MIG 4g.40gb",
    "103.nvmlDeviceGetName": "NVIDIA A100-SXM4-80GB MIG 3g.40gb",
}


@pytest.mark.parametrize(
    ("changes", "outcome", "words"),
    [
        (SPLIT, "healthy", "no mode is in the way"),
        ({}, "degraded", "is to be split into 3g.40gb 4g.40gb, and is into nothing: MIG is off"),
        (
            {**SPLIT, "2.nvmlDeviceGetMigDeviceHandleByIndex.3": None},
            "degraded",
            "0000:20:00.0: it is to be split into 3g.40gb 4g.40gb, and is into 4g.40gb",
        ),
    ],
)
def test_a_split_is_held_against_the_lock(bench: Bench, changes: dict[str, str | None], outcome: str, words: str) -> None:
    wanted = Promise(vendor="nvidia", product=bench.catalog.accelerators[A100], count=8, driver=DRIVER, mig="3g.40gb 4g.40gb")
    told = [result for result in judge(wanted, bench.look(A100, changes), {}) if result.name == "accelerator-modes"]
    assert {str(result.outcome) for result in told if result.outcome is not Outcome.HEALTHY} == ({outcome} - {"healthy"})
    assert any(words in result.message for result in told)


def test_a_split_that_nobody_asked_for_is_told_with_its_parts(bench: Bench) -> None:
    told = next(result for result in bench.judge(A100, bench.look(A100, SPLIT)) if result.name == "accelerator-modes")
    assert told.outcome is Outcome.DEGRADED and ("mig.parts", "3g.40gb 4g.40gb") in told.evidence


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
    assert ("floor-gbps", "15.8, half of PCI Express 4 x16") in found["accelerator-copies"].evidence
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
    ("code", "outcome", "cause"),
    [
        (13, "healthy", None),
        (31, "healthy", None),
        (43, "healthy", None),
        (62, "unhealthy", "unknown"),
        (79, "unhealthy", "unknown"),
        (48, "unhealthy", "hardware"),
        (999, "degraded", None),
        (119, "unhealthy", "unknown"),
    ],
)
def test_fault_codes_count_as_the_catalog_classifies_them(bench: Bench, code: int, outcome: str, cause: str | None) -> None:
    log = "".join(XID.format(number=number, micros=5_000_000 + number, code=code) for number in (1, 2))
    told = [result for result in bench.judge(H100, bench.look(H100, kmsg=log)) if result.name == "accelerator-log"]
    assert [(str(result.outcome), result.cause and str(result.cause)) for result in told] == [(outcome, cause)]
    assert f"Xid {code}" in told[0].message
    assert told[0].device == (None if outcome == "healthy" else "0000:18:00.0")


NVLINK, SWITCH, ASKS = (
    "NVRM: Xid (PCI:0000:18:00): {}, {} XC0 i0 Link 13 (0x0409a0c2 0x00000008 0x00000001 0x00000000 0x00100000 0x00000004)",
    "nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): {}, {}, Link 44 LTSSM Fault Up",
    "NVRM: Xid (PCI:0000:18:00): 154, GPU recovery action changed from {} to {}",
)
NONE, REBOOT = "0x0 (None)", "0x2 (Node Reboot Required)"
LINES: dict[str, tuple[tuple[str, ...], str, str, str]] = {
    "not fatal on a link": ((NVLINK.format(145, "RLW_RXPIPE Nonfatal"),), "accelerator-log", "degraded", "calls it not fatal"),
    "fatal on a link": ((NVLINK.format(149, "NETIR_LINK_EVT Fatal"),), "accelerator-log", "unhealthy", "Xid 149, NVLink"),
    "first not, then fatal": (
        (NVLINK.format(149, "NETIR_LINK_EVT Nonfatal"), NVLINK.format(149, "NETIR_LINK_EVT Fatal")),
        "accelerator-log",
        "unhealthy",
        "Xid 149, NVLink",
    ),
    "not fatal in a switch": ((SWITCH.format(12028, "Non-fatal"),), "accelerator-log", "degraded", "calls it not fatal"),
    "fatal and unknown": ((SWITCH.format(99999, "Fatal"),), "accelerator-log", "degraded", "SXid 99999, which is not in the catalog"),
    "not fatal and unknown": ((SWITCH.format(99999, "Non-fatal"),), "accelerator-log", "healthy", "SXid 99999"),
    "lost device asks for a reboot": ((ASKS.format(NONE, REBOOT),), "accelerator-log", "unhealthy", "node reboot required"),
    "lost device asked for one": ((ASKS.format(NONE, REBOOT), ASKS.format(REBOOT, NONE)), "accelerator-log", "healthy", "since boot"),
    "fatal on the bus": (
        ("pcieport 0000:17:00.0: AER: Uncorrectable (Fatal) error message received from 0000:18:00.0",),
        "machine-log",
        "degraded",
        "0000:18:00.0: a fatal error of PCI Express",
    ),
    "contained on the bus": (
        ("pcieport 0000:17:00.0: PCIe Bus Error: severity=Uncorrected (Fatal), type=Transaction Layer, (Requester ID)",),
        "machine-log",
        "degraded",
        "0000:17:00.0: a fatal error",
    ),
    "not fatal on the bus": (("pcieport 0000:17:00.0: AER: Uncorrected (Non-Fatal) error received: 0000:18:00.0",), "machine-log", "", ""),
    "memory": (("EDAC MC0: 1 UE memory read error on CPU_SrcID#0_MC#0_Chan#1_DIMM#0",), "machine-log", "degraded", "machine's memory"),
    "memory corrected": (("EDAC MC0: 1 CE memory read error on CPU_SrcID#0_MC#0_Chan#1_DIMM#0",), "machine-log", "", ""),
}


@pytest.mark.parametrize("name", LINES)
def test_a_line_counts_as_much_as_its_own_words_say(catalog: Catalog, name: str) -> None:
    lines, check, outcome, words = LINES[name]
    log = tuple(events("".join(f"3,{number},5000000,-;{line}\n" for number, line in enumerate(lines))))
    lost = Device(values={"device": Reading(source="nvmlDeviceGetHandleByIndex", error="GpuIsLost: GPU is lost")})
    seen = replace(recorded(), devices=Reading(source="NVML", value=(lost,)), log=Reading(source="/dev/kmsg", value=log))
    results = judge(Promise(vendor="nvidia", product=catalog.accelerators[H100], count=1), seen, known_faults(catalog))
    told = [result for result in results if result.name == check]
    assert max((str(result.outcome) for result in told), default="", key=["", "healthy", "degraded", "unhealthy"].index) == outcome
    assert any(words in result.message for result in told) or not outcome


def test_a_device_that_answers_tells_its_recovery_itself(catalog: Catalog) -> None:
    log = tuple(events(f"3,1,5000000,-;{ASKS.format(NONE, REBOOT).replace('18:00', '00:06')}\n"))
    seen = replace(recorded(), log=Reading(source="/dev/kmsg", value=log))
    (device,) = seen.devices.value or ()
    assert log[0].address == device.address and device.get("recovery") == "none"
    results = judge(Promise(vendor="nvidia", product=catalog.accelerators[H100], count=1), seen, known_faults(catalog))
    assert verdict(results).outcome is Outcome.HEALTHY


MENDED = {
    "the driver was loaded again": ("NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build", False),
    "it asks for nothing any more": (
        "NVRM: Xid (PCI:0000:18:00): 154, GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)",
        False,
    ),
    "a person says so": ("aistack: 0000:18:00.0 was mended", False),
    "another device": ("aistack: 0000:20:00.0 was mended", True),
    "it asks for a reboot": (
        "NVRM: Xid (PCI:0000:18:00): 154, GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)",
        True,
    ),
}


@pytest.mark.parametrize("name", MENDED)
@pytest.mark.parametrize("again", [False, True])
def test_what_was_mended_counts_no_more(name: str, *, again: bool, catalog: Catalog) -> None:
    message, lasts = MENDED[name]
    fault = XID.format(number=3, micros=5_000_000, code=119)
    log = fault + f"4,4,6000000,-;{message}\n" + (fault if again else "")
    seen = replace(recorded(), log=Reading(source="/dev/kmsg", value=tuple(events(log))))
    results = judge(Promise(vendor="nvidia"), seen, known_faults(catalog))
    assert any("Xid 119" in result.message for result in results if result.outcome is Outcome.UNHEALTHY) is (lasts or again)


def test_a_log_without_its_start_is_told(bench: Bench) -> None:
    (told,) = [found for found in bench.judge(L4, bench.look(L4, kmsg="6,900,70000000,-;hello\n")) if found.name == "accelerator-log"]
    assert told.message == "no fault since second 70, where what is left of the kernel's log begins"


JOURNAL = """\
#!/bin/sh
[ -z "$BROKEN" ] || exit 1
echo '{"_SOURCE_MONOTONIC_TIMESTAMP":"0","MESSAGE":"Linux version 6.12"}'
echo '{"_SOURCE_MONOTONIC_TIMESTAMP":"5000000","MESSAGE":"NVRM: Xid (PCI:0000:18:00): 119, pid=1, name=x, Timeout"}'
echo '{"_SOURCE_MONOTONIC_TIMESTAMP":"70000001","MESSAGE":"NVRM: Xid (PCI:0000:18:00): 13, pid=1, which is in the kernel"}'
echo '{"_SOURCE_MONOTONIC_TIMESTAMP":"6000000","MESSAGE":[78,255]}'
"""


def test_what_the_kernel_overwrote_is_asked_of_the_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "journalctl").write_text(JOURNAL)
    (tmp_path / "journalctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    kept = "6,900,70000000,-;hello\n" + XID.format(number=901, micros=70000001, code=13)
    assert [(event.kind, event.code, event.seconds) for event in kernel_log._since_boot(Path("/"), kept)] == [
        ("xid", "119", 5.0),
        ("xid", "13", 70.000001),
    ]
    monkeypatch.setenv("BROKEN", "1")
    assert next((event.kind, event.message) for event in kernel_log._since_boot(Path("/"), kept)) == (
        "gap",
        "overwritten before: the journal has not kept this boot from its start on",
    )


def test_a_fault_of_a_switch_is_told(bench: Bench) -> None:
    log = "3,7,5000000,-;nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 20034, Fatal, Link 44 LTSSM Fault Up\n"
    (told,) = [result for result in bench.judge(H100, bench.look(H100, kmsg=log)) if result.name == "accelerator-log"]
    assert told.outcome is Outcome.UNHEALTHY and told.message.startswith("0000:c1:00.0: SXid 20034, ")


def test_a_device_that_programs_take_is_not_called_broken(bench: Bench) -> None:
    for call, code in (("cuMemAlloc", "!2"), ("cuDevicePrimaryCtxRetain", "!46")):
        busy = bench.look(L4, {"0.nvmlDeviceGetComputeRunningProcesses": "2"}, {f"0.{call}": code}, level="quick")
        (found,) = (result for result in bench.judge(L4, busy) if result.name == "accelerator-compute")
        assert found.outcome is Outcome.UNKNOWN and "taken by 2 programs" in found.message
    little = bench.look(L4, cuda=SMALL, level="quick")
    assert (little.devices.value or ())[0].get("copies.to-device-gbps") is None
    assert verdict(bench.judge(L4, little)).outcome is Outcome.HEALTHY


def test_who_hides_devices_from_their_programs_hides_none_from_the_gate(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
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


RECORDED = json.loads((Path(__file__).parent / "data" / "h100.json").read_text())


def recorded() -> Accelerators:
    devices = tuple(Device(values=from_plain(values)) for values in RECORDED["devices"])
    log: Reading[tuple[KernelEvent, ...]] = Reading(source="/dev/kmsg", value=())
    return Accelerators(
        driver=from_plain(RECORDED["driver"]), devices=Reading(source="NVML", value=devices), log=log, level=RECORDED["level"]
    )


def test_a_real_h100_is_healthy(bench: Bench) -> None:
    found = {result.name: result for result in bench.judge(H100, recorded(), count=1)}
    assert {result.outcome for result in found.values()} == {Outcome.HEALTHY}
    assert "its answer was right, 72496 MiB" in found["accelerator-compute"].message
    copies = found["accelerator-copies"]
    assert copies.message == "54.9 GB/s to it, 54.9 GB/s from it, 2832 GB/s inside"
    assert ("floor-gbps", "31.5, half of PCI Express 5 x16") in copies.evidence and (
        "floor-inside-gbps",
        "1524, of 1905",
    ) in copies.evidence


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
    real = from_plain(RECORDED["devices"][0])
    changing = {"pci.address", "temperature.celsius", "power.watts", "clocks.mhz", "clocks.held-by"}
    differ = {name for name in real if name in device.values and name not in changing and device.values[name] != real[name]}
    assert differ == {"fabric.state", "links.up", "links.all", "links.errors"}
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
