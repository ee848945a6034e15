"""Compute capabilities: what compiled code for NVIDIA's accelerators runs on."""

from __future__ import annotations

import re
from collections.abc import Iterable

TEGRA = frozenset({"5.3", "6.2", "7.2", "8.7"})
"""The capabilities of processors with an accelerator inside (Jetson), whose machine code and that of boards do not run on each other."""

_BUILT = re.compile(r"(?:sm_|compute_)?(\d+)\.?(\d)([af]?)(\+PTX)?", re.IGNORECASE)


def capability(target: str | None) -> str | None:
    """`9.0` of `sm_90`, `12.1` of `sm_121`; None for other vendors' names."""
    found = re.fullmatch(r"sm_?(\d{1,2})(\d)[af]?", target or "")
    return f"{found[1]}.{found[2]}" if found else None


def normal(built: str) -> str | None:
    """`9.0a`, `12.0+PTX` of however a list of architectures writes it (`sm_90a`, `compute_120`); None where it is no capability."""
    found = _BUILT.fullmatch(built.strip())
    if found is None:
        return None
    just_in_time = found[4] or built.strip().lower().startswith("compute_")
    return f"{found[1]}.{found[2]}{found[3].lower()}{'+PTX' if just_in_time else ''}"


def covers(architectures: Iterable[str], wanted: str) -> bool | None:
    """Whether code for these capabilities runs on `wanted`: True, False, or None where only PTX could be compiled for it.

    Machine code runs on the same major version with an equal or higher minor one, but not across the border to Jetson's processors.
    With `a` it runs on exactly its own capability, with `f` on its family. `+PTX` is compiled upwards by the driver, unless it is
    bound to one architecture.
    """
    have = tuple(int(part) for part in wanted.split("."))
    just_in_time = False
    for built in architectures:
        text = built.removesuffix("+PTX")
        plain = text.rstrip("af")
        numbers = tuple(int(part) for part in plain.split("."))
        exact = text.endswith("a") or (plain in TEGRA) is not (wanted in TEGRA) or wanted in TEGRA
        if numbers == have if exact else numbers[0] == have[0] and numbers <= have:
            return True
        just_in_time = just_in_time or (built.endswith("+PTX") and text == plain and numbers <= have)
    return None if just_in_time else False
