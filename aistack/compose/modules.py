"""Kernel modules that a driver's packages compile: what has to be in the root where that is done, what shapes the result, what a log says.

They are compiled for exactly the kernel of the base, from locked packages, in a root that is thrown away: no image holds a compiler.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from aistack.compose.distros import debian
from aistack.compose.sources import MODULES, is_module_sources, module_sources
from aistack.compose.stack import Stack
from aistack.diagnostics import Diagnostic, Severity
from aistack.facts.pins import LockedPackage, LockedRoot
from aistack.values import dataclass

ROOT = MODULES
"""The name of the root in which modules are compiled."""

CERTIFICATE = "/usr/share/aistack/modules.der"
"""Where a base carries the certificate that its compiled modules are signed with: to enrol it, and to compare."""

_KERNEL = re.compile(r"linux-(headers|kbuild|compiler)-")
_TOOLS = re.compile(r"gcc-\d+|binutils|make-dfsg|dkms|kmod|dwarves|xz-utils")
_ERROR = re.compile(r"^(?:[^\s:]*/)?(?P<file>[\w.+-]+):(?P<line>\d+):(?:\d+:)? (?:fatal )?error: (?P<said>.+)$")
_MODPOST = re.compile(r"^(?:ERROR: modpost: |ERROR: )(?P<said>.+)$")
_EXCLUDED = re.compile(r"\bfor module (?P<name>\S+) includes a BUILD_EXCLUSIVE directive")
"""DKMS 3.2 begins a line with it; 3.0 and 2.8, of Debian 12 and 11, name the file before, and the module without its version."""
_REFUSED = re.compile(r"^\*\*\* (?P<said>Failed (?:PREEMPT_RT|Xen|DOM0|vGPU on KVM) sanity check)\b")
"""What NVIDIA's own build says of a kernel for which it is not made, where no dkms.conf said so before."""
_NO_VERDICT = re.compile(
    r"(?:No space left on device|Disk quota exceeded|Cannot allocate memory|\bKilled)$|\d Killed |: Killed signal terminated", re.MULTILINE
)
"""What gcc, make and a shell say where the machine, and not the compiler, put an end to it."""
MOST = 5


def sources(stack: Stack) -> tuple[str, ...]:
    """The packages whose modules are compiled for the node's kernel: the driver's, and those that the recipe names besides."""
    own = stack.driver.modules if stack.driver else ()
    return tuple(dict.fromkeys((*own, *module_sources(stack.sources, stack.packages, stack.os.id, stack.os.id))))


def packages(stack: Stack, kernel: str) -> tuple[str, ...]:
    """The packages of that root for a kernel of that version string; none where no module has to be compiled."""
    named = sources(stack)
    return (debian.kernel_headers(kernel), *named) if named else ()


def named(root: LockedRoot) -> str:
    """What is compiled in that root: `nvidia-kernel-dkms 550.163.01-2`, and so on."""
    return ", ".join(f"{name} {version}" for name, version in versions(root).items())


def versions(root: LockedRoot) -> dict[str, str]:
    """The packages whose modules are compiled in that root, and their versions."""
    return {one.name: one.version for one in root.packages if is_module_sources(one.name)}


def shaping(root: LockedRoot) -> list[str]:
    """The digests of the packages that shape modules: the kernel's headers, sources, compiler and its tools.

    What else the root holds, a shell, a library or a kernel's image, may change without anything being compiled again.
    """
    return [one.sha256 for one in root.packages if is_module_sources(one.name) or _KERNEL.match(one.name) or _TOOLS.fullmatch(_source(one))]


def _source(package: LockedPackage) -> str:
    return package.source.partition(" ")[0]


def errors(log: str) -> tuple[str, ...]:
    """The first things that compiler, linker or DKMS said were wrong, each once and without the builder's folders; empty if none did.

    Empty as well where disk or memory ran out, or a process was killed: what was refused after that, or for that, is no verdict.
    """
    return () if _NO_VERDICT.search(log) else tuple(dict.fromkeys(_errors(log)))[:MOST]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A kernel for which a driver's modules were compiled here: the packages of sources, as `NAME VERSION`, and whether they compile."""

    kernel: str
    sources: str
    compiles: bool


def do_not_compile(what: str, kernel: str, errors: Sequence[str], log: str, tried: Sequence[Tried]) -> Diagnostic:
    """Modules of `what` do not compile for a kernel: what the compiler said first, and all that was `tried`, newest first."""
    works = next((f"{one.kernel} with {one.sources}" for one in tried if one.compiles), "none")
    return Diagnostic(
        rule="KMD001",
        name="modules-do-not-compile",
        severity=Severity.ERROR,
        message=f"the modules of {what} do not compile for kernel {kernel}",
        why=(
            *errors,
            f"everything that the compiler said: {log}",
            *(f"tried here: {one.kernel} with {one.sources}: {'compiles' if one.compiles else 'does not compile'}" for one in tried[:MOST]),
            f"newest kernel that was tried here and works: {works}",
        ),
        hints=("`aistack kernels RECIPE --prove` tries every kernel that the OS offers, from the newest to the first that works",),
    )


def _errors(log: str) -> Iterator[str]:
    for line in log.splitlines():
        if match := _ERROR.match(line):
            yield f"{match['file']}:{match['line']}: {match['said']}"
        elif match := _MODPOST.match(line):
            yield match["said"]
        elif match := _EXCLUDED.search(line):
            yield f"{match['name']} says itself that it is not for this kernel (BUILD_EXCLUSIVE in its dkms.conf)"
        elif match := _REFUSED.match(line):
            yield match["said"]
