"""Rows of rules' tests: a snapshot in which a rule speaks, its nearest neighbour in which it does not, and one that lacks a key."""

from __future__ import annotations

from dataclasses import dataclass

from aistack.compose.judge_snapshot import judge_snapshot
from aistack.diagnostics import Diagnostic, Severity
from aistack.facts.catalog import Catalog
from aistack.facts.decode import decode
from aistack.facts.document import parse, places
from aistack.facts.snapshot import Snapshot

TODAY = "2026-11-26"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Snapshots as YAML in one line each, without their schema; `lacking` may make the rule say `unknown`, never more."""

    rule: str
    says: str
    fires: str
    silent: str
    lacking: str
    severity: Severity = Severity.ERROR


def named(row: Row) -> str:
    """What a test of the row is called."""
    return f"{row.rule}-{row.says[:40]}"


def judged(text: str, catalog: Catalog) -> tuple[Diagnostic, ...]:
    """What the rules say of a snapshot in YAML."""
    root, problems = parse("schema: aistack/snapshot/v1\n" + "\n".join(text.split("; ")) + "\n", "snapshot.yaml")
    assert root is not None and problems == (), problems
    snapshot, more = decode(Snapshot, root)
    assert snapshot is not None and more == (), more
    return judge_snapshot(snapshot, catalog, places(root), TODAY)


def check(row: Row, catalog: Catalog) -> None:
    """Hold the three snapshots of a row to what it says."""
    found = [diagnostic for diagnostic in judged(row.fires, catalog) if diagnostic.rule == row.rule]
    assert [diagnostic.severity for diagnostic in found] == [row.severity], judged(row.fires, catalog)
    (diagnostic,) = found
    assert row.says in diagnostic.message, diagnostic.message
    assert diagnostic.place is not None and diagnostic.source and diagnostic.checked and diagnostic.labels
    for text in (row.silent, row.lacking):
        said = [diagnostic for diagnostic in judged(text, catalog) if diagnostic.rule == row.rule]
        assert {diagnostic.severity for diagnostic in said} <= {Severity.UNKNOWN}, said
    assert not [diagnostic for diagnostic in judged(row.silent, catalog) if diagnostic.severity is Severity.ERROR]
