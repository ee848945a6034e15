"""Programs on a mounted partition are exchanged for newer ones, and left alone where they are the same or newer."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import efi_samples
import pytest
from images_read import DASH, LOCK

from aistack.compose import boot_programs
from aistack.compose.findings import Finding, Outcome
from aistack.diagnostics import DiagnosticError
from aistack.facts import efi
from aistack.facts.filesystem import Entry, Filesystem
from aistack.facts.pins import LockedRoot
from aistack.host import disk, disk_layout, esp

NAMES = ("BOOTX64.EFI", "grubx64.efi", "mmx64.efi")


def lay(folder: Path, text: str, version: str) -> Path:
    (folder / efi.FOLDER).mkdir(parents=True)
    for name in NAMES:
        (folder / efi.FOLDER / name).write_bytes(efi_samples.program(f"{name} {text}"))
    (folder / efi.VERSIONS).write_text(f"grub-efi-amd64-signed {version}\nshim-signed 1.51\n")
    return folder


def test_newer_programs_take_the_place_of_older_ones_shim_last(tmp_path: Path) -> None:
    image, mounted = lay(tmp_path / "image", "new", "1+2.12+9+deb13u4"), lay(tmp_path / "esp", "old", "1+2.12+9+deb13u3")
    (mounted / efi.FOLDER / "grub.cfg").write_text("stays")
    (mounted / efi.FOLDER / "mmx64.efi.new").write_text("left by a power cut")
    assert not esp.is_older(image, mounted)
    assert esp.refresh(image, mounted) == ("grubx64.efi", "mmx64.efi", "BOOTX64.EFI")
    assert {path.name: path.read_bytes() for path in (mounted / efi.FOLDER).iterdir()} == {
        **{name: efi_samples.program(f"{name} new") for name in NAMES},
        "grub.cfg": b"stays",
    }
    assert (mounted / efi.VERSIONS).read_text() == (image / efi.VERSIONS).read_text()
    assert esp.refresh(image, mounted) == ()


WHOLE = efi_samples.program("x")
BROKEN = [
    (b"", "it is no program for UEFI"),
    (b"MZ", "it ends within its headers"),
    (WHOLE[:0x44], "it ends within its headers"),
    (WHOLE[:0x3C] + b"\xff\xff\xff\x7f" + WHOLE[0x40:], "it ends within its headers"),
    (WHOLE[:0x40] + b"NE" + WHOLE[0x42:], "it has no header of a program for UEFI"),
    (efi_samples.program("x", machine=0xAA64), "it is for another processor than x64"),
    (WHOLE[:0x220], "it ends before its sections do"),
    (WHOLE[:-1], "it ends before its signatures do"),
    (WHOLE[:0x210] + b"?" + WHOLE[0x211:], "it is not what was signed"),
    (WHOLE[:0x50] + b"?" + WHOLE[0x51:], "it is not what was signed"),
]


@pytest.mark.parametrize(("data", "why"), BROKEN)
@pytest.mark.parametrize("name", NAMES)
def test_a_broken_program_is_refused_and_nothing_is_exchanged(name: str, data: bytes, why: str, tmp_path: Path) -> None:
    image, mounted = lay(tmp_path / "image", "new", "2"), lay(tmp_path / "esp", "old", "1")
    (image / efi.FOLDER / name).write_bytes(data)
    with pytest.raises(DiagnosticError) as caught:
        esp.refresh(image, mounted)
    assert (caught.value.diagnostics[0].rule, caught.value.diagnostics[0].why) == ("ESP003", (f"{name}: {why}",))
    assert {path.read_bytes() for path in (mounted / efi.FOLDER).iterdir()} == {efi_samples.program(f"{one} old") for one in NAMES}


@pytest.mark.parametrize("arch", ["amd64", "arm64"])
def test_an_image_brings_the_programs_that_a_disk_has(arch: str) -> None:
    assert efi.names(arch) == tuple(disk_layout.efi_programs(disk.KERNEL_ARCH[arch]))


def image_with(**changes: bytes | None) -> Finding:
    """What is said of an image for these packages, with files changed, or (None) left out."""
    files = {name: efi_samples.program(name) for name in NAMES}
    files = {f"{efi.FOLDER}/{name}": data for name, data in files.items()} | {efi.VERSIONS: b"shim-signed 1.51\n"}
    for name, data in changes.items():
        place = next(path for path in files if path.rpartition("/")[2].partition(".")[0].replace("-", "_") == name)
        if data is None:
            del files[place]
        else:
            files[place] = data
    texts = {f"{efi.IMAGE}/{path}": data for path, data in files.items()}
    entries = {path: Entry(kind="file", mode=0o644, uid=0, gid=0, size=len(data)) for path, data in texts.items()}
    shim = dataclasses.replace(DASH, name="shim-signed", version="1.51")
    lock = dataclasses.replace(LOCK, roots=(*LOCK.roots, ("tools", LockedRoot(arch="amd64", os="debian-13", packages=(DASH, shim)))))
    (finding,) = boot_programs.whole(Filesystem(entries=entries, texts=texts), lock)
    return finding


def test_an_images_programs_are_held_to_its_lock() -> None:
    assert image_with().outcome is Outcome.YES
    for data, why in (*BROKEN, (efi_samples.program("x", signed=False), "nobody signed it"), (None, "is not there")):
        for name in NAMES:
            finding = image_with(**{name.partition(".")[0]: data})
            assert finding.outcome is Outcome.NO and name in finding.message and why in finding.message
    for versions in (b"shim-signed 1.50\n", b"", None):
        assert "aistack-versions does not have the versions of the lock" in image_with(aistack_versions=versions).message


def test_a_lock_without_such_programs_asks_for_none() -> None:
    assert list(boot_programs.whole(Filesystem(entries={}, texts={}), LOCK)) == []


def test_what_is_the_same_is_not_written(tmp_path: Path) -> None:
    image, mounted = lay(tmp_path / "image", "same", "2"), lay(tmp_path / "esp", "same", "2")
    (mounted / efi.VERSIONS).unlink()
    before = {name: (mounted / efi.FOLDER / name).stat().st_ino for name in NAMES}
    assert esp.refresh(image, mounted) == ()
    assert before == {name: (mounted / efi.FOLDER / name).stat().st_ino for name in NAMES}
    assert (mounted / efi.VERSIONS).exists(), "a disk that was made without it learns what it has"


def test_an_older_image_is_told_apart(tmp_path: Path) -> None:
    image = lay(tmp_path / "image", "x", "1+2.12+9+deb13u4")
    assert esp.is_older(image, lay(tmp_path / "newer", "x", "1+2.14-1"))
    assert not esp.is_older(image, lay(tmp_path / "same", "x", "1+2.12+9+deb13u4"))
    (tmp_path / "unknown").mkdir()
    assert not esp.is_older(image, tmp_path / "unknown")


def test_the_partition_is_that_of_the_disk_that_holds_boot(tmp_path: Path) -> None:
    import os

    number = tmp_path.stat().st_dev
    disk = tmp_path / "devices/vda"
    for name, partname in (("vda2", "aistack-esp"), ("vda3", "aistack-boot")):
        (disk / name).mkdir(parents=True)
        (disk / name / "uevent").write_text(f"MAJOR=254\nDEVNAME={name}\nPARTNAME={partname}\n")
    block = tmp_path / "block"
    block.mkdir()
    (block / f"{os.major(number)}:{os.minor(number)}").symlink_to(disk / "vda3")
    assert esp.partition(tmp_path, block) == Path("/dev/vda2")
    (disk / "vda2/uevent").write_text("DEVNAME=vda2\n")
    with pytest.raises(DiagnosticError, match="no partition"):
        esp.partition(tmp_path, block)
