"""Other people's programs read what we build, unchanged: every digest is the same before and after. Over images built for real."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tools_needed import needs

from aistack.host import oci
from aistack.host.store import Store, default_path

pytestmark = pytest.mark.system

RECIPE = Path(__file__).parent.parent / "recipes" / "cpu-embeddings.yaml"


def said(*argv: str | Path) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=1200).stdout


def aistack(*words: str, store: Store) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "aistack", *words]
    environment = {**os.environ, "AISTACK_STORE": str(store.path)}
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=2400, check=False)


@pytest.fixture(scope="module")
def store() -> Store:
    return Store(default_path(os.environ))


@pytest.fixture(scope="module")
def images(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """Manifest digests of a base, an app, a model and a system image, by their kind."""
    recipe = shutil.copy(RECIPE, tmp_path_factory.mktemp("recipe"))
    done = aistack("build", str(recipe), "--only", "system-image", "--json", store=store)
    assert done.returncode == 0, done.stderr[-4000:]
    rows = json.loads(done.stdout)["artifacts"]
    found = {row["title"].partition("-image ")[0]: row["where"] for row in rows if "-image " in row["title"]}
    assert found.keys() == {"base", "app", "model", "system"}
    return found


@pytest.fixture(scope="module")
def layout(store: Store, images: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All four in one layout, tagged with their kind."""
    return oci.layout(store, images, tmp_path_factory.mktemp("images") / "layout")


@pytest.fixture
def scratch(store: Store, tmp_path: Path) -> Iterator[Path]:
    """A folder on the store's disk, gone afterwards: images are large."""
    with store.scratch() as folder:
        yield folder


def test_skopeo_copies_every_image_with_its_digests(layout: Path, images: Mapping[str, str], store: Store, scratch: Path) -> None:
    needs("skopeo")
    for kind, digest in images.items():
        assert json.loads(said("skopeo", "inspect", f"oci:{layout}:{kind}"))["Digest"] == digest
        said("skopeo", "copy", "--quiet", "--preserve-digests", f"oci:{layout}:{kind}", f"oci:{scratch}/copy:{kind}")
        said("skopeo", "copy", "--quiet", "--preserve-digests", f"oci:{scratch}/copy:{kind}", f"oci-archive:{scratch}/{kind}.tar:{kind}")
        with tarfile.open(scratch / f"{kind}.tar") as archive:
            (index,) = json.loads(archive.extractfile("index.json").read())["manifests"]  # type: ignore[union-attr]
        assert index["digest"] == digest
        (scratch / f"{kind}.tar").unlink()
    other = Store(scratch / "store")
    for kind, digest in images.items():
        assert oci.import_layout(other, scratch / "copy", kind) == digest
        assert oci.read_image(other, digest) == oci.read_image(store, digest)


def test_a_folder_is_the_same_in_every_layer_that_has_it(images: Mapping[str, str], store: Store) -> None:
    for kind, digest in images.items():
        seen: dict[str, tuple[int, int, int, int]] = {}
        for layer in oci.read_image(store, digest).layers:
            blob = store.blob(layer.digest.removeprefix("sha256:"))
            argv: list[str | Path] = ["zstd", "-dqc", blob] if layer.media_type.endswith("zstd") else ["cat", blob]
            with subprocess.Popen(argv, stdout=subprocess.PIPE) as plain, tarfile.open(fileobj=plain.stdout, mode="r|") as archive:
                for member in archive:
                    if member.isdir():
                        found = (member.mode, member.uid, member.gid, int(member.mtime))
                        assert seen.setdefault(member.name, found) == found, f"/{member.name} in {kind}"


def test_podman_pulls_and_loads_an_image_and_keeps_its_digest(layout: Path, images: Mapping[str, str], store: Store, scratch: Path) -> None:
    needs("podman")
    podman = ("podman", f"--root={scratch}/root", f"--runroot={scratch}/run")
    driver = said(*podman, "info", "--format={{.Store.GraphDriverName}}").strip()
    try:
        for kind in ("system", "app", "model"):  # a system has all of a base's layers
            digest = images[kind]
            image = said(*podman, "pull", "--quiet", f"oci:{layout}:{kind}").strip()
            (seen,) = json.loads(said(*podman, "image", "inspect", image))
            assert seen["Digest"] == digest
            assert seen["RootFS"]["Layers"] == [layer.diff_id for layer in oci.read_image(store, digest).layers]
            said(*podman, "image", "rm", image)
        folder = oci.export_layout(store, {"app": images["app"]}, scratch / "app")
        said("tar", "--create", f"--file={scratch}/app.tar", f"--directory={folder}", "oci-layout", "index.json", "blobs")
        said(*podman, "load", "--quiet", f"--input={scratch}/app.tar")
        (loaded,) = json.loads(said(*podman, "image", "ls", "--digests", "--format=json"))
        assert loaded["Digest"] == images["app"]
        said(*podman, "tag", loaded["Id"], "localhost/app:1")
        done = aistack("verify", f"containers-storage:[{driver}@{scratch}/root+{scratch}/run]localhost/app:1", store=store)
        assert done.returncode == 0, done.stdout + done.stderr
    finally:
        subprocess.run([*podman, "system", "reset", "--force"], capture_output=True, check=False)


def test_umoci_reads_the_layout_and_unpacks_what_is_not_compressed(
    layout: Path, images: Mapping[str, str], store: Store, scratch: Path
) -> None:
    """Debian's umoci, 0.4.7, knows no zstd: of those images it reads all but the layers; a model's layers are plain."""
    needs("umoci")
    assert sorted(said("umoci", "ls", "--layout", layout).split()) == sorted(images)
    for kind in images:
        history = json.loads(said("umoci", "stat", "--json", "--image", f"{layout}:{kind}"))["history"]
        assert [one["layer"]["digest"] for one in history] == [layer.digest for layer in oci.read_image(store, images[kind]).layers]
    mapped = () if os.geteuid() == 0 else ("--rootless",)
    said("umoci", "unpack", *mapped, "--image", f"{layout}:model", scratch / "bundle")
    unpacked = [path for path in (scratch / "bundle/rootfs").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in unpacked) > 10_000_000
    for layer in oci.read_image(store, images["model"]).layers:
        with tarfile.open(store.blob(layer.digest.removeprefix("sha256:"))) as archive:
            for member in archive:
                assert not member.isfile() or (scratch / "bundle/rootfs" / member.name).stat().st_size == member.size


def test_verify_takes_an_image_as_others_keep_it(layout: Path, images: Mapping[str, str], store: Store, scratch: Path) -> None:
    needs("skopeo")
    said("skopeo", "copy", "--quiet", f"oci:{layout}:model", f"docker-archive:{scratch}/model.tar:localhost/model:1")
    said("skopeo", "copy", "--quiet", f"oci:{layout}:app", f"oci-archive:{scratch}/app.tar:app")
    kinds = {}
    for kind, name in (
        ("base", f"oci:{layout}:base"),
        ("system", f"oci:{layout}:system"),
        ("app", f"oci-archive:{scratch}/app.tar"),
        ("model", f"docker-archive:{scratch}/model.tar"),
    ):
        done = aistack("verify", name, "--json", store=store)
        assert done.returncode == 0, done.stdout + done.stderr
        document = json.loads(done.stdout)
        kinds[kind] = document["kind"]
        assert kind == "model" or document["image"] == images[kind]
        wrong = {finding["name"] for finding in document["findings"]["image"] if finding["outcome"] == "no"}
        assert wrong == ({"baseimage-composefs"} if document["kind"] == "bootable" else set())
        asked = {finding["name"] for finding in document["findings"]["image"]}
        assert ({"lock", "locked-kernel", "packages", "bound-images"} <= asked) is (kind == "system")
    assert kinds == {"base": "bootable", "system": "bootable", "app": "container", "model": "container"}
