"""What a base carries for its accelerator's driver, beside the driver's own packages: services, and how containers get the devices."""

from __future__ import annotations

from aistack.compose.render import units
from aistack.compose.render.node import UNITS
from aistack.facts.files import Rendered, RenderedFile, RenderedLink

VENDORS = ("nvidia",)
"""Vendors whose drivers need something of ours."""

NEED_A_DEVICE = ("nvidia-fabricmanager.service", "nvidia-imex.service", "nvidia-persistenced.service")
"""Services of the driver's that fail where there is no device."""


def render_driver(vendor: str) -> tuple[Rendered, ...]:
    """The files for a vendor's driver, sorted by path."""
    if vendor != "nvidia":
        return ()
    wants = f"{UNITS}/multi-user.target.wants"
    return (
        # udev loads the driver for a device that is there; Debian's list would load it, and its display modules, whatever is there.
        RenderedLink(path="/etc/modules-load.d/nvidia.conf", target="/dev/null"),
        RenderedFile(path=f"{UNITS}/aistack-accelerator.service", content=units.ACCELERATOR.encode()),
        RenderedFile(path=f"{UNITS}/aistack-cdi.service", content=units.CDI.encode()),
        RenderedLink(path=f"{wants}/aistack-accelerator.service", target="../aistack-accelerator.service"),
        RenderedLink(path=f"{wants}/aistack-cdi.service", target="../aistack-cdi.service"),
        RenderedLink(path=f"{wants}/nvidia-persistenced.service", target="../nvidia-persistenced.service"),
        *(RenderedFile(path=f"{UNITS}/{unit}.d/50-aistack.conf", content=units.WITH_ACCELERATOR.encode()) for unit in NEED_A_DEVICE),
    )
