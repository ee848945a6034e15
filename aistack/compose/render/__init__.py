"""The text of every file that aistack itself puts into an image: pure, equal input gives equal bytes.

`render_node` is what every base carries, `render_driver` what one with an accelerator's driver does, `render_system` the thin layer that
one lock adds.
"""

from __future__ import annotations

from aistack.compose.render.driver import VENDORS, render_driver
from aistack.compose.render.node import render_node
from aistack.compose.render.system import app_image, app_unit, image_names, model_image, render_system, slug
from aistack.facts.files import Rendered, RenderedFile, RenderedLink

__all__ = [
    "VENDORS",
    "Rendered",
    "RenderedFile",
    "RenderedLink",
    "app_image",
    "app_unit",
    "image_names",
    "model_image",
    "render_driver",
    "render_node",
    "render_system",
    "slug",
]
