"""Programs on a mounted partition are exchanged for newer ones, and left alone where they are the same or newer."""

from __future__ import annotations

from pathlib import Path

import pytest

from aistack.diagnostics import DiagnosticError
from aistack.host import esp

NAMES = ("BOOTX64.EFI", "grubx64.efi", "mmx64.efi")


def lay(folder: Path, text: str, version: str) -> Path:
    (folder / esp.FOLDER).mkdir(parents=True)
    for name in NAMES:
        (folder / esp.FOLDER / name).write_text(f"{name} {text}")
    (folder / esp.VERSIONS).write_text(f"grub-efi-amd64-signed {version}\nshim-signed 1.51\n")
    return folder


def test_newer_programs_take_the_place_of_older_ones_shim_last(tmp_path: Path) -> None:
    image, mounted = lay(tmp_path / "image", "new", "1+2.12+9+deb13u4"), lay(tmp_path / "esp", "old", "1+2.12+9+deb13u3")
    (mounted / esp.FOLDER / "grub.cfg").write_text("stays")
    (mounted / esp.FOLDER / "mmx64.efi.new").write_text("left by a power cut")
    assert not esp.is_older(image, mounted)
    assert esp.refresh(image, mounted) == ("grubx64.efi", "mmx64.efi", "BOOTX64.EFI")
    assert {path.name: path.read_text() for path in (mounted / esp.FOLDER).iterdir()} == {
        **{name: f"{name} new" for name in NAMES},
        "grub.cfg": "stays",
    }
    assert (mounted / esp.VERSIONS).read_text() == (image / esp.VERSIONS).read_text()
    assert esp.refresh(image, mounted) == ()


def test_what_is_the_same_is_not_written(tmp_path: Path) -> None:
    image, mounted = lay(tmp_path / "image", "same", "2"), lay(tmp_path / "esp", "same", "2")
    (mounted / esp.VERSIONS).unlink()
    before = {name: (mounted / esp.FOLDER / name).stat().st_ino for name in NAMES}
    assert esp.refresh(image, mounted) == ()
    assert before == {name: (mounted / esp.FOLDER / name).stat().st_ino for name in NAMES}
    assert (mounted / esp.VERSIONS).exists(), "a disk that was made without it learns what it has"


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
