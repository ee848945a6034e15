"""Many nodes on one HTML page that needs nothing beside itself, or one node on a page of its own.

It can be read without its script, which only filters nodes by their text and opens the one that a link leads to. States are told by signs
and words too, never by colour alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import groupby

from aistack.facts.device_readings import Device
from aistack.node.fleet import COPIES, Cell, Fleet, Node, Older
from aistack.node.fleet_reading import NodeReport
from aistack.node.results import Outcome, Result
from aistack.report.fleet_plot import plots
from aistack.report.fleet_style import SCRIPT, STYLE
from aistack.report.text import printable

SIGNS: Mapping[str, str] = {"unhealthy": "✗", "unknown": "?", "degraded": "!", "slow": "↓", "healthy": "✓"}
"""By state, the worst first: what stands beside its colour. `slow` is no state of a node: a healthy device lags behind its equals."""


FIND = '<h2>Nodes</h2><p id="find" hidden><label>Show nodes with <input type="search"></label> <output></output></p>'
"""What the script makes a filter of."""


def page(fleet: Fleet, problems: Sequence[str]) -> str:
    """The whole page; `problems` are the files that could not be read, each with its reason."""
    numbered = list(enumerate(fleet.nodes, start=1))
    copies = tuple(plots(fleet.spreads, {node.report.file: _link(node, number) for number, node in numbered}))
    if len(numbered) == 1:
        title, body = _titled(fleet.nodes[0]), (_node(fleet.nodes[0], 1, alone=True), *copies)
    else:
        sick = [pair for pair in numbered if _state(pair[1]) != "healthy"]
        grids = (*_grid(sick), *copies, *_grid(numbered[len(sick) :]))
        title, body = headline(fleet), (_tiles(fleet), _tables(fleet), *grids, FIND, *(_node(node, number) for number, node in numbered))
    return "\n".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>{title}</title><style>{STYLE}</style></head><body>",
            f"<h1>{title}</h1>",
            _unread(problems),
            _older(fleet.older),
            _ahead(fleet.ahead),
            *body,
            f"<script>{SCRIPT}</script></body></html>\n",
        ]
    )


def headline(fleet: Fleet) -> str:
    """How many nodes there are, in which state, and how many devices: `1000 nodes (3 unhealthy, 997 healthy), 8000 accelerators`."""
    counts = Counter(_state(node) for node in fleet.nodes)
    states = ", ".join(f"{counts[state]} {state}" for state in SIGNS if counts[state])
    return f"{_many(len(fleet.nodes), 'node')} ({states}), {_many(sum(len(node.cells) for node in fleet.nodes), 'accelerator')}"


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def _text(text: object) -> str:
    """Anything that a file said, harmless in HTML."""
    return escape(printable(str(text)))


def _state(node: Node) -> str:
    return "slow" if node.is_slow else node.report.outcome.value


def _cell_state(cell: Cell) -> str:
    return "slow" if cell.slow and cell.outcome is Outcome.HEALTHY else cell.outcome.value


def _titled(node: Node) -> str:
    cause = f", cause {node.report.cause.value}" if node.report.cause else ""
    return f"{_text(node.report.name)}: {_state(node)}{cause}"


def _badge(state: str) -> str:
    return f'<b class="badge {state}">{SIGNS[state]} {state}</b>'


def _unread(problems: Sequence[str]) -> str:
    if not problems:
        return ""
    rows = "".join(f"<li>{_text(problem)}</li>" for problem in problems)
    return f'<section class="unread"><h2>Not counted: {_many(len(problems), "file")}</h2><ul>{rows}</ul></section>'


def _older(older: Sequence[Older]) -> str:
    if not older:
        return ""
    rows = "".join(f"<li>{_written(pair.report)}; counted is {_written(pair.newer)}</li>" for pair in older)
    said = f"Not counted: {_many(len(older), 'older report')}. Of each host the newest counts, of equally old ones the worst"
    return f"<details><summary>{said}</summary><ul>{rows}</ul></details>"


def _ahead(ahead: Sequence[NodeReport]) -> str:
    if not ahead:
        return ""
    rows = "".join(f"<li>{_written(report)}</li>" for report in ahead)
    dated = f"{_many(len(ahead), 'report')} dated more than a day ahead, by a clock that is wrong"
    said = f"{dated}. Of each host the newest of them counts where it is worse than its newest other one, or the only one"
    return f"<details><summary>{said}</summary><ul>{rows}</ul></details>"


def _written(report: NodeReport) -> str:
    return f"<code>{_text(report.file)}</code>, {_text(report.name)} at {report.time or 'an unknown time'}"


def _tiles(fleet: Fleet) -> str:
    nodes = Counter(_state(node) for node in fleet.nodes)
    cells = Counter(_cell_state(cell) for node in fleet.nodes for cell in node.cells)
    tiles = "".join(
        f'<a class="tile {state}" href="#{state}"><b>{SIGNS[state]} {nodes[state]}</b> {state}'
        f"<small>{_many(cells[state], 'accelerator')}</small></a>"
        for state in SIGNS
        if nodes[state]
    )
    return f'<p class="tiles">{tiles}</p>'


def _link(node: Node, number: int) -> str:
    return f'<a href="#n{number}">{_text(node.report.name)}</a>'


def _tables(fleet: Fleet) -> str:
    causes = "".join(f"<tr><th>{cause.value}<td>{count}" for cause, count in sorted(fleet.causes.items(), key=lambda item: -item[1]))
    states = [state for state in SIGNS if state not in ("slow", "healthy")]
    checks = "".join(
        "".join((f"<tr><th>{_text(name)}", *(f"<td>{counts[Outcome(state)] or '-'}" for state in states)))
        for name, counts in fleet.checks.items()
    )
    head = "".join(f"<th>{SIGNS[state]} {state}" for state in states)
    versions = Counter(
        f"{_text(node.report.evidence('lock', 'name') or 'no lock')}, driver {_text(node.report.driver or 'none')}, "
        f"aistack {_text(node.report.version or 'unknown')}"
        for node in fleet.nodes
    )
    days = Counter((node.report.time or "unknown").partition("T")[0] for node in fleet.nodes)
    written = "".join(f"<tr><th>{day}<td>{count}" for day, count in sorted(days.items()))
    systems = "".join(f"<tr><th>{said}<td>{count}" for said, count in sorted(versions.items(), key=lambda item: (-item[1], item[0])))
    return "".join(
        (
            '<section class="tables">',
            f"<table><caption>Causes</caption><thead><tr><th>cause<th>nodes</thead><tbody>{causes}</table>" if causes else "",
            f"<table><caption>Checks</caption><thead><tr><th>check, by nodes{head}</thead><tbody>{checks}</table>" if checks else "",
            f"<table><caption>Systems</caption><thead><tr><th>lock, driver, aistack<th>nodes</thead><tbody>{systems}</table>",
            f"<table><caption>Reports</caption><thead><tr><th>day (UTC)<th>nodes</thead><tbody>{written}</table>",
            "</section>",
        )
    )


def _grid(numbered: Sequence[tuple[int, Node]]) -> Iterator[str]:
    """A block for each node with a square for each device, the states one after the other as the nodes stand."""
    for state, group in groupby(numbered, key=lambda pair: _state(pair[1])):
        blocks = "".join(_block(node, number) for number, node in group)
        yield f'<h2 id="{state}">{SIGNS[state]} {state}</h2><div class="grid">{blocks}</div>'


def _block(node: Node, number: int) -> str:
    states = [_cell_state(cell) for cell in node.cells]
    squares = "".join(
        f'<i class="{state}{"" if cell.device else " unseen"}">{SIGNS[state] if state != "healthy" else ""}</i>'
        for state, cell in zip(states, node.cells, strict=True)
    )
    counts = ", ".join(f"{count} {state}" for state, count in Counter(states).items())
    label = f"{_titled(node)}; {counts or 'no accelerators'}"
    told = f'title="{label}" aria-label="{label}"'
    return f'<a class="{_state(node)}" href="#n{number}" {told}><b>{_text(node.report.name)}</b><span>{squares}</span></a>'


def _node(node: Node, number: int, *, alone: bool = False) -> str:
    """Everything that a node said; what passed shows its evidence only on a page of one node, for the size of the others."""
    report = node.report
    bad = [result for result in report.results if result.outcome is not Outcome.HEALTHY]
    bad.sort(key=lambda result: list(SIGNS).index(result.outcome.value))
    good = [result for result in report.results if result.outcome is Outcome.HEALTHY]
    passed = "".join(_result(result) if alone else f"<div><b>{_text(result.name)}</b> {_text(result.message)}</div>" for result in good)
    cause = f" cause {report.cause.value}" if report.cause else ""
    said = bad[0].message if bad else "; ".join(_slow(cell) for cell in node.cells if cell.slow)
    facts = {
        "lock": report.evidence("lock", "name"),
        "identity": report.evidence("lock", "identity"),
        "driver": report.driver,
        "level": report.level,
        "time": report.time,
        "aistack": report.version,
        "file": report.file,
    }
    return "".join(
        (
            f'<details class="node" id="n{number}"{" open" * alone}><summary>{_badge(_state(node))}{cause} <b>{_text(report.name)}</b> ',
            f"<span>{_text(said)}</span></summary>",
            f"<p>{' · '.join(f'{name} <code>{_text(value)}</code>' for name, value in facts.items() if value)}</p>",
            f"<p>The driver told of no device: {_text(report.unasked)}</p>" if report.unasked else "",
            *map(_result, bad),
            _devices(node.cells),
            f"<details><summary>{_many(len(good), 'check')} passed</summary>{passed}</details>" if good else "",
            "</details>",
        )
    )


def _slow(cell: Cell) -> str:
    device = cell.device
    rates = ", ".join(f"{device.number(f'copies.{way}-gbps'):.1f} GB/s {COPIES[way]}" for way in cell.slow) if device else ""
    return f"{device.address if device else '?'} is slower than its equals: {rates}"


def _result(result: Result) -> str:
    cause = f" {result.cause.value}" if result.cause else ""
    action = f"<div>To mend it: {_text(result.action)}</div>" if result.action and result.outcome is not Outcome.HEALTHY else ""
    evidence = " · ".join(f"{_text(name)} <code>{_text(value)}</code>" for name, value in result.evidence)
    return (
        f'<div class="result {result.outcome.value}">{_badge(result.outcome.value)}{cause} <b>{_text(result.name)}</b> '
        f"{_text(result.message)}{action}{f'<small>{evidence}</small>' if evidence else ''}</div>"
    )


COLUMNS: Mapping[str, Sequence[str]] = {
    "address": ("pci.address",),
    "product": ("name",),
    "memory, MiB": ("memory.total-mib",),
    "PCI Express": ("pcie.generation", "pcie.lanes"),
    "NVLinks": ("links.up",),
    "°C": ("temperature.celsius",),
    "W": ("power.watts",),
    "ECC errors": ("ecc.uncorrected",),
    "to, GB/s": ("copies.to-device-gbps",),
    "from, GB/s": ("copies.from-device-gbps",),
    "inside, GB/s": ("copies.inside-gbps",),
    "serial": ("serial",),
    "UUID": ("uuid",),
}
"""What the table of a node's devices shows: the readings of each column, joined by ` x`."""


def _devices(cells: Sequence[Cell]) -> str:
    """A table of a node's accelerators, without columns that no device fills."""
    if not cells:
        return ""
    rows = [[_shown(cell.device, names) for names in COLUMNS.values()] for cell in cells]
    used = [index for index in range(len(COLUMNS)) if any(row[index] for row in rows)]
    head = "".join(f"<th>{list(COLUMNS)[index]}" for index in used)
    body = "".join(
        "".join((f"<tr><td>{_badge(_cell_state(cell))}", *(f"<td>{_text(row[index])}" for index in used)))
        for cell, row in zip(cells, rows, strict=True)
    )
    return f'<div class="wide"><table><thead><tr><th>state{head}</thead><tbody>{body}</table></div>'


def _shown(device: Device | None, names: Sequence[str]) -> str:
    if device is None or device.lost:
        return (device.lost or "" if device else "promised, not seen") if names == COLUMNS["address"] else ""
    values = [device.get(name) for name in names]
    return " x".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in values if value is not None)
