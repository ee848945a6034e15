"""The verdict on a snapshot, by the rules that judge recipes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aistack.compose.judge import diagnostic_of
from aistack.compose.observe import observe
from aistack.compose.referred import AT
from aistack.compose.resolve import findings
from aistack.compose.rules.situation import Path
from aistack.diagnostics import Diagnostic, Place
from aistack.facts.catalog import Catalog
from aistack.facts.snapshot import Snapshot


def judge_snapshot(snapshot: Snapshot, catalog: Catalog, places: Mapping[Path, Place], today: str) -> tuple[Diagnostic, ...]:
    """What the rules say of a machine, an image or a report on the day `today`; `places` has the place of each of its values."""
    situation = observe(snapshot, catalog, today)
    places = {**_referred(situation.referred, places), **places}
    found = {diagnostic_of(rule, finding, places, catalog): None for rule, finding in findings(situation, catalog)}
    return tuple(sorted(found, key=lambda one: (one.place or Place(file="", line=0, column=0), one.rule)))


def _referred(facts: Iterable[Path], places: Mapping[Path, Place]) -> dict[Path, Place]:
    """What only the reference of an image tells stands where the reference does."""
    place = places.get(AT)
    return {path[:length]: place for path in facts for length in range(1, len(path) + 1)} if place is not None else {}
