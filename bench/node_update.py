"""What an update costs a node: bytes that a registry sends it and bytes on its disk, against `podman pull` of the same images.

python bench/node_update.py [RECIPE]

Two builds that differ in one thing (`updates.py`, and one of four files of a model), pushed to a registry on loopback. Ours is a real
OSTree deployment entered as the root file system (`tests/booted_node.py`), which runs the older image, confirmed, and then `aistack node
update`; the opponent is a storage of podman's that pulled the older images and pulls the newer ones. Sent is what the registry's log
counts, manifests included; disk is what `du` finds more afterwards, both versions being there.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from packing import weights
from sides import Podman, Row, aistack, run, scratch, store, table
from updates import Case, cases

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from booted_node import Images, Node, root_of_the_os
from registry_server import Registry, admit, running

from aistack.commands.lock import lock_path, read_lock, write
from aistack.compose.lock import Lock, LockedModel

SEALED = "2026-11-02T00:00:00Z", "2026-11-03T00:00:00Z"
"""When the older and the newer lock say that they were made: a node takes nothing older than what it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Bytes sent and bytes more on the disk."""

    sent: int
    disk: int


def model_case(lock: Lock, megabytes: int = 64) -> Case:
    """One of four files of a model changes."""
    files = weights(store(), 5, megabytes << 20)
    sides = []
    for number, chosen in enumerate((files[:4], (*files[:3], replace(files[4], path=files[3].path)))):
        model = LockedModel(id="bench/weights", revision=str(number), licence="none", sources=("hub",), files=chosen)
        app = replace(lock.apps[0], models=(model.id,))
        sides.append(replace(lock, models=(model,), apps=(app, *lock.apps[1:])))
    return Case(what="one of four files of weights", older=sides[0], newer=sides[1], root="base")


def images(lock: Lock, recipe: Path, reference: str) -> set[str]:
    """Builds and pushes what the lock says; every image by digest."""
    write(lock, lock_path(recipe))
    aistack("build", recipe, "--only", "system-image")
    pushed = json.loads(aistack("push", recipe, "--to", reference, "--json"))
    return {f"{reference.rpartition(':')[0]}@{one['digest']}" for one in pushed["images"]}


def sent(registry: Registry) -> int:
    """Bytes of every answer since the last call."""
    log = registry.folder / "log"
    counted = sum(map(int, re.findall(r'"GET /v2/[^"]*" 20[06] (\d+)', log.read_text())))
    log.write_bytes(b"")
    return counted


def used(folder: Path) -> int:
    """Bytes on the disk below a folder, what is linked twice counted once."""
    return int(run(["du", "--summarize", "--block-size=1", "--one-file-system", folder]).split()[0])


def measured(case: Case, recipe: Path, reference: str, registry: Registry, node: Node, podman: Podman) -> tuple[Cost, Cost]:
    """What the update costs on each side, once the older images are there."""
    same = case.older == case.newer
    for lock, sealed in zip((case.older, case.newer), SEALED, strict=True):
        pushed = images(replace(lock, sealed=SEALED[0] if same else sealed), recipe, reference)
        sent(registry)
        before = used(node.work / "sysroot"), used(podman.root)
        node.update()
        node.reboot()
        ours = sent(registry), used(node.work / "sysroot") - before[0]
        node.trust(registry.host)
        node.confirm()
        for name in sorted(pushed):
            podman("pull", "--quiet", "--tls-verify=false", name)
        theirs = sent(registry), used(podman.root) - before[1]
    return Cost(sent=ours[0], disk=ours[1]), Cost(sent=theirs[0], disk=theirs[1])


def rows(recipe: Path) -> Iterator[Row]:
    """The table's rows."""
    aistack("lock", recipe)
    lock = read_lock(lock_path(recipe))
    with scratch() as folder:
        (folder / "registry").mkdir()
        with running(folder / "registry", secure=False) as registry:
            admit(folder, registry.host)
            os.environ["CONTAINERS_REGISTRIES_CONF"] = str(folder / "registries.conf")
            root = root_of_the_os()
            start = Images.over(root, store()).system("0")
            for number, case in enumerate([*cases(lock), model_case(lock)]):
                own = folder / str(number) / recipe.name
                own.parent.mkdir()
                shutil.copy(recipe, own)
                reference = f"{registry.host}/nodes/bench-{number}:stable"
                node = Node(root=root, work=own.parent / "node", store=store())
                node.install(start, reference)
                node.trust(registry.host)
                node.confirm()
                with Podman(own.parent) as podman:
                    podman("info")
                    ours, theirs = measured(case, own, reference, registry, node, podman)
                subprocess.run(["rm", "-rf", "--one-file-system", own.parent], check=False)
                for what, mine, other in (("sent", ours.sent, theirs.sent), ("disk", ours.disk, theirs.disk)):
                    yield Row(what=f"{what}: {case.what}", ours=mine / 1e6, theirs=other / 1e6, unit="MB", opponent="podman pull")


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe", nargs="?", type=Path, default=Path("recipes/web-appliance.yaml"))
    print(table(rows(parser.parse_args().recipe)))


if __name__ == "__main__":
    main()
