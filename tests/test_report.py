"""What people and programs are shown: snippets, order, JSON, progress."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from aistack.commands.schema import schema_of
from aistack.diagnostics import Diagnostic, Fix, Label, Place, Severity, in_order
from aistack.facts.document import split_lines
from aistack.report import json as report_json
from aistack.report.progress import Progress, duration, size
from aistack.report.terminal import MOST, render, summary
from aistack.report.text import colour_wanted, crop, printable, width

TEXT = "schema: x\nname: foo\ndriver: {version: 570.172.08}\napps:\n  chat: {framework: {vllm: 0.33}}\n"


def at(line: int, column: int, length: int = 1, file: str = "recipe.yaml") -> Place:
    return Place(file=file, line=line, column=column, length=length)


def problem(place: Place | None, **more: Any) -> Diagnostic:
    given_values = {"rule": "NV101", "name": "cuda-driver-minimum", "severity": Severity.ERROR, "message": "driver is too old", **more}
    return Diagnostic(place=place, **given_values)


def drawn(*diagnostics: Diagnostic, text: str | None = TEXT, colour: bool = False) -> str:
    return render(diagnostics, lambda file: text if file == "recipe.yaml" else None, colour=colour)


def test_everything_that_a_diagnostic_can_hold() -> None:
    place = at(3, 19, 10)
    found = problem(
        place,
        labels=(Label(place=place, text="needs 580.65.06 or newer"), Label(place=at(5, 22, 4), text="asked here")),
        why=("app `chat`: needs CUDA 13.0", "two\nlines"),
        rule_place=at(41, 3, 1, "accelerators/nvidia/stack.yaml"),
        checked="2026-08-20",
        source="https://docs.example/cuda",
        fixes=(Fix(text="set `version: 580.82.07`", proved=True), Fix(text="or wait")),
        hints=("look again", "look again"),
    )
    assert drawn(found) == (
        "error[NV101]: driver is too old\n"
        " --> recipe.yaml:3:19\n"
        "  |\n"
        "3 | driver: {version: 570.172.08}\n"
        "  |                   ^^^^^^^^^^ needs 580.65.06 or newer\n"
        "...\n"
        "5 |   chat: {framework: {vllm: 0.33}}\n"
        "  |                      ---- asked here\n"
        "  |\n"
        "  = why: app `chat`: needs CUDA 13.0\n"
        "  = why: two\n"
        "         lines\n"
        "  = rule: accelerators/nvidia/stack.yaml:41 `cuda-driver-minimum`, checked 2026-08-20\n"
        "  = source: <https://docs.example/cuda>\n"
        "  = fix: set `version: 580.82.07` (checked: the recipe then resolves)\n"
        "  = fix: or wait\n"
        "  = hint: look again\n"
        "\n"
    )


def test_without_place_text_or_line_there_is_still_a_message() -> None:
    assert drawn(problem(None)) == "error[NV101]: driver is too old\n\n"
    assert drawn(problem(at(3, 1)), text=None) == "error[NV101]: driver is too old\n --> recipe.yaml:3:1\n\n"
    assert drawn(problem(at(99, 1))) == "error[NV101]: driver is too old\n  --> recipe.yaml:99:1\n\n"


def test_labels_in_another_file_have_their_own_head() -> None:
    found = problem(at(2, 1, 4), labels=(Label(place=at(7, 3, 1, "other.yaml"), text="here"),))
    assert drawn(found) == "error[NV101]: driver is too old\n --> recipe.yaml:2:1\n  |\n2 | name: foo\n  | ^^^^\n ::: other.yaml:7:3\n\n"


@pytest.mark.parametrize(
    ("line", "column", "length", "marks"),
    [
        ("a: 日本語 x", 4, 3, "   ^^^^^^"),
        ("日本語: x", 6, 1, "        ^"),
        ("\ta: b", 5, 1, "       ^"),
        ("a\tb", 2, 1, " ^^^^"),
        ("e\u0301: x", 5, 1, "   ^"),
        ("👩\u200d🚀: x", 6, 1, "      ^"),
        ("a", 2, 1, " ^"),
        ("a\u202eb: x", 6, 1, "     ^"),
    ],
)
def test_marks_stand_below_what_they_mark(line: str, column: int, length: int, marks: str) -> None:
    assert drawn(problem(at(1, column, length)), text=line).splitlines()[4].removeprefix("  | ") == marks


def test_long_lines_are_cut_around_the_finding() -> None:
    line = "x" * 500 + "HERE" + "y" * 500
    shown = drawn(problem(at(1, 501, 4)), text=line).splitlines()
    source, marks = shown[3].removeprefix("1 | "), shown[4].removeprefix("  | ")
    assert width(source) <= 140
    assert source.startswith("…") and source.endswith("…")
    assert source[marks.index("^") : marks.index("^") + 4] == "HERE"


def test_order_is_by_file_then_weight_then_place() -> None:
    one = problem(at(9, 1), severity=Severity.WARNING, rule="B1")
    two = problem(at(9, 1), rule="Z1")
    three = problem(at(2, 5), rule="C1")
    four = problem(None, rule="D1")
    assert in_order([one, two, three, four]) == (four, three, two, one)
    old = problem(at(1, 1), rule="A1", severity=Severity.WARNING)
    note = problem(at(1, 1, file="another.yaml"), severity=Severity.INFO)
    assert in_order([one, old, two, note]) == (note, two, old, one), "an error is read before the warnings of its file"


def test_summary() -> None:
    error, warning, note, unknown = (problem(None, severity=severity) for severity in Severity)
    assert summary([]) == "no problems"
    assert summary([error, error, warning]) == "2 errors, 1 warning"
    assert summary([warning, warning, note, unknown]) == "2 warnings, 1 note, 1 unknown"


@given(st.text(max_size=40), st.integers(1, 60), st.integers(1, 60), st.text(max_size=20), st.booleans())
def test_nothing_in_a_text_steers_the_terminal(line: str, column: int, length: int, message: str, colour: bool) -> None:
    shown = drawn(problem(at(1, column, length), message=message, hints=(message,)), text=line, colour=colour)
    bare = re.sub(r"\x1b\[[0-9;]*m", "", shown) if colour else shown
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", bare)
    assert len(split_lines(shown)) >= 3


@given(st.text())
def test_width_and_crop(text: str) -> None:
    shown = printable(text)
    assert width(crop(shown, 10)) <= 10
    assert crop(shown, 2 * len(shown)) == shown


class Stream(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("terminal", "environment", "expected"),
    [
        (True, {"TERM": "xterm"}, True),
        (False, {}, False),
        (True, {"TERM": "dumb"}, False),
        (True, {"NO_COLOR": "1"}, False),
        (True, {"NO_COLOR": ""}, True),
        (False, {"FORCE_COLOR": "1"}, True),
        (False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_when_colour_is_wanted(terminal: bool, environment: dict[str, str], expected: bool) -> None:
    assert colour_wanted(Stream(terminal), environment) is expected


def test_json_is_complete_and_fits_its_schema() -> None:
    found = [
        problem(at(3, 19, 10), labels=(Label(place=at(1, 1), text="x"),), fixes=(Fix(text="y", proved=True),)),
        problem(None, severity=Severity.UNKNOWN),
    ]
    text = report_json.render(found, ok=False)
    document = json.loads(text)
    assert text == report_json.render(reversed(found), ok=False)
    Draft202012Validator(schema_of("check")).validate(document)
    assert document["schema"] == "aistack/check/v1"
    assert document["ok"] is False
    assert [entry["severity"] for entry in document["diagnostics"]] == ["unknown", "error"]
    assert document["diagnostics"][1]["place"] == {"file": "recipe.yaml", "line": 3, "column": 19, "length": 10}
    del document["diagnostics"][0]["why"]
    assert list(Draft202012Validator(schema_of("check")).iter_errors(document)) != []


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_progress_in_a_log() -> None:
    stream, clock = Stream(False), Clock()
    progress = Progress(stream, total=3, now=clock)
    progress.skip("tools-root")
    progress.begin("base-image debian-13")
    for done in range(0, 101):
        clock.seconds += 0.5
        progress.advance("packages", done * 10**6, 100 * 10**6)
    progress.done("base-image debian-13")
    progress.say("two\nlines\x1b[31m")
    assert stream.getvalue().splitlines() == [
        "[1/3] tools-root: already built",
        "[2/3] base-image debian-13",
        *(f"    packages: {done}.0 MB of 100.0 MB ({done} %)" for done in (20, 40, 60, 80, 100)),
        "[2/3] base-image debian-13: done in 50 s",
        "two",
        "lines\ufffd[31m",
    ]
    assert progress.summary() == "1 step done, 1 skipped, 1 left, in 50 s"


def test_progress_on_a_terminal_redraws_one_line() -> None:
    stream, clock = Stream(True), Clock()
    progress = Progress(stream, terminal=True, columns=30, now=clock)
    for done in range(0, 11):
        clock.seconds += 0.25
        progress.advance("a name that is much too long for it", done, 10)
    progress.say("after")
    shown = stream.getvalue()
    assert shown.count("\n") == 2
    assert all(width(part.rstrip("\n")) <= 30 for part in shown.split("\n")[0].split("\r")[:-1])
    assert shown.endswith("(100 %)\nafter\n")


def test_progress_without_a_total_and_a_second_time() -> None:
    stream, clock = Stream(False), Clock()
    progress = Progress(stream, now=clock)
    progress.advance("index", 5, None)
    clock.seconds += 11
    progress.advance("index", 1500, None)
    progress.advance("small", 3, 3)
    progress.advance("small", 3, 3)
    progress.advance("empty", 0, 0)
    assert stream.getvalue().splitlines() == [
        "    index: 1.5 kB",
        "    small: 3 B of 3 B (100 %)",
        "    small: 3 B of 3 B (100 %)",
        "    empty: 0 B of 0 B (100 %)",
    ]


def test_sizes_and_durations() -> None:
    assert [size(count) for count in (0, 999, 1000, 12_345_678, 5 * 10**12)] == ["0 B", "999 B", "1.0 kB", "12.3 MB", "5.0 TB"]
    assert [duration(seconds) for seconds in (0.44, 9.96, 42, 185, 7800)] == ["0.4 s", "10.0 s", "42 s", "3 min 5 s", "2 h 10 min"]


def test_a_file_that_is_wrong_everywhere_is_told_quickly() -> None:
    places = [Place(file="r.yaml", line=line, column=1) for line in range(1, MOST + 51)]
    found = [Diagnostic(rule="DOC003", name="twice", severity=Severity.ERROR, message="twice", place=place) for place in places]
    text = render(found, lambda file: None)
    assert text.count("error[DOC003]") == MOST
    assert "…and 50 more; `--json` has them all" in text


def test_the_password_in_an_address_is_shown_nowhere() -> None:
    address = "http://bob:hunter2@mirror.example/debian"
    text = f"name: x\nuri: {address}\n"
    found = problem(at(2, 6, len(address)), message=f"not `{address}`", why=(address,), hints=(f"see {address}",))
    shown = render([found], lambda _: text, colour=False)
    assert shown.count("://***********@mirror.example/debian") == 4
    assert "hunter2" not in shown + report_json.render([found], ok=False)
    assert f"     {'^' * len(address)}\n" in shown
