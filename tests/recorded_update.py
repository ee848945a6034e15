"""A node in QEMU that starts from its disk, carries out one program as root and switches itself off in order; every write is logged.

The kernel is started by QEMU with the arguments of the disk's own boot entry, and systemd runs the program instead of the apps
(systemd-run-generator(8)): the booted deployment, its libostree and the finalization at shutdown are the node's own, and a start costs a
minute less where instructions are translated.
"""

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


def make_medium(content: Path, target: Path) -> Path:
    """A disk that the guest finds at FOLDER, with what a folder holds; `program` there is what is carried out."""
    size = sum(path.stat().st_size for path in content.rglob("*") if path.is_file())
    mke2fs, room = process.require("mke2fs", "e2fsprogs"), f"{(size >> 20) * 5 // 4 + 16}m"
    process.run([mke2fs, "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-L", LABEL, "-d", str(content), str(target), room])
    return target


def carry_out(
    disk: Path, kernel: Path, initrd: Path, options: str, medium: Path, logs: Path, *, writes: Path | None = None, seconds: float = 1800
) -> float:
    """Start the node, which changes DISK (qcow2), and wait for its end; returns the seconds that it took.

    `writes` receives the log of the disk's writes. Raises AssertionError with the console's last lines when the program did not succeed.
    """
    logs.mkdir(parents=True, exist_ok=True)
    console = logs / "console.log"
    argument = f"systemd.mount-extra=LABEL={LABEL}:{FOLDER}:ext4:ro systemd.run={FOLDER}/program systemd.run_success_action=poweroff"
    patience = "systemd.default_device_timeout_sec=900 systemd.default_timeout_start_sec=900"
    command_line = f"{options} {argument} systemd.run_failure_action=poweroff {patience}"
    hardware = Hardware(kernel=kernel, initrd=initrd, command_line=command_line, firmware=Firmware.BIOS, processors=1, watchdog=False)
    accelerator = qemu.find_accelerator()[0]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="aistack-") as name:
        folder = Path(name)
        argv = [*qemu.command(hardware, accelerator, folder, console.resolve()), *_disks(disk, medium, writes)]
        with ExitStack() as stack:
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
    return [
        *("-blockdev", json.dumps({**node, "node-name": "disk"}), "-device", "virtio-blk-pci,drive=disk,request-merging=off"),
        *("-blockdev", json.dumps(second), "-device", "virtio-blk-pci,drive=medium"),
    ]
