"""The L4 recipe's base on a machine without an L4, by UEFI with Secure Boot: the driver is taken, and the missing accelerator is named.

Compiling NVIDIA's modules and a boot without KVM take a quarter of an hour and more: `make endurance`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tools_needed import needs

from aistack.host.store import Store, default_path

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif("AISTACK_TEST_DRIVER" not in os.environ, reason="compiles a driver: `make endurance` (AISTACK_TEST_DRIVER=1)"),
]

RECIPE = """\
schema: aistack/recipe/v1
name: l4-secure
arch: amd64
os: debian-13
kernel: {flavor: generic, version: "6.12.*"}
accelerator: {product: nvidia/l4, count: 1}
driver: {version: "550.*", signing: {key: modules.key, certificate: modules.pem}}
node: {ssh: credential, time-zone: UTC}
"""


def aistack(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "aistack", *words], cwd=folder, capture_output=True, text=True, timeout=5400, check=False)


def test_a_missing_accelerator_is_the_hardwares_fault_and_nothing_else_is_wrong(tmp_path: Path) -> None:
    needs("mmdebstrap", "bwrap", "qemu-system-x86_64", "openssl")
    argv = "openssl req -new -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=Example/ -keyout modules.key -out modules.pem"
    subprocess.run(argv.split(), cwd=tmp_path, check=True, capture_output=True)
    (tmp_path / "l4-secure.yaml").write_text(RECIPE)
    built = aistack("build", "l4-secure.yaml", folder=tmp_path)
    assert built.returncode == 0, built.stderr[-4000:]
    booted = aistack("boot", "l4-secure.yaml", "--firmware", "uefi-secure", folder=tmp_path)
    assert booted.returncode == 1, booted.stderr[-4000:]
    assert "0 of 1 x nvidia/l4 are in PCI configuration space, at the first start of this installation" in booted.stderr
    assert "failed unit" not in booted.stderr
    logs = Store(default_path(os.environ)).path / "logs/l4-secure-uefi-secure"
    reports = [json.loads(line) for line in (logs / "reports.jsonl").read_text().splitlines()]
    (check,) = (report for report in reports if report["phase"] == "check")
    (confirm,) = (report for report in reports if report["phase"] == "confirm")
    assert (check["outcome"], check["cause"]) == ("unhealthy", "hardware")
    assert {result["name"] for result in check["results"] if result["outcome"] != "healthy"} == {"accelerator"}
    assert "rolling back cannot help" in next(result["message"] for result in confirm["results"] if result["name"] == "decision")
    console = (logs / "console.log").read_text(errors="replace")
    assert "could not insert 'nvidia_current': No such device" in console, "the kernel took the signed module, which found no device"
