"""Updates of a node over a real registry on loopback: what is fetched, staged, refused, kept, and what a broken attempt leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from booted_node import Images, Node, root_of_the_os
from registry_server import Registry, running
from tools_needed import needs

from aistack.host.store import Store

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Images, Registry]]:
    """The OS's root, images over it, and a registry that has none of them yet."""
    needs("skopeo", "docker-registry", "bwrap")
    root = root_of_the_os()
    store = Store(tmp_path_factory.mktemp("store"))
    store.prepare()
    folder = tmp_path_factory.mktemp("registry")
    with running(folder, secure=False) as registry:
        yield root, Images.over(root, store), registry


@pytest.fixture
def node(world: tuple[Path, Images, Registry], tmp_path: Path) -> Node:
    """A node that follows `nodes/test:stable`, runs version 1 and confirmed it."""
    root, images, registry = world
    node = Node(root=root, work=tmp_path / "node", store=images.store)
    node.install(images.system("1", sealed="2026-11-01T00:00:00Z"), f"{registry.host}/nodes/test:stable")
    return node


def push(world: tuple[Path, Images, Registry], digest: str, folder: Path, tag: str = "stable") -> None:
    _, images, registry = world
    registry.push(images.store, digest, f"nodes/test:{tag}", folder / f"layout-{digest[7:19]}-{tag}")


def test_look(node: Node, world: tuple[Path, Images, Registry], tmp_path: Path) -> None:
    print(node.version(), node.booted)
    print(node.python("print(deployments.listed())"))
    push(world, world[1].system("2", sealed="2026-11-02T00:00:00Z", kargs=["fresh=1"]), tmp_path)
    print(node.aistack("update", "--check", "--json", check=False))
    print(node.aistack("update", check=False))
    print(node.trial())
    print(node.reboot())
    print(node.python("print(deployments.listed())"))
    node.confirm()
    assert 0
