"""An OCI layout that is carried to a node: skopeo finds it whatever mirrors the machine has, and what it lacks is told in its name."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import oci_samples
import pytest
from node_samples import lay
from test_following import BOOTED, Engine
from tools_needed import needs

from aistack.commands import node_update
from aistack.diagnostics import DiagnosticError
from aistack.facts.readings import PromisedImage
from aistack.host import layout_server, oci, registry, remote_image
from aistack.host.store import Store
from aistack.node import update
from aistack.node.deployments import Image
from aistack.node.following import Offer

pytestmark = pytest.mark.slow

REFERENCE = "r.example/nodes/l4:stable"


@dataclass(frozen=True)
class Carried:
    """A layout with the tag `stable`, and a bound image."""

    path: Path
    digest: str
    bound: str

    def blob(self, digest: str) -> Path:
        return self.path / "blobs/sha256" / digest.removeprefix("sha256:")

    def changed(self, **change: object) -> None:
        """The first entry of its index says something else."""
        index = json.loads((self.path / "index.json").read_text())
        index["manifests"][0].update(change)
        (self.path / "index.json").write_text(json.dumps(index))


@pytest.fixture
def carried(tmp_path: Path) -> Carried:
    store = Store(tmp_path / "store")
    digest, bound = (oci_samples.image(store, [oci_samples.layer([oci_samples.file("usr/x", text)])]) for text in (b"x", b"y" * 100_000))
    path = oci.export_layout(store, {"stable": digest, "bound": bound}, tmp_path / "layout")
    for blob in (path / "blobs/sha256").iterdir():  # a link into the store, which stays whole
        content = blob.read_bytes()
        blob.unlink()
        blob.write_bytes(content)
    return Carried(path, digest, bound)


@pytest.fixture(autouse=True)
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This machine has a mirror for the very repository, which nobody reaches."""
    needs("skopeo")
    drop_in = tmp_path / "home/.config/containers/registries.conf.d/mirror.conf"
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text('[[registry]]\nprefix = "r.example/nodes/l4"\nlocation = "127.0.0.1:9/nodes/l4"\ninsecure = true\n')
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    before = {name: os.environ.get(name) for name in ("HOME", "CONTAINERS_REGISTRIES_CONF")}
    yield
    assert {name: os.environ.get(name) for name in before} == before


def test_a_mirror_of_the_same_repository_does_not_answer_for_a_layout(carried: Carried) -> None:
    for reference in (REFERENCE, f"{REFERENCE}@{carried.digest}"):
        with layout_server.serving(carried.path, reference) as served:
            assert registry.labels(reference, "amd64")[0] == carried.digest
            served.require_asked()


def test_a_layout_that_nobody_asked_gives_nothing(carried: Carried, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offer = Offer(image=Image(reference=REFERENCE, digest="sha256:of-a-mirror"), version=None, sealed="2036-01-01T00:00:00Z")
    monkeypatch.setattr(update, "offered", lambda reference: offer)
    engine = Engine(order=[], has=(replace(BOOTED, reference=REFERENCE),))
    with pytest.raises(DiagnosticError, match="was not asked for") as caught:
        node_update.update(node_update.Extent(), layout=carried.path, root=lay(tmp_path / "root"), deployments=engine)
    assert caught.value.diagnostics[0].rule == "UPD013" and engine.told == []


def told(carried: Carried, ask: object, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """The rule and all the words of what is refused; nothing else is printed."""
    with pytest.raises(DiagnosticError) as caught, layout_server.serving(carried.path, REFERENCE):
        ask()  # type: ignore[operator]
    assert capsys.readouterr() == ("", "")
    (found,) = caught.value.diagnostics
    return found.rule, " ".join((found.message, *found.why, *found.hints))


def taking_all(folder: Path) -> Path:
    (folder / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    return folder / "policy.json"


def layers(carried: Carried) -> None:
    remote_image.missing_layers("r.example/nodes/l4", PromisedImage(name="b", digest=carried.bound), ())


def fetch(carried: Carried) -> None:
    manifest = json.loads(carried.blob(carried.bound).read_bytes())
    with ExitStack() as stack:
        image = stack.enter_context(remote_image.opened(REFERENCE, carried.bound, policy=taking_all(carried.path)))
        for layer in manifest["layers"]:
            stream = stack.enter_context(image.blob(layer["digest"], layer["size"]))
            while stream.read(1 << 16):
                pass


def test_what_a_layout_lacks_is_told_in_its_name(carried: Carried, capsys: pytest.CaptureFixture[str]) -> None:
    index = json.loads((carried.path / "index.json").read_text())
    index["manifests"] = [one for one in index["manifests"] if one["digest"] != carried.bound]
    (carried.path / "index.json").write_text(json.dumps(index))
    whole, layer = carried.blob(carried.bound), json.loads(carried.blob(carried.bound).read_bytes())["layers"][0]["digest"]
    carried.blob(layer).write_bytes(carried.blob(layer).read_bytes()[:-5])
    rule, said = told(carried, lambda: fetch(carried), capsys)
    assert rule in ("REG006", "UPD006") and str(carried.path) in said
    carried.blob(layer).unlink()
    rule, said = told(carried, lambda: fetch(carried), capsys)
    assert rule == "UPD006" and f"{carried.path} does not hold all of {REFERENCE}" in said and f"it lacks {layer}" in said
    for content in (b"{" * 50, b"[5]", b"[" * 100_000):
        whole.write_bytes(content)
        rule, said = told(carried, lambda: layers(carried), capsys)
        assert rule == "REG006" and f"{carried.path} was changed or damaged" in said and "proxy" not in said
    whole.unlink()
    rule, said = told(carried, lambda: layers(carried), capsys)
    assert rule == "UPD006" and f"it lacks {carried.bound}" in said and "list-tags" not in said


def test_an_index_of_another_form_is_told(carried: Carried) -> None:
    (carried.path / "blobs/sha256/00").mkdir()
    assert carried.digest in layout_server.read(carried.path).media_types
    whole = (carried.path / "index.json").read_text()
    for change in ({"digest": 5}, {"digest": "sha256:../x"}, {"mediaType": 5}, {"mediaType": "a/b\r\nX: y"}, {"annotations": 5}):
        carried.changed(**change)
        with pytest.raises(DiagnosticError, match="cannot be read as an OCI layout"):
            layout_server.read(carried.path)
        (carried.path / "index.json").write_text(whole)
    (carried.path / "index.json").write_text("[" * 100_000)
    with pytest.raises(DiagnosticError, match="cannot be read as an OCI layout"):
        layout_server.read(carried.path)
    (carried.path / "index.json").write_text(whole)
    packed = carried.path.with_suffix(".tar")
    with tarfile.open(packed, "w") as archive:
        archive.add(carried.path, ".")
    assert layout_server.read(packed).tags == layout_server.read(carried.path).tags
    packed.write_bytes(packed.read_bytes()[:3000])
    with pytest.raises(DiagnosticError, match="cannot be read as an OCI layout"):
        layout_server.read(packed)


@pytest.mark.parametrize("content", [None, b"", b"{}", b'{"manifests": [{}]}'])
def test_what_is_no_layout_is_told(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "index.json").write_bytes(content)
        (tmp_path / "blobs/sha256").mkdir(parents=True)
    with pytest.raises(DiagnosticError, match="cannot be read as an OCI layout"):
        layout_server.read(tmp_path)
