"""The verdict on a snapshot, by the rules that judge recipes."""

from __future__ import annotations

from collections.abc import Mapping

from aistack.compose.judge import diagnostic_of
from aistack.compose.observe import observe
from aistack.compose.resolve import findings
from aistack.compose.rules.situation import Path
from aistack.diagnostics import Diagnostic, Place, in_order
from aistack.facts.catalog import Catalog
from aistack.facts.snapshot import Snapshot


def judge_snapshot(snapshot: Snapshot, catalog: Catalog, places: Mapping[Path, Place], today: str) -> tuple[Diagnostic, ...]:
    """What the rules say of a machine, an image or a report on the day `today`; `places` has the place of each of its values."""
    situation = observe(snapshot, catalog, today)
    return in_order({diagnostic_of(rule, finding, places, catalog): None for rule, finding in findings(situation, catalog)})
