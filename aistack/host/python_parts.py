"""The Python packages that only building needs, so that a node does without: the extra `build` of this package."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shlex
import sys
from collections.abc import Iterable
from contextlib import suppress

from packaging.requirements import InvalidRequirement, Requirement

from aistack.diagnostics import unable

EXTRA = "build"


def wanted() -> tuple[Requirement, ...]:
    """What the extra asks for, as this package's own metadata says; nothing where that is not at hand, as in a plain copy of the code."""
    try:
        lines = importlib.metadata.requires("aistack") or []
    except importlib.metadata.PackageNotFoundError:
        return ()
    found = []
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            continue
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}) and requirement.marker.evaluate({"extra": EXTRA}):
            found.append(requirement)
    return tuple(found)


def version(name: str) -> str:
    """The version of a Python package here, `none` where there is none."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def missing() -> tuple[Requirement, ...]:
    """Those that this Python lacks, or has too old."""
    return tuple(one for one in wanted() if not _fits(one))


def versions(names: Iterable[str]) -> tuple[str, ...]:
    """`NAME VERSION` of those of the named packages that this Python has."""
    found = []
    for name in names:
        with suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    return tuple(found)


def require() -> None:
    """Raises DiagnosticError (exit 3) when one is missing, with the line that installs them."""
    if lacking := missing():
        names = ", ".join(str(one.name) for one in lacking)
        message = f"Python packages that locking and building need are missing: {names}"
        raise unable("HOST005", "python-part-missing", message, hints=(mend(),))


def mend() -> str:
    """The one line that installs them into this Python."""
    pip = [sys.executable, "-m", "pip"] if importlib.util.find_spec("pip") else ["uv", "pip"]
    place = [] if importlib.util.find_spec("pip") else ["--python", sys.executable]
    return shlex.join([*pip, "install", *place, *(f"{one.name}{one.specifier}" for one in wanted())])


def _fits(requirement: Requirement) -> bool:
    try:
        return requirement.specifier.contains(importlib.metadata.version(requirement.name), prereleases=True)
    except importlib.metadata.PackageNotFoundError:
        return False
