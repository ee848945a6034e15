"""Kernel arguments: how a command line is taken apart, and the files of /usr/lib/bootc/kargs.d by which an image asks for them.

The files' format is https://bootc-dev.github.io/bootc/building/kernel-arguments.html; quotes are as in the kernel's lib/cmdline.c.
"""

from __future__ import annotations

import re
import tomllib

FOLDER = "/usr/lib/bootc/kargs.d"
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Architectures as images spell them, and as these files do; others are called alike."""

ARGUMENTS, ARCHITECTURES = "kargs", "match-architectures"

WORD = re.compile(r'(?:"[^"]*"?|[^\s"])+')
NOT_HANDED_ON = re.compile(r"['\\\x00-\x08\x0a-\x1f\x7f]")
"""What GRUB 2.12 writes another way than it reads it: it puts a backslash before a quote and a backslash."""

RESERVED = ("aistack.trial", "ostree")
"""What the menu alone says of each boot: which deployment it starts, and that it is counted."""


def split(line: str) -> tuple[str, ...]:
    """The arguments of a command line: double quotes keep spaces together, and stay."""
    return tuple(WORD.findall(line))


def problem(argument: str) -> str | None:
    """Why an argument would not reach the kernel as it is written, or must not; None where it may.

    Who reads the command line for what is reserved looks into quotes as well, so these hide nothing.
    """
    if argument.count('"') % 2:
        return f"`{argument}` has a double quote too many"
    if found := NOT_HANDED_ON.search(argument):
        return f"`{argument}` has {found[0]!r}, which GRUB does not hand on as it is"
    for word in argument.replace('"', " ").split():
        if word.partition("=")[0] in RESERVED:
            return f"`{word}` is the boot menu's to say, and no image's"
    return None


def read(content: bytes) -> tuple[tuple[str, ...], tuple[str, ...] | None]:
    """The arguments in a file, and the architectures that they are for, as the kernel spells them (`x86_64`); None: for all.

    A string of the file may hold several, with spaces between.
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
    if found := next(filter(None, map(problem, document[ARGUMENTS])), None):
        raise ValueError(found)
    architectures = document.get(ARCHITECTURES)
    arguments = tuple(argument for text in document[ARGUMENTS] for argument in split(text))
    return arguments, None if architectures is None else tuple(architectures)
