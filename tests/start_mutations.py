"""Faults as they happen to what a start goes through: the initramfs, the first program, units, the gates (`mutations`)."""

from __future__ import annotations

import lzma
import re
from random import Random

import elf_samples
from images_read import Files
from kernel_samples import SYSTEMD, UNITS, systemd_initramfs
from module_mutations import (
    PACKAGE,
    Base,
    Fault,
    gone,
    packed_as_it_was,
    short,
)

from aistack.compose import gates, lint
from aistack.compose.checks import masks
from aistack.compose.checks.tree import trees

MORE_ARGUMENTS = "/usr/lib/bootc/kargs.d/90-more.toml"


def lost_init(random: Random, base: Base) -> Fault:
    """What the kernel starts was replaced by a link to what never came."""
    planted: tuple[Files, ...] = ({"/usr/sbin/init": "/usr/lib/gone"}, {"/usr/sbin/init": "../bin/kmod"}, gone("/usr/lib/systemd/systemd"))
    return Fault("init", "/sbin/init", random.choice(planted), PACKAGE | {"initramfs-start", "unit-programs"})


def other_prepare_root(random: Random, base: Base) -> Fault:
    """Whoever wanted a sealed root asked for it, of an OSTree without composefs, or left half of a file."""
    path, status = "/usr/lib/ostree/prepare-root.conf", lint.DPKG_STATUS[0]
    ostree = b"Package: libostree-1-1\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\nDepends: libc6\n\n"
    asked: Files = {path: b"[composefs]\nenabled = %s\n" % random.choice((b"yes", b"signed", b"1")), status: base.files.texts[status]}
    if b"Package: libostree-1-1\n" not in base.files.texts[status]:
        asked[status] = base.files.texts[status] + ostree
    broken: Files = {path: random.choice((b"[sysroot\n", b"[sysroot]\nreadonly\n", b"\0" * 40))}
    return Fault("prepare-root", path, random.choice((asked, broken)), frozenset({"packages", "baseimage-composefs"}))


def gate_off(random: Random, base: Base) -> Fault:
    """Whoever was in a hurry switched a gate off."""
    unit = random.choice(gates.GATES)
    here = f"/etc/systemd/system/{unit}"
    target = random.choice(("multi-user.target", "sysinit.target", "boot-complete.target"))
    return random.choice(
        (
            Fault("gates", here, {here: "/dev/null"}),
            Fault("gates", here, {f"{here}.d/{random.randrange(100)}.conf": b"[Service]\nExecStart=\nExecStart=/bin/sh -c :\n"}),
            Fault("gates", unit, {MORE_ARGUMENTS: f'kargs = ["systemd.mask={unit}"]\n'.encode()}),
            Fault("gates", target, {f"/etc/systemd/system/{target}": "/dev/null"}, frozenset({"init", "driver-enabled"})),
            Fault("gates", "service.d", {"/etc/systemd/system/service.d/9.conf": b"[Unit]\nConditionPathExists=/etc/gone\n"}),
        )
    )


def other_gate(random: Random, base: Base) -> Fault:
    """Whoever edited a unit of ours made it do less, or nothing."""
    path = random.choice([path for path in sorted(base.data) if gates.HELD.fullmatch(path) and path.endswith(".service")])
    text = base.data[path]
    made = (
        text.replace(b"[Unit]", b"[Unit]\nConditionPathExists=/nowhere", 1),
        re.sub(rb"(?m)^ExecStart=-?\S+", b"ExecStart=-/usr/bin/true", text, count=1),
        text.replace(b"[Service]", b"[Service]\nSuccessExitStatus=1 2 3 4", 1),
        text.replace(b"[Service]", b"[Servce]", 1),
        bytes(len(text)),
    )
    return Fault("gates", path, {path: random.choice(made)}, frozenset({"unit-programs", "driver-enabled"}))


def silenced_udev(random: Random, base: Base) -> Fault:
    """Whoever masked it wanted quiet, and no device gets its driver."""
    unit, rule = random.choice(("systemd-udevd.service", "systemd-udev-trigger.service")), "/etc/udev/rules.d/80-drivers.rules"
    argument = f'kargs = ["systemd.mask={unit}"]\n'.encode()
    files: tuple[Files, ...] = ({f"/etc/systemd/system/{unit}": "/dev/null"}, {MORE_ARGUMENTS: argument}, {rule: "/dev/null"})
    planted = random.choice(files)
    return Fault("driver-enabled", "no rule of udev's" if rule in planted else unit, planted, frozenset({"needed-units"}))


def masked_unit(random: Random, base: Base) -> Fault:
    """A mask from an evening of looking for what was slow."""
    units = (unit for unit in sorted({*masks.NEEDED, *masks.NETWORK}) if base.files.kind(f"/usr/lib/systemd/system/{unit}"))
    unit = random.choice([*units])
    argument = f'kargs = ["systemd.mask={unit}"]\n'.encode()
    files: tuple[Files, ...] = ({f"/etc/systemd/system/{unit}": "/dev/null"}, {MORE_ARGUMENTS: argument})
    return Fault("needed-units", unit, random.choice(files), frozenset({"driver-enabled"}))


def start_of_something_else(random: Random, base: Base) -> Fault:
    """An argument from an evening of looking for what was wrong."""
    word = random.choice(("rd.break", "init=/bin/false", "rd.systemd.unit=emergency.target", "rdinit=/bin/none"))
    said = "/none" if "none" in word else "/false" if "false" in word else word
    return Fault("initramfs-start", said, {MORE_ARGUMENTS: f'kargs = ["{word}"]\n'.encode()})


def cut_initramfs(random: Random, base: Base) -> Fault:
    path = f"{trees(base.files)[0].folder}/initramfs.img"
    data = base.data[path]
    return Fault(
        "readable-binaries", path, {path: data[: random.randrange(200, len(data) - 1)]}, frozenset({"initramfs-modules", "initramfs-start"})
    )


def older_initramfs(random: Random, base: Base) -> Fault:
    """A module outside was compiled anew, and the initramfs has the old one."""
    tree = trees(base.files)[0]
    inside = base.files.initramfs[f"{tree.folder}/initramfs.img"].modules
    path = random.choice([path for path in base.modules() if path in inside])
    raw = lzma.decompress(base.data[path]) if path.endswith(".xz") else base.data[path]
    return Fault("initramfs-modules", short(path), packed_as_it_was(path, raw + bytes(random.randrange(1, 9))), PACKAGE)


def gutted_initramfs(random: Random, base: Base) -> Fault:
    """Whoever made it had no module for this kind of system."""
    path = f"{trees(base.files)[0].folder}/initramfs.img"
    starts = {"init": b"#!/init\n", "usr/lib/ostree/ostree-prepare-root": elf_samples.binary()}
    gone = random.choice(sorted(starts))
    left = {name: data for name, data in starts.items() if name != gone}
    return Fault("initramfs-start", gone.rpartition("/")[2], {path: elf_samples.initramfs(left)})


def unswitched_initramfs(random: Random, base: Base) -> Fault:
    """Whoever made it smaller left out what it does not start a system without."""
    path = f"{trees(base.files)[0].folder}/initramfs.img"
    lost = {
        "etc/initrd-release": "/etc/initrd-release",
        **{f"{UNITS}/{name}": name for name in ("initrd.target", "initrd-cleanup.service", "initrd-switch-root.service")},
        f"{UNITS}/ostree-prepare-root.service": "no unit that is started there runs",
        "bin/sh": "/bin/sh leads to no file",
    }
    gone = random.choice(sorted(lost))
    left = {name: data for name, data in SYSTEMD.items() if name != gone}
    return Fault("initramfs-start", lost[gone], {path: systemd_initramfs({}, starts=left)})
