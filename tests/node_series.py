"""What every series of starts begins with: a built node that is up and has confirmed itself, made once for all tests, and a registry.

Its first start takes minutes where QEMU translates, so whoever comes first makes it, and the others, in other processes too, wait for it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import node_machine
import pytest
import registry_server
from node_machine import Node
from tools_needed import needs

from aistack.compose.lock import Lock, decode
from aistack.host.qemu import Firmware, Hardware
from aistack.host.store import Store, default_path

RECIPE = Path(__file__).parent.parent / "recipes/web-appliance.yaml"
ALL = bool(os.environ.get("AISTACK_TEST_UNDO"))
"""Everything; otherwise as much as the time of `make test` allows."""
UNITS = "/usr/lib/systemd/system"
PLAIN = ("--all", "--preserve-digests", "--dest-tls-verify=false")


@dataclass(frozen=True, kw_only=True)
class Series:
    """The built system and app images, where variants of them go, and a node that is up.

    `shared` holds what is made once: the disk's recipe, the key, and the node's kept states.
    """

    folder: Path
    shared: Path
    store: Store
    system: str
    app: str
    lock: Lock
    registry: registry_server.Registry
    disk: Path

    @property
    def key(self) -> Path:
        """The key that the node lets in."""
        return self.shared / "key"

    def hardware(self, firmware: Firmware) -> Hardware:
        """The machine, the same each time."""
        return node_machine.hardware(self.disk, self.key, firmware=firmware)

    def kept(self, firmware: Firmware) -> Path:
        """The state of a node that has confirmed what its disk came with."""
        kept = self.shared / f"kept-{firmware}"
        with alone(self.shared, f"kept-{firmware}"):
            if not kept.exists():
                with node_machine.running(self.hardware(firmware), self.shared / f"first-{firmware}", self.key) as node:
                    assert node.wait("confirm", 1)["outcome"] == "healthy", node.said()
                    node.ssh("useradd --uid 1500 ada; printf 'local\\n' > /etc/local; sync")
                    node.keep(kept)
        return kept

    @contextmanager
    def up(self, firmware: Firmware, folder: Path, kept: Path | None = None) -> Iterator[Node]:
        """That node, or the one of another kept state, as it goes on; it trusts the registry."""
        with node_machine.running(self.hardware(firmware), folder, self.key, kept=kept or self.kept(firmware)) as node:
            insecure = f'[[registry]]\nlocation = "{node_machine.HOST}:{self.registry.port}"\ninsecure = true\n'
            node.ssh("cat > /etc/containers/registries.conf.d/test.conf", input=insecure)
            yield node

    def push(self, name: str, files: Mapping[str, bytes | str], labels: Mapping[str, str]) -> str:
        """Pushes the system image with one more layer as nodes/web:NAME; returns its digest."""
        digest = node_machine.variant(self.store, self.system, files, labels)
        self.registry.push(self.store, digest, f"nodes/web:{name}", self.folder / f"layout-{name}", *PLAIN)
        return digest

    def reference(self, name: str) -> str:
        """The pushed image, as the node reaches it."""
        return f"{node_machine.HOST}:{self.registry.port}/nodes/web:{name}"


@contextmanager
def alone(shared: Path, name: str) -> Iterator[None]:
    """Holds a lock against the other processes that test."""
    with (shared / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Series]:
    """A registry of the test's own, and the node that all share."""
    needs("docker-registry", "skopeo", "qemu-system-x86_64", "ssh")
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "series"
    shared.mkdir(exist_ok=True)
    with alone(shared, "build"):
        if not (shared / "key").exists():
            shutil.copy(RECIPE, shared)
            node_machine.new_key(shared)
        artifacts = node_machine.built(shared / RECIPE.name)
    lock = decode((shared / RECIPE.with_suffix(".lock.json").name).read_bytes())
    folder = tmp_path_factory.mktemp("series")
    (folder / "registry").mkdir()
    with registry_server.running(folder / "registry", secure=False) as registry:
        store = Store(default_path(os.environ))
        registry.push(store, artifacts["app-image web"], "nodes/web", folder / "layout-app", *PLAIN)
        yield Series(
            folder=folder,
            shared=shared,
            store=store,
            system=artifacts[f"system-image {lock.name}"],
            app=artifacts["app-image web"],
            lock=lock,
            registry=registry,
            disk=node_machine.disk_of(artifacts),
        )


def last_word(node: Node) -> dict[str, Any] | None:
    """What the second gate said since the last start."""
    return next((report for report in (node.boots or [[]])[-1] if report["phase"] == "confirm" and report["heard"] > node.resets[-1]), None)


def answers(node: Node) -> bool:
    """Whether the node's app answers this machine."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{node.ports[8080]}/", timeout=60) as answer:
            return int(answer.status) == 200
    except OSError:
        return False


def decided(report: Mapping[str, Any]) -> str:
    """The action of a second gate's report."""
    return str(next(result["evidence"]["action"] for result in report["results"] if result["name"] == "decision"))


def status(node: Node) -> dict[str, Any]:
    """What `aistack node status` says."""
    found: dict[str, Any] = json.loads(node.ssh("aistack node status --json"))
    return found
