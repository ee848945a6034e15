"""QEMU's command line: which accelerator really works here, which firmware is installed, which devices a boot test needs."""

from __future__ import annotations

import base64
import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from enum import StrEnum
from pathlib import Path

from aistack.diagnostics import DiagnosticError, unable
from aistack.host import process
from aistack.values import dataclass

BINARY = "qemu-system-x86_64"
REPORT_PORT = "org.aistack.report"
EXIT_PORT, EXIT_CODE = 0xF4, 123
"""A byte b written to the port ends QEMU with (b << 1) | 1; the node writes 0x3d at the end of a completed report."""

OWNER = "605dab50-e046-4300-abb6-3dd810dd8b23"
"""Who put a certificate into the firmware's lists: shim's own GUID, as mokutil has it."""

# mov dx, 0xf4; mov al, 0x3d; out dx, al; hlt; jmp $-1: a whole operating system that ends QEMU with 123.
PROBE = bytes.fromhex("baf400b03deef4ebfd").ljust(510, b"\0") + b"\x55\xaa"

FIRMWARE = (
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
)
SECURE_FIRMWARE = (("/usr/share/OVMF/OVMF_CODE_4M.ms.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"),)


class Firmware(StrEnum):
    """How the machine starts; `UEFI_SECURE` is UEFI with Secure Boot and Microsoft's keys."""

    UEFI = "uefi"
    UEFI_SECURE = "uefi-secure"
    BIOS = "bios"


class Accelerator(StrEnum):
    """KVM runs the guest's code on the processor; TCG translates it, some ten times slower."""

    KVM = "kvm"
    TCG = "tcg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The virtual machine: `disk` and `kernel` are what it starts (either may be absent), `forwards` are the guest's TCP ports to reach.

    `credentials` go in by SMBIOS through files, so that none of them shows in a list of processes. `trusted` are certificates (PEM) that
    the machine's owner has enrolled: with `UEFI_SECURE`, what they sign counts beside what Microsoft and Debian sign.
    """

    disk: Path | None = None
    disk_format: str = "raw"
    kernel: Path | None = None
    initrd: Path | None = None
    command_line: str = ""
    firmware: Firmware = Firmware.UEFI
    memory_mib: int = 2048
    processors: int = 2
    forwards: tuple[int, ...] = ()
    credentials: tuple[tuple[str, bytes], ...] = ()
    trusted: tuple[str, ...] = ()
    watchdog: bool | None = None

    @property
    def exit_code(self) -> int:
        """QEMU's at the end of a completed report. A kernel under Secure Boot lets nobody write to ports: then it is a power off."""
        return 0 if self.firmware is Firmware.UEFI_SECURE else EXIT_CODE


def find_accelerator(device: Path = Path("/dev/kvm"), processors: Path = Path("/proc/cpuinfo")) -> tuple[Accelerator, str]:
    """The accelerator to use and why: KVM only where a guest has really run on it a moment ago."""
    if not device.exists():
        return Accelerator.TCG, f"{device} does not exist"
    if not os.access(device, os.R_OK | os.W_OK):
        return Accelerator.TCG, f"{device} may not be opened by this user (join the group `kvm`)"
    flags = next((line.split() for line in processors.read_text().splitlines() if line.startswith("flags")), [])
    if not {"vmx", "svm"} & set(flags):
        # Without them KVM may still open and even create a machine, and then interpret it until it meets an instruction it cannot.
        return Accelerator.TCG, f"{device} opens, but the processor offers neither vmx nor svm"
    with tempfile.TemporaryDirectory(prefix="aistack-") as folder:
        disk = Path(folder) / "probe.raw"
        disk.write_bytes(PROBE)
        argv = [
            *(BINARY, "-accel", "kvm", "-cpu", "host", "-m", "64", "-nodefaults", "-no-user-config", "-display", "none"),
            *("-device", f"isa-debug-exit,iobase={EXIT_PORT:#x},iosize=0x04", "-drive", f"file={disk},format=raw,if=ide"),
        ]
        try:
            done = process.run(argv, check=False, timeout=20)
        except DiagnosticError as error:
            return Accelerator.TCG, f"a probe under KVM failed: {error}"
    if done.returncode != EXIT_CODE:
        said = done.stderr.strip().splitlines()
        return Accelerator.TCG, f"a probe under KVM ended with {done.returncode}: {said[-1] if said else 'nothing was said'}"
    return Accelerator.KVM, f"{device} ran a probe"


def find_firmware(firmware: Firmware) -> tuple[Path, Path]:
    """OVMF's code and the template of its variables; exit 3 where it is not installed."""
    places = SECURE_FIRMWARE if firmware is Firmware.UEFI_SECURE else FIRMWARE
    for code, variables in places:
        if Path(code).exists() and Path(variables).exists():
            return Path(code), Path(variables)
    raise unable(
        "QEM001", "firmware-missing", "UEFI firmware for QEMU is not installed",
        why=tuple(f"no {code}" for code, _ in places),
        hints=("apt-get install ovmf", "or boot by BIOS: `--firmware bios`"),
    )  # fmt: skip


def command(hardware: Hardware, accelerator: Accelerator, folder: Path, console: Path) -> list[str]:
    """QEMU's argv; sockets, variables and credentials are files in `folder` (a short path: unix sockets allow 107 bytes).

    The machine waits for `cont` on the control socket, so that nothing is said before somebody listens.
    """
    secure = hardware.firmware is Firmware.UEFI_SECURE
    argv = [process.require(BINARY, "qemu-system-x86"), "-S", "-nodefaults", "-no-user-config", "-display", "none"]
    argv += ["-machine", "q35,smm=on" if secure else "q35" if hardware.firmware is Firmware.UEFI else "pc,graphics=off"]
    if accelerator is Accelerator.KVM:
        argv += ["-accel", "kvm", "-cpu", "host"]
    else:
        # QEMU 7.2 corrupts flags in cmpxchg16b when it translates for several processors at once: random oopses in the guest's kernel.
        argv += ["-accel", "tcg,thread=multi", "-cpu", "max,-cx16"]
    argv += ["-smp", str(hardware.processors), "-m", str(hardware.memory_mib)]
    if hardware.firmware is not Firmware.BIOS:
        code, variables = find_firmware(hardware.firmware)
        own = folder / "variables.fd"
        _make_variables(hardware.trusted if secure else (), variables, own)
        if secure:
            argv += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
        argv += ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={code}"]
        argv += ["-drive", f"if=pflash,format=raw,unit=1,file={own}"]
    if hardware.disk is not None:
        argv += ["-drive", f"if=virtio,format=qcow2,cache=unsafe,discard=unmap,file={folder / 'overlay.qcow2'}"]
    if hardware.kernel is not None:
        argv += ["-kernel", str(hardware.kernel), "-append", hardware.command_line]
        if hardware.initrd is not None:
            argv += ["-initrd", str(hardware.initrd)]
    # Port 0: the system chooses a free one, so that machines beside each other do not collide.
    forwards = "".join(f",hostfwd=tcp:127.0.0.1:0-:{port}" for port in hardware.forwards)
    argv += ["-netdev", f"user,id=net,ipv6=off{forwards}", "-device", "virtio-net-pci,netdev=net,romfile="]
    argv += ["-object", "rng-random,id=random,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=random"]
    argv += ["-chardev", f"file,id=console,path={console}", "-serial", "chardev:console"]
    argv += ["-chardev", f"socket,id=report,path={folder / 'report'},server=on,wait=off"]
    argv += ["-device", "virtio-serial-pci", "-device", f"virtserialport,chardev=report,name={REPORT_PORT}"]
    argv += ["-qmp", f"unix:{folder / 'qmp'},server=on,wait=off"]
    argv += ["-device", f"isa-debug-exit,iobase={EXIT_PORT:#x},iosize=0x04", "-device", "pvpanic"]
    # A busy host that translates can keep the guest from its watchdog for a minute: then it is there only where it is asked for.
    if hardware.watchdog or (hardware.watchdog is None and accelerator is Accelerator.KVM):
        argv += ["-device", "i6300esb", "-action", "watchdog=reset"]
    return argv + _credentials(hardware.credentials, folder)


def _credentials(credentials: Sequence[tuple[str, bytes]], folder: Path) -> list[str]:
    """https://systemd.io/CREDENTIALS/ by SMBIOS type 11 strings."""
    argv: list[str] = []
    for number, (name, value) in enumerate(credentials):
        file = folder / f"credential-{number}"
        file.touch(mode=0o600)
        file.write_text(f"io.systemd.credential.binary:{name}={base64.b64encode(value).decode()}")
        argv += ["-smbios", f"type=11,path={file}"]
    return argv


def _make_variables(trusted: Sequence[str], template: Path, target: Path) -> None:
    """The firmware's variables: the template's, and the certificates where `mokutil --import` and a yes at the console put them."""
    if not trusted:
        shutil.copyfile(template, target)
        return
    if importlib.util.find_spec("virt") is None:
        message, hints = "virt-firmware is not installed", ("pip install virt-firmware", "apt-get install python3-virt-firmware")
        raise unable("QEM003", "certificate-not-enrolled", message, hints=hints)
    argv = [sys.executable, "-m", "virt.firmware.vars", "--input", str(template), "--output", str(target)]
    for number, certificate in enumerate(trusted):
        file = target.with_name(f"owner-{number}.pem")
        file.write_text(certificate)
        argv += ["--add-mok", OWNER, str(file)]
    process.run(argv)


def make_overlay(hardware: Hardware, folder: Path) -> None:
    """A layer over the disk that takes every write, so that the disk itself is never changed."""
    if hardware.disk is None:
        return
    tool = process.require("qemu-img", "qemu-utils")
    backing = ["-b", str(hardware.disk.resolve()), "-F", hardware.disk_format]
    process.run([tool, "create", "-q", "-f", "qcow2", *backing, str(folder / "overlay.qcow2")])


def forwarded(usernet: str) -> Mapping[int, int]:
    """From the monitor's `info usernet`: the guest's TCP ports and the host's ports that reach them."""
    found = {}
    for line in usernet.splitlines():
        words = line.split()
        if words and words[0] == "TCP[HOST_FORWARD]":
            found[int(words[5])] = int(words[3])
    return found
