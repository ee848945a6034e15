"""Machines that are no nodes of ours: their accelerators are judged by the catalog, and nothing else is held against them."""

from __future__ import annotations

import shutil
from pathlib import Path

from amd_machines import ADDRESSES, device_folder, lay, node_folder, unplug, write

from aistack.node.first_gate import Looked, look
from aistack.node.results import Outcome, verdict


def machine(root: Path) -> Path:
    """Eight MI300X; on its bus, in front of them, NVIDIA's display that the catalog does not know (a Quadro P1000)."""
    lay(root)
    write(root / "sys/bus/pci/devices/0000:03:00.0", {"vendor": "0x10de", "device": "0x1cb1", "class": "0x030000"})
    write(root, {"proc/meminfo": "MemTotal: 2013268 kB", "proc/cpuinfo": "processor : 0\nmodel name : Example\nflags : fpu"})
    return root


def bad(looked: Looked) -> list[tuple[str, str, str | None]]:
    return [(one.name, str(one.outcome), one.device) for one in looked.results if one.outcome is not Outcome.HEALTHY]


def test_accelerators_of_any_machine_are_judged_and_what_a_lock_would_add_is_said(tmp_path: Path) -> None:
    looked = look(machine(tmp_path), "none")
    assert bad(looked) == [] and verdict(looked.results).outcome is Outcome.HEALTHY
    said = {result.name: result.message for result in looked.results}
    assert "nothing was promised here" in said["lock"] and "the number of accelerators" in said["lock"]
    assert said["accelerator"] == "in PCI configuration space: 9 devices that may compute"
    assert said["accelerator-count"] == "the driver knows 8 x amd/mi300x"
    assert said["processor"] == "1 x Example" and said["memory"] == "1966 MiB of memory"
    assert not {"deployment", "images", "modules", "kernel", "architecture"} & said.keys()


def test_a_fault_of_such_a_machine_is_one(tmp_path: Path) -> None:
    write(device_folder(machine(tmp_path), ADDRESSES[2]), {"ras/umc_err_count": "ue: 2\nce: 0\nde: 0"})
    assert bad(look(tmp_path, "none")) == [("accelerator-ecc", "unhealthy", ADDRESSES[2])]
    shutil.rmtree(tmp_path / "sys/module/amdgpu")
    assert bad(look(tmp_path, "none")) == [("accelerator-driver", "unhealthy", None)]


def test_a_display_beside_them_is_not_missed_by_their_driver(tmp_path: Path) -> None:
    folder = device_folder(machine(tmp_path), ADDRESSES[2])
    write(folder, {"device": "0x164e"})
    shutil.rmtree(node_folder(tmp_path, ADDRESSES[2]))
    (tmp_path / "sys/bus/pci/drivers/amdgpu" / ADDRESSES[2]).unlink()
    found = {result.name: result.message for result in look(tmp_path, "none").results}
    assert found["accelerator-count"] == "the driver knows 7 x amd/mi300x"


def test_a_machine_with_nothing_but_a_display_is_fine(tmp_path: Path) -> None:
    for address in ADDRESSES:
        unplug(machine(tmp_path) if address == ADDRESSES[0] else tmp_path, address)
    looked = look(tmp_path, "quick")
    assert bad(looked) == [] and looked.seen is None


def test_one_whose_bus_cannot_be_read_is_not(tmp_path: Path) -> None:
    shutil.rmtree(machine(tmp_path) / "sys/bus/pci")
    assert bad(look(tmp_path, "none")) == [("accelerator", "unknown", None)]


def test_a_node_of_ours_that_lost_its_lock_is_still_one(tmp_path: Path) -> None:
    (machine(tmp_path) / "usr/lib/aistack").mkdir(parents=True)
    assert ("lock", "unknown", None) in bad(look(tmp_path, "none"))
