"""Rules about hosts of virtual GPUs: what fires, its nearest neighbour that works, and what is not said."""

from __future__ import annotations

import pytest

from aistack.compose.judge_snapshot import judge_snapshot
from aistack.diagnostics import Severity
from aistack.facts.catalog import Catalog
from aistack.facts.decode import decode
from aistack.facts.document import parse, places
from aistack.facts.snapshot import Snapshot

ERROR, WARNING = Severity.ERROR, Severity.WARNING
TORCH = "frameworks: {torch: {version: 2.7.1, build: cu128}}\n"


def machine(product: str, version: str, *, variant: str = "vgpu-host", flavor: str = "") -> str:
    module = f", module: {{flavor: {flavor}}}" if flavor else ""
    said = f", variant: {variant}" if variant else ""
    return f"accelerator: {{product: nvidia/{product}}}\ndriver: {{version: '{version}'{said}{module}}}\n"


CASES = {
    "torch on the host": (machine("a40", "570.148.06") + TORCH, {"NV221": ERROR}),
    "torch with the ordinary driver": (machine("a40", "570.148.08", variant="") + TORCH, {}),
    "nothing runs on the host": (machine("a40", "570.148.06"), {}),
    "Pascal and vGPU 17": (machine("p40", "550.54.16"), {"NV222": ERROR}),
    "Pascal and vGPU 16": (machine("p40", "535.230.02"), {}),
    "Pascal and the ordinary driver": (machine("p40", "550.54.15", variant=""), {}),
    "Turing and vGPU 17": (machine("t4", "550.54.16"), {}),
    "open modules for Ampere": (machine("a40", "570.148.06", flavor="open"), {"NV223": WARNING}),
    "proprietary modules for Ampere": (machine("a40", "570.148.06", flavor="proprietary"), {}),
    "open modules for Ada": (machine("l40s", "570.148.06", flavor="open"), {}),
    "open modules, no host": (machine("a40", "570.148.08", flavor="open", variant=""), {}),
}


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, catalog: Catalog) -> None:
    text, expected = CASES[name]
    root, problems = parse("schema: aistack/snapshot/v1\n" + text, "snapshot.yaml")
    assert root is not None and problems == ()
    snapshot, more = decode(Snapshot, root)
    assert snapshot is not None, more
    found = judge_snapshot(snapshot, catalog, places(root), "2026-11-26")
    assert {one.rule: one.severity for one in found if one.rule in ("NV221", "NV222", "NV223")} == expected
