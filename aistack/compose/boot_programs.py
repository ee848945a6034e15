"""The programs for UEFI that a node brings onto its EFI system partition: a broken one would be what its firmware starts."""

from __future__ import annotations

from collections.abc import Iterator

from aistack.compose.findings import Finding, answer, some
from aistack.compose.lock import Lock
from aistack.facts import efi
from aistack.facts.efi import IMAGE
from aistack.facts.filesystem import Filesystem


def wanted(path: str) -> bool:
    """The files whose contents are read for it."""
    return path.startswith(f"{IMAGE}/")


def whole(filesystem: Filesystem, lock: Lock) -> Iterator[Finding]:
    """Whether they are all there, whole, signed, and of the lock's packages; nothing where the lock has none of these."""
    tools = dict(lock.roots).get("tools")
    versions = {package.name: package.version for package in tools.packages if package.name in efi.packages(lock.arch)} if tools else {}
    if not versions and not filesystem.kind(IMAGE):
        return
    wrong = []
    places = {f"{IMAGE}/{efi.FOLDER}/{name}": name for name in efi.names(lock.arch)}
    for path in sorted({*places, *filesystem.below(f"{IMAGE}/{efi.FOLDER}")}):
        data = filesystem.texts.get(path)
        if filesystem.kind(path) != "file" or data is None:
            wrong.append(f"{path} is not there, or no file")
        else:
            wrong += [f"{path}: {problem}" for problem in efi.problems(path.rpartition("/")[2], data, signed=True)]
    if filesystem.texts.get(f"{IMAGE}/{efi.VERSIONS}") != efi.versions_text(versions):
        wrong.append(f"{IMAGE}/{efi.VERSIONS} does not have the versions of the lock")
    yield answer("boot-programs", not wrong, "shim and GRUB for the EFI system partition are whole, signed, and the lock's", some(wrong))
