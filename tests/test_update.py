"""Updates of a node over a real registry on loopback: what is fetched, staged, refused, kept, and what a broken attempt leaves."""

from __future__ import annotations

import fcntl
import json
import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from booted_node import Images, Node, root_of_the_os
from registry_server import Registry, cut_wire, running
from tools_needed import needs

from aistack.host import grub, oci
from aistack.host.store import Store

pytestmark = pytest.mark.system

REPOSITORY, KILLS = "nodes/test", int(os.environ.get("AISTACK_TEST_KILLS", "3"))


@dataclass(slots=True)
class World:
    """A node that follows `nodes/test:stable` of a registry, and images to push there."""

    node: Node
    images: Images
    registry: Registry
    folder: Path
    pushed: int = 0

    @property
    def reference(self) -> str:
        return f"{self.registry.host}/{REPOSITORY}:stable"

    def push(self, digest: str, tag: str = "stable") -> str:
        self.pushed += 1
        return self.registry.push(self.images.store, digest, f"{REPOSITORY}:{tag}", self.folder / f"layout-{self.pushed}")

    def layers(self, image: str) -> list[str]:
        """The digests of an image's layers."""
        return [layer.digest for layer in oci.read_image(self.images.store, image, whole=False).layers]

    def fetched(self, what: str) -> list[str]:
        """The digests of `manifests` or `blobs` that were sent whole since the last call."""
        log = self.registry.folder / "log"
        found = re.findall(rf"GET /v2/{REPOSITORY}/{what}/(sha256:[0-9a-f]+)", log.read_text())
        log.write_bytes(b"")
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Made once, since an OS of its own is unpacked: each test goes on with what is booted, and pushes something newer."""
    needs("skopeo", "docker-registry", "bwrap")
    root, folder = root_of_the_os(), tmp_path_factory.mktemp("world")
    store = Store(folder / "store")
    store.prepare()
    (folder / "registry").mkdir()
    with running(folder / "registry", secure=False) as registry, pytest.MonkeyPatch.context() as patch:
        conf = folder / "registries.conf"
        conf.write_text(f'[[registry]]\nlocation = "{registry.host}"\ninsecure = true\n')
        patch.setenv("CONTAINERS_REGISTRIES_CONF", str(conf))
        images = Images.over(root, store)
        world = World(node=Node(root=root, work=folder / "node", store=store), images=images, registry=registry, folder=folder)
        first = images.system("1", kargs=["quiet", "old=1"])
        world.node.install(first, world.reference)
        world.node.trust(registry.host)
        world.push(first)
        world.node.confirm()
        yield world


def code(node: Node, *arguments: str) -> tuple[int, str]:
    """The exit code and the first line of what is said on the error stream, progress left out."""
    done = node.aistack(*arguments, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("error")]
    return done.returncode, said[0] if said else ""


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
    assert staged["kernel_arguments"] == ["root=UUID=1", "quiet", "local=1", "new=2"]
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


BOUND = "import json; from aistack.host import bound_images; print(json.dumps(sorted(bound_images.there(deployments._storage))))"


def test_one_manifest_gives_one_commit_on_node_and_build_host(world: World) -> None:
    digest = world.images.system("same")
    world.push(digest)
    world.node.update("--download")
    there = world.node.run(["ostree", "--repo=/ostree/repo", "rev-parse", f"oci/image/{digest.replace(':', '/')}"]).stdout.strip()
    other = Node(root=world.node.root, work=world.folder / "other", store=world.images.store)
    other.install(digest, world.reference)
    assert other.booted == f"{there}.0"


def test_a_power_cut_before_the_shutdown_costs_nothing(world: World) -> None:
    node, before = world.node, world.node.version()
    world.push(world.images.system("cut"))
    assert node.update()["outcome"] == "staged"
    assert node.crash() == before
    said = node.update()
    assert (said["outcome"], said["fetched"]["new_layers"]) == ("staged", 0)  # type: ignore[index]
    assert node.reboot() == "cut"
    node.confirm()


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
    assert code(node, "update")[1].startswith("error[REG009]")


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


def test_an_image_comes_from_a_layout_without_the_registry(world: World) -> None:
    node = world.node
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
