"""What a build costs when nothing changed, and when one setting of an app did, against podman's build of a cached Containerfile.

python bench/rebuild.py [RECIPE] [--rounds N]

podman starts from the same installed app, as a layer that it has cached; the setting is an environment variable on both sides. What
aistack makes for the setting is a new lock, app image and system image.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml
from sides import Podman, Row, aistack, in_turns, scratch, store, table

from aistack.commands.build import find
from aistack.commands.lock import lock_path, read_lock
from aistack.host import oci


def timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    started = time.monotonic()
    work()
    return time.monotonic() - started


def rows(recipe: Path, rounds: int) -> Iterator[Row]:
    """The table's rows; builds the recipe first."""
    with scratch() as folder, Podman(folder) as podman:
        own = folder / recipe.name
        shutil.copy(recipe, own)
        if lock_path(recipe).exists():
            shutil.copy(lock_path(recipe), lock_path(own))
        aistack("build", own, "--only", "system-image")
        lock = read_lock(lock_path(own))
        digest = find(lock, store()).images()[f"app-image {lock.apps[0].name}"]
        podman.take(oci.layout(store(), {"app": digest}, folder / "layout"), "app")
        containerfile = "FROM localhost/app\nUSER 0\nRUN touch /etc/built\nENV OMP_NUM_THREADS={}\n"
        podman.build(containerfile.format(0), "bench")

        mine, other = in_turns(
            rounds,
            lambda: timed(lambda: aistack("build", own, "--only", "system-image")),
            lambda: timed(lambda: podman.build(containerfile.format(0), "bench")),
        )
        yield Row(what="rebuild, nothing changed", ours=mine, theirs=other, unit="s", opponent="podman build, cached", note="1 s or less")

        wish = yaml.safe_load(own.read_text())
        numbers = itertools.count(1)

        def changed() -> float:
            wish["apps"][lock.apps[0].name]["environment"] = {"OMP_NUM_THREADS": str(next(numbers))}
            own.write_text(yaml.safe_dump(wish))
            return timed(lambda: aistack("build", own, "--only", "system-image"))

        others = itertools.count(1)
        mine, other = in_turns(rounds, changed, lambda: timed(lambda: podman.build(containerfile.format(next(others)), "bench")))
        yield Row(what="an app's setting changed", ours=mine, theirs=other, unit="s", opponent="podman build", note="10 s or less")


def main() -> None:
    """Print both rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe", nargs="?", type=Path, default=Path("recipes/web-appliance.yaml"))
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    print(table(rows(chosen.recipe, chosen.rounds)))


if __name__ == "__main__":
    main()
