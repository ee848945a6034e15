"""How long a cold `aistack check` takes, against `python -c pass`, and which part is typer's (processor time, best of many).

python bench/cold_start.py [RECIPE]
"""

from __future__ import annotations

import resource
import subprocess
import sys

RUNS = 15


def cost(*arguments: str) -> float:
    """Milliseconds of processor time that one Python process with these arguments takes, at best."""
    best = float("inf")
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
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


def main() -> None:
    """Print the figures as a table."""
    recipe = sys.argv[1] if len(sys.argv) > 1 else "recipes/cpu-embeddings.yaml"
    nothing = cost("-c", "pass")
    typer = cost("-c", TYPER)
    check = cost("-m", "aistack", "check", recipe)
    ours = check - (typer - nothing)
    for what, milliseconds in (
        ("python -c pass", nothing),
        ("typer, empty program", typer),
        (f"check {recipe}", check),
        ("check less typer", ours),
    ):
        print(f"{what:<40} {milliseconds:6.0f} ms {milliseconds / nothing:6.1f} x")


if __name__ == "__main__":
    main()
