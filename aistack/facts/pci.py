"""Devices on PCI as modules name them: `pci:v000010DEd000027B8sv*sd*bc03sc02i00*`, any field of which may be `*`.

The fields are vendor and device, their subsystem's, and the class in three parts: file2alias.c of the kernel's scripts/mod.
"""

from __future__ import annotations

import re
from typing import NamedTuple

VENDORS = {"nvidia": "10de", "amd": "1002", "gaudi": "1da3", "intel": "8086"}
"""By the catalog's platform (`facts.catalog.Accelerator`): its vendor's number on PCI. Gaudi's is that of Habana, its first maker."""

ACCELERATOR_CLASSES = ("0300", "0302", "0380", "1200")
"""The classes of devices that compute: displays of three kinds, and processing accelerators."""

ALIAS = re.compile("pci:" + "".join(rf"{field}(\*|[0-9A-F]+)" for field in ("v", "d", "sv", "sd", "bc", "sc", "i")) + r"\*?")


class Pattern(NamedTuple):
    """Devices; `*` stands for any."""

    vendor: str = "*"
    device: str = "*"
    subsystem_vendor: str = "*"
    subsystem: str = "*"
    device_class: str = "*"
    subclass: str = "*"
    interface: str = "*"


def platform(product: str) -> str:
    """The platform of a product by its id: the vendor, or `gaudi`."""
    vendor, _, name = product.partition("/")
    return "gaudi" if name.startswith("gaudi") else vendor


def pattern(alias: str) -> Pattern | None:
    """The devices that an alias means; None for an alias of another kind."""
    found = ALIAS.fullmatch(alias)
    return Pattern(*found.groups()) if found else None


def product(identity: str, device_class: str) -> Pattern:
    """The devices of that class (`03`) with that identity (`10de:27b8`), whatever card they are on; `*:*` means all of the class."""
    vendor, device = (name if name == "*" else name.upper().zfill(8) for name in identity.split(":"))
    return Pattern(vendor=vendor, device=device, device_class=device_class)


def modalias(devices: Pattern) -> str:
    """The alias of one of those devices, as the kernel tells it: of every field that may be any, the zero."""
    fields = zip(("v", "d", "sv", "sd", "bc", "sc", "i"), devices, (8, 8, 8, 8, 2, 2, 2), strict=True)
    return "pci:" + "".join(f"{field}{'0' * width if value == '*' else value}" for field, value, width in fields)


def common(one: Pattern, other: Pattern) -> Pattern | None:
    """The devices that both mean; None where there can be none."""
    if any(a != b and "*" not in (a, b) for a, b in zip(one, other, strict=True)):
        return None
    return Pattern(*(b if a == "*" else a for a, b in zip(one, other, strict=True)))
