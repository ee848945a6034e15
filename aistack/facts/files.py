"""Files that are written as text, not unpacked from packages: what is in them and where they go; no disk is touched."""

from __future__ import annotations

from aistack.values import dataclass


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class RenderedFile:
    """A regular file owned by root; `path` is absolute in the image, `mode` holds the permission bits only."""

    path: str
    content: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class RenderedLink:
    """A symbolic link owned by root; `target` is kept exactly as written."""

    path: str
    target: str


Rendered = RenderedFile | RenderedLink

APP = "/opt/app"
"""Where an app's wheels lie: a virtual environment of its root's Python."""

RENDER, VIDEO = 895, 44
"""The numbers of a node's groups whose members may use accelerators: /dev/kfd and the render nodes, and what else /dev/dri holds."""


def site_packages(python: str) -> str:
    """The folder of an app's Python packages; `python` is as `3.13`."""
    return f"{APP}/lib/python{python}/site-packages"
