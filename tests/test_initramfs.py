"""Initramfs files of several archives, read as the kernel reads them, all of them, or it is said why not; and what starts a system."""

from __future__ import annotations

import bz2
import gzip
import lzma
import subprocess
from collections.abc import Callable
from pathlib import Path

import elf_samples
import pytest
from images_read import Files, healthy
from images_read import read as read_image
from kernel_samples import EXT4, FOLDER, JBD2, LOADER, MODULES, STARTS, at, initramfs, module
from test_binaries import contents
from tools_needed import needs

from aistack.compose.findings import Finding, Outcome
from aistack.compose.verify import verify_image
from aistack.facts.filesystem import Filesystem

PATH = f"{FOLDER}/initramfs.img"
FIRST, SECOND = ({name: name.encode() * 1000} for name in ("init", "etc/second.conf"))

Pack = Callable[[bytes], bytes]


def plain(files: dict[str, bytes]) -> bytes:
    return elf_samples.initramfs(files, packed=False)


def alone(data: bytes) -> bytes:
    return lzma.compress(data, format=lzma.FORMAT_ALONE)


def gzipped(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)  # data names a test, which is to have one name whenever it is collected


def by(*argv: str) -> Pack:
    def pack(data: bytes) -> bytes:
        needs(argv[0])
        return subprocess.run([*argv, "-qc"], input=data, stdout=subprocess.PIPE, check=True).stdout

    return pack


PACKS: dict[str, Pack] = {
    "not": lambda data: data,
    "gzip": gzipped,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "lzma": alone,
    "zstd": by("zstd"),
    "lz4": by("lz4", "-l"),
}


def read(data: bytes, tmp_path: Path) -> Filesystem:
    found = contents(tmp_path, PATH, data)
    assert (found.damaged, found.unread) == ({}, {})
    return found.initramfs[PATH]


def damage(data: bytes, tmp_path: Path) -> str:
    return contents(tmp_path, PATH, data).damaged[PATH]


@pytest.mark.parametrize("zeros", [0, 512])
@pytest.mark.parametrize("second", PACKS)
@pytest.mark.parametrize("first", PACKS)
def test_every_archive_is_read(first: str, second: str, zeros: int, tmp_path: Path) -> None:
    """However the first is compressed, and the second; LZ4's form does not say where it ends, so that there zeros have to."""
    packed = PACKS[first](plain(FIRST))
    filled = packed + bytes(-len(packed) % 4 + zeros + (4 if first == "lz4" else 0))
    inside = read(filled + PACKS[second](plain(SECOND)) + bytes(zeros), tmp_path)
    assert inside.entries.keys() == {"/init", "/etc/second.conf"}
    assert inside.texts == {"/etc/second.conf": SECOND["etc/second.conf"]}


@pytest.mark.parametrize("pack", ["gzip", "xz", "zstd"])
@pytest.mark.slow
def test_a_large_archive_is_read_in_pieces(pack: str, tmp_path: Path) -> None:
    """Bytes that do not repeat, so that the compressed parts are large as well."""
    from random import Random

    large = {f"usr/bin/{number}": Random(number).randbytes(1_500_000) for number in range(3)}
    inside = read(PACKS[pack](plain(large)) + PACKS[pack](plain(SECOND)), tmp_path)
    assert [entry.size for entry in inside.entries.values()] == [*map(len, large.values()), len(SECOND["etc/second.conf"])]
    assert inside.texts == {"/etc/second.conf": SECOND["etc/second.conf"]}


def test_what_comes_later_takes_the_place_of_what_came_before(tmp_path: Path) -> None:
    data = b"".join(gzipped(plain({"init": b"", "a.conf": text})) for text in (b"old", b"new"))
    assert read(data, tmp_path).texts == {"/a.conf": b"new"}


def test_several_archives_may_be_compressed_as_one(tmp_path: Path) -> None:
    assert read(gzipped(plain(FIRST) + bytes(512) + plain(SECOND)), tmp_path).entries.keys() == {"/init", "/etc/second.conf"}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (gzipped(plain(FIRST)) + b"\0junk", "neither an archive nor compressed as kernels take it"),
        (gzipped(plain(FIRST)) + gzipped(plain(SECOND))[:-20], "it ends"),
        (lzma.compress(plain(FIRST)) + lzma.compress(plain(SECOND))[:-1], "it ends before what is compressed in it does"),
        (gzipped(plain(FIRST) + b"junk"), "what is compressed in it is more than archives"),
        (gzipped(plain(FIRST) + gzipped(plain(SECOND))), "what is compressed in it is more than archives"),
        (gzipped(plain(FIRST)[:200]) + gzipped(plain(FIRST)[200:]), "it ends within an archive"),
        (plain(FIRST) + bytes(1) + plain(SECOND), "does not begin at a multiple of four bytes"),
        (plain(FIRST) + bytes(1) + gzipped(plain(SECOND)), "does not begin at a multiple of four bytes"),
        (plain({"kernel/x86/microcode/AuthenticAMD.bin": b""}) + gzipped(plain({})), "it ends before what starts the system does"),
        (plain({"a" * 4096: b""}), "a name that is longer than any may be"),
        (plain(FIRST) + b"\x28\xb5\x2f\xfd\0", "it ends before what is compressed in it does"),
        (plain(FIRST) + b"\x28\xb5\x2f\xfd\0\0\7\0\0", "zstd has no such block"),
        (plain(FIRST) + b"\x02\x21\x4c\x18\xff\0\0\0", "it ends before what is compressed in it does"),
        (plain(FIRST) + b"\x04\x22\x4d\x18", "neither an archive nor compressed as kernels take it"),
    ],
)
def test_what_is_not_right_to_the_end_is_damaged(data: bytes, why: str, tmp_path: Path) -> None:
    assert why in damage(data, tmp_path)


@pytest.mark.parametrize("tool", ["zstd", "lz4"])
def test_what_a_program_does_not_decompress_is_damaged(tool: str, tmp_path: Path) -> None:
    packed = bytearray(PACKS[tool](plain({"init": bytes(range(256)) * 300})))
    packed[len(packed) // 2] ^= 0xFF
    packed[20] ^= 0xFF
    assert damage(bytes(packed), tmp_path).startswith(("it cannot be decompressed", "it ends before what is compressed"))


def test_settings_for_the_kernel_may_stand_behind(tmp_path: Path) -> None:
    def settings(size: int) -> bytes:
        return b"kernel.quiet\n\0\0\0" + size.to_bytes(4, "little") + bytes(4) + b"#BOOTCONFIG\n"

    assert read(gzipped(plain(FIRST)) + settings(16), tmp_path).entries.keys() == {"/init"}
    assert "neither an archive" in damage(gzipped(plain(FIRST)) + settings(8), tmp_path)


@pytest.mark.parametrize("where", [0, 1, 2])
def test_a_file_has_all_its_names_whichever_has_the_bytes(where: int, tmp_path: Path) -> None:
    """cpio writes the bytes with the last name; the kernel takes them with any."""
    archive, module = bytearray(), elf_samples.module("a")
    for number, name in enumerate(("a.ko", "b.ko", "c.ko", "TRAILER!!!")):
        one = bytearray(plain({f"usr/lib/modules/1/{name}" if number < 3 else name: module if number == where else b""}))
        one = one[: len(one) - len(plain({}))] if number < 3 else bytearray(plain({}))
        if number < 3:
            one[6:14], one[38:46] = b"%08x" % 77, b"%08x" % 3
        archive += one
    inside = read(bytes(archive), tmp_path)
    assert [known.name for known in inside.modules.values()] == ["a", "a", "a"]
    assert {entry.size for entry in inside.entries.values()} == {len(module)}


@pytest.mark.parametrize(("place", "magic", "form"), [(0, b"hsqs", "squashfs"), (1024, b"\xe2\xe1\xf5\xe0", "EROFS")])
def test_a_file_system_inside_is_not_read_and_that_is_said(place: int, magic: bytes, form: str, tmp_path: Path) -> None:
    image = bytes(place) + magic + bytes(3000)
    found = contents(tmp_path, PATH, gzipped(plain({**FIRST, "root.img": image})))
    assert found.initramfs[PATH].unread == {"/root.img": f"it is a file system of its own ({form}), which nothing here reads"}
    assert contents(tmp_path, "/usr/share/root.img", image).unread == {}


def test_what_nothing_here_decompresses_is_said_to_be_unread(tmp_path: Path) -> None:
    found = contents(tmp_path, PATH, plain(FIRST) + b"\x89LZO\0\r\n\x1a\n" + bytes(50))
    assert (found.damaged, found.unread) == ({}, {PATH: "it is compressed with LZO, which nothing here reads"})


KEPT = {path: MODULES[path] for path in (EXT4, JBD2)}
ROOT = "usr/lib/ostree/ostree-prepare-root"
KARGS = "/usr/lib/bootc/kargs.d/20.toml"
NVME: Files = at("kernel/nvme.ko", module("nvme", packed=False))


def lost(*gone: str) -> dict[str, bytes]:
    return {path: data for path, data in STARTS.items() if path not in gone}


def linked(target: str) -> bytes:
    """An initramfs whose init is a link, as dracut makes it."""
    archive = elf_samples.initramfs(lost("init") | {f"{FOLDER[1:]}/a": b"", "usr/lib/own/init": STARTS["init"]}, packed=False)
    return elf_samples.link("init", target) + archive


def judged(base: Filesystem, tmp_path: Path, files: Files) -> Finding:
    found = verify_image(read_image(tmp_path, [files], base), bootable=True)
    return next(finding for finding in found if finding.name == "initramfs-start")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Filesystem:
    return read_image(tmp_path_factory.mktemp("base"), [healthy()])


@pytest.mark.parametrize(
    ("image", "more", "said"),
    [
        (initramfs(KEPT, starts=lost("init")), {}, "/init is not there"),
        (linked("usr/lib/systemd/systemd"), {}, "/init leads to no file (/usr/lib/systemd/systemd)"),
        (initramfs(KEPT, mode=0o644), {}, "/init may not be executed"),
        (initramfs(KEPT, starts=lost(LOADER[1:])), {}, f"/init asks for the loader {LOADER}, which is not there"),
        (initramfs(KEPT, starts=lost("usr/lib/libinit.so.1")), {}, "/init needs libinit.so.1, which is nowhere"),
        (initramfs(KEPT, starts=lost("usr/lib/libc.so.6")), {}, "/usr/lib/libinit.so.1 needs libc.so.6, which is nowhere"),
        (initramfs(KEPT, more={"usr/lib/libc.so.6": elf_samples.binary(offered=["C_0"])}), {}, f"/{ROOT} needs C_1 of libc.so.6"),
        (initramfs(KEPT, more={"init": b"#! /bin/sh -e\n"}), {}, "/init is for the interpreter /bin/sh, which is not there"),
        (initramfs(KEPT, more={"init": b"#!/sh\n", "sh": elf_samples.binary(needed=["a.so"])}), {}, "/sh needs a.so, which is nowhere"),
        (initramfs(KEPT, more={"init": b"\n"}), {}, "/init is neither a program nor a script"),
        (initramfs(KEPT, starts=lost(ROOT)), {}, "nothing in it makes a root of what OSTree deploys"),
        (initramfs(KEPT), {KARGS: b'kargs = ["rdinit=/sbin/own"]'}, "/sbin/own is not there"),
        (initramfs({}), {}, "no driver of file systems is inside or built into the kernel, as"),
        (initramfs(KEPT), at("modules.builtin.modinfo", b"loop.license=GPL\0"), "no driver of disks is inside or built into the kernel"),
    ],
)  # fmt: skip
def test_an_initramfs_that_starts_no_system_is_named(image: bytes, more: Files, said: str, base: Filesystem, tmp_path: Path) -> None:
    finding = judged(base, tmp_path, {**at("initramfs.img", image), **more})
    assert finding.outcome is Outcome.NO
    assert said in finding.message


DISKS = {f"kernel/{name}.ko": module(name, packed=False) for name in ("nvme", "sd_mod", "nbd", "xfs")}
WITH_DISKS: Files = {**{f"{FOLDER}/{path}": data for path, data in DISKS.items()}, **at("modules.builtin.modinfo", b"loop.license=GPL\0")}
WITH_DISKS |= at("initramfs.img", initramfs({**KEPT, **DISKS}, more={"usr/lib/systemd/system/rescue.target": b"[Unit]\n"}))
THEIRS: Files = {"/usr/lib/aistack/.wh.lock.json": b""}
SHELL: Files = {"/usr/bin/bash": b"#!/usr/bin/false\n", "/usr/sbin/own-init": b"#!/usr/bin/bash\n", "/usr/bin/text": b"\n"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("module_blacklist=nvme,sd-mod", "blacklisted: nvme, sd_mod; no other usual driver of disks is inside"),
        ("modprobe.blacklist=nvme rd.driver.blacklist=sd_mod", "blacklisted: nvme, sd_mod;"),
        ("module_blacklist=ext4", "blacklisted: ext4; no other usual driver of file systems"),
        ("init=/bin/false", "start /usr/bin/false, which is no init"),
        ("init=/sbin/init init=/usr/bin/bash", "start /usr/bin/bash, which is no init"),
        ("init=/gone", "start /gone, which leads to no file"),
        ("init=/usr/bin/text", "start /usr/bin/text, which may not be executed"),
        ("rd.systemd.unit=rescue.target", "start a shell (rd.systemd.unit=rescue.target)"),
        ("rd.systemd.unit=gone.target", "start gone.target, which is not inside"),
        ("rd.break", "stop it for a shell (rd.break)"),
        ("rd.break=pre-mount", "stop it for a shell (rd.break=pre-mount)"),
        ("rd.emergency", "stop it for a shell (rd.emergency)"),
    ],
)
def test_arguments_with_which_an_initramfs_starts_no_system_are_named(words: str, said: str, base: Filesystem, tmp_path: Path) -> None:
    told: Files = {KARGS: f"kargs = {words.split()!r}\n".encode()}
    assert judged(base, tmp_path / "without", {**WITH_DISKS, **SHELL}).outcome is Outcome.YES
    finding = judged(base, tmp_path, {**WITH_DISKS, **SHELL, **told})
    assert (finding.outcome, said in finding.message) == (Outcome.NO, True), finding.message


@pytest.mark.parametrize(
    ("words", "more"),
    [
        ("module_blacklist=nvme,nbd modprobe.blacklist=ext4 rd.driver.blacklist=nouveau", {}),
        ("module_blacklist=ext4", THEIRS),  # whose root may be on xfs
        ("module_blacklist=nvme,sd_mod", at("modules.builtin.modinfo", b"virtio_blk.license=GPL\0")),
        ("init=/bin/bash init=/sbin/init rd.systemd.unit=rescue.target rd.systemd.unit=own.target", {}),
        ("init=/usr/sbin/own-init", {}),
        ("rd.shell=0 rd.emergency=poweroff", {}),  # what is done instead of a shell
        ("systemd.unit=rescue.target rescue break=mount rd.break.is.no=1 emergency", {}),  # the system's own affair
    ],
)
def test_other_arguments_are_the_administrators(words: str, more: Files, base: Filesystem, tmp_path: Path) -> None:
    told: Files = {KARGS: f"kargs = {words.split()!r}\n".encode()}
    inside = initramfs({**KEPT, **DISKS}, more={f"usr/lib/systemd/system/{name}.target": b"[Unit]\n" for name in ("rescue", "own")})
    finding = judged(base, tmp_path, {**WITH_DISKS, **SHELL, **at("initramfs.img", inside), **told, **more})
    assert (finding.outcome, finding.message) == (Outcome.YES, finding.message)


LOOP = at("modules.builtin.modinfo", b"loop.license=GPL\0")
PLAIN: Files = {"/.wh.sysroot": b"", "/.wh.ostree": b""}


@pytest.mark.parametrize(
    ("image", "more"),
    [
        (linked("usr/lib/own/init"), at("modules.builtin.modinfo", b"nvme.license=GPL\0xfs.license=GPL\0")),
        (initramfs(KEPT, more={"init": b"#!/bin/sh\n", "bin/sh": elf_samples.binary()}), {}),  # as initramfs-tools, with busybox
        (initramfs(KEPT, starts=lost("init"), more={"sbin/own": STARTS["init"]}), {KARGS: b'kargs = ["rdinit=/a", "rdinit=/sbin/own"]'}),
        (initramfs(KEPT, starts=lost(ROOT), more={"usr/lib/bootc/initramfs-setup": elf_samples.binary()}), {}),
        (initramfs(KEPT, more={"usr/lib/liblone.so": elf_samples.binary(needed=["libgone.so"])}), {}),  # which nothing here loads
        (initramfs({**KEPT, "kernel/nvme.ko": module("nvme", packed=False)}), {**NVME, **LOOP}),
        (initramfs(KEPT), at("modules.builtin.modinfo", b"")),  # of a kernel that does not say what is built in
        (initramfs(KEPT, starts=lost(ROOT)), {**PLAIN, **LOOP}),  # of a system that OSTree does not deploy, with what it needs of modules
    ],
)
def test_an_initramfs_that_starts_a_system_in_another_way_is_good(image: bytes, more: Files, base: Filesystem, tmp_path: Path) -> None:
    finding = judged(base, tmp_path, {**at("initramfs.img", image), **more})
    assert (finding.outcome, finding.message) == (Outcome.YES, finding.message)


def test_without_modules_a_system_starts_where_what_it_needs_is_built_in(base: Filesystem, tmp_path: Path) -> None:
    none = at("initramfs.img", initramfs({}, starts=lost(ROOT)))
    assert "no module is inside, and no driver of disks" in judged(base, tmp_path, {**none, **PLAIN, **LOOP}).message
    for name in (b"virtio_blk", b"ext4", b"nfs"):
        built_in = at("modules.builtin.modinfo", name + b".license=GPL\0")
        assert judged(base, tmp_path, {**none, **PLAIN, **built_in}).outcome is Outcome.YES


def test_an_initramfs_that_is_known_by_its_modules_alone_may_be_a_part(base: Filesystem, tmp_path: Path) -> None:
    part: Files = {f"{FOLDER}/.wh.initramfs.img": b"", "/boot/initrd-modules": initramfs(KEPT, starts={})}
    assert judged(base, tmp_path, part).outcome is Outcome.YES
