"""Images that come into the store of bound images, and a power cut meanwhile.

containers-storage lists a layer as whole before its files are on the disk, and skopeo never takes a listed one again: after a power cut an
app would start with empty files (https://github.com/containers/storage/issues/1064). So a mark says, from before a pull until everything is
written, that the store is not to be believed. This can go when the store itself waits for the disk
(https://github.com/podman-container-tools/container-libs/pull/922).
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aistack.host import durable
from aistack.host.probes import images

MARK, SCRATCH = "arriving", "fetching"
START = Path("/proc/sys/kernel/random/boot_id")
"""Names this start of the machine: a pull that was killed since then lost nothing."""


@contextmanager
def arriving(storage: Path, keep: Collection[str], start: Path = START) -> Iterator[Path]:
    """What comes into the store inside is on the disk when the block is left; for what is fetched until then there is a folder beside it.

    Where an earlier start of the machine never left it, all that no digest in `keep` (of manifests) needs is thrown away first: all of
    it where the store's lists cannot be read.
    """
    mark, now = storage / MARK, start.read_text()
    if mark.exists() and mark.read_bytes() != now.encode():
        _throw_away(storage, keep)
    durable.write(mark, now)
    scratch = storage / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)  # of one that was killed
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch)
    os.sync()
    mark.unlink()


def _throw_away(storage: Path, keep: Collection[str]) -> None:
    """Leave only the images that have one of those digests, and their layers; the lists are written before the folders go."""
    listed, layered = storage / "overlay-images" / "images.json", storage / "overlay-layers" / "layers.json"
    try:
        kept, layers = _wanted(objects(listed), objects(layered), keep)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # torn: nobody can tell what lies there
        kept, layers = [], []
    needed = {layer["id"] for layer in layers}
    durable.write(listed, json.dumps(kept))
    durable.write(layered, json.dumps(layers))
    for folder, names in ((listed.parent, {image["id"] for image in kept}), (storage / "overlay", {*needed, "l"})):
        for path in folder.iterdir() if folder.is_dir() else ():
            if path.is_dir() and path.name not in names:
                shutil.rmtree(path)
    for record in layered.parent.glob("*.tar-split.gz"):
        if record.name.partition(".")[0] not in needed:
            record.unlink()
    for link in (storage / "overlay" / "l").glob("*"):
        if not link.exists():
            link.unlink()


def _wanted(
    every: list[dict[str, Any]], layers: list[dict[str, Any]], keep: Collection[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The images that have one of those digests, and their layers."""
    kept = [image for image in every if images.digests(image) & set(keep)]
    parents = {layer["id"]: layer.get("parent") for layer in layers}
    needed: set[str] = set()
    for image in kept:
        layer = image.get("layer")
        while layer and layer not in needed:
            needed.add(layer)
            layer = parents.get(layer)
    return kept, [layer for layer in layers if layer["id"] in needed]


def objects(path: Path) -> list[dict[str, Any]]:
    """A list of the store; raises ValueError or TypeError where the file is none, or has something that has no id."""
    found = json.loads(path.read_bytes()) if path.exists() else []
    if not isinstance(found, list) or not all(isinstance(one["id"], str) for one in found):
        raise ValueError(f"{path.name} is not a list of objects")
    return found
