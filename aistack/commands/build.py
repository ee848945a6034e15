"""`aistack build`: carries out the plan of a lock, step by step; what the store already holds is not made again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from aistack.commands import compiling, making
from aistack.commands.pinning import Places
from aistack.compose import modules
from aistack.compose.lock import Lock, identity
from aistack.compose.plan import Step, inputs, plan, to_do
from aistack.diagnostics import DiagnosticError
from aistack.host import oci, sharing, signing
from aistack.host.store import Store
from aistack.host.uses import Use, layers_of, needs, remember
from aistack.report.progress import Progress
from aistack.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """The outputs of a plan: for each step its output's document, and how long it took now (None: it was already there)."""

    steps: tuple[Step, ...]
    outputs: Mapping[str, Mapping[str, Any]]
    seconds: Mapping[str, float | None]

    def find(self, kind: str, name: str | None = None) -> tuple[Step, Mapping[str, Any]] | None:
        """The step of a kind (and name) with its output's document, None when the plan has no such step."""
        for step in self.steps:
            if step.kind == kind and name in (None, step.name) and step.id in self.outputs:
                return step, self.outputs[step.id]
        return None

    def images(self) -> dict[str, str]:
        """Manifest digests of all images, by the steps' titles (`app-image chat`)."""
        return {step.title: self.outputs[step.id]["image"] for step in self.steps if "image" in self.outputs.get(step.id, {})}


def build(
    lock: Lock, places: Places, progress: Progress, *, models: bool = True, only: str | None = None, recipe: Path | None = None
) -> Built:
    """Makes everything that the plan of `lock` lacks. `only` is a kind of step: that kind, and what it needs.

    What turns out to be damaged in the store is removed, named, and fetched or made once more. Raises DiagnosticError (exit 3) when a
    step fails; what was finished before stays.
    """
    store = places.store
    whole = planned(lock, models=models)
    steps = whole if only is None else _leading_to(whole, only)
    use = use_of(lock, whole, models=models, recipe=recipe)
    with store.in_use(lambda: progress.say("another aistack is cleaning the store; waiting")):
        remember(store, use)
        shared = sharing.others(places.environment, progress.say, offline=places.offline)
        _prove_key(steps, lock, places, shared)
        kept = {sha256: what for sha256, what in needs(store, use).items() if store.has(sha256)}
        try:
            return _build(steps, lock, places, shared, progress, only)
        except DiagnosticError:
            store.damaged(kept)
            lost = [sha256 for sha256 in kept if not store.has(sha256)]
            if not lost:
                raise
            for sha256 in lost:
                progress.say(f"damaged in the store, and removed: {kept[sha256]} (sha256 {sha256})")
            return _build(steps, lock, places, shared, progress, only)


def use_of(lock: Lock, steps: Sequence[Step], *, models: bool = True, recipe: Path | None = None) -> Use:
    """What a lock needs of the store: the files that are fetched for it, and the steps of its plan."""
    return Use(
        lock=identity(lock),
        name=lock.name,
        recipe=str(recipe.resolve()) if recipe else "",
        inputs=inputs(lock, models=models),
        steps={step.id: step.title for step in steps},
    )


def _prove_key(steps: Sequence[Step], lock: Lock, places: Places, shared: Sequence[sharing.Source]) -> None:
    """Raises DiagnosticError (exit 3) where a base is to be made whose compiled modules cannot be signed: before hours of making."""
    bases = (step for step in steps if step.kind == "base-image" and modules.ROOT in dict(lock.roots))
    if lock.signing and any(_found(places.store, step, shared) is None for step in bases):
        signing.prove(places.store, lock.signing, places.folder)


def _found(store: Store, step: Step, shared: Sequence[sharing.Source]) -> Mapping[str, Any] | None:
    return output(store, step) or sharing.take_output(store, step.id, shared)


def _build(
    steps: tuple[Step, ...], lock: Lock, places: Places, shared: Sequence[sharing.Source], progress: Progress, only: str | None
) -> Built:
    store = places.store
    done: dict[str, Mapping[str, Any]] = {}
    for step in steps:
        found = _found(store, step, shared)
        if found is not None:
            done[step.id] = found
    pending = to_do(steps, lambda step: step.id in done, only)
    progress.total = len([step for step in steps if step.id in done or step in pending])
    maker = making.Maker(steps=steps, lock=lock, places=places, shared=shared, progress=progress, outputs=dict(done))
    seconds: dict[str, float | None] = {}
    for step in steps:
        if step in pending:
            with store.alone(step.id, lambda: progress.say("    another aistack is at it; waiting")):
                found = output(store, step)
                if found is None:
                    seconds[step.id] = _carry_out(step, maker, store, progress)
                else:
                    done[step.id] = maker.outputs[step.id] = found
        if step.id in done:
            seconds[step.id] = None
            progress.skip(step.title)
    for step_id, document in maker.outputs.items():
        compiling.require(store, step_id, document)
    return Built(steps=steps, outputs=maker.outputs, seconds=seconds)


def finish(step: Step, document: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """Writes the document of a step's output into its folder, with what tells later whether its files are still the same."""
    whole = {"step": step.title, **document, "stats": {name: _stat(folder / name) for name in document.get("files", {}).values()}}
    (folder / "output.json").write_text(json.dumps(whole, indent=2, sort_keys=True) + "\n")
    return whole


def find(lock: Lock, store: Store) -> Built:
    """What the store holds of a lock's plan already; makes nothing."""
    steps = planned(lock)
    return Built(steps=steps, outputs={step.id: found for step in steps if (found := output(store, step)) is not None}, seconds={})


def _carry_out(step: Step, maker: making.Maker, store: Store, progress: Progress) -> float:
    started = time.monotonic()
    progress.begin(step.title)
    with store.produce(step.id) as folder:
        maker.outputs[step.id] = finish(step, maker.make(step, folder), folder)
    progress.done(step.title)
    return time.monotonic() - started


def planned(lock: Lock, *, models: bool = True) -> tuple[Step, ...]:
    """The plan of a lock on this machine."""
    return plan(lock, making.surroundings(), models=models)


def _leading_to(steps: Sequence[Step], kind: str) -> tuple[Step, ...]:
    """The steps of one kind and what they need, in the plan's order."""
    wanted = {step.id for step in steps if step.kind == kind}
    for step in reversed(steps):
        if step.id in wanted:
            wanted.update(step.inputs)
    return tuple(step for step in steps if step.id in wanted)


def output(store: Store, step: Step) -> Mapping[str, Any] | None:
    """What a finished step left, None when it was not done or is no longer whole."""
    folder = store.output(step.id)
    if folder is None:
        return None
    try:
        document: dict[str, Any] = json.loads((folder / "output.json").read_text())
        if "image" in document:
            oci.read_image(store, document["image"])
        if not all(store.has(layer.digest.removeprefix("sha256:")) for layer in layers_of(document)):
            return None
        if "root" in document and not (store.path / "roots" / document["root"]).is_dir():
            return None
        if any(_stat(folder / name) != seen for name, seen in document.get("stats", {}).items()):
            return None
    except (OSError, ValueError, DiagnosticError):
        return None
    return document


def _stat(file: Path) -> list[int]:
    """Size and time of change: what a file has that nobody has written to since."""
    found = file.stat()
    return [found.st_size, found.st_mtime_ns]


def pending(lock: Lock, store: Store, steps: Sequence[Step]) -> Iterator[tuple[Step, bool]]:
    """Each step, and whether it still has to be carried out."""
    left = to_do(steps, lambda step: output(store, step) is not None)
    return ((step, step in left) for step in steps)
