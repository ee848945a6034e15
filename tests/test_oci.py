"""Layers and images: the same entries give the same bytes, and other programs read them."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from pathlib import Path

import oci_samples as samples
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tools_needed import needs

from aistack.diagnostics import DiagnosticError
from aistack.host import layers, oci
from aistack.host.layers import DIRECTORY, HARD_LINK, SYMBOLIC_LINK, Content, Entry
from aistack.host.store import Store

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
ENTRIES: list[tuple[Entry, Content]] = [
    (Entry(path="usr/bin/tool", mode=0o4755, size=5), b"hello"),
    (Entry(path="usr/bin/again", kind=HARD_LINK, target="usr/bin/tool"), None),
    (Entry(path="usr/bin/ping", mode=0o755, size=3, xattrs=(("security.capability", CAPABILITY),)), b"abc"),
    (Entry(path="etc/secret", mode=0o640, gid=42, size=1, mtime=1_900_000_000), b"x"),
    (Entry(path="etc/large-owner", uid=3_000_000, gid=2_097_152, size=0), b""),
    (Entry(path="a/" + "long/" * 40 + "näme", size=2), b"ok"),
    (Entry(path="link", kind=SYMBOLIC_LINK, mode=0o777, target="t/" * 80 + "ü"), None),
    (Entry(path="tmp", kind=DIRECTORY, mode=0o1777), None),
]


def unpacked(store: Store, layer: layers.Layer) -> dict[str, tarfile.TarInfo]:
    """The layer's members by name, as Python reads them; a compressed layer is unpacked by zstd itself."""
    blob = store.blob(layer.digest.removeprefix("sha256:"))
    data = blob.read_bytes()
    if layer.media_type == layers.TAR_ZSTD:
        data = subprocess.run(["zstd", "-dqc", str(blob)], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {member.name: member for member in archive}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_everything_about_an_entry_survives(store: Store) -> None:
    members = unpacked(store, layers.write_layer(store, ENTRIES, clamp=1_600_000_000))
    assert members["usr/bin/tool"].mode == 0o4755
    assert members["usr/bin/again"].islnk() and members["usr/bin/again"].linkname == "usr/bin/tool"
    value = members["usr/bin/ping"].pax_headers["SCHILY.xattr.security.capability"]
    assert value.encode("utf-8", "surrogateescape") == CAPABILITY
    assert (members["etc/secret"].mode, members["etc/secret"].gid, members["etc/secret"].mtime) == (0o640, 42, 1_600_000_000)
    assert (members["etc/large-owner"].uid, members["etc/large-owner"].gid) == (3_000_000, 2_097_152)
    assert members["a/" + "long/" * 40 + "näme"].size == 2
    assert members["link"].linkname == "t/" * 80 + "ü"
    assert members["tmp"].mode == 0o1777
    assert members["a/long"].isdir() and members["a/long"].mode == 0o755


def test_the_order_in_which_entries_are_given_does_not_count(store: Store) -> None:
    forwards, backwards = layers.write_layer(store, ENTRIES), layers.write_layer(store, list(reversed(ENTRIES)))
    assert forwards == backwards
    plain = layers.write_layer(store, ENTRIES, compress=False)
    assert plain.digest == plain.diff_id == forwards.diff_id
    assert store.blob(plain.digest.removeprefix("sha256:")).stat().st_size == plain.size


def test_fewer_bytes_than_announced_are_an_error_and_leave_nothing(store: Store) -> None:
    for compress in (True, False):
        with pytest.raises(DiagnosticError, match="2 bytes where 3"):
            layers.write_layer(store, [(Entry(path="short", size=3), b"ab")], compress=compress)
    assert not store.blobs.exists() or not list(store.blobs.iterdir())
    assert not list((store.path / "tmp").iterdir())


def test_a_compressor_that_fails_is_told_with_its_words(store: Store) -> None:
    with pytest.raises(DiagnosticError) as caught:
        layers.write_layer(store, ENTRIES, compressor=("sh", "-c", "echo no room left >&2; exit 4"))
    assert "no room left" in caught.value.diagnostics[0].why


letters = st.characters(exclude_characters="/\0", exclude_categories=["Cs"])
names = st.text(letters, min_size=1, max_size=60).filter(lambda name: name not in (".", ".."))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.dictionaries(names, st.binary(max_size=1500), max_size=4), xattr=st.binary(max_size=300))
def test_any_name_content_and_attribute_come_back(store: Store, files: dict[str, bytes], xattr: bytes) -> None:
    entries = [(Entry(path=name, size=len(data), xattrs=(("user.note", xattr),)), data) for name, data in files.items()]
    layer = layers.write_layer(store, entries, compress=False)
    with tarfile.open(store.blob(layer.digest.removeprefix("sha256:"))) as archive:
        for member in archive:
            stream = archive.extractfile(member)
            assert stream is not None and stream.read() == files[member.name]
            found = member.pax_headers["SCHILY.xattr.user.note"]
            assert found.encode("utf-8", "surrogateescape") == xattr
            files.pop(member.name)
    assert not files


def image(store: Store) -> str:
    top = layers.write_layer(store, [layers.file_entry("/etc/motd", b"hi\n")], annotations=(("io.example.kind", "top"),))
    return oci.write_image(
        store,
        [layers.write_layer(store, ENTRIES), top],
        arch="amd64",
        settings=oci.Settings(command=("/usr/bin/tool", "--serve"), environment=(("A", "1=2"),), ports=("80/tcp",), stop_signal="SIGTERM"),
        labels={"containers.bootc": "1"},
        annotations={"org.opencontainers.image.title": "test"},
    )


def test_an_image_is_read_back_as_it_was_written(store: Store) -> None:
    digest = image(store)
    assert image(store) == digest
    found = oci.read_image(store, digest)
    assert found.settings.command == ("/usr/bin/tool", "--serve")
    assert found.settings.environment == (("A", "1=2"),)
    assert found.settings.ports == ("80/tcp",)
    assert found.label("containers.bootc") == "1"
    assert found.layers[1].annotations == (("io.aistack.unpacked-size", "10240"), ("io.example.kind", "top"))
    assert found.total == sum(store.blob(layer.digest.removeprefix("sha256:")).stat().st_size for layer in found.layers)


def test_a_layout_carries_an_image_to_another_store(store: Store, tmp_path: Path) -> None:
    digest = image(store)
    oci.layout(store, {"one": digest, "two": digest}, tmp_path / "linked")
    oci.export_layout(store, {"one": digest}, tmp_path / "whole")
    for folder, tag in ((tmp_path / "linked", "two"), (tmp_path / "whole", None)):
        other = Store(tmp_path / f"other-{folder.name}")
        assert oci.import_layout(other, folder, tag) == digest
        assert oci.read_image(other, digest) == oci.read_image(store, digest)
    with pytest.raises(DiagnosticError, match="not an image"):
        oci.import_layout(Store(tmp_path / "third"), tmp_path / "linked")  # two images, none named


def test_an_image_in_dockers_format_stays_one(store: Store, tmp_path: Path) -> None:
    digest = samples.image(store, [samples.layer([samples.file("srv/page", b"page")], "gzip")], {"a": "b"}, docker=True)
    found = oci.read_image(store, digest)
    assert (found.label("a"), [layer.media_type for layer in found.layers]) == ("b", [layers.DOCKER_TAR_GZIP])
    for folder in (oci.layout(store, {"one": digest}, tmp_path / "linked"), oci.export_layout(store, {"one": digest}, tmp_path / "whole")):
        (named,) = json.loads((folder / "index.json").read_bytes())["manifests"]
        assert (named["digest"], named["mediaType"]) == (digest, samples.DOCKER["manifest"])
    assert oci.import_layout(Store(tmp_path / "other"), tmp_path / "whole") == digest


def test_a_changed_blob_is_refused(store: Store, tmp_path: Path) -> None:
    digest = image(store)
    folder = oci.export_layout(store, {"one": digest}, tmp_path / "whole")
    victim = folder / "blobs/sha256" / oci.read_image(store, digest).layers[0].digest.removeprefix("sha256:")
    data = victim.read_bytes()
    victim.unlink()
    victim.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    other = Store(tmp_path / "other")
    with pytest.raises(DiagnosticError) as caught:
        oci.import_layout(other, folder)
    assert victim.name in caught.value.diagnostics[0].why[0]
    assert not other.has(victim.name)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b'{"config": 1, "layers": []}',
        b'{"config": {"digest": "md5:0"}, "layers": []}',
        b'{"config": {"digest": "sha256:../../x"}}',
    ],
)
def test_what_is_no_manifest_is_told_not_thrown(store: Store, document: bytes) -> None:
    digest, _ = store.add(io.BytesIO(document))
    with pytest.raises(DiagnosticError):
        oci.read_image(store, f"sha256:{digest}")


def test_a_models_file_becomes_a_layer_of_its_own(store: Store) -> None:
    blob, size = store.add(io.BytesIO(b"weights" * 1000))
    layer = layers.file_layer(store, "/models/org/name/model.gguf", blob)
    members = unpacked(store, layer)
    assert layer.media_type == layers.TAR and layer.digest == layer.diff_id
    assert members["models/org/name/model.gguf"].size == size
    assert members["models/org/name/model.gguf"].offset_data + size <= layer.size


@pytest.mark.system
def test_skopeo_reads_and_copies_an_image_without_changing_it(store: Store, tmp_path: Path) -> None:
    needs("skopeo")
    digest = image(store)
    folder = oci.layout(store, {"one": digest}, tmp_path / "layout")
    said = subprocess.run(["skopeo", "inspect", f"oci:{folder}:one"], capture_output=True, text=True, check=True).stdout
    assert json.loads(said)["Digest"] == digest
    copied = tmp_path / "copied"
    command = ["skopeo", "copy", "--preserve-digests", f"oci:{folder}:one", f"oci:{copied}:one"]
    subprocess.run(command, capture_output=True, check=True)
    assert oci.import_layout(Store(tmp_path / "other"), copied) == digest
