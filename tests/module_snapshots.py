"""Snapshots of drivers, their kernel modules and kernels as lines of YAML, and what the rules about them say."""

from __future__ import annotations

from aistack.compose.judge_snapshot import judge_snapshot
from aistack.diagnostics import Diagnostic, Severity
from aistack.facts.catalog import Catalog
from aistack.facts.decode import decode
from aistack.facts.document import parse, places
from aistack.facts.snapshot import Snapshot

TODAY = "2026-11-26"
OURS = ("MO", "DR", "AM", "KR", "NV1", "NV2")
ERROR, WARNING, UNKNOWN = Severity.ERROR, Severity.WARNING, Severity.UNKNOWN

Cases = dict[str, tuple[str, dict[str, Severity]]]
"""By what it shows: a snapshot, and the rules that speak with their severities."""


def judged(text: str, catalog: Catalog) -> tuple[Diagnostic, ...]:
    root, problems = parse("schema: aistack/snapshot/v1\n" + text, "snapshot.yaml")
    assert root is not None and problems == ()
    snapshot, more = decode(Snapshot, root)
    assert snapshot is not None, more
    return judge_snapshot(snapshot, catalog, places(root), TODAY)


def ours(text: str, catalog: Catalog) -> dict[str, Severity]:
    """What the rules of this file's subject say, by their codes; that a branch has ended is asked of it alone."""
    found = {one.rule: one.severity for one in judged(text, catalog) if one.rule.startswith(OURS)}
    return {code: severity for code, severity in found.items() if code not in ("DR101", "NV101") or "eol" in text}


def driver(version: str, module: str = "", rest: str = "") -> str:
    return f"driver: {{version: '{version}', module: {{{module}}}{', ' + rest if rest else ''}}}\n"


def platform(**keys: str) -> str:
    return "platform: {" + ", ".join(f"{name}: {value}" for name, value in keys.items()) + "}\n"


H100 = "accelerator: {product: nvidia/h100-sxm-80gb}\n"
L4 = "accelerator: {product: nvidia/l4}\n"
V100 = "accelerator: {product: nvidia/v100-32gb}\n"
AMD = "accelerator: {arch: gfx942}\n"
SIGNED = "{CONFIG_MODULE_SIG_FORCE: y}"


def hold(cases: Cases, name: str, catalog: Catalog) -> None:
    """What is said of a case is what it expects, and could be pasted into a ticket: a place, versions, a vendor's document."""
    text, expected = cases[name]
    assert ours(text, catalog) == expected
    for found in judged(text, catalog):
        assert "(no " not in found.message and "None" not in found.message, found.message
        assert found.place is not None, found
        if found.rule.startswith(("NV2", "AM")):
            assert found.source and found.checked and found.rule_place, found
