"""Kernel modules compiled for real, in a root of locked packages: the same bytes twice, no key in them, and a refusal that is told."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tools_needed import needs

from aistack.commands import compiling
from aistack.commands.pinning import Places
from aistack.compose.distros import debian
from aistack.facts.files import RenderedFile
from aistack.facts.pins import Archive, LockedRoot
from aistack.host import apt, rootfs, signing
from aistack.host.store import Store, default_path
from aistack.report.progress import Progress

pytestmark = pytest.mark.system

SOURCES = "lime-forensics-dkms"
"""A small package of modules that DKMS compiles as it does NVIDIA's, in seconds instead of minutes."""


@pytest.fixture(scope="module")
def root() -> LockedRoot:
    """What compiles that package for the newest kernel of Debian 13."""
    archives = [Archive(suite=suite, components=("main", "contrib")) for suite in ("trixie", "trixie-updates", "trixie-security")]
    store = Store(default_path(os.environ))
    headers = apt.resolve(store, archives, ["linux-headers-cloud-amd64"], "amd64", "debian-13", environment=os.environ)
    (kernel,) = {match[1] for one in headers.packages if (match := re.fullmatch(r"linux-headers-(\d.*-cloud-amd64)", one.name))}
    return apt.resolve(store, archives, [f"linux-headers-{kernel}", SOURCES], "amd64", "debian-13", environment=os.environ)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Places]:
    """A store of its own: nothing that was compiled before counts."""
    yield Places(store=Store(tmp_path_factory.mktemp("store")), environment=os.environ)


def kernel_of(root: LockedRoot) -> str:
    return root.wanted[0].removeprefix("linux-headers-")


def compiled(root: LockedRoot, places: Places, folder: Path) -> dict[str, Any]:
    progress = Progress(stream=io.StringIO(), terminal=False)
    return compiling.compiled(root, kernel_of(root), "1", places, (), progress, folder / "log")


def test_two_compilations_give_the_same_modules(root: LockedRoot, places: Places, tmp_path: Path) -> None:
    needs("mmdebstrap", "bwrap")
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    first, second = (compiled(root, places, folder) for folder in folders)
    assert first["errors"] == () and first["modules"] == second["modules"] != []
    (file,) = compiling.files(places.store, first, kernel_of(root), None, tmp_path)
    assert isinstance(file, RenderedFile) and file.path == f"/usr/lib/modules/{kernel_of(root)}/updates/lime.ko"
    assert f"vermagic={kernel_of(root)} ".encode() in file.content
    assert signing.MAGIC not in file.content, "a key that nobody gave"
    assert "lime" in (folders[0] / "log").read_text()


def test_a_refusal_is_told_and_kept(root: LockedRoot, places: Places, tmp_path: Path) -> None:
    """The root's own sources, broken as a kernel breaks them: a function that the kernel no longer has."""
    needs("mmdebstrap", "bwrap")
    unpacked = rootfs.make_root(places.store, root, files=debian.module_files(), stand_ins=debian.MODULE_STAND_INS, log=tmp_path / "root")
    (source,) = unpacked.glob("usr/src/lime-forensics-*/main.c")
    source.write_bytes(source.read_bytes() + b"\nvoid gone(void); void gone(void) { strlcpy_from_another_kernel(1); }\n")
    document = compiled(root, places, tmp_path)
    assert not unpacked.exists(), "the root is thrown away, whatever came of it"
    assert document["modules"] == []
    assert re.match(r"main\.c:\d+: implicit declaration of function .strlcpy_from_another_kernel.", document["errors"][0])
