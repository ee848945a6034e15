"""What in an image must fit together: a healthy one with a driver, one fault planted at a time, and the check that names it."""

from __future__ import annotations

import lzma
from pathlib import Path

import elf_samples
import pytest
from images_read import Files, healthy, owned, read
from kernel_samples import (
    CLAIM,
    DRIVER,
    EXT4,
    FIRMWARE,
    FOLDER,
    JBD2,
    KERNEL,
    LIBRARIES,
    MODULES,
    NAMES,
    NOUVEAU,
    NVIDIA,
    OTHER_CLAIM,
    at,
    driver,
    driver_module,
    index,
    initramfs,
    module,
    program,
    tree,
)

from aistack.compose import checks
from aistack.compose.checks import layers
from aistack.compose.checks.expected import Expected
from aistack.compose.findings import Finding, Outcome
from aistack.compose.verify import verify_image
from aistack.facts.filesystem import Filesystem

EXPECTED = Expected(driver=DRIVER, pci_ids=("10de:27b8",))
CONTAINERS = "/etc/containers"
UDEV, UNIT, CDI = "/usr/lib/udev/rules.d/70-a.rules", "/usr/lib/systemd/system/a.service", "/etc/cdi/nvidia.json"
UPDATE = FIRMWARE.replace("/firmware/", f"/firmware/updates/{KERNEL}/")
OLDER = elf_samples.firmware("535.247.01")
PTX = "libnvidia-ptxjitcompiler.so"
START_TOOL = b"[Service]\nExecStart=tool\n[Install]\n"
DPKG = "/usr/lib/sysimage/dpkg"
TOOLS = b"auto\n/usr/bin/tools\nsmi\n/usr/bin/smi\nnobody\n/usr/bin/nobody\n\n/usr/lib/a/tools\n50\n/usr/lib/a/smi\n\n\n"
"""What update-alternatives(1) writes."""
AARCH64 = 183
FOREIGN = elf_samples.binary(machine=AARCH64, behind=f"\0{DRIVER}\0".encode())
SHARED = driver_module()[:16] + (3).to_bytes(2, "little") + driver_module()[18:]

AHEAD: Files = {
    "/usr/lib/modules/7.3.4/vmlinuz": elf_samples.kernel("7.3.4"),
    "/usr/lib/modules/7.3.4/kernel/a.ko": module("a", packed=False, vermagic="7.3.4 SMP"),
}
"""A newer kernel beside the one that has the driver, as DKMS leaves it where the driver does not compile."""

FAULTS: list[tuple[str, Files, str]] = [
    ("readable-binaries", at(EXT4, MODULES[EXT4][:-40]), f"{FOLDER}/{EXT4}: it ends before what is compressed in it does"),
    ("readable-binaries", at(EXT4, lzma.compress(b"no module")), f"{FOLDER}/{EXT4}: what it holds is not what its name says"),
    ("readable-binaries", at(NVIDIA, driver_module()[:-400]), "it ends before its table of sections does"),
    ("readable-binaries", at("vmlinuz", elf_samples.kernel(KERNEL)[:-9]), "vmlinuz: it ends before the kernel inside it does"),
    ("readable-binaries", at("vmlinuz", b"kernel"), "vmlinuz: it has no header of a kernel"),
    ("readable-binaries", at("initramfs.img", initramfs({})[:-30]), "initramfs.img: it ends within an archive"),
    ("readable-binaries", at("initramfs.img", b"070701" + b"z" * 200), "initramfs.img: it holds an archive whose numbers are none"),
    ("readable-binaries", {"/usr/bin/tool": program()[:-20]}, "/usr/bin/tool: it ends before its segments do"),
    ("readable-binaries", {FIRMWARE: b""}, f"{FIRMWARE}: it cannot be parsed"),
    ("readable-binaries", {FIRMWARE: b"firmware" * 99}, f"{FIRMWARE}: it cannot be parsed"),
    ("readable-binaries", {FIRMWARE: elf_samples.firmware(DRIVER)[:-1]}, f"{FIRMWARE}: it ends before its table of sections does"),
    ("readable-binaries", {f"{FIRMWARE}.xz": elf_samples.firmware(DRIVER)}, f"{FIRMWARE}.xz: it is not compressed as its name says"),
    ("readable-binaries", {f"{FIRMWARE}.zst": lzma.compress(b"")}, f"{FIRMWARE}.zst: it is not compressed as its name says"),
    ("readable-binaries", {f"{FIRMWARE}.xz": lzma.compress(b"firmware")}, f"{FIRMWARE}.xz: it cannot be parsed"),
    ("readable-binaries", {UPDATE: b"firmware"}, f"{UPDATE}: it cannot be parsed"),
    ("readable-binaries", at("initramfs.img", initramfs({}, more={FIRMWARE: b""})), f"initramfs.img: {FIRMWARE}: it cannot be parsed"),
    ("readable-binaries", {f"{LIBRARIES}/libcuda.so.{DRIVER}": b""}, f"libcuda.so.{DRIVER}: it cannot be parsed"),
    ("readable-binaries", {f"{LIBRARIES}/libnvidia-ptxjitcompiler.so.{DRIVER}": b"text"}, "it cannot be parsed"),
    ("readable-binaries", {f"{LIBRARIES}/libcuda.so.{DRIVER}": elf_samples.module("x")}, "it is neither a program nor a library"),
    ("readable-binaries", {"/usr/bin/nvidia-smi": b"text"}, "/usr/bin/nvidia-smi: it cannot be parsed"),
    ("readable-binaries", {"/usr/lib/nvidia/current/nvidia-smi": b""}, "/usr/lib/nvidia/current/nvidia-smi: it cannot be parsed"),
    ("readable-binaries", at(NVIDIA, SHARED), f"{FOLDER}/{NVIDIA}: it is no relocatable file, as modules are"),
    ("architecture", at("vmlinuz", elf_samples.flat_kernel(KERNEL)), f"{FOLDER}/vmlinuz is for aarch64, the image for amd64"),
    ("architecture", at(NVIDIA, driver_module(machine=AARCH64)), f"{FOLDER}/{NVIDIA} is for aarch64, the image for amd64"),
    (
        "architecture",
        at("initramfs.img", initramfs({NVIDIA: driver_module(machine=AARCH64)})),
        f"initramfs.img: {FOLDER}/{NVIDIA} is for aarch64",
    ),
    ("architecture", at("initramfs.img", initramfs({}, more={"init": FOREIGN})), "initramfs.img: /init is for aarch64"),
    ("architecture", {f"{LIBRARIES}/libcuda.so.{DRIVER}": FOREIGN}, f"{LIBRARIES}/libcuda.so.{DRIVER} is for aarch64"),
    (
        "architecture",
        {f"{LIBRARIES}/.wh.libcuda.so.{DRIVER}": b"", f"/usr/lib/aarch64-linux-gnu/libcuda.so.{DRIVER}": FOREIGN},
        f"libcuda.so.{DRIVER} is for aarch64 alone",
    ),
    ("architecture", {"/usr/bin/podman": FOREIGN}, "/usr/bin/podman is for aarch64, the image for amd64"),
    ("architecture", {"/usr/bin/tool": "../lib/own/tool", "/usr/lib/own/tool": FOREIGN}, "/usr/bin/tool is for aarch64"),
    (
        "architecture",
        {UNIT: b"[Service]\nExecStart=-/usr/lib/own/tool\n[Install]\n", "/usr/lib/own/tool": FOREIGN},
        "/usr/lib/own/tool is for aarch64",
    ),
    (
        "one-kernel-tree",
        {"/usr/lib/modules/6.1.0/updates/nvidia.ko": driver_module()},
        "/usr/lib/modules/6.1.0 has 1 modules and no kernel",
    ),
    ("one-kernel-tree", {"/usr/lib/modules/6.1.0/vmlinuz": elf_samples.kernel("6.1.0")}, f"kernels: 6.1.0, {KERNEL}"),
    ("kernel-version", at("vmlinuz", elf_samples.kernel("6.12.106")), "vmlinuz says that it is 6.12.106"),
    ("vermagic", at(NVIDIA, driver_module(vermagic=f"{KERNEL} SMP mod_unload")), f"{NVIDIA} was built for `{KERNEL} SMP mod_unload`"),
    ("vermagic", at(EXT4, module("ext4", vermagic="6.12.106 SMP")), f"{EXT4} was built for `6.12.106 SMP`"),
    ("vermagic", at(NVIDIA, driver_module(size=128)), f"{NVIDIA} has a `struct module` of 128 bytes, the kernel's own have 64"),
    ("module-symbols", at(NVIDIA, driver_module(needs={"vanished": 1})), f"{NVIDIA} needs what nothing exports: vanished"),
    (
        "module-symbols",
        at(NVIDIA, driver_module(needs={"printk": 0x12})),
        "against other versions of printk (0x00000012, exported is 0x00000011)",
    ),
    ("module-symbols", at(NVIDIA, driver_module(needs={"printk": 0x12}, newer_versions=True)), "against other versions of printk"),
    ("module-symbols", at(NVIDIA, driver_module(needs={"printk": None})), f"{NVIDIA} states no checksum for printk"),
    ("module-symbols", at(NVIDIA, driver_module(needs={"jbd2_start": 1})), "jbd2_start (0x00000001, exported is 0x00000055)"),
    ("module-symbols", {f"{FOLDER}/kernel/fs/jbd2/.wh.jbd2.ko.xz": b""}, f"{EXT4} needs what nothing exports: jbd2_start"),
    (
        "module-terms",
        at(NVIDIA, driver_module(needs={"register_disk": 0x33}, more=[("license", "NVIDIA")])),
        "for GPL modules only: register_disk",
    ),
    (
        "module-terms",
        at(NVIDIA, driver_module(needs={"jbd2_start": 0x55}, more=[("license", "NVIDIA")])),
        "for GPL modules only: jbd2_start",
    ),
    ("module-terms", at(NVIDIA, driver_module(needs={"pin_pages": 0x44})), f"{NVIDIA} does not import the namespace PINNING"),
    ("module-indexes", {"/.wh.lib": b""}, f"modprobe looks in /lib/modules, which does not lead to {FOLDER}"),
    ("module-indexes", {"/lib": "usr/lib64"}, f"modprobe looks in /lib/modules, which does not lead to {FOLDER}"),
    ("module-indexes", at("modules.dep", b""), f"modules.dep does not know {EXT4}"),
    (
        "module-indexes",
        at("modules.dep", tree()[f"{FOLDER}/modules.dep"] + b"kernel/gone.ko:\n"),
        "names kernel/gone.ko, which is not there",
    ),
    ("module-indexes", at("modules.dep", f"{EXT4}:\n".encode()), f"is not current: {EXT4} needs {JBD2}"),
    ("module-indexes", at("modules.dep.bin", index([])), f"modules.dep.bin does not know {EXT4}"),
    ("module-indexes", at("modules.dep.bin", b"\xb0\x07\xf4\x57\0"), "modules.dep.bin: it is damaged"),
    ("module-indexes", at("modules.dep.bin", index([("a", "b")])[:-9]), "modules.dep.bin: it is damaged"),
    ("module-indexes", at("modules.alias", b""), "modules.alias does not know that ext4 is for fs_ext4"),
    ("module-indexes", at("modules.alias.bin", index([("gone", "none")])), "modules.alias.bin names none for gone"),
    (
        "module-indexes",
        {f"{FOLDER}/.wh.modules.alias": b"", f"{FOLDER}/.wh.modules.alias.bin": b""},
        f"{FOLDER}/modules.alias is not there",
    ),
    ("initramfs-modules", at("initramfs.img", initramfs({JBD2: module("jbd2")})), f"{JBD2} is not the one that lies outside"),
    ("initramfs-modules", at("initramfs.img", initramfs({EXT4: MODULES[EXT4]})), f"{EXT4} needs {JBD2}, which is not inside"),
    ("initramfs-modules", at("initramfs.img", initramfs(MODULES, "6.12.106")), f"is of another kernel than {KERNEL}"),
    (
        "initramfs-modules",
        at("initramfs.img", initramfs({NVIDIA: driver_module(more=[("version", "550.90.07")])})),
        f"{NVIDIA} is not the one that lies outside (550.90.07, {DRIVER} outside)",
    ),
    (
        "initramfs-modules",
        at("initramfs.img", initramfs({"updates/x.ko": module("x", packed=False)})),
        "updates/x.ko is not among the kernel's",
    ),
    (
        "initramfs-modules",
        at("initramfs.img", initramfs({JBD2: MODULES[JBD2]}, more={f"{FOLDER[1:]}/modules.dep": b""})),
        f"initramfs.img: {FOLDER}/modules.dep does not know {JBD2}",
    ),
    ("initramfs-start", at("initramfs.img", initramfs({EXT4: MODULES[EXT4]}, starts={})), "initramfs.img: /init is not there"),
    ("driver-versions", at(NVIDIA, driver_module(more=[("version", "550.90.07"), ("alias", CLAIM)])), f"{NVIDIA} is of 550.90.07"),
    (
        "driver-versions",
        at("updates/nvidia.ko", driver_module(more=[("version", "535.1.2"), ("alias", CLAIM)])),
        "updates/nvidia.ko is of 535.1.2",
    ),
    ("driver-versions", {f"{LIBRARIES}/libcuda.so.{DRIVER}": elf_samples.binary(behind=b"\x00550.90.07\0")}, "but 550.90.07"),
    ("driver-versions", {f"{LIBRARIES}/libnvidia-ptxjitcompiler.so.550.90.07": elf_samples.binary()}, "is of 550.90.07, the driver is"),
    (
        "driver-versions",
        {f"{LIBRARIES}/{PTX}.{DRIVER}": elf_samples.binary(), f"{LIBRARIES}/{PTX}.1": elf_samples.binary(soname=f"{PTX}.1")},
        f"{LIBRARIES}/{PTX}.1 is a file of its own, and not {LIBRARIES}/{PTX}.{DRIVER}",
    ),
    (
        "driver-versions",
        {f"{LIBRARIES}/libcuda.so.1": elf_samples.binary(behind=f"\0{DRIVER}\0other".encode())},
        f"{LIBRARIES}/libcuda.so.1 is a file of its own, and not {LIBRARIES}/libcuda.so.{DRIVER}",
    ),
    (
        "driver-versions",
        {f"{LIBRARIES}/libnvidia-nvvm.so.4": elf_samples.binary(behind=b"\x00535.54.14\0")},
        f"{LIBRARIES}/libnvidia-nvvm.so.4 is of 535.54.14, the driver is {DRIVER}",
    ),
    ("driver-versions", {f"{LIBRARIES}/.wh.{PTX}.{DRIVER}": b""}, f"there is no {PTX}.{DRIVER}"),
    ("driver-versions", {f"{LIBRARIES}/.wh.{PTX}.1": b""}, f"{PTX}.1, as programs load it, leads to no file"),
    ("driver-versions", {f"{LIBRARIES}/.wh.libcuda.so.{DRIVER}": b""}, f"there is no libcuda.so.{DRIVER}"),
    ("driver-versions", {f"{LIBRARIES}/.wh.libcuda.so.1": b""}, "libcuda.so.1, as programs load it, leads to no file"),
    ("driver-versions", {f"{LIBRARIES}/libnvidia-ml.so.1": "/etc/alternatives/gone"}, "libnvidia-ml.so.1, as programs load it, leads"),
    (
        "driver-versions",
        {f"{LIBRARIES}/libcuda.so.1": f"libnvidia-ml.so.{DRIVER}"},
        f"libcuda.so.1 leads to {LIBRARIES}/libnvidia-ml.so.{DRIVER}",
    ),
    ("driver-versions", {f"{LIBRARIES}/libcuda.so.1": b""}, f"libcuda.so.1, which is not the libcuda.so.1 of {DRIVER}"),
    (
        "driver-versions",
        {f"{LIBRARIES}/{PTX}.1": "/etc/alternatives/ptx", "/etc/alternatives/ptx": b""},
        f"{PTX}.1 leads to /etc/alternatives/ptx, which is not the {PTX}.1",
    ),
    (
        "driver-versions",
        {f"{LIBRARIES}/libnvidia-ml.so.1": "../own/ml.so", "/usr/lib/own/ml.so": elf_samples.binary(soname="libnvidia-ml.so.1")},
        "libnvidia-ml.so.1 leads to /usr/lib/own/ml.so, which is not",
    ),
    ("driver-versions", {f"{FOLDER}/updates/dkms/.wh.nvidia-current-uvm.ko": b""}, f"{FOLDER} has no nvidia-uvm, without which no"),
    ("driver-versions", AHEAD, "/usr/lib/modules/7.3.4 has a kernel, and no module of the driver"),
    ("driver-versions", {"/usr/bin/nvidia-smi": program(behind=b"\x00535.247.01\0")}, "/usr/bin/nvidia-smi does not hold"),
    ("driver-versions", {"/usr/bin/nvidia-persistenced": program(behind=b"\x00535.247.01\0")}, "nvidia-persistenced is of another branch"),
    ("driver-versions", {FIRMWARE: elf_samples.firmware("550.90.07")}, f"{FIRMWARE} does not hold the version {DRIVER}, but 550.90.07"),
    ("driver-versions", {FIRMWARE.replace(DRIVER, "550.90.07"): elf_samples.firmware("550.90.07")}, "gsp_ga10x.bin is of 550.90.07"),
    ("driver-versions", {f"{FIRMWARE}.xz": lzma.compress(OLDER)}, f"{FIRMWARE}.xz does not hold the version {DRIVER}, but 535.247.01"),
    ("driver-versions", {UPDATE: OLDER}, f"{UPDATE} does not hold the version {DRIVER}, but 535.247.01"),
    (
        "driver-versions",
        at("initramfs.img", initramfs({}, more={FIRMWARE: OLDER})),
        f"initramfs.img: {FIRMWARE} does not hold the version {DRIVER}, but 535.247.01",
    ),
    (
        "driver-versions",
        at("initramfs.img", initramfs({}, more={FIRMWARE.replace(DRIVER, "535.247.01"): OLDER})),
        "gsp_ga10x.bin is of 535.247.01, the driver is",
    ),
    ("module-firmware", {f"{FIRMWARE.rpartition('/')[0]}/.wh.gsp_ga10x.bin": b""}, f"{NVIDIA} asks for nvidia/{DRIVER}/gsp_ga10x.bin"),
    (
        "driver-rivals",
        {"/etc/modprobe.d/nvidia.conf": b"", "/usr/lib/modprobe.d/nouveau.conf": b""},
        "nouveau is for the same devices, and not blacklisted",
    ),
    ("driver-rivals", {"/etc/modprobe.d/nouveau.conf": b"", "/etc/modprobe.d/nvidia.conf": b""}, "nouveau is for the same devices"),
    (
        "driver-rivals",
        at("initramfs.img", initramfs({NOUVEAU: MODULES[NOUVEAU]})),
        "nouveau is for the same devices, and in the initramfs",
    ),
    (
        "driver-rivals",
        at("modules.builtin.modinfo", f"nova_core.alias={OTHER_CLAIM}\0".encode()),
        "nova_core is for the same devices, and built into",
    ),
    (
        "driver-rivals",
        at("kernel/drivers/gpu/nova.ko", module("nova", packed=False, more=[("alias", CLAIM)])),
        "nova is for the same devices",
    ),
    (
        "driver-rivals",
        {f"{FOLDER}/updates/.wh.dkms": b"", f"{FOLDER}/kernel/drivers/.wh.gpu": b""},
        "no module is for the accelerator 10de:27b8",
    ),
    ("driver-enabled", {"/etc/modprobe.d/off.conf": b"blacklist nvidia\n"}, "nvidia is blacklisted"),
    ("driver-enabled", {"/usr/lib/bootc/kargs.d/20.toml": b'kargs = ["module_blacklist=nvidia"]\n'}, "nvidia is blacklisted"),
    (
        "driver-enabled",
        {"/etc/modprobe.d/off.conf": b"install nvidia-current /bin/false\n"},
        "nvidia_current is never loaded: modprobe runs `/bin/false`",
    ),
    (
        "driver-enabled",
        {"/etc/modprobe.d/a.conf": b"install nvidia modprobe -i nvidia-tesla\n"},
        "modprobe loads nvidia_tesla in the place of nvidia",
    ),
    ("library-needs", {"/usr/bin/tool": program(needed=["libgone.so.1"])}, "/usr/bin/tool needs libgone.so.1"),
    (
        "unit-programs",
        {UNIT: b"[Service]\nExecStart=@/usr/bin/gone a b\n[Install]\nWantedBy=a.target\n"},
        f"{UNIT}: ExecStart names /usr/bin/gone",
    ),
    (
        "unit-programs",
        {UNIT: b"[Service]\nExecStart=gone\n", "/etc/systemd/system/a.target.wants/a.service": UNIT},
        "names gone, which is not there",
    ),
    (
        "unit-programs",
        {UNIT: b"[Service]\nExecStart=/bin/dash\n[Install]\n", f"{UNIT}.d/a.conf": b"[Service]\nExecStartPost=/usr/sbin/gone\n"},
        f"{UNIT}.d/a.conf: ExecStartPost names /usr/sbin/gone",
    ),
    (
        "unit-programs",
        {UNIT: b"[Service]\n ExecStart = /usr/bin/gone\n[Install]\n"},
        f"{UNIT}: ExecStart names /usr/bin/gone, which is not",
    ),
    (
        "unit-programs",
        {UNIT: b"[Service]\nExecStart=gone\n", "/usr/lib/systemd/system/b.service": b"[Unit]\nWants = a.service\n"},
        "names gone, which is not there",
    ),
    ("unit-programs", {UNIT: b"[Service]\nExecStart=/usr/lib/\n[Install]\n"}, "ExecStart names /usr/lib/, which is no file"),
    ("unit-programs", {UNIT: START_TOOL, "/usr/bin/tool": owned(program(), mode=0o644)}, "names tool, which may be executed by nobody"),
    ("unit-programs", {UNIT: START_TOOL, "/usr/bin/tool": b"#! /usr/bin/perl -w\n"}, "tool, which is a script for /usr/bin/perl, which is"),
    (
        "udev-programs",
        {UDEV: b'PROGRAM=="tool %k"\n', "/usr/lib/udev/tool": owned(b"", mode=0o644)},
        "tool, which may be executed by nobody",
    ),
    ("needed-units", {"/etc/systemd/system/systemd-udevd.service": "/dev/null"}, "masks systemd-udevd.service: no start has devices"),
    ("udev-programs", {UDEV: b'KERNEL=="nvidia", \\\n  RUN+="/usr/bin/nvidia-modprobe -c0"\n'}, f"{UDEV} names /usr/bin/nvidia-modprobe"),
    ("udev-programs", {UDEV: b'PROGRAM=="helper %k", SYMLINK+="%c"\n'}, f"{UDEV} names helper"),
    (
        "cdi-files",
        {CDI: b'{"devices": [{"name": "0", "containerEdits": {"mounts": [{"hostPath": "/usr/lib/libx.so"}]}}]}'},
        "lends /usr/lib/libx.so",
    ),
    ("cdi-files", {CDI: b'{"containerEdits": {"hooks": [{"path": "/usr/bin/nvidia-cdi-hook"}]}}'}, "lends /usr/bin/nvidia-cdi-hook"),
    ("container-settings", {f"{CONTAINERS}/storage.conf": b"[storage"}, "storage.conf is no TOML"),
    ("certificates", {"/etc/ssl/certs/ca-certificates.crt": b""}, "ca-certificates.crt holds no certificate"),
    ("cdi-files", {CDI: b"[1"}, f"{CDI} is no specification of CDI"),
    ("cdi-files", {CDI: b"[1]"}, f"{CDI} is no specification of CDI"),
    ("cdi-files", {CDI: b"kind: 2026-99-99\n"}, f"{CDI} is no specification of CDI"),
    ("cdi-files", {CDI: b"[" * 5000}, f"{CDI} is no specification of CDI"),
    ("no-build-tools", {"/usr/bin/x86_64-linux-gnu-gcc-14": b""}, "x86_64-linux-gnu-gcc-14 is a compiler"),
    ("no-build-tools", {"/usr/lib/llvm-19/bin/clang": b""}, "/usr/lib/llvm-19/bin/clang is a compiler"),
    ("no-build-tools", {"/usr/local/cuda-12.8/bin/nvcc": "../nvcc"}, "/usr/local/cuda-12.8/bin/nvcc is a compiler"),
    ("no-build-tools", {"/usr/bin/ld": "x86_64-linux-gnu-ld"}, "/usr/bin/ld is a linker"),
    ("no-build-tools", {"/usr/bin/x86_64-linux-gnu-ld.gold": b""}, "x86_64-linux-gnu-ld.gold is a linker"),
    ("no-build-tools", {"/opt/rh/toolset/root/usr/bin/as": b""}, "/opt/rh/toolset/root/usr/bin/as is an assembler"),
    ("no-build-tools", {"/usr/bin/make": b""}, "/usr/bin/make is make"),
    ("no-build-tools", {"/usr/lib/linux-kbuild-6.12/scripts/mod/modpost": b""}, "/usr/lib/linux-kbuild-6.12 is what a kernel's modules"),
    ("no-build-tools", {"/opt/nvidia/src/dkms.conf": b""}, "/opt/nvidia/src/dkms.conf is DKMS"),
    ("no-build-tools", {"/usr/src/linux-headers-6.12/include/a.h": b""}, "/usr/src/linux-headers-6.12 is headers of a kernel"),
    (
        "no-build-tools",
        {"/usr/src/kernels/6.12/a.h": b"", f"{FOLDER}/build": "/usr/src/kernels/6.12"},
        f"{FOLDER}/build is headers of a kernel",
    ),
    ("no-build-tools", {"/var/lib/dkms/nvidia/550/source": "/usr/src"}, "/var/lib/dkms/nvidia is DKMS"),
    ("no-signing-key", {"/var/lib/dkms/mok.key": b"\x30\x82"}, "/var/lib/dkms/mok.key is a key that signs modules"),
    ("no-signing-key", {"/usr/lib/dkms/mok.key": b"\x30\x82"}, "/usr/lib/dkms/mok.key is a key that signs modules"),
    ("no-signing-key", {"/root/MOK.priv": b"\x30\x82"}, "/root/MOK.priv is a key that signs modules"),
    (
        "no-signing-key",
        {"/etc/dkms/framework.conf.d/a.conf": b'mok_signing_key="/srv/a.bin"\n', "/srv/a.bin": b"\x30\x82"},
        "/srv/a.bin is a key that signs modules",
    ),
    ("package-files", {"/usr/bin/dash": b"#!/bin/true\n"}, "/usr/bin/dash is not what dash brought"),
    ("package-files", {"/usr/bin/.wh.dash": b""}, "/usr/bin/dash of dash is not there"),
    ("package-files", {"/usr/bin/.wh.sh": b""}, "/usr/bin/sh of dash is not there"),
    ("package-files", {"/.wh.bin": b""}, "/bin of dash is not there"),
    ("package-files", {f"{DPKG}/info/a.list": b"/usr/share/a\n/usr/share/a/empty\n"}, "/usr/share/a/empty of a is not there"),
    (
        "package-files",
        {
            f"{DPKG}/info/a.list": b"/usr/share/doc/a/b\n/usr/lib/a\n",
            "/etc/dpkg/dpkg.cfg.d/a": b"path-exclude /usr/*\npath-include=/usr/lib/*\n",
        },
        "/usr/lib/a of a is not there",
    ),
    (
        "package-files",
        {f"{DPKG}/info/b.list": b"/usr/bin/tool\n", f"{DPKG}/diversions": b"/usr/bin/tool\n/usr/bin/tool.a\na\n", "/usr/bin/tool": b""},
        "/usr/bin/tool.a of b is not there",
    ),
    (
        "package-files",
        {f"{DPKG}/alternatives/tools": TOOLS, "/etc/alternatives/tools": "/usr/bin/dash", "/etc/alternatives/smi": "/usr/bin/dash"},
        "/usr/bin/smi of the alternative smi is not there",
    ),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Filesystem:
    files = {**healthy(), **driver(), **NAMES}
    return read(tmp_path_factory.mktemp("base"), [files])


def judged(base: Filesystem, tmp_path: Path, *faults: Files, expected: Expected = EXPECTED) -> dict[str, Finding]:
    found = verify_image(read(tmp_path, faults, base), bootable=True, expected=expected)
    return {finding.name: finding for finding in found}


@pytest.mark.parametrize(("check", "fault", "said"), FAULTS)
def test_a_planted_fault_is_named(check: str, fault: Files, said: str, base: Filesystem, tmp_path: Path) -> None:
    finding = judged(base, tmp_path, fault)[check]
    assert finding.outcome is Outcome.NO
    assert said in finding.message


def test_a_driver_without_its_modules_is_named_though_no_lock_wants_it(base: Filesystem, tmp_path: Path) -> None:
    stripped: Files = {f"{FOLDER}/updates/.wh.dkms": b""}
    finding = judged(base, tmp_path, stripped, expected=Expected())["driver-versions"]
    assert finding.outcome is Outcome.NO
    assert f"{LIBRARIES}/libcuda.so.{DRIVER} is of the driver, of which there is no module" in finding.message
    elsewhere: Files = {f"/usr/local/cuda/compat/libcuda.so.{DRIVER}": elf_samples.binary(behind=f"\0{DRIVER}\0".encode())}
    for gone in (("libcuda", "libnvidia-ml"), ("libcuda",), ("libnvidia-ml",)):  # one of them alone is there for what links it
        without: Files = {f"{LIBRARIES}/.wh.{name}.so.{DRIVER}": b"" for name in gone}
        assert judged(base, tmp_path, stripped, {**elsewhere, **without}, expected=Expected())["driver-versions"].outcome is Outcome.YES


ORDER = at("modules.order", "".join(path.removesuffix(".xz") + "\n" for path in MODULES).encode())
LIAR = module("liar", packed=False, needs={"printk": 0x11}, more=[("firmware", "liar.bin")])


@pytest.mark.parametrize("place", ["updates/liar.ko", "liar.ko", "kernel/drivers/liar.ko", "updates/fs/ext4/ext4.ko"])
def test_what_says_that_it_came_with_the_kernel_has_to_be_on_the_kernels_list(place: str, base: Filesystem, tmp_path: Path) -> None:
    """Where there is one: else its word counts. Two files cannot both be one module of the kernel's."""
    told = judged(base, tmp_path, {**ORDER, **at(place, LIAR)}, expected=Expected(signed=frozenset()))
    assert f"{place} is not signed, and not with the key" in told["module-signers"].message
    assert f"{place} asks for liar.bin, which is not there" in told["module-firmware"].message
    told = judged(base, tmp_path, at(place, LIAR), expected=Expected(signed=frozenset()))
    assert place not in told["module-signers"].message
    assert told["module-firmware"].outcome is Outcome.YES


def test_a_link_makes_no_module_the_kernels_and_what_a_distribution_moved_still_is(base: Filesystem, tmp_path: Path) -> None:
    linked: Files = {"/usr/lib/modules/6.1.0/extra/a.ko": LIAR, f"{FOLDER}/updates/liar.ko": "/usr/lib/modules/6.1.0/extra/a.ko", **ORDER}
    told = judged(base, tmp_path, linked, expected=Expected(signed=frozenset()))["module-signers"]
    assert "updates/liar.ko is not signed, and not with the key" in told.message
    moved: Files = {**ORDER, f"{FOLDER}/kernel/fs/.wh.ext4": b"", **at("extra/fs/ext4/ext4.ko.xz", MODULES[EXT4])}
    told = judged(base, tmp_path, moved, expected=Expected(signed=frozenset()))["module-signers"]
    assert "ext4" not in told.message and "updates/dkms/nvidia-current.ko is not signed" in told.message


def test_a_healthy_image_passes_and_every_check_has_its_fault(base: Filesystem, tmp_path: Path) -> None:
    found = judged(base, tmp_path)
    assert {name: finding.message for name, finding in found.items() if finding.outcome is not Outcome.YES} == {}
    elsewhere = {check.name for check in layers.CHECKS}  # tests/test_layer_paths.py
    assert {check for check, _, _ in FAULTS} == {check.name for check in checks.checks(EXPECTED)} - elsewhere
