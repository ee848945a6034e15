"""Images of a real registry: pinned, fetched, built and run; and everything that a registry can say instead."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from registry_server import ACCOUNT, Registry, Sent, admit, cut_wire, free_port, log_in, trust
from tools_needed import needs

from aistack.commands.lock import lock_path, read_lock
from aistack.diagnostics import DiagnosticError
from aistack.facts.pins import Archive
from aistack.host import apt, layers, oci, podman, registry, request
from aistack.host.publish import publish
from aistack.host.store import Store, default_path
from aistack.node import update

pytestmark = pytest.mark.system

DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
ENTRYPOINT = ("/bin/busybox", "httpd")


@pytest.fixture(scope="module")
def busybox() -> bytes:
    """A real program that needs nothing beside it, from Debian's own package."""
    needs("docker-registry", "skopeo", "openssl", "apt-get", "dpkg-deb")
    store = Store(default_path(os.environ))
    root = apt.resolve(store, [Archive(suite="trixie")], ("busybox-static",), "amd64", "debian-13", environment=os.environ)
    root = dataclasses.replace(root, packages=tuple(package for package in root.packages if package.name == "busybox-static"))
    apt.fetch(store, root, environment=os.environ)
    archive = ["dpkg-deb", "--fsys-tarfile", str(store.blob(root.packages[0].sha256))]
    data = subprocess.run(archive, check=True, capture_output=True, timeout=60).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as members:
        program = next(member for member in members if member.name.endswith("bin/busybox"))
        stream = members.extractfile(program)
        assert stream is not None
        return stream.read()


def web_image(store: Store, busybox: bytes, page: bytes, *, arch: str = "amd64", compress: bool = True, port: int = 8080) -> str:
    """A web server in two layers, of which the second is the page that it shows."""
    program = layers.write_layer(store, [layers.file_entry("/bin/busybox", busybox, mode=0o755)], compress=False)
    files = [layers.file_entry("/www/index.html", page), layers.file_entry("/www/noise", os.urandom(1 << 20))]
    content = layers.write_layer(store, files, compress=compress)
    settings = oci.Settings(entrypoint=ENTRYPOINT, command=("-f", "-p", str(port), "-h", "/www"))
    labels = {"org.opencontainers.image.licenses": "GPL-2.0-only"}
    return oci.write_image(store, [program, content], arch=arch, settings=settings, labels=labels)


@pytest.fixture
def theirs(tmp_path: Path) -> Store:
    """Where somebody else builds."""
    return Store(tmp_path / "theirs")


@pytest.fixture
def ours(tmp_path: Path) -> Store:
    return Store(tmp_path / "ours")


def refusal(caught: pytest.ExceptionInfo[DiagnosticError]) -> tuple[str, str]:
    (diagnostic,) = caught.value.diagnostics
    return diagnostic.rule, " ".join((diagnostic.message, *diagnostic.why, *diagnostic.hints))


def test_a_tag_is_pinned_to_the_manifest_of_the_architecture(
    plain: Registry, theirs: Store, ours: Store, busybox: bytes, tmp_path: Path
) -> None:
    images = {arch: web_image(theirs, busybox, arch.encode(), arch=arch) for arch in ("arm64", "amd64")}
    listed = [
        {
            "mediaType": oci.MANIFEST,
            "digest": digest,
            "size": theirs.blob(digest[7:]).stat().st_size,
            "platform": {"architecture": arch, "os": "linux"},
        }
        for arch, digest in images.items()
    ]
    index = json.dumps({"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": listed}).encode()
    digest = "sha256:" + theirs.add(io.BytesIO(index))[0]
    name = plain.push(theirs, digest, "team/web:1", tmp_path / "layout")
    for reference in (name, f"{name}@{digest}", f"{name}@{images['amd64']}"):
        pinned = registry.pin(reference, arch="amd64", store=ours)
        assert (pinned.digest, pinned.licence, pinned.entrypoint) == (images["amd64"], "GPL-2.0-only", ENTRYPOINT)
    registry.fetch(ours, pinned)
    assert oci.read_image(ours, images["amd64"]) == oci.read_image(theirs, images["amd64"])
    sizes = [ours.blob(blob.sha256).stat().st_size for blob in pinned.parts().values()]
    assert sizes == [blob.size for blob in pinned.parts().values()]
    for arch in ("ppc64le", "arm64"):
        with pytest.raises(DiagnosticError) as caught:
            registry.pin(name if arch == "ppc64le" else f"{name}@{images['amd64']}", arch=arch, store=ours)
        rule, said = refusal(caught)
        assert rule == "REG004" and arch in said and "amd64" in said


def test_a_docker_image_keeps_its_digest(plain: Registry, theirs: Store, ours: Store, busybox: bytes, tmp_path: Path) -> None:
    name = plain.push(theirs, web_image(theirs, busybox, b"hi", compress=False), "team/web:docker", tmp_path / "layout", "--format", "v2s2")
    argv = [
        "skopeo",
        "--registries-conf",
        os.environ["CONTAINERS_REGISTRIES_CONF"],
        "inspect",
        "--format",
        "{{.Digest}}",
        f"docker://{name}",
    ]
    upstream = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout.strip()
    pinned = registry.pin(name, arch="amd64", store=ours)
    assert (pinned.digest, pinned.manifest.media_type) == (upstream, DOCKER)
    assert {layer.media_type for layer in pinned.layers} == {layers.DOCKER_TAR_GZIP}
    registry.fetch(ours, pinned)
    assert oci.read_image(ours, upstream).settings.entrypoint == ENTRYPOINT
    index = json.loads((oci.layout(ours, {"one": upstream}, tmp_path / "ours-layout") / "index.json").read_bytes())
    assert [one["mediaType"] for one in index["manifests"]] == [DOCKER]


def test_what_a_registry_does_not_let_us_have_is_told_with_the_way_out(
    secure: Registry, home: Path, theirs: Store, ours: Store, busybox: bytes, tmp_path: Path
) -> None:
    def refused(reference: str) -> tuple[str, str]:
        with pytest.raises(DiagnosticError) as caught:
            registry.pin(reference, arch="amd64", store=ours)
        assert caught.value.exit_code == 3
        return refusal(caught)

    name = f"{secure.host}/team/web:1"
    rule, said = refused(name)
    assert rule == "REG005" and f"certs.d/{secure.host}/ca.crt" in said
    trust(home, secure)
    rule, said = refused(name)
    assert rule == "REG002" and f"skopeo login {secure.host}" in said
    log_in(secure)
    assert refused(name)[0] == "REG003"
    digest = web_image(theirs, busybox, b"hi")
    secure.push(theirs, digest, "team/web:1", tmp_path / "layout")
    assert registry.pin(name, arch="amd64", store=ours).digest == digest
    for absent in (f"{secure.host}/team/web:2", f"{secure.host}/team/other:1", f"{secure.host}/team/web@sha256:{'0' * 64}"):
        assert refused(absent)[0] == "REG003"
    assert refused(f"localhost:{free_port()}/team/web:1")[0] == "REG001"
    assert refused("no-such-registry.invalid/team/web:1")[0] == "REG001"
    (home / "auth.json").write_text("{}")
    assert refused(name)[0] == "REG002"
    assert ACCOUNT[1] not in said


def test_a_registry_without_tls_has_to_be_admitted(plain: Registry, home: Path, ours: Store) -> None:
    admit(home)
    with pytest.raises(DiagnosticError) as caught:
        registry.pin(f"{plain.host}/team/web:1", arch="amd64", store=ours)
    assert refusal(caught)[0] == "REG005"


def test_bytes_that_are_not_those_that_were_pinned_are_not_kept(
    plain: Registry, theirs: Store, ours: Store, busybox: bytes, tmp_path: Path
) -> None:
    pinned = registry.pin(
        plain.push(theirs, web_image(theirs, busybox, b"hi"), "team/web:1", tmp_path / "layout"), arch="amd64", store=ours
    )
    first, second = pinned.layers
    there = plain.blob(second.sha256)
    good = there.read_bytes()
    there.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(DiagnosticError) as caught:
        registry.fetch(ours, pinned)
    assert refusal(caught)[0] == "REG006"
    assert ours.has(first.sha256) and not ours.has(second.sha256)
    there.write_bytes(good)
    plain.blob(first.sha256).unlink()  # what came before is not asked for again
    registry.fetch(ours, pinned)
    assert oci.read_image(ours, pinned.digest).total == first.size + second.size


def test_a_registry_that_hangs_up_is_told_and_nothing_half_stays(
    plain: Registry, home: Path, theirs: Store, ours: Store, busybox: bytes, tmp_path: Path
) -> None:
    name = plain.push(theirs, web_image(theirs, busybox, b"hi"), "team/web:1", tmp_path / "layout")
    wanted = registry.pin(name, arch="amd64", store=ours)
    with cut_wire(plain.port, after=300_000) as host:
        admit(home, plain.host, host)
        with pytest.raises(DiagnosticError) as caught:
            registry.fetch(ours, dataclasses.replace(wanted, reference=name.replace(plain.host, host)))
    assert refusal(caught)[0] == "REG007"
    assert {blob.name for blob in ours.blobs.iterdir()} == {wanted.manifest.sha256, wanted.config.sha256}
    assert not list((ours.path / "tmp").iterdir())
    with pytest.raises(DiagnosticError) as caught:
        registry.fetch(ours, wanted, offline=True)
    rule, said = refusal(caught)
    assert rule == "REG008" and "layer 1 of 2" in said
    registry.fetch(ours, wanted)
    assert oci.read_image(ours, wanted.digest).settings.entrypoint == ENTRYPOINT


RECIPE = """\
schema: aistack/recipe/v1
name: somebody-elses
arch: amd64
os: debian-13
kernel: {{flavor: cloud}}
apps:
  web:
    image: {image}
    port: {port}
    health: /
"""


def aistack(*arguments: str, folder: Path, prefix: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    argv = [*prefix, sys.executable, "-m", "aistack", *arguments]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=600, check=False)


def test_a_locked_image_is_built_without_a_network_and_runs(
    secure: Registry, home: Path, theirs: Store, ours: Store, busybox: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the tag has moved since; a layer that is damaged in the store is fetched again."""
    needs("mmdebstrap", "bwrap", "podman", "runc", "unshare")
    monkeypatch.setenv("AISTACK_STORE", str(ours.path))
    trust(home, secure)
    log_in(secure)
    port = free_port()
    image = web_image(theirs, busybox, b"the old page", compress=False, port=port)
    name = secure.push(theirs, image, "team/web:stable", tmp_path / "layout", "--format", "v2s2")
    old = registry.pin(name, arch="amd64", store=ours).digest
    assert old != image
    recipe = tmp_path / "web.yaml"
    recipe.write_text(RECIPE.format(image=name, port=port))
    done = aistack("lock", "web.yaml", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{name} at {old}: 2 layers" in done.stdout and "[AP109]" in done.stderr
    secure.push(theirs, web_image(theirs, busybox, b"the new page"), "team/web:stable", tmp_path / "layout")
    assert registry.pin(name, arch="amd64", store=ours).digest != old
    assert "still fits" in aistack("lock", "web.yaml", folder=tmp_path).stdout
    (app,) = read_lock(lock_path(recipe)).apps
    assert app.image is not None and app.image.digest == old and app.command == (*ENTRYPOINT, "-f", "-p", str(port), "-h", "/www")
    build = ("build", "web.yaml", "--only", "app-image")
    alone = ("unshare", "--net", "--")
    done = aistack(*build, "--offline", folder=tmp_path, prefix=alone)
    assert done.returncode == 3 and "error[REG008]" in done.stderr and "layer 1 of 2, layer 2 of 2" in done.stderr
    assert aistack(*build, folder=tmp_path).returncode == 0
    ours.blob(app.image.layers[1].sha256).write_bytes(b"damaged")
    done = aistack(*build, folder=tmp_path)
    assert done.returncode == 0 and f"removed: layer 2 of 2 of {name}" in done.stderr
    done = aistack(*build, "--offline", folder=tmp_path, prefix=alone)
    assert done.returncode == 0 and old in done.stdout, done.stderr
    answers(ours, old, app.command, port)


def answers(store: Store, digest: str, command: tuple[str, ...], port: int) -> None:
    """Loads an image into podman and asks it, started as the node's quadlet starts it."""
    name = f"aistack-test-{os.getpid()}"
    with podman.connect() as service:
        seen = podman.load_image(service, store, digest, "localhost/aistack/app-upstream")
        assert seen.digest == digest
        argv = [
            "podman", "run", "--detach", f"--name={name}", "--runtime=runc", "--network=host", "--pull=never", "--user=65534:65534",
            "--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024",
            f"--entrypoint={command[0]}", "localhost/aistack/app-upstream:latest", *command[1:],
        ]  # fmt: skip
        try:
            started = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
            assert started.returncode == 0, started.stderr
            deadline = time.monotonic() + 60
            while True:
                try:
                    assert request.get(f"http://127.0.0.1:{port}", "/index.html", timeout=5) == (200, b"the old page")
                    break
                except DiagnosticError:
                    assert time.monotonic() < deadline
                    time.sleep(0.2)
        finally:
            subprocess.run(["podman", "rm", "--force", "--time=1", name], capture_output=True, timeout=60, check=False)
            service.remove("localhost/aistack/app-upstream:latest")


def test_an_image_is_pushed_as_it_is_and_only_once(
    plain: Registry, theirs: Store, busybox: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Uncompressed and compressed layers keep their digests; the second push finds everything there."""
    digest = web_image(theirs, busybox, b"pushed")
    told: list[tuple[int, int]] = []
    publish(theirs, digest, f"{plain.host}/nodes/web:stable", lambda done, total: told.append((done, total)))
    image = oci.read_image(theirs, digest)
    for part in (digest, *(layer.digest for layer in image.layers)):
        assert plain.blob(part).read_bytes() == theirs.blob(part[7:]).read_bytes()
    assert told[-1] == (sum(layer.size for layer in image.layers),) * 2
    before = {path: path.stat().st_mtime_ns for path in (plain.folder / "data").rglob("blobs/sha256/*/*/data")}
    publish(theirs, digest, f"{plain.host}/nodes/web:stable")
    assert {path: path.stat().st_mtime_ns for path in (plain.folder / "data").rglob("blobs/sha256/*/*/data")} == before


def test_a_push_needs_a_certificate_and_an_account(secure: Registry, home: Path, theirs: Store, busybox: bytes) -> None:
    digest = web_image(theirs, busybox, b"pushed")
    name = f"{secure.host}/nodes/web:stable"

    def refused() -> tuple[str, str]:
        with pytest.raises(DiagnosticError) as caught:
            publish(theirs, digest, name)
        assert caught.value.exit_code == 3
        return refusal(caught)

    assert refused()[0] == "REG005"
    trust(home, secure)
    rule, said = refused()
    assert rule == "REG002" and "does not take" in said and "skopeo login" in said
    log_in(secure)
    publish(theirs, digest, name)
    assert registry.pin(name, arch="amd64", store=theirs).digest == digest


def test_a_damaged_store_pushes_no_tag(plain: Registry, theirs: Store, busybox: bytes) -> None:
    """A layer whose bytes changed is found before the tag is there."""
    digest = web_image(theirs, busybox, b"pushed")
    layer = theirs.blob(oci.read_image(theirs, digest).layers[1].digest[7:])
    layer.chmod(0o644)
    layer.write_bytes(layer.read_bytes()[:-1] + b"x")
    name = f"{plain.host}/nodes/web:stable"
    with pytest.raises(DiagnosticError):
        publish(theirs, digest, name)
    with pytest.raises(DiagnosticError) as caught:
        registry.pin(name, arch="amd64", store=theirs)
    assert refusal(caught)[0] == "REG003"


def test_a_push_that_broke_goes_on_with_what_is_missing(
    plain: Registry, home: Path, theirs: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wire that never lets the large layer through, then one that breaks once: the second try goes through."""
    monkeypatch.setattr("aistack.host.publish.PAUSES", (0.1, 0.1, None))
    small = [layers.write_layer(theirs, [layers.file_entry(f"/{name}", os.urandom(100_000))], compress=False) for name in "abc"]
    large = layers.write_layer(theirs, [layers.file_entry("/large", os.urandom(4_000_000))], compress=False)
    digest, sent = oci.write_image(theirs, [*small, large], arch="amd64"), Sent(most=1_000_000, cuts=100)
    with cut_wire(plain.port, None, sent) as host:
        admit(home, plain.host, host)
        with pytest.raises(DiagnosticError) as caught:
            publish(theirs, digest, f"{host}/nodes/web:stable")
        rule, said = refusal(caught)
        assert rule == "REG007" and "try again" in said, said
        assert all(plain.blob(layer.digest).exists() for layer in small)
        assert not plain.blob(large.digest).exists() and not plain.blob(digest).exists()
        sent.bytes, sent.cuts = 0, 1
        publish(theirs, digest, f"{host}/nodes/web:stable")
        assert sent.cuts == 0
        assert large.size + 1_000_000 < sent.bytes < large.size + 1_300_000  # the broken try, the good one, and none of the small ones
        sent.bytes = 0
        publish(theirs, digest, f"{host}/nodes/web:stable")
        assert sent.bytes < 20_000
    assert registry.pin(f"{plain.host}/nodes/web:stable", arch="amd64", store=theirs).digest == digest


def test_a_registry_that_takes_nothing_more_holds_no_push(
    plain: Registry, home: Path, theirs: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aistack.host.publish.PAUSES", (0.1, None))
    monkeypatch.setattr("aistack.host.publish.SILENCE", 1.0)
    large = layers.write_layer(theirs, [layers.file_entry("/large", os.urandom(4_000_000))], compress=False)
    digest, sent = oci.write_image(theirs, [large], arch="amd64"), Sent(most=1_000_000, cuts=2)
    with cut_wire(plain.port, None, sent, quiet=300.0) as host:
        admit(home, plain.host, host)
        with pytest.raises(DiagnosticError) as caught:
            publish(theirs, digest, f"{host}/nodes/web:stable")
        rule, said = refusal(caught)
        assert rule == "REG007" and "stopped while it took" in said and "nothing came for 1 s" in said and sent.cuts == 0
        publish(theirs, digest, f"{host}/nodes/web:stable")


def test_a_registry_that_says_nothing_is_told_as_one_that_stopped(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("skopeo")
    monkeypatch.setattr("aistack.host.image_proxy.SILENCE", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as listens:  # the kernel takes the connection, and nobody answers
        host = f"localhost:{listens.getsockname()[1]}"
        admit(home, host)
        with pytest.raises(DiagnosticError) as caught:
            registry.resolve(f"{host}/nodes/web:stable", "amd64")
        rule, said = refusal(caught)
        assert rule == "REG007" and f"{host} stopped while it sent" in said and "nothing came for 1 s" in said and "try again" in said
        with pytest.raises(DiagnosticError) as caught:
            registry.ask(host, ["skopeo", "inspect", "--tls-verify=false", f"docker://{host}/x"], taking=True)
        assert refusal(caught)[0] == "REG007"


def test_a_node_takes_login_and_certificate_from_its_credentials(
    secure: Registry, home: Path, theirs: Store, busybox: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust(home, secure)
    log_in(secure)
    name = secure.push(theirs, web_image(theirs, busybox, b"hi"), "nodes/l4:stable", tmp_path / "layout")
    credentials = tmp_path / "node/run/credentials/@system"
    credentials.mkdir(parents=True)
    (home / "auth.json").rename(credentials / "aistack.registry-auth")
    shutil.rmtree(home / ".config/containers/certs.d")
    for variable in ("REGISTRY_AUTH_FILE", "SSL_CERT_FILE"):
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    with pytest.raises(DiagnosticError, match="does not prove by TLS"):
        update.offered(name)
    (credentials / "aistack.registry-ca").write_bytes((secure.folder / "ca.crt").read_bytes())
    update.use_credentials(tmp_path / "node")
    assert update.offered(name).image.reference == name
