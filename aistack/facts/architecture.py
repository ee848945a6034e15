"""The names of processor architectures: every vendor has its own."""

from __future__ import annotations

import re

ARCHITECTURES = {
    **dict.fromkeys(("x86_64", "x86-64", "x64", "amd64"), "amd64"),
    **dict.fromkeys(("aarch64", "arm64", "arm64v8", "sbsa"), "arm64"),
    **dict.fromkeys(("ppc64le", "ppc64el", "powerpc64le"), "ppc64le"),
    **dict.fromkeys(("i386", "i486", "i586", "i686"), "i386"),
}
"""The names of processor architectures, and what recipes and rules call them."""


def architecture_named(text: str) -> str | None:
    """The processor architecture that a kernel, a package source or an image's tag has in its name; None where it has none, or two."""
    words = re.split(r"[-./:+~ ]|_(?!64)", text.lower())
    found = {ARCHITECTURES[word] for word in words if word in ARCHITECTURES}
    return found.pop() if len(found) == 1 else None
