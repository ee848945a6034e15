"""Holding built images against their lock: reads them back from the store and hands what they hold to the checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aistack.compose import verify as checks
from aistack.compose.lock import Lock
from aistack.compose.sbom import complete
from aistack.compose.verify import Finding, Outcome
from aistack.diagnostics import Diagnostic, Severity, refuse, unable
from aistack.facts.filesystem import Filesystem
from aistack.host import inspect, oci
from aistack.host.store import Store

Findings = Mapping[str, Sequence[Finding]]
"""What the checks found, by the image that they looked at."""


def verify(
    store: Store, lock: Lock, system: str, apps: Mapping[str, str], bound: Mapping[str, str], documents: Path | None = None
) -> Findings:
    """Checks a system image and its apps' images (`app-NAME` → manifest digest); `bound` names every image that the lock promises.

    `documents` is the folder with the bills of materials, None where they were not made.
    """
    promised = {name.rsplit("/", 1)[-1]: digest for name, digest in bound.items()}
    filesystem = _read(store, system)
    found: dict[str, Sequence[Finding]] = {
        "system": (*checks.verify_system(filesystem, lock, promised), complete.check(filesystem, sbom_of(documents, "base")))
    }
    for app in lock.apps:
        name = f"app-{app.name}"
        filesystem = _read(store, apps[name])
        found[name] = (*checks.verify_app(filesystem, lock, app), complete.check(filesystem, sbom_of(documents, name)))
    return found


def sbom_of(folder: Path | None, image: str) -> Mapping[str, str]:
    """The bills of materials of one image that a step left in its folder: texts by file name."""
    return {file.name: file.read_text(encoding="utf-8") for file in sorted(folder.glob(f"{image}.*.json"))} if folder else {}


def require(found: Findings) -> None:
    """Raises DiagnosticError (exit 1) with every check that failed."""
    failed = [
        Diagnostic(
            rule="VER001",
            name="image-differs-from-lock",
            severity=Severity.ERROR,
            message=f"{image}: `{finding.name}`: {finding.message}",
            why=("read back from the built image, without running it",),
        )
        for image, findings in found.items()
        for finding in findings
        if finding.outcome is Outcome.NO
    ]
    if failed:
        raise refuse(*failed)


def documents(found: Findings) -> dict[str, Any]:
    """The findings as JSON."""
    return {image: [asdict(finding) for finding in findings] for image, findings in found.items()}


def _read(store: Store, digest: str) -> Filesystem:
    image = oci.read_image(store, digest)
    layers = [(store.blob(layer.digest.removeprefix("sha256:")), layer.media_type) for layer in image.layers]
    if damaged := store.damaged(blob.name for blob, _ in layers):
        why = ("the disk, or somebody, changed it; it was removed from the store",)
        raise unable("VER003", "layer-damaged", f"the layer {damaged[0]} in the store is not what it was", why=why, hints=("build again",))
    with store.scratch() as folder:
        return inspect.filesystem(layers, lambda path: checks.wanted(path) or complete.wanted(path), folder)
