"""`aistack store`, and stores that take from one another: what is needed stays, what is damaged is named, nothing else is touched."""

from __future__ import annotations

import hashlib
import io
import json
import os
import time
from pathlib import Path
from typing import Any

import oci_samples
import pytest

from aistack.commands import boot
from aistack.commands import store as verbs
from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.host import layers, sharing, uses
from aistack.host.qemu import Firmware
from aistack.host.store import Store
from aistack.host.uses import Use

HOUR = 3600.0


def filled(store: Store, name: str, *, hours_ago: float = 0) -> tuple[Use, str]:
    """A store in which a lock of that name was built (a fetched file, an image, a root, a disk that has booted), and the image's layer."""
    package, _ = store.add(io.BytesIO(f"package of {name}".encode()))
    layer, media_type = oci_samples.layer([oci_samples.file(f"usr/bin/{name}", name.encode())])
    image = oci_samples.image(store, [(layer, media_type)])
    outputs: dict[str, dict[str, Any]] = {
        f"image-{name}": {"image": image},
        f"root-{name}": {"root": f"unpacked-{name}"},
        f"disk-{name}": {"files": {}},
        boot.evidence_id(f"disk-{name}", Firmware.UEFI): {},
    }
    for step, document in outputs.items():
        with store.produce(step) as folder:
            (folder / "output.json").write_text(json.dumps(document))
    (store.path / "roots" / f"unpacked-{name}" / "usr").mkdir(parents=True)
    steps = {step: f"title of {step}" for step in list(outputs)[:3]}
    use = Use(lock=f"sha256:{name}", name=name, recipe=f"/recipes/{name}.yaml", inputs={package: f"package {name}"}, steps=steps)
    uses.remember(store, use)
    record = store.path / "uses" / f"{name}.json"
    os.utime(record, (time.time() - hours_ago * HOUR,) * 2)
    return use, next(sha256 for sha256, what in uses.needs(store, use).items() if what.startswith("layer"))


def everything(store: Store) -> set[str]:
    return {str(path.relative_to(store.path)) for path in store.path.rglob("*") if "lock" not in str(path.relative_to(store.path))}


def test_what_no_lock_of_late_needs_goes_and_all_else_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path / "store")
    filled(store, "current", hours_ago=1)
    before = everything(store) - {"tmp"}
    filled(store, "forgotten", hours_ago=48)
    (store.path / "tmp/unfinished").mkdir(parents=True)
    assert verbs.prune(store, days=1, everything=False, dry_run=True, as_json=True) is ExitCode.OK
    promised = json.loads(capsys.readouterr().out)["bytes"]
    assert (store.path / "uses/forgotten.json").is_file() and promised > 0
    assert verbs.prune(store, days=1, everything=False, dry_run=False, as_json=True) is ExitCode.OK
    assert json.loads(capsys.readouterr().out)["bytes"] == promised
    left = everything(store) - {"tmp"}
    # A sample's layers are kept unpacked too, which no image names.
    assert before - left <= {path for path in before if path.startswith("blobs/sha256/")}
    assert left <= before
    ((use, *_),) = uses.remembered(store)
    assert all(store.has(sha256) for sha256 in uses.needs(store, use))
    assert (store.path / "roots/unpacked-current").is_dir() and store.output(boot.evidence_id("disk-current", Firmware.UEFI))


def test_all_is_all_and_a_second_time_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path / "store")
    filled(store, "current")
    for _ in range(2):
        assert verbs.prune(store, days=30, everything=True, dry_run=False, as_json=False) is ExitCode.OK
    assert capsys.readouterr().out.endswith(f"removed        0.0 MB from {store.path}\n")
    assert not [path for path in store.path.rglob("*") if path.is_file() and path.name not in ("CACHEDIR.TAG", "in-use")]
    assert verbs.prune(Store(tmp_path / "none"), days=30, everything=True, dry_run=False, as_json=False) is ExitCode.OK


def test_a_folder_that_is_no_store_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/app.log").touch()
    with pytest.raises(DiagnosticError) as caught:
        verbs.prune(Store(tmp_path), days=0, everything=True, dry_run=False, as_json=False)
    assert caught.value.diagnostics[0].rule == "STO001"
    assert (tmp_path / "logs/app.log").exists()


def test_check_names_what_is_damaged_and_whose_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path)
    _, layer = filled(store, "node")
    assert verbs.check(store, remove=False, as_json=True) is ExitCode.OK
    assert json.loads(capsys.readouterr().out)["damaged"] == []
    store.blob(layer).write_bytes(store.blob(layer).read_bytes()[::-1])
    assert verbs.check(store, remove=False, as_json=True) is ExitCode.NO
    (row,) = json.loads(capsys.readouterr().out)["damaged"]
    assert row == {"sha256": layer, "what": "layer of title of image-node, for node"}
    assert verbs.check(store, remove=True, as_json=False) is ExitCode.NO
    assert capsys.readouterr().out == f"removed {layer}: layer of title of image-node, for node\n"
    assert not store.has(layer) and verbs.check(store, remove=False, as_json=False) is ExitCode.OK


def test_show_says_which_locks_the_store_serves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(tmp_path)
    use, _ = filled(store, "node")
    verbs.show(store, as_json=True)
    (row,) = json.loads(capsys.readouterr().out)["locks"]
    assert row["bytes"] == sum(store.blob(sha256).stat().st_size for sha256 in uses.needs(store, use))
    assert (row["name"], row["recipe"]) == ("node", "/recipes/node.yaml")
    (store.path / "uses/half.json").write_text("{")  # a record that cannot be read is none
    assert len(list(uses.remembered(store))) == 1


def test_files_and_images_are_taken_from_another_store_but_nothing_damaged(tmp_path: Path) -> None:
    other, store = Store(tmp_path / "other"), Store(tmp_path / "store")
    use, layer = filled(other, "node")
    (package,) = use.inputs
    before = everything(other)
    said: list[str] = []
    sources = sharing.others({sharing.VARIABLE: f"{other.path}:{tmp_path / 'not-there'}:"}, said.append)
    assert len(sources) == 1 and said == [f"{sharing.VARIABLE}: {tmp_path / 'not-there'} is no store"]
    sharing.take(store, [package, "0" * 64], sources)
    assert store.has(package) and not store.has("0" * 64)
    assert sharing.take_output(store, "image-node", sources) == uses.read_output(other, "image-node")
    assert store.has(layer) and store.output("image-node")
    assert sharing.take_output(store, "root-node", sources) is None  # its files belong to its builder's users
    assert everything(other) == before
    third = Store(tmp_path / "third")
    for sha256 in (package, layer):
        other.blob(sha256).write_bytes(b"changed")
    sharing.take(third, [package], sources)
    assert said[1] == f"{other.path}: the file {package} is not what its name says"
    assert sharing.take_output(third, "image-node", sources) is None
    assert not third.has(package) and not third.has(layer) and third.output("image-node") is None
    assert not third.has(hashlib.sha256(b"changed").hexdigest())


def test_a_file_that_changed_is_found_while_it_is_packed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    sha256, _ = store.add(io.BytesIO(os.urandom(3 << 20)))
    whole = layers.file_layer(store, "weights", sha256)
    data = bytearray(store.blob(sha256).read_bytes())
    data[2 << 20] ^= 4
    store.blob(sha256).write_bytes(data)
    with pytest.raises(DiagnosticError) as caught:
        layers.file_layer(store, "weights", sha256)
    assert (caught.value.diagnostics[0].rule, caught.value.exit_code) == ("STO002", ExitCode.UNABLE)
    assert store.has(whole.digest.removeprefix("sha256:"))
