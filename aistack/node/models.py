"""Mounts every model image that this system binds, read-only, where the apps' units expect it.

podman 5.4 cannot mount an image from a read-only store into a container; this does it beside podman, from the store's own layer folders.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from aistack.compose.lock import decode
from aistack.compose.render.system import LOCK_PATH, MOUNTED_MODELS, model_image
from aistack.diagnostics import DiagnosticError, ExitCode, unable
from aistack.host.probes.images import bound_images, promised_images
from aistack.host.process import run

OPTIONS = "ro,nosuid,nodev,noexec"


def mount_argv(layers: Sequence[str], target: str) -> list[str]:
    """The command that shows `layers` (folders, lowest first) as one read-only tree at `target`.

    Each lower folder is an option of its own: together they may be longer than the one page that a single option may have.
    """
    if len(layers) == 1:
        return ["mount", "-o", f"bind,{OPTIONS}", layers[0], target]
    lowers = ",".join(f"lowerdir+={layer}" for layer in reversed(layers))
    return ["mount", "-t", "overlay", "-o", f"{OPTIONS},{lowers}", "aistack-model", target]


def mount_models(root: Path) -> tuple[str, ...]:
    """Mount each model of the lock at /run/aistack/models/ID and return the ids; raises DiagnosticError when one is not there."""
    lock = decode((root / LOCK_PATH.lstrip("/")).read_bytes())
    promised, stored = promised_images(root), bound_images(root)
    if promised.value is None or stored.value is None:
        failed = promised if promised.value is None else stored
        raise unable("NODE004", "bound-images-unreadable", f"cannot read the bound images: {failed.error}", why=(failed.source,))
    digests = {image.name: image.digest for image in promised.value}
    layers = {image.digest: image.layers for image in stored.value}
    for model in lock.models:
        digest = digests.get(model_image(model.id), "")
        if digest not in layers:
            raise unable("NODE005", "model-missing", f"model {model.id} is not on this node", why=(f"its image: {digest or 'not bound'}",))
        target = root / MOUNTED_MODELS.lstrip("/") / model.id
        if not target.is_mount():
            target.mkdir(parents=True, exist_ok=True)
            run(mount_argv(layers[digest], str(target)), timeout=120)
    return tuple(model.id for model in lock.models)


def main() -> int:
    """Mount, say what was mounted, and return the exit code."""
    try:
        for model in mount_models(Path("/")):
            print(f"model {model} is at {MOUNTED_MODELS}/{model}")
    except DiagnosticError as error:
        for diagnostic in error.diagnostics:
            print("; ".join((diagnostic.message, *diagnostic.why)), file=sys.stderr)
        return int(error.exit_code)
    return int(ExitCode.OK)


if __name__ == "__main__":
    sys.exit(main())
