"""Cases of the rules about programs and models: snapshots by dotted keys, and how they are held to what a rule says.

A case is a rule, a snapshot on which it fires, what to change so that it works, and a key without which nothing is certain.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml

from aistack.compose.judge_snapshot import judge_snapshot
from aistack.compose.rules import find
from aistack.diagnostics import Diagnostic, Severity
from aistack.facts.catalog import Catalog
from aistack.facts.decode import decode
from aistack.facts.document import parse, places
from aistack.facts.snapshot import Snapshot

TODAY = "2026-11-26"
Keys = dict[str, Any]


class Case(NamedTuple):
    """`works` changes the snapshot so that the rule is silent; without `missing` it must not be an error."""

    rule: str
    fires: Keys
    works: Keys
    missing: str
    severity: Severity = Severity.ERROR


def on(arch: str, **more: Any) -> Keys:
    return {"accelerator.arch": arch, **{key.replace("__", "."): value for key, value in more.items()}}


def with_(*programs: str, **more: Any) -> Keys:
    """Programs as `NAME VERSION` or `NAME VERSION BUILD`."""
    found: Keys = {key.replace("__", "."): value for key, value in more.items()}
    for program in programs:
        name, version, *build = program.split()
        found[f"frameworks/{name}/version"] = version
        if build:
            found[f"frameworks/{name}/build"] = build[0]
    return found


def serving(program: str, product: str, model: str = "", **more: Any) -> Keys:
    named = {"model.id": model} if model else {}
    return {"accelerator.product": product, **with_(program), **named, **{key.replace("__", "."): value for key, value in more.items()}}


def snapshot(keys: Keys) -> str:
    """The YAML of dotted keys; `/` separates those that have dots themselves."""
    root: Keys = {"schema": "aistack/snapshot/v1"}
    for path, value in keys.items():
        block = root
        *above, last = path.split("/" if "/" in path else ".")
        for key in above:
            block = block.setdefault(key, {})
        block[last] = value
    return yaml.safe_dump(root)


def said(keys: Keys, catalog: Catalog) -> list[Diagnostic]:
    root, _ = parse(snapshot(keys), "snapshot.yaml")
    assert root is not None
    value, problems = decode(Snapshot, root)
    assert value is not None, problems
    return list(judge_snapshot(value, catalog, places(root), TODAY))


def of(rule: str, found: list[Diagnostic]) -> set[Severity]:
    return {one.severity for one in found if one.rule == rule}


def hold(case: Case, catalog: Catalog) -> None:
    """The rule fires, is silent on the nearest neighbour that works, and is no error where a key is missing."""
    found = said(case.fires, catalog)
    assert case.severity in of(case.rule, found), found
    for one in found:
        assert one.place is not None and one.message and "None" not in one.message and "(no " not in one.message, one
    works = said({**case.fires, **case.works}, catalog)
    assert not of(case.rule, works) & {Severity.ERROR, Severity.WARNING}, works
    without = said({key: value for key, value in case.fires.items() if key != case.missing}, catalog)
    assert Severity.ERROR not in of(case.rule, without), without


def explained(cases: Mapping[str, Case], rule: str, catalog: Catalog) -> None:
    """The rule has a page, and on each case says why, what it needs or what to do."""
    found = find(catalog, rule)
    assert found is not None and found.topics and found.explanation
    for case in cases.values():
        if case.rule == rule:
            (first, *_) = (one for one in said(case.fires, catalog) if one.rule == rule and one.severity is case.severity)
            assert first.labels or first.why or first.hints, first
