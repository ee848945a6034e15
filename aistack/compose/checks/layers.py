"""Every program that puts an image's layers together gets the same files.

Unpacked one after the other into one root, what a layer has behind a link of a lower layer lands where the link leads; unpacked each into
a folder of its own, as podman does for overlayfs, a folder takes the place of the link, and hides what lay behind it.
"""

from __future__ import annotations

from aistack.compose.findings import Check
from aistack.facts.filesystem import Filesystem


def _through(filesystem: Filesystem) -> list[str]:
    return [
        f"a layer writes {said}, and {link} is a link of a lower layer: podman may put a folder in its place"
        for link, said in sorted(filesystem.through.items())
    ]


CHECKS = (Check(name="layer-links", description="no layer writes through a link of a lower one", look=_through, fatal=False),)
