"""Updates of a node over a real registry on loopback: what is fetched, staged, refused and held, and the way back."""

from __future__ import annotations

import fcntl
import json
import subprocess
from typing import Any

import pytest
from booted_node import Node
from followed_node import BOUND, REPOSITORY, World, code

from aistack.host import grub, oci

pytestmark = pytest.mark.system


def test_the_same_image_is_nothing_to_do(world: World) -> None:
    said = world.node.update()
    assert (said["outcome"], said["reference"], said["fetched"]) == ("current", world.reference, None)
    other = world.push(str(said["digest"]), "other")
    assert f"goes on following {world.reference}" in world.node.aistack("update", "--check", "--to", other).stderr


def test_an_update_from_look_to_confirm(world: World) -> None:
    node, bound = world.node, world.images.bound("2")
    for digest in bound.values():
        world.push(digest, digest[7:19])
    (node.deployment / "etc/motd").write_text("a local change")
    digest = world.images.system("2", bound=bound, kargs=["quiet", "new=2"], kernel=b"another", files={"/etc/fresh": b"2"})
    world.push(digest)
    world.fetched("blobs")

    said = node.update("--check")
    assert (said["outcome"], said["digest"], said["version"]) == ("available", digest, "2")
    assert [one["version"] for one in node.deployments()] == ["1"]

    said = node.update("--download")
    assert said["outcome"] == "downloaded"
    assert said["fetched"]["layers"] == 3 and said["fetched"]["new_layers"] == 2  # type: ignore[index]
    assert (said["fetched"]["bound"], said["fetched"]["new_bound"]) == (2, 2)  # type: ignore[index]
    assert [one["version"] for one in node.deployments()] == ["1"]
    new = sorted(one for image in (digest, *bound.values()) for one in world.layers(image) if one != world.images.base.digest)
    assert sorted(one for one in world.fetched("blobs") if one in (*new, world.images.base.digest)) == new
    assert said["fetched"]["bytes"] == sum(world.registry.blob(one).stat().st_size for one in new)  # type: ignore[index]

    said = node.update()
    assert said["outcome"] == "staged"
    assert (said["fetched"]["new_layers"], said["fetched"]["new_bound"], said["fetched"]["bytes"]) == (0, 0, 0)  # type: ignore[index]
    staged, booted = node.deployments()
    assert (staged["staged"], staged["version"], booted["booted"], booted["default"]) == (True, "2", True, True)
    assert staged["kernel_arguments"] == ["root=UUID=1", "quiet", "new=2", "local=1"]
    assert node.trial() == grub.Trial(deployment=f"{staged['checksum']}.{staged['serial']}", tries=2)
    assert node.update()["outcome"] == "staged"

    assert node.reboot() == "2"
    assert (node.deployment / "etc/motd").read_text() == "a local change"
    assert (node.deployment / "etc/fresh").read_text() == "2"
    assert set(bound.values()) <= set(json.loads(node.python(BOUND)))
    node.confirm()
    assert node.trial() is None
    assert [(one["version"], one["booted"]) for one in node.deployments()] == [("2", True), ("1", False)]
    node.run(["ostree", "fsck", "--repo=/ostree/repo"])


def test_one_manifest_gives_one_commit_on_node_and_build_host(world: World) -> None:
    digest = world.images.system("same")
    world.push(digest)
    world.node.update("--download")
    there = world.node.run(["ostree", "--repo=/ostree/repo", "rev-parse", f"oci/image/{digest.replace(':', '/')}"]).stdout.strip()
    other = Node(root=world.node.root, work=world.folder / "other", store=world.images.store)
    other.install(digest, world.reference)
    assert other.booted == f"{there}.0"


def test_an_older_image_is_refused_unless_it_is_wanted(world: World) -> None:
    node = world.node
    older = world.images.system("older", sealed="2026-10-01T00:00:00Z")
    silent = world.images.system("silent", sealed=" ")
    for digest in (older, silent):
        world.push(digest)
        assert code(node, "update") == (1, f"error[UPD004]: {world.reference} names an older image than the one that is booted")
    world.push(older)
    assert node.update("--download", "--allow-downgrade")["outcome"] == "downloaded"


def test_a_local_policy_lets_nothing_in_that_the_image_forbids(world: World) -> None:
    first = world.images.system("signed", node={"signed-by": "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"})
    node = Node(root=world.node.root, work=world.folder / "signed", store=world.images.store)
    node.install(first, world.reference)
    node.trust(world.registry.host)
    policy = node.deployment / "etc/containers/policy.json"
    policy.unlink()
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}\n')
    world.push(world.images.system("unsigned"))
    for arguments in (["--check"], []):
        refused, said = code(node, "update", *arguments)
        assert refused == 3 and said.startswith("error[REG009]")


def test_a_policy_that_takes_nothing_is_no_registry_that_does_not_answer(world: World) -> None:
    closed = json.dumps({"default": [{"type": "reject"}]}).encode()
    node = Node(root=world.node.root, work=world.folder / "closed", store=world.images.store)
    node.install(world.images.system("closed", files={"/usr/lib/aistack/policy.json": closed}), world.reference)
    node.trust(world.registry.host)
    world.push(world.images.system("for-nobody"))
    assert code(node, "update")[1].startswith("error[REG010]")


def test_a_quarantined_image_is_taken_by_its_digest_alone(world: World) -> None:
    node, before = world.node, world.node.version()
    digest = world.images.system("undone")
    world.push(digest)
    node.update()
    assert node.reboot() == "undone"
    assert "starts next" in node.aistack("rollback").stdout
    assert node.reboot() == before
    assert node.update()["outcome"] == "quarantined"
    exactly = f"{world.registry.host}/{REPOSITORY}@{digest}"
    said = node.update("--download", "--to", exactly)
    assert (said["outcome"], said["reference"], said["held"]) == ("downloaded", world.reference, False)
    assert node.update("--to", exactly)["outcome"] == "staged"
    world.push(world.images.system("the-tag-goes-on"))
    for _ in range(2):  # staged, then booted: the timer leaves it alone
        said = node.update()
        assert (said["digest"], said["held"]) == (digest, True)
        assert node.reboot() == "undone"
    assert node.update("--check", "--to", world.reference)["outcome"] == "available"
    assert "starts next" in node.aistack("rollback").stdout
    assert node.reboot() == before
    assert node.update("--check")["held"] is False
    node.confirm()


def test_a_rollback_says_what_it_drops(world: World) -> None:
    node = world.node
    world.push(world.images.system("next"))
    node.update()
    node.reboot()
    node.confirm()
    staged = world.images.system("staged")
    world.push(staged)
    node.update()
    dry = node.aistack("rollback", "--dry-run").stdout
    assert "would start next" in dry and f"{staged}, which was staged, would be dropped" in dry
    assert node.deployments()[0]["staged"]
    said = json.loads(node.aistack("rollback", "--json").stdout)
    assert said["dropped"] == [staged] and said["done"] and not said["reboots"]
    assert not any(one["staged"] for one in node.deployments())
    assert node.reboot() != "next"
    node.confirm()


def test_a_rollback_that_waits_for_its_reboot_stands(world: World) -> None:
    """What the next start falls back to is what was gone back to, not what was left."""
    node, before = world.node, world.node.version()
    world.push(world.images.system("left"))
    node.update()
    assert node.reboot() == "left"
    node.aistack("rollback")
    world.push(world.images.system("mended"))
    assert node.update()["outcome"] == "staged"
    assert [(one["version"], one["default"]) for one in node.deployments()] == [("mended", False), (before, True), ("left", False)]
    assert node.reboot() == "mended"
    assert [one["version"] for one in node.deployments()][:2] == ["mended", before]
    node.confirm()


def test_a_rollback_that_waits_for_its_reboot_is_taken_back_by_the_digest_of_what_runs(world: World) -> None:
    node, before = world.node, world.node.version()
    digest = world.images.system("wanted-after-all")

    def told() -> dict[str, Any]:
        return dict(json.loads(node.aistack("status", "--json").stdout))

    world.push(digest)
    node.update()
    assert node.reboot() == "wanted-after-all"
    exactly = f"{world.registry.host}/{REPOSITORY}@{digest}"
    node.aistack("rollback")
    assert "until the reboot of a rollback" in str(node.update()["because"])
    said = node.update("--to", exactly)  # nobody confirmed it yet: it is staged as anything new is
    assert (said["outcome"], said["held"], told()["next_boot"]) == ("staged", True, digest)
    assert [(one["version"], one["default"]) for one in node.deployments()][:2] == [("wanted-after-all", False), (before, True)]
    assert node.reboot() == "wanted-after-all"
    trial = node.trial()
    assert trial is not None and trial.deployment == node.booted
    node.confirm()
    assert [one["version"] for one in node.deployments()] == ["wanted-after-all", before]
    node.aistack("rollback")
    assert told()["next_boot"] != digest and told()["quarantined"] != []
    said = node.update("--to", exactly)
    assert (said["outcome"], said["held"], told()["next_boot"]) == ("current", True, digest)
    assert digest not in told()["quarantined"] and not (node.work / "run/aistack/left").exists()
    assert node.reboot() == "wanted-after-all"
    node.confirm()
    node.update("--to", world.reference)


def test_nothing_is_staged_above_what_the_bootloader_fell_back_from(world: World) -> None:
    node, before, name = world.node, world.node.version(), world.node.booted
    world.push(world.images.system("panics"))
    node.update()
    assert node.reboot() == "panics"
    node.booted = name  # what GRUB does at -1
    world.push(world.images.system("stands"))
    assert node.update()["outcome"] == "staged"
    listed = [(one["version"], one["default"]) for one in node.deployments()]
    assert listed == [("stands", False), (before, True), ("panics", False)]
    assert node.reboot() == "stands"
    node.confirm()


def test_only_one_runs(world: World) -> None:
    lock = world.node.work / "run/aistack/update.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert world.node.update("--check")["reference"] == world.reference
        waits = subprocess.Popen(world.node.command(["python3", "-m", "aistack", "node", "update"]), stderr=subprocess.PIPE, text=True)
        assert waits.stderr is not None and "waiting for it, 300 s at most" in waits.stderr.readline()
        fcntl.flock(file, fcntl.LOCK_UN)
        assert waits.communicate(timeout=300) and waits.returncode == 0


def test_an_image_comes_from_a_layout_without_the_registry(world: World) -> None:
    """Not from the site's mirror of the same repository either, which nobody reaches."""
    node = world.node
    mirror, prefix = node.deployment / "etc/containers/registries.conf.d/mirror.conf", f"{world.registry.host}/{REPOSITORY}"
    mirror.write_text(f'[[registry]]\nprefix = "{prefix}"\nlocation = "127.0.0.1:9/{REPOSITORY}"\ninsecure = true\n')
    for number, packed in enumerate((False, True)):
        bound = world.images.bound(f"layout {number}")
        digest = world.images.system(f"layout-{number}", bound=bound)
        named = {"stable": digest, **{one[7:19]: one for one in bound.values()}}
        layout = oci.export_layout(world.images.store, named, node.work / f"layout-{number}")
        world.fetched("blobs")
        inside = f"/run/layout-{number}"
        if packed:
            subprocess.run(["tar", "--create", f"--file={node.work}/run/layout-{number}.tar", f"--directory={layout}", "."], check=True)
            inside += ".tar"
        else:
            layout.rename(node.work / f"run/layout-{number}")
        said = node.update("--from", inside)
        assert (said["outcome"], said["digest"], said["reference"]) == ("staged", digest, world.reference)
        assert world.fetched("blobs") == [] and set(bound.values()) <= set(json.loads(node.python(BOUND)))
    assert code(node, "update", "--from", "/usr/share")[1].startswith("error[UPD006]")
    mirror.unlink()
