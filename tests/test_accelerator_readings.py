"""What could not be read of an accelerator: an error never makes it healthy, and what it does not offer makes it no worse."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from accelerator_bench import A100, H100, L4, PCIE, Bench
from accelerator_profiles import DENIED, DRIVER, LOST, MACHINES, STRUCTURE, UNKNOWN

from aistack.facts.device_readings import UNSUPPORTED
from aistack.host.probes.accelerators import MOST_DEVICES
from aistack.host.probes.sysfs import taken
from aistack.node.accelerators import judge
from aistack.node.device_checks import Promise
from aistack.node.results import Outcome, verdict

READINGS = {
    "nvmlDeviceGetMemoryInfo": "memory",
    "nvmlDeviceGetEccMode": "ecc",
    "nvmlDeviceGetTotalEccErrors.1.0": "ecc",
    "nvmlDeviceGetSramEccErrorStatus": "ecc",
    "nvmlDeviceGetRemappedRows": "rows",
    "nvmlDeviceGetRetiredPagesPendingStatus": "rows",
    "nvmlDeviceGetRepairStatus": "rows",
    "nvmlDeviceGetUnrepairableMemoryFlag_v1": "rows",
    "nvmlDeviceGetCurrPcieLinkGeneration": "link",
    "nvmlDeviceGetMaxPcieLinkGeneration": "link",
    "nvmlDeviceGetCurrPcieLinkWidth": "link",
    "nvmlDeviceGetMaxPcieLinkWidth": "link",
    "nvmlDeviceGetPersistenceMode": "modes",
    "nvmlDeviceGetMigMode": "modes",
    "nvmlDeviceGetComputeMode": "modes",
    "nvmlDeviceGetEnforcedPowerLimit": "power",
    "nvmlDeviceGetPowerManagementDefaultLimit": "power",
    "nvmlDeviceGetTemperature.0": "clocks",
    "nvmlDeviceGetTemperatureThreshold.1": "clocks",
    "nvmlDeviceGetCurrentClocksThrottleReasons": "clocks",
    "nvmlDeviceGetFieldValues.230": "recovery",
    "nvmlDeviceGetNvLinkState.3": "nvlink",
    "nvmlDeviceGetGpuFabricInfo": "fabric",
    "nvmlDeviceGetGpuFabricInfoV": "fabric",
}
"""Functions of NVML on whose answers a check rests."""


@pytest.mark.parametrize("name", READINGS)
def test_an_error_of_a_reading_leaves_its_check_unknown(bench: Bench, name: str) -> None:
    retired = {"2.nvmlDeviceGetRetiredPagesPendingStatus": "0"}  # it answers, and says nothing of the rows
    for error in (UNKNOWN, LOST):
        results = bench.judge(H100, bench.look(H100, {**retired, f"2.{name}": error}))
        found = [result for result in results if result.outcome is not Outcome.HEALTHY]
        assert [(result.name, result.outcome, result.device) for result in found] == [
            (f"accelerator-{READINGS[name]}", Outcome.UNKNOWN, MACHINES[H100].addresses()[2])
        ]
        assert "cannot tell" in found[0].message


@pytest.mark.parametrize("product", [H100, A100, L4, PCIE])
def test_what_a_device_does_not_offer_is_no_error(bench: Bench, product: str) -> None:
    """Virtual machines, consumer cards and older drivers: memory and error correction are there, and little else."""
    kept = ("nvmlDeviceGetMemoryInfo", "nvmlDeviceGetEccMode", "nvmlDeviceGetTotalEccErrors", "nvmlDeviceGetPciInfo")
    count = MACHINES[product].count
    silent: dict[str, str | None] = {
        f"{index}.{name}": None for index in range(count) for name in READINGS if not name.startswith((*kept, "nvmlDeviceGetNvLink"))
    }
    assert verdict(bench.judge(product, bench.look(product, silent))).outcome is Outcome.HEALTHY


def test_a_structure_that_an_older_driver_does_not_know_is_not_offered(bench: Bench) -> None:
    (device,) = bench.look(L4, {"0.nvmlDeviceGetSramEccErrorStatus": STRUCTURE}).devices.value or ()
    assert device.values["ecc.sram-worn"].error == UNSUPPORTED


def test_who_may_not_ask_for_the_state_of_the_caches_cannot_tell(bench: Bench) -> None:
    (found,) = (one for one in bench.judge(L4, bench.look(L4, {"0.nvmlDeviceGetSramEccErrorStatus": DENIED})) if one.outcome != "healthy")
    assert (found.name, found.outcome) == ("accelerator-ecc", Outcome.UNKNOWN) and "NoPermission" in found.message


def test_a_fault_that_was_found_stands_beside_an_error(bench: Bench) -> None:
    changes = {"0.nvmlDeviceGetTotalEccErrors.1.0": "2", "0.nvmlDeviceGetSramEccErrorStatus": UNKNOWN, "0.nvmlDeviceGetMigMode": UNKNOWN}
    found = [one for one in bench.judge(L4, bench.look(L4, {**changes, "0.nvmlDeviceGetComputeMode": "2"})) if one.outcome != "healthy"]
    assert [(one.name, str(one.outcome)) for one in found] == [("accelerator-ecc", "unhealthy"), ("accelerator-modes", "unhealthy")]


def test_no_temperature_is_not_zero_degrees(bench: Bench) -> None:
    (clocks,) = (one for one in bench.judge(L4, bench.look(L4, {"0.nvmlDeviceGetTemperature.0": None})) if one.name == "accelerator-clocks")
    assert clocks.message == "nothing slows it down"


def test_a_device_that_sleeps_is_not_called_unreadable(tmp_path: Path) -> None:
    """A graphics card with nothing to do: newer kernels do not wake it for its sensors."""

    def refuses(device: Path) -> int:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    (tmp_path / "power").mkdir()
    for status, said in (("active", "Operation not permitted"), ("suspended", UNSUPPORTED)):
        (tmp_path / "power/runtime_status").write_text(f"{status}\n")
        assert taken({"temperature.celsius": ("temp*_input", refuses)}, tmp_path)["temperature.celsius"]["error"] == said


@pytest.mark.parametrize(
    "changes",
    [
        {"0.nvmlDeviceGetEccMode": "0 0", "0.nvmlDeviceGetDefaultEccMode": "0"},  # an RTX A6000: off as it is delivered
        {"0.nvmlDeviceGetEccMode": None, "0.nvmlDeviceGetDefaultEccMode": None},  # a GeForce
    ],
)
def test_error_correction_that_a_product_does_not_have_on_is_not_missed(bench: Bench, changes: dict[str, str | None]) -> None:
    product = replace(bench.catalog.accelerators[L4], ecc=None)
    without = {**changes, **{f"0.nvmlDeviceGetTotalEccErrors.{kind}.{counter}": None for kind in (0, 1) for counter in (0, 1)}}
    results = judge(Promise(vendor="nvidia", product=product, count=1, driver=DRIVER), bench.look(L4, without), {})
    assert [one for one in results if one.outcome is not Outcome.HEALTHY or one.name == "accelerator-ecc"] == []


def test_a_part_that_a_virtual_machine_was_given_need_not_count_errors(bench: Bench) -> None:
    changes: dict[str, str | None] = {f"0.nvmlDeviceGetTotalEccErrors.{kind}.{counter}": None for kind in (0, 1) for counter in (0, 1)}
    for name, mode in (("nvmlDeviceGetVirtualizationMode", "2"), ("nvmlDeviceGetMigMode", "1 1")):
        results = bench.judge(L4, bench.look(L4, {**changes, f"0.{name}": mode}))
        assert "accelerator-ecc" not in {result.name for result in results}


def test_a_link_that_is_not_told_hides_none_behind_it(bench: Bench) -> None:
    (found,) = (one for one in bench.judge(H100, bench.look(H100, {"4.nvmlDeviceGetNvLinkState.3": None})) if one.outcome != "healthy")
    assert found.message == "0000:30:00.0: 17 of 18 NVLinks are up"


@pytest.mark.slow
def test_a_driver_that_counts_any_number_of_devices_is_not_believed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aistack.host.probes.accelerators.SECONDS", {"none": 3.0})
    seen = bench.look(L4, {"nvmlDeviceGetCount": "100000", "0.nvmlDeviceGetMemoryInfo": "hang"})
    assert len(seen.devices.value or ()) == MOST_DEVICES


V100, B300 = "nvidia/v100-16gb", "nvidia/b300"


@pytest.mark.parametrize("down", [(3,), (2, 3), range(6)])
def test_links_that_a_baseboard_joins_are_missed(bench: Bench, down: Sequence[int]) -> None:
    changes: dict[str, str | None] = {f"1.nvmlDeviceGetNvLinkState.{link}": "0" for link in down}
    (found,) = (one for one in bench.judge(V100, bench.look(V100, changes)) if one.outcome is not Outcome.HEALTHY)
    assert (found.name, found.outcome, found.device) == ("accelerator-nvlink", Outcome.DEGRADED, "0000:18:00.0")
    assert f"{6 - len(down)} of the 6 NVLinks are up" in found.message


def test_a_module_alone_has_nobody_to_be_joined_with(bench: Bench) -> None:
    changes: dict[str, str | None] = {"nvmlDeviceGetCount": "1", **{f"0.nvmlDeviceGetNvLinkState.{link}": "0" for link in range(6)}}
    assert verdict(bench.judge(V100, bench.look(V100, changes), count=1)).outcome is Outcome.HEALTHY


def test_a_module_has_all_its_lanes(bench: Bench) -> None:
    """The vendor's diagnosis asks for one; the port that a virtual machine has is another matter."""
    narrow: dict[str, str | None] = {f"0.nvmlDeviceGet{which}PcieLinkWidth": "1" for which in ("Curr", "Max")}
    (found,) = (one for one in bench.judge(B300, bench.look(B300, narrow)) if one.outcome is not Outcome.HEALTHY)
    assert (found.name, found.outcome) == (
        "accelerator-link",
        Outcome.DEGRADED,
    ) and "5 x1; a module on its baseboard has x16" in found.message
    given = {**narrow, "0.nvmlDeviceGetVirtualizationMode": "1"}
    assert verdict(bench.judge(B300, bench.look(B300, given))).outcome is Outcome.HEALTHY
