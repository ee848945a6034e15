"""Kernel arguments that an image asks for: one file of its /usr/lib/bootc/kargs.d.

The format is https://bootc-dev.github.io/bootc/building/kernel-arguments.html.
"""

from __future__ import annotations

import tomllib

FOLDER = "/usr/lib/bootc/kargs.d"
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Architectures as images spell them, and as these files do; others are called alike."""

ARGUMENTS, ARCHITECTURES = "kargs", "match-architectures"


def read(content: bytes) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """The arguments in a file, and the architectures that they are for, as the kernel spells them (`x86_64`); None: for all.

    Raises ValueError, with the reason, for what is no such file.
    """
    try:
        document = tomllib.loads(content.decode())
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if unknown := sorted(document.keys() - {ARGUMENTS, ARCHITECTURES}):
        raise ValueError(f"`{unknown[0]}` is not a known key")
    for key, value in document.items():
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise ValueError(f"`{key}` must be a list of strings")
    if ARGUMENTS not in document:
        raise ValueError(f"`{ARGUMENTS}` is missing")
    architectures = document.get(ARCHITECTURES)
    return tuple(document[ARGUMENTS]), None if architectures is None else tuple(architectures)
