"""Faults that a seed plants are found and named, and what is near a fault is none. AISTACK_TEST_SEEDS: how many of each kind;
AISTACK_TEST_IMAGE: a bootable image, as skopeo names it, in which they are planted as well.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import tarfile
from pathlib import Path
from random import Random

import elf_samples
import pytest
from images_read import DIGEST, LOCK, Files, healthy, read
from kernel_samples import DRIVER, LIBRARIES, NAMES, driver, program
from module_mutations import Base, Kind
from mutations import KINDS, other_digest
from neighbours import NEIGHBOURS, Neighbour

from aistack.commands import verifying
from aistack.compose.findings import Finding, Outcome
from aistack.compose.lock import LockedAccelerator, encode
from aistack.compose.render import RenderedFile, render_driver
from aistack.compose.verify import LOCK_PATH, verify_system
from aistack.facts.filesystem import Filesystem
from aistack.host import oci, skopeo
from aistack.host.binaries import compression
from aistack.host.store import Store, default_path

IMAGE = os.environ.get("AISTACK_TEST_IMAGE", "")
SEEDS = int(os.environ.get("AISTACK_TEST_SEEDS", "1"))
NODE = dataclasses.replace(
    LOCK,
    components=(*LOCK.components, ("driver", DRIVER)),
    accelerator=LockedAccelerator(product="nvidia/l4", count=1, pci_ids=("10de:27b8",)),
)


def node() -> Files:
    """A node with a driver, libraries that need each other, services, and a package that knows what it brought."""
    brought: dict[str, bytes] = {
        **{f"/usr/bin/tool{number}": program(needed=[f"lib{'abc'[number]}.so.1"]) for number in range(3)},
        f"{LIBRARIES}/liba.so.1": elf_samples.binary(soname="liba.so.1", needed=["libb.so.1", "libc.so.1"]),
        f"{LIBRARIES}/libb.so.1": elf_samples.binary(soname="libb.so.1", needed=["libc.so.1"]),
        f"{LIBRARIES}/libc.so.1": elf_samples.binary(soname="libc.so.1"),
        f"{LIBRARIES}/libc.so.6": elf_samples.binary(soname="libc.so.6"),
        **{
            f"/usr/lib/systemd/system/tool{number}.service": f"[Service]\nExecStart=/usr/bin/tool{number} --now\n[Install]\n".encode()
            for number in range(3)
        },
        "/usr/bin/script": b"#!/bin/sh\nexec tool0\n",
    }
    sums = "".join(f"{hashlib.md5(data).hexdigest()}  {path[1:]}\n" for path, data in brought.items())
    lists = {"/usr/lib/sysimage/dpkg/info/tools.md5sums": sums.encode()}
    units: Files = {
        file.path: file.content if isinstance(file, RenderedFile) else file.target
        for file in render_driver("nvidia")
        if re.search(r"/aistack-[^/]+$", file.path)
    }
    return {**healthy(), **units, **driver(), **NAMES, "/usr/lib/modprobe.d/nouveau.conf": b"", **brought, **lists, LOCK_PATH: encode(NODE)}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    files = node()
    data = {path: content for path, content in files.items() if isinstance(content, bytes)}
    return Base(read(tmp_path_factory.mktemp("base"), [files]), data)


def faults(filesystem: Filesystem) -> dict[str, Finding]:
    found = verify_system(filesystem, NODE, {"app-web": DIGEST})
    return {finding.name: finding for finding in found if finding.outcome is not Outcome.YES}


def plain(text: str) -> str:
    """A module's name is told with `_`, its file's may have `-`."""
    return text.replace("_", "-")


def test_the_image_has_no_fault(base: Base) -> None:
    assert faults(base.files) == {}


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_fault_that_a_seed_plants_is_named(kind: Kind, seed: int, base: Base, tmp_path: Path) -> None:
    fault = kind(Random(f"{kind.__name__} {seed}"), base)
    found = faults(read(tmp_path, [fault.files], base.files))
    assert found.keys() - (fault.company - {fault.check}) == {fault.check}
    assert found[fault.check].outcome is Outcome.NO
    assert plain(fault.named) in plain(found[fault.check].message)


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("kind", NEIGHBOURS, ids=lambda kind: kind.__name__)
def test_what_is_near_a_fault_is_none(kind: Neighbour, seed: int, base: Base, tmp_path: Path) -> None:
    files = kind(Random(f"{kind.__name__} {seed}"), base)
    assert faults(read(tmp_path, [files], base.files)) == {}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A real image, with the bytes of what faults are planted in."""
    store, folder = Store(default_path(os.environ)), tmp_path_factory.mktemp("real")
    digest = skopeo.bring(store, IMAGE)
    files, data = verifying.read(store, digest), dict[str, bytes]()
    for layer in oci.read_image(store, digest).layers:
        blob = store.blob(layer.digest.removeprefix("sha256:"))
        with compression.opened(blob, folder / "log") as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                path = "/" + member.name.removeprefix("./").strip("/")
                content = archive.extractfile(member) if member.isreg() and PLACES.match(path) else None
                if content is not None and files.kind(path) == "file":
                    data[path] = content.read()
    return Base(files, data)


PLACES = re.compile(
    r"/usr/lib/modules/|/usr/lib/firmware/nvidia/|/usr/s?bin/|/usr/lib/x86_64-linux-gnu/[^/]*\.so|/etc/|/usr/lib/(modprobe\.d|systemd/system|sysimage/dpkg/info|aistack)/"
)


@pytest.mark.system
@pytest.mark.skipif(not IMAGE, reason="AISTACK_TEST_IMAGE names no image")
@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not other_digest], ids=lambda kind: kind.__name__)
def test_a_fault_in_a_real_image_is_named(kind: Kind, seed: int, real: Base, tmp_path: Path) -> None:
    """Which digest an app has only its builder knows; all else that is planted in a sample is found in a real image, too."""
    fault = kind(Random(f"{kind.__name__} {seed}"), real)
    found = {finding.name: finding for finding in verifying.judged(read(tmp_path, [fault.files], real.files), {})[1]}
    assert found[fault.check].outcome is Outcome.NO
    assert plain(fault.named) in plain(found[fault.check].message)
