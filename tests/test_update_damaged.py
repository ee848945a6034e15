"""Updates of a node on which something is damaged: what is left of it goes on, and is made whole where that is possible."""

from __future__ import annotations

import json

import pytest
from followed_node import BOUND, World, code

pytestmark = pytest.mark.system


@pytest.mark.parametrize("how", ["missing", "garbage"])
def test_a_damaged_deployment_that_does_not_run_stops_no_update_and_no_rollback(world: World, how: str) -> None:
    node = world.node
    world.push(world.images.system(f"above-{how}"))
    assert node.update()["outcome"] == "staged"
    assert node.reboot() == f"above-{how}"
    node.confirm()
    checksum = str(next(one["checksum"] for one in node.deployments() if not one["booted"]))
    damaged = node.work / f"sysroot/ostree/repo/objects/{checksum[:2]}/{checksum[2:]}.commit"
    damaged.unlink()
    if how != "missing":
        damaged.write_bytes(b"\xff" * 64)
    assert "would start next" in node.aistack("rollback", "--dry-run").stdout
    world.push(world.images.system(f"past-{how}"))
    assert node.update()["outcome"] == "staged"
    assert node.reboot() == f"past-{how}"
    node.confirm()
    assert [one["version"] for one in node.deployments()] == [f"past-{how}", f"above-{how}"]


def test_bound_images_that_vanished_come_again(world: World) -> None:
    """Whether the store lost its list, or has one that cannot be read and the mark that the error asks for."""
    node, bound = world.node, world.images.bound("vanishing")
    for one in bound.values():
        world.push(one, one[7:19])
    digest = world.images.system("vanishing", bound=bound)
    world.push(digest)
    node.update()
    assert node.reboot() == "vanishing"
    node.confirm()
    assert node.update()["fetched"] is None
    storage = node.work / "sysroot/ostree/bootc/storage"
    for content, marked in (("[]", False), ("[{", True)):
        (storage / "overlay-images/images.json").write_text(content)
        if marked:
            assert code(node, "update")[1].startswith("error[NODE004]")
            (storage / "arriving").write_text("\n")
        said = node.update("--to", f"{world.reference}@{digest}")
        assert (said["outcome"], said["fetched"]["new_bound"]) == ("current", 2)  # type: ignore[index]
        assert set(bound.values()) <= set(json.loads(node.python(BOUND)))
    assert node.update()["fetched"] is None


def test_a_disk_where_nothing_can_be_written_is_told_as_one_without_room(world: World) -> None:
    world.push(world.images.system("full"))
    done = world.node.run(["sh", "-c", FULL], check=False)
    assert done.returncode == 3 and "error[UPD001]" in done.stderr and "enlarge the disk" in done.stderr, done


# The store of bound images is a file system that is full.
FULL = """
set -eu
mount -t tmpfs -o size=4k tmpfs /sysroot/ostree/bootc/storage && head -c 4096 /dev/zero > /sysroot/ostree/bootc/storage/full
python3 -m aistack node update
"""
