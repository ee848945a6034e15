"""A layer that is no longer what its name says is found before anything is concluded from it, and made again."""

from __future__ import annotations

from pathlib import Path

import pytest

from aistack.commands import verifying
from aistack.compose.lock import Lock
from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.facts.pins import LockedRoot
from aistack.host import layers, oci
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
