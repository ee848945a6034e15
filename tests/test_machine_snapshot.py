"""A machine as a snapshot: read below a tree of files, judged by the rules for snapshots."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from accelerator_profiles import DRIVER, MACHINES, lay
from node_samples import lay as lay_node

from aistack.commands.check import check
from aistack.commands.node_snapshot import node_snapshot
from aistack.diagnostics import ExitCode

pytestmark = pytest.mark.slow

H100 = "nvidia/h100-sxm-80gb"
CDI = """cdiVersion: 0.6.0
kind: nvidia.com/gpu
devices: [{name: "0", containerEdits: {}}, {name: all, containerEdits: {}}]
containerEdits:
  mounts: [{hostPath: /usr/lib/x86_64-linux-gnu/libcuda.so.570.1.2, containerPath: /usr/lib64/libcuda.so.1}]
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stand_ins: Path) -> Path:
    """A machine with eight H100s that is no node of ours."""
    for name, value in lay(tmp_path, MACHINES[H100].nvml(), MACHINES[H100].cuda()).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(stand_ins))
    root = lay_node(tmp_path / "root")
    shutil.rmtree(root / "usr/lib/aistack")
    texts = {
        "etc/os-release": 'ID=ubuntu\nVERSION_ID="24.04"\n',
        "proc/cmdline": "BOOT_IMAGE=/vmlinuz rd.driver.blacklist=nouveau systemd.set_credential=token:s3cr3t module.sig_enforce=1\n",
        "proc/driver/nvidia/version": f"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {DRIVER}  Release Build\n",
        "sys/module/nvidia/version": f"{DRIVER}\n",
        "etc/modprobe.d/a.conf": "# blacklist x\nblacklist nova_core\n  blacklist snd\n",
        "etc/cdi/nvidia.yaml": CDI,
        "boot/config-6.12.107+deb13-cloud-amd64": "CONFIG_DRM=m\n# CONFIG_DRM_NOUVEAU is not set\nCONFIG_FOO=y\n",
    }
    for address in MACHINES[H100].addresses():
        device = {"vendor": "0x10de\n", "device": "0x2330\n", "class": "0x030200\n"}
        texts |= {f"sys/bus/pci/devices/{address}/{name}": text for name, text in device.items()}
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def taken(root: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert node_snapshot(root=root) is ExitCode.OK
    found = yaml.safe_load(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_what_was_read_is_told(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = taken(machine, capsys)
    assert found["accelerator"] == {"product": H100, "count": 8, "arch": "sm_90", "memory_gib": 79.6}
    assert found["driver"] == {
        "version": DRIVER,
        "module": {"version": DRIVER, "flavor": "open", "built_for": "6.12.107+deb13-cloud-amd64"},
        "gsp_firmware": DRIVER,
    }
    platform = found["platform"]
    assert platform["os"] == "ubuntu-24.04" and platform["arch"] == "amd64" and platform["secure_boot"] is False
    assert platform["blacklist"] == ["nouveau", "nova_core", "snd"] and platform["competing_driver"] == []
    assert platform["kernel_config"] == {"CONFIG_DRM": "m", "CONFIG_DRM_NOUVEAU": "n"}
    assert found["runtime"]["cdi"] == {"spec_version": "0.6.0", "devices": ["nvidia.com/gpu=0", "nvidia.com/gpu=all"], "driver": "570.1.2"}


def test_no_secret_of_the_command_line_is_told(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert taken(machine, capsys)["platform"]["cmdline"] == "rd.driver.blacklist=nouveau module.sig_enforce=1"


def test_the_judge_reads_it(machine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The containers' specification was made for another driver than the one that is loaded."""
    node_snapshot(root=machine)
    (tmp_path / "snapshot.yaml").write_text(capsys.readouterr().out)
    assert check([tmp_path / "snapshot.yaml"], environment={}) is ExitCode.NO
    assert "570.1.2" in capsys.readouterr().out


def test_a_machine_of_which_nothing_can_be_read_is_a_short_snapshot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = taken(tmp_path, capsys)
    assert found["schema"] == "aistack/snapshot/v1" and "driver" not in found and "accelerator" not in found


def test_a_real_machine_that_works_is_judged_well(capsys: pytest.CaptureFixture[str]) -> None:
    """Its kernel has no DRM, nobody blacklisted nouveau, which that kernel lacks, and the driver ran programs."""
    assert check([Path(__file__).parent / "data" / "h100-snapshot.yaml"], environment={}) is ExitCode.OK
    assert "error" not in capsys.readouterr().out


GZIPPED = gzip.compress(b"CONFIG_DRM=m\n" * 1000, mtime=0)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("etc/cdi/nvidia.yaml", b""),
        ("etc/cdi/nvidia.yaml", b"a: [b\n: x"),
        ("etc/cdi/nvidia.yaml", b"\xff\xfe"),
        ("etc/cdi/nvidia.json", b"[]"),
        ("etc/cdi/nvidia.json", b'{"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": [7]}'),
        ("proc/config.gz", GZIPPED[:40]),
        ("proc/config.gz", GZIPPED[:30] + b"\xff" * 3000),
        ("proc/config.gz", b""),
    ],
)
def test_a_damaged_file_is_left_out(machine: Path, name: str, text: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    (machine / name).write_bytes(text)
    found = taken(machine, capsys)
    assert found["accelerator"]["count"] == 8
    assert "kernel_config" not in found["platform"] if name.startswith("proc") else "cdi" not in found.get("runtime", {})


@pytest.mark.parametrize("empty", ["devices: [{name: all}]\ncontainerEdits:\n", "devices: [{name: all}]\n"])
def test_a_specification_without_edits_is_one(machine: Path, empty: str, capsys: pytest.CaptureFixture[str]) -> None:
    (machine / "etc/cdi/nvidia.yaml").write_text(f"cdiVersion: 0.5.0\nkind: nvidia.com/gpu\n{empty}")
    assert taken(machine, capsys)["runtime"]["cdi"] == {"spec_version": "0.5.0", "devices": ["nvidia.com/gpu=all"]}
