"""A node that follows a tag of a registry on loopback: what tests of updates share."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from booted_node import Images, Node, root_of_the_os
from registry_server import Registry, running
from tools_needed import needs

from aistack.host import oci
from aistack.host.store import Store

REPOSITORY = "nodes/test"
BOUND = "import json; from aistack.host import bound_images; print(json.dumps(sorted(bound_images.there(deployments._storage))))"


@dataclass(slots=True)
class World:
    """A node that follows `nodes/test:stable` of a registry, and images to push there."""

    node: Node
    images: Images
    registry: Registry
    folder: Path
    pushed: int = 0

    @property
    def reference(self) -> str:
        return f"{self.registry.host}/{REPOSITORY}:stable"

    def push(self, digest: str, tag: str = "stable") -> str:
        self.pushed += 1
        return self.registry.push(self.images.store, digest, f"{REPOSITORY}:{tag}", self.folder / f"layout-{self.pushed}")

    def layers(self, image: str) -> list[str]:
        """The digests of an image's layers."""
        return [layer.digest for layer in oci.read_image(self.images.store, image, whole=False).layers]

    def fetched(self, what: str) -> list[str]:
        """The digests of `manifests` or `blobs` that were sent whole since the last call."""
        log = self.registry.folder / "log"
        found = re.findall(rf"GET /v2/{REPOSITORY}/{what}/(sha256:[0-9a-f]+)", log.read_text())
        log.write_bytes(b"")
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Made once, since an OS of its own is unpacked: each test goes on with what is booted, and pushes something newer."""
    needs("skopeo", "docker-registry", "bwrap")
    root, folder = root_of_the_os(), tmp_path_factory.mktemp("world")
    store = Store(folder / "store")
    store.prepare()
    (folder / "registry").mkdir()
    with running(folder / "registry", secure=False) as registry, pytest.MonkeyPatch.context() as patch:
        conf = folder / "registries.conf"
        conf.write_text(f'[[registry]]\nlocation = "{registry.host}"\ninsecure = true\n')
        patch.setenv("CONTAINERS_REGISTRIES_CONF", str(conf))
        images = Images.over(root, store)
        world = World(node=Node(root=root, work=folder / "node", store=store), images=images, registry=registry, folder=folder)
        first = images.system("1", kargs=["quiet", "old=1"])
        world.node.install(first, world.reference)
        world.node.trust(registry.host)
        world.push(first)
        world.node.confirm()
        yield world


def code(node: Node, *arguments: str) -> tuple[int, str]:
    """The exit code and the first line of what is said on the error stream, progress left out."""
    done = node.aistack(*arguments, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("error")]
    return done.returncode, said[0] if said else ""
