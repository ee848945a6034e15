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

    Where an earlier start of the machine never left it, all that no digest in `keep` (of manifests) needs is thrown away first.
    """
    mark, now = storage / MARK, start.read_text()
    if mark.exists() and mark.read_text() != now:
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
    every, layers = _list(listed), _list(layered)
    kept = [image for image in every if images.digests(image) & set(keep)]
    parents = {layer["id"]: layer.get("parent") for layer in layers}
    needed: set[str] = set()
    for image in kept:
        layer = image.get("layer")
        while layer and layer not in needed:
            needed.add(layer)
            layer = parents.get(layer)
    durable.write(listed, json.dumps(kept))
    durable.write(layered, json.dumps([layer for layer in layers if layer["id"] in needed]))
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


def _list(path: Path) -> list[dict[str, Any]]:
    return list(json.loads(path.read_bytes())) if path.exists() else []
