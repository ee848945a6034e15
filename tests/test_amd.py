"""AMD's accelerators: code objects in libraries, what is chosen for a product, the firmware, and the devices that an app gets."""

from __future__ import annotations

import dataclasses
import json
import os
import zipfile
from pathlib import Path

import pytest
from images_read import DIGEST, LOCK, healthy, read
from node_samples import LOCK as NODE_LOCK
from node_samples import digests
from test_judge import ROOT, errors, found, judged
from test_refresh import pieces

from aistack.compose.distros import debian
from aistack.compose.findings import Outcome
from aistack.compose.lock import Lock, LockedAccelerator, encode
from aistack.compose.render import RenderedFile, render_system
from aistack.compose.seal import roots
from aistack.compose.stack import complete
from aistack.compose.verify import LOCK_PATH, verify_system
from aistack.facts import fatbin
from aistack.facts.catalog import Catalog
from aistack.facts.pins import Archive
from aistack.host import apt, rootfs, wheels
from aistack.host.rootfs import Bind
from aistack.host.store import Store, default_path

BUNDLES = {name: one for name, one in json.loads((Path(__file__).parent / "data/bundles.json").read_text()).items() if name != "about"}
MI210 = (ROOT / "recipes/mi210-llama-embeddings.yaml").read_text()
MI300X = (ROOT / "recipes/mi300x-tinygrad-qwen3-8b.yaml").read_text()
GGML, ROCBLAS, WHEEL = BUNDLES


@pytest.mark.parametrize("name", BUNDLES)
def test_the_code_objects_of_real_libraries(name: str) -> None:
    header = bytes.fromhex(BUNDLES[name]["header"])
    whole = b"\x7fELF" + fatbin.BUNDLE[:9] * 3 + (header + bytes(4096)) * 3 + b"the end"
    for size in (5, 1 << 20):
        assert fatbin.read(pieces(whole, size)).usual == tuple(BUNDLES[name]["targets"])


@pytest.mark.parametrize("data", [b"", b"\x7fELF" + bytes(100), fatbin.BUNDLE, fatbin.BUNDLE + b"\xff" * 64, fatbin.BUNDLE + b"\x01"])
def test_what_is_no_bundle_has_no_targets(data: bytes) -> None:
    assert fatbin.read(pieces(data, 5)) == fatbin.DeviceCode()


def test_the_catalog_says_what_debians_libraries_hold(catalog: Catalog) -> None:
    """An accelerator is served only where the backend and the library of matrices under it both have code for it."""
    both = set(BUNDLES[GGML]["targets"]) & set(BUNDLES[ROCBLAS]["targets"])
    assert set(catalog.frameworks["llama.cpp"].backends["amd"].targets) == both
    assert "gfx942" in BUNDLES[WHEEL]["targets"] and "gfx942" not in both and "gfx90a" in both


def test_a_backend_without_code_for_the_product_is_refused_with_one_that_has(catalog: Catalog) -> None:
    refused = found(judged(MI210.replace("amd/mi210", "amd/mi300x"), catalog), "AP102")
    assert "has no code for gfx942" in refused.message and "gfx90a" in (refused.labels[0].text + refused.labels[-1].text)
    assert "tinygrad" in refused.hints[0]
    assert errors(judged(MI300X.replace("amd/mi300x", "amd/mi210"), catalog)) == ["AP102"]
    assert errors(judged(MI210.replace("generic", "cloud"), catalog)) == ["AM203"]


def test_an_app_gets_the_backend_and_names_every_accelerator(catalog: Catalog) -> None:
    stack = judged(MI210.replace("count: 1", "count: 4"), catalog).stack
    assert stack is not None and stack.driver is not None
    (app,) = stack.apps
    assert app.packages == ("llama.cpp-tools", "libggml0-backend-hip")
    assert complete(app)[-2:] == ("--device", "ROCm0,ROCm1,ROCm2,ROCm3")
    base = next(wish for wish in roots(stack) if wish.name == "base")
    assert {"firmware-amd-graphics", "libhsa-runtime64-1"} <= set(base.packages)
    assert all("non-free-firmware" in archive.components for archive in base.archives)
    processor = judged((ROOT / "recipes/cpu-embeddings.yaml").read_text(), catalog).stack
    assert processor is not None and processor.apps[0].packages == ("llama.cpp-tools",) and "--device" not in complete(processor.apps[0])


def on(lock: Lock, product: str, *firmware: str) -> Lock:
    return dataclasses.replace(lock, accelerator=LockedAccelerator(product=product, count=1, firmware=firmware))


@pytest.mark.parametrize(("ends", "outcome"), [(("", ".xz", ".zst"), Outcome.YES), (("", ".gz", ""), Outcome.NO), (("", ""), Outcome.NO)])
def test_firmware_that_the_kernel_finds_compressed_or_not(ends: tuple[str, ...], outcome: Outcome, tmp_path: Path) -> None:
    lock = on(LOCK, "amd/mi300x", "amdgpu/a.bin", "amdgpu/b.bin", "amdgpu/c.bin")
    files = healthy() | {LOCK_PATH: encode(lock)}
    for name, end in zip("abc", ends, strict=False):
        files[f"/usr/lib/firmware/amdgpu/{name}.bin{end}"] = b"firmware"
    verdict = {finding.name: finding for finding in verify_system(read(tmp_path, [files]), lock, {"app-web": DIGEST})}
    assert verdict["accelerator-firmware"].outcome is outcome


def test_an_app_gets_the_devices_and_the_groups_that_may_use_them() -> None:
    def container(lock: Lock) -> list[str]:
        files = {file.path: file for file in render_system(lock, digests(lock))}
        file = files["/usr/share/containers/systemd/app-embed.container"]
        assert isinstance(file, RenderedFile)
        return file.content.decode().splitlines()

    more = [line for line in container(on(NODE_LOCK, "amd/mi300x")) if line not in container(NODE_LOCK)]
    assert more == ["AddDevice=/dev/kfd", "AddDevice=/dev/dri", "GroupAdd=895", "GroupAdd=44"]
    assert "g render 895\n" in debian.USERS


@pytest.mark.system
def test_tinygrad_compiles_for_each_of_its_targets(catalog: Catalog, tmp_path: Path) -> None:
    """With Debian's LLVM, in a root like the app's: a product of matrices, compiled and not run."""
    framework, store = catalog.frameworks["tinygrad"], Store(default_path(os.environ))
    delivery = framework.delivery
    assert delivery is not None
    system = catalog.systems[delivery.os]
    archives = [Archive(suite=suite.name) for suite in system.suites]
    root = apt.resolve(store, archives, delivery.packages, "amd64", system.id, environment=os.environ)
    apt.fetch(store, root, environment=os.environ)
    locked = [one.wheel for one in wheels.find([f"tinygrad=={framework.releases[0].version}"], python="3.13", arch="amd64")]
    wheels.fetch(store, locked, python="3.13", arch="amd64")
    for wheel in locked:
        zipfile.ZipFile(store.blob(wheel.sha256)).extractall(tmp_path)
    folder = rootfs.make_root(store, root, f"test-tinygrad-{os.getpid()}")
    program = "from tinygrad import Tensor; a = Tensor.empty(64, 64).half(); (a @ a).softmax().realize(); print('compiled')"
    try:
        for target in framework.backends["amd"].targets:
            environment = {"PYTHONPATH": "/mnt", "XDG_CACHE_HOME": "/tmp", "DEV": f"NULL:AMDLLVM:{target}"}
            said = rootfs.enter(folder, ["python3", "-c", program], binds=[Bind(source=tmp_path, target="/mnt")], environment=environment)
            assert said.stdout == "compiled\n", target
    finally:
        rootfs.remove_root(folder)
