"""Images of any maker: kernels and initramfs files where distributions have them, each healthy and with faults planted."""

from __future__ import annotations

import lzma
from collections.abc import Callable, Mapping
from pathlib import Path

import elf_samples
import pytest
from images_read import Files, healthy, read
from kernel_samples import CLAIM, DRIVER, FOLDER, KERNEL, LIBRARIES, NAMES, NVIDIA, at, driver, driver_module, initramfs
from test_checks import EXPECTED

from aistack.compose.checks.expected import Expected
from aistack.compose.findings import Finding, Outcome
from aistack.compose.verify import LOCK_PATH, is_bootable, verify_image
from aistack.facts.filesystem import Filesystem

KERNEL_CHECKS = {
    "kernel-version", "vermagic", "module-symbols", "module-terms", "module-indexes", "initramfs-modules", "initramfs-start",
    "driver-versions", "module-firmware", "driver-rivals", "driver-enabled", "module-signers", "library-needs", "readable-binaries",
    "package-files", "init",
}  # fmt: skip
BOOTC = {"kernel", "one-kernel-tree", "baseimage-root", "nonempty-boot", "no-build-tools", "state-folders"}

Layout = Callable[[Files], Files]


def moved(**names: str) -> Layout:
    """What is in the folder of the kernel, in other places."""
    places = {f"{FOLDER}/{name.replace('_', '.')}": place for name, place in names.items()}
    return lambda files: {places.get(path, path): content for path, content in files.items()}


def not_merged(files: Files) -> Files:
    changed = {path.replace("/usr/lib/modules", "/lib/modules").replace("/usr/lib/firmware", "/lib/firmware"): path for path in files}
    return {path: files[old] for path, old in changed.items()}


def unified(place: str) -> Layout:
    """Kernel and initramfs in one file."""

    def change(files: Files) -> Files:
        others = dict(files)
        parts = {".osrel": b"ID=x\n", ".linux": others.pop(f"{FOLDER}/vmlinuz"), ".initrd": others.pop(f"{FOLDER}/initramfs.img")}
        assert all(isinstance(part, bytes) for part in parts.values())
        return {**others, place: elf_samples.unified(parts)}  # type: ignore[arg-type]

    return change


LAYOUTS: dict[str, Layout] = {
    "Debian": moved(vmlinuz=f"/boot/vmlinuz-{KERNEL}", initramfs_img=f"/boot/initrd.img-{KERNEL}", config=f"/boot/config-{KERNEL}"),
    "Fedora": moved(initramfs_img=f"/boot/initramfs-{KERNEL}.img"),
    "Arch": moved(initramfs_img="/boot/initramfs-linux.img", vmlinuz="/boot/vmlinuz-linux"),
    "systemd": moved(initramfs_img=f"{FOLDER}/initrd"),
    "not merged": not_merged,
    "unified": unified(f"/boot/EFI/Linux/{KERNEL}.efi"),
    "unified, beside the modules": unified(f"{FOLDER}/vmlinuz-virt.efi"),
}


@pytest.fixture(scope="module")
def plain() -> Files:
    """An OS with a driver, by nobody whom we know: without bootc, OSTree and a lock."""
    files: Files = {**healthy(), **driver(), **NAMES}
    ours = ("/ostree", "/sysroot", "/usr/lib/ostree/", "/usr/lib/bootc/", "/usr/share/containers/", LOCK_PATH)
    return {path: content for path, content in files.items() if not path.startswith(ours)}


def judged(tmp_path: Path, *layers: Mapping[str, object], expected: Expected = EXPECTED) -> tuple[Filesystem, dict[str, Finding]]:
    found = read(tmp_path, layers)  # type: ignore[arg-type]
    assert not is_bootable(found, {})
    return found, {finding.name: finding for finding in verify_image(found, bootable=False, expected=expected)}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_a_healthy_image_of_any_maker_passes(layout: Layout, plain: Files, tmp_path: Path) -> None:
    found, told = judged(tmp_path, layout(plain))
    assert {name: finding.message for name, finding in told.items() if finding.outcome is not Outcome.YES} == {}
    assert told.keys() >= KERNEL_CHECKS
    assert not BOOTC & told.keys()
    assert is_bootable(found, {"containers.bootc": "1"})


WRONG: list[tuple[str, Files, str]] = [
    ("vermagic", at(NVIDIA, driver_module(vermagic="6.1.0 SMP")), f"{NVIDIA} was built for `6.1.0 SMP`"),
    ("module-symbols", at(NVIDIA, driver_module(needs={"gone": 1})), f"{NVIDIA} needs what nothing exports: gone"),
    ("module-terms", at(NVIDIA, driver_module(needs={"pin_pages": 0x44})), "does not import the namespace PINNING"),
    ("module-indexes", at("modules.dep", b""), "modules.dep does not know"),
    ("initramfs-modules", at("initramfs.img", initramfs({NVIDIA: driver_module(size=128)})), f"{NVIDIA} is not the one that lies outside"),
    ("kernel-version", at("vmlinuz", elf_samples.kernel("6.12.106")), "says that it is 6.12.106"),
    ("readable-binaries", at("vmlinuz", b"kernel"), "it has no header of a kernel"),
    ("readable-binaries", at("initramfs.img", initramfs({})[:-30]), "it ends within an archive"),
    ("driver-versions", {f"{LIBRARIES}/libcuda.so.535.247.01": elf_samples.binary()}, "libcuda.so.535.247.01 is of 535.247.01"),
    ("driver-rivals", {"/etc/modprobe.d/nvidia.conf": b"", "/usr/lib/modprobe.d/nouveau.conf": b""}, "nouveau is for the same devices"),
]
BY_NAME = ("Debian", "Fedora", "systemd", "not merged")
"""Where a file's name says for which kernel it is."""


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("check", "fault", "said"), WRONG, ids=[f"{check} {number}" for number, (check, _, _) in enumerate(WRONG)])
def test_a_fault_is_found_wherever_the_kernel_is(layout: str, check: str, fault: Files, said: str, plain: Files, tmp_path: Path) -> None:
    finding = judged(tmp_path, LAYOUTS[layout]({**plain, **fault}))[1][check]
    if check == "kernel-version" and layout not in BY_NAME:
        assert finding.outcome is Outcome.UNKNOWN and f"no kernel was found for the modules in {FOLDER}" in finding.message
        return
    assert finding.outcome is Outcome.NO
    assert said in finding.message


def test_several_kernels_are_nobodys_fault(plain: Files, tmp_path: Path) -> None:
    other = "6.1.0-9-amd64"
    second: Files = {
        path.replace(KERNEL, other): content
        for path, content in LAYOUTS["Debian"](plain).items()
        if KERNEL in path and "/kernel/" not in path
    }
    second = {path: content for path, content in second.items() if not path.endswith((".ko", "dep", ".bin", "alias"))}
    module = elf_samples.module("ext4", vermagic=f"{other} SMP", needs={"printk": 0x12})
    second |= {
        f"/boot/vmlinuz-{other}": elf_samples.kernel(other, {"printk": 0x12}, vermagic="SMP"),
        f"/boot/initrd.img-{other}": elf_samples.initramfs({"init": b"#!/bin/busybox sh\n", "bin/busybox": elf_samples.binary()}),
        f"/usr/lib/modules/{other}/kernel/ext4.ko": module,
        f"/usr/lib/modules/{other}/modules.dep": b"kernel/ext4.ko:\n",
        f"/usr/lib/modules/{other}/modules.alias": b"",
    }
    told = judged(tmp_path, LAYOUTS["Debian"](plain), second, expected=Expected())[1]
    assert {name: finding.message for name, finding in told.items() if finding.outcome is not Outcome.YES} == {}
    wrong: Files = {f"/usr/lib/modules/{other}/kernel/ext4.ko": module.replace(b"6.1.0-9", b"6.1.0-8")}
    assert "kernel/ext4.ko was built for `6.1.0-8" in judged(tmp_path, LAYOUTS["Debian"](plain), second, wrong)[1]["vermagic"].message


def test_what_lies_in_a_file_that_cannot_be_read_is_unknown(plain: Files, tmp_path: Path) -> None:
    place = f"/boot/EFI/Linux/{KERNEL}.efi"
    whole = unified(place)(plain)
    data = whole[place]
    assert isinstance(data, bytes)
    for broken, why in (
        (b"MZ" + bytes(100), "it is no program for UEFI"),
        (data[:0x90], "it is no program for UEFI"),
        (data[:0x1A0], "it ends before its table of sections does"),
        (data[:-600], "it ends before its sections do"),
        (elf_samples.unified({".initrd": b"x"}), "it has no header of a kernel"),
        (data.replace(b"\x1f\x8b", b"\x1f\x8c"), ": it "),
    ):
        told = judged(tmp_path, {**whole, place: broken})[1]
        assert told["readable-binaries"].outcome is Outcome.NO and f"{place}: " in told["readable-binaries"].message
        assert why in told["readable-binaries"].message
        unknown = {name for name, finding in told.items() if finding.outcome is Outcome.UNKNOWN}
        assert unknown == {"init", "kernel-version", "module-symbols", "module-terms", "initramfs-modules", "initramfs-start"}
        assert told["vermagic"].outcome is Outcome.YES  # modules are held against each other
    alone: Files = {path: content for path, content in whole.items() if path != place}
    alone |= {f"{FOLDER}/{NVIDIA}": driver_module(vermagic="6.1.0 SMP")}
    told = judged(tmp_path, alone)[1]
    assert told["kernel-version"].message == f"no kernel was found for the modules in {FOLDER}"
    assert told["vermagic"].outcome is Outcome.NO


def test_a_unified_image_of_a_lower_layer_is_kept_and_may_go(plain: Files, tmp_path: Path) -> None:
    place = f"/boot/EFI/Linux/{KERNEL}.efi"
    lower = read(tmp_path, [unified(place)(plain)])
    assert lower.kernels.keys() == lower.initramfs.keys() == {place}
    upper = read(tmp_path, [{"/a": b""}], lower)
    assert (upper.kernels, upper.initramfs) == (lower.kernels, lower.initramfs)
    gone = read(tmp_path, [{f"/boot/EFI/Linux/.wh.{KERNEL}.efi": b""}], lower)
    assert not gone.kernels and not gone.initramfs


def test_a_signature_beside_a_kernel_and_an_addon_are_none(plain: Files, tmp_path: Path) -> None:
    beside: Files = {f"/boot/vmlinuz-{KERNEL}.sig": b"x", "/boot/initrd.img-1.hmac": b"x", "/boot/EFI/Linux/a.addon.efi": b"MZ"}
    assert judged(tmp_path, LAYOUTS["Debian"](plain), beside)[1]["readable-binaries"].outcome is Outcome.YES


def test_modules_in_an_initramfs_may_be_unpacked(plain: Files, tmp_path: Path) -> None:
    files = {
        path.removesuffix(".xz"): lzma.decompress(data)
        for path, data in driver().items()
        if path.endswith(".ko.xz") and isinstance(data, bytes)
    }
    inside = {path.removeprefix(f"{FOLDER}/"): data for path, data in files.items() if "nouveau" not in path}
    loose = elf_samples.initramfs({f"lib/modules/{KERNEL}/{path}": data for path, data in inside.items()})
    told = judged(tmp_path, LAYOUTS["Debian"]({**plain, f"{FOLDER}/initramfs.img": loose}))[1]["initramfs-modules"]
    assert "is not among" not in told.message and "is not the one" not in told.message
    assert f"/lib/modules/{KERNEL}/modules.dep is not there" in told.message


def test_an_initramfs_without_a_name_is_known_by_its_modules(plain: Files, tmp_path: Path) -> None:
    """And one for another kernel is none of this one's."""
    other = LAYOUTS["Arch"](plain) | {"/boot/initramfs-linux.img": initramfs({}, "6.1.0")}
    told = judged(tmp_path, other)[1]["initramfs-modules"]
    assert (told.outcome, told.message) == (Outcome.UNKNOWN, f"no initramfs was found for {KERNEL}")


def test_a_folder_lib_of_its_own_hides_the_modules(plain: Files, tmp_path: Path) -> None:
    told = judged(tmp_path, plain, {"/lib/x": b""})[1]["module-indexes"]
    assert told.outcome is Outcome.NO
    assert f"modprobe looks in /lib/modules, which does not lead to {FOLDER}" in told.message
    assert judged(tmp_path, {**plain, "/lib": "usr/lib"})[1]["module-indexes"].outcome is Outcome.YES
    linked: Files = {**plain, "/lib/modules": "../usr/lib/modules"}
    assert judged(tmp_path, linked)[1]["module-indexes"].outcome is Outcome.YES


def test_an_app_stays_an_app_and_a_container_with_modules_is_no_node(tmp_path: Path) -> None:
    app: Files = {"/usr/bin/tool": b"", "/usr/lib/modules/6.1.0/modules.builtin": b"", "/usr/lib/modules-load.d/a.conf": b""}
    assert not KERNEL_CHECKS - {"library-needs", "readable-binaries", "package-files"} & judged(tmp_path, app)[1].keys()
    path = "/lib/modules/6.8.0-31-generic/kernel/drivers/video/nvidia.ko"
    needs = elf_samples.binary(needed=["libcuda.so.1"])
    carrier: Files = {
        path: driver_module(vermagic="6.8.0-31-generic SMP", more=[("version", DRIVER), ("alias", CLAIM)]),
        "/usr/lib/liba.so": needs,
    }
    found = read(tmp_path, [carrier])
    told = {finding.name: finding for finding in verify_image(found, bootable=is_bootable(found, {}))}
    fatal = {name: finding.message for name, finding in told.items() if finding.condemns() and name in KERNEL_CHECKS}
    assert fatal == {}  # a node's driver is not all here, and need not be
    assert {told[name].outcome for name in ("kernel-version", "vermagic", "module-symbols", "module-indexes")} == {Outcome.UNKNOWN}
