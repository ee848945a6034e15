"""What the benchmarks share: two sides measured in turns, runs of aistack and podman, and the table that all of them fill."""

from __future__ import annotations

import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from aistack.host.store import Store, default_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table: what aistack and its opponent took or sent, in `unit`; `note` is the aim, or what else must be known."""

    what: str
    ours: float
    theirs: float
    unit: str
    opponent: str
    note: str = ""


def table(rows: Iterable[Row]) -> str:
    """The rows in Markdown."""
    lines = ["| what | aistack | opponent | ratio | aim, notes |", "| --- | ---: | ---: | ---: | --- |"]
    for row in rows:
        ratio = f"{row.ours / row.theirs:.2f} x" if row.theirs else "-"
        lines.append(f"| {row.what} | {row.ours:.2f} {row.unit} | {row.theirs:.2f} {row.unit} ({row.opponent}) | {ratio} | {row.note} |")
    return "\n".join(lines)


def in_turns(rounds: int, ours: Callable[[], float], theirs: Callable[[], float]) -> tuple[float, float]:
    """The medians of both sides, measured one after the other in each round, so that a busy machine is busy for both."""
    found = []
    for number in range(rounds):
        found.append((ours(), theirs()))
        print(f"  round {number + 1}: aistack {found[-1][0]:.2f}, opponent {found[-1][1]:.2f}", file=sys.stderr, flush=True)
    mine, other = zip(*found, strict=True)
    return statistics.median(mine), statistics.median(other)


def store() -> Store:
    """The store that the benchmarks read from and build in."""
    return Store(default_path(os.environ))


def run(argv: Sequence[str | Path], **environment: str) -> str:
    """Runs a program, `environment` added to ours, and returns its standard output; ends the benchmark when it fails."""
    done = subprocess.run(argv, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, argv))[:400]}\nended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder on the store's file system, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="aistack-bench-", dir=store().path.parent) as folder:
        yield Path(folder)


def aistack(*argv: str | Path, **environment: str) -> str:
    """Runs aistack as its users do."""
    return run([sys.executable, "-m", "aistack", *argv], **environment)


class Podman:
    """podman with a storage of its own below a folder, building without a container runtime; leave by `with`."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "containers"
        self.command: list[str | Path] = ["podman", "--root", self.root, "--runroot", folder / "run", "--tmpdir", folder / "libpod"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", self.root / "overlay"], capture_output=True, check=False)  # podman may leave its storage mounted

    def __call__(self, *argv: str | Path) -> str:
        return run([*self.command, *argv])

    def take(self, layout: Path, tag: str) -> None:
        """Takes an image from a layout into the storage, as localhost/TAG."""
        target = f"containers-storage:[overlay@{self.root}+{self.root.with_name('run')}]localhost/{tag}:latest"
        run(["skopeo", "--insecure-policy", "copy", "--quiet", f"oci:{layout}:{tag}", target])

    def build(self, text: str, name: str, *options: str | Path) -> None:
        """Builds a Containerfile without a context; what it copies is given by `options`."""
        file = self.root.with_name("Containerfile")
        file.write_text(text)
        self("build", "--isolation=chroot", "--pull=never", f"--file={file}", f"--tag={name}", *options)


def machine() -> str:
    """Cores, processor and load: what a reader must know of the machine, and nothing that names it."""
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    cores, load = os.cpu_count() or 1, os.getloadavg()[0]
    busy = f", BUSY with other work (load {load:.0f})" if load > cores else ""
    return f"{cores} cores, {model[1] if model else platform.machine()}{busy}"


def versions(*commands: Sequence[str | Path]) -> str:
    """What the tools say of themselves, in one line."""
    return "; ".join(run([*command, "--version"]).strip().splitlines()[0] for command in commands)
