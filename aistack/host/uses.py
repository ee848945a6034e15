"""Who needs what in the store: one record for each lock that was built, as new as its last use.

The records are what `store prune` goes by: what none of them names is needed by nobody.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aistack.host import oci
from aistack.host.layers import GROUP, Layer
from aistack.host.store import Store
from aistack.values import dataclass

SCHEMA = "aistack/use/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What one lock needs: `inputs` are fetched files, sha256 → what it is in words; `steps` the ids of its plan, id → title."""

    lock: str
    name: str
    recipe: str
    inputs: Mapping[str, str]
    steps: Mapping[str, str]


def remember(store: Store, use: Use) -> None:
    """Notes a use, now."""
    store.prepare()
    folder = store.path / "uses"
    folder.mkdir(exist_ok=True)
    final = folder / f"{use.lock.removeprefix('sha256:')}.json"
    unfinished = final.with_name(f".{final.name}.{os.getpid()}")
    unfinished.write_text(json.dumps({"schema": SCHEMA, **asdict(use)}, indent=1, sort_keys=True) + "\n")
    unfinished.replace(final)


def remembered(store: Store) -> Iterator[tuple[Use, float, Path]]:
    """Every use, when it was last (seconds since 1970), and its record; what cannot be read is no use."""
    for file in sorted((store.path / "uses").glob("*.json")):
        try:
            document: dict[str, Any] = json.loads(file.read_text())
            document.pop("schema")
            yield Use(**document), file.stat().st_mtime, file
        except (OSError, ValueError, TypeError, KeyError):
            continue


def blobs_of(store: Store, output: Mapping[str, Any]) -> dict[str, str]:
    """The files of the store that a step's output is made of, sha256 → what it is in words."""
    found: dict[str, str] = {}
    if "image" in output:
        found |= oci.parts(store, output["image"])
    for layer in layers_of(output):
        found[layer.digest.removeprefix("sha256:")] = f"layer {dict(layer.annotations).get(GROUP, '')}".strip()
    for file in (*output.get("model", ()), *output.get("modules", ())):
        found[file["sha256"]] = f"file {file['path']}"
    return found


def layers_of(output: Mapping[str, Any]) -> tuple[Layer, ...]:
    """The layers that a step made which are in no image of its own; as `dataclasses.asdict` gave them."""
    given = [output["layer"]] if "layer" in output else output.get("layers", [])
    return tuple(Layer(**{**layer, "annotations": tuple((name, value) for name, value in layer["annotations"])}) for layer in given)


def needs(store: Store, use: Use) -> dict[str, str]:
    """Every file of the store that a use needs, fetched or built, sha256 → what it is in words."""
    found = dict(use.inputs)
    for step, title in use.steps.items():
        for sha256, what in blobs_of(store, read_output(store, step)).items():
            found.setdefault(sha256, f"{what} of {title}")
    return found


def read_output(store: Store, step: str) -> Mapping[str, Any]:
    """The document of a finished step, empty where there is none that can be read."""
    try:
        document: Mapping[str, Any] = json.loads((store.path / "outputs" / step / "output.json").read_text())
    except (OSError, ValueError):
        return {}
    return document
