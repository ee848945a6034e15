"""The power fails during an update: a small part of what `python tests/power_cuts.py` does, and that its eyes see what is broken."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path

import cut_check
import power_cuts
import pytest
import write_log
from cut_check import Inode
from power_cuts import Recorded, Sides
from tools_needed import needs

pytestmark = pytest.mark.system

CUTS = int(os.environ.get("AISTACK_TEST_CUTS", "8"))


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Sides:
    needs("bwrap", "mke2fs", "debugfs", "qemu-system-x86_64", "qemu-img")
    return power_cuts.build(tmp_path_factory.mktemp("sides"), power_cuts.LESS)


@pytest.fixture(scope="module")
def recorded(sides: Sides, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return power_cuts.record(sides, tmp_path_factory.mktemp("recorded"))


def test_a_node_survives_every_power_cut(sides: Sides, recorded: Recorded) -> None:
    counts = recorded.counts()
    assert counts["writes"] > 100 and counts["flushes"] > 20, counts
    last = write_log.Cut(durable=len(recorded.entries), until=len(recorded.entries))
    cuts = recorded.cuts(CUTS, seed=2)
    found = power_cuts.checked(sides, recorded, [*cuts, last])
    assert [one for one in found if one["wrong"]] == []
    older, newer = found[0]["starts"][-1], found[-1]["starts"][0]
    assert found[-1]["starts"] == [newer, older] and newer != older
    assert all(one["starts"] in ([older], [newer, older]) for one in found)
    assert all(one["on_trial"] == (one["starts"] == [newer, older]) for one in found)


def edit(disk: Path, partition: str, *commands: str) -> str:
    place = cut_check.FileSystem(disk=disk, offset=cut_check.partitions(disk)[partition][0]).place
    done = subprocess.run(["debugfs", "-w", "-f", "-", place], input="\n".join(commands), capture_output=True, text=True, check=True)
    return done.stdout


def listed(disk: Path, partition: str, folder: str) -> dict[str, Inode]:
    return cut_check.FileSystem(disk=disk, offset=cut_check.partitions(disk)[partition][0]).listed([folder])[folder]


def first(disk: Path, partition: str, folder: str, ending: str) -> str:
    """The first regular file in a folder whose name ends so."""
    names = listed(disk, partition, folder).items()
    return f"{folder}/{min(name for name, inode in names if name.endswith(ending) and stat.S_ISREG(inode.mode))}"


def overwrite(disk: Path, offset: int, data: bytes) -> None:
    with disk.open("r+b") as stream:
        stream.seek(offset)
        stream.write(data)


def flip_a_byte(disk: Path) -> None:
    blocks = edit(disk, "aistack-root", f"blocks {first(disk, 'aistack-root', '/ostree/repo/objects/42', '.file')}").split("\n")[1].split()
    overwrite(disk, cut_check.partitions(disk)["aistack-root"][0] + int(blocks[0]) * 4096, b"\xa5")


def lose_a_file(disk: Path) -> None:
    deploy = f"{cut_check.STATEROOT}/deploy"
    (deployment,) = (name for name in listed(disk, "aistack-root", deploy) if not name.endswith(".origin"))
    edit(disk, "aistack-root", f"rm {deploy}/{deployment}/usr/bin/aistack")


def count_wrongly(disk: Path) -> None:
    edit(disk, "aistack-root", "set_inode_field /ostree/repo/config links_count 5")


def shorten_the_environment(disk: Path) -> None:
    edit(disk, "aistack-boot", "set_inode_field /grub/grubenv size 100")


def change_the_kernel(disk: Path) -> None:
    (folder,) = listed(disk, "aistack-boot", "/ostree")
    kernel = first(disk, "aistack-boot", f"/ostree/{folder}", "amd64")
    edit(disk, "aistack-boot", f"rm {kernel}", f"write /proc/version {kernel}")


def cut_the_menu(disk: Path) -> None:
    edit(disk, "aistack-boot", *(f"set_inode_field /loader.{number}/grub.cfg size 60" for number in (0, 1)))


def write_over_the_esp(disk: Path) -> None:
    overwrite(disk, cut_check.partitions(disk)["aistack-esp"][0] + 40 * 512, b"\xa5" * 512)


BROKEN = {
    "what is started": {
        flip_a_byte: "ostree fsck: .*Corrupted file object",
        lose_a_file: "usr/bin/aistack is not the object",
        count_wrongly: "/: .*Inode",
        change_the_kernel: "is not the vmlinuz of",
        write_over_the_esp: "the ESP",
    },
    "the menu": {cut_the_menu: "nothing can be started"},
    "the environment": {shorten_the_environment: "environment block is damaged"},
}


@pytest.mark.parametrize("part", BROKEN)
def test_what_is_broken_is_seen(sides: Sides, part: str) -> None:
    with power_cuts.scratch() as folder:
        disk = folder / "disk.raw"
        subprocess.run(["cp", "--sparse=always", sides.disk, disk], check=True)
        for damage in BROKEN[part]:
            damage(disk)
        wrong = power_cuts.look(sides, disk)["wrong"]
    for said in BROKEN[part].values():
        assert any(re.search(said, line, re.DOTALL) for line in wrong), (said, wrong)
