"""A node in QEMU that carries out one program as root and switches itself off in order; every write of its disk can be logged."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from aistack.host import process, qemu
from aistack.host.qemu import Firmware, Hardware
from aistack.host.qmp import Qmp, connect

LABEL = "medium"
FOLDER = "/run/medium"
DONE = "program: done"
"""What a program says on the console when it succeeded."""

ONLY = (
    f"systemd.mount-extra=LABEL={LABEL}:{FOLDER}:ext4:ro systemd.run={FOLDER}/program systemd.run_success_action=poweroff "
    "systemd.run_failure_action=poweroff systemd.default_device_timeout_sec=900 systemd.default_timeout_start_sec=900"
)
"""For the kernel: systemd runs the program instead of everything that multi-user.target wants (systemd-run-generator(8))."""

AFTERWARDS = f"""\
[Unit]
DefaultDependencies=no
Requires=boot-complete.target
After=boot-complete.target aistack-clean.service
SuccessAction=poweroff
FailureAction=poweroff
[Service]
Type=oneshot
ExecStartPre=mkdir -p {FOLDER}
ExecStartPre=mount -o ro LABEL={LABEL} {FOLDER}
ExecStart={FOLDER}/program
TimeoutStartSec=1800
"""
"""The program once both gates have passed: a unit that comes as a credential (systemd-debug-generator(8))."""


def make_medium(content: Path, target: Path) -> Path:
    """A disk that the guest finds at FOLDER, with what a folder holds; `program` there is what is carried out."""
    size = sum(path.stat().st_size for path in content.rglob("*") if path.is_file())
    mke2fs, room = process.require("mke2fs", "e2fsprogs"), f"{(size >> 20) * 5 // 4 + 16}m"
    process.run([mke2fs, "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-L", LABEL, "-d", str(content), str(target), room])
    return target


def only_the_program(kernel: Path, initrd: Path, arguments: str) -> Hardware:
    """A machine that starts at the kernel, without firmware, and in which nothing but the program runs: that spares some minutes."""
    return Hardware(kernel=kernel, initrd=initrd, command_line=f"{arguments} {ONLY}", firmware=Firmware.BIOS, processors=1, watchdog=False)


def the_whole_node(firmware: Firmware) -> Hardware:
    """A machine that starts from its disk as any node does; the program runs when both gates have passed."""
    units = (
        ("systemd.extra-unit.program.service", AFTERWARDS.encode()),
        ("systemd.unit-dropin.multi-user.target", b"[Unit]\nWants=program.service\n"),
    )
    return Hardware(firmware=firmware, processors=1, watchdog=False, credentials=units)


def carry_out(hardware: Hardware, disk: Path, medium: Path, logs: Path, *, writes: Path | None = None, seconds: float = 2400) -> float:
    """Start the machine, which changes DISK (qcow2), and wait for its end; returns the seconds that it took.

    `writes` receives the log of the disk's writes. Raises AssertionError with the console's last lines when the program did not succeed.
    """
    logs.mkdir(parents=True, exist_ok=True)
    console = logs / "console.log"
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="aistack-") as name, ExitStack() as stack:
        folder = Path(name)
        argv = [*qemu.command(hardware, qemu.find_accelerator()[0], folder, console.resolve()), *_disks(disk, medium, writes)]
        running = stack.enter_context(process.background(argv, log=logs / "qemu.log"))
        qmp = stack.enter_context(Qmp(connect(folder / "qmp", alive=lambda: running.poll() is None)))
        qmp.execute("qmp_capabilities")
        qmp.execute("cont")
        with suppress(subprocess.TimeoutExpired):
            running.wait(timeout=seconds)
    said = console.read_text(errors="replace")
    assert running.returncode == 0 and DONE in said, (running.returncode, said[-4000:], (logs / "qemu.log").read_text())
    return time.monotonic() - started


def _disks(disk: Path, medium: Path, writes: Path | None) -> list[str]:
    # The host's own cache is not flushed: a guest's flush has to reach the log, and nothing else.
    cache = {"no-flush": True}
    node: dict[str, object] = {"driver": "qcow2", "file": {"driver": "file", "filename": str(disk), "cache": cache}, "cache": cache}
    if writes is not None:
        writes.write_bytes(b"")
        node = {"driver": "blklogwrites", "file": node, "log": {"driver": "file", "filename": str(writes), "cache": cache}}
    second = {"driver": "raw", "node-name": "medium", "read-only": True, "file": {"driver": "file", "filename": str(medium)}}
    # Merged requests have as many parts as one write may have, and the log's own come beside them: such a write fails.
    return [
        *("-blockdev", json.dumps({**node, "node-name": "disk"}), "-device", "virtio-blk-pci,drive=disk,request-merging=off"),
        *("-blockdev", json.dumps(second), "-device", "virtio-blk-pci,drive=medium"),
    ]
