"""Disks: the layout as values, and a real disk read back with the tools that others would use."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import oci_samples as samples
import pytest

from aistack.compose.render import grub
from aistack.diagnostics import DiagnosticError
from aistack.host import disk, disk_layout, rootfs
from aistack.host.disk_layout import MIB, SECTOR
from aistack.host.rootfs import Bind
from aistack.host.store import Store

SEED = "0" * 64
REFERENCE = "localhost/aistack/system-test"
LOCK = "sha256:" + "b" * 64


def test_the_layout_grows_with_its_content_and_keeps_its_names() -> None:
    small = disk_layout.lay_out(SEED, boot_bytes=30 * MIB, root_bytes=500 * MIB, headroom_mib=100)
    large = disk_layout.lay_out(SEED, boot_bytes=300 * MIB, root_bytes=5000 * MIB, headroom_mib=100)
    assert small.identity == large.identity != disk_layout.identify("1" * 64)
    assert (small.boot.size, large.boot.size) == (512, 1264)
    assert large.root.size > 5000 + 100
    for layout in (small, large):
        parts = (layout.bios, layout.esp, layout.boot, layout.root)
        assert [part.start for part in parts[1:]] == [part.start + part.size for part in parts[:-1]]
        assert layout.size == layout.root.start + layout.root.size + 1
        assert len({part.uuid for part in parts}) == 4


def test_the_boot_sector_keeps_the_partition_table() -> None:
    mbr = bytes(range(256)) * 2
    sector = disk_layout.boot_sector(b"\xaa" * 512, mbr, 2048)
    assert sector[440:] == mbr[440:]
    assert sector[0x5C:0x64] == (2048).to_bytes(8, "little")
    assert sector[:0x5C] == b"\xaa" * 0x5C


def test_a_core_image_that_does_not_fit_is_refused() -> None:
    assert len(disk_layout.core_image(b"x" * 1000, 2048)) == 1024
    with pytest.raises(ValueError, match="core image"):
        disk_layout.core_image(b"x" * (MIB + 1), 2048)


# From here on a real disk of a very small system: it lacks an operating system, not a layout.


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A disk, and where its programs are."""

    disk: disk.Disk
    tools: Path
    digest: str
    app: str
    upstream: str
    layout: disk_layout.Layout

    def tool(self, *argv: str) -> str:
        """What a program of the tools root says about the disk, which it sees as /run/disk.raw."""
        return rootfs.enter(self.tools, list(argv), binds=(Bind(source=self.disk.raw, target="/run/disk.raw"),)).stdout

    def debugfs(self, command: str) -> str:
        return self.tool("debugfs", "-R", command, f"/run/disk.raw?offset={self.layout.root.offset}")


def system_image(store: Store, *, program: bool = True) -> str:
    members = [
        samples.folder("usr"),
        samples.folder("usr/lib"),
        samples.file("usr/lib/os-release", b'NAME="Test"\nID=test\nVERSION_ID=1\nPRETTY_NAME="Test 1"\n'),
        samples.folder("usr/lib/modules"),
        samples.folder("usr/lib/modules/6.1"),
        samples.file("usr/lib/modules/6.1/vmlinuz", b"kernel" * 1000),
        samples.file("usr/lib/modules/6.1/initramfs.img", b"initramfs" * 1000),
        samples.file("usr/lib/bootc/kargs.d/10-a.toml", b'kargs = ["quiet", "console=tty0", "console=ttyS0"]\n'),
        samples.folder("etc"),
        samples.file("etc/motd", b"hello"),
        samples.file("usr/ping", b"ping", mode=0o755, xattrs={"security.capability": samples.CAPABILITY}),
    ]
    if program:
        members.append(samples.file(grub.PROGRAM.strip("/"), grub.SCRIPT.encode(), mode=0o755))
    return samples.image(store, [samples.layer(members, "zstd")], {"io.aistack.lock": LOCK})


@pytest.fixture(scope="module")
def made(tools_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    store = Store(tmp_path_factory.mktemp("store"))
    digest = system_image(store)
    app = samples.image(store, [samples.layer([samples.folder("srv"), samples.file("srv/page", b"page")], "zstd")])
    theirs = [samples.layer([samples.file("srv/page", b"first"), samples.file("srv/gone", b"")], "gzip")]
    theirs.append(samples.layer([samples.file("srv/page", b"theirs"), samples.file("srv/.wh.gone")], "gzip"))
    upstream = samples.image(store, theirs, docker=True)
    said: list[str] = []
    output = tmp_path_factory.mktemp("disk")
    result = disk.make(
        store, tools_root, output, seed=SEED, digest=digest, reference=REFERENCE,
        bound={"localhost/aistack/app-web": app, "localhost/aistack/app-theirs": upstream}, headroom_mib=64, progress=said.append,
    )  # fmt: skip
    assert "bound image localhost/aistack/app-web" in said
    layout = disk_layout.lay_out(SEED, boot_bytes=result.filled.boot_bytes, root_bytes=result.filled.root_bytes, headroom_mib=64)
    return Made(disk=result, tools=tools_root, digest=digest, app=app, upstream=upstream, layout=layout)


@pytest.mark.system
def test_the_partition_table_is_as_laid_out(made: Made) -> None:
    table = json.loads(made.tool("sfdisk", "--json", "/run/disk.raw"))["partitiontable"]
    assert (table["label"], table["id"].lower()) == ("gpt", made.layout.identity.disk)
    found = [(part["name"], part["start"] * SECTOR, part["size"] * SECTOR, part["uuid"].lower()) for part in table["partitions"]]
    wanted = [
        (f"aistack-{part.name}", part.offset, part.size * MIB, part.uuid)
        for part in (made.layout.bios, made.layout.esp, made.layout.boot, made.layout.root)
    ]
    assert found == wanted
    assert "No errors detected" in made.tool("sfdisk", "--verify", "/run/disk.raw")


@pytest.mark.system
def test_every_file_system_is_clean(made: Made) -> None:
    for part, uuid in ((made.layout.boot, made.layout.identity.boot_fs), (made.layout.root, made.layout.identity.root_fs)):
        script = (
            f"dd if=/run/disk.raw of=/tmp/part bs=1M skip={part.start} count={part.size} conv=sparse status=none && e2fsck -fn /tmp/part"
        )
        assert "ERROR" not in made.tool("sh", "-c", script)
        shown = made.tool("debugfs", "-R", "stats", f"/run/disk.raw?offset={part.offset}")
        assert uuid in shown
    script = (
        f"dd if=/run/disk.raw of=/tmp/esp bs=1M skip={made.layout.esp.start} count={made.layout.esp.size} status=none; fsck.fat -n /tmp/esp"
    )
    made.tool("sh", "-c", script)


@pytest.mark.system
def test_the_deployment_is_whole_and_immutable(made: Made) -> None:
    folder = f"/ostree/deploy/aistack/deploy/{made.disk.filled.deployment}"
    assert "Flags: 0x80010" in made.debugfs(f"stat {folder}")
    origin = made.debugfs(f"cat {folder}.origin")
    assert f"container-image-reference={REFERENCE}" in origin
    assert f"manifest-digest={made.digest}" in origin
    assert made.debugfs(f"cat {folder}/etc/motd") == "hello"
    assert "security.capability" in made.debugfs(f"ea_list {folder}/usr/ping")
    config = made.debugfs("cat /ostree/repo/config")
    assert "bootloader=grub2" in config
    assert "readonly=true" in config


@pytest.mark.system
def test_the_bound_images_are_in_the_store_under_their_digests(made: Made) -> None:
    """One of ours, and one in Docker's format that somebody else built."""
    images = {image["digest"]: image for image in json.loads(made.debugfs("cat /ostree/bootc/storage/overlay-images/images.json"))}
    for digest, name, page in ((made.app, "app-web", "page"), (made.upstream, "app-theirs", "theirs")):
        assert images[digest]["names"] == [f"localhost/aistack/{name}@{digest}"]
        assert made.debugfs(f"cat /ostree/bootc/storage/overlay/{images[digest]['layer']}/diff/srv/page") == page
    assert len(images) == 2


@pytest.mark.system
def test_both_boot_loaders_find_the_menu(made: Made) -> None:
    names = made.tool("mdir", "-b", "-/", "-i", f"/run/disk.raw@@{made.layout.esp.offset}", "::")
    assert {"::/EFI/BOOT/BOOTX64.EFI", "::/EFI/BOOT/grubx64.efi", "::/EFI/BOOT/mmx64.efi"} <= set(names.split())
    stub = made.tool("mtype", "-i", f"/run/disk.raw@@{made.layout.esp.offset}", "::/EFI/debian/grub.cfg")
    assert made.layout.identity.boot_fs in stub
    with made.disk.raw.open("rb") as stream:
        sector = stream.read(SECTOR)
        stream.seek(made.layout.bios.offset)
        core = stream.read(SECTOR)
    assert (sector[510:], sector[0x5C:0x60]) == (b"\x55\xaa", (made.layout.bios.offset // SECTOR).to_bytes(4, "little"))
    assert core[0x1F4:0x1F8] == (made.layout.bios.offset // SECTOR + 1).to_bytes(4, "little")
    menu = made.tool("debugfs", "-R", "cat /loader.1/grub.cfg", f"/run/disk.raw?offset={made.layout.boot.offset}")
    arguments = re.search(r"^  linux \S+ (.*)$", menu, re.MULTILINE)
    assert arguments is not None
    root, console = f"root=UUID={made.layout.identity.root_fs}", "console=tty0 console=ttyS0"
    assert root in arguments[1]
    assert console in arguments[1]
    assert "ostree=/ostree/boot.1/aistack/" in arguments[1]


@pytest.mark.system
def test_nothing_of_the_builder_is_on_the_disk(made: Made) -> None:
    script = f"debugfs -R 'rdump / /tmp' '/run/disk.raw?offset={made.layout.root.offset}' 2>/dev/null; cd /tmp && find . -type f -o -type l"
    paths = made.tool("sh", "-c", script).splitlines()
    assert any(path.endswith("/etc/motd") for path in paths)
    unwanted = re.compile(r"machine-id$|ssh_host_|/var/(log|cache|tmp)/.|\.bash_history$|/run/")
    assert [path for path in paths if unwanted.search(path)] == []


@pytest.mark.system
def test_raw_is_sparse_and_qcow2_holds_the_same(made: Made, tmp_path: Path) -> None:
    info = made.disk.raw.stat()
    assert info.st_blocks * 512 < info.st_size / 2
    assert made.disk.qcow2 is not None
    compared = subprocess.run(
        ["qemu-img", "compare", str(made.disk.raw), str(made.disk.qcow2)], capture_output=True, text=True, check=False
    )
    assert compared.returncode == 0, compared.stdout


@pytest.mark.system
def test_an_image_without_the_menu_program_is_refused(tools_root: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    digest = system_image(store, program=False)
    with pytest.raises(DiagnosticError, match="grub-config"):
        disk.make(store, tools_root, tmp_path, seed=SEED, digest=digest, reference=REFERENCE, bound={}, headroom_mib=64)


@pytest.mark.system
def test_a_bound_image_that_is_not_in_the_store_is_named(tools_root: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    digest = system_image(store)
    absent = "sha256:" + hashlib.sha256(b"absent").hexdigest()
    with pytest.raises(DiagnosticError, match=absent):
        disk.make(store, tools_root, tmp_path, seed=SEED, digest=digest, reference=REFERENCE, bound={"x": absent}, headroom_mib=64)
