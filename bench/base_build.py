"""A base from a filled store against mkosi on the same packages, its package cache filled, in turns.

python bench/base_build.py [RECIPE] [--rounds N] [--mkosi COMMAND]

Both start from an empty folder, fetch nothing, install the same set of packages (compared afterwards) and make the initramfs with the same
dracut and its same settings. mkosi leaves a folder (`Format=directory`, `Incremental=no`); aistack also runs presets, compiles byte code,
checks the layout, and leaves compressed layers. Processor time is told beside the clock's: on a busy machine it says more.

mkosi runs from where it lies, so its package can also be unpacked in a folder (`dpkg -x`) and named by --mkosi.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from sides import Row, aistack, in_turns, scratch, store, table

from aistack.commands.lock import lock_path, read_lock
from aistack.compose.distros import debian
from aistack.facts.files import RenderedFile
from aistack.facts.pins import LockedRoot
from aistack.host import apt_sources
from aistack.host.store import Store

SUITES = ("trixie", "trixie-updates", "trixie-security")
DRACUT = """#!/bin/sh
set -e
[ "$1" = final ] || exit 0
kernel=$(ls /usr/lib/modules)
DRACUT_NO_XATTR=1 dracut --quiet --force --no-hostonly --reproducible --kver "$kernel" "/usr/lib/modules/$kernel/initramfs.img"
"""


def spent() -> tuple[float, float]:
    """The clock, and the processor time of all processes that have ended below this one, in seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic(), children.ru_utime + children.ru_stime


def ours(recipe: Path, store: Store) -> None:
    """Builds the base image alone, in a store that holds the packages and the tools root and no base."""
    with scratch() as private:
        subprocess.run(["cp", "-al", store.path / "blobs", private / "blobs"], check=True)
        (private / "roots").symlink_to(store.path / "roots")
        for output in store.path.glob("outputs/*/output.json"):
            if json.loads(output.read_text()).get("step", "").startswith("tools-root"):
                shutil.copytree(output.parent, private / "outputs" / output.parent.name)
        said = json.loads(aistack("build", recipe, "--only", "base-image", "--offline", "--json", AISTACK_STORE=str(private)))
        made = [row["title"].split()[0] for row in said["artifacts"] if row["seconds"] is not None]
        assert made == ["base-image"], made


class Mkosi:
    """mkosi set up for one root, in a folder of its own."""

    def __init__(self, command: list[str], folder: Path, root: LockedRoot) -> None:
        self.command, self.folder, self.root = command, folder, root
        self.output = folder / "out"
        sources = folder / "pkgmngr/etc/apt/sources.list.d/mkosi.sources"
        sources.parent.mkdir(parents=True)
        sources.write_text("\n".join(map(apt_sources.stanza, apt_sources.locate(root.archives, environment=os.environ))))
        for file in debian.base_files():
            if isinstance(file, RenderedFile) and "dracut" in file.path:
                place = folder / "skeleton" / file.path.lstrip("/")
                place.parent.mkdir(parents=True)
                place.write_bytes(file.content)
        # The kernel's own hook would make an initramfs while it is installed; each side makes one, at the end.
        hooks = folder / "skeleton/etc/kernel/postinst.d"
        hooks.mkdir(parents=True)
        (folder / "skeleton/etc/dpkg/dpkg.cfg.d").mkdir(parents=True)
        (folder / "skeleton/etc/dpkg/dpkg.cfg.d/bench").write_text("path-exclude=/etc/kernel/postinst.d/dracut\n")
        script = folder / "dracut.chroot"
        script.write_text(DRACUT)
        script.chmod(0o755)
        for name in ("cache", "out", "work"):
            (folder / name).mkdir()

    def build(self) -> None:
        """One build from nothing but the cached packages."""
        packages = [word for package in self.root.packages for word in ("--package", f"{package.name}={package.version}")]
        settings = {
            "directory": str(self.folder),
            "distribution": "debian",
            "release": SUITES[0],
            "format": "directory",
            "incremental": "no",
            "build-sources": "",
            "bootable": "no",
            "with-docs": "no",
            "output": "image",
            "output-dir": str(self.output),
            "workspace-dir": str(self.folder / "work"),
            "package-cache-dir": str(self.folder / "cache"),
            "package-manager-tree": str(self.folder / "pkgmngr"),
            "skeleton-tree": str(self.folder / "skeleton"),
            "postinst-script": str(self.folder / "dracut.chroot"),
        }
        argv = [*self.command, *(word for key, value in settings.items() for word in (f"--{key}", value)), *packages, "--force", "build"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"mkosi ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
        assert list(self.output.glob("image/usr/lib/modules/*/initramfs.img")), "mkosi's image has no initramfs"

    def installed(self) -> set[tuple[str, str]]:
        """(package, version) of what it installed."""
        status = (self.output / "image/var/lib/dpkg/status").read_text()
        return set(re.findall(r"^Package: (\S+)\n(?:.*\n)*?Version: (\S+)$", status, re.MULTILINE))


def rows(recipe: Path, rounds: int, mkosi: list[str]) -> Iterator[Row]:
    """The table's rows: by the clock, and in processor time."""
    aistack("build", recipe, "--only", "base-image")
    root = read_lock(lock_path(recipe)).root("base")
    with scratch() as folder:
        theirs = Mkosi(mkosi, folder, root)
        theirs.build()  # fills its cache
        locked = {(package.name, package.version) for package in root.packages}
        different = sorted(f"{name} {version}" for name, version in theirs.installed() ^ locked)
        processor: dict[str, list[float]] = {"ours": [], "theirs": []}

        def timed(side: str) -> float:
            started, used = spent()
            ours(recipe, store()) if side == "ours" else theirs.build()
            ended, used_now = spent()
            processor[side].append(used_now - used)
            return ended - started

        mine, other = in_turns(rounds, lambda: timed("ours"), lambda: timed("theirs"))
    note = f"0.6 x or less; {len(locked)} packages, installed by one side only: {', '.join(different) or 'none'}"
    yield Row(what="base image", ours=mine, theirs=other, unit="s", opponent="mkosi", note=note)
    used = [statistics.median(processor[side]) for side in ("ours", "theirs")]
    yield Row(what="base image, processor time", ours=used[0], theirs=used[1], unit="s", opponent="mkosi")


def main() -> None:
    """Print both rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe", nargs="?", type=Path, default=Path("recipes/web-appliance.yaml"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mkosi", type=shlex.split, default=["mkosi"])
    chosen = parser.parse_args()
    if shutil.which(chosen.mkosi[0]) is None:
        sys.exit("mkosi is not installed (Debian 12: apt-get install -t bookworm-backports mkosi)")
    print(table(rows(chosen.recipe, chosen.rounds, chosen.mkosi)))


if __name__ == "__main__":
    main()
