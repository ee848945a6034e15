"""The bootable base, built for real: laid out as bootable containers are. That it is the same twice is in `test_up.py`."""

from __future__ import annotations

import dataclasses
import io
import lzma
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from aistack.commands import verifying
from aistack.compose import grouping, render
from aistack.compose.distros import debian as debian_text
from aistack.compose.findings import Outcome
from aistack.facts.filesystem import Filesystem
from aistack.facts.pins import Archive, LockedRoot
from aistack.host import apt, debian, inspect, layers, oci, own_files
from aistack.host.store import Store

pytestmark = pytest.mark.system

KERNEL = "linux-image-cloud-amd64"


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """A built base: where, of what, its digest, and its members by path with the texts of small files."""

    store: Store
    root: LockedRoot
    digest: str
    members: dict[str, tarfile.TarInfo]
    texts: dict[str, bytes]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Base]:
    folder = tmp_path_factory.mktemp("store")
    store = Store(folder)
    files = (*debian_text.base_files(), *render.render_node(), *own_files.node_part())
    archives = [Archive(suite=suite) for suite in ("trixie", "trixie-updates", "trixie-security")]
    root = apt.resolve(store, archives, sorted({*debian_text.BASE, KERNEL}), "amd64", "debian-13", environment=os.environ)
    root = dataclasses.replace(root, layers=grouping.group(root.packages))
    apt.fetch(store, root, environment=os.environ)
    digest = debian.build_base(store, root, files=files, script=debian_text.base_script())
    members: dict[str, tarfile.TarInfo] = {}
    texts: dict[str, bytes] = {}
    for layer in oci.read_image(store, digest).layers:
        blob = store.blob(layer.digest.removeprefix("sha256:"))
        data = subprocess.run(["zstd", "-dqc", str(blob)], capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                members[member.name] = member
                if member.isfile() and member.size < 100_000 and (stream := archive.extractfile(member)) is not None:
                    texts[member.name] = stream.read()
    yield Base(store=store, root=root, digest=digest, members=members, texts=texts)
    shutil.rmtree(folder)


def test_kernel_initramfs_and_modules_belong_together(base: Base) -> None:
    (kernel,) = {match[1] for path in base.members if (match := re.fullmatch(r"usr/lib/modules/([^/]+)/vmlinuz", path))}
    (package,) = [package for package in base.root.packages if package.name == f"linux-image-{kernel}"]
    assert package.name.removeprefix("linux-image-") == kernel
    assert base.members[f"usr/lib/modules/{kernel}/initramfs.img"].size < 40_000_000
    assert f"usr/lib/modules/{kernel}/modules.dep.bin" in base.members


def test_the_layout_is_a_bootable_containers(base: Base) -> None:
    links = {"home": "var/home", "root": "var/roothome", "ostree": "sysroot/ostree", "opt": "var/opt", "srv": "var/srv", "mnt": "var/mnt"}
    assert {path: base.members[path].linkname for path in links} == links
    assert not [path for path in base.members if path.startswith(("boot/", "var/", "tmp/", "run/", "dev/", "proc/", "sys/", "usr/etc"))]
    assert oci.read_image(base.store, base.digest).label("containers.bootc") == "1"
    assert len(oci.read_image(base.store, base.digest).layers) <= 100


def test_no_machine_and_no_builder_is_inside(base: Base) -> None:
    for path in ("etc/machine-id", "etc/hostname", "etc/fstab", "etc/.resolv.conf.systemd-resolved.bak", "etc/apt/sources.list"):
        assert path not in base.members
    assert not [path for path in base.members if "ssh_host_" in path]
    assert base.members["etc/resolv.conf"].issym()
    passwords = {line.split(":")[1] for line in base.texts["etc/shadow"].decode().splitlines()}
    assert passwords <= {"*", "!*", "!"}
    days = {line.split(":")[2] for line in base.texts["etc/shadow"].decode().splitlines()}
    assert days == {"18262"}


def test_system_users_have_the_written_numbers(base: Base) -> None:
    numbers = {line.split(":")[0]: int(line.split(":")[2]) for line in base.texts["etc/passwd"].decode().splitlines()}
    assert (numbers["messagebus"], numbers["systemd-network"], numbers["sshd"]) == (890, 889, 886)
    groups = {line.split(":")[0]: int(line.split(":")[2]) for line in base.texts["etc/group"].decode().splitlines()}
    dynamic = {name for name, number in (*numbers.items(), *groups.items()) if 100 < number < 883 or 899 < number < 65_534}
    assert dynamic == set()


def test_byte_code_is_valid_whatever_the_files_times_are(base: Base) -> None:
    compiled = {path: text for path, text in base.texts.items() if path.endswith(".pyc")}
    assert len(compiled) > 300
    assert any(path.startswith("usr/lib/aistack/") for path in compiled)
    assert {text[4] for text in compiled.values()} == {1}  # PEP 552: valid by hash, not looked up again


def test_units_start_as_the_presets_say(base: Base) -> None:
    wants = {path for path in base.members if path.startswith("etc/systemd/system/") and ".wants/" in path}
    assert "etc/systemd/system/local-fs.target.wants/ostree-remount.service" in wants
    assert not [path for path in wants if "apt-daily" in path or "podman-auto-update" in path]
    rules = base.texts["usr/lib/tmpfiles.d/00-aistack-var.conf"].decode()
    assert "d /var/log/journal" in rules and "/var/cache/apt" not in rules and "/var/lib/dpkg" not in rules


def test_a_small_change_of_ours_is_a_small_layer(base: Base, tmp_path: Path) -> None:
    image = oci.read_image(base.store, base.digest)
    groups = {dict(layer.annotations)[layers.GROUP]: layer.size for layer in image.layers}
    assert list(groups)[-len(debian.LAST) :] == list(debian.LAST)
    assert groups[debian.NODE] < 3_000_000
    assert groups[debian.DATABASE] < 500_000
    assert image.total < 250_000_000


@pytest.fixture(scope="module")
def read(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Filesystem:
    """The base as verify reads it."""
    blobs = [base.store.blob(layer.digest.removeprefix("sha256:")) for layer in oci.read_image(base.store, base.digest).layers]
    return dataclasses.replace(inspect.filesystem(blobs, verifying.wanted, tmp_path_factory.mktemp("read")), arch="amd64")


def test_everything_in_it_fits_together(read: Filesystem) -> None:
    """A kernel of Debian's with a thousand modules: every symbol, index, library and checksum, and nothing is said that is not so."""
    (kernel,) = read.kernels.values()
    assert kernel.exports is not None and len(kernel.exports) > 9000
    assert len(read.modules) > 1000 and len(read.binaries) > 500
    bootable, found = verifying.judged(read, {})
    assert bootable
    assert {finding.name for finding in found if finding.outcome is not Outcome.YES} == {"baseimage-composefs"}  # which is borne


BLOCK = "kernel/drivers/block/virtio_blk.ko.xz"


@pytest.mark.parametrize(
    ("check", "said", "pattern", "instead"),
    [
        ("vermagic", "was built for", rb"vermagic=\d", b"vermagic=5"),
        ("module-symbols", "was built against other versions of kfree", rb".{4}\0{4}kfree\0", b"\0\0\0\0kfree\0"),
        ("module-symbols", "needs what nothing exports: virtqueue_get_bug", rb"\0virtqueue_get_buf\0(?=\w)", b"\0virtqueue_get_bug\0"),
        ("module-indexes", "for virtio:d00000002v*, which it does not claim", rb"alias=virtio:d0", b"alias=virtio:d9"),
        ("module-signers", "is not signed, most of the kernel's own are signed by", rb"~Module signature", b"-"),
        ("initramfs-modules", "is not the one that lies outside", rb"license=GPL", b"license=GPl"),
        ("module-terms", "(licence `GPl`) uses what is for GPL modules only", rb"license=GPL", b"license=GPl"),
        ("package-files", "is not what linux-image-", rb"license=GPL", b"license=GPL"),
    ],
)
def test_a_module_of_it_that_was_changed_is_named(
    check: str, said: str, pattern: bytes, instead: bytes, base: Base, read: Filesystem, tmp_path: Path
) -> None:
    (path,) = (path for path in read.modules if path.endswith(BLOCK))
    data = lzma.decompress(base.texts[path.lstrip("/")])
    found = re.search(pattern, data, re.DOTALL)
    assert found is not None
    changed = data[: found.start()] + instead.rjust(len(found[0]), b"\1") + data[found.end() :]
    layer = layers.write_layer(base.store, [layers.file_entry(path, lzma.compress(changed))], compress=False)
    upper = inspect.filesystem([base.store.blob(layer.digest.removeprefix("sha256:"))], verifying.wanted, tmp_path, read)
    (finding,) = (finding for finding in verifying.judged(upper, {})[1] if finding.name == check)
    assert finding.outcome is Outcome.NO
    assert said in finding.message
