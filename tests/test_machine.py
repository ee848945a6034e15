"""Boots of whole, very small operating systems: one boot sector each, so that every way to end is seen in seconds."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from aistack.host import machine, qemu
from aistack.host.machine import Boot, End, Limits
from aistack.host.qemu import Accelerator, Firmware, Hardware

pytestmark = pytest.mark.system

SPIN = bytes.fromhex("faebfe")  # cli; jmp $
WAIT = bytes.fromhex("fbf4ebfd")  # sti; hlt; jmp back
RESET = bytes.fromhex("b0fee664ebfe")  # the keyboard controller's reset line
OFF = bytes.fromhex("ba0406b80020efebfe")  # ACPI power off of QEMU's `pc`: word 0x2000 to port 0x604
PVPANIC = bytes.fromhex("ba0505b001eefaf4ebfd")  # the paravirtual panic device: 1 to port 0x505
AGREED = bytes.fromhex("baf400b03deef4ebfd")  # 0x3d to port 0xf4, as a node does at the end of a completed report


def say(text: str, then: bytes = SPIN) -> bytes:
    """A program that writes text to the serial port, then does something else."""
    # xor ax,ax; mov ds,ax; mov si,0x7c00+18; mov dx,0x3f8; lodsb; or al,al; jz +3; out dx,al; jmp back
    head = bytes.fromhex("31c08ed8be0000baf803ac08c07403eeebf8")
    start = 0x7C00 + len(head) + len(then)
    # The text lies behind `then`; the jump at the text's end lands on it.
    return head[:5] + start.to_bytes(2, "little") + head[7:] + then + text.encode() + b"\0"


def run(tmp_path: Path, code: bytes, **limits: float) -> Boot:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(code.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    before = disk.read_bytes()
    hardware = Hardware(disk=disk, firmware=Firmware.BIOS, memory_mib=64, processors=1)
    chosen = Limits(
        report=limits.get("report", 60), still=limits.get("still", 30), gates=60, finish=10, resets=int(limits.get("resets", 0))
    )
    logs = tmp_path / "logs"
    boot = machine.boot(hardware, logs, limits=chosen, accelerator=Accelerator.TCG)
    assert disk.read_bytes() == before
    assert (logs / "console.log").exists()
    assert not _processes(str(tmp_path)), "a QEMU was left behind"
    return boot


def _processes(word: str) -> list[int]:
    """The QEMUs whose command line holds a word."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = entry.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if text.startswith("/usr/bin/qemu-system") and word in text:
            found.append(int(entry.parent.name))
    return found


def test_a_spinning_guest_is_a_hang(tmp_path: Path) -> None:
    boot = run(tmp_path, SPIN, still=6)
    assert (boot.end, boot.ok) == (End.HANG, False)
    assert "6 s" in boot.message


def test_a_waiting_guest_that_never_speaks_is_silent(tmp_path: Path) -> None:
    boot = run(tmp_path, say("all is well\r\n", WAIT), still=6)
    assert boot.end is End.SILENT
    assert any("all is well" in line for line in boot.lines)


def test_a_busy_guest_that_never_reports_is_silent(tmp_path: Path) -> None:
    # jumps back to its own first instruction: the console never rests
    chatter = say("still starting\r\n", bytes.fromhex("ea007c0000"))
    boot = run(tmp_path, chatter, report=6)
    assert boot.end is End.SILENT
    assert "no report came within 6 s" in boot.message


def test_a_power_off_is_an_early_exit(tmp_path: Path) -> None:
    boot = run(tmp_path, OFF)
    assert boot.end is End.EARLY_EXIT
    assert "guest-shutdown" in boot.message
    assert boot.exit_code == 0


def test_the_agreed_exit_code_alone_is_not_success(tmp_path: Path) -> None:
    boot = run(tmp_path, AGREED)
    assert (boot.end, boot.exit_code) == (End.EARLY_EXIT, qemu.EXIT_CODE)
    assert "without the report" in boot.message


def test_a_guest_that_restarts_itself_is_a_reset_loop(tmp_path: Path) -> None:
    boot = run(tmp_path, RESET, resets=2)
    assert (boot.end, boot.resets) == (End.RESET_LOOP, 3)


def test_a_panic_on_the_console_is_found_with_its_lines(tmp_path: Path) -> None:
    text = "[    1.0] VFS: Unable to mount root fs\r\n[    1.1] Kernel panic - not syncing: no init found\r\n"
    boot = run(tmp_path, say(text))
    assert boot.end is End.PANIC
    assert boot.message == "the guest's kernel panicked: no init found"
    assert any("Unable to mount root fs" in line for line in boot.lines)


def test_a_panic_without_a_console_is_found(tmp_path: Path) -> None:
    assert run(tmp_path, PVPANIC).end is End.PANIC


def test_a_disk_that_cannot_be_started_is_named_so(tmp_path: Path) -> None:
    disk = tmp_path / "empty.raw"
    disk.write_bytes(bytes(1 << 20))
    hardware = Hardware(disk=disk, firmware=Firmware.BIOS, memory_mib=64, processors=1)
    limits = Limits(report=60, still=30, gates=60, finish=10)
    assert machine.boot(hardware, tmp_path / "logs", limits=limits, accelerator=Accelerator.TCG).end is End.NO_BOOT


def test_a_qemu_that_cannot_start_is_told_with_its_words(tmp_path: Path) -> None:
    hardware = Hardware(kernel=tmp_path / "no-such-kernel", firmware=Firmware.BIOS, memory_mib=64)
    limits = Limits(report=60, still=30, gates=60, finish=10)
    boot = machine.boot(hardware, tmp_path / "logs", limits=limits, accelerator=Accelerator.TCG)
    assert boot.end is End.QEMU
    assert any("no-such-kernel" in line for line in boot.lines)


def test_a_qemu_that_is_killed_is_not_the_guests_fault(tmp_path: Path) -> None:
    def kill() -> None:
        while not (found := _processes(str(tmp_path))):
            time.sleep(0.1)
        time.sleep(2)
        os.kill(found[0], signal.SIGTERM)

    killer = threading.Thread(target=kill)
    killer.start()
    boot = run(tmp_path, WAIT)
    killer.join()
    assert boot.end is End.QEMU
    assert "signal" in boot.message


def test_credentials_stay_out_of_the_command_line(tmp_path: Path) -> None:
    hardware = Hardware(credentials=(("canary", b"canary-3141"),), firmware=Firmware.BIOS)
    argv = qemu.command(hardware, Accelerator.TCG, tmp_path, tmp_path / "console.log")
    assert not [word for word in argv if "canary" in word.replace(str(tmp_path), "")]
    (file,) = tmp_path.glob("credential-*")
    assert file.stat().st_mode & 0o077 == 0


def test_kvm_is_believed_only_after_a_guest_ran() -> None:
    accelerator, why = qemu.find_accelerator()
    assert why
    assert accelerator is Accelerator.TCG or os.access("/dev/kvm", os.W_OK)
    assert qemu.find_accelerator(device=Path("/dev/no-such-device"))[0] is Accelerator.TCG
