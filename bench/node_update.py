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
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from packing import weights
from sides import Podman, Row, aistack, run, scratch, table
from updates import Case, cases

sys.path.append(str(Path(__file__).parent.parent / "tests"))
from booted_node import Images, Node, root_of_the_os
from registry_server import Registry, admit, running

from aistack.commands.lock import lock_path, read_lock
from aistack.host import models
from aistack.host.store import Store

SEALED = "2026-11-02T00:00:00Z", "2026-11-03T00:00:00Z"
"""When the older and the newer lock say that they were made: a node takes nothing older than what it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Bytes sent and bytes more on the disk."""

    sent: int
    disk: int


def updated(case: Case, recipe: Path, reference: str, folder: Path) -> Iterator[set[str]]:
    """Builds and pushes one side after the other, as its lock says; every image by digest."""
    older = replace(case.older, sealed=SEALED[0])
    newer = older if case.newer == case.older else replace(case.newer, sealed=SEALED[1])
    for one in (False, True):
        own = replace(case, older=older, newer=newer).place(recipe, folder, newer=one)
        aistack("build", own, "--only", "system-image")
        pushed = json.loads(aistack("push", own, "--to", reference, "--json"))
        yield {f"{reference.rpartition(':')[0]}@{image['digest']}" for image in pushed["images"]}


def sent(registry: Registry) -> int:
    """Bytes of every answer since the last call."""
    log = registry.folder / "log"
    counted = sum(map(int, re.findall(r'"GET /v2/[^"]*" 20[06] (\d+)', log.read_text())))
    log.write_bytes(b"")
    return counted


def used(folder: Path) -> int:
    """Bytes on the disk below a folder, what is linked twice counted once."""
    return int(run(["du", "--summarize", "--block-size=1", "--one-file-system", folder]).split()[0])


def weights_changed(start: Images, registry: Registry, reference: str, folder: Path, megabytes: int = 64) -> Iterator[set[str]]:
    """Pushes a system that binds a model, and one where another of its four files is there; the app stays."""
    files = weights(start.store, 5, megabytes << 20)
    name = reference.partition("/")[2]
    app = start.bound("app")
    for number, chosen in enumerate((files[:4], (*files[:3], replace(files[4], path=files[3].path)))):
        model = models.model_image(start.store, id="bench", revision=str(number), licence="none", files=chosen, arch="amd64")
        bound = {image: model if "/model-" in image else digest for image, digest in app.items()}
        system = start.system(str(number), sealed=SEALED[number], bound=bound)
        for digest in bound.values():
            registry.push(start.store, digest, f"{name.partition(':')[0]}:{digest[7:19]}", folder / f"{digest[7:19]}-{number}")
        registry.push(start.store, system, name, folder / system[7:19])
        yield {f"{reference.rpartition(':')[0]}@{digest}" for digest in (system, *bound.values())}


def measured(pushed: Iterable[set[str]], registry: Registry, node: Node, podman: Podman) -> tuple[Cost, Cost]:
    """What the last of the updates costs on each side, those before it being there."""
    for images in pushed:
        sent(registry)
        before = used(node.work / "sysroot"), used(podman.root)
        node.update()
        node.reboot()
        ours = Cost(sent=sent(registry), disk=used(node.work / "sysroot") - before[0])
        node.trust(registry.host)
        node.confirm()
        for name in sorted(images):
            podman("pull", "--quiet", "--tls-verify=false", name)
        theirs = Cost(sent=sent(registry), disk=used(podman.root) - before[1])
    return ours, theirs


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
            private = Store(folder / "store")
            private.prepare()
            start = Images.over(root, private)
            first = start.system("0")
            for number, case in enumerate((*cases(lock, recipe), None)):
                own = folder / str(number)
                own.mkdir()
                reference = f"{registry.host}/nodes/bench-{number}:stable"
                node = Node(root=root, work=own / "node", store=private)
                node.install(first, reference)
                node.trust(registry.host)
                node.confirm()
                pushed = updated(case, recipe, reference, own) if case else weights_changed(start, registry, reference, own)
                with Podman(own) as podman:
                    podman("info")
                    ours, theirs = measured(pushed, registry, node, podman)
                subprocess.run(["rm", "-rf", "--one-file-system", own], check=False)
                name = case.what if case else "one of four files of weights"
                for what, mine, other in (("sent", ours.sent, theirs.sent), ("disk", ours.disk, theirs.disk)):
                    yield Row(what=f"{what}: {name}", ours=mine / 1e6, theirs=other / 1e6, unit="MB", opponent="podman pull")


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe", nargs="?", type=Path, default=Path("recipes/web-appliance.yaml"))
    print(table(rows(parser.parse_args().recipe)))


if __name__ == "__main__":
    main()
