"""Machines that are no nodes of ours and have devices of several products, or of a number that products share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from accelerator_bench import H100, L4, Bench
from accelerator_profiles import DRIVER, MACHINES, MIB, UNKNOWN, Machine
from amd_machines import ADDRESSES, device_folder, write
from amd_machines import lay as lay_amd
from node_samples import APP, LOCK

from aistack.commands.node_snapshot import node_snapshot
from aistack.compose.lock import LockedAccelerator, encode
from aistack.compose.render.system import LOCK_PATH
from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.node.admission import require_admitted
from aistack.node.first_gate import look
from aistack.node.results import Outcome, Result

pytestmark = pytest.mark.slow

DISPLAY = Machine(name="NVIDIA T600", pci="1fb1", count=1, memory_mib=4096, capability="7.5", generation=3, watts=40, ecc=False)
A6000 = Machine(name="NVIDIA RTX A6000", pci="2230", count=4, memory_mib=49140, capability="8.6", generation=4, watts=300, ecc=False)
T4 = Machine(name="Tesla T4", pci="1eb8", count=1, memory_mib=15360, capability="7.5", generation=3, watts=70)
PROHIBITED = "nvmlDeviceGetComputeMode"
OLD = {"gt-1030": "1d01", "quadro-k6000": "103a"}
"""Displays that no open module drives, and no driver of branch 580."""

A10G = Machine(name="NVIDIA A10G", pci="2237", count=1, memory_mib=23028, capability="8.6", generation=4, watts=300)
A100 = "nvidia/a100-sxm-80gb"
BROKEN = {
    "links": ({f"3.nvmlDeviceGetNvLinkState.{link}": "0" for link in range(18)}, "accelerator-nvlink", "0 of 18 NVLinks are up"),
    "memory": ({"3.nvmlDeviceGetMemoryInfo": f"{40000 * MIB} {480 * MIB}"}, "accelerator-memory", "40000 MiB of memory"),
    "fabric": ({"3.nvmlDeviceGetGpuFabricInfo": "1 0", "3.nvmlDeviceGetGpuFabricInfoV": "0 1"}, "accelerator-fabric", "not started"),
    "power": (
        {f"3.nvmlDeviceGet{name}": "300000" for name in ("PowerManagementDefaultLimit", "EnforcedPowerLimit")},
        "accelerator-power",
        "300 W",
    ),
}


def lay_bus(root: Path, devices: Sequence[tuple[str, str, str]]) -> Path:
    """Write devices by address, number on PCI (`10de:2330`) and class, and what else is read of any machine."""
    for address, number, kind in devices:
        vendor, _, device = number.partition(":")
        write(root / "sys/bus/pci/devices" / address, {"vendor": f"0x{vendor}", "device": f"0x{device}", "class": f"0x{kind}00"})
    write(root, {"proc/meminfo": "MemTotal: 2013268 kB", "proc/cpuinfo": "processor : 0\nmodel name : Example\nflags : fpu"})
    write(root, {"proc/driver/nvidia/version": f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {DRIVER}  Release Build"})
    return root


def beside(bench: Bench, first: Machine, *others: Machine, changes: Mapping[str, str]) -> Path:
    """A machine of several products: the profiles of all their devices, one behind the other, and its bus."""
    profile = first.nvml() | {"nvmlDeviceGetCount": str(first.count + sum(one.count for one in others))}
    bus = [(address, f"10de:{first.pci}", "0302") for address in first.addresses()]
    number = first.count
    for other in others:
        for index in range(other.count):
            address = f"0000:{0xA0 + number:02x}:00.0"
            own = {name.partition(".")[2]: value for name, value in other.nvml().items() if name.startswith(f"{index}.")}
            own["nvmlDeviceGetPciInfo"] = f"0 {0xA0 + number} 0 0x{other.pci}10de"
            profile |= {f"{number}.{name}": value for name, value in own.items()}
            bus.append((address, f"10de:{other.pci}", "0302"))
            number += 1
    bench.look(L4, dict.fromkeys(MACHINES[L4].nvml()) | profile | dict(changes))  # lays the profile, and the driver's files
    return lay_bus(bench.folder / "root", bus)


def wrong(root: Path) -> list[Result]:
    return [result for result in look(root, "none").results if result.outcome is not Outcome.HEALTHY]


def told(root: Path) -> dict[str, str]:
    return {result.name: result.message for result in look(root, "none").results}


def test_a_display_beside_accelerators_is_none(bench: Bench) -> None:
    root = beside(bench, MACHINES[H100], DISPLAY, changes={})
    assert wrong(root) == [] and told(root)["accelerator-count"] == f"the driver knows 8 x {H100} and 1 x nvidia/t600"


@pytest.mark.parametrize(("name", "openness"), [("gt-1030", "Open Kernel Module"), ("quadro-k6000", "Kernel Module")])
def test_a_display_that_the_driver_does_not_drive_is_not_missing(bench: Bench, name: str, openness: str) -> None:
    root = beside(bench, MACHINES[H100], changes={})
    write(root, {"proc/driver/nvidia/version": f"NVRM version: NVIDIA UNIX {openness} for x86_64  {DRIVER}  Release Build"})
    write(root / "sys/bus/pci/devices/0000:03:00.0", {"vendor": "0x10de", "device": f"0x{OLD[name]}", "class": "0x030000"})
    assert wrong(root) == [] and told(root)["accelerator-count"] == f"the driver knows 8 x {H100}"


def test_a_display_that_the_driver_drives_is_missing(bench: Bench) -> None:
    root = beside(bench, MACHINES[H100], DISPLAY, changes={"nvmlDeviceGetCount": "8"})
    (found,) = wrong(root)
    assert found.message == f"the driver knows 8 of 9 devices (8 x {H100} and 1 x nvidia/t600)"


def test_a_display_that_lets_no_program_compute_is_as_somebody_wants_it(bench: Bench) -> None:
    assert wrong(beside(bench, MACHINES[H100], DISPLAY, changes={f"8.{PROHIBITED}": "2"})) == []
    (found,) = wrong(beside(bench, MACHINES[H100], DISPLAY, changes={f"3.{PROHIBITED}": "2"}))
    assert (found.name, found.device) == ("accelerator-modes", MACHINES[H100].addresses()[3])


def test_one_that_lets_no_program_compute_is_none_where_it_is_alone(bench: Bench) -> None:
    assert [one.name for one in wrong(beside(bench, DISPLAY, changes={f"0.{PROHIBITED}": "2"}))] == ["accelerator-modes"]


BOARDS = {
    "rows": ({"2.nvmlDeviceGetRemappedRows": "0 3 0 1"}, "accelerator-rows", "a row of memory failed"),
    "errors": ({"2.nvmlDeviceGetTotalEccErrors.1.0": "7"}, "accelerator-ecc", "7 errors"),
    "memory": ({"2.nvmlDeviceGetMemoryInfo": f"{24000 * MIB} {480 * MIB}"}, "accelerator-memory", "24000 MiB of memory"),
    "missing": ({"nvmlDeviceGetCount": "4"}, "accelerator-count", f"4 of 5 devices (1 x {L4} and 4 x nvidia/rtx-a6000)"),
}


@pytest.mark.parametrize("fault", BOARDS)
def test_boards_beside_one_for_data_centres_are_judged_too(bench: Bench, fault: str) -> None:
    changes, check, words = BOARDS[fault]
    root = beside(bench, MACHINES[L4], A6000, changes={})
    assert wrong(root) == [] and told(root)["accelerator-count"] == f"the driver knows 1 x {L4} and 4 x nvidia/rtx-a6000"
    (found,) = wrong(beside(bench, MACHINES[L4], A6000, changes=changes))
    assert found.name == check and words in found.message


def test_boards_of_two_numbers_that_the_same_products_share_are_of_one(bench: Bench) -> None:
    first = replace(A6000, name="Quadro RTX 6000", pci="1e30", count=1, memory_mib=24576, capability="7.5", generation=3, watts=260)
    root = beside(bench, first, replace(first, name="Quadro RTX 8000", pci="1e78", memory_mib=49152), changes={})
    both = "2 x nvidia/quadro-rtx-6000 or nvidia/quadro-rtx-8000"
    assert wrong(root) == [] and told(root)["accelerator-count"] == f"the driver knows {both}"
    assert wrong(beside(bench, first, replace(first, pci="1e78"), changes={"1.nvmlDeviceGetCurrPcieLinkWidth": "4"})) != []


@pytest.mark.parametrize("fault", BROKEN)
def test_a_display_beside_accelerators_hides_none_of_their_faults(bench: Bench, fault: str) -> None:
    changes, check, words = BROKEN[fault]
    (found,) = wrong(beside(bench, MACHINES[H100], DISPLAY, changes=changes))
    assert (found.name, found.device) == (check, MACHINES[H100].addresses()[3]) and words in found.message


@pytest.mark.parametrize("fault", BROKEN)
def test_of_two_kinds_of_accelerators_each_is_held_against_its_own(bench: Bench, fault: str) -> None:
    changes, check, words = BROKEN[fault]
    root = beside(bench, MACHINES[H100], replace(MACHINES[A100], count=4), changes={})
    assert wrong(root) == [] and told(root)["accelerator-count"] == f"the driver knows 8 x {H100} and 4 x {A100}"
    (found,) = wrong(beside(bench, MACHINES[H100], replace(MACHINES[A100], count=4), changes=changes))
    assert found.name == check and words in found.message


def test_of_two_kinds_one_that_is_missing_is_told(bench: Bench) -> None:
    root = beside(bench, MACHINES[H100], replace(MACHINES[A100], count=4), changes={"nvmlDeviceGetCount": "11"})
    (found,) = wrong(root)
    assert found.name == "accelerator-count"
    assert found.message == f"the driver knows 11 of 12 devices (8 x {H100} and 4 x {A100})"


def test_another_vendors_display_is_not_asked_in_the_place_of_accelerators(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its driver may be nouveau, of which NVML knows nothing."""
    root = lay_bus(lay_amd(tmp_path), [("0000:03:00.0", "10de:1fb1", "0300")])
    assert wrong(root) == [] and told(root)["accelerator-count"] == "the driver knows 8 x amd/mi300x"
    write(device_folder(root, ADDRESSES[2]), {"ras/umc_err_count": "ue: 2\nce: 0\nde: 0"})
    assert [(one.name, one.device) for one in wrong(root)] == [("accelerator-ecc", ADDRESSES[2])]
    assert node_snapshot(root=root) is ExitCode.OK and "product: amd/mi300x\n  count: 8" in capsys.readouterr().out


def test_a_snapshot_is_of_what_the_machine_is_there_for(bench: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert node_snapshot(root=beside(bench, MACHINES[H100], DISPLAY, changes={})) is ExitCode.OK
    assert f"product: {H100}\n  count: 8" in capsys.readouterr().out


SERVING = replace(
    APP,
    framework="vllm",
    version="0.19.1",
    models=("Qwen/Qwen3-32B",),
    command=("vllm", "serve", "--tensor-parallel-size", "4"),
)


def locked(product: str) -> bytes:
    """A lock of four pieces of a product, which an app needs that does not fit into a T4."""
    pieces = LockedAccelerator(product=product, count=4)
    return encode(replace(LOCK, accelerator=pieces, apps=(SERVING,), models=(), components=(("driver", DRIVER),)))


@pytest.mark.parametrize(("promised", "said"), [("nvidia/rtx-a6000", "nvidia/rtx-a6000\n  count: 4"), (H100, "nvidia/t4\n  count: 1")])
def test_a_snapshot_is_of_what_the_lock_promises_where_it_is_there(
    bench: Bench, capsys: pytest.CaptureFixture[str], promised: str, said: str
) -> None:
    root = beside(bench, T4, A6000, changes={})
    write(root, {LOCK_PATH.lstrip("/"): locked(promised).decode()})
    assert node_snapshot(root=root) is ExitCode.OK and f"product: {said}" in capsys.readouterr().out


def test_an_image_is_admitted_by_the_product_that_its_lock_promises(bench: Bench) -> None:
    root = beside(bench, T4, A6000, changes={})
    require_admitted(root, locked("nvidia/rtx-a6000"))
    with pytest.raises(DiagnosticError) as caught:
        require_admitted(root, locked("nvidia/t4"))
    assert caught.value.diagnostics[0].rule == "ME102"


def test_products_that_share_a_number_are_held_against_what_they_have_in_common(tmp_path: Path) -> None:
    root = lay_bus(lay_amd(tmp_path), [])
    for address in ADDRESSES:
        write(device_folder(root, address), {"device": "0x740c", "mem_info_vram_total": str(64 << 30)})
    assert [one for one in wrong(root) if one.name == "accelerator-memory"] == []
    write(device_folder(root, ADDRESSES[1]), {"mem_info_vram_total": str(32 << 30)})
    (found,) = (one for one in wrong(root) if one.name == "accelerator-memory")
    assert found.device == ADDRESSES[1] and "32768 MiB of memory" in found.message
    assert told(root)["accelerator-count"] == "the driver knows 8 x amd/mi250 or amd/mi250x"


@pytest.mark.parametrize(("lanes", "outcome"), [("8", Outcome.HEALTHY), ("4", Outcome.DEGRADED)])
def test_a_virtual_machine_does_not_know_how_wide_its_slot_is(bench: Bench, lanes: str, outcome: Outcome) -> None:
    """An A10G of a cloud has 8 of its 16 lanes, as many as its vendor's diagnosis asks for."""
    narrow = {"0.nvmlDeviceGetCurrPcieLinkWidth": lanes, "0.nvmlDeviceGetVirtualizationMode": "1"}
    found = [one for one in wrong(beside(bench, A10G, changes=narrow)) if one.name == "accelerator-link"]
    assert [one.outcome for one in found] == ([] if outcome is Outcome.HEALTHY else [outcome])


def test_nobody_asked_for_persistence_where_there_is_no_lock(bench: Bench) -> None:
    assert wrong(beside(bench, MACHINES[L4], changes={"0.nvmlDeviceGetPersistenceMode": "0"})) == []


@pytest.mark.parametrize("part", ["module", "firmware"])
def test_a_part_of_the_driver_that_cannot_be_read_leaves_it_unknown(bench: Bench, part: str) -> None:
    root = beside(bench, MACHINES[L4], changes={"0.nvmlDeviceGetGspFirmwareVersion": UNKNOWN} if part == "firmware" else {})
    if part == "module":
        (root / "sys/module/nvidia/version").write_bytes(b"\xff\xfe")
    (found,) = wrong(root)
    assert (found.name, found.outcome) == ("accelerator-driver", Outcome.UNKNOWN) and part in found.message
