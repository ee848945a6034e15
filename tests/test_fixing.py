"""`check --fix` and `check --sarif`: changes in the user's own text, and the log that code hosts read."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aistack import cli
from aistack.commands import fixing
from aistack.diagnostics import Change, Diagnostic, DiagnosticError, Fix, Place, Severity

pytestmark = pytest.mark.slow

INPUTS = Path(__file__).parent / "golden" / "inputs"
Check = Callable[..., tuple[object, str, str]]


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """`aistack check` in a folder that holds `recipe.yaml`: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795651200")  # 2026-11-26
    shutil.copy(INPUTS / "cuda-too-new.yaml", "recipe.yaml")

    def run(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["aistack", "check", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        said = capsys.readouterr()
        return stopped.value.code, said.out, said.err

    return run


@pytest.mark.parametrize(("start", "line_end"), [("", "\n"), ("\ufeff", "\r\n")])
def test_one_value_changes_and_nothing_else(check: Check, line_end: str, start: str) -> None:
    file = Path("recipe.yaml")
    text = start + file.read_text().replace("\n", line_end)
    file.write_bytes(text.encode())
    file.chmod(0o640)
    code, _, talk = check("recipe.yaml", "--fix")
    assert code == 0 and "recipe.yaml:10: set `vllm: 0.19.1`" in talk
    assert file.read_bytes().decode() == text.replace('vllm: "0.33.*"', "vllm: 0.19.1")
    assert file.stat().st_mode & 0o777 == 0o640
    code, _, talk = check("recipe.yaml", "--fix")
    assert code == 0 and "set" not in talk


def test_what_cannot_be_mended_stays_as_it_is(check: Check) -> None:
    file = Path("recipe.yaml")
    file.write_text(file.read_text().replace("nvidia/l4", "nvidia/b200").replace("550.*", "550.163.01"))
    before = file.read_bytes()
    code, _, _ = check("recipe.yaml", "--fix")
    assert code == 1 and file.read_bytes() == before


def test_a_link_stays_a_link(check: Check) -> None:
    Path("recipe.yaml").rename("real.yaml")
    Path("recipe.yaml").symlink_to("real.yaml")
    assert check("recipe.yaml", "--fix")[0] == 0
    assert Path("recipe.yaml").is_symlink() and "0.19.1" in Path("real.yaml").read_text()


def test_a_file_that_somebody_else_wrote_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text("theirs")
    with pytest.raises(DiagnosticError) as caught:
        fixing.write(file, "ours", "mended")
    assert caught.value.diagnostics[0].rule == "FIX001" and file.read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]


def test_an_error_goes_before_a_warning_and_only_proved_changes_are_made() -> None:
    def found(severity: Severity, text: str, proved: bool) -> Diagnostic:
        made = Change(path=("name",), replacement=text, place=Place(file="r", line=1, column=1))
        fix = Fix(text=text, changes=(made,), proved=proved)
        return Diagnostic(rule="XX001", name="x", severity=severity, message=text, fixes=(fix,))

    warning, error = found(Severity.WARNING, "w", True), found(Severity.ERROR, "e", True)
    assert fixing.best("r", [warning, error]) == (error.fixes[0], "e")
    assert fixing.best("r", [warning]) == (warning.fixes[0], "w")
    assert fixing.best("r", [found(Severity.ERROR, "e", False), warning]) is None
    half = replace(error, fixes=(replace(error.fixes[0], leaves=("XX002",)),))
    assert fixing.best("r", [half]) is None


def test_changes_that_mend_only_together_are_made_together(check: Check) -> None:
    file = Path("recipe.yaml")
    shutil.copy(INPUTS / "two-conflicts.yaml", file)
    before = file.read_text()
    code, _, talk = check("recipe.yaml", "--fix")
    assert code == 0 and "add `max-model-len: 21504` to `apps.chat.args` and set `vllm: 0.19.1`" in talk
    after = before.replace('vllm: "0.33.0"', "vllm: 0.19.1").replace("    port:", "    args: {max-model-len: 21504}\n    port:")
    assert file.read_text() == after != before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a: {b: 1}  # one\n", "a: {c: {d: 2}, b: 1}  # one\n"),
        ("a:\r\n  x: 1\r\n  b: 2  # two\r\n", "a:\r\n  x: 1\r\n  c: {d: 2}\r\n  b: 2  # two\r\n"),
        ("a:\n  c:\n    e: 1\n", "a:\n  c:\n    d: 2\n    e: 1\n"),
        ("a:\n  ? b\n  : 2\n", None),
        ("a: {}\n", None),
        ("a: text\n", None),
    ],
)
def test_a_value_is_added_where_there_is_room_for_it(before: str, after: str | None) -> None:
    fix = Fix(text="add", changes=(Change(path=("a", "c", "d"), replacement="2"),), proved=True)
    assert fixing.applied(before, fix) == after


def log(text: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    document = json.loads(text)
    assert document["version"] == "2.1.0" and len(document["runs"]) == 1
    return document["runs"][0], document["runs"][0]["results"]


def test_the_log_points_at_the_value_and_carries_the_change(check: Check) -> None:
    code, out, _ = check("recipe.yaml", "--sarif")
    assert code == 1
    run, results = log(out)
    (found,) = (result for result in results if result["ruleId"] == "NV101")
    assert found["level"] == "error" and found["message"]["text"].startswith("driver 550.163.01 is too old for CUDA 13.0\nwhy: ")
    location = found["locations"][0]["physicalLocation"]
    assert location["artifactLocation"]["uri"] == "recipe.yaml"
    region = location["region"]
    line = Path("recipe.yaml").read_text().splitlines()[region["startLine"] - 1]
    assert line[region["startColumn"] - 1 : region["endColumn"] - 1] == '"550.*"'
    change = found["fixes"][0]["artifactChanges"][0]["replacements"][0]
    assert change["insertedContent"] == {"text": "0.19.1"}
    rule = run["tool"]["driver"]["rules"][found["ruleIndex"]]
    assert rule["id"] == "NV101" and rule["helpUri"].startswith("https://") and "580.65.06" in rule["fullDescription"]["text"]


def test_the_log_knows_a_finding_again_and_is_there_for_files_that_cannot_be_read(check: Check) -> None:
    _, first = log(check("recipe.yaml", "--sarif")[1])
    file = Path("recipe.yaml")
    file.write_text("# one line more\n" + file.read_text())
    _, second = log(check("recipe.yaml", "--sarif")[1])
    assert [one["partialFingerprints"] for one in first] == [one["partialFingerprints"] for one in second]
    assert first[0]["locations"] != second[0]["locations"]
    file.write_text("a: [")
    code, out, _ = check("recipe.yaml", "no such file.yaml", "--sarif")
    _, broken = log(out)
    assert code == 1 and {one["ruleId"] for one in broken} >= {"DOC011"} and len(broken) == 2


def test_two_formats_at_once_are_refused(check: Check) -> None:
    assert check("recipe.yaml", "--sarif", "--json")[0] == 2
