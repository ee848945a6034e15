"""The matrix as lines for a terminal, as a JSON document, and as one HTML page that needs nothing beside itself."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from html import escape
from itertools import groupby

from aistack.compose.grid import Grid, Question, Reason, Row, runs
from aistack.report.text import printable

SCHEMA = "aistack/matrix/v1"
SIGNS: Mapping[str, str] = {"ok": "✓", "warning": "!", "error": "✗", "unknown": "?"}
"""By verdict: what stands in a cell, so that nobody needs to see its colour."""


REASON = tuple(field.name for field in fields(Reason))
"""The keys of a reason."""

NOT_DELIVERED = "known, not delivered"
"""Said of what no recipe can ask for: aistack does not install the framework, or not in a build for that accelerator."""


def verdict(reason: Reason | None) -> str:
    """`ok`, `warning`, `error` or `unknown`."""
    return reason.severity.value if reason else "ok"


def as_json(grids: Sequence[Grid], question: Question, today: str) -> str:
    """The document of `--json`: each cell is the index of what decides it in `reasons`, or null where nothing is against it.

    There are many cells: it has no white space, and they are joined as text.
    """
    reasons = grids[0].rows[0].reasons[:-1]
    numbers = [*map(str, range(len(reasons))), "null"]
    head = {
        "schema": SCHEMA,
        "today": today,
        "count": question.count,
        "context": question.context,
        "cells": sum(grid.size for grid in grids),
    }
    told = _json({**head, "reasons": [{name: getattr(reason, name) for name in REASON} for reason in reasons], "grids": []})
    return f"{told[:-2]}{','.join(_grid_as_json(grid, numbers) for grid in grids)}]}}\n"


def _grid_as_json(grid: Grid, numbers: Sequence[str]) -> str:
    rows = (
        _json({"accelerator": row.accelerator, "model": row.model, "delivered": row.delivered})[:-1]
        + f',"cells":[{",".join([numbers[number] for number in row.numbers])}]}}'
        for row in grid.rows
    )
    return f'{_json({"framework": grid.framework, "releases": grid.releases})[:-1]},"rows":[{",".join(rows)}]}}'


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def lines(grids: Sequence[Grid]) -> Iterator[str]:
    """For each accelerator and framework the models, each with its runs of releases with one verdict and the reason of the newest."""
    for grid in grids:
        for accelerator, rows in groupby(grid.rows, key=lambda row: row.accelerator):
            mine = list(rows)
            yield f"{grid.name} on {accelerator}, {len(grid.releases)} releases{_unless_delivered(mine)}"
            wide = max(len(row.model) for row in mine)
            for row in mine:
                for index, run in enumerate(runs(row.cells)):
                    yield f"  {'' if index else row.model:<{wide}}  {_told(grid, *run)}"
            yield ""


def summary(grids: Sequence[Grid]) -> Iterator[str]:
    """One line for each accelerator and framework: how many cells have which verdict, and how many models run with any release."""
    for grid in grids:
        wide = max(len(row.accelerator) for row in grid.rows)
        for accelerator, rows in groupby(grid.rows, key=lambda row: row.accelerator):
            mine = list(rows)
            counts: Counter[str] = Counter()
            for row in mine:
                for number, count in Counter(row.numbers).items():
                    counts[verdict(row.reasons[number])] += count
            told = ", ".join(f"{counts[word]} {word}" for word in SIGNS if counts[word])
            yield f"{accelerator:<{wide}}  {grid.name}: {_running(mine)} of {len(mine)} models run; {told}{_unless_delivered(mine)}"


def _running(rows: Sequence[Row]) -> int:
    """How many models run with any release."""
    return sum(any(verdict(row.reasons[number]) in ("ok", "warning") for number in set(row.numbers)) for row in rows)


def _unless_delivered(rows: Sequence[Row]) -> str:
    return "" if all(row.delivered for row in rows) else f" ({NOT_DELIVERED})"


def sentence(reason: Reason) -> str:
    """What decides, with what it needs."""
    return reason.message + (f" ({reason.label})" if reason.label else "")


def _told(grid: Grid, first: int, last: int, reason: Reason | None) -> str:
    span = grid.releases[first] if first == last else f"{grid.releases[first]} to {grid.releases[last]}"
    return f"{verdict(reason)} {span}" + (f": {reason.rule} {printable(sentence(reason))}" if reason else "")


# The page.

STYLE = """
:root{color-scheme:light dark;--line:#8886}
body{font:16px/1.4 system-ui,sans-serif;margin:1.5rem}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin:0}
details{margin:.8rem 0}summary{cursor:pointer}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.95rem}
th,td{border:1px solid var(--line);padding:.25rem .4rem;text-align:center;white-space:nowrap}
tbody th{text-align:left;font-weight:600;position:sticky;left:0;background:Canvas}
thead th{vertical-align:bottom}thead span{writing-mode:vertical-rl;transform:rotate(180deg)}
td a{color:inherit;text-decoration:none;display:block}td a:focus,td a:hover{text-decoration:underline}
.ok{background:#1a7f3733}.warning{background:#bf870055}.error{background:#cf222e44}.unknown{background:#8250df33}
li:target{outline:3px solid}
.key span{padding:.1rem .5rem;margin-right:.8rem;border:1px solid var(--line)}
"""


def page(grids: Sequence[Grid], question: Question, today: str) -> str:
    """The whole page: for each accelerator and framework a table of models and releases, and below all of them the reasons."""
    reasons: dict[Reason, int] = {}
    tables = [
        _table(grid, accelerator, list(rows), reasons, opened=_is_short(grids))
        for grid in grids
        for accelerator, rows in groupby(grid.rows, key=lambda row: row.accelerator)
    ]
    cells = sum(grid.size for grid in grids)
    asked = f"{question.count} accelerator{'s' * (question.count != 1)} for each model, requests of "
    asked += f"{question.context} tokens" if question.context else "the longest that each model was made for"
    key = "".join(f'<span class="{word}">{sign} {word}</span>' for word, sign in SIGNS.items())
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>aistack matrix, {escape(today)}</title><style>{STYLE}</style></head><body>",
            f"<h1>What runs where, {escape(today)}</h1>",
            f"<p>{cells} combinations of accelerator, model and release: {escape(asked)}. ",
            "Judged by the rules of <code>aistack check</code>; neighbours with one verdict by one rule share a cell, which gives the ",
            f"reason of the newest of them. What is <i>{NOT_DELIVERED}</i> no recipe can ask for: aistack does not install it.</p>",
            f'<p class="key">{key}</p>',
            *tables,
            "<h2>Reasons</h2><ol>",
            *(_reason(reason, number) for reason, number in reasons.items()),
            "</ol></body></html>\n",
        ]
    )


def _is_short(grids: Sequence[Grid]) -> bool:
    return len({row.accelerator for grid in grids for row in grid.rows}) == 1


def _table(grid: Grid, accelerator: str, rows: Sequence[Row], reasons: dict[Reason, int], *, opened: bool) -> str:
    head = "".join(f"<th><span>{escape(release)}</span></th>" for release in grid.releases)
    body = "\n".join(
        f"<tr><th>{escape(row.model)}</th>{''.join(_cell(grid, *run, reasons) for run in runs(row.cells))}</tr>" for row in rows
    )
    return (
        f"<details{' open' * opened}><summary><h2 style='display:inline'>{escape(grid.name)} on {escape(accelerator)}</h2> "
        f"{_running(rows)} of {len(rows)} models run{_unless_delivered(rows)}</summary>\n"
        f"<div class=wide><table><thead><tr><th>model</th>{head}</tr></thead>\n"
        f"<tbody>{body}</tbody></table></div></details>"
    )


def _cell(grid: Grid, first: int, last: int, reason: Reason | None, reasons: dict[Reason, int]) -> str:
    wide = f" colspan={last - first + 1}" if last > first else ""
    word = verdict(reason)
    if reason is None:
        return f"<td class={word}{wide}>{SIGNS[word]}</td>"
    number = reasons.setdefault(reason, len(reasons) + 1)
    return f'<td class={word}{wide}><a href="#r{number}" title="{escape(sentence(reason))}">{SIGNS[word]} {reason.rule}</a></td>'


def _reason(reason: Reason, number: int) -> str:
    why = "".join(f" {escape(text)}." for text in reason.why)
    return (
        f'<li id="r{number}"><b>{SIGNS[verdict(reason)]} {reason.rule} {escape(reason.name)}</b>: {escape(sentence(reason))}.{why}'
        f"{_source(reason)}</li>"
    )


def _source(reason: Reason) -> str:
    if reason.source is None:
        return ""
    text = escape(reason.source)
    link = f'<a href="{text}">{text}</a>' if reason.source.startswith("https://") else text
    return f" Source: {link}" + (f", checked {escape(reason.checked)}" if reason.checked else "")
