"""The programs that firmware starts, on the EFI system partition: exchanged for newer ones without a moment in which one is missing."""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path

from aistack.diagnostics import unable
from aistack.facts import efi
from aistack.facts.efi import FOLDER, VERSIONS
from aistack.facts.version import Scheme, key

RENAME_EXCHANGE = 2  # renameat2(2); vfat has it since Linux 6.0


def partition(boot: Path, devices: Path = Path("/sys/dev/block")) -> Path:
    """The device of the EFI system partition that `table` in disk_layout.py laid out, on the disk that holds `boot`."""
    number = boot.stat().st_dev
    disk = (devices / f"{os.major(number)}:{os.minor(number)}").resolve().parent
    for event in sorted(disk.glob("*/uevent")):
        words = dict(line.split("=", 1) for line in event.read_text().splitlines() if "=" in line)
        if words.get("PARTNAME") == "aistack-esp":
            return Path("/dev") / words["DEVNAME"]
    raise unable("ESP001", "esp-missing", f"the disk that holds {boot} has no partition `aistack-esp`")


def is_older(image: Path, esp: Path) -> bool:
    """Whether the image has an older program than the partition: going back is for nobody, as firmware may remember to refuse it."""
    there = esp / VERSIONS
    if not there.exists():
        return False
    ours, theirs = (dict(line.split() for line in file.read_text().splitlines()) for file in (image / VERSIONS, there))
    return any(name in theirs and key(ours[name], Scheme.DEBIAN) < key(theirs[name], Scheme.DEBIAN) for name in ours)


def refresh(image: Path, esp: Path) -> tuple[str, ...]:
    """Bring the programs of an image (a folder) onto the mounted partition; returns the names of those that were not there already.

    GRUB goes first and shim last: an older shim starts a newer GRUB, while a newer shim may refuse an older one. Raises DiagnosticError
    (exit 3), with nothing changed, where one of the image's is no program.
    """
    programs = sorted((image / FOLDER).iterdir(), key=lambda path: (not path.name.startswith("grub"), path.name.startswith("BOOT")))
    if broken := [f"{path.name}: {why}" for path in programs for why in efi.problems(path.name, path.read_bytes(), signed=False)]:
        raise unable(
            "ESP003", "program-broken", "this system's programs for UEFI are broken; the partition keeps its own", why=tuple(broken)
        )
    for left in (esp / FOLDER).glob("*.new"):
        left.unlink()
    changed = []
    for program in programs:
        target = esp / FOLDER / program.name
        if not target.exists() or target.read_bytes() != program.read_bytes():
            exchange(program, target)
            changed.append(program.name)
    versions = esp / VERSIONS
    if not versions.exists() or versions.read_bytes() != (image / VERSIONS).read_bytes():
        exchange(image / VERSIONS, versions)
    return tuple(changed)


def exchange(source: Path, target: Path) -> None:
    """Put a copy of a file in the place of another: written beside it and seen on the disk first, then both names change in one step."""
    beside = target.with_name(f"{target.name}.new")
    with source.open("rb") as content, beside.open("wb") as stream:
        shutil.copyfileobj(content, stream)
        stream.flush()
        os.fsync(stream.fileno())
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
        if target.exists():
            libc = ctypes.CDLL(None, use_errno=True)
            names = (os.fsencode(beside.name), folder, os.fsencode(target.name))
            if libc.renameat2(folder, *names, RENAME_EXCHANGE) != 0:
                why = os.strerror(ctypes.get_errno())
                beside.unlink()
                raise unable("ESP002", "exchange-failed", f"cannot exchange {target.name} on the EFI system partition", why=(why,))
            os.fsync(folder)
            beside.unlink()
        else:
            beside.rename(target)
        os.fsync(folder)
    finally:
        os.close(folder)
