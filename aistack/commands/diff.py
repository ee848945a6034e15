"""`aistack diff OLD NEW`: what changed between two locks, and what a node must fetch, layer by layer."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from aistack.commands import build as building
from aistack.commands.changes import MOST_SHOWN, change_lines
from aistack.commands.lock import lock_path, read_lock
from aistack.compose.diff import Difference, ImageLayer, diff
from aistack.compose.lock import Lock
from aistack.diagnostics import ExitCode
from aistack.host import layers, oci
from aistack.host.store import Store

SCHEMA = "aistack/diff/v1"
SHIPPED = ("system-image", "app-image", "model-image")


def compare(old: Path, new: Path, store: Store, *, as_json: bool) -> ExitCode:
    """Prints the difference of two locks, each named by its file or its recipe; layers where both are built on this machine."""
    locks = [read_lock(path if path.suffix == ".json" else lock_path(path)) for path in (old, new)]
    sides = [_layers(lock, store) for lock in locks]
    found = diff(locks[0], locks[1], sides[0], sides[1])
    if as_json:
        fetched = None if found.fetched is None else [asdict(layer) for layer in found.fetched]
        changes = [asdict(change) for change in found.changes]
        document = {
            "schema": SCHEMA,
            "changes": changes,
            "changed_bytes": found.changed_bytes,
            "fetched": fetched,
            "total_bytes": found.total,
        }
        print(json.dumps(document, indent=2))
        return ExitCode.OK
    for line in change_lines(found.changes):
        print(line)
    if found.fetched is None:
        names = dict.fromkeys(str(path) for path, side in zip((old, new), sides, strict=True) if side is None)
        are = "is" if len(names) == 1 else "are"
        print(f"what a node must fetch is not known: {' and '.join(names)} {are} not built here (aistack build RECIPE)")
        return ExitCode.OK
    for line in _fetch_lines(found):
        print(line)
    return ExitCode.OK


def _layers(lock: Lock, store: Store) -> list[ImageLayer] | None:
    """The layers of everything that a node has, None where an image is not built."""
    found = []
    for step in building.planned(lock):
        if step.kind not in SHIPPED:
            continue
        output = building.output(store, step)
        if output is None:
            return None
        image = oci.read_image(store, output["image"])
        for layer in image.layers:
            group = dict(layer.annotations).get(layers.GROUP, "")
            found.append(ImageLayer(image=step.title, group=group, digest=layer.digest, size=layer.size))
    return found


def _fetch_lines(found: Difference) -> list[str]:
    assert found.fetched is not None and found.total is not None
    if not found.fetched:
        return ["a node fetches nothing"]
    lines = [f"a node fetches {found.fetched_bytes() / 1e6:.2f} MB of {found.total / 1e6:.2f} MB, in {len(found.fetched)} layers:"]
    lines += [f"  {layer.size / 1e6:10.3f} MB  {layer.image:<32} {layer.group}" for layer in found.fetched[:MOST_SHOWN]]
    if len(found.fetched) > MOST_SHOWN:
        lines.append(f"  … and {len(found.fetched) - MOST_SHOWN} more (--json has all)")
    if found.changed_bytes:
        apart = found.fetched_bytes(without="initramfs")
        lines.append(f"{apart / found.changed_bytes:.2f} × the {found.changed_bytes / 1e6:.2f} MB that changed, the initramfs apart")
    return lines
