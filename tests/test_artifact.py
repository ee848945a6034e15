"""A store shared as an artifact: in an OCI layout and in a real registry on loopback, single files taken, the damaged ones named."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from registry_server import ACCOUNT, log_in, running, trust
from test_store_verbs import filled
from tools_needed import needs

from aistack.diagnostics import DiagnosticError
from aistack.host import artifact, oci, sharing, uses
from aistack.host.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where an artifact goes: its reference, where a blob of it lies, and the log of what was asked for."""

    reference: str
    blob: Callable[[str], Path]
    log: Path | None = None


@pytest.fixture
def layout(tmp_path: Path) -> Place:
    needs("skopeo")
    folder = tmp_path / "layout"
    return Place(reference=f"oci:{folder}:node", blob=lambda sha256: folder / "blobs/sha256" / sha256)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Debian's registry, with TLS and a password; skopeo finds the CA and the password where its users keep them."""
    needs("skopeo", "docker-registry", "openssl")
    home, folder = tmp_path / "home", tmp_path / "registry"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(home / "auth.json"))
    with running(folder, secure=True) as server:
        trust(home, server)
        log_in(server)
        yield Place(reference=f"docker://{server.host}/stores/node:latest", blob=server.blob, log=folder / "log")


@pytest.fixture(params=["layout", "registry"])
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found


def pushed(place: Place, store: Store) -> tuple[uses.Use, str]:
    """A filled store, pushed: what it is used for, and the sha256 of its image's layer."""
    use, layer = filled(store, "node")
    artifact.push(store, place.reference, uses.needs(store, use), {"image-node": uses.read_output(store, "image-node")})
    return use, layer


def sources(place: Place, said: list[str]) -> tuple[sharing.Source, ...]:
    return sharing.others({sharing.VARIABLE: f"/none:{place.reference}:"}, said.append)


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
        artifact.push(store, place.reference, uses.needs(store, use), {})
    assert layer in " ".join(caught.value.diagnostics[0].why)


@pytest.mark.system
def test_without_the_password_it_is_told_and_the_build_goes_on(registry: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pushed(registry, Store(tmp_path / "other"))
    said: list[str] = []
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "none.json"))
    assert sharing.others({sharing.VARIABLE: registry.reference}, said.append) == ()
    (line,) = said
    assert registry.reference in line and "unauthorized" in line.lower() and ACCOUNT[1] not in line
    assert sharing.others({sharing.VARIABLE: registry.reference}, said.append, offline=True) == () and len(said) == 1


@pytest.mark.system
def test_something_else_at_the_reference_is_told(layout: Place, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    filled(store, "node")
    image = uses.read_output(store, "image-node")["image"]
    folder = oci.layout(store, {"node": image}, tmp_path / "layout")
    said: list[str] = []
    assert sharing.others({sharing.VARIABLE: f"oci:{folder}:node"}, said.append) == ()
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
