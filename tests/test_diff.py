"""What changed between two locks, and what has to be fetched for it."""

from __future__ import annotations

import dataclasses

from test_lock import LOCK, PACKAGE

from aistack.compose.diff import ImageLayer, diff
from aistack.compose.lock import Lock
from aistack.facts.pins import LockedBlob, LockedFile, LockedImage, LockedPackage, LockedRoot


def with_package(lock: Lock, package: LockedPackage) -> Lock:
    roots = tuple((name, dataclasses.replace(root, packages=(package,))) for name, root in lock.roots)
    return dataclasses.replace(lock, roots=roots)


NEWER = dataclasses.replace(PACKAGE, version="0.5.13-1", sha256="9" * 64, size=99_000)
LAYERS = [
    ImageLayer(image="system-image n", group="dash", digest="sha256:1", size=100_000),
    ImageLayer(image="system-image n", group="initramfs", digest="sha256:2", size=9_000_000),
    ImageLayer(image="app-image chat", group="glibc", digest="sha256:3", size=4_000_000),
]


def test_equal_locks_differ_in_nothing_and_cost_nothing() -> None:
    found = diff(LOCK, LOCK, LAYERS, LAYERS)
    assert (found.changes, found.fetched, found.changed_bytes) == ((), (), 0)


def test_a_package_that_moved_costs_its_layer_and_the_initramfs_is_counted_apart() -> None:
    moved = [dataclasses.replace(layer, digest=layer.digest + "b") if layer.group != "glibc" else layer for layer in LAYERS]
    found = diff(LOCK, with_package(LOCK, NEWER), LAYERS, moved)
    assert {(change.part, change.name, change.old, change.new, change.size) for change in found.changes if change.part == "base"} == {
        ("base", "dash", "0.5.12-12", "0.5.13-1", 99_000)
    }
    assert found.fetched_bytes() == 9_100_000
    assert found.fetched_bytes(without="initramfs") == 100_000
    assert found.total == 13_100_000


def test_the_same_version_with_other_bytes_is_a_change() -> None:
    found = diff(LOCK, with_package(LOCK, dataclasses.replace(PACKAGE, sha256="7" * 64)), None, None)
    assert [change.name for change in found.changes if change.part == "base"] == ["dash"]
    assert found.fetched is None


def test_sources_of_modules_are_told_and_fetched_by_nobody() -> None:
    root = LockedRoot(
        arch="amd64", os="debian-13", packages=(dataclasses.replace(NEWER, name="zfs-dkms"), dataclasses.replace(NEWER, name="gcc-14"))
    )
    (change,) = diff(LOCK, dataclasses.replace(LOCK, roots=(*LOCK.roots, ("modules", root))), None, None).changes
    assert (change.part, change.name, change.old, change.new, change.size) == ("modules", "zfs-dkms", None, "0.5.13-1", 0)


def test_a_setting_a_port_and_a_models_file_are_told() -> None:
    (model, *_), (app, *_) = LOCK.models, LOCK.apps
    file = LockedFile(path="config.json", sha256="e" * 64, size=700)
    new = dataclasses.replace(
        LOCK,
        models=(dataclasses.replace(model, files=(file,)),),
        apps=(dataclasses.replace(app, port=9000),),
        memory_mib=LOCK.memory_mib + 1,
    )
    names = {(change.part.partition(" ")[0], change.name) for change in diff(LOCK, new, None, None).changes}
    assert names == {("model", "config.json"), ("app", "port"), ("node", "memory-mib")}


def test_an_image_that_moved_costs_the_blobs_that_it_does_not_share() -> None:
    blobs = [LockedBlob(sha256=str(number) * 64, size=10**number, media_type="m") for number in range(5)]
    old = LockedImage(reference="registry.example/app:1", manifest=blobs[0], config=blobs[1], layers=(blobs[2], blobs[2]))
    new = dataclasses.replace(old, manifest=blobs[3], layers=(blobs[2], blobs[4]))
    before, after = (dataclasses.replace(LOCK, apps=(dataclasses.replace(LOCK.apps[0], root=None, image=image),)) for image in (old, new))
    (change,) = diff(before, after, None, None).changes
    assert (change.part, change.name, change.size) == ("app chat", "image", 11_000)
    assert (change.old, change.new) == ("registry.example/app:1 at sha256:000000000000", "registry.example/app:1 at sha256:333333333333")
    assert diff(before, before, None, None).changes == ()


def test_a_layer_that_two_images_share_is_fetched_once() -> None:
    twice = [*LAYERS, dataclasses.replace(LAYERS[0], image="app-image chat")]
    found = diff(LOCK, LOCK, [], twice)
    assert [layer.digest for layer in found.fetched or ()] == ["sha256:2", "sha256:3", "sha256:1"]
    assert found.total == 13_100_000


def test_a_new_app_and_one_that_is_gone() -> None:
    without = dataclasses.replace(LOCK, apps=())
    added = {change.name: change for change in diff(without, LOCK, None, None).changes if change.part.startswith("app ")}
    assert added["command"].old is None and added["command"].new
    gone = [change for change in diff(LOCK, without, None, None).changes if change.part.startswith("app ")]
    assert all(change.new is None and change.size == 0 for change in gone)
