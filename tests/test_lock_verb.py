"""A lock that is damaged, missing, or in a folder that cannot be written: nothing is lost, and it is soon told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aistack.commands import lock as locking
from aistack.diagnostics import DiagnosticError, ExitCode

RECIPES = Path(__file__).parent.parent / "recipes"


def aistack(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "AISTACK_STORE": str(folder / "store")}
    argv = [sys.executable, "-m", "aistack", *arguments]
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return Path(shutil.copy(RECIPES / "web-appliance.yaml", tmp_path / "web.yaml"))


@pytest.mark.parametrize("verb", ["lock", "build", "plan", "up --dry-run", "build --offline", "verify", "boot"])
@pytest.mark.parametrize("content", [b"", b"{", b'{"schema": "aistack/lock/v2"}'])
def test_a_damaged_lock_is_never_replaced_in_silence(recipe: Path, verb: str, content: bytes) -> None:
    lock = locking.lock_path(recipe)
    lock.write_bytes(content)
    verb, *options = verb.split()
    done = aistack(verb, recipe.name, *options, folder=recipe.parent)
    assert done.returncode == ExitCode.NO
    assert done.stderr.startswith("error[LOCK004]: web.lock.json: ") and "--anew" in done.stderr
    assert lock.read_bytes() == content


@pytest.mark.parametrize(("verb", "code"), [("plan", 1), ("verify", 1), ("boot", 1), ("build --dry-run", 0), ("lock --dry-run", 0)])
def test_without_a_lock_nothing_is_locked_by_the_way(recipe: Path, verb: str, code: int) -> None:
    verb, *options = verb.split()
    done = aistack(verb, recipe.name, *options, folder=recipe.parent)
    assert done.returncode == code, done.stderr
    assert sorted(path.name for path in recipe.parent.iterdir()) == ["web.yaml"]


def test_a_folder_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    """A folder that is gone stands for one that cannot be written: root may write everywhere else."""
    with pytest.raises(DiagnosticError) as caught:
        locking.require_room(tmp_path / "gone" / "web.lock.json")
    assert (caught.value.diagnostics[0].rule, caught.value.exit_code) == ("LOCK005", ExitCode.UNABLE)
