"""Golden command lines: what a person sees, stdout, stderr and exit code together.

`UPDATE_GOLDEN=1 pytest tests/test_golden.py` writes the files anew; read the difference before you commit it.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

from aistack import cli

GOLDEN = Path(__file__).resolve().parent / "golden"
DAY = "1795305600"
"""2026-11-22, in seconds since 1970."""

CASES = {
    "version": ["--version"],
    "check-many-problems": ["check", "many-problems.yaml"],
    "check-contradictions": ["check", "contradictions.yaml"],
    "check-tab": ["check", "tab.yaml"],
    "check-unclosed": ["check", "unclosed.yaml"],
    "check-latin1": ["check", "latin1.yaml"],
    "check-wide": ["check", "wide.yaml"],
    "check-long-line": ["check", "long-line.yaml"],
    "check-missing": ["check", "tabs.yaml", "."],
    "check-snapshot": ["check", "snapshot.yaml"],
    "check-later": ["check", "later.yaml"],
    "check-json": ["check", "--json", "contradictions.yaml"],
    "check-cuda-too-new": ["check", "cuda-too-new.yaml"],
    "check-two-conflicts": ["check", "two-conflicts.yaml"],
    "check-limited": ["check", "limited.yaml"],
    "check-licences-wrong": ["check", "limited.yaml", "--licences", "licences.yaml"],
    "check-licences-unlocked": ["check", "limited.yaml", "--licences", "site.yaml"],
    "check-good": ["check", "../../../recipes/cpu-embeddings.yaml", "../../../recipes/web-appliance.yaml"],
    "explain-unknown-key": ["explain", "unknown-key"],
    "explain-NV101": ["explain", "NV101"],
    "explain-LC102": ["explain", "LC102"],
    "explain-nothing-like-it": ["explain", "NV1O1"],
    "schema-wrong-kind": ["schema", "recipes"],
}


def run(
    arguments: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, **environment: str
) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of the program in this process, as if started from the folder of inputs."""
    monkeypatch.chdir(GOLDEN / "inputs")
    monkeypatch.setattr(sys, "argv", ["aistack", *arguments])
    for name in ("NO_COLOR", "FORCE_COLOR", "_AISTACK_COMPLETE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"SOURCE_DATE_EPOCH": DAY, **environment}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    seen = capfd.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, seen.out, seen.err


def as_text(arguments: list[str], exit_code: int, out: str, err: str) -> str:
    shown = [f"$ aistack {' '.join(arguments)}".rstrip(), f"exit code: {exit_code}"]
    return "\n".join([*shown, "--- stdout ---", out + "--- stderr ---", err])


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = as_text(CASES[name], *run(CASES[name], capfd, monkeypatch))
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(seen, encoding="utf-8")
    assert seen == file.read_text(encoding="utf-8")


def test_every_golden_file_has_its_case() -> None:
    assert {file.stem for file in GOLDEN.glob("*.txt")} == set(CASES)


def test_colour_is_an_addition_only(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["check", "many-problems.yaml"]
    _, plain, _ = run(arguments, capfd, monkeypatch)
    _, coloured, _ = run(arguments, capfd, monkeypatch, FORCE_COLOR="1")
    _, both, _ = run(arguments, capfd, monkeypatch, FORCE_COLOR="1", NO_COLOR="1")
    assert "\x1b[" not in plain
    assert both == plain
    assert "\x1b[31;1merror[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain
