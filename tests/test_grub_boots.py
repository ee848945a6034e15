"""The menu in GRUB itself: a kernel that only says its command line and restarts shows which entry each start takes, and the tries."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from test_grub import menu
from tools_needed import needs

import aistack
from aistack.host import grub, process, qemu, rootfs
from aistack.host.grub import Trial
from aistack.host.qemu import Accelerator, Firmware, Hardware

pytestmark = pytest.mark.system

# mov esi, [esi+0x228]; mov dx, 0x3f8; lodsb; test al, al; jz +3; out dx, al; jmp back; mov al, 10; out dx, al; mov al, 0xfe; out 0x64, al
SAY_COMMAND_LINE = bytes.fromhex("8bb62802000066baf803ac84c07403eeebf8b00aeeb0fee664ebfe")

INSIDE = """
import json, sys
from pathlib import Path
from aistack.host import disk_fill, disk_layout
work, boot, disk = Path("/run/work"), Path("/run/work/boot"), Path("/run/work/disk.raw")
plan = disk_layout.lay_out("5eed" * 16, boot_bytes=1 << 20, root_bytes=1 << 20, headroom_mib=1, arch="x86_64")
with disk.open("wb") as stream:
    stream.truncate(plan.size << 20)
disk_fill.process.run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", str(disk)], input=disk_layout.table(plan))
disk_fill._bios(work, disk, plan)
disk_fill._ext4(disk, plan.boot.offset, plan.boot.size, plan.identity.boot_fs, "boot", boot)
"""


def kernel() -> bytes:
    """A bzImage (https://docs.kernel.org/arch/x86/boot.html): one sector of setup, and a program of 32 bits that runs wherever it lies."""
    head = bytearray(1024)
    for offset, value in (
        (0x1F1, b"\1"),  # sectors of setup
        (0x1F4, (len(SAY_COMMAND_LINE) // 16 + 1).to_bytes(4, "little")),
        (0x1FE, b"\x55\xaa"),
        (0x202, b"HdrS\x0a\x02"),
        (0x211, b"\1"),  # the program goes to 1 MiB
        (0x214, (0x100000).to_bytes(4, "little")),
        (0x22C, (0x7FFFFFFF).to_bytes(4, "little")),  # how high an initramfs may lie
        (0x230, (0x1000).to_bytes(4, "little") + b"\1\x0c"),  # alignment; relocatable
        (0x238, (2047).to_bytes(4, "little")),  # longest command line
        (0x258, (0x100000).to_bytes(8, "little") + (0x10000).to_bytes(4, "little")),  # preferred place, memory needed
    ):
        head[offset : offset + len(value)] = value
    return bytes(head) + SAY_COMMAND_LINE


def starts(tools: Path, folder: Path, trial: Trial, count: int, *, unread: Sequence[int] = ()) -> list[str]:
    """Which entry (`1`, `2`) each of the first starts takes, with `!` where its kernel hears of the trial; `unread` have no kernel."""
    said = command_lines(tools, folder, trial, count, unread=unread)
    found = [re.search(r"vmlinuz-(\d) .*?ostree=\S*(.*)", line) for line in said]
    return [one[1] + ("!" if "aistack.trial rd.shell=0 rd.emergency=reboot" in one[2] else "") for one in found if one]


def command_lines(tools: Path, folder: Path, trial: Trial, count: int, arguments: str = "rw", *, unread: Sequence[int] = ()) -> list[str]:
    """The kernel's command line at each of the first starts."""
    boot = folder / "boot"
    menu(folder, 2, arguments)
    (boot / "grub").mkdir()
    (boot / "grub/grub.cfg").symlink_to("../loader/grub.cfg")
    (boot / "loader").symlink_to("loader.1")
    (boot / "grub/grubenv").write_bytes(grub.write_environment({}))
    grub.set_trial(trial, boot / "grub/grubenv")
    (boot / "ostree/aistack-c").mkdir(parents=True)
    for number in (1, 2):
        (boot / f"ostree/aistack-c/vmlinuz-{number}").write_bytes(b"no kernel" if number in unread else kernel())
        (boot / f"ostree/aistack-c/initramfs-{number}.img").write_bytes(b"nothing")
    binds = (
        rootfs.Bind(source=Path(aistack.__file__).parent, target="/run/python/aistack"),
        rootfs.Bind(source=folder, target="/run/work", writable=True),
    )
    rootfs.enter(tools, ["python3", "-c", INSIDE], binds=binds, environment={"PYTHONPATH": "/run/python", "PYTHONDONTWRITEBYTECODE": "1"})
    hardware = Hardware(disk=folder / "disk.raw", firmware=Firmware.BIOS, memory_mib=64, processors=1)
    qemu.make_overlay(hardware, folder)
    console = folder / "console.log"
    argv = [word for word in qemu.command(hardware, Accelerator.TCG, folder, console) if word != "-S"]
    with process.background(argv, log=folder / "qemu.log"):
        end = time.monotonic() + 120
        while len(said := re.findall(rb"BOOT_IMAGE=.*(?=\n)", console.read_bytes() if console.exists() else b"")) < count:
            assert time.monotonic() < end, console.read_bytes()[-2000:]
            time.sleep(0.2)
    return [line.decode() for line in said[:count]]


def test_tries_are_counted_and_then_the_entry_below_is_started(tools_root: Path, tmp_path: Path) -> None:
    needs("qemu-system-x86_64")
    assert starts(tools_root, tmp_path, Trial(deployment="c0ffee2.0", tries=2), 5) == ["2!", "2!", "1", "1", "1"]


def test_a_trial_of_what_is_not_first_counts_nothing(tools_root: Path, tmp_path: Path) -> None:
    needs("qemu-system-x86_64")
    assert starts(tools_root, tmp_path, Trial(deployment="c0ffee3.0", tries=1), 3) == ["2", "2", "2"]


def test_what_grub_cannot_load_is_tried_and_the_entry_below_is_started(tools_root: Path, tmp_path: Path) -> None:
    needs("qemu-system-x86_64")
    assert starts(tools_root, tmp_path, Trial(deployment="c0ffee2.0", tries=1), 3, unread=[2]) == ["1", "1", "1"]


def test_where_the_entry_below_cannot_be_loaded_the_first_one_goes_on(tools_root: Path, tmp_path: Path) -> None:
    needs("qemu-system-x86_64")
    assert starts(tools_root, tmp_path, Trial(deployment="c0ffee2.0", tries=1), 3, unread=[1]) == ["2!", "2", "2"]


def test_every_argument_reaches_the_kernel_as_it_was_asked_for(tools_root: Path, tmp_path: Path) -> None:
    needs("qemu-system-x86_64")
    asked = 'a;b c&d x={y} p|q r<s>t dyndbg="file a.c +p;$x" memmap=1G$4G #e $(f)'
    (said,) = command_lines(tools_root, tmp_path, Trial(deployment="c0ffee3.0", tries=1), 1, asked)
    # GRUB puts its quotes around the whole, which is the same to the kernel.
    handed_on = asked.replace('dyndbg="file', '"dyndbg=file')
    assert f" root=UUID=1 {handed_on} systemd.mount-extra=" in said
