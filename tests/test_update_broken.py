"""Updates that break off, in whatever way, and disks that are full: what is left of them, what makes room, and what never goes."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time

import pytest
from followed_node import BOUND, REPOSITORY, World, code
from registry_server import cut_wire

from aistack.host import grub, oci

pytestmark = pytest.mark.system

KILLS = int(os.environ.get("AISTACK_TEST_KILLS", "3"))


def test_a_power_cut_before_the_shutdown_costs_nothing(world: World) -> None:
    node, before = world.node, world.node.version()
    world.push(world.images.system("cut"))
    assert node.update()["outcome"] == "staged"
    assert node.crash() == before
    said = node.update()
    assert (said["outcome"], said["fetched"]["new_layers"]) == ("staged", 0)  # type: ignore[index]
    assert node.reboot() == "cut"
    node.confirm()


def test_killed_as_soon_as_it_is_staged_it_is_on_trial(world: World) -> None:
    """With GRUB's environment damaged before: it is made anew."""
    node = world.node
    digest = world.images.system("killed")
    world.push(digest)
    node.update("--download")
    (node.work / "sysroot/boot/grub/grubenv").write_bytes(b"x" * 100)
    image = f"Image(reference={world.reference!r}, digest={digest!r})"
    done = node.run(["python3", "-c", KILLED.format(image=image)], check=False)
    assert done.returncode == 9, done
    assert node.reboot() == "killed"
    assert node.trial() == grub.Trial(deployment=node.booted, tries=2)
    node.confirm()


KILLED = """
import os
from aistack.host import sysroot
from aistack.node.deployments import Image
from aistack.node.deployments.ostree import OstreeDeployments
deploy = sysroot.deploy
sysroot.deploy = lambda *arguments, **named: (deploy(*arguments, **named), os._exit(9))
OstreeDeployments().stage({image}, [])
"""


@pytest.mark.parametrize("where", ["manifest", "config", "layer", "bound"])
def test_wrong_bytes_are_refused_and_nothing_of_them_stays(world: World, where: str) -> None:
    node, bound = world.node, world.images.bound(f"wrong {where}")
    for one in bound.values():
        world.push(one, one[7:19])
    digest = world.images.system(f"wrong-{where}", bound=bound, files={"/usr/lib/wrong": where.encode() * 1000})
    world.push(digest)
    image = oci.read_image(world.images.store, digest, whole=False)
    manifest = json.loads(world.registry.blob(digest).read_bytes())
    parts = {
        "manifest": digest,
        "config": manifest["config"]["digest"],
        "layer": image.layers[1].digest,
        "bound": next(iter(bound.values())),
    }
    blob = world.registry.blob(parts[where])
    whole = blob.read_bytes()
    blob.write_bytes(whole.replace(b"a", b"b", 1) if where != "layer" else whole[:-9] + b"123456789")
    try:
        exit_code, said = code(node, "update")
        assert (exit_code, said[:9]) == (3, "error[REG"), said
        assert not any(one["version"] == f"wrong-{where}" for one in node.deployments())
        node.run(["ostree", "fsck", "--repo=/ostree/repo"])
    finally:
        blob.write_bytes(whole)
    assert node.update()["outcome"] == "staged"


def test_a_registry_that_stops_is_gone_on_with(world: World) -> None:
    node = world.node
    digest = world.images.system("stops", files={f"/usr/lib/part{number}": random.Random(number).randbytes(400_000) for number in range(4)})
    world.push(digest)
    with cut_wire(world.registry.port, after=200_000) as host:
        node.trust(host)
        exit_code, said = code(node, "update", "--to", f"{host}/{REPOSITORY}:stable")
        assert (exit_code, said.startswith("error[REG007]")) == (3, True), said
    assert not any(one["version"] == "stops" for one in node.deployments())
    assert node.update()["outcome"] == "staged"


@pytest.mark.parametrize("where", ["layer", "bound"])
def test_a_registry_that_falls_silent_holds_nobody(world: World, where: str) -> None:
    node, noise = world.node, random.Random(where).randbytes(400_000)
    bound = world.images.bound(f"silent {where}", noise if where == "bound" else b"")
    for one in bound.values():
        world.push(one, one[7:19])
    world.push(world.images.system(f"silent-{where}", bound=bound, files={"/usr/lib/noise": noise} if where == "layer" else {}))
    with cut_wire(world.registry.port, after=200_000, quiet=300.0) as host:
        node.trust(host)
        begun = time.monotonic()
        done = node.run(["python3", "-c", IMPATIENT, "node", "update", "--to", f"{host}/{REPOSITORY}:stable"], check=False)
    assert done.returncode == 3 and "error[REG007]" in done.stderr and "nothing came for 4 s" in done.stderr, done
    assert time.monotonic() - begun < 120
    assert not any(one["version"] == f"silent-{where}" for one in node.deployments())
    assert not (node.work / "sysroot/ostree/bootc/storage/fetching").exists()
    assert node.update()["outcome"] == "staged"


IMPATIENT = "from aistack.host import image_proxy; image_proxy.SILENCE = 4.0; from aistack.cli import main; main()"


def test_a_shutdown_that_never_puts_it_in_place_is_given_up(world: World) -> None:
    node, before = world.node, world.node.version()
    digest = world.images.system("unfinished")
    world.push(digest)
    for _ in range(3):
        assert node.update("--apply")["outcome"] == "reboots"
        assert node.crash() == before
    for _ in range(2):
        assert code(node, "update", "--apply") == (1, f"error[UPD010]: {world.reference} names an image that no reboot has started")
    assert "3 reboots were to start it" in node.aistack("status").stdout
    assert node.update("--to", f"{world.registry.host}/{REPOSITORY}@{digest}")["outcome"] == "staged"
    assert node.reboot() == "unfinished"
    node.confirm()
    assert not node.update("--to", world.reference)["held"]


def test_killed_at_any_moment_it_is_done_again(world: World) -> None:
    node, chance = world.node, random.Random(7)
    for number in range(KILLS):
        bound = world.images.bound(f"kill {number}")
        for one in bound.values():
            world.push(one, one[7:19])
        files = {f"/usr/lib/kill{number}": chance.randbytes(2_000_000)}
        world.push(world.images.system(f"kill-{number}", bound=bound, files=files))
        running_update = subprocess.Popen(node.command(["python3", "-m", "aistack", "node", "update"]), stderr=subprocess.PIPE)
        time.sleep(chance.uniform(1.0, 6.0))
        running_update.send_signal(signal.SIGKILL)
        running_update.wait()
        node.run(["ostree", "fsck", "--repo=/ostree/repo"])
        assert node.update()["outcome"] == "staged"
        assert node.reboot() == f"kill-{number}"
        node.confirm()


def test_a_power_cut_leaves_no_app_that_is_believed_and_empty(world: World) -> None:
    """containers-storage lists layers before their files are on the disk: here is what a cut leaves of them."""
    node = world.node
    bound = world.images.bound("cut")
    for one in bound.values():
        world.push(one, one[7:19])
    world.push(world.images.system("cut", bound=bound))
    assert node.update("--download")["outcome"] == "downloaded"
    storage = node.work / "sysroot/ostree/bootc/storage"
    written = [path for path in storage.glob("overlay/*/diff/content") if b" cut" in path.read_bytes()]
    assert len(written) == len(bound)
    for path in written:
        path.write_bytes(b"")
    (storage / "arriving").write_text("another start of the machine")
    assert node.update()["outcome"] == "staged"
    again = [path for path in storage.glob("overlay/*/diff/content") if b" cut" in path.read_bytes()]
    assert len(again) == len(bound) and not (storage / "arriving").exists()


def test_an_etc_that_no_shutdown_could_merge_is_told_before_anything_is_staged(world: World) -> None:
    node, folder = world.node, world.node.deployment / "etc/odd"
    folder.write_text("the machine's own")
    world.push(world.images.system("etc", files={"/etc/odd/x": b"the image's"}))
    said = node.aistack("update", check=False)
    assert said.returncode == 3 and "OST012" in said.stderr and "/etc/odd is a folder in the image" in said.stderr
    assert "etc" not in [one["version"] for one in node.deployments()]
    folder.unlink()
    assert node.update()["outcome"] == "staged"
    assert node.reboot() == "etc" and (node.deployment / "etc/odd/x").read_bytes() == b"the image's"
    node.confirm()


def test_too_little_room_is_told_before_anything_comes(world: World) -> None:
    node = world.node
    world.push(world.images.system("large", files={"/usr/lib/large": bytes(300_000_000)}))  # small as it comes, large unpacked
    world.fetched("blobs")
    done = node.run(["sh", "-c", FULL], check=False)
    assert done.returncode == 3 and "error[UPD001]" in done.stderr, done
    assert len(set(world.fetched("blobs"))) <= 2  # the config, and the small layer that says what is bound
    assert not any(one["version"] == "large" for one in node.deployments())


# A file system of the repository's own with 300 MB free, over the node's.
FULL = """
set -eu
mkdir -p /tmp/over && mount -t tmpfs -o size=300m tmpfs /tmp/over && mkdir /tmp/over/upper /tmp/over/work
mount -t overlay -o lowerdir=/sysroot/ostree/repo,upperdir=/tmp/over/upper,workdir=/tmp/over/work overlay /sysroot/ostree/repo
python3 -m aistack node update
"""


def test_room_for_what_lies_there_twice_while_it_comes_is_asked_for_too(world: World) -> None:
    """Twice 17.5 MB that may grow threefold would find room; skopeo keeps one of them as it came beside that."""
    bound = world.images.bound("large", random.Random(3).randbytes(17_500_000))
    for one in bound.values():
        world.push(one, one[7:19])
    world.push(world.images.system("large-bound", bound=bound))
    done = world.node.run(["sh", "-c", FULL], check=False)
    told = re.search(r"error\[UPD001\].* needs ([0-9]+) MB, .* has ([0-9]+) MB free", done.stderr)
    assert told is not None, done
    assert int(told[1]) - 17 < int(told[2]), "all but that copy would find room"


def test_what_nothing_needs_goes_without_a_reboot(world: World) -> None:
    """Not what is in force, which need not be deployed: its apps run."""
    node, images = world.node, world.images

    def there() -> set[str]:
        return set(json.loads(node.python(BOUND)))

    node.confirm()
    bound = [images.bound(f"passing {number}") for number in range(3)]
    for number, names in enumerate(bound):
        for one in names.values():
            world.push(one, one[7:19])
        world.push(images.system(f"passing-{number}", bound=names))
        assert node.update()["outcome"] == "staged"
        if number == 0:
            staged = next(one for one in node.deployments() if one["staged"])
            live = {"stateroot": "aistack", "commit": staged["checksum"], "serial": 0, "promised_manifest": staged["digest"]}
            (node.work / "run/aistack/live.json").write_text(
                json.dumps({**live, "manifest": staged["digest"], "lock_identity": "x", "reference": None})
            )
    assert {*bound[0].values(), *bound[2].values()} <= there() and not {*bound[1].values()} & there()
    (node.work / "run/aistack/live.json").unlink()
    node.confirm()
    assert {*bound[2].values()} <= there() and not {*bound[0].values()} & there()
    node.run(["ostree", "fsck", "--repo=/ostree/repo"])


def test_the_confirmed_deployment_is_never_collected(world: World) -> None:
    node, chance = world.node, random.Random(11)
    confirmed = node.version()
    for number in range(8):
        match chance.choice(["update", "update", "reboot", "crash", "confirm", "clean", "rollback"]):
            case "update":
                world.push(world.images.system(f"random-{number}"))
                node.update()
            case "reboot":
                node.reboot()
            case "crash":
                node.crash()
            case "confirm":
                node.confirm()
                confirmed = node.version()
            case "clean":
                node.python("from aistack.node.cleaning import run_clean\nfrom pathlib import Path\nrun_clean(Path('/'), deployments)")
            case "rollback":
                node.aistack("rollback", check=False)
        versions = [one["version"] for one in node.deployments()]
        assert confirmed in versions, (number, versions)
    node.run(["ostree", "fsck", "--repo=/ostree/repo"])


def test_what_nothing_needs_makes_room(world: World) -> None:
    """Each fits alone; the first was fetched and never staged."""
    for name in ("first", "second"):
        world.push(world.images.system(f"room-{name}", files={"/usr/lib/large": name.encode() + bytes(200_000_000)}), f"room-{name}")
    said = world.node.run(["sh", "-c", SMALL, "sh", f"{world.registry.host}/{REPOSITORY}:room"]).stdout
    assert said.count("it is on this node whole") == 2, said


# A file system of the repository's own with 500 MB free, over the node's.
SMALL = """
set -eu
mkdir -p /tmp/over && mount -t tmpfs -o size=500m tmpfs /tmp/over && mkdir /tmp/over/upper /tmp/over/work
mount -t overlay -o lowerdir=/sysroot/ostree/repo,upperdir=/tmp/over/upper,workdir=/tmp/over/work overlay /sysroot/ostree/repo
for name in first second; do python3 -m aistack node update --download --to "$1-$name"; done
"""
