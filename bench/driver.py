"""What a driver costs: bytes for a node when the driver, the kernel or one library moves, and the seconds of a rebuild.

python bench/driver.py [RECIPE] [--rebuild]

The recipe's base is built, if the store lacks it. A layer counts for an update when one of its packages moves, or when it is made from
them (docs/images.md), so that nothing has to be compiled for a second kernel or driver; the initramfs apart. The Containerfile installs
the same packages in one RUN and copies the modules in a layer that is taken to be as large as ours. `--rebuild` builds the base in a store
that has its packages and nothing else, and so compiles: a bump of the driver with modules that are not there yet, beside one with modules
that are.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from sides import Podman, Row, aistack, run, scratch, store, table
from updates import Containerfile

from aistack.commands.build import find
from aistack.commands.lock import lock_path, read_lock
from aistack.compose import modules
from aistack.compose.lock import Lock
from aistack.facts.pins import LockedPackage
from aistack.host import oci
from aistack.host.debian import DATABASE, KERNEL, MODULES
from aistack.host.layers import GROUP

LIBRARY = "libcuda1"


def moving(lock: Lock) -> dict[str, tuple[list[LockedPackage], set[str]]]:
    """The packages that each update moves, and the layers that it changes beside those of their sources."""
    base, root = lock.root("base").packages, lock.root(modules.ROOT)
    sources = {package.source for package in root.packages if package.name in root.wanted[1:]}
    return {
        "driver, with its modules": ([one for one in base if one.source in sources], {MODULES, DATABASE}),
        "kernel, with the driver's modules": ([one for one in base if one.name.startswith("linux-image-")], {KERNEL, MODULES, DATABASE}),
        f"one library of the driver ({LIBRARY})": ([one for one in base if one.name == LIBRARY], {DATABASE}),
    }


def updates(lock: Lock) -> Iterator[Row]:
    """Bytes of each update."""
    base = lock.root("base")
    image = oci.read_image(store(), find(lock, store()).images()[f"base-image {lock.os}"])
    layers = {dict(layer.annotations)[GROUP]: layer.size for layer in image.layers}
    homes = {name: group for group, names in base.layers for name in names}
    with scratch() as folder, Podman(folder) as podman:
        installed = sum(Containerfile(podman, folder / "containerfile", base).layers(base, "first").values())
    for what, (packages, beside) in moving(lock).items():
        ours = sum(layers[group] for group in {homes[one.name] for one in packages} | beside)
        copied = layers[MODULES] if MODULES in beside else 0
        note = f"packages that move: {sum(one.size for one in packages) / 1e6:.2f} MB; modules: {copied / 1e6:.2f} MB"
        yield Row(
            what=f"update: {what}", ours=ours / 1e6, theirs=(installed + copied) / 1e6, unit="MB", opponent="Containerfile", note=note
        )


def rebuild(recipe: Path) -> Row:
    """Seconds that a base takes with and without compiling."""
    with scratch() as folder:
        run(["mkdir", folder / "store"])
        run(["cp", "--archive", "--link", store().blobs.parent, folder / "store"])
        said = json.loads(
            aistack("build", recipe, "--without-models", "--only", "base-image", "--json", AISTACK_STORE=str(folder / "store"))
        )
    seconds = {row["title"].partition(" ")[0]: row["seconds"] for row in said["artifacts"]}
    base = seconds["base-image"]
    return Row(
        what="rebuild after a driver bump", ours=base, theirs=base + seconds["modules"], unit="s", opponent="aistack, modules not there yet"
    )


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe", nargs="?", type=Path, default=Path("recipes/l4-vllm-qwen3-8b.yaml"))
    parser.add_argument("--rebuild", action="store_true", help="compile the modules, for minutes, and tell the seconds")
    given = parser.parse_args()
    aistack("build", given.recipe, "--without-models", "--only", "base-image")
    lock = read_lock(lock_path(given.recipe, with_models=False))
    print(table([*updates(lock), *([rebuild(given.recipe)] if given.rebuild else [])]))


if __name__ == "__main__":
    main()
