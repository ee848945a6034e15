"""Roots: unpacked from exactly the locked packages, parted into layers, entered; hostile archives; system users."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from debian_archive import DebianArchive
from tools_needed import needs

from aistack.compose.distros import debian as debian_text
from aistack.diagnostics import DiagnosticError
from aistack.facts.files import Rendered, RenderedFile, RenderedLink
from aistack.facts.pins import Archive, LockedPackage, LockedRoot
from aistack.host import accounts, apt, deb, debian, layers, rootfs
from aistack.host.store import Store


def archive(members: Iterable[tuple[tarfile.TarInfo, bytes]]) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    out.seek(0)
    return out


def member(
    name: str, kind: bytes = tarfile.REGTYPE, *, link: str = "", mode: int = 0o644, headers: Mapping[str, str] | None = None
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.mtime, info.uname = kind, link, mode, 1_700_000_000, "someone"
    info.pax_headers = dict(headers or {})
    return info


def contents(store: Store, layer: layers.Layer) -> dict[str, tarfile.TarInfo]:
    data = subprocess.run(["zstd", "-dqc", str(store.blob(layer.digest[7:]))], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {one.name: one for one in tar}


def test_one_reading_parts_a_root_into_layers(tmp_path: Path) -> None:
    store = Store(tmp_path)
    stream = archive(
        [
            (member("./", tarfile.DIRTYPE, mode=0o755), b""),
            (member("./dev", tarfile.DIRTYPE, mode=0o755), b""),
            (member("./dev/null", tarfile.CHRTYPE), b""),
            (member("./opt", tarfile.DIRTYPE, mode=0o700), b""),
            (member("./opt/big", headers={"SCHILY.xattr.security.capability": "\x01\x00", "SCHILY.xattr.security.selinux": "x"}), b"big"),
            (member("./opt/small"), b"s"),
            (member("./opt/twin", tarfile.LNKTYPE, link="./opt/big"), b""),
            (member("./run/lock", tarfile.DIRTYPE), b""),
            (member("./srv/pipe", tarfile.FIFOTYPE), b""),
        ]
    )
    built = debian.split(store, stream, lambda path, kind: "big" if path.endswith("big") else "rest")
    big, rest = (contents(store, layer) for layer in built)
    assert sorted(rest) == ["dev", "opt", "opt/small"]
    assert sorted(big) == ["opt", "opt/big", "opt/twin"]
    assert big["opt"].mode == 0o700  # a folder is the same in every layer that holds something of it
    assert big["opt/twin"].linkname == "opt/big"
    assert big["opt/big"].pax_headers == {"SCHILY.xattr.security.capability": "\x01\x00"}
    assert all(one.mtime == 0 and one.uname == "" for one in (*rest.values(), *big.values()))


@pytest.mark.parametrize("bad", [member("../etc/passwd"), member("a/../../b"), member("x", tarfile.LNKTYPE, link="../../etc/shadow")])
def test_an_archive_that_leaves_its_root_is_refused(tmp_path: Path, bad: tarfile.TarInfo) -> None:
    with pytest.raises(DiagnosticError, match="leaves the root"):
        debian.split(Store(tmp_path), archive([(bad, b"")]), lambda path, kind: "rest")
    assert not (tmp_path / "blobs").exists() or not list((tmp_path / "blobs/sha256").iterdir())


def test_system_users_get_the_numbers_that_are_written() -> None:
    found = accounts.lines(
        'g kvm 896\nu! sshd 886:65534 "sshd user" /run/sshd /usr/sbin/nologin\nu! bus 890 "Bus" / /bin/false\n', epoch=rootfs.EPOCH
    )
    assert found["passwd"].splitlines() == ["sshd:x:886:65534:sshd user:/run/sshd:/usr/sbin/nologin", "bus:x:890:890:Bus:/:/bin/false"]
    assert found["group"].splitlines() == ["kvm:x:896:", "bus:x:890:"]
    assert found["shadow"].splitlines() == ["sshd:!*:18262::::::", "bus:!*:18262::::::"]


def test_the_bases_users_have_different_numbers() -> None:
    (text,) = (
        file.content.decode() for file in debian_text.base_files() if isinstance(file, RenderedFile) and file.path.startswith(rootfs.USERS)
    )
    found = accounts.lines(text, epoch=0)
    for file in ("passwd", "group"):
        numbers = [line.split(":")[2] for line in found[file].splitlines()]
        assert len(numbers) == len(set(numbers)) > 4


def test_a_control_file_is_read_from_a_real_package(tmp_path: Path) -> None:
    needs("dpkg-deb")
    package = DebianArchive(tmp_path).add("tool", "1:3.0", fields="Depends: library (>= 2),\n  other\n")
    (fields,) = deb.stanzas(deb.control(package))
    assert (fields["package"], fields["version"], fields["depends"]) == ("tool", "1:3.0", "library (>= 2),\nother")


@pytest.mark.parametrize(
    "data",
    [b"", b"not an archive", b"!<arch>\n", b"!<arch>\n" + b"x" * 60, b"!<arch>\n" + b"control.tar.xz".ljust(48) + b"4         `\nabcd"],
)
def test_what_is_no_package_is_told_not_thrown(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.deb").write_bytes(data)
    with pytest.raises(DiagnosticError):
        deb.control(tmp_path / "x.deb")


def test_a_package_that_is_not_what_the_lock_says_is_refused(tmp_path: Path) -> None:
    needs("dpkg-deb")
    store = Store(tmp_path / "store")
    with DebianArchive(tmp_path).add("tool", "3.0").open("rb") as stream:
        sha256, size = store.add(stream)
    package = LockedPackage(
        name="tool", version="3.1", arch="amd64", sha256=sha256, size=size, origin="trixie/main", filename="tool.deb", source="tool 3.1"
    )
    with pytest.raises(DiagnosticError) as caught:
        rootfs.repository(store, [package], tmp_path / "repository")
    assert caught.value.diagnostics[0].name == "package-not-as-locked"
    with pytest.raises(DiagnosticError) as caught:
        rootfs.repository(store, [replace(package, sha256="0" * 64)], tmp_path / "other")
    assert caught.value.diagnostics[0].name == "package-not-fetched"


SUITES = ("trixie", "trixie-updates", "trixie-security")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, LockedRoot]]:
    """A store that holds a small real root's packages."""
    folder = tmp_path_factory.mktemp("store")
    store = Store(folder)
    archives = [Archive(suite=suite) for suite in SUITES]
    root = apt.resolve(store, archives, ["ca-certificates"], "amd64", "debian-13", environment=os.environ)
    apt.fetch(store, root, environment=os.environ)
    yield store, root
    shutil.rmtree(folder)


FILES: tuple[Rendered, ...] = (
    RenderedFile(path="/etc/greeting", content=b"hello\n", mode=0o600),
    RenderedLink(path="/etc/also", target="greeting"),
    RenderedFile(path="/usr/lib/sysusers.d/x.conf", content=b'u! worker 777 "Worker" / /usr/sbin/nologin\n'),
)


@pytest.mark.system
def test_a_root_is_unpacked_and_entered(small: tuple[Store, LockedRoot]) -> None:
    store, root = small
    folder = rootfs.make_root(store, root, "small", files=FILES, script="id worker > /etc/made; ip link 2>/dev/null || true")
    try:
        said = rootfs.enter(
            folder, ["sh", "-c", "cat /etc/greeting /etc/made; id -u; ls /etc/resolv.conf /etc/hostname; touch /x"], check=False
        )
        assert said.stdout.split() == ["hello", "uid=777(worker)", "gid=777(worker)", "groups=777(worker)", "0"]
        assert "Read-only file system" in said.stderr
        interfaces = rootfs.enter(folder, ["sh", "-c", "tail -n +3 /proc/net/dev | cut -d: -f1"]).stdout.split()
        assert interfaces == ["lo"]
        bind = rootfs.Bind(source=store.path, target="/mnt", writable=True)
        rootfs.enter(folder, ["sh", "-c", "echo done > /mnt/from-inside"], binds=[bind])
        assert (store.path / "from-inside").read_text() == "done\n"
        with pytest.raises(DiagnosticError, match="exit code 7"):
            rootfs.enter(folder, ["sh", "-c", "exit 7"])
    finally:
        rootfs.remove_root(folder)
    assert not folder.exists()


@pytest.mark.system
def test_an_app_root_is_the_same_twice_and_carries_no_leftovers(small: tuple[Store, LockedRoot]) -> None:
    store, root = small
    ours = sorted(Path("/var/lib/apt/lists").glob("*"))
    script = debian_text.app_script() + "rm -rf /tmp/*\n"
    first, second = (debian.build_layers(store, root, files=FILES, script=script) for _ in range(2))
    assert first == second
    assert sorted(Path("/var/lib/apt/lists").glob("*")) == ours  # this machine's own lists are not touched
    found: dict[str, tarfile.TarInfo] = {}
    for layer in first:
        found |= contents(store, layer)
    assert "var/lib/dpkg/status" in found and "usr/share/doc/zlib1g/copyright" in found
    for path in found:
        assert not path.startswith(("var/cache/", "var/lib/apt", "boot", "usr/share/man/", "etc/machine-id", "etc/resolv.conf", "dev/"))
    assert not [path for path in found if path.startswith("var/log/") and found[path].isfile()]


@pytest.mark.system
def test_a_script_that_fails_is_told_with_what_it_said(small: tuple[Store, LockedRoot]) -> None:
    store, root = small
    with pytest.raises(DiagnosticError) as caught, rootfs.make_tar(store, root, script="echo the disk is on fire >&2; exit 3"):
        pytest.fail("an image came out of a script that failed")
    assert any("the disk is on fire" in line for line in caught.value.diagnostics[0].why)


@pytest.mark.system
def test_a_root_that_needs_more_than_is_locked_is_refused(small: tuple[Store, LockedRoot]) -> None:
    store, root = small
    less = replace(root, packages=tuple(package for package in root.packages if package.name != "openssl"))
    with pytest.raises(DiagnosticError), rootfs.make_tar(store, less):
        pytest.fail("a root came out of an incomplete lock")
