"""A lock that is damaged, missing, or in a folder that cannot be written: nothing is lost, and it is soon told."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from node_samples import LOCK

from aistack import cli
from aistack.commands import lock as locking
from aistack.diagnostics import DiagnosticError, ExitCode

Aistack = Callable[..., tuple[object, str]]
RECIPES = Path(__file__).parent.parent / "recipes"


@pytest.fixture
def aistack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Aistack:
    """The program inside this process, in a folder of its own: its exit code and what it said on standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AISTACK_STORE", str(tmp_path / "store"))

    def run(*arguments: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["aistack", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        return stopped.value.code, capsys.readouterr().err

    return run


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return Path(shutil.copy(RECIPES / "web-appliance.yaml", tmp_path / "web.yaml"))


@pytest.mark.parametrize("verb", ["lock", "build", "plan", "up --dry-run", "build --offline", "verify", "boot"])
@pytest.mark.parametrize("content", [b"", b"{", b'{"schema": "aistack/lock/v2"}'])
def test_a_damaged_lock_is_never_replaced_in_silence(recipe: Path, aistack: Aistack, verb: str, content: bytes) -> None:
    lock = locking.lock_path(recipe)
    lock.write_bytes(content)
    verb, *options = verb.split()
    code, said = aistack(verb, recipe.name, *options)
    assert code == ExitCode.NO
    assert said.startswith("error[LOCK004]: web.lock.json: ") and "--anew" in said
    assert lock.read_bytes() == content


def test_a_lock_that_is_a_link_in_a_circle_is_told_before_anything_is_resolved(recipe: Path, aistack: Aistack) -> None:
    lock = locking.lock_path(recipe)
    lock.symlink_to(lock.name)
    code, said = aistack("lock", recipe.name)
    assert code == ExitCode.NO and said.startswith("error[LOCK004]") and "--anew" in said
    code, said = aistack("lock", recipe.name, "--anew")
    assert code == ExitCode.UNABLE
    assert (
        said.startswith("error[LOCK005]: web.lock.json cannot be written: Too many levels of symbolic links") and "rm web.lock.json" in said
    )


@pytest.mark.parametrize("options", [(), ("--dry-run",), ("--without-models",)])
def test_there_is_nothing_to_upgrade_where_there_is_no_lock(recipe: Path, aistack: Aistack, options: tuple[str, ...]) -> None:
    code, said = aistack("lock", recipe.name, "--upgrade", "kernle", *options)
    kind = ".without-models" if "--without-models" in options else ""
    assert code == ExitCode.NO
    assert said.startswith(f"error[LOCK003]: web{kind}.lock.json does not exist, so there is nothing in it to upgrade")
    assert ("aistack lock web.yaml --without-models" in said) is bool(kind)


@pytest.mark.parametrize("options", [("--anew",), ("--upgrade", "kernel")])
def test_pins_that_stay_and_pins_that_move_are_not_asked_for_at_once(recipe: Path, aistack: Aistack, options: tuple[str, ...]) -> None:
    code, said = aistack("lock", recipe.name, "--reseal", *options)
    assert code == ExitCode.USAGE and "--reseal" in said and "dates a lock whose pins stay" in said


@pytest.mark.parametrize(("verb", "code"), [("plan", 1), ("verify", 1), ("boot", 1), ("build --dry-run", 0), ("lock --dry-run", 0)])
def test_without_a_lock_nothing_is_locked_by_the_way(recipe: Path, aistack: Aistack, verb: str, code: int) -> None:
    verb, *options = verb.split()
    ended, said = aistack(verb, recipe.name, *options)
    assert ended == code, said
    assert sorted(path.name for path in recipe.parent.iterdir()) == ["web.yaml"]


def test_a_folder_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    """A folder that is gone stands for one that cannot be written: root may write everywhere else."""
    with pytest.raises(DiagnosticError) as caught:
        locking.require_room(tmp_path / "gone" / "web.lock.json")
    assert (caught.value.diagnostics[0].rule, caught.value.exit_code) == ("LOCK005", ExitCode.UNABLE)


def test_the_time_of_a_lock_moves_only_with_its_pins() -> None:
    first = locking.dated(LOCK, None, {"SOURCE_DATE_EPOCH": "1790000000"})
    assert first.sealed == "2026-09-21T14:13:20Z"
    assert locking.dated(LOCK, first, {"SOURCE_DATE_EPOCH": "1790000001"}) is first
    moved = locking.dated(replace(LOCK, memory_mib=1), first, {"SOURCE_DATE_EPOCH": "1790000001"})
    assert moved.sealed == "2026-09-21T14:13:21Z"
