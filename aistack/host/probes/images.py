"""The bound store: which images lie in it and where their layers are; read from containers-storage's own lists, not through podman.

podman needs seconds to start on an emulated machine, and its answer comes from these two files.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from aistack.facts.readings import BoundImage, PromisedImage, Reading
from aistack.host.probes.reading import inside, read

BOUND = "/usr/lib/bootc/bound-images.d"
STORE = "/usr/lib/bootc/storage"


def bound_images(root: Path, store: str = STORE) -> Reading[tuple[BoundImage, ...]]:
    """Every image whose layers are all there, with its manifest digest; an image that lacks a layer's folder is left out."""
    return read(f"{store}/overlay-images", lambda: _bound_images(_store(root, store)))


def promised_images(root: Path) -> Reading[tuple[PromisedImage, ...]]:
    """The images that the booted system binds, from the quadlets that its bound-images.d links to."""
    return read(BOUND, lambda: _promised(root))


def _promised(root: Path) -> tuple[PromisedImage, ...]:
    folder, found = inside(root, BOUND), []
    if folder.parent.is_dir() and not folder.exists():
        return ()  # a bootable container that binds nothing
    for link in sorted(folder.iterdir()):
        image = promised(inside(root, link.readlink().as_posix()).read_text())
        if image is None:
            raise ValueError(f"{link.name} names no image by digest")
        found.append(image)
    return tuple(found)


def promised(quadlet: str) -> PromisedImage | None:
    """The image that a quadlet's text names by digest, None where it names none."""
    image = re.search(r"^Image=(\S+)@(sha256:[0-9a-f]{64})$", quadlet, re.MULTILINE)
    return PromisedImage(name=image.group(1), digest=image.group(2)) if image else None


def digests(image: dict[str, Any]) -> set[str]:
    """The digests of every manifest that containers-storage keeps of an image (an object of its images.json)."""
    kept = {name.removeprefix("manifest-") for name in image.get("big-data-names") or () if name.startswith("manifest-sha256:")}
    return {image["digest"]} | kept


def _store(root: Path, store: str) -> Path:
    # The link in the image is relative, so that it also resolves below another root.
    return inside(root, store)


def _bound_images(store: Path) -> tuple[BoundImage, ...]:
    parents: dict[str, str | None] = {}
    for name in ("layers.json", "volatile-layers.json"):
        path = store / "overlay-layers" / name
        if path.exists():
            parents |= {layer["id"]: layer.get("parent") or None for layer in _objects(path)}
    images = []
    for image in _objects(store / "overlay-images" / "images.json"):
        layers = _chain(image.get("layer") or None, parents)
        folders = tuple(str(store / "overlay" / layer / "diff") for layer in layers)
        if all(layer in parents for layer in layers) and all(Path(folder).is_dir() for folder in folders):
            names = tuple(image.get("names") or ())
            images += [BoundImage(digest=digest, names=names, layers=folders) for digest in sorted(digests(image))]
    return tuple(images)


def _chain(top: str | None, parents: dict[str, str | None]) -> tuple[str, ...]:
    chain: list[str] = []
    while top is not None and top not in chain:
        chain.append(top)
        top = parents.get(top)
    return tuple(reversed(chain))


def _objects(path: Path) -> list[dict[str, Any]]:
    document = json.loads(path.read_text())
    if not isinstance(document, list) or not all(isinstance(item, dict) for item in document):
        raise ValueError(f"{path.name} is not a list of objects")
    return document
