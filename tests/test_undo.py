"""A node that updates itself in QEMU, by both firmwares: what is good is confirmed, what is not is undone, whatever way it goes wrong.

Every case goes on from the kept state of a node that is up and follows an image that has one more layer than its own. It is over when the
second gate has spoken on the deployment that is to stay.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from node_machine import Node
from node_series import ALL, UNITS, Series, answers, decided, last_word, status

from aistack.compose.lock import LockedAccelerator, encode, identity
from aistack.compose.render.system import LOCK_PATH
from aistack.host.qemu import Firmware

pytestmark = pytest.mark.system

EARLY = "[Unit]\nDefaultDependencies=no\nBefore=sysinit.target\n[Service]\nType=oneshot\nTimeoutStartSec=infinity\nExecStart={}\n"


def early(command: str) -> dict[str, bytes | str]:
    """A unit that everything else waits for."""
    unit = EARLY.format(command).encode()
    return {f"{UNITS}/fault.service": unit, f"{UNITS}/sysinit.target.wants/fault.service": "../fault.service"}


@dataclass(frozen=True, kw_only=True)
class Case:
    """An update and its end: `files` is what the new image has more, `starts` how often the machine starts, `action` what ends it.

    `accelerator`: the new image's lock promises one, which this machine has not.
    """

    firmware: Firmware
    stays: bool = False
    action: str = "make-default"
    starts: int = 3
    files: Mapping[str, bytes | str] = field(default_factory=dict)
    hangs: bool = False
    accelerator: LockedAccelerator | None = None


CASES = {
    "good": Case(
        firmware=Firmware.UEFI,
        stays=True,
        action="confirm",
        starts=1,
        files={"/usr/lib/sysusers.d/arrived.conf": b'u arrived 850 "Came with the update"\n', "/usr/share/arrived": b"yes\n"},
    ),
    "app": Case(
        firmware=Firmware.UEFI,
        action="nothing",
        starts=2,
        files={f"{UNITS}/app-web.service.d/50-fault.conf": b"[Service]\nExecStart=\nExecStart=/bin/false\n"},
    ),
    "gate": Case(firmware=Firmware.BIOS, action="nothing", starts=2, files={"/usr/lib/aistack/lock.json": b""}),
    "panic": Case(firmware=Firmware.UEFI, files=early("/bin/sh -c 'echo c > /proc/sysrq-trigger'")),
    "kernel": Case(firmware=Firmware.BIOS, hangs=True),
    "user-space": Case(
        firmware=Firmware.BIOS,
        files={
            **early("/bin/sleep infinity"),
            f"{UNITS}/aistack-deadline.timer.d/50-soon.conf": b"[Timer]\nOnBootSec=\nOnBootSec=60\n",
        },
    ),
    # Another disk below /boot than the kernel's command line names, which is none; waited for as briefly as nobody waits in earnest.
    "no-boot": Case(
        firmware=Firmware.UEFI,
        files={
            f"{UNITS}/boot.mount.d/50-fault.conf": b"[Mount]\nWhat=/dev/absent\n",
            f"{UNITS}/dev-absent.device.d/50-soon.conf": b"[Unit]\nJobRunningTimeoutSec=10\n",
        },
    ),
    "hardware": Case(
        firmware=Firmware.UEFI,
        stays=True,
        action="mark-unfit",
        starts=1,
        accelerator=LockedAccelerator(product="nvidia/l4", count=1, pci_ids=("10de:27b8",)),
    ),
}
USUAL = ("good",)


def image(series: Series, name: str, case: Case) -> str:
    """Pushes the case's image; returns its digest."""
    files, labels = dict(case.files), {}
    if case.accelerator is not None:
        lock = dataclasses.replace(series.lock, accelerator=case.accelerator)
        files[LOCK_PATH], labels = encode(lock), {"io.aistack.lock": identity(lock)}
    if files.get(LOCK_PATH) == b"":  # not the lock of which the image's label and the commit speak
        files[LOCK_PATH] = encode(dataclasses.replace(series.lock, name="another"))
    return series.push(name, files or {"/usr/share/changed": name.encode()}, labels)


@pytest.mark.parametrize("name", [name for name in CASES if ALL or name in USUAL])
def test_an_update_ends_on_the_right_deployment(name: str, series: Series, tmp_path: Path, record_property: Any) -> None:
    case = CASES[name]
    new = image(series, name, case)
    with series.up(case.firmware, tmp_path) as node:
        before = status(node)["booted"]
        asked = node.now
        print(node.ssh(f"aistack node update --to {series.reference(name)}", seconds=1200))
        staged = node.now
        # The machine may close the connection before the command has ended.
        node.ssh("systemctl --no-block poweroff" if case.accelerator else "systemctl --no-block reboot", check=False)
        if case.accelerator:
            node.switch_on()
        if case.hangs:
            for start in (1, 2):
                node.wait("started", start)
                node.hang()
        # A start that dies early reports nothing: the last of the starts is the one that is heard to its end.
        node.until(lambda: len(node.resets) >= case.starts or None, f"{case.starts} starts", seconds=3600)
        last = node.until(lambda: last_word(node), "word of the second gate")
        seconds = {"to stage": staged - asked, "to the end": last["heard"] - staged, "restarts": [at - staged for at in node.resets]}
        print(name, json.dumps({key: value if isinstance(value, list) else round(value) for key, value in seconds.items()}))
        record_property("seconds", seconds)
        now = status(node)
        assert decided(last) == case.action, node.said()
        assert now["booted"] == (new if case.stays else before)
        assert answers(node) is (case.accelerator is None), "no app starts above a machine that is not what was promised"
        remembered = json.loads(node.ssh("cat /var/lib/aistack/state.json"))
        assert remembered["confirmed"] == (new if case.stays and not case.accelerator else before)
        assert remembered["quarantined"] == ([] if case.stays else [new])
        assert remembered["unfit"] == (new if case.accelerator else None)
        assert "trial" not in node.ssh("cat /boot/grub/grubenv")
        assert len(node.resets) == case.starts
        if name == "good":
            look_around(node)


def look_around(node: Node) -> None:
    """After an update: what is the node's stayed, what is the image's came, and both roots are immutable."""
    said = node.ssh("cat /etc/local /usr/share/arrived; id -u ada arrived; getent passwd arrived")
    assert said.split()[:2] == ["local", "yes"]
    assert "1500\n850\n" in said
    assert "arrived:x:850:850:Came with the update:" in said
    flags = node.ssh("touch /x 2>&1; lsattr -d /sysroot/ostree/deploy/aistack/deploy/*.[0-9]")
    assert "Operation not permitted" in flags or "Read-only file system" in flags
    roots = [line.split()[0] for line in flags.splitlines() if line.endswith((".0", ".1"))]
    assert len(roots) == 2
    assert all("i" in flag for flag in roots), flags
    if ALL:
        look_for_damage(node)


def look_for_damage(node: Node) -> None:
    """One flipped bit in the repository is found by the weekly look, and told by the first gate."""
    node.ssh("systemctl start aistack-fsck.service", seconds=1200)
    node.ssh(
        "unshare -m sh -c 'mount -o remount,rw /sysroot; file=$(find /sysroot/ostree/repo/objects -samefile /usr/share/arrived); "
        "printf z | dd of=$file bs=1 conv=notrunc'"
    )
    assert "failed" in node.ssh("systemctl start aistack-fsck.service", check=False, seconds=1200)
    checked = json.loads(node.ssh("aistack node check --json", check=False))
    (told,) = (result for result in checked["results"] if result["name"] == "repository")
    assert told["outcome"] == "degraded", told
