"""AMD's accelerators on boot: the real probes read trees of amdgpu's files and ask a stand-in for ROCm's runtime."""

from __future__ import annotations

import ctypes.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from accelerator_profiles import compile_library
from amd_machines import ADDRESSES, KERNEL, MI300X, device_folder, lay, node, node_folder, runtime, unplug, write
from node_samples import LOCK
from node_samples import lay as lay_node

from aistack.compose.lock import LockedAccelerator
from aistack.facts.catalog import Catalog
from aistack.facts.device_readings import Device, Plain
from aistack.facts.kernel_log import events
from aistack.facts.readings import PciDevice, Reading
from aistack.host.probes import hsa
from aistack.host.probes.accelerators import take_accelerators
from aistack.host.probes.all import take
from aistack.host.probes.system import take_system
from aistack.node.accelerators import judge
from aistack.node.asking import asked, known_faults
from aistack.node.device_checks import Promise
from aistack.node.first_gate import look
from aistack.node.machine_snapshot import snapshot
from aistack.node.products import product
from aistack.node.results import Outcome, Result, verdict

PRODUCT, THIRD = "amd/mi300x", ADDRESSES[2]
QUIET: Mapping[str, str] = {"count": "8", **{f"{index}.pci": address for index, address in enumerate(ADDRESSES)}}
SMALL = {f"{index}.memory": str(128 << 20) for index in range(8)}


def judged(root: Path, catalog: Catalog, level: str = "none", count: int = 8, product: str = PRODUCT) -> tuple[Result, ...]:
    wanted = Promise(vendor="amd", product=catalog.accelerators[product], count=count)
    return judge(wanted, take_accelerators(root, "amd", level), known_faults(catalog))


def failed(results: tuple[Result, ...]) -> list[tuple[str, str, str | None, str | None]]:
    """(name, outcome, cause, device) of what is not healthy."""
    bad = [result for result in results if result.outcome is not Outcome.HEALTHY]
    return [(result.name, str(result.outcome), result.cause and str(result.cause), result.device) for result in bad]


def test_eight_as_delivered_are_healthy(tmp_path: Path, catalog: Catalog) -> None:
    found = {result.name: result for result in judged(lay(tmp_path), catalog)}
    assert failed(tuple(found.values())) == []
    assert set(found) == {
        f"accelerator-{name}" for name in ("count", "driver", "memory", "ecc", "rows", "link", "peers", "clocks", "power", "modes", "log")
    }
    assert found["accelerator-count"].message == "the driver knows 8 x amd/mi300x"
    assert found["accelerator-driver"].message == f"driver {KERNEL}: module"
    assert found["accelerator-peers"].message == "8 devices, the first: it reaches 7 of 7 other devices over Infinity Fabric"


FAULTS: dict[str, tuple[dict[str, str | bytes | None], str, str, str | None, str]] = {
    "uncorrected": ({"ras/umc_err_count": "ue: 2\nce: 0\nde: 0"}, "ecc", "unhealthy", "hardware", "2 errors of umc that could"),
    "link errors": ({"ras/xgmi_wafl_err_count": "ue: 1\nce: 0\nde: 0"}, "ecc", "unhealthy", "hardware", "1 error of xgmi_wafl"),
    "page failed": ({"ras/gpu_vram_bad_pages": "0x00000001 : 0x00001000 : F"}, "rows", "unhealthy", "hardware", "could not be replaced"),
    "page pending": ({"ras/gpu_vram_bad_pages": "0x00000001 : 0x00001000 : P"}, "rows", "degraded", None, "next reset"),
    "counters during a reset": (
        {"ras/umc_err_count": "Query currently inaccessible"},
        "ecc",
        "unknown",
        None,
        "umc_err_count has no line `ue: N`",
    ),
    "half the memory": ({"mem_info_vram_total": "103070826496"}, "memory", "unhealthy", "unknown", "98296 MiB"),
    "narrow": ({"current_link_width": "8"}, "link", "degraded", None, "PCI Express 5 x8, though device and slot can do 5 x16"),
    "hot": ({"hwmon/hwmon3/temp2_input": "101000"}, "clocks", "degraded", None, "101 °C hot, its driver slows it down from 100"),
    "hot memory": ({"hwmon/hwmon3/temp3_input": "95000"}, "clocks", "degraded", None, "95 °C hot"),
    "less power": ({"hwmon/hwmon3/power1_cap": "500000000"}, "power", "degraded", None, "500 W of 750 W"),
    "truncated": ({"mem_info_vram_total": ""}, "memory", "unknown", None, "cannot tell memory.total-mib: not understood"),
    "cut in the middle": ({"ras/umc_err_count": "ue: 0\nc"}, "ecc", "healthy", None, ""),
    "a file is missing": ({"mem_info_vram_total": None}, "memory", "unknown", None, "cannot tell memory.total-mib: not supported"),
    "fell off the bus": ({"config": b"\xff" * 64}, "count", "unhealthy", "unknown", "lost 1 of 8 devices: it answers no more"),
    "another product": ({"device": "0x740f"}, "count", "unhealthy", "unknown", "7 of 8 x amd/mi300x, and 1 other"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_with_its_device_and_cause(tmp_path: Path, catalog: Catalog, name: str) -> None:
    changes, check, outcome, cause, words = FAULTS[name]
    folder = device_folder(lay(tmp_path), THIRD)
    write(folder, {file: content for file, content in changes.items() if content is not None})
    for file in (file for file, content in changes.items() if content is None):
        (folder / file).unlink()
    results = judged(tmp_path, catalog)
    about_device = THIRD if check != "count" else None
    assert failed(results) == ([(f"accelerator-{check}", outcome, cause, about_device)] if outcome != "healthy" else [])
    assert words in next((result.message for result in results if result.outcome is not Outcome.HEALTHY), "")


def test_a_device_outside_the_hive_is_missed_by_the_others(tmp_path: Path, catalog: Catalog) -> None:
    results = failed(judged(lay(tmp_path, apart=[THIRD]), catalog))
    assert [result for result in results if result[3] == THIRD] == [("accelerator-peers", "degraded", None, THIRD)]
    assert {result[:3] for result in results if result[3] != THIRD} == {("accelerator-peers", "unhealthy", "unknown")} and len(results) == 8


def test_one_device_alone_has_no_peers(tmp_path: Path, catalog: Catalog) -> None:
    results = judged(lay(tmp_path, ADDRESSES[:1]), catalog, count=1)
    assert failed(results) == [] and "accelerator-peers" not in {result.name for result in results}


def test_a_virtual_function_has_no_link_of_its_own(tmp_path: Path, catalog: Catalog) -> None:
    folder = device_folder(lay(tmp_path, ADDRESSES[:1]), ADDRESSES[0])
    write(folder, {"device": "0x74b5", "current_link_speed": "Unknown", "current_link_width": "0"})
    shutil.rmtree(folder / "ras")
    results = judged(tmp_path, catalog, count=1)
    assert failed(results) == [] and not {"accelerator-link", "accelerator-ecc", "accelerator-rows"} & {result.name for result in results}


def test_a_whole_device_without_a_link_is_told(tmp_path: Path, catalog: Catalog) -> None:
    folder = device_folder(lay(tmp_path, ADDRESSES[:1]), ADDRESSES[0])
    write(folder, {"current_link_speed": "Unknown", "current_link_width": "0"})
    assert failed(judged(tmp_path, catalog, count=1)) == [("accelerator-link", "degraded", None, ADDRESSES[0])]


def test_a_whole_device_without_counters_of_errors_is_told(tmp_path: Path, catalog: Catalog) -> None:
    folder = device_folder(lay(tmp_path, ADDRESSES[:1]), ADDRESSES[0])
    shutil.rmtree(folder / "ras")
    (found,) = (result for result in judged(tmp_path, catalog, count=1) if result.outcome is not Outcome.HEALTHY)
    assert (found.name, found.outcome) == ("accelerator-ecc", Outcome.DEGRADED) and "counts no errors" in found.message


def test_a_board_with_bridges_of_its_own_is_judged_by_its_outer_link(tmp_path: Path, catalog: Catalog) -> None:
    """A W7900: the device's own link, behind the board's switch, is always the fastest."""
    lay(tmp_path, ADDRESSES[:1])
    folder = device_folder(tmp_path, ADDRESSES[0])
    write(folder, {"device": "0x7448", "mem_info_vram_total": "51522830336", "class": "0x030000"})
    speeds = {"max_link_speed": "16.0 GT/s PCIe", "max_link_width": "16", "current_link_speed": "16.0 GT/s PCIe", "current_link_width": "4"}
    write(folder.parent, {"vendor": "0x1002", **speeds})
    (found,) = failed(judged(tmp_path, catalog, count=1, product="amd/pro-w7900"))
    assert found[:2] == ("accelerator-link", "degraded")


def test_a_link_is_slow_only_as_it_was_read_beside_a_program(tmp_path: Path, catalog: Catalog) -> None:
    """Links sleep, those of graphics cards soon after a program has ended."""
    folder = device_folder(lay(tmp_path, ADDRESSES[:1]), ADDRESSES[0])
    write(folder, {"current_link_speed": "2.5 GT/s PCIe"})
    assert failed(judged(tmp_path, catalog, count=1)) == []
    assert hsa.link(folder) == {"compute.pcie-generation": 1, "compute.pcie-lanes": 16} and hsa.link(tmp_path) == {}
    seen = take_accelerators(tmp_path, "amd", "none")
    beside = {name: Reading[Plain](source="libhsa-runtime64.so.1", value=value) for name, value in hsa.link(folder).items()}
    (device,) = seen.devices.value or ()
    slow = replace(seen, devices=Reading(source="amdgpu", value=(Device(values={**device.values, **beside}),)))
    (found,) = failed(judge(Promise(vendor="amd", product=catalog.accelerators[PRODUCT], count=1), slow, {}))
    assert found[:2] == ("accelerator-link", "degraded")


def test_other_graphics_in_the_machine_are_not_held_against_the_product(tmp_path: Path, catalog: Catalog) -> None:
    folder = device_folder(lay(tmp_path, ADDRESSES[:2]), ADDRESSES[1])
    write(folder, {"device": "0x164e", "mem_info_vram_total": str(512 << 20)})
    shutil.rmtree(node_folder(tmp_path, ADDRESSES[1]))
    assert failed(judged(tmp_path, catalog, count=1)) == []


def test_a_device_that_is_split_is_told(tmp_path: Path, catalog: Catalog) -> None:
    lay(tmp_path, ADDRESSES[:1])
    for part, location in ((1, 0x0501), (2, 0x20000500)):  # how older and newer kernels number the parts
        said = f"simd_count 152\ngfx_target_version 90402\nlocation_id {location}\ndomain 0"
        node(tmp_path, 2 + part, said, gpu=1000 + part)
    (found,) = failed(judged(tmp_path, catalog, count=1))
    assert found == ("accelerator-modes", "degraded", None, ADDRESSES[0])


def no_module(root: Path) -> None:
    shutil.rmtree(root / "sys/module/amdgpu")


def no_compute(root: Path) -> None:
    shutil.rmtree(root / "sys/class/kfd")


def not_started(root: Path) -> None:
    (root / "sys/bus/pci/drivers/amdgpu" / THIRD).unlink()
    shutil.rmtree(node_folder(root, THIRD))


def no_node(root: Path) -> None:
    shutil.rmtree(node_folder(root, THIRD))


def cut_topology(root: Path) -> None:
    write(node_folder(root, THIRD), {"properties": "cpu_cores_count 0\nsimd_co"})


def hanging(root: Path) -> None:
    file = device_folder(root, THIRD) / "mem_info_vram_total"
    file.unlink()
    os.mkfifo(file)


DRIVER_FAULTS: dict[str, tuple[Callable[[Path], None], tuple[str, str, str], str]] = {
    "module missing": (no_module, ("accelerator-driver", "unhealthy", "unknown"), "DriverNotLoaded"),
    "built without KFD": (no_compute, ("accelerator-driver", "unhealthy", "software"), "CONFIG_HSA_AMD"),
    "one did not start": (not_started, ("accelerator-count", "unhealthy", "unknown"), "knows 7 of 8"),
    "one has no node": (no_node, ("accelerator-count", "unhealthy", "unknown"), "lost 1 of 8 devices: KFD has no node for it"),
    "topology cut": (cut_topology, ("accelerator-count", "unhealthy", "unknown"), "KFD's topology cannot be read"),
    "a file hangs": (hanging, ("accelerator-count", "unhealthy", "unknown"), f"{THIRD} does not answer"),
}


@pytest.mark.parametrize("name", DRIVER_FAULTS)
@pytest.mark.slow
def test_a_driver_in_trouble_is_data(tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    change, expected, words = DRIVER_FAULTS[name]
    change(lay(tmp_path))
    monkeypatch.setattr("aistack.host.probes.accelerators.SECONDS", {"none": 6.0 if change is hanging else 60.0})
    results = judged(tmp_path, catalog)
    assert failed(results)[0][:3] == expected and words in results[0].message and results[0].action


@pytest.mark.slow
def test_one_device_that_hangs_leaves_what_was_read_of_others(tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    hanging(lay(tmp_path))
    write(device_folder(tmp_path, ADDRESSES[0]), {"ras/umc_err_count": "ue: 2\nce: 0\nde: 0"})
    monkeypatch.setattr("aistack.host.probes.accelerators.SECONDS", {"none": 6.0})
    results = judged(tmp_path, catalog)
    expected = [("accelerator-count", "unhealthy", "unknown", THIRD), ("accelerator-ecc", "unhealthy", "hardware", ADDRESSES[0])]
    assert [result for result in failed(results) if result[0] != "accelerator-peers"] == expected
    assert "2 of 8 devices answered before it" in results[0].message


def test_what_may_not_be_read_is_an_error_and_not_a_value(tmp_path: Path) -> None:
    """As somebody whom the kernel refuses: the probe gives its rights away before it reads."""
    lay(tmp_path, ADDRESSES[:1])
    (device_folder(tmp_path, ADDRESSES[0]) / "mem_info_vram_total").chmod(0)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o055)
    away = "os.setgroups([]); os.setgid(65534); os.setuid(65534);" if os.geteuid() == 0 else ""
    program = f"import os; from aistack.host.probes import amd; {away} amd.main([{str(tmp_path)!r}])"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert '"memory.total-mib": {"source": "mem_info_vram_total", "error": "Permission denied"}' in said.stdout, said.stderr
    assert '"memory.used-mib": {"source": "mem_info_vram_used", "value": 283}' in said.stdout


def test_a_node_with_one_missing_is_judged_as_a_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = lay_node(tmp_path / "root", replace(LOCK, accelerator=LockedAccelerator(product=PRODUCT, count=8)))
    shutil.rmtree(root / "sys/bus/pci/devices")
    (root / "proc/sys/kernel/osrelease").replace(tmp_path / "osrelease")
    lay(root)
    (tmp_path / "osrelease").replace(root / "proc/sys/kernel/osrelease")
    assert failed(tuple(result for result in look(root, "none").results if result.name.startswith("accelerator"))) == []
    unplug(root, THIRD)
    results = look(root, "none").results
    assert [result[0] for result in failed(results) if result[1] == "unhealthy"] == ["accelerator"]


RUNTIME: dict[str, tuple[dict[str, str], str, str | None, str]] = {
    "programs run": ({}, "healthy", None, ""),
    "wrong answers": ({"2.wrong": "7"}, "unhealthy", "unknown", "42 wrong answers"),
    "wrong answers of a part": ({"count": "9", "8.pci": THIRD, "8.memory": "1000000", "8.wrong": "7"}, "unhealthy", "unknown", "42 wrong"),
    "no memory": ({"2.hsa_amd_memory_pool_allocate": "!4104"}, "unhealthy", "unknown", "HSA_STATUS_ERROR_OUT_OF_RESOURCES (0x1008)"),
    "no program": ({"2.hsa_amd_memory_fill": "!4096"}, "unhealthy", "unknown", "hsa_amd_memory_fill"),
    "a copy fails": ({"2.copied": "!1"}, "unhealthy", "unknown", "the copy failed"),
    "not listed": ({"2.pci": "0000:99:00.0"}, "unhealthy", "unknown", "does not list this device"),
    "nobody knows where it is": ({"2.place": "!4096"}, "unhealthy", "unknown", "does not list this device"),
}


@pytest.mark.system
def test_debians_runtime_has_every_function_and_finds_nothing_here() -> None:
    """Its version 5.2 or any later one, on a machine without amdgpu: `apt-get install libhsa-runtime64-1`."""
    if Path("/dev/kfd").exists():
        pytest.skip("this machine has amdgpu")
    if ctypes.util.find_library("hsa-runtime64") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("not installed: libhsa-runtime64-1")
    said = subprocess.run([sys.executable, "-m", "aistack.host.probes.hsa", "quick"], capture_output=True, text=True, check=True)
    assert json.loads(said.stdout) == {"error": "hsa_init: HSA_STATUS_ERROR_OUT_OF_RESOURCES (0x1008)"}


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("rocm")


def stand_in(library: Path, patch: pytest.MonkeyPatch, profile: Mapping[str, str]) -> None:
    for name, value in runtime(library, profile).items():
        patch.setenv(name, value)


@pytest.mark.parametrize("name", RUNTIME)
@pytest.mark.slow
def test_programs_on_the_devices(tmp_path: Path, catalog: Catalog, library: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    changes, outcome, cause, words = RUNTIME[name]
    stand_in(library, monkeypatch, {**QUIET, **SMALL, **changes})
    results = judged(lay(tmp_path), catalog, level="quick")
    assert failed(results) == ([("accelerator-compute", outcome, cause, THIRD)] if outcome != "healthy" else [])
    assert any(words in result.message for result in results if result.name == "accelerator-compute")


@pytest.mark.slow
def test_memory_is_tried_and_copies_are_measured(tmp_path: Path, catalog: Catalog, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(library, monkeypatch, {"count": "1", "0.pci": ADDRESSES[0], "0.memory": str(100 * (128 << 20))})
    lay(tmp_path, ADDRESSES[:1])
    seen = take_accelerators(tmp_path, "amd", "standard")
    (device,) = seen.devices.value or ()
    assert device.get("compute.tested-mib") == 128 and device.get("compute.wrong-words") == 0
    assert (device.number("copies.to-device-gbps") or 0) > 0
    slow = judge(Promise(vendor="amd", product=catalog.accelerators[PRODUCT], count=1), seen, {})
    assert {result.name for result in slow if result.outcome is not Outcome.HEALTHY} <= {"accelerator-copies"}
    stand_in(library, monkeypatch, {"count": "1", "0.pci": ADDRESSES[0], "0.memory": str(100 * (64 << 20)), "0.wrong": "5"})
    (device,) = take_accelerators(tmp_path, "amd", "standard").devices.value or ()
    assert device.get("compute.wrong-words") == 15


def test_a_device_that_programs_fill_is_not_called_broken(
    tmp_path: Path, catalog: Catalog, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(library, monkeypatch, {"count": "1", "0.pci": ADDRESSES[0], "0.hsa_amd_memory_pool_allocate": "!4104"})
    lay(tmp_path, ADDRESSES[:1])
    write(tmp_path / "sys/class/kfd/kfd/proc", {"4242/vram_1000": "180000000000", "4243/vram_1000": "0"})
    (found,) = (result for result in judged(tmp_path, catalog, "quick", 1) if result.outcome is not Outcome.HEALTHY)
    assert found.outcome is Outcome.UNKNOWN and "taken by 1 program" in found.message


def test_without_the_runtime_nothing_is_tried_and_nothing_is_held(
    tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "libhsa-runtime64.so.1").write_bytes(b"\x7fELF\x02\x01\x01" + bytes(57))  # one of another processor is none
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    results = judged(lay(tmp_path), catalog, level="quick")
    assert {result[:2] for result in failed(results)} == {("accelerator-compute", "degraded")}
    assert verdict(results).outcome is Outcome.DEGRADED


def test_a_runtime_without_a_function_is_softwares_fault(tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_library(tmp_path / "libhsa-runtime64.so.1", "int hsa_init(void) { return 0; }")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    results = judged(lay(tmp_path, ADDRESSES[:1]), catalog, level="quick", count=1)
    assert failed(results) == [("accelerator-compute", "unhealthy", "software", ADDRESSES[0])]
    assert any("LibraryUnusable: " in result.message and "undefined symbol: hsa_" in result.message for result in results)


def test_an_architecture_that_the_runtime_does_not_know_is_not_tried(
    tmp_path: Path, catalog: Catalog, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(library, monkeypatch, {"count": "0"})
    lay(tmp_path, ADDRESSES[:1])
    file = node_folder(tmp_path, ADDRESSES[0]) / "properties"
    file.write_text(file.read_text().replace("90402", "90500"))
    (found,) = (result for result in judged(tmp_path, catalog, "quick", 1) if result.outcome is not Outcome.HEALTHY)
    assert found.outcome is Outcome.DEGRADED and "knows no gfx950" in found.message


def test_a_snapshot_has_the_architecture(tmp_path: Path, catalog: Catalog) -> None:
    root = lay_node(tmp_path / "node", LOCK)
    machine, system = take(root), take_system(root, None)
    document = snapshot(machine, system, catalog.accelerators[PRODUCT], "amd", take_accelerators(lay(tmp_path / "amd"), "amd", "none"))
    assert document["accelerator"] == {"product": PRODUCT, "count": 8, "arch": "gfx942", "memory_gib": 192.0}


def test_a_node_says_what_its_apps_cannot_open(tmp_path: Path) -> None:
    root, lock = lay(tmp_path, ADDRESSES[:1]), replace(LOCK, accelerator=LockedAccelerator(product=PRODUCT, count=1))
    present = take(root).pci.value or ()
    (root / "dev/kfd").chmod(0o600)
    results, _ = asked(root, "amd", present, lock, "none")
    assert failed(results) == [("accelerator-containers", "unhealthy", "software", None)]
    assert not failed(asked(root, "amd", present, None, "none")[0]), "a machine that is no node of ours has no such apps"


def test_no_serial_number_is_read(tmp_path: Path) -> None:
    (device,) = take_accelerators(lay(tmp_path, ADDRESSES[:1]), "amd", "none").devices.value or ()
    assert not {MI300X["serial_number"], MI300X["unique_id"]} & {reading.value for reading in device.values.values()}


SAID = "4,{number},{micros},-;amdgpu 0000:46:00.0: amdgpu: {text}\n"
MESSAGES = {
    "socket: 1, die: 0, 2 new uncorrectable hardware errors detected in umc block": ("unhealthy", "hardware", "uncorrectable"),
    "socket: 1, die: 0, 0 uncorrectable hardware errors detected in total in umc block": ("healthy", None, "no fault since boot"),
    "socket: 1, die: 0, 5 correctable hardware errors detected in total in gfx block": ("healthy", None, "amdgpu: correctable"),
    "[gfxhub0] no-retry page fault (src_id:0 ring:24 vmid:8 pasid:32773)": ("healthy", None, "amdgpu: page fault"),
    "GPU reset begin!": ("healthy", None, "gpu reset begin"),
    "GPU reset(2) failed": ("unhealthy", "unknown", "a reset of the device failed"),
    "Fatal error during GPU init": ("unhealthy", "unknown", "could not start the device"),
    "device lost from bus!": ("unhealthy", "unknown", "answers no more"),
}


@pytest.mark.parametrize("text", MESSAGES)
def test_messages_count_as_the_catalog_classifies_them(tmp_path: Path, catalog: Catalog, text: str) -> None:
    outcome, cause, words = MESSAGES[text]
    log = "".join(SAID.format(number=number, micros=5_000_000 + number, text=text) for number in (0, 1))
    (told,) = (result for result in judged(lay(tmp_path, kmsg=log), catalog) if result.name == "accelerator-log")
    assert (str(told.outcome), told.cause and str(told.cause)) == (outcome, cause) and words in told.message
    assert told.device == (None if outcome == "healthy" else THIRD)


def test_every_message_that_is_looked_for_is_classified(catalog: Catalog) -> None:
    log = "".join(SAID.format(number=number, micros=1, text=text) for number, text in enumerate(MESSAGES))
    log += SAID.format(number=9, micros=1, text="socket: 1, die: 0, 1 new deferred hardware errors detected in umc block")
    assert {event.code for event in events(log.splitlines())} == {fault.code for fault in catalog.faults["amd/messages"].faults}


@pytest.mark.parametrize(
    ("number", "name"),
    [
        ("7410", "mi210"),
        ("73ae", "pro-v620"),
        ("74b5", "mi300x"),
        ("74a8", "mi308x"),
        ("74bc", "mi308x"),
        ("74b9", "mi325x"),
        ("75b0", "mi350x"),
        ("75b3", "mi355x"),
    ],
)
def test_a_function_that_a_virtual_machine_was_given_is_of_its_product(number: str, name: str, catalog: Catalog) -> None:
    device = PciDevice(address="0000:05:00.0", vendor="1002", device=number, device_class="120000")
    found = product(catalog, (device,))
    assert found is not None and found.id == f"amd/{name}"
