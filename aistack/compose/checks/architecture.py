"""What runs on the node is for the image's processor: kernel, modules, the driver's libraries, and the programs that the node starts.

Firmware is for processors of its own, and a package of another architecture brings libraries into folders of theirs: neither is judged.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from functools import partial

from aistack.compose.checks.driver import LIBRARY, MAIN
from aistack.compose.checks.expected import Expected
from aistack.compose.checks.references import started_programs
from aistack.compose.findings import Check
from aistack.facts.binary import Binary
from aistack.facts.filesystem import Filesystem

MACHINES = {
    "amd64": ("EM_X86_64", "EM_386"),
    "arm64": ("EM_AARCH64", "EM_ARM"),
    "loong64": ("EM_LOONGARCH",),
    "ppc64le": ("EM_PPC64",),
    "riscv64": ("EM_RISCV",),
    "s390x": ("EM_S390",),
}
"""What ELF calls the processor of an image's architecture, and behind it those whose programs its kernel runs as well."""
NAMES = {"EM_X86_64": "x86_64", "EM_386": "i386", "EM_AARCH64": "aarch64", "EM_ARM": "arm", "EM_RISCV": "riscv64", "EM_S390": "s390x"}
"""What folders of libraries and emulators are called for them."""
NOT_SAID = "the image does not say for which architecture it is"
PROGRAM = re.compile(r"(?:/usr(?:/local)?)?/s?bin/[^/]+|/usr/libexec/.+|(?:/usr)?/lib/systemd/[^/]+|/init")
EMULATORS = re.compile(r"(?:/usr/lib|/etc)/binfmt\.d/.+\.conf|/usr/share/binfmts/.+")
"""What runs programs for other processors: binfmt.d(5)."""


def check(expected: Expected) -> Check:
    """The check, with what is expected of the image."""
    return Check(
        name="architecture",
        description="kernel, modules, the driver's libraries and the programs that the node starts are for the image's processor",
        look=partial(_architecture, expected=expected),
        bootable=True,
    )


def _architecture(filesystem: Filesystem, expected: Expected) -> list[str] | str:
    machines = MACHINES.get(filesystem.arch)
    if machines is None:
        return f"what processors of the architecture `{filesystem.arch}` are called is not known" if filesystem.arch else NOT_SAID
    wrong = [
        f"{path} is for {_said(kernel.machine)}, the image for {filesystem.arch}"
        for path, kernel in sorted(filesystem.kernels.items())
        if kernel.machine not in ("", machines[0])
    ]
    wrong += _others(filesystem, filesystem.arch)
    for image, inside in filesystem.initramfs.items():
        wrong += [f"{image}: {problem}" for problem in _others(inside, filesystem.arch)]
    if expected.driver:
        wrong += _lacking(filesystem, machines[0], expected.driver)
    blind = [path for path, kernel in sorted(filesystem.kernels.items()) if not kernel.machine]
    return wrong or (f"which processor {', '.join(blind)} is for cannot be told" if blind else [])


def _others(filesystem: Filesystem, arch: str) -> Iterator[str]:
    """Modules, libraries of the driver and programs that are for another processor."""
    own, *_ = runs = MACHINES[arch]
    for path, module in sorted(filesystem.modules.items()):
        if module.machine != own:
            yield f"{path} is for {_said(module.machine)}, the image for {arch}"
    for path, binary in sorted(filesystem.binaries.items()):
        if LIBRARY.fullmatch(path) and binary.machine not in runs and f"/{NAMES.get(binary.machine)}-linux-" not in path:
            yield f"{path} is for {_said(binary.machine)}, the image for {arch}"
    emulators = [path for path in filesystem.entries if EMULATORS.fullmatch(path)]
    for path, binary in sorted(_programs(filesystem).items()):
        name = NAMES.get(binary.machine)
        if binary.machine not in runs and not any(name and name in emulator for emulator in emulators):
            yield f"{path} is for {_said(binary.machine)}, the image for {arch}"


def _programs(filesystem: Filesystem) -> dict[str, Binary]:
    """The programs where everybody looks for them, and those that units start, by the names by which they are started."""
    paths = {path for path in filesystem.entries if PROGRAM.fullmatch(path)}
    paths |= {command.program for command in started_programs(filesystem) if command.program.startswith("/")}
    found = {path: filesystem.binaries.get(filesystem.resolved(path)) for path in paths}
    return {path: binary for path, binary in found.items() if binary}


def _lacking(filesystem: Filesystem, own: str, version: str) -> Iterator[str]:
    """Libraries of the driver that are there for other processors alone."""
    for name in MAIN:
        there = [one.machine for path, one in filesystem.binaries.items() if posixpath.basename(path) == f"{name}{version}"]
        if there and own not in there:
            yield f"{name}{version} is for {', '.join(sorted(map(_said, there)))} alone"


def _said(machine: str) -> str:
    return str(machine).removeprefix("EM_").lower()
