"""The power fails during an update: the disk's writes are recorded once, and the disk is rebuilt at many moments and looked at.

    python tests/power_cuts.py [--cuts N] [--boots N] [--seed N] [--to NAME]

Half of the moments lie right after a flush, half between two, with a random part of what no flush had covered dropped and the last write
torn (`write_log.py`). At each of them the file systems are checked after their journal was replayed, `ostree fsck` reads every object,
every file of every deployment that the menu starts is compared with its commit, kernel and initramfs with theirs, and what firmware reads
with what it was (`cut_check.py`). Some are really booted through both gates, and the update is carried out once more on each of those.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cut_check
import write_log
from recorded_update import carry_out, make_medium, only_the_program, the_whole_node
from write_log import Cut

import aistack
from aistack.host import oci, process, rootfs
from aistack.host.qemu import Firmware
from aistack.host.rootfs import Bind
from aistack.host.store import Store, default_path

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ROOT / "recipes" / "web-appliance.yaml"
APP = "  - {kind: apt, suites: [trixie-backports], packages: [caddy], apps: [web]}"
LESS = f"kernel: {{flavor: cloud}}\nsources:\n{APP}"
NEWER = f"""kernel: {{flavor: cloud, version: "7.*"}}
sources:
  - {{kind: apt, suites: [trixie-backports], packages: [linux-image-cloud-amd64]}}
{APP}"""
"""What the update changes in the recipe: another kernel, so that /boot is written too, and the app, so that its image comes as well.

`LESS`, the app alone, needs no other base.
"""
ROOM = 4 << 30
"""Bytes that the rebuilt disks of one worker take at most."""

PROGRAM = """\
#!/bin/sh
exec >/dev/console 2>&1
place=$(($(blockdev --getsz /dev/vda) - 1024))
mark() {
    sync
    dd if=/dev/zero of=/dev/vda bs=512 count=1 seek=$place oflag=direct conv=notrunc status=none
}
mark
aistack node update --from /run/medium/layout --to registry.example/nodes/web:stable || exit 1
mark
echo 'program: done'
"""
"""A mark is a write like any other, into the empty end of the disk: it says where in the log the update begins, and where it is staged."""


HEAD = """\
# Power cuts during an update

`python tests/power_cuts.py --seed {seed}`: a node made from `recipes/web-appliance.yaml` is updated by `aistack node update --from` to one
with another kernel and a newer app, and switched off in order, in QEMU, which logs every write and flush of its disk. The disk is rebuilt
at moments of that log, half of them in the update itself, half in the shutdown that changes the bootloader's menu. At each one: both file
systems are right once their journal is replayed, `ostree fsck` finds every object as it should be, and what the menu starts is whole (every
file of the deployment, `/etc`, origin, kernel, initramfs, GRUB's environment); what firmware reads is as it was.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """A node's disk, never started, and the system image that it is updated to; `medium` is the disk that brings it to the guest."""

    store: Store
    tools: Path
    disk: Path
    newer: str
    medium: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An update's log: what lies before `start` is from before it, at `staged` it waits for the shutdown; seconds from power on to off."""

    log: Path
    entries: tuple[write_log.Entry, ...]
    start: int = 0
    staged: int = 0
    seconds: float = 0

    def cuts(self, count: int, seed: int) -> list[Cut]:
        """Moments of the update, half of them from the shutdown, in which the bootloader's menu changes."""
        parts = range(self.start, self.staged), range(self.staged, len(self.entries))
        return [cut for part in parts for cut in write_log.cuts(self.entries, part, count=count // 2, seed=seed)]

    def counts(self) -> dict[str, int]:
        """Of the update itself: writes, their bytes, flushes."""
        written = [entry for entry in self.entries[self.start :] if entry.at is not None]
        flushes = sum(entry.is_flush for entry in self.entries[self.start :])
        return {"writes": len(written), "bytes": sum(entry.size for entry in written), "flushes": flushes}


def build(folder: Path, changed: str = NEWER) -> Sides:
    """The older node's disk and the newer system image, from the usual store."""
    older, newer = folder / "older" / RECIPE.name, folder / "newer" / RECIPE.name
    text = RECIPE.read_text()
    kernel = next(line for line in text.splitlines() if line.startswith("kernel:"))
    for path, recipe in ((older, text), (newer, text.replace(kernel, changed))):
        path.parent.mkdir()
        path.write_text(recipe)
    built, system = _aistack("build", older), _aistack("build", newer, "--only", "system-image")
    store, digest = Store(default_path(os.environ)), _where(system, "system-image")
    content = folder / "content"
    oci.export_layout(store, {"stable": digest, "web": _where(system, "app-image")}, content / "layout")
    (content / "program").write_text(PROGRAM)
    (content / "program").chmod(0o755)
    medium = make_medium(content, folder / "medium.img")
    shutil.rmtree(content)
    disk = next(Path(path) for path in _where(built, "disk").split() if path.endswith(".raw"))
    return Sides(store=store, tools=Path(_where(built, "tools-root")), disk=disk, newer=digest, medium=medium)


def _aistack(*arguments: object) -> list[dict[str, Any]]:
    argv = [sys.executable, "-m", "aistack", *map(str, arguments), "--json"]
    done = subprocess.run(argv, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, check=True, timeout=3600)
    rows: list[dict[str, Any]] = json.loads(done.stdout)["artifacts"]
    return rows


def _where(rows: Sequence[Mapping[str, Any]], kind: str) -> str:
    (where,) = [str(row["where"]) for row in rows if row["title"].partition(" ")[0] == kind]
    return where


def overlay(disk: Path, folder: Path) -> Path:
    """What takes the writes to a raw disk, which stays as it is."""
    target = folder / "disk.qcow2"
    folder.mkdir(parents=True, exist_ok=True)
    process.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(disk.resolve()), "-F", "raw", str(target)])
    return target


def record(sides: Sides, folder: Path) -> Recorded:
    """Update the node once, with everything that its disk was told."""
    log, files = folder / "writes.log", folder / "boot"
    boot = cut_check.FileSystem(disk=sides.disk, offset=cut_check.partitions(sides.disk)["aistack-boot"][0])
    boot.take("/", files)
    kernel, arguments, initrd = cut_check.ENTRY.findall((files / "grub/grub.cfg").read_text())[0]
    machine = only_the_program(files / kernel.strip("/"), files / initrd.strip("/"), arguments.removesuffix(" $on_trial"))
    seconds = carry_out(machine, overlay(sides.disk, folder / "recording"), sides.medium, folder / "recording", writes=log)
    with log.open("rb") as stream:
        entries = write_log.read(stream)
        mark = sides.disk.stat().st_size - 1024 * write_log.SECTOR
        start, staged = [number for number, entry in enumerate(entries) if entry.offset == mark and entry.at is not None]
    return Recorded(log=log, entries=entries, start=start, staged=staged, seconds=seconds)


@contextmanager
def scratch(least: int = ROOM) -> Iterator[Path]:
    """A folder in memory where there is room, else on the disk."""
    memory = Path("/dev/shm")
    place = memory if memory.is_dir() and shutil.disk_usage(memory).free > least else None
    with tempfile.TemporaryDirectory(prefix="aistack-cuts-", dir=place) as name:
        yield Path(name)


def check(sides: Sides, recorded: Recorded, cuts: Sequence[Cut]) -> Iterator[dict[str, Any]]:
    """What a node is like at each cut, as `cut_check.py` tells it."""
    with scratch() as folder:
        order = {"base": "/run/base", "log": "/run/log", "scratch": "/run/scratch", "cuts": [asdict(cut) for cut in cuts]}
        (folder / "order.json").write_text(json.dumps(order))
        binds = (
            Bind(source=Path(aistack.__file__).parent, target="/run/python/aistack"),
            Bind(source=Path(__file__).parent, target="/run/tests"),
            Bind(source=folder, target="/run/scratch", writable=True),
            Bind(source=sides.disk, target="/run/base"),
            Bind(source=recorded.log, target="/run/log"),
        )
        argv = rootfs.entering(
            sides.tools, ["python3", "/run/tests/cut_check.py", "/run/scratch/order.json"], binds=binds,
            environment={"PYTHONPATH": "/run/python", "PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
        with tempfile.NamedTemporaryFile() as log, process.stream(argv, log=Path(log.name)) as running:
            for line in running.stdout or ():
                yield json.loads(line)


def rebuild(sides: Sides, recorded: Recorded, cut: Cut, target: Path) -> Path:
    """The disk at a cut, as the power left it."""
    subprocess.run(["cp", "--sparse=always", sides.disk, target], check=True)
    with recorded.log.open("rb") as log, target.open("r+b") as disk:
        write_log.replay(log, recorded.entries, cut, disk)
    return target


def started_again(sides: Sides, recorded: Recorded, cut: Cut, firmware: Firmware) -> dict[str, Any]:
    """A cut in real life: the node starts by its firmware and passes both gates, is updated once more, and is looked at afterwards."""
    with scratch() as folder:
        disk = rebuild(sides, recorded, cut, folder / "disk.raw")
        written, after = overlay(disk, folder / "again"), folder / "after.raw"
        try:
            seconds = carry_out(the_whole_node(firmware), written, sides.medium, folder / "again")
        except AssertionError as error:
            return {**asdict(cut), "firmware": firmware, "failed": str(error)}
        process.run(["qemu-img", "convert", "-O", "raw", str(written), str(after)])
        found = look(sides, after)
    return {**asdict(cut), "firmware": firmware, "seconds": round(seconds), "wrong": found["wrong"], "starts": found["starts"]}


def look(sides: Sides, disk: Path) -> dict[str, Any]:
    """What `check` finds on a disk as it is."""
    with tempfile.NamedTemporaryFile() as nothing:
        nothing.write(write_log.SUPER.pack(write_log.MAGIC, write_log.VERSION, 0, write_log.SECTOR).ljust(write_log.SECTOR, b"\0"))
        nothing.flush()
        log = Path(nothing.name)
        (found,) = check(replace(sides, disk=disk), Recorded(log=log, entries=()), [Cut(durable=0, until=0)])
    return found


def main() -> None:
    """Everything, with the result in NAME.json and NAME.md."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cuts", type=int, default=240)
    parser.add_argument("--boots", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--to", type=Path, default=ROOT / f"docs/evidence/power-cuts-{time.strftime('%Y-%m-%d')}")
    options = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="aistack-cuts-") as name:
        folder = Path(name)
        sides = build(folder)
        _say("recording an update")
        recorded = record(sides, folder)
        cuts = recorded.cuts(options.cuts, options.seed)
        _say(f"{recorded.counts()}, {len(cuts)} cuts")
        found = []
        for number, one in enumerate(checked(sides, recorded, cuts), start=1):
            found.append(one)
            _say(f"{number}: {one['durable']}–{one['until']} {one['wrong'] or 'whole'} ({one['seconds']} s)")
        boots = []
        step = len(cuts) // max(options.boots, 1)
        for cut, firmware in zip(cuts[step // 2 :: step][: options.boots], itertools.cycle((Firmware.UEFI, Firmware.BIOS)), strict=False):
            boots.append(started_again(sides, recorded, cut, firmware))
            _say(f"started by {firmware} at {cut.durable}–{cut.until}: {boots[-1]}")
    document = {
        "schema": "aistack/power-cuts/v1",
        "seed": options.seed,
        "recording": {**recorded.counts(), "seconds": round(recorded.seconds)},
        "cuts": found,
        "boots": boots,
        "seconds": round(time.monotonic() - started),
    }
    options.to.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    options.to.with_suffix(".md").write_text(told(document))


def told(document: Mapping[str, Any]) -> str:
    """The document for readers."""
    cuts, boots, recording = document["cuts"], document["boots"], document["recording"]
    after = [cut for cut in cuts if not cut["kept"]]
    lost = [cut for cut in cuts if cut["kept"]]
    good = [one for one in boots if "seconds" in one and not one["wrong"]]
    one, two = (sum(len(cut["starts"]) == number for cut in cuts) for number in (1, 2))
    rows = (
        ("the update's writes", f"{recording['writes']}, {recording['bytes'] / 1e6:.0f} MB, {recording['flushes']} flushes"),
        ("cuts right after a flush", f"{len(after)}"),
        ("cuts between two flushes, a part of what was written since the first one lost", f"{len(lost)}"),
        ("… of them with the last write torn", f"{sum(cut['torn'] is not None for cut in lost)}"),
        ("**survived**", f"**{sum(not cut['wrong'] for cut in cuts)} of {len(cuts)}**"),
        ("the menu starts the older system, and has no other", f"{one}"),
        ("the menu starts the newer system, and has the older one below", f"{two}"),
        ("… and its boots are counted", f"{sum(cut['on_trial'] for cut in cuts)}"),
        ("really started by UEFI or BIOS, both gates passed, updated once more, whole afterwards", f"{len(good)} of {len(boots)}"),
        ("seconds in all", f"{document['seconds']}"),
    )
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    broken = "".join(f"\n- {cut['durable']}–{cut['until']}: {'; '.join(cut['wrong'])}" for cut in cuts if cut["wrong"])
    return HEAD.format(seed=document["seed"]) + f"\n| | |\n| --- | ---: |\n{table}\n{broken}"


def checked(sides: Sides, recorded: Recorded, cuts: Sequence[Cut], workers: int = 2) -> list[dict[str, Any]]:
    """`check`, shared out over processes, in the cuts' order."""
    share = -(-len(cuts) // workers)
    with ThreadPoolExecutor(workers) as pool:
        parts = pool.map(lambda part: list(check(sides, recorded, part)), [cuts[at : at + share] for at in range(0, len(cuts), share)])
    return [one for part in parts for one in part]


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
