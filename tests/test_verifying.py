"""Images that are judged: what is damaged is found before anything is concluded from it; any image may be named, wherever it lies."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
from pathlib import Path
from random import Random

import oci_samples
import pytest
import yaml
from images_read import Files, healthy, read, written
from tools_needed import needs

from aistack.commands import verify as verb
from aistack.commands import verifying
from aistack.compose.findings import Outcome
from aistack.compose.lock import Lock, encode
from aistack.compose.verify import LOCK_PATH
from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.facts.filesystem import Filesystem
from aistack.facts.pins import LockedRoot
from aistack.host import layers, oci, skopeo
from aistack.host.store import Store

LOCK = Lock(
    name="node", arch="amd64", os="debian-13", components=(("kernel", "6.12.1"),), accelerator=None,
    roots=(("base", LockedRoot(arch="amd64", os="debian-13", packages=())),), apps=(), models=(), node=(), memory_mib=1, wish="sha256:0",
)  # fmt: skip


def system(store: Store) -> tuple[str, Path]:
    layer = layers.write_layer(store, [layers.file_entry("/usr/bin/tool", b"#!/bin/sh\n" * 1000)])
    image = oci.write_image(store, [layer], arch="amd64")
    return image, store.blob(layer.digest.removeprefix("sha256:"))


def test_a_flipped_bit_is_found_and_the_layer_goes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    image, blob = system(store)
    verifying.verify(store, LOCK, image, {}, {})
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    with pytest.raises(DiagnosticError) as caught:
        verifying.verify(store, LOCK, image, {}, {})
    assert caught.value.diagnostics[0].rule == "VER003"
    assert caught.value.exit_code is ExitCode.UNABLE
    assert not blob.exists()


def test_what_was_read_of_a_base_is_not_read_again_for_what_is_built_on_it(tmp_path: Path) -> None:
    store, known = Store(tmp_path), dict[tuple[str, ...], Filesystem]()
    base, blob = system(store)
    verifying.read(store, base, known)
    top = layers.write_layer(store, [layers.file_entry("/etc/more", b"")])
    image = oci.write_image(store, [*oci.read_image(store, base).layers, top], arch="amd64")
    blob.write_bytes(bytes(blob.stat().st_size))
    found = verifying.verify(store, LOCK, image, {}, {}, known=known)["system"]
    assert found
    assert {"/usr/bin/tool", "/etc/more"} <= max(known.values(), key=lambda one: len(one.entries)).entries.keys()
    with pytest.raises(DiagnosticError, match="is not what it was"):
        verifying.verify(store, LOCK, image, {}, {})


def test_a_base_is_held_to_its_lock_and_its_bill_of_materials_too(tmp_path: Path) -> None:
    store = Store(tmp_path)
    image, _ = system(store)
    found = {finding.name: finding.outcome for finding in verifying.verify_parts(store, LOCK, image, {})["base"]}
    assert (found["packages"], found["locked-kernel"], found["sbom-complete"]) == (Outcome.UNKNOWN, Outcome.NO, Outcome.UNKNOWN)


STATUS = "/usr/lib/sysimage/dpkg/status"
OSTREE = "Package: libostree-1-1\nStatus: install ok installed\nArchitecture: {}\nVersion: 1\nDepends: libc6\n\n"
HOSTILE: dict[str, tuple[Files, str, Outcome, str]] = {
    "a lock that is nested too deep": ({LOCK_PATH: b"[" * 200_000}, "lock", Outcome.NO, "not JSON"),
    "a lock with half a letter": ({LOCK_PATH: encode(LOCK).replace(b"debian-13", b"\\ud800")}, "lock", Outcome.NO, "not UTF-8"),
    "a package without a name": (
        {STATUS: b"Status: install ok installed\n", LOCK_PATH: encode(LOCK)}, "packages", Outcome.NO, "is in the image only"
    ),
    "arguments that are nested too deep": (
        {"/usr/lib/bootc/kargs.d/a.toml": b"kargs = " + b"[" * 200_000}, "bootc-kargs", Outcome.NO, "nested too deep"
    ),
    "a library of two architectures": (
        {STATUS: (OSTREE.format("amd64") + OSTREE.format("i386")).encode(), "/usr/lib/ostree/prepare-root.conf": b""},
        "baseimage-composefs", Outcome.NO, "does not enable composefs",
    ),
}  # fmt: skip


def test_what_carries_a_lock_is_held_to_warnings_as_well(tmp_path: Path) -> None:
    warned: Files = {"/etc/hostname": b"build-host-7\n"}
    for lock, condemned in (({}, True), ({f"{LOCK_PATH.rpartition('/')[0]}/.wh.lock.json": b""}, False)):
        found = read(tmp_path / str(condemned), [healthy(), {**warned, **lock}])
        (finding,) = (one for one in verifying.judged(found, {})[1] if one.name == "no-builder")
        assert finding.outcome is Outcome.NO and finding.condemns() is condemned


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_damaged_or_odd_in_an_image_is_told(what: str, tmp_path: Path) -> None:
    files, check, outcome, said = HOSTILE[what]
    found = read(tmp_path, [{**healthy(), **files}])
    (finding,) = (one for one in verifying.judged(found, {})[1] if one.name == check)
    assert finding.outcome is outcome
    assert said in finding.message


def test_a_manifest_that_is_nested_too_deep_is_no_image(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(DiagnosticError, match="image"):
        oci.read_image(store, f"sha256:{store.add(io.BytesIO(b'[' * 200_000))[0]}")


def test_a_truncated_layer_is_not_an_image(tmp_path: Path) -> None:
    store = Store(tmp_path)
    image, blob = system(store)
    blob.write_bytes(blob.read_bytes()[:-1])
    with pytest.raises(DiagnosticError, match="not in the store whole"):
        oci.read_image(store, image)


def test_what_is_wrong_with_an_image_is_exit_1(tmp_path: Path) -> None:
    store = Store(tmp_path)
    image, _ = system(store)
    with pytest.raises(DiagnosticError) as caught:
        verifying.require(verifying.verify(store, LOCK, image, {}, {}))
    assert caught.value.exit_code is ExitCode.NO
    assert {"VER001"} == {found.rule for found in caught.value.diagnostics}


def named(place: Path, *layers_of: Files, labels: dict[str, str] | None = None) -> str:
    """An image of those layers in a layout of its own, as skopeo names it."""
    store = Store(place / "elsewhere")
    image = oci.write_image(store, [written(store, files) for files in layers_of], arch="amd64", labels=labels)
    return f"oci:{oci.export_layout(store, {'one': image}, place / 'layout')}:one"


def judged(name: str, capsys: pytest.CaptureFixture[str]) -> tuple[ExitCode, dict[str, str], str]:
    exit_code = verb.verify(name, statement=None, without_models=False, as_json=True)
    document = json.loads(capsys.readouterr().out)
    return exit_code, {finding["name"]: finding["outcome"] for finding in document["findings"]["image"]}, document["kind"]


@pytest.fixture
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    needs("skopeo")
    monkeypatch.setenv("AISTACK_STORE", str(tmp_path / "store"))
    return Store(tmp_path / "store")


@pytest.mark.system
def test_an_image_of_somebodys_is_judged(tmp_path: Path, own_store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    files = healthy()
    exit_code, outcomes, kind = judged(named(tmp_path / "good", files), capsys)
    assert (kind, outcomes.pop("lock"), outcomes.pop("bound-images")) == ("bootable", "no", "no")  # no label; an app that its lock has not
    assert (exit_code, set(outcomes.values())) == (ExitCode.NO, {"yes"})
    for path in [path for path in files if path.startswith("/usr/lib/aistack/")]:
        del files[path]
    assert judged(named(tmp_path / "lockless", files), capsys)[0] is ExitCode.OK
    exit_code, outcomes, _ = judged(named(tmp_path / "logs", files, {"/var/log/dpkg.log": b"x"}), capsys)
    assert (exit_code, outcomes["var-log"]) == (ExitCode.OK, "no")  # a warning
    exit_code, outcomes, _ = judged(named(tmp_path / "key", files, {"/etc/ssh/ssh_host_rsa_key": b"x"}), capsys)
    assert (exit_code, outcomes["no-identity"]) == (ExitCode.NO, "no")


@pytest.mark.system
def test_an_image_that_does_not_boot_says_so(tmp_path: Path, own_store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert verb.verify(named(tmp_path, {"/models/a": b"GGUF"}), statement=None, without_models=False, as_json=False) is ExitCode.OK
    shown = capsys.readouterr().out.splitlines()
    assert shown[1].startswith("no bootable container: ")
    assert not [line for line in shown if " kernel: " in line]
    claims = named(tmp_path / "claims", {"/etc/motd": b""}, labels={"containers.bootc": "1"})
    exit_code, outcomes, kind = judged(claims, capsys)
    assert (exit_code, outcomes["kernel"], kind) == (ExitCode.NO, "no", "bootable")


@pytest.mark.system
@pytest.mark.parametrize("compression", ["", "gzip"])
def test_other_transports_bring_the_same_image(
    compression: str, tmp_path: Path, own_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    made = oci_samples.image(Store(tmp_path / "elsewhere"), [oci_samples.layer([oci_samples.file("etc/motd", b"hi")], compression)])
    layout = oci.export_layout(Store(tmp_path / "elsewhere"), {"one": made}, tmp_path / "layout")
    for name in (f"dir:{tmp_path}/folder", f"oci-archive:{tmp_path}/oci.tar", f"docker-archive:{tmp_path}/docker.tar"):
        keeps = not name.startswith("docker-archive:")  # which has a manifest of its own
        how, tag = ("--preserve-digests", "") if keeps else ("--quiet", ":localhost/one:1")
        subprocess.run(["skopeo", "copy", how, f"oci:{layout}:one", name + tag], capture_output=True, check=True)
        verb.verify(name, statement=None, without_models=False, as_json=True)
        image = oci.read_image(own_store, json.loads(capsys.readouterr().out)["image"])
        assert image.layers[0].diff_id == oci.read_image(Store(tmp_path / "elsewhere"), made).layers[0].diff_id
        assert (image.digest == made) is keeps


@pytest.mark.system
def test_what_lies_on_the_disk_needs_no_transport(tmp_path: Path, own_store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    elsewhere = Store(tmp_path / "elsewhere")
    made = oci_samples.image(elsewhere, [oci_samples.layer([oci_samples.file("etc/motd", b"hi")])])
    layout = str(oci.export_layout(elsewhere, {"one": made}, tmp_path / "layout"))
    names = {"oci-archive:": f"{tmp_path}/oci.tar", "docker-archive:": f"{tmp_path}/docker.tar", "dir:": f"{tmp_path}/folder"}
    for transport, path in names.items():
        subprocess.run(["skopeo", "copy", "--quiet", f"oci:{layout}:one", transport + path], capture_output=True, check=True)
    for transport, path in {"oci:": layout, **names}.items():
        assert skopeo.named(path) == transport + path
        statement = tmp_path / "statement.json"
        assert verb.verify(path, statement=statement, without_models=False, as_json=True) is ExitCode.OK
        shown, stated = json.loads(capsys.readouterr().out), json.loads(statement.read_text())
        assert stated["subject"][0]["digest"]["sha256"] == shown["image"].removeprefix("sha256:")
        assert stated["predicate"]["result"] == "WARNED"  # without a package database not all can be told
        assert len(stated["predicate"]["passedTests"]) + len(stated["predicate"]["warnedTests"]) == len(shown["findings"]["image"])
        assert verb.snapshot(path, as_json=False) is ExitCode.OK
        assert yaml.safe_load(capsys.readouterr().out)["image"] == {"arch": "amd64"}


@pytest.mark.parametrize("tag", ["", ":one"])
def test_a_statement_never_takes_the_place_of_what_it_is_about(tag: str, tmp_path: Path) -> None:
    """Nothing of the image is read before: what lies there need not even be one."""
    for transport, file in (("oci:", "index.json"), ("dir:", "deep/blob"), ("oci-archive:", ""), ("docker-archive:", "")):
        place = tmp_path / transport.rstrip(":")
        path = place / file if file else place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"kept")
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(path)
        for statement in (path, tmp_path / "link"):
            with pytest.raises(DiagnosticError) as caught:
                verb.verify(f"{transport}{place}{tag}", statement=statement, without_models=False, as_json=True)
            assert (caught.value.exit_code, caught.value.diagnostics[0].rule) == (ExitCode.NO, "CLI008")
            assert path.read_bytes() == b"kept"
    assert list(skopeo.files(f"docker://{tmp_path}")) == []


@pytest.mark.system
def test_a_compressed_archive_says_how_it_is_unpacked(tmp_path: Path, own_store: Store) -> None:
    """Whatever is in it: the form alone tells."""
    whole, packed = tmp_path / "os.oci.tar.zst", tmp_path / "docker.tar.gz"
    whole.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(99))
    packed.write_bytes(gzip.compress(b"no archive"))
    for name, tool in ((str(whole), "zstd"), (f"docker-archive:{packed}", "gzip")):
        with pytest.raises(DiagnosticError) as caught:
            verb.verify(name, statement=None, without_models=False, as_json=True)
        (said,) = caught.value.diagnostics
        assert (caught.value.exit_code, f"`{tool} -d {whole if tool == 'zstd' else packed}`" in " ".join((*said.why, *said.hints))) == (
            ExitCode.UNABLE,
            True,
        )


@pytest.mark.parametrize(("name", "said"), [("localhost/os:1", "containers-storage:localhost/os:1"), (".", "name a recipe, or an image")])
def test_what_is_no_image_is_exit_3_and_says_how_one_is_named(name: str, said: str) -> None:
    with pytest.raises(DiagnosticError) as caught:
        verb.verify(name, statement=None, without_models=False, as_json=True)
    assert (caught.value.exit_code, caught.value.diagnostics[0].rule) == (ExitCode.UNABLE, "VER004")
    assert said in " ".join(caught.value.diagnostics[0].hints)


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tar.xz"])
def test_an_archive_that_was_cut_off_is_exit_3(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"image.{ending}"
    with tarfile.open(path, f"w:{ending[4:]}") as archive:  # type: ignore[call-overload]  # the mode is made up
        for number in range(9):
            member = tarfile.TarInfo(f"part{number}")
            member.size = 4096
            archive.addfile(member, io.BytesIO(Random(number).randbytes(member.size)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DiagnosticError) as caught:
        verb.verify(str(path), statement=None, without_models=False, as_json=True)
    assert (caught.value.exit_code, caught.value.diagnostics[0].rule) == (ExitCode.UNABLE, "OCI003")


@pytest.mark.system
@pytest.mark.parametrize(
    "index", ["{", "[]", '{"manifests": null}', '{"manifests": 5}', '["x"]', '{"manifests": ["x", {"annotations": 5}]}']
)
def test_a_layout_whose_index_is_none_is_exit_3(index: str, tmp_path: Path, own_store: Store) -> None:
    layout = Path(named(tmp_path, {"/etc/motd": b"hi"}).split(":")[1])
    (layout / "index.json").write_text(index)
    with pytest.raises(DiagnosticError) as caught:
        verb.verify(str(layout), statement=None, without_models=False, as_json=True)
    assert (caught.value.exit_code, caught.value.diagnostics[0].rule) == (ExitCode.UNABLE, "OCI007")


@pytest.mark.system
def test_of_several_images_one_must_be_named(tmp_path: Path, own_store: Store) -> None:
    elsewhere = Store(tmp_path / "elsewhere")
    images = {tag: oci.write_image(elsewhere, [written(elsewhere, {"/etc/motd": tag.encode()})], arch="amd64") for tag in ("one", "two")}
    layout = oci.export_layout(elsewhere, images, tmp_path / "layout")
    with pytest.raises(DiagnosticError) as caught:
        verb.verify(str(layout), statement=None, without_models=False, as_json=True)
    assert caught.value.diagnostics[0].hints == (f"name one of oci:{layout}:one, oci:{layout}:two",)


@pytest.mark.system
def test_a_part_with_another_digest_is_refused_and_named(tmp_path: Path, own_store: Store) -> None:
    name = named(tmp_path, {"/etc/motd": b"hi" * 1000})
    victim = max((tmp_path / "layout/blobs/sha256").iterdir(), key=lambda blob: blob.read_bytes()[:1] != b"{")
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.unlink()
    victim.write_bytes(data)
    with pytest.raises(DiagnosticError) as caught:
        verb.verify(name, statement=None, without_models=False, as_json=True)
    assert caught.value.exit_code is ExitCode.UNABLE
    assert victim.name in " ".join((caught.value.diagnostics[0].message, *caught.value.diagnostics[0].why))
    assert not own_store.has(victim.name)


@pytest.mark.system
@pytest.mark.parametrize("name", ["oci:nowhere:one", "docker-archive:nowhere.tar", "docker://localhost:1/none"])
def test_what_is_not_there_is_exit_3(name: str, own_store: Store) -> None:
    with pytest.raises(DiagnosticError) as caught:
        verb.verify(name, statement=None, without_models=False, as_json=True)
    assert (caught.value.exit_code, caught.value.diagnostics[0].rule) == (ExitCode.UNABLE, "OCI007")
