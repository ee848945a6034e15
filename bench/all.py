"""Every benchmark, one after the other, in one table: python bench/all.py [--mkosi COMMAND]."""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import base_build
import cold_start
import growth
import packing
import rebuild
import updates
from sides import Row, machine, table, versions

RECIPE = Path("recipes/web-appliance.yaml")


def main() -> None:
    """Print the table, the tools' versions and what machine it was."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mkosi", type=shlex.split, default=["mkosi"])
    mkosi = parser.parse_args().mkosi
    parts: dict[str, Callable[[], Iterable[Row]]] = {
        "cold start": lambda: cold_start.rows(str(RECIPE)),
        "growth": lambda: growth.rows(RECIPE),
        "packing": lambda: packing.rows(4, 512, 3),
        "rebuild": lambda: rebuild.rows(RECIPE, 5),
        "base build": lambda: base_build.rows(RECIPE, 3, mkosi),
        "updates": lambda: updates.rows(RECIPE),
    }
    if shutil.which(mkosi[0]) is None:
        print("mkosi is not installed (--mkosi COMMAND): no base build", file=sys.stderr)
        del parts["base build"]
    tools = [["podman"], ["mmdebstrap"], ["zstd"], ["sha256sum"], *([mkosi] if "base build" in parts else [])]
    rows: list[Row] = []
    for name, part in parts.items():
        print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr, flush=True)
        rows += part()
    print(f"{table(rows)}\n\n{machine()}\n\naistack, {versions(*tools)}")


if __name__ == "__main__":
    main()
