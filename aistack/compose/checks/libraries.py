"""Every library that a program or a library needs is where the loader looks: ld.so(8), https://man7.org/linux/man-pages/man8/ld.so.8.html.

What lies in a folder of its own, such as a plugin, is loaded by a program that has loaded others before: there it is enough that the image
has such a library at all.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Iterator

from aistack.compose.checks.tree import boots
from aistack.compose.findings import Check
from aistack.facts.binary import Binary
from aistack.facts.filesystem import Filesystem

CONFIGURATION = "/etc/ld.so.conf"
DEFAULT = ("/lib", "/usr/lib", "/lib64", "/usr/lib64", "/lib32", "/usr/lib32", "/usr/local/lib")
MULTIARCH = re.compile(r"(?:/usr)?/lib/\w+-linux-(?:gnu|musl)\w*|.*/glibc-hwcaps/[^/]+")
INJECTED = re.compile(r"lib(?:cuda|cudadebugger|nvcuvid|nvoptix|nvidia-[\w-]+)\.so\.1")
"""What a node's driver lends to containers: an image that does not boot need not have it."""


def _needs(filesystem: Filesystem) -> list[str]:
    searched = {filesystem.resolved(folder) for folder in _searched(filesystem)}
    anywhere = _names(filesystem)
    booted = boots(filesystem)
    told = () if booted else re.split("[:;]", filesystem.environment.get("LD_LIBRARY_PATH", ""))  # a booted system does not read it

    def found(folder: str, name: str, binary: Binary) -> bool:
        there = filesystem.binaries.get(filesystem.resolved(f"{folder}/{name}"))
        return there is not None and (there.machine, there.bits) == (binary.machine, binary.bits)

    wrong = []
    for path, binary in sorted(filesystem.binaries.items()):
        here = posixpath.dirname(path)
        folders = [*(_own(folder, here) for folder in binary.runpath or binary.rpath), *filter(None, told), *searched]
        strict = bool(binary.interpreter) or here in searched
        if binary.interpreter and not filesystem.kind(filesystem.resolved(binary.interpreter)):
            wrong.append(f"{path} asks for the loader {binary.interpreter}, which is not there")
        for name in binary.needed:
            known = any(found(folder, name, binary) for folder in folders) or (
                not strict and (name, binary.machine, binary.bits) in anywhere
            )
            if not known and (booted or not INJECTED.fullmatch(name)):
                wrong.append(
                    f"{path} needs {name}, which is not where it is looked for" if strict else f"{path} needs {name}, which is nowhere"
                )
    return wrong


def _own(folder: str, here: str) -> str:
    """A folder that a binary names itself, with what stands for its own."""
    return re.sub(r"\$(?:ORIGIN\b|\{ORIGIN\})", lambda _: here, folder)


def _searched(filesystem: Filesystem) -> Iterator[str]:
    """The folders in which the loader looks for everybody."""
    yield from DEFAULT
    yield from (path for path in filesystem.entries if MULTIARCH.fullmatch(path))
    files, seen = [CONFIGURATION], set[str]()
    while files:
        file = files.pop()
        for line in (filesystem.text(file) or "").splitlines() if file not in seen else ():
            word = line.partition("#")[0].strip()
            if word.startswith("include "):
                pattern = posixpath.join("/etc", word.removeprefix("include ").strip())
                files += fnmatch.filter(filesystem.below(posixpath.dirname(pattern)), pattern)
            elif word.startswith("/"):
                yield word.partition("=")[0].rstrip()
        seen.add(file)


def _names(filesystem: Filesystem) -> set[tuple[str, str, int]]:
    """The names of all libraries, their links' too, with the processor that each is for."""
    names = {
        (name, binary.machine, binary.bits)
        for path, binary in filesystem.binaries.items()
        for name in (posixpath.basename(path), binary.soname)
    }
    for path, entry in filesystem.entries.items():
        if entry.kind == "link" and ".so" in path and (binary := filesystem.binaries.get(filesystem.resolved(path))):
            names.add((posixpath.basename(path), binary.machine, binary.bits))
    return names


CHECKS = (Check(name="library-needs", description="every library that a program or a library needs is found", look=_needs),)
