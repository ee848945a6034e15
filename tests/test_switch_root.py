"""An initramfs whose init is systemd: what it lacks to find the root and to start the system there, and what is none of that."""

from __future__ import annotations

from pathlib import Path

import elf_samples
import pytest
from images_read import Files, healthy, read
from kernel_samples import EXT4, JBD2, MODULES, SYSTEMD, UNITS, at, systemd_initramfs

from aistack.compose.findings import Finding, Outcome
from aistack.compose.verify import verify_image
from aistack.facts.filesystem import Filesystem

MADE = {path: MODULES[path] for path in (EXT4, JBD2)}
ROOT = "usr/lib/ostree/ostree-prepare-root"
OWN = "etc/systemd/system"
Inside = dict[str, bytes | str]
"""What more is in an initramfs: files, and targets of links."""
NOT_DEPLOYED: Files = {"/.wh.sysroot": b"", "/.wh.ostree": b""}
BUILT_IN = at("modules.builtin.modinfo", b"virtio_blk.license=GPL\0ext4.license=GPL\0")


def without(*gone: str) -> dict[str, bytes]:
    return {path: data for path, data in SYSTEMD.items() if path not in gone}


def units(*gone: str) -> dict[str, bytes]:
    return without(*(f"{UNITS}/{name}" for name in gone))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Filesystem:
    return read(tmp_path_factory.mktemp("base"), [{**healthy(), **at("initramfs.img", systemd_initramfs(MADE))}])


def judged(base: Filesystem, tmp_path: Path, image: bytes, more: Files) -> Finding:
    found = verify_image(read(tmp_path, [{**at("initramfs.img", image), **more}], base), bootable=True)
    return next(finding for finding in found if finding.name == "initramfs-start")


LACKS: list[tuple[dict[str, bytes], Inside, str]] = [
    (without("etc/initrd-release"), {}, "/etc/initrd-release leads to no file"),
    (units("initrd.target"), {}, "there is no initrd.target to start"),
    (units("basic.target"), {}, "img: basic.target is not there"),
    (units("initrd-root-fs.target"), {}, "img: initrd-root-fs.target is not there"),
    (units("initrd-parse-etc.service"), {}, "img: initrd-parse-etc.service is not there"),
    (units("initrd-cleanup.service"), {}, "img: initrd-cleanup.service is not there"),
    (units("initrd-switch-root.target"), {}, "img: initrd-switch-root.target is not there"),
    (units("initrd-switch-root.service"), {}, "img: initrd-switch-root.service is not there"),
    (SYSTEMD, {f"{OWN}/initrd-cleanup.service": "/dev/null"}, "/etc/systemd/system/initrd-cleanup.service masks"),
    (SYSTEMD, {f"{OWN}/basic.target": "gone.target"}, "/etc/systemd/system/basic.target leads to nothing"),
    (units("systemd-udevd.service"), {}, "systemd-udevd.service is not there"),
    (units("systemd-udev-trigger.service"), {}, "systemd-udev-trigger.service is not there"),
    (SYSTEMD, {f"{UNITS}/sysinit.target": b"[Unit]\n"}, "does not start systemd-udev-trigger.service"),
    (without("usr/lib/udev/rules.d/80-drivers.rules"), {}, "no rule of udev's loads a device's module"),
    (without("usr/lib/systemd/systemd-udevd"), {}, "systemd-udevd.service names /usr/lib/systemd/systemd-udevd"),
    (without("usr/bin/udevadm"), {}, "systemd-udev-trigger.service names udevadm, which is not there"),
    (without("usr/bin/systemctl"), {}, "initrd-switch-root.service names systemctl, which is not there"),
    (SYSTEMD, {f"{OWN}/initrd-cleanup.service.d/a.conf": b"[Service]\nExecCondition=/usr/bin/gone\n"}, "names /usr/bin/gone"),
    (SYSTEMD, {f"{OWN}/initrd-cleanup.service.d/a.conf": b"[Service]\nExecStartPre=+@/usr/bin/gone a\n"}, "names /usr/bin/gone"),
    (without("usr/sbin/modprobe"), {}, "there is no modprobe, by which the kernel loads the root's file system (ext4)"),
    (without("bin/sh"), {}, "/bin/sh leads to no file"),
]


@pytest.mark.parametrize("more", [{}, NOT_DEPLOYED])
@pytest.mark.parametrize(("starts", "inside", "said"), LACKS)
def test_what_systemd_lacks_to_start_a_system_is_named(
    starts: dict[str, bytes], inside: Inside, said: str, more: Files, base: Filesystem, tmp_path: Path
) -> None:
    finding = judged(base, tmp_path, systemd_initramfs(MADE, inside, starts), more)
    assert (finding.outcome, said in finding.message) == (Outcome.NO, True), finding.message


@pytest.mark.parametrize(
    "image",
    [
        systemd_initramfs(MADE, starts=units("ostree-prepare-root.service")),
        systemd_initramfs(MADE, {f"{OWN}/ostree-prepare-root.service": "/dev/null"}),
        systemd_initramfs(MADE, {f"{UNITS}/initrd-root-fs.target": b"[Unit]\n"}),
    ],
)
def test_somebody_runs_what_makes_the_root_of_a_deployment(image: bytes, base: Filesystem, tmp_path: Path) -> None:
    finding = judged(base, tmp_path, image, {})
    assert (finding.outcome, f"no unit that is started there runs /{ROOT}" in finding.message) == (Outcome.NO, True), finding.message
    assert judged(base, tmp_path, image, NOT_DEPLOYED).outcome is Outcome.YES


LATER: Inside = {
    f"{UNITS}/initrd-root-fs.target": b"[Unit]\n",
    f"{UNITS}/initrd-switch-root.target": b"[Unit]\nWants=ostree-prepare-root.service initrd-switch-root.service\n",
}
OLDER: Inside = {f"{UNITS}/first.target": SYSTEMD[f"{UNITS}/initrd.target"], f"{UNITS}/default.target": "first.target"}
BOOTC: Inside = {
    "usr/lib/bootc/initramfs-setup": SYSTEMD[ROOT],
    f"{OWN}/bootc-root-setup.service": b"[Service]\nExecStart=/usr/lib/bootc/initramfs-setup setup-root\n",
    f"{OWN}/initrd-root-fs.target.wants/bootc-root-setup.service": "../bootc-root-setup.service",
}
BUSYBOX = elf_samples.initramfs({"init": b"#!/bin/sh\n", "bin/sh": elf_samples.binary(), **{ROOT: elf_samples.binary()}})
MAY_FAIL = (
    b"[Service]\nExecStartPre=-/gone\nExecStart=@-/gone a\nExecStartPost=/gone\nExecReload=/gone\nExecStop=/gone\nExecStopPost=/gone\n"
)
NOT_NEEDED: Inside = {f"{OWN}/{name}.service.d/a.conf": MAY_FAIL for name in ("systemd-udevd", "systemd-udev-trigger", "initrd-parse-etc")}
PROGRAMS = ("usr/lib/systemd/systemd", "usr/lib/libc.so.6", "lib64/ld-linux-x86-64.so.2")


@pytest.mark.parametrize(
    ("image", "more"),
    [
        (systemd_initramfs(MADE), {}),
        (systemd_initramfs(MADE), NOT_DEPLOYED),
        (systemd_initramfs(MADE, OLDER, units("initrd.target")), {}),  # which starts the default target
        (systemd_initramfs(MADE, NOT_NEEDED), {}),
        (systemd_initramfs(MADE, LATER), {}),  # as older modules for dracut have it
        (systemd_initramfs(MADE, BOOTC, without(ROOT, f"{UNITS}/ostree-prepare-root.service")), {}),
        (systemd_initramfs({}, starts=without("usr/sbin/modprobe", f"{UNITS}/systemd-udevd.service", "usr/bin/udevadm")), BUILT_IN),
        (systemd_initramfs(MADE, {"usr/bin/modprobe": SYSTEMD[ROOT]}, without("usr/sbin/modprobe")), {}),
        (systemd_initramfs(MADE, starts=without("bin/sh", "usr/lib/dracut-lib.sh")), {}),
        (BUSYBOX, BUILT_IN),
        (systemd_initramfs(MADE, starts={path: SYSTEMD[path] for path in PROGRAMS}), NOT_DEPLOYED),  # a whole system, which stays there
    ],
)
def test_a_system_that_starts_in_one_of_the_usual_ways_is_good(image: bytes, more: Files, base: Filesystem, tmp_path: Path) -> None:
    finding = judged(base, tmp_path, image, more)
    assert (finding.outcome, finding.message) == (Outcome.YES, finding.message)
