"""The wheel is enough: installed into a fresh environment, far from the source tree, it judges and explains."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.system


def run(argv: Sequence[str | Path], folder: Path, wanted: int = 0, home: Path | None = None) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        argv, cwd=folder, env=environment | {"HOME": str(home or folder)}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == wanted, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder with an environment in it that has the wheel and nothing of the source tree."""
    folder = tmp_path_factory.mktemp("installed")
    uv = shutil.which("uv") or str(ROOT / ".venv/bin/uv")
    subprocess.run([uv, "build", "--quiet", "--wheel", "--out-dir", folder / "dist", ROOT], check=True, timeout=300)
    (wheel,) = (folder / "dist").glob("*.whl")
    subprocess.run([uv, "venv", "--quiet", folder / "env"], check=True, timeout=300)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", folder / "env/bin/python", wheel], check=True, timeout=300)
    return folder


def test_it_judges_and_explains(installed: Path) -> None:
    aistack = installed / "env/bin/aistack"
    recipes = [item["file"] for item in json.loads(run([aistack, "list", "recipes", "--json"], installed))["items"]]
    assert len(recipes) == len(list((ROOT / "recipes").glob("*.yaml")))
    assert all(str(ROOT) not in file for file in recipes)
    document = json.loads(run([aistack, "check", "--json", *recipes], installed))
    assert document["ok"] is True
    assert "cuda-driver-minimum" in run([aistack, "explain", "NV101"], installed)
    assert "0.19.1" in run([aistack, "why", next(file for file in recipes if "l4" in file), "vllm"], installed)
    bad = installed / "bad.yaml"
    bad.write_text(Path(recipes[0]).read_text().replace("debian-13", "debian-31"))
    assert "OS101" in run([aistack, "check", bad], installed, wanted=1)


def test_its_catalog_is_the_trees(installed: Path) -> None:
    program = "from aistack.host.catalog_files import load_catalog; print(load_catalog().identity)"
    there = run([installed / "env/bin/python", "-c", program], installed)
    here = run([sys.executable, "-c", program], ROOT, home=installed)
    assert there == here


def test_node_check_answers(installed: Path) -> None:
    """A machine that no aistack image runs on is judged by its accelerators, and told that nothing was promised there."""
    done = subprocess.run(
        [installed / "env/bin/aistack", "node", "check", "--json"], cwd=installed, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode in (0, 1, 3), done.stdout + done.stderr
    assert "no lock, so nothing was promised here" in done.stdout
    assert "Traceback" not in done.stderr
