"""Gaudi on boot: the real probe reads trees of habanalabs' files.

Paths, names and states are those of the kernel's document sysfs-driver-habanalabs and of drivers/accel/habanalabs/common/sysfs.c, read
2026-11-26; the numbers are made up.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from amd_machines import write
from node_samples import LOCK

from aistack.compose.lock import Lock, LockedAccelerator
from aistack.facts.catalog import Catalog
from aistack.facts.readings import PciDevice
from aistack.host.probes.accelerators import take_accelerators
from aistack.node.accelerators import judge
from aistack.node.device_checks import Promise
from aistack.node.first_gate import present
from aistack.node.results import Outcome, Result

PRODUCT = "intel/gaudi2"
ADDRESSES = tuple(f"0000:{bus}:00.0" for bus in ("19", "1a", "33", "34", "4d", "4e", "b3", "b4"))
GAUDI2 = {
    "vendor": "0x1da3",
    "device": "0x1020",
    "class": "0x120000",
    "current_link_speed": "16.0 GT/s PCIe",
    "max_link_speed": "16.0 GT/s PCIe",
    "current_link_width": "16",
    "max_link_width": "16",
    "device_type": "GAUDI2",
    "cpucp_ver": "hl-gaudi2-1.18.0-fw-53.1.1.1-sec-9",
    "preboot_btl_ver": "Preboot version hl-gaudi2-1.18.0-fw-53.1.1-sec-9",
    "status": "operational",
    "hard_reset_cnt": "0",
    "max_power": "600000",
}


def lay(root: Path) -> Path:
    """A machine with eight Gaudi 2, and a processor's own accelerator beside them that is none."""
    write(root, {"proc/sys/kernel/osrelease": "6.12.117+deb13-amd64", "dev/kmsg": ""})
    (root / "sys/module/habanalabs").mkdir(parents=True)
    for index, address in enumerate((*ADDRESSES, "0000:00:0b.0")):
        write(folder(root, address), GAUDI2 if address in ADDRESSES else {"vendor": "0x8086"})
        link = root / f"sys/class/accel/accel{index}/device"
        link.parent.mkdir(parents=True)
        link.symlink_to(os.path.relpath(folder(root, address), link.parent))
    return root


def folder(root: Path, address: str) -> Path:
    return root / "sys/devices" / f"pci0000:{address[5:7]}" / address


def judged(root: Path, catalog: Catalog, level: str = "none") -> tuple[Result, ...]:
    return judge(Promise(vendor="gaudi", product=catalog.accelerators[PRODUCT], count=8), take_accelerators(root, "gaudi", level), {})


def failed(results: tuple[Result, ...]) -> list[tuple[str, str, str | None]]:
    return [(result.name, str(result.outcome), result.device) for result in results if result.outcome is not Outcome.HEALTHY]


def test_eight_as_delivered_are_healthy_and_never_said_to_compute(tmp_path: Path, catalog: Catalog) -> None:
    results = judged(lay(tmp_path), catalog)
    assert failed(results) == []
    assert {result.name for result in results} == {f"accelerator-{name}" for name in ("count", "driver", "recovery", "link", "log")}
    assert results[0].message == "the driver knows 8 x intel/gaudi2"
    tried = judged(tmp_path, catalog, "quick")
    assert {result[:2] for result in failed(tried)} == {("accelerator-compute", "degraded")}


FAULTS = {
    "disabled": ("status", "disabled", "recovery", "unhealthy"),
    "wants a reset": ("status", "needs reset", "recovery", "unhealthy"),
    "being reset": ("status", "in reset", "recovery", "unknown"),
    "truncated": ("status", "", "recovery", "unknown"),
    "narrow": ("current_link_width", "8", "link", "degraded"),
    "another product": ("device", "0x1060", "count", "unhealthy"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_with_its_device(tmp_path: Path, catalog: Catalog, name: str) -> None:
    file, content, check, outcome = FAULTS[name]
    write(folder(lay(tmp_path), ADDRESSES[3]), {file: content})
    assert failed(judged(tmp_path, catalog)) == [(f"accelerator-{check}", outcome, None if check == "count" else ADDRESSES[3])]


def test_one_missing_and_no_driver(tmp_path: Path, catalog: Catalog) -> None:
    shutil.rmtree(lay(tmp_path) / "sys/class/accel/accel2")
    assert "knows 7 of 8" in judged(tmp_path, catalog)[0].message
    shutil.rmtree(tmp_path / "sys/module/habanalabs")
    assert failed(judged(tmp_path, catalog)) == [("accelerator-driver", "unhealthy", None)]


@pytest.mark.slow
def test_a_hanging_file_is_data(tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    file = folder(lay(tmp_path), ADDRESSES[2]) / "status"
    file.unlink()
    os.mkfifo(file)
    monkeypatch.setattr("aistack.host.probes.accelerators.SECONDS", {"none": 6.0})
    results = judged(tmp_path, catalog)
    assert failed(results) == [("accelerator-count", "unhealthy", ADDRESSES[2])]
    assert "does not answer" in results[0].message and "2 of 8 devices answered before it" in results[0].message


def locked(product: str) -> Lock:
    return replace(LOCK, accelerator=LockedAccelerator(product=product, count=1))


def test_gaudi_is_found_by_its_makers_number() -> None:
    gaudi = PciDevice(address="0000:19:00.0", vendor="1da3", device="1020", device_class="120000")
    graphics = PciDevice(address="0000:00:02.0", vendor="8086", device="56a0", device_class="030000")
    assert present(None, (graphics, gaudi)) == ("gaudi", (gaudi,))
    assert present(locked("intel/gaudi3"), (graphics, gaudi)) == ("gaudi", (gaudi,))
    assert present(locked("intel/arc-a770"), (graphics, gaudi)) == ("intel", (graphics,))
