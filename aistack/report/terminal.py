"""Diagnostics for people: the place with the line itself, what is wrong, why, whose rule it is, and what would mend it.

error[NV101]: driver 570.172.08 is too old for CUDA 13.0
 --> recipes/h100-vllm.yaml:8:21
  |
8 | driver: {version: 570.172.08}
  |                   ^^^^^^^^^^ needs 580.65.06 or newer
  |
  = why: app `chat`: vllm 0.33.0 needs torch 2.14.0, whose wheel carries CUDA 13.0
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby

from aistack.diagnostics import Diagnostic, Label, Place, Severity, in_order, masked
from aistack.facts.document import split_lines
from aistack.report.text import Paint, crop, printable, width

COLOURS = {Severity.ERROR: 31, Severity.WARNING: 33, Severity.INFO: 36, Severity.UNKNOWN: 35}
WIDEST = 140
"""Columns of a source line that are shown; of a longer line the part around the finding."""

ReadText = Callable[[str], str | None]
"""The text of a file that a place names, or None where it cannot be read (then no snippet is drawn)."""


MOST = 200
"""Findings drawn with their lines; nobody reads more, and a file that is wrong everywhere would draw each of its lines."""


def render(diagnostics: Iterable[Diagnostic], read_text: ReadText, *, colour: bool = False) -> str:
    """The diagnostics in order, an empty line after each; empty text where there are none, and the first MOST where there are too many."""
    paint = Paint(colour)
    ordered = in_order(diagnostics)
    shown = "".join("\n".join(_lines(diagnostic, read_text, paint)) + "\n\n" for diagnostic in ordered[:MOST])
    return shown + (f"…and {len(ordered) - MOST} more; `--json` has them all\n\n" if len(ordered) > MOST else "")


def summary(diagnostics: Sequence[Diagnostic]) -> str:
    """`2 errors, 1 warning`; `no problems` where there are none."""
    counts = [(severity, sum(1 for found in diagnostics if found.severity is severity)) for severity in Severity]
    return ", ".join(_counted(severity, count) for severity, count in counts if count) or "no problems"


def _counted(severity: Severity, count: int) -> str:
    if severity is Severity.INFO:
        return f"{count} note" + "s" * (count > 1)
    return f"{count} unknown" if severity is Severity.UNKNOWN else f"{count} {severity}" + "s" * (count > 1)


def _lines(diagnostic: Diagnostic, read_text: ReadText, paint: Paint) -> Iterator[str]:
    code = COLOURS[diagnostic.severity]
    yield paint(f"{diagnostic.severity}[{diagnostic.rule}]", code, 1) + paint(f": {printable(diagnostic.message)}", 1)
    labels = list(diagnostic.labels)
    if diagnostic.place is not None and not any(label.place == diagnostic.place for label in labels):
        labels.insert(0, Label(place=diagnostic.place, text=""))
    places = [label.place for label in labels]
    margin = len(str(max((place.line for place in places), default=0))) if places else 1
    first = diagnostic.place.file if diagnostic.place else None
    by_file = groupby(sorted(labels, key=lambda label: (label.place.file != first, label.place)), key=lambda label: label.place.file)
    for file, inside in by_file:
        marks = list(inside)
        shown = diagnostic.place if file == first and diagnostic.place else marks[0].place
        arrow = "-->" if file == first else ":::"
        yield " " * margin + f"{paint(arrow, 34, 1)} {printable(file)}:{shown.line}:{shown.column}"
        yield from _snippet(marks, diagnostic, read_text(file), margin, paint)
    notes = list(_notes(diagnostic, margin, paint))
    if notes and labels:
        yield f"{' ' * margin} {paint('|', 34, 1)}"
    yield from notes


def _snippet(marks: list[Label], diagnostic: Diagnostic, text: str | None, margin: int, paint: Paint) -> Iterator[str]:
    """The lines that are marked, each with its marks below it; lines in between are left out."""
    lines = split_lines(masked(text)) if text is not None else []
    marks = [mark for mark in marks if mark.place.line <= len(lines)]
    if not marks:
        return
    bar = paint("|", 34, 1)
    yield f"{' ' * margin} {bar}"
    before = None
    for number, group in groupby(marks, key=lambda mark: mark.place.line):
        if before is not None and number > before + 1:
            yield paint("." * 3, 34, 1)
        before = number
        on_line = list(group)
        start, shown = _window(lines[number - 1], on_line[0].place)
        yield f"{paint(str(number).rjust(margin), 34, 1)} {bar} {shown}".rstrip()
        for mark in on_line:
            main = mark.place == diagnostic.place
            yield f"{' ' * margin} {bar} {_mark(lines[number - 1], start, mark, main, diagnostic.severity, paint)}".rstrip()


def _window(line: str, place: Place) -> tuple[int, str]:
    """(index of the first character shown, what is shown) of a line that may be too wide."""
    if width(printable(line)) <= WIDEST:
        return 0, printable(line)
    start = max(0, place.column - 1 - WIDEST // 3)
    shown = crop(printable(line[start : start + WIDEST]), WIDEST - 2)
    tail = "…" if len(line) > start + WIDEST or len(shown) < len(printable(line[start:])) else ""
    return start, ("…" if start else "") + shown + tail


def _mark(line: str, start: int, mark: Label, main: bool, severity: Severity, paint: Paint) -> str:
    column = mark.place.column - 1
    indent = width(printable(line[start:column])) + (1 if start else 0)
    long = max(1, width(printable(line[column : column + mark.place.length])))
    indent, long = min(indent, WIDEST), min(long, max(1, WIDEST - indent))
    drawn = ("^" if main else "-") * long + (f" {printable(mark.text)}" if mark.text else "")
    return " " * indent + paint(drawn, COLOURS[severity] if main else 34, 1)


def _notes(diagnostic: Diagnostic, margin: int, paint: Paint) -> Iterator[str]:
    notes = [("why", reason) for reason in diagnostic.why]
    place = diagnostic.rule_place
    if place is not None or diagnostic.checked:
        written = f"{place.file}:{place.line} " if place is not None else ""
        checked = f", checked {diagnostic.checked}" if diagnostic.checked else ""
        notes.append(("rule", f"{written}`{diagnostic.name}`{checked}"))
    if diagnostic.source:
        notes.append(("source", f"<{diagnostic.source}>" if re.match("https?://", diagnostic.source) else diagnostic.source))
    notes += [("fix", str(fix)) for fix in diagnostic.fixes]
    notes += [("hint", hint) for hint in dict.fromkeys(diagnostic.hints)]
    for word, text in notes:
        first, *rest = text.splitlines() or [""]
        lead = f"{' ' * margin} {paint('=', 34, 1)} "
        yield lead + paint(f"{word}:", 1) + f" {printable(first)}"
        for line in rest:
            yield f"{' ' * (margin + 3 + len(word) + 2)}{printable(line)}".rstrip()
