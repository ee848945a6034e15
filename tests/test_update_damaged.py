"""Updates of a node on which something is damaged: what is left of it goes on, and is made whole where that is possible."""

from __future__ import annotations

import pytest
from followed_node import World

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
