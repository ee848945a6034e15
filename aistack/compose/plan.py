"""The plan: what has to be made from a lock, step by step, each step named by everything that shapes its output.

Two steps with one id would make the same bytes, so "already built?" is a lookup in the store.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aistack.compose import modules
from aistack.compose.lock import Lock, LockedApp, LockedModel, identity
from aistack.facts.pins import LockedRoot
from aistack.values import dataclass


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
    """What shapes the output beside the lock: tools by name and version, and the digest of what each kind of step adds of our own.

    `ours` maps a kind of step to the digest of the files, scripts and code that are aistack's part of it.
    """

    tools: Mapping[str, str]
    ours: Mapping[str, str]


def plan(lock: Lock, surroundings: Surroundings, *, models: bool = True) -> tuple[Step, ...]:
    """Every step from the lock to a disk, in an order that can be executed; without `models`, none of what needs weights."""
    steps: list[Step] = []

    def add(kind: str, name: str, inputs: Sequence[Step], **content: Any) -> Step:
        steps.append(_step(surroundings, kind, name, inputs, **content))
        return steps[-1]

    tools = add("tools-root", "", (), packages=packages(lock.root("tools")))
    root = dict(lock.roots).get(modules.ROOT)
    compiled = [compilation(root, lock.component("kernel"), surroundings)] if root else []
    steps += compiled
    base = add(
        "base-image",
        lock.os,
        (tools, *compiled),
        packages=packages(lock.root("base")),
        layers=lock.root("base").layers,
        kernel=lock.component("kernel"),
        arch=lock.arch,
        compressor=lock.compressor,
        certificate=lock.signing.certificate if lock.signing and compiled else None,
        driver=lock.accelerator.vendor if lock.accelerator and "driver" in dict(lock.components) else None,
    )
    bound = [_app(add, lock, app, tools) for app in lock.apps]
    if models:
        bound += [_model(add, lock, model) for model in lock.models]
    if models or not any(app.models for app in lock.apps):
        node_part = add("node-part", "", (tools,), compressor=lock.compressor)
        system = add("system-image", lock.name, (tools, base, node_part, *bound), lock=identity(lock))
        sbom = add("sbom", lock.name, (), lock=identity(lock))
        add("verify", lock.name, (system, *bound, sbom))
        add("disk", lock.name, (tools, system))
    return tuple(steps)


def to_do(steps: Sequence[Step], done: Callable[[Step], bool], asked: str | None = None) -> tuple[Step, ...]:
    """The steps that must be carried out, in order: those that are not done and lead to an artifact that is not done.

    A throw-away root whose users are all done is not made again, though it may be long gone, unless it is of the kind `asked` for.
    """
    needed: set[str] = set()
    chosen: list[Step] = []
    for step in reversed(steps):
        if (step.kind not in ROOTS or step.kind == asked or step.id in needed) and not done(step):
            chosen.append(step)
            needed.update(step.inputs)
    return tuple(reversed(chosen))


def compilation(root: LockedRoot, kernel: str, surroundings: Surroundings) -> Step:
    """The step that compiles modules for a kernel in that root; only what shapes them is part of it."""
    named, shaping = modules.named(root), modules.shaping(root)
    return _step(surroundings, "modules", named, (), kernel=kernel, packages=shaping, arch=root.arch)


def _step(surroundings: Surroundings, kind: str, name: str, inputs: Sequence[Step], **content: Any) -> Step:
    named = {tool: surroundings.tools[tool] for tool in TOOLS_OF.get(kind, ())}
    shaped = {**content, "tools": named, "ours": surroundings.ours.get(kind, "")}
    text = json.dumps(shaped, sort_keys=True, separators=(",", ":"))
    return Step(kind=kind, name=name, inputs=tuple(one.id for one in inputs), content=text)


ROOTS = ("tools-root", "converter-root")
"""Steps whose output is thrown away sooner or later: they are means, not artifacts."""

TOOLS_OF = {
    "tools-root": ("mmdebstrap",),
    "base-image": ("mmdebstrap",),
    "app-root": ("mmdebstrap",),
    "app-wheels": ("installer",),
    "converter-root": ("mmdebstrap",),
    "converted-model": ("bwrap",),
}


def inputs(lock: Lock, *, models: bool = True) -> dict[str, str]:
    """Every file that has to be fetched to carry out a lock's plan: sha256 → what it is, in words."""
    found = {package.sha256: f"package {package.name} {package.version}" for _, root in lock.roots for package in root.packages}
    found |= {wheel.sha256: f"wheel {wheel.filename}" for app in lock.apps for wheel in app.wheels}
    for app in lock.apps:
        if app.image:
            found |= {blob.sha256: f"{what} of {app.image.reference}" for what, blob in app.image.parts().items()}
    if models:
        found |= {file.sha256: f"{file.path} of {model.id}" for model in lock.models for file in model.files}
    return found


def packages(root: LockedRoot) -> list[str]:
    """A root's content: its packages' digests, in the lock's order."""
    return [package.sha256 for package in root.packages]


def _app(add: Any, lock: Lock, app: LockedApp, tools: Step) -> Step:
    if app.root is None:
        assert app.image is not None
        fetched = add("app-image", app.name, (), image=app.image.digest)
        assert isinstance(fetched, Step)
        return fetched
    root = lock.root(app.root)
    inputs = [add("app-root", app.name, (tools,), packages=packages(root), layers=root.layers, compressor=lock.compressor)]
    if app.wheels:
        # Of the packages only the interpreter shapes what wheels become: its byte code.
        interpreter = [package.sha256 for package in root.packages if package.source.partition(" ")[0] == f"python{app.python}"]
        wheels = [(wheel.filename, wheel.sha256) for wheel in app.wheels]
        shaped = {"wheels": wheels, "layers": app.wheel_layers, "python": app.python, "interpreter": interpreter}
        inputs.append(add("app-wheels", app.name, (tools,), **shaped, compressor=lock.compressor))
    step = add(
        "app-image",
        app.name,
        inputs,
        labels={"name": app.name, "framework": app.framework, "version": app.version},
        arch=lock.arch,
        command=app.command,
        environment=app.environment,
        port=app.port,
    )
    assert isinstance(step, Step)
    return step


def _model(add: Any, lock: Lock, model: LockedModel) -> Step:
    files = [(file.path, file.sha256) for file in model.files]
    inputs = []
    if model.conversion is not None:
        root = add("converter-root", model.conversion.format, (), packages=packages(lock.root(model.conversion.root)))
        inputs.append(add("converted-model", model.id, (root,), files=files, argv=model.conversion.argv))
    said = {"id": model.id, "revision": model.revision, "licence": model.licence}
    step = add("model-image", model.id, inputs, files=files, labels=said, arch=lock.arch)
    assert isinstance(step, Step)
    return step
