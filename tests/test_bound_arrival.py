"""The store of bound images after a pull that a power cut or a killed process broke off."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aistack.diagnostics import DiagnosticError
from aistack.host import bound_arrival
from aistack.host import bound_images as bound_images_host
from aistack.host.probes.images import bound_images

KEPT, BROKEN = "sha256:" + "a" * 64, "sha256:" + "b" * 64


class CutError(Exception):
    """What ends a block before its end."""


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Two images on a common layer, and a layer that no image has yet."""
    layers = {"base": None, "kept": "base", "broken": "base", "orphan": "broken"}
    images = [{"id": name, "digest": digest, "layer": name} for name, digest in (("kept", KEPT), ("broken", BROKEN))]
    for folder in ("overlay-layers", "overlay-images", "overlay/l"):
        (tmp_path / folder).mkdir(parents=True)
    listed = [{"id": name, **({"parent": parent} if parent else {})} for name, parent in layers.items()]
    (tmp_path / "overlay-layers/layers.json").write_text(json.dumps(listed))
    (tmp_path / "overlay-images/images.json").write_text(json.dumps(images))
    for name in layers:
        (tmp_path / "overlay" / name / "diff").mkdir(parents=True)
        (tmp_path / "overlay/l" / name.upper()).symlink_to(f"../{name}/diff")
        (tmp_path / f"overlay-layers/{name}.tar-split.gz").touch()
    for image in images:
        (tmp_path / "overlay-images" / image["id"]).mkdir()
    (tmp_path / "start").write_text("this start\n")
    return tmp_path


def test_an_earlier_start_left_nothing_that_is_believed(storage: Path) -> None:
    (storage / bound_arrival.MARK).write_text("an earlier start\n")
    with bound_arrival.arriving(storage, [KEPT], storage / "start"):
        assert (storage / bound_arrival.MARK).read_text() == "this start\n"
        assert {path.name for path in (storage / "overlay").iterdir()} == {"base", "kept", "l"}
        assert {path.name for path in (storage / "overlay/l").iterdir()} == {"BASE", "KEPT"}
        assert {path.name for path in (storage / "overlay-images").iterdir()} == {"kept", "images.json"}
        assert {path.name.partition(".")[0] for path in (storage / "overlay-layers").iterdir()} == {"base", "kept", "layers"}
        assert [layer["id"] for layer in json.loads((storage / "overlay-layers/layers.json").read_text())] == ["base", "kept"]
        found = bound_images(Path("/"), str(storage)).value
        assert found is not None and [image.digest for image in found] == [KEPT]
    assert not (storage / bound_arrival.MARK).exists()


def test_the_same_start_goes_on_where_it_was(storage: Path) -> None:
    (storage / bound_arrival.SCRATCH / "left").mkdir(parents=True)
    with pytest.raises(CutError), bound_arrival.arriving(storage, [KEPT], storage / "start") as scratch:
        assert list(scratch.iterdir()) == []
        (scratch / "half").touch()
        raise CutError
    assert not scratch.exists()
    assert (storage / bound_arrival.MARK).exists()
    with bound_arrival.arriving(storage, [KEPT], storage / "start"):
        assert len(list((storage / "overlay").iterdir())) == 5
    assert not (storage / bound_arrival.MARK).exists()


def test_an_empty_store_is_begun(tmp_path: Path) -> None:
    (tmp_path / "start").write_text("now")
    with bound_arrival.arriving(tmp_path / "storage", [], tmp_path / "start"):
        assert (tmp_path / "storage" / bound_arrival.MARK).exists()
    (tmp_path / "storage" / bound_arrival.MARK).write_text("")
    with bound_arrival.arriving(tmp_path / "storage", [], tmp_path / "start"):
        assert json.loads((tmp_path / "storage/overlay-images/images.json").read_text()) == []


@pytest.mark.parametrize("content", [b"", b"[{", b"\xff", b"{}", b"[5]", b'[{"digest": ["a"]}]', b"[" * 100_000])
@pytest.mark.parametrize("name", ["overlay-images/images.json", "overlay-layers/layers.json"])
def test_a_torn_list_has_a_way_out_which_is_the_one_after_a_power_cut(storage: Path, name: str, content: bytes) -> None:
    (storage / name).write_bytes(content)
    asked = bound_images_host.layers_there if "layers" in name else bound_images_host.there
    with pytest.raises(DiagnosticError, match="cannot read the bound images") as caught:
        asked(storage)
    assert f"echo > {storage}/arriving" in caught.value.diagnostics[0].hints[0]
    (storage / bound_arrival.MARK).write_text("\n")
    with bound_arrival.arriving(storage, [KEPT], storage / "start"):
        assert (bound_images_host.there(storage), bound_images_host.layers_there(storage)) == (frozenset(), frozenset())
        assert [path.name for path in (storage / "overlay").iterdir()] == ["l"]
    assert not (storage / bound_arrival.MARK).exists()
