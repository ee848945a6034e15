"""What a base carries for its accelerator's driver, beside the driver's own packages: services, and how containers get the devices."""

from __future__ import annotations

from aistack.compose.render import units
from aistack.compose.render.node import UNITS
from aistack.facts.files import Rendered, RenderedFile, RenderedLink

VENDORS = ("nvidia",)
"""Vendors whose drivers need something of ours."""


def render_driver(vendor: str) -> tuple[Rendered, ...]:
    """The files for a vendor's driver, sorted by path."""
    if vendor != "nvidia":
        return ()
    return (
        RenderedFile(path=f"{UNITS}/aistack-cdi.service", content=units.CDI.encode()),
        RenderedLink(path=f"{UNITS}/multi-user.target.wants/aistack-cdi.service", target="../aistack-cdi.service"),
        RenderedLink(path=f"{UNITS}/multi-user.target.wants/nvidia-persistenced.service", target="../nvidia-persistenced.service"),
    )
