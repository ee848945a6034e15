"""What all tests share: no time limit for each example (machines are busy), the same examples on every CI run, and a tools root."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerator_bench import bench, stand_ins
from followed_node import world
from hypothesis import settings
from node_series import series
from recorded_node import tree
from registry_server import Registry, admit, running
from tools_needed import needs

from aistack.compose.distros import debian
from aistack.facts.catalog import Catalog
from aistack.facts.pins import Archive
from aistack.host import apt, rootfs
from aistack.host.catalog_files import load_catalog
from aistack.host.store import Store, default_path

__all__ = ["bench", "series", "stand_ins", "tree", "world"]

settings.register_profile("aistack", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("aistack")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it, and so would all that it starts

LONGEST = ("up", "update", "power_cuts", "undo", "app_wheels", "module_build", "interrupted", "readers", "sources", "base", "rootfs")
"""The files with the longest tests of real tools, with which `make test` begins, so that both its workers end at the same time.

The first has `make test`'s first build, of which the store keeps what most others begin with; the second needs nothing of it.
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those files first, the others in their order."""
    place = {f"test_{name}.py": number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.name, len(place)))


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    """The shipped catalog."""
    return load_catalog()


@pytest.fixture(scope="session")
def tools_root() -> Path:
    """The throw-away tools root, resolved today and unpacked; it stays in the store, so that the next run finds it."""
    store = Store(default_path(os.environ))
    archives = [Archive(suite=suite) for suite in ("trixie", "trixie-updates", "trixie-security")]
    root = apt.resolve(store, archives, debian.tools_packages("amd64"), "amd64", "debian-13", environment=os.environ)
    apt.fetch(store, root, environment=os.environ)
    return rootfs.make_root(store, root)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user of their own: nothing of this machine's credentials, certificates and registries counts."""
    folder = tmp_path / "home"
    (folder / ".config/containers").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(folder / "auth.json"))
    monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(folder / "registries.conf"))
    (folder / "registries.conf").write_text("")
    return folder


@pytest.fixture
def secure(tmp_path: Path, home: Path) -> Iterator[Registry]:
    needs("docker-registry", "skopeo", "openssl")
    (tmp_path / "registry").mkdir()
    with running(tmp_path / "registry", secure=True) as server:
        yield server


@pytest.fixture
def plain(tmp_path: Path, home: Path) -> Iterator[Registry]:
    needs("docker-registry", "skopeo")
    (tmp_path / "registry").mkdir()
    with running(tmp_path / "registry", secure=False) as server:
        admit(home, server.host)
        yield server
