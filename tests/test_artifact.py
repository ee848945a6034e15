"""A store shared as an artifact: in an OCI layout and in a real registry on loopback, single files taken, the damaged ones named."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from test_store_verbs import filled
from tools_needed import needs

from aistack.diagnostics import DiagnosticError
from aistack.host import artifact, sharing, uses
from aistack.host.store import Store

PASSWORD = "CanaryPasswordOfARegistry0123456789"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an artifact goes: its reference, what the tools need to see, where its blobs lie, and what was asked for."""

    reference: str
    environment: dict[str, str]
    blobs: Path
    log: Path | None = None

    def blob(self, sha256: str) -> Path:
        """The file of a blob, in a layout or below a registry."""
        return self.blobs / sha256 if self.log is None else self.blobs / sha256[:2] / sha256 / "data"


@pytest.fixture
def layout(tmp_path: Path) -> Place:
    needs("skopeo")
    folder = tmp_path / "layout"
    return Place(reference=f"oci:{folder}:node", environment=dict(os.environ), blobs=folder / "blobs/sha256")


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Place]:
    """Debian's registry, which asks for a password; skopeo finds that, and that there is no TLS, where its users keep both."""
    needs("skopeo", "docker-registry", "htpasswd")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    data, log, home = tmp_path / "registry", tmp_path / "registry.log", tmp_path / "home"
    subprocess.run(["htpasswd", "-Bbc", tmp_path / "users", "user", PASSWORD], check=True, capture_output=True)
    settings = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(data)}},
        "http": {"addr": host},
        "auth": {"htpasswd": {"realm": "test", "path": str(tmp_path / "users")}},
    }
    (tmp_path / "registry.yml").write_text(json.dumps(settings))
    (home / ".config/containers").mkdir(parents=True)
    (home / ".config/containers/registries.conf").write_text(f'[[registry]]\nlocation = "{host}"\ninsecure = true\n')
    environment = {**os.environ, "HOME": str(home), "REGISTRY_AUTH_FILE": str(home / "auth.json"), "NO_PROXY": "127.0.0.1"}
    with log.open("wb") as talk:
        server = subprocess.Popen(["docker-registry", "serve", tmp_path / "registry.yml"], stdout=talk, stderr=talk)
    try:
        wait_for(f"http://{host}/v2/")
        login = ["skopeo", "login", "--username=user", "--password-stdin", "--tls-verify=false", host]
        subprocess.run(login, input=PASSWORD, env=environment, text=True, check=True, capture_output=True)
        blobs = data / "docker/registry/v2/blobs/sha256"
        yield Place(reference=f"docker://{host}/stores/node:latest", environment=environment, blobs=blobs, log=log)
    finally:
        server.terminate()
        server.wait(timeout=30)


def wait_for(address: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(address, timeout=5)
        except urllib.error.HTTPError:
            return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.fixture(params=["layout", "registry"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


def pushed(place: Place, store: Store) -> tuple[uses.Use, str]:
    """A filled store, pushed: what it is used for, and the sha256 of its image's layer."""
    use, layer = filled(store, "node")
    artifact.push(store, place.reference, uses.needs(store, use), {"image-node": uses.read_output(store, "image-node")}, place.environment)
    return use, layer


def sources(place: Place, said: list[str]) -> tuple[sharing.Source, ...]:
    return sharing.others({**place.environment, sharing.VARIABLE: f"/none:{place.reference}:"}, said.append)


@pytest.mark.system
def test_single_files_and_outputs_are_taken(place: Place, tmp_path: Path) -> None:
    other, store, said = Store(tmp_path / "other"), Store(tmp_path / "store"), list[str]()
    use, layer = pushed(place, other)
    (package,) = use.inputs
    found = sources(place, said)
    sharing.take(store, [package, "0" * 64], found)
    assert store.has(package) and not store.has(layer)
    if place.log:
        asked = place.log.read_text()
        assert f"GET /v2/stores/node/blobs/sha256:{package}" in asked
        assert f"GET /v2/stores/node/blobs/sha256:{layer}" not in asked
    assert sharing.take_output(store, "image-node", found) == uses.read_output(other, "image-node")
    assert store.has(layer) and store.output("image-node")
    assert sharing.take_output(store, "image-other", found) is None
    assert said == [f"{sharing.VARIABLE}: /none is no store"]
    assert {path.name for path in store.blobs.iterdir()} == uses.needs(other, use).keys()


@pytest.mark.system
@pytest.mark.parametrize("harm", ["changed", "gone"])
def test_what_is_damaged_or_gone_is_named_and_the_rest_is_taken(place: Place, harm: str, tmp_path: Path) -> None:
    other, store, said = Store(tmp_path / "other"), Store(tmp_path / "store"), list[str]()
    use, layer = pushed(place, other)
    (package,) = use.inputs
    found = sources(place, said)
    if harm == "changed":
        place.blob(layer).write_bytes(place.blob(layer).read_bytes()[::-1])
    else:
        place.blob(layer).unlink()
    sharing.take(store, [package, layer], found)
    assert store.has(package) and not store.has(layer)
    assert len(said) == 2 and said[1].startswith(place.reference) and layer in said[1]
    assert sharing.take_output(store, "image-node", found) is None and store.output("image-node") is None


@pytest.mark.system
def test_a_damaged_file_is_not_pushed(place: Place, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    use, layer = filled(store, "node")
    store.blob(layer).write_bytes(store.blob(layer).read_bytes()[::-1])
    with pytest.raises(DiagnosticError) as caught:
        artifact.push(store, place.reference, uses.needs(store, use), {}, place.environment)
    assert layer in " ".join(caught.value.diagnostics[0].why)


@pytest.mark.system
def test_without_the_password_it_is_told_and_the_build_goes_on(registry: Place, tmp_path: Path) -> None:
    pushed(registry, Store(tmp_path / "other"))
    said: list[str] = []
    stranger = {**registry.environment, "REGISTRY_AUTH_FILE": str(tmp_path / "none.json"), sharing.VARIABLE: registry.reference}
    assert sharing.others(stranger, said.append) == ()
    (line,) = said
    assert registry.reference in line and "unauthorized" in line.lower() and PASSWORD not in line
    assert sharing.others(stranger, said.append, offline=True) == () and len(said) == 1


@pytest.mark.system
def test_something_else_at_the_reference_is_told(layout: Place, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    filled(store, "node")
    image = uses.read_output(store, "image-node")["image"]
    from aistack.host import oci

    folder = oci.layout(store, {"node": image}, tmp_path / "layout")
    said: list[str] = []
    assert sharing.others({**os.environ, sharing.VARIABLE: f"oci:{folder}:node"}, said.append) == ()
    assert "no store of aistack" in said[0] or "KeyError" in said[0]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("/srv/aistack:/mnt/other", ["/srv/aistack", "/mnt/other"]),
        ("docker://host:5000/a/b:latest:/srv", ["docker://host:5000/a/b:latest", "/srv"]),
        (
            "/srv::oci:/mnt/layout:v1.2:docker://host/a@sha256:" + "0" * 64,
            ["/srv", "oci:/mnt/layout:v1.2", "docker://host/a@sha256:" + "0" * 64],
        ),
    ],
)
def test_paths_and_references_are_told_apart(text: str, names: list[str]) -> None:
    assert sharing.ENTRY.findall(text) == names


@pytest.mark.parametrize("reference", ["host/name:tag", "docker://host", "oci:/folder", "dir:/folder"])
def test_a_reference_that_is_none_is_a_wrong_command_line(reference: str, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "aistack", "store", "push", "x.yaml", "--to", reference]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and reference in done.stderr
