"""A kernel's folder made by hand: modules, their indexes, an initramfs; and the parts of NVIDIA's driver beside it."""

from __future__ import annotations

import lzma
from collections.abc import Mapping, Sequence

import elf_samples

from aistack.host.layers import Entry

KERNEL = "6.12.107+deb13-cloud-amd64"
FOLDER = f"/usr/lib/modules/{KERNEL}"
MAGIC = f"{KERNEL} SMP mod_unload modversions"
EXPORTS = {"printk": 0x11, "module_layout": 0x22}
GPL = {"register_disk": 0x33, "pin_pages": 0x44}
NAMESPACES = {"pin_pages": "PINNING"}

DRIVER = "550.163.01"
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
FIRMWARE = f"/usr/lib/firmware/nvidia/{DRIVER}/gsp_ga10x.bin"
NVIDIA, UVM = "updates/dkms/nvidia-current.ko", "updates/dkms/nvidia-current-uvm.ko"
NAMES = {f"{LIBRARIES}/{name}.so.1": f"{name}.so.{DRIVER}" for name in ("libcuda", "libnvidia-ml", "libnvidia-ptxjitcompiler")}
"""The links by which programs load the driver's libraries."""
LOADER = "/lib64/ld-linux-x86-64.so.2"
CLAIM = "pci:v000010DEd*sv*sd*bc03sc02i00*"
OTHER_CLAIM = "pci:v000010DEd*sv*sd*bc03sc*i*"

EXT4, JBD2, NOUVEAU = "kernel/fs/ext4/ext4.ko.xz", "kernel/fs/jbd2/jbd2.ko.xz", "kernel/drivers/gpu/drm/nouveau/nouveau.ko.xz"


def module(name: str, *, packed: bool = True, vermagic: str = MAGIC, **how: object) -> bytes:
    """A module for `KERNEL`, as Debian packs it; signed by nobody."""
    made = elf_samples.module(name, vermagic=vermagic, **how)  # type: ignore[arg-type]
    return lzma.compress(made) if packed else made


MODULES = {
    JBD2: module("jbd2", needs={"printk": 0x11, "module_layout": 0x22}, exports={"jbd2_start": 0x55}, gpl=["jbd2_start"]),
    EXT4: module("ext4", needs={"jbd2_start": 0x55, "register_disk": 0x33, "module_layout": 0x22}, more=[("alias", "fs-ext4")]),
    NOUVEAU: module("nouveau", needs={"printk": 0x11}, more=[("alias", OTHER_CLAIM)]),
}
DEPENDENCIES = {EXT4: [JBD2]}
ALIASES = [("fs_ext4", "ext4"), (OTHER_CLAIM, "nouveau")]


def tree(
    modules: Mapping[str, bytes] = MODULES,
    dependencies: Mapping[str, Sequence[str]] = DEPENDENCIES,
    aliases: Sequence[tuple[str, str]] = ALIASES,
    inside: Sequence[str] = (EXT4, JBD2),
) -> dict[str, bytes]:
    """The folder of `KERNEL` with those modules, by their paths below it; those `inside` are in the initramfs."""
    return {
        f"{FOLDER}/vmlinuz": elf_samples.kernel(KERNEL, EXPORTS, gpl=GPL, namespaces=NAMESPACES),
        f"{FOLDER}/initramfs.img": initramfs({path: modules[path] for path in inside}),
        f"{FOLDER}/config": b"CONFIG_LOCK_DOWN_IN_EFI_SECURE_BOOT=y\n# CONFIG_MODULE_SIG_FORCE is not set\n",
        f"{FOLDER}/modules.builtin.modinfo": b"virtio_blk.alias=virtio:d*v*\0",
        **{f"{FOLDER}/{name}": data for name, data in indexes(modules, dependencies, aliases).items()},
        **{f"{FOLDER}/{path}": data for path, data in modules.items()},
    }


def indexes(
    modules: Mapping[str, bytes], dependencies: Mapping[str, Sequence[str]], aliases: Sequence[tuple[str, str]]
) -> dict[str, bytes]:
    """What depmod writes."""
    lines = {path: f"{path}: {' '.join(dependencies.get(path, ()))}".rstrip() for path in modules}
    names = {path.rpartition("/")[2].partition(".")[0].replace("-", "_"): line for path, line in lines.items()}
    known = [(alias, name) for alias, name in aliases if name in names]
    return {
        "modules.dep": "".join(f"{line}\n" for line in lines.values()).encode(),
        "modules.dep.bin": index(list(names.items())),
        "modules.alias": "".join(f"alias {alias} {name}\n" for alias, name in known).encode(),
        "modules.alias.bin": index(known),
    }


STARTS = {
    "init": elf_samples.binary(interpreter=LOADER, needed=["libinit.so.1"]),
    "usr/lib/libinit.so.1": elf_samples.binary(soname="libinit.so.1", needed=["libc.so.6"]),
    "usr/lib/libc.so.6": elf_samples.binary(soname="libc.so.6", offered=["C_1"]),
    "usr/lib/ostree/ostree-prepare-root": elf_samples.binary(interpreter=LOADER, needed=["libc.so.6"], asked={"libc.so.6": ["C_1"]}),
    LOADER[1:]: elf_samples.binary(soname="ld-linux-x86-64.so.2"),
}
"""What in an initramfs starts a system, and makes OSTree's deployment its root."""


UNITS = "usr/lib/systemd/system"
SYSTEMD = {
    **{path: STARTS[path] for path in ("usr/lib/libc.so.6", "usr/lib/ostree/ostree-prepare-root", LOADER[1:])},
    **{f"usr/{name}": STARTS["usr/lib/ostree/ostree-prepare-root"] for name in ("lib/systemd/systemd", "bin/systemctl", "bin/udevadm")},
    **{f"usr/{name}": STARTS["usr/lib/ostree/ostree-prepare-root"] for name in ("lib/systemd/systemd-udevd", "sbin/modprobe")},
    "bin/sh": STARTS["usr/lib/ostree/ostree-prepare-root"],
    "etc/initrd-release": b"ID=debian\n",
    "usr/lib/dracut-lib.sh": b"#!/bin/sh\n",
    "usr/lib/udev/rules.d/80-drivers.rules": b'ENV{MODALIAS}=="?*", RUN{builtin}+="kmod load"\n',
    f"{UNITS}/initrd.target": b"[Unit]\nRequires=basic.target\nWants=initrd-root-fs.target initrd-parse-etc.service\n",
    f"{UNITS}/basic.target": b"[Unit]\nRequires=sysinit.target\n",
    f"{UNITS}/sysinit.target": b"[Unit]\nWants=systemd-udevd.service systemd-udev-trigger.service\n",
    f"{UNITS}/initrd-root-fs.target": b"[Unit]\nWants=ostree-prepare-root.service\n",
    f"{UNITS}/initrd-switch-root.target": b"[Unit]\nWants=initrd-switch-root.service\n",
    **{
        f"{UNITS}/{name}.service": f"[Unit]\nDefaultDependencies=no\n[Service]\nExecStart={program}\n".encode()
        for name, program in {
            "initrd-parse-etc": "-systemctl daemon-reload\nExecStart=systemctl --no-block start initrd-cleanup.service",
            "initrd-cleanup": "systemctl --no-block isolate initrd-switch-root.target",
            "initrd-switch-root": "systemctl --no-block switch-root",
            "ostree-prepare-root": "/usr/lib/ostree/ostree-prepare-root /sysroot",
            "systemd-udevd": "/usr/lib/systemd/systemd-udevd",
            "systemd-udev-trigger": "-udevadm trigger --type=all",
        }.items()
    },
}
"""What in an initramfs of dracut's starts a system by systemd; its init is a link (`systemd_initramfs`)."""


def systemd_initramfs(
    modules: Mapping[str, bytes], more: Mapping[str, bytes | str] = elf_samples.NONE, starts: Mapping[str, bytes] = SYSTEMD
) -> bytes:
    """As `initramfs`, with systemd as its init; texts are targets of links, which come last."""
    links = {"init": "usr/lib/systemd/systemd", **{path: target for path, target in more.items() if isinstance(target, str)}}
    files = {path: data for path, data in more.items() if isinstance(data, bytes)}
    linked = b"".join(elf_samples.link(*link) for link in links.items()) + elf_samples.initramfs({}, packed=False)
    return initramfs(modules, more=files, starts=starts, packed=False) + linked


def initramfs(
    modules: Mapping[str, bytes],
    version: str = KERNEL,
    more: Mapping[str, bytes] = elf_samples.NONE,
    starts: Mapping[str, bytes] = STARTS,
    **how: bool | int,
) -> bytes:
    """An initramfs with those modules, by their paths below the kernel's folder, what starts a system, and other files."""
    needed = {path: [other for other in others if other in modules] for path, others in DEPENDENCIES.items()}
    files = {**modules, **indexes(modules, needed, ALIASES)}
    inside = {f"usr/lib/modules/{version}/{path}": data for path, data in files.items()} | {**starts, **more}
    return elf_samples.initramfs(inside, microcode=True, **how)  # type: ignore[arg-type]


def at(path: str, data: bytes) -> dict[str, bytes | Entry | str]:
    """A file in the folder of `KERNEL`."""
    return {f"{FOLDER}/{path}": data}


def program(**how: object) -> bytes:
    """A program, for the loader of `driver`."""
    return elf_samples.binary(interpreter=LOADER, **how)  # type: ignore[arg-type]


OPTIONS = [("parmtype", text) for text in ("NVreg_EnableMSI:int", "NVreg_DeviceFileMode:uint", "NVreg_RegistryDwords:charp", "on:bool")]


def driver_module(**how: object) -> bytes:
    """NVIDIA's module as Debian compiles it."""
    said = [("version", DRIVER), ("alias", CLAIM), ("firmware", f"nvidia/{DRIVER}/gsp_ga10x.bin"), *OPTIONS]
    usual = {"packed": False, "in_tree": False, "needs": {"printk": 0x11}, "exports": {"nvidia_get": 0x66}, "more": said}
    return module("nvidia", **{**usual, **how})  # type: ignore[arg-type]


MODPROBE = b"""blacklist nouveau
install nvidia modprobe -i nvidia-current $CMDLINE_OPTS
install nvidia-uvm modprobe nvidia ; modprobe -i nvidia-current-uvm $CMDLINE_OPTS
"""
"""How programs find the driver by the names that it has everywhere."""


def driver() -> dict[str, bytes]:
    """A kernel's folder with NVIDIA's driver, and all that belongs to it."""
    needs = {"printk": 0x11, "nvidia_get": 0x66}
    uvm = module("nvidia_uvm", packed=False, in_tree=False, needs=needs, more=[("version", DRIVER), ("depends", "nvidia")])
    modules = {**MODULES, NVIDIA: driver_module(), UVM: uvm}
    said = f"\0{DRIVER}\0".encode()
    return {
        **tree(modules, {**DEPENDENCIES, UVM: [NVIDIA]}, aliases=[*ALIASES, (CLAIM, "nvidia_current")]),
        LOADER: elf_samples.binary(soname="ld-linux-x86-64.so.2"),
        "/etc/modprobe.d/nvidia.conf": MODPROBE,
        FIRMWARE: elf_samples.firmware(DRIVER),
        f"{LIBRARIES}/libcuda.so.{DRIVER}": elf_samples.binary(soname="libcuda.so.1", behind=said),
        f"{LIBRARIES}/libnvidia-ml.so.{DRIVER}": elf_samples.binary(soname="libnvidia-ml.so.1", behind=said),
        f"{LIBRARIES}/libnvidia-ptxjitcompiler.so.{DRIVER}": elf_samples.binary(soname="libnvidia-ptxjitcompiler.so.1", behind=said),
        "/usr/bin/nvidia-smi": program(behind=said),
        "/usr/bin/nvidia-persistenced": program(behind=b"\0version 550.54.14\0"),
    }


def index(pairs: Sequence[tuple[str, str]]) -> bytes:
    """One of kmod's indexes, with a node for each character of a key."""
    data = bytearray(b"\xb0\x07\xf4\x57\x00\x02\x00\x01\0\0\0\0")

    def node(key: str) -> int:
        values = [value for name, value in pairs if name == key]
        letters = sorted({ord(name[len(key)]) for name, _ in pairs if name.startswith(key) and len(name) > len(key)})
        children = {letter: node(key + chr(letter)) for letter in letters}
        place, flags = len(data), 0
        if children:
            flags |= 0x20000000
            data.extend((letters[0], letters[-1]))
            for letter in range(letters[0], letters[-1] + 1):
                data.extend(children.get(letter, 0).to_bytes(4, "big"))
        if values:
            flags |= 0x40000000
            data.extend(len(values).to_bytes(4, "big"))
            for value in values:
                data.extend(bytes(4) + value.encode() + b"\0")
        return place | flags

    data[8:12] = node("").to_bytes(4, "big")
    return bytes(data)
