"""The plan: what has to be made from a lock, step by step, each step named by everything that shapes its output.

Two steps with one id would make the same bytes, so "already built?" is a lookup in the store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aistack.compose.lock import Lock, LockedApp, LockedModel, identity
from aistack.facts.pins import LockedRoot


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing to make: `inputs` are the ids of the steps whose outputs it reads, `content` all else that shapes it (JSON)."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    content: str

    @property
    def id(self) -> str:
        """sha256 (hex) over kind, inputs and content; the name is for people."""
        document = json.dumps([self.kind, self.inputs, self.content], separators=(",", ":"))
        return hashlib.sha256(document.encode()).hexdigest()

    @property
    def title(self) -> str:
        """What people call it: `app-image chat`."""
        return f"{self.kind} {self.name}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What shapes the output beside the lock: tools by name and version, digests of our own code and rendered files."""

    tools: Mapping[str, str]
    node_part: str
    base_files: str


def plan(lock: Lock, surroundings: Surroundings, *, models: bool = True) -> tuple[Step, ...]:
    """Every step from the lock to a disk, in an order that can be executed; without `models`, none of what needs weights."""
    steps: list[Step] = []

    def add(kind: str, name: str, inputs: Sequence[Step], **content: Any) -> Step:
        named = {tool: surroundings.tools[tool] for tool in TOOLS_OF.get(kind, ())}
        text = json.dumps({**content, "tools": named}, sort_keys=True, separators=(",", ":"))
        step = Step(kind=kind, name=name, inputs=tuple(one.id for one in inputs), content=text)
        steps.append(step)
        return step

    tools = add("tools-root", "", (), packages=packages(lock.root("tools")))
    base = add(
        "base-image",
        lock.os,
        (),
        packages=packages(lock.root("base")),
        node_part=surroundings.node_part,
        files=surroundings.base_files,
        kernel=lock.component("kernel"),
        compressor=lock.compressor,
    )
    bound = [_app(add, lock, app) for app in lock.apps]
    if models:
        bound += [_model(add, lock, model) for model in lock.models]
    if models or not lock.models:
        system = add("system-image", lock.name, (base, *bound), lock=identity(lock))
        add("disk", lock.name, (tools, system))
    return tuple(steps)


TOOLS_OF = {
    "tools-root": ("mmdebstrap",),
    "base-image": ("mmdebstrap", "zstd"),
    "app-image": ("mmdebstrap", "zstd"),
    "converter-root": ("mmdebstrap",),
    "converted-model": ("bwrap",),
    "system-image": ("zstd",),
}


def packages(root: LockedRoot) -> list[str]:
    """A root's content: its packages' digests, in the lock's order."""
    return [package.sha256 for package in root.packages]


def _app(add: Any, lock: Lock, app: LockedApp) -> Step:
    step = add(
        "app-image",
        app.name,
        (),
        packages=packages(lock.root(app.root)),
        wheels=[wheel.sha256 for wheel in app.wheels],
        command=app.command,
        environment=app.environment,
        port=app.port,
        compressor=lock.compressor,
    )
    assert isinstance(step, Step)
    return step


def _model(add: Any, lock: Lock, model: LockedModel) -> Step:
    files = [(file.path, file.sha256) for file in model.files]
    inputs = []
    if model.conversion is not None:
        root = add("converter-root", model.conversion.format, (), packages=packages(lock.root(model.conversion.root)))
        inputs.append(add("converted-model", model.id, (root,), files=files, argv=model.conversion.argv))
    step = add("model-image", model.id, inputs, files=files)
    assert isinstance(step, Step)
    return step
