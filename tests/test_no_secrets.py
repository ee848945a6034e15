"""Nothing that a node tells of itself, and no page made of it, holds what tells one machine from another or opens a door.

Every machine of the stand-ins has serial numbers and UUIDs; the trees have network cards, host keys, tokens, and a kernel that talks.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from accelerator_profiles import DRIVER, LIBRARY_MISMATCH, LOST, MACHINES
from accelerator_profiles import lay as lay_stand_ins
from fleet_samples import NOW
from node_samples import LOCK
from node_samples import lay as lay_node

from aistack.commands.node import node_check
from aistack.commands.node_snapshot import node_snapshot
from aistack.compose.lock import Lock, LockedAccelerator
from aistack.compose.recipe import read
from aistack.facts.catalog import Catalog
from aistack.facts.document import parse
from aistack.node import agent, fleet
from aistack.node.first_gate import look
from aistack.node.fleet_reading import decode
from aistack.report.fleet import page

pytestmark = pytest.mark.slow

MAC, KEY, TOKEN, MACHINE_ID = "02:42:ac:11:00:02", "b3BlbnNzaC1rZXktdjEAAAAA", "s3cr3t-t0ken", "4c4c4544004b4a10805ab2c04f4d4e33"
SERIAL, UUID = re.compile(r"16500\d{8}"), re.compile(r"GPU-[0-9a-f]{8}-|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
PRIVATE = {
    "sys/class/net/eth0/address": MAC,
    "etc/ssh/ssh_host_ed25519_key": KEY,
    "etc/machine-id": MACHINE_ID,
    "sys/class/dmi/id/product_serial": "1650099999999",
    "sys/class/dmi/id/product_uuid": "12345678-aaaa-bbbb-cccc-123456789abc",
    "proc/cmdline": f"BOOT_IMAGE=x root=UUID=12345678-aaaa-bbbb-cccc-123456789abc systemd.set_credential=token:{TOKEN} quiet",
    "etc/cdi/nvidia.yaml": """cdiVersion: 0.5.0
kind: nvidia.com/gpu
devices:
- name: "0"
- name: GPU-00000000-0000-0000-0000-000000000001
- name: MIG-00000000-0000-0000-0000-000000000001
- name: all
containerEdits: {}
""",
    "dev/kmsg": "".join(
        f"6,{number},5000000,-;{message}\n"
        for number, message in enumerate(
            (
                "NVRM: GPU at PCI:0000:18:00: GPU-00000000-0000-0000-0000-000000000001",
                "NVRM: GPU Board Serial Number: 1650000000001",
                "NVRM: Xid (PCI:0000:18:00): 79, pid=1234, name=python3, GPU has fallen off the bus.",
                f"Kernel command line: systemd.set_credential=token:{TOKEN}",
                f"virtio_net virtio0 eth0: {MAC}",
            )
        )
    ),
}


def node(folder: Path, stand_ins: Path, patch: pytest.MonkeyPatch, product: str, lock: Lock, **changes: str) -> Path:
    """A node with that product's devices, with everything that is nobody's business."""
    machine = MACHINES[product]
    for name, value in lay_stand_ins(folder, machine.nvml() | changes, machine.cuda()).items():
        patch.setenv(name, value)
    patch.setenv("LD_LIBRARY_PATH", str(stand_ins))
    patch.setenv("HF_TOKEN", TOKEN)
    root = lay_node(folder / "root", replace(lock, accelerator=LockedAccelerator(product=product, count=machine.count)))
    texts = PRIVATE | {"sys/module/nvidia/version": DRIVER, "proc/sys/kernel/hostname": "node7\n"}
    for address in machine.addresses():
        device = {"vendor": "0x10de", "device": f"0x{machine.pci}", "class": "0x030200"}
        texts |= {f"sys/bus/pci/devices/{address}/{name}": text for name, text in device.items()}
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"{text}\n")
    return root


def told(root: Path, catalog: Catalog, capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """Everything that this node tells: what its gate writes and says, a check by hand, a snapshot, a page."""
    agent.publish("check", (looked := look(root, "none")).results, root, seen=looked.seen)
    found = {"console": capsys.readouterr().out}
    node_check(as_json=True, level="none", root=root)
    found["check"] = capsys.readouterr().out
    node_snapshot(root=root)
    found["snapshot"] = capsys.readouterr().out
    found |= {name: (root / name).read_text() for name in ("run/aistack/check.json", "run/issue.d/50-aistack.issue")}
    reports = [decode(found[name], name) for name in ("check", "run/aistack/check.json")]
    found |= {f"page of {reports[:count]}": page(fleet.survey(reports[:count], catalog, NOW), ()) for count in (1, 2)}
    return found


def secrets(text: str) -> list[str]:
    found = [match[0] for pattern in (SERIAL, UUID) for match in pattern.finditer(text)]
    return found + [secret for secret in (MAC, KEY, TOKEN, MACHINE_ID, "1650099999999") if secret in text]


FAULTS = {"healthy": {}, "lost": {"0.nvmlDeviceGetHandleByIndex": LOST}, "mismatch": {"nvmlInitWithFlags": LIBRARY_MISMATCH}}


@pytest.mark.parametrize(
    ("product", "fault"),
    [
        *(("nvidia/l4", fault) for fault in FAULTS),
        *(pytest.param(product, "healthy", marks=pytest.mark.slow) for product in MACHINES if product != "nvidia/l4"),
    ],
)
def test_nothing_secret_is_told(
    product: str,
    fault: str,
    tmp_path: Path,
    stand_ins: Path,
    monkeypatch: pytest.MonkeyPatch,
    catalog: Catalog,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = node(tmp_path, stand_ins, monkeypatch, product, LOCK, **FAULTS[fault])
    texts = told(root, catalog, capsys)
    assert {name: found for name, text in texts.items() if (found := secrets(text))} == {}
    assert "nvidia.com/gpu=all" in texts["snapshot"]


def test_serial_numbers_are_told_where_the_recipe_says_so(
    tmp_path: Path, stand_ins: Path, monkeypatch: pytest.MonkeyPatch, catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = replace(LOCK, node=(*LOCK.node, ("serial-numbers", "reported")))
    texts = told(node(tmp_path, stand_ins, monkeypatch, "nvidia/h100-pcie-80gb", lock), catalog, capsys)
    report = json.loads(texts["run/aistack/check.json"])
    assert [device["serial"]["value"] for device in report["accelerators"]["devices"]] == ["1650000000000", "1650000000001"]
    assert report["accelerators"]["devices"][1]["uuid"]["value"] == "GPU-00000000-0000-0000-0000-000000000001"
    assert all("1650000000001" in text for name, text in texts.items() if name.startswith(("check", "page")))
    assert secrets(texts["snapshot"]) == [] and secrets(texts["console"]) == []


RECIPE = """\
schema: aistack/recipe/v1
name: a
arch: amd64
os: debian-13
kernel: {flavor: cloud}
node: {serial-numbers: %s}
"""


@pytest.mark.parametrize(("word", "accepted"), [("none", True), ("reported", True), ("yes", False)])
def test_what_a_recipe_may_say_of_serial_numbers(word: str, accepted: bool) -> None:
    document, _ = parse(RECIPE % word, "a.yaml")
    assert document is not None
    recipe, problems = read(document)
    assert (recipe is not None) is accepted and bool(problems) is not accepted
