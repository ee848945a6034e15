"""What building modules leaves behind, and no node needs: compilers and their like, headers, DKMS's folders, and the keys that sign."""

from __future__ import annotations

import re

from aistack.compose.findings import Check
from aistack.facts.filesystem import Filesystem

PROGRAMS = "/(?:usr|opt|var/opt)/(?:.+/)?bin/"
"""Where programs are, those too that a distribution or somebody else keeps in a folder of their own (`/usr/lib/llvm-19/bin`)."""
TRIPLET = r"(?:[\w.]+-linux-\w+-)?"
PARTS = {
    "a compiler": re.compile(
        rf"({PROGRAMS}(?:[\w.]+-)*(?:gcc|g\+\+|cc|c\+\+|c[89]9|clang|clang\+\+|rustc|tcc|nvcc)(?:-[\d.]+)?"
        r"|/usr/lib(?:exec)?/gcc/.*/(?:cc1|cc1plus))"
    ),
    "an assembler": re.compile(rf"({PROGRAMS}{TRIPLET}as)"),
    "a linker": re.compile(rf"({PROGRAMS}{TRIPLET}(?:ld|ld\.(?:bfd|gold|lld)|lld)(?:-[\d.]+)?)"),
    "make": re.compile(rf"({PROGRAMS}g?make)"),
    "headers of a kernel": re.compile(r"(/usr/src/(?:linux-|kernels/)[^/]+)/.+"),
    "what a kernel's modules are made with": re.compile(r"(/usr/lib/linux-kbuild-[^/]+)/.+"),
    "DKMS": re.compile(
        r"(/usr/s?bin/dkms|/(?:usr/src|usr/local|opt|var/opt)/(?:.+/)?dkms\.conf|/var/lib/dkms/[^/]+)(?:/.*)?",
    ),
}
HEADERS = re.compile(r"/usr/lib/modules/[^/]+/(?:build|source)")

SIGNING_KEY = re.compile(
    r"/.*/dkms/mok\.(?:key|priv)|/var/lib/shim-signed/mok/[^/]+\.priv|/etc/pki/akmods/private/.+|/.*/certs/signing_key\.(?:pem|priv)"
    r"|/.*/MOK\.priv"
)
"""Where distributions keep keys that sign modules, whatever their form."""
DKMS_SETTINGS = re.compile(r"/etc/dkms/framework\.conf(?:\.d/[^/]+\.conf)?")
DKMS_KEY = re.compile(rb"^[ \t]*mok_signing_key=[\"']?([^\s\"'#]+)", re.MULTILINE)
"""Where DKMS is told to keep it."""


def _build_tools(filesystem: Filesystem) -> list[str]:
    found: dict[str, str] = {}
    for path, entry in filesystem.entries.items():
        if entry.kind != "directory":
            found |= {match[1]: what for what, pattern in PARTS.items() if (match := pattern.fullmatch(path))}
        if HEADERS.fullmatch(path) and filesystem.kind(filesystem.resolved(path)) == "directory":
            found[path] = "headers of a kernel"
    return [f"{path} is {what}" for path, what in sorted(found.items())]


def _keys(filesystem: Filesystem) -> list[str]:
    settings = (text for path, text in filesystem.texts.items() if DKMS_SETTINGS.fullmatch(path))
    named = {match[1].decode(errors="replace") for text in settings for match in DKMS_KEY.finditer(text)}
    found = [path for path in filesystem.entries if SIGNING_KEY.fullmatch(path) or path in named]
    return [f"{path} is a key that signs modules" for path in sorted(found)]


CHECKS = (
    Check(
        name="no-build-tools",
        description="no compiler, linker or make, no headers of a kernel, no DKMS",
        look=_build_tools,
        fatal=False,
        bootable=True,
    ),
    Check(name="no-signing-key", description="no key that signs modules", look=_keys),
)
