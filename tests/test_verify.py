"""verify: an image read back from its layers, held against its lock; each thing broken in turn is named."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from aistack.compose.lock import Lock, LockedApp, encode
from aistack.compose.verify import BOUND, LOCK_PATH, QUADLETS, Finding, Outcome, verify_app, verify_system, wanted
from aistack.facts.filesystem import Filesystem
from aistack.facts.pins import LockedPackage, LockedRoot, LockedWheel
from aistack.host.inspect import filesystem
from aistack.host.layers import Entry, file_entry, link_entry, write_layer
from aistack.host.store import Store

KERNEL = "6.12.107+deb13-cloud-amd64"
DIGEST = "sha256:" + "1" * 64
STATUS = b"Package: dash\nStatus: install ok installed\nArchitecture: amd64\nVersion: 0.5.12-12\n\n"
DASH = LockedPackage(
    name="dash",
    version="0.5.12-12",
    arch="amd64",
    sha256="a" * 64,
    size=1,
    origin="trixie/main",
    filename="pool/dash.deb",
    source="dash 0.5.12-12",
)
LOCK = Lock(
    name="example",
    arch="amd64",
    os="debian-13",
    components=(("kernel", KERNEL),),
    accelerator=None,
    roots=(("base", LockedRoot(arch="amd64", os="debian-13", packages=(DASH,))),),
    apps=(),
    models=(),
    node=(),
    memory_mib=1024,
    wish="sha256:" + "2" * 64,
)
QUADLET = f"[Container]\nImage=localhost/aistack/app-web@{DIGEST}\n".encode()

Files = dict[str, bytes | Entry | str]


def healthy() -> Files:
    return {
        "/usr/lib/sysimage/dpkg/status": STATUS,
        LOCK_PATH: encode(LOCK),
        f"/usr/lib/modules/{KERNEL}/vmlinuz": b"kernel",
        f"/usr/lib/modules/{KERNEL}/initramfs.img": b"initramfs",
        f"/usr/lib/modules/{KERNEL}/kernel/fs/ext4.ko.xz": b"module",
        "/usr/lib/ostree/prepare-root.conf": b"",
        "/sysroot": Entry(path="sysroot", kind=b"5", mode=0o755),
        "/ostree": "sysroot/ostree",
        f"{QUADLETS}/web.container": QUADLET,
        f"{BOUND}/web.container": f"{QUADLETS}/web.container",
    }


def read(files: Mapping[str, bytes | Entry | str], tmp_path: Path, *upper: Mapping[str, bytes | Entry | str]) -> Filesystem:
    store = Store(tmp_path / "store")
    layers = []
    for layer in (files, *upper):
        entries: list[tuple[Entry, bytes | None]] = []
        for path, content in layer.items():
            if isinstance(content, bytes):
                entries.append(file_entry(path, content))
            elif isinstance(content, str):
                entries.append(link_entry(path, content))
            else:
                entries.append((content, None))
        layers.append(write_layer(store, entries))
    return filesystem([(store.blob(layer.digest.removeprefix("sha256:")), layer.media_type) for layer in layers], wanted, tmp_path)


def verdict(found: Filesystem, lock: Lock = LOCK) -> dict[str, Outcome]:
    return {finding.name: finding.outcome for finding in verify_system(found, lock, {"app-web": DIGEST})}


def test_an_image_that_is_what_its_lock_says(tmp_path: Path) -> None:
    assert set(verdict(read(healthy(), tmp_path)).values()) == {Outcome.YES}


def with_file(path: str, content: bytes | Entry | str) -> Callable[[Files], None]:
    return lambda files: files.update({path: content})


def without(path: str) -> Callable[[Files], None]:
    return lambda files: files.__delitem__(path)


@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("packages", with_file("/usr/lib/sysimage/dpkg/status", STATUS.replace(b"0.5.12-12", b"0.5.12-13"))),
        ("packages", with_file("/usr/lib/sysimage/dpkg/status", STATUS + STATUS.replace(b"dash", b"more"))),
        ("lock", with_file(LOCK_PATH, encode(dataclasses.replace(LOCK, memory_mib=1)))),
        ("lock", without(LOCK_PATH)),
        ("kernel", with_file("/usr/lib/modules/6.1.0/vmlinuz", b"older")),
        ("kernel", with_file("/usr/lib/modules/6.1.0/kernel/a.ko", b"older")),
        ("kernel", without(f"/usr/lib/modules/{KERNEL}/initramfs.img")),
        ("bound-images", with_file(f"{QUADLETS}/web.container", QUADLET.replace(b"111@", b"")[:-10])),
        ("bound-images", with_file(f"{QUADLETS}/web.container", QUADLET.replace(b"1111", b"2222"))),
        ("bound-images", without(f"{BOUND}/web.container")),
        ("bootc-layout", without("/ostree")),
        ("bootc-layout", with_file("/usr/etc/passwd", b"")),
        ("boot-empty", with_file("/boot/vmlinuz", b"kernel")),
        ("var-empty", with_file("/var/lib/thing", b"state")),
        ("no-identity", with_file("/etc/ssl/private/site.key", b"-----BEGIN PRIVATE KEY-----\nabc\n")),
        ("no-identity", with_file("/etc/machine-id", b"0123456789abcdef0123456789abcdef\n")),
        ("no-identity", with_file("/etc/ssh/ssh_host_ed25519_key", b"-")),
        ("no-leftovers", with_file("/var/cache/apt/archives/dash.deb", b"!<arch>")),
        ("no-world-writable", with_file("/usr/bin/tool", Entry(path="usr/bin/tool", mode=0o777))),
    ],
)
def test_each_thing_broken_is_named(check: str, change: Callable[[Files], None], tmp_path: Path) -> None:
    files = healthy()
    change(files)
    assert verdict(read(files, tmp_path))[check] is Outcome.NO


def test_without_a_package_database_it_cannot_tell(tmp_path: Path) -> None:
    files = healthy()
    del files["/usr/lib/sysimage/dpkg/status"]
    assert verdict(read(files, tmp_path))["packages"] is Outcome.UNKNOWN


def test_whiteouts_and_replaced_folders_are_followed(tmp_path: Path) -> None:
    lower: Files = {"/a/file": b"1", "/b/one": b"1", "/b/two": b"2", "/home/user/file": b"3", "/gone/file": b"5"}
    upper: Files = {"/a/.wh.file": b"", "/b/!new": b"4", "/b/.wh..wh..opq": b"", "/home": "var/home", "/.wh.gone": b""}
    found = read(lower, tmp_path, upper)
    assert not {"/a/file", "/b/one", "/b/two", "/home/user/file", "/gone/file"} & found.entries.keys()
    assert "/b/!new" in found.entries  # stands before the marker in its layer
    assert found.entries["/home"].target == "var/home"


SITE = "/opt/app/lib/python3.13/site-packages"
APP = LockedApp(
    name="app", framework="sums", version="1.0", root="base", python="3.13", models=(), command=("sums",), environment=(), port=None,
    health=None, wheels=(LockedWheel(name="typing-extensions", version="4.16.0", filename="t.whl", sha256="b" * 64, size=1),),
)  # fmt: skip


def with_wheels() -> Files:
    record = "typing_extensions.py,sha256=x,1\ntyping_extensions-4.16.0.dist-info/RECORD,,\n../../../bin/sums,sha256=y,1\n"
    return {
        "/opt/app/pyvenv.cfg": b"",
        "/opt/app/bin/python": "/usr/bin/python3.13",
        "/opt/app/bin/sums": b"#!/opt/app/bin/python",
        f"{SITE}/typing_extensions.py": b"",
        f"{SITE}/__pycache__/typing_extensions.cpython-313.pyc": b"",
        f"{SITE}/typing_extensions-4.16.0.dist-info/RECORD": record.encode(),
    }


def judged(found: Filesystem) -> Finding:
    (finding,) = (finding for finding in verify_app(found, LOCK, APP) if finding.name == "wheels")
    return finding


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_file("/opt/app/bin/python", "/usr/bin/python3.13"), None),
        (with_file(f"{SITE}/left_over.py", b""), f"{SITE}/left_over.py is of no wheel"),
        (with_file(f"{SITE}/__pycache__/left_over.cpython-313.pyc", b""), "is of no wheel"),
        (with_file(f"{SITE}/more-1.0.dist-info/RECORD", b"more-1.0.dist-info/RECORD,,"), "more 1.0 is in the image only"),
        (without(f"{SITE}/typing_extensions-4.16.0.dist-info/RECORD"), "typing-extensions 4.16.0 is in the lock only"),
        (with_file(f"{SITE}/typing_extensions-4.15.0.dist-info/RECORD", b""), "typing-extensions 4.15.0 is in the image only"),
    ],
)
def test_an_apps_wheels_are_those_of_the_lock(change: Callable[[Files], None], said: str | None, tmp_path: Path) -> None:
    files = with_wheels()
    change(files)
    finding = judged(read(files, tmp_path))
    assert finding.outcome is (Outcome.NO if said else Outcome.YES), finding.message
    assert said is None or said in finding.message
