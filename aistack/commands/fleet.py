"""`aistack report fleet`: one page of what many nodes said of themselves."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Sequence
from pathlib import Path

from aistack.commands import writing
from aistack.commands.reading import read_text
from aistack.diagnostics import Diagnostic, DiagnosticError, ExitCode, Severity, refuse
from aistack.facts.catalog import Catalog
from aistack.node import fleet
from aistack.node.fleet_reading import NodeReport, ReportError, decode
from aistack.report import fleet as shown
from aistack.report import terminal


def report(files: Sequence[Path], output: Path, *, catalog: Catalog, now: datetime.datetime) -> ExitCode:
    """Writes the page; files that are no reports are told on it and on stderr, and make the exit code 1, or 3 where one may not be read.

    Where no file is a report there is no page. What the nodes' health is does not count: to tell of a sick node is no failure.
    """
    writing.require_other(output, files)
    reports, problems, exit_code = _read(files)
    if not reports:
        raise DiagnosticError(problems, exit_code)
    found = fleet.survey(reports, catalog, now)
    page = shown.page(found, [_told(problem) for problem in problems])
    writing.write(output, page.encode("utf-8", errors="xmlcharrefreplace"))  # half a pair of UTF-16 is a letter to JSON
    if problems:
        sys.stderr.write(terminal.render(problems, lambda file: None, colour=False))
    older = f"; older reports of the same hosts, not counted: {len(found.older)}" if found.older else ""
    ahead = f"; dated more than a day ahead, by clocks that are wrong: {len(found.ahead)}" if found.ahead else ""
    print(f"{shown.headline(found)}, written to {output}{older}{ahead}", file=sys.stderr)
    return exit_code


def _read(files: Sequence[Path]) -> tuple[list[NodeReport], tuple[Diagnostic, ...], ExitCode]:
    """The reports, what is wrong with the other files, and the exit code that this makes."""
    reports: list[NodeReport] = []
    problems: list[Diagnostic] = []
    exit_code = ExitCode.OK
    for path in dict.fromkeys(files):
        try:
            reports.append(_one(path))
        except DiagnosticError as error:
            problems += error.diagnostics
            exit_code = max(exit_code, error.exit_code)
    return reports, tuple(problems), exit_code


def _one(path: Path) -> NodeReport:
    try:
        return decode(read_text(path), str(path))
    except ReportError as error:
        message, hint = f"`{path}` is no report of a node: {error}", "`aistack node check --json` prints one"
        raise refuse(Diagnostic(rule="NODE011", name="not-a-report", severity=Severity.ERROR, message=message, hints=(hint,))) from error


def _told(problem: Diagnostic) -> str:
    """A problem with the file that it is in."""
    return f"`{problem.place.file}`: {problem.message}" if problem.place else problem.message
