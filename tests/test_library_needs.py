"""Libraries that programs need, and where a loader finds them: built into it, in its cache, or told by the one that asks."""

from __future__ import annotations

import os
import struct
import subprocess
from pathlib import Path

import elf_samples
import pytest
from images_read import Files
from kernel_samples import LIBRARIES, program
from test_checks import base, judged

from aistack.compose.findings import Outcome
from aistack.facts import loader_cache
from aistack.facts.filesystem import Filesystem

__all__ = ["base"]

FAULTS: list[tuple[Files, str]] = [
    (
        {"/usr/lib/own/bin/tool": program(needed=["liba.so"]), "/usr/lib/other/lib/liba.so": elf_samples.binary()},
        "/usr/lib/own/bin/tool needs liba.so",
    ),
    (
        {"/usr/bin/tool": program(needed=["liba.so"], runpath="/usr/own/$LIBRARY"), "/usr/own/lib/liba.so": elf_samples.binary()},
        "/usr/bin/tool needs liba.so",
    ),
    (
        {
            "/usr/bin/tool": program(needed=["liba.so", "libb.so"], asked={"libb.so": ["B_1"], "liba.so": ["A_1", "A_1.2"]}),
            f"{LIBRARIES}/liba.so": elf_samples.binary(soname="liba.so", offered=["A_1", "A_1.1"]),
            f"{LIBRARIES}/libb.so": elf_samples.binary(offered=["B_0", "B_1"]),
        },
        f"/usr/bin/tool needs A_1.2 of liba.so, which {LIBRARIES}/liba.so does not offer",
    ),
    (
        {"/opt/bin/tool": program(needed=["$ORIGIN/../lib/liba.so.1"]), "/usr/lib/liba.so.1": elf_samples.binary()},
        "/opt/bin/tool needs $ORIGIN/../lib/liba.so.1",
    ),
    ({"/usr/bin/tool": elf_samples.binary(interpreter="/lib/ld-musl.so.1")}, "asks for the loader /lib/ld-musl.so.1"),
    ({"/usr/lib/x86_64-linux-gnu/liba.so.1": elf_samples.binary(needed=["libb.so.2"])}, "liba.so.1 needs libb.so.2"),
    (
        {"/usr/local/lib/own/a.so": elf_samples.binary(needed=["libb.so.2"])},
        "/usr/local/lib/own/a.so needs libb.so.2, which is nowhere",
    ),
    (
        {f"{LIBRARIES}/own/liba.so.1.2": elf_samples.binary(needed=["libb.so.2"]), f"{LIBRARIES}/liba.so.1": "own/liba.so.1.2"},
        f"{LIBRARIES}/own/liba.so.1.2 needs libb.so.2, which is nowhere",
    ),
    (
        {"/usr/bin/tool": program(needed=["liba.so"]), "/usr/lib/x86_64-linux-gnu/liba.so": elf_samples.binary(machine=183)},
        "/usr/bin/tool needs liba.so",
    ),
    (
        {"/usr/bin/tool": program(needed=["liba.so"]), "/usr/lib/own/liba.so": elf_samples.binary()},
        "/usr/bin/tool needs liba.so",
    ),
]


@pytest.mark.parametrize(("fault", "said"), FAULTS)
def test_a_library_that_is_not_found_is_named(fault: Files, said: str, base: Filesystem, tmp_path: Path) -> None:
    finding = judged(base, tmp_path, fault)["library-needs"]
    assert finding.outcome is Outcome.NO
    assert said in finding.message


def test_a_plugin_whose_library_nobody_installed_may_never_be_asked_for(base: Filesystem, tmp_path: Path) -> None:
    """Debian's iproute2 has `tc/q_atm.so`, and only recommends its libatm."""
    plugin: Files = {f"{LIBRARIES}/tc/q_atm.so": elf_samples.binary(needed=["libatm.so.1"])}
    finding = judged(base, tmp_path, plugin)["library-needs"]
    assert finding.outcome is Outcome.UNKNOWN
    assert f"{LIBRARIES}/tc/q_atm.so needs libatm.so.1, which is nowhere" in finding.message
    told = judged(base, tmp_path, plugin, {"/usr/bin/tool": program(needed=["libgone.so.1"])})["library-needs"]
    assert (told.outcome, "q_atm" in told.message) == (Outcome.NO, False)


def cache(*names: tuple[str, str], older: bool = False, cut: int = 0) -> bytes:
    """What ldconfig writes of those names and paths; an `older` one has the form of libc5 before it."""
    texts = b"".join(name.encode() + b"\0" + path.encode() + b"\0" for name, path in names)
    table, place = b"", 48 + 24 * len(names)
    for name, path in names:
        table += struct.pack("<iIIIQ", 0x303, place, place + len(name) + 1, 0, 0)
        place += len(name) + len(path) + 2
    head = struct.pack("<20sII20x", loader_cache.MAGIC, len(names), len(texts))
    before = struct.pack("<12sI", b"ld.so-1.7.0", 0) if older else b""
    return before + (head + table + texts)[: -cut or None]


GLIBC: Files = {f"{LIBRARIES}/libc.so.6": elf_samples.binary(soname="libc.so.6")}
OWN: Files = {"/usr/own/liba.so.1": elf_samples.binary(soname="liba.so.1"), "/usr/bin/tool": program(needed=["liba.so.1", "libc.so.6"])}
TOLD: Files = {"/etc/ld.so.conf": b"/usr/own\n"}
AT_BOOT: Files = {
    "/usr/lib/systemd/system/ldconfig.service": b"[Service]\nExecStart=/sbin/ldconfig -X\n",
    "/usr/lib/systemd/system/sysinit.target.wants/ldconfig.service": "../ldconfig.service",
}
MASKED: Files = {"/etc/systemd/system/ldconfig.service": "/dev/null"}


def at_cache(data: bytes) -> Files:
    return {"/etc/ld.so.cache": data}


@pytest.mark.parametrize(
    "layers",
    [
        [TOLD],
        [TOLD, at_cache(b"")],
        [TOLD, at_cache(cache(("libb.so.1", "/usr/own/liba.so.1")))],
        [TOLD, at_cache(cache(("liba.so.1", "/usr/gone/liba.so.1")))],
        [TOLD, at_cache(cache(("liba.so.1", "/usr/own/liba.so.1"), cut=40))],
        [TOLD, AT_BOOT, MASKED],
    ],
)
def test_what_glibcs_loader_is_told_of_it_knows_from_its_cache(layers: list[Files], base: Filesystem, tmp_path: Path) -> None:
    finding = judged(base, tmp_path, GLIBC, OWN, *layers)["library-needs"]
    assert finding.outcome is Outcome.NO
    assert "/usr/bin/tool needs liba.so.1, which is not where it is looked for" in finding.message
    assert ": /etc/ld.so.cache does not name /usr/own/liba.so.1" in finding.message


@pytest.mark.parametrize("folder", ["/usr/local/lib", "/usr/lib64", "/usr/lib32", "/usr/lib/aarch64-linux-gnu", "/usr/lib/own"])
def test_what_lies_in_no_folder_of_the_images_own_loader_is_not_found(folder: str, base: Filesystem, tmp_path: Path) -> None:
    files: Files = {f"{folder}/liba.so.1": elf_samples.binary(), "/usr/bin/tool": program(needed=["liba.so.1"])}
    assert judged(base, tmp_path, GLIBC, files)["library-needs"].outcome is Outcome.NO


@pytest.mark.parametrize(
    "layers",
    [
        [at_cache(cache(("libb.so.1", "/usr/own/b"), ("liba.so.1", "/usr/gone/liba.so.1"), ("liba.so.1", "/usr/own/liba.so.1")))],
        [at_cache(cache(("liba.so.1", "/usr/own/liba.so.1"), older=True))],
        [TOLD, AT_BOOT],
    ],
)
def test_what_the_cache_names_or_will_name_is_found(layers: list[Files], base: Filesystem, tmp_path: Path) -> None:
    """Made at the first start, by systemd's ldconfig.service, it names what lies in the folders that ld.so.conf names."""
    assert judged(base, tmp_path, GLIBC, OWN, *layers)["library-needs"].outcome is Outcome.YES


@pytest.mark.parametrize(
    ("home", "folder"),
    [
        (LIBRARIES, LIBRARIES),
        (LIBRARIES, f"{LIBRARIES}/glibc-hwcaps/x86-64-v3"),
        (LIBRARIES, "/usr/lib"),
        ("/usr/lib64", "/usr/lib64"),
        ("/usr/lib64", "/usr/lib64/glibc-hwcaps/x86-64-v2"),
        ("/usr/lib", "/usr/lib"),
        ("/usr/own", "/usr/local/lib"),
    ],
)
def test_a_loader_looks_of_itself_where_its_c_library_lies(home: str, folder: str, base: Filesystem, tmp_path: Path) -> None:
    """Debian's in a folder for the processor and the plain one, others in one; where there is no glibc, anywhere."""
    files: Files = {f"{folder}/liba.so.1": elf_samples.binary(), "/usr/bin/tool": program(needed=["liba.so.1"])}
    libc: Files = {f"{home}/libc-2.31.so": elf_samples.binary(soname="libc.so.6")}
    assert judged(base, tmp_path, libc, files)["library-needs"].outcome is Outcome.YES


def test_another_c_librarys_loader_beside_glibc_looks_in_its_own_folders(base: Filesystem, tmp_path: Path) -> None:
    folder, loader = "/usr/lib/x86_64-linux-musl", "/usr/lib/ld-musl-x86_64.so.1"
    files: Files = {
        f"{folder}/libc.so": elf_samples.binary(),
        loader: elf_samples.binary(),
        "/usr/bin/tool": elf_samples.binary(needed=["libc.so"], interpreter=loader),
    }
    libc: Files = {f"{LIBRARIES}/libc-2.31.so": elf_samples.binary(soname="libc.so.6")}
    assert judged(base, tmp_path, libc, files)["library-needs"].outcome is Outcome.YES
    told: Files = {"/opt/a/libb.so": elf_samples.binary(), "/usr/bin/more": elf_samples.binary(needed=["libb.so"], interpreter=loader)}
    assert judged(base, tmp_path, libc, files, told)["library-needs"].outcome is Outcome.NO
    told["/etc/ld-musl-x86_64.path"] = b"/lib:/opt/a\n"
    assert judged(base, tmp_path, libc, files, told)["library-needs"].outcome is Outcome.YES


def test_a_cache_whose_names_never_end_takes_no_more_memory_than_paths() -> None:
    count, head = 50, struct.calcsize(loader_cache.HEADER)
    start = head + count * struct.calcsize(loader_cache.ENTRY)
    entries = b"".join(struct.pack(loader_cache.ENTRY, 0, start, start, 0, 0) for _ in range(count))
    data = struct.pack(loader_cache.HEADER, loader_cache.MAGIC, count, 0) + entries + b"a" * 10_000 + b"\0"
    assert loader_cache.places(data) == {}


@pytest.mark.system
def test_a_cache_is_read_as_ldconfig_reads_it() -> None:
    file = Path("/etc/ld.so.cache")
    if not file.is_file():
        (pytest.fail if os.environ.get("CI") else pytest.skip)("this machine has no cache of its loader")
    said = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    known = [line.split() for line in said.splitlines() if " => " in line]
    assert loader_cache.places(file.read_bytes()) == {
        words[0]: tuple(other[-1] for other in known if other[0] == words[0]) for words in known
    }
