"""The CDI specification that a node writes, from folders as Debian's packages leave them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aistack.node import cdi

VERSION = "550.163.01"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "usr/lib/x86_64-linux-gnu/nvidia/current"
    folder.mkdir(parents=True)
    for name, loaded in (("libcuda", "1"), ("libnvidia-nvvm", "4"), ("libGLX_nvidia", "0"), ("libnvidia-glcore", "0")):
        (folder / f"{name}.so.{VERSION}").write_bytes(b"\x7fELF")
        (folder / f"{name}.so.{loaded}").symlink_to(f"{name}.so.{VERSION}")
    (tmp_path / "usr/bin").mkdir()
    (tmp_path / "usr/bin/nvidia-smi").touch()
    (tmp_path / "dev").mkdir()
    return tmp_path


def test_devices_libraries_and_programs_that_are_there(root: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (root / "dev" / name).touch()
    assert cdi.main(root) == 0
    document = json.loads((root / cdi.TARGET).read_text())
    assert document["kind"] == "nvidia.com/gpu"
    assert [device["name"] for device in document["devices"]] == ["0", "1", "all"]
    assert [node["path"] for node in document["devices"][-1]["containerEdits"]["deviceNodes"]] == ["/dev/nvidia0", "/dev/nvidia1"]
    edits = document["containerEdits"]
    assert [node["path"] for node in edits["deviceNodes"]] == ["/dev/nvidiactl", "/dev/nvidia-uvm"]
    mounted = {mount["containerPath"].rpartition("/")[2]: mount["hostPath"] for mount in edits["mounts"]}
    assert mounted == {
        "libcuda.so.1": f"/usr/lib/x86_64-linux-gnu/nvidia/current/libcuda.so.{VERSION}",
        "libnvidia-nvvm.so.4": f"/usr/lib/x86_64-linux-gnu/nvidia/current/libnvidia-nvvm.so.{VERSION}",
        "nvidia-smi": "/usr/bin/nvidia-smi",
    }
    assert all((root / file.strip("/")).exists() for file in mounted.values())


def test_a_link_that_leads_nowhere_takes_no_library_away(root: Path) -> None:
    (root / "dev/nvidia0").touch()
    folder = root / "usr/lib/x86_64-linux-gnu/nvidia/current"
    (folder / "libcuda.so.9").symlink_to("libcuda.so.9")
    (folder / "libcuda.so.8").symlink_to("libcuda.so.7")
    assert cdi.main(root) == 0
    mounts = json.loads((root / cdi.TARGET).read_text())["containerEdits"]["mounts"]
    assert {mount["containerPath"].rpartition("/")[2] for mount in mounts if "libcuda" in mount["containerPath"]} == {"libcuda.so.1"}


def test_a_node_whose_accelerators_went_away_names_none(root: Path) -> None:
    (root / "dev/nvidia0").touch()
    cdi.main(root)
    (root / "dev/nvidia0").unlink()
    assert cdi.main(root) == 0
    assert not (root / cdi.TARGET).exists()


def test_a_machine_without_the_driver_names_none(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    assert cdi.main(tmp_path) == 0
    assert not (tmp_path / cdi.TARGET).exists()
