"""The lock: canonical bytes, a faithful way back, and a named place for everything that does not fit."""

from __future__ import annotations

import dataclasses
import json

import pytest

from aistack.compose.lock import Lock, LockedAccelerator, LockedApp, LockedModel, LockFormatError, decode, encode, identity
from aistack.facts.pins import LockedBlob, LockedFile, LockedImage, LockedPackage, LockedRoot

PACKAGE = LockedPackage(
    name="dash",
    version="0.5.12-12",
    arch="amd64",
    sha256="a" * 64,
    size=97_000,
    origin="trixie/main",
    filename="pool/main/d/dash/dash.deb",
    source="dash 0.5.12-12",
)
MODEL = LockedModel(
    id="org/model",
    revision="b" * 40,
    licence="apache-2.0",
    sources=("hub",),
    files=(LockedFile(path="config.json", sha256="c" * 64, size=612),),
)
APP = LockedApp(
    name="chat",
    framework="llama.cpp",
    version="0.7.0",
    root="app-chat",
    python=None,
    wheels=(),
    models=("org/model",),
    command=("llama-server",),
    environment=(("LANG", "C.UTF-8"),),
    port=8000,
    health="/health",
)
LOCK = Lock(
    name="example",
    arch="amd64",
    os="debian-13",
    components=(("kernel", "6.12.107+deb13-amd64"),),
    accelerator=LockedAccelerator(product="cpu/x86-64", count=1),
    roots=(("base", LockedRoot(arch="amd64", os="debian-13", packages=(PACKAGE,))),),
    apps=(APP,),
    models=(MODEL,),
    node=(("time-zone", "UTC"),),
    memory_mib=2048,
    wish="sha256:" + "d" * 64,
)


def test_round_trip_is_faithful() -> None:
    assert decode(encode(LOCK)) == LOCK


def test_an_image_with_a_digest_that_is_none_is_refused() -> None:
    blob = LockedBlob(sha256="e" * 64, size=1, media_type="m")
    image = LockedImage(reference="registry.example/app:1", manifest=blob, config=blob, layers=(blob,))
    lock = dataclasses.replace(LOCK, apps=(dataclasses.replace(APP, image=image, root=None),))
    assert decode(encode(lock)) == lock
    document = json.loads(encode(lock))
    document["apps"][0]["image"]["layers"][0]["sha256"] = "../x"
    with pytest.raises(LockFormatError, match="is no sha256"):
        decode(json.dumps(document).encode())


@pytest.mark.parametrize("part", ["sha256", "licence", "version", "size"])
def test_a_lock_that_was_edited_is_told(part: str) -> None:
    document = json.loads(encode(LOCK))
    package = document["roots"][0][1]["packages"][0]
    package[part] = package[part] + 1 if part == "size" else "0" * 64 if part == "sha256" else "MIT"
    with pytest.raises(LockFormatError, match="it was edited"):
        decode(json.dumps(document).encode())


@pytest.mark.parametrize("compressor", [["sh", "-c", "touch /x; cat"], ["zstd", "-o", "/x"], ["zstd", "--patch-from=/x"]])
def test_a_lock_names_nothing_that_runs_on_the_builders_machine(compressor: list[str]) -> None:
    sealed = encode(dataclasses.replace(LOCK, compressor=tuple(compressor)))
    with pytest.raises(LockFormatError, match="compressor"):
        decode(sealed)
    assert decode(encode(dataclasses.replace(LOCK, compressor=("zstd", "-q", "-c", "-9", "-T2", "--no-check"))))


def test_identity_follows_every_byte() -> None:
    other = dataclasses.replace(LOCK, memory_mib=2049)
    assert identity(LOCK) == identity(decode(encode(LOCK)))
    assert identity(LOCK) != identity(other)


def test_encoding_is_canonical() -> None:
    text = encode(LOCK)
    assert text == (json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda document: document.update(schema="aistack/lock/v9"), "`schema`"),
        (lambda document: document.update(colour="red"), "`.colour` is not a known key"),
        (lambda document: document.pop("os"), "`.os` is missing"),
        (lambda document: document.update(memory_mib="much"), "`.memory_mib` must be int"),
        (lambda document: document.update(memory_mib=True), "`.memory_mib` must be int"),
        (lambda document: document["apps"][0].update(models="one"), "`.apps[0].models` must be a list"),
        (lambda document: document["roots"][0].append(1), "`.roots[0]` must hold 2 values"),
        (lambda document: document.update(name="../evil"), "`../evil` is no name"),
        (lambda document: document["models"][0]["files"][0].update(path="../../etc/passwd"), "no path below a folder"),
        (lambda document: document["models"][0]["files"][0].update(sha256="../x"), "is no sha256"),
        (lambda document: document["apps"][0].update(root=None), "either a root or an image"),
        (lambda document: document["apps"][0].update(command=[]), "an app has a command"),
        (lambda document: document["roots"][0][1].update(archives=[{"suite": "trixie\nTrusted: yes"}]), "is no archive"),
        (lambda document: document["roots"][0][1].update(archives=[{"suite": "trixie", "signed_by": "/a\nTrusted: yes"}]), "is no archive"),
        (lambda document: document["models"][0]["files"][0].pop("sha256"), "`.models[0].files[0].sha256` is missing"),
    ],
)
def test_what_does_not_fit_is_named(change: object, said: str) -> None:
    document = json.loads(encode(LOCK))
    assert callable(change)
    change(document)
    with pytest.raises(LockFormatError) as caught:
        decode(json.dumps(document).encode())
    assert said in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe"])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(LockFormatError):
        decode(data)
