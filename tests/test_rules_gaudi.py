"""Gaudi: driver, firmware, software and builds of one release."""

from __future__ import annotations

import pytest
from judged_snapshots import Row, check, named

from aistack.compose.rules.gaudi import release
from aistack.diagnostics import Severity
from aistack.facts.catalog import Catalog

GAUDI = "accelerator: {product: intel/gaudi2}"

ROWS = (
    Row(
        rule="GD101",
        says="the software is of Gaudi release 1.20.0, but the driver of 1.19.0",
        fires=f"{GAUDI}; driver: {{version: 1.19.0-2427ed8}}; toolkit: {{gaudi: 1.20.0}}",
        silent=f"{GAUDI}; driver: {{version: 1.19.0-2427ed8}}; toolkit: {{gaudi: 1.19.0-561}}",
        lacking=f"{GAUDI}; toolkit: {{gaudi: 1.20.0}}",
    ),
    Row(
        rule="GD101",
        says="the software is of Gaudi release 1.21.0, but the driver of 1.21.2",
        severity=Severity.WARNING,
        fires=f"{GAUDI}; driver: {{version: 1.21.2}}; toolkit: {{gaudi: 1.21.0.555}}",
        silent=f"{GAUDI}; driver: {{version: '1.21'}}; toolkit: {{gaudi: 1.21.0.555}}",
        lacking=f"{GAUDI}; driver: {{version: 1.21.2}}",
    ),
    Row(
        rule="GD105",
        says="Gaudi software 1.16.0.526 does not acquire devices through driver 1.16.1-7",
        fires="driver: {version: 1.16.1-7}; frameworks: {habana-torch-plugin: {version: 1.16.0.526}}",
        silent="driver: {version: 1.16.0-2}; frameworks: {habana-torch-plugin: {version: 1.16.0.526}}",
        lacking="frameworks: {habana-torch-plugin: {version: 1.16.0.526}}",
    ),
    Row(
        rule="GD101",
        says="the image is of Gaudi release 1.15.1, but the driver of 1.16.0",
        fires=f"{GAUDI}; driver: {{version: 1.16.0-f195ec4}}; image: {{gaudi: 1.15.1}}",
        silent=f"{GAUDI}; driver: {{version: 1.16.0-f195ec4}}; image: {{gaudi: 1.16.0}}",
        lacking=f"{GAUDI}; driver: {{version: 1.16.0-f195ec4}}; image: {{ref: tgi-gaudi}}",
    ),
    Row(
        rule="GD101",
        says="the build of vllm is of Gaudi release 1.20.0, but the driver of 1.19.0",
        fires=f"{GAUDI}; driver: {{version: 1.19.0}}; frameworks: {{vllm: {{version: 0.6.6, build: Gaudi-1.20.0}}}}",
        silent=f"{GAUDI}; driver: {{version: 1.19.0}}; frameworks: {{vllm: {{version: 0.6.4.post2+Gaudi-1.19.0}}}}",
        lacking=f"{GAUDI}; driver: {{version: 1.19.0}}; frameworks: {{vllm: {{version: 0.6.6}}}}",
    ),
    Row(
        rule="GD102",
        says="firmware 50.0.0 is not that of Gaudi software 1.17.0",
        fires=f"{GAUDI}; driver: {{firmware: {{spi: 50.0.0}}}}; toolkit: {{gaudi: 1.17.0}}",
        silent=f"{GAUDI}; driver: {{firmware: {{spi: hl-1.17.0-fw-51.3.0}}}}; toolkit: {{gaudi: 1.17.0}}",
        lacking=f"{GAUDI}; driver: {{firmware: {{spi: 50.0.0}}}}",
    ),
    Row(
        rule="GD103",
        says="PyTorch 2.3.1 is not the one that Gaudi software 1.18.0 was built for",
        fires=f"{GAUDI}; toolkit: {{gaudi: 1.18.0}}; frameworks: {{torch: {{version: 2.3.1}}}}",
        silent=f"{GAUDI}; toolkit: {{gaudi: 1.17.0}}; frameworks: {{torch: {{version: 2.3.1a0+git4989a23}}}}",
        lacking=f"{GAUDI}; frameworks: {{torch: {{version: 2.3.1}}}}",
    ),
    Row(
        rule="GD104",
        says="Intel does not list Kubernetes 1.29.4 for Gaudi software 1.19.0",
        severity=Severity.WARNING,
        fires=f"{GAUDI}; toolkit: {{gaudi: 1.19.0}}; runtime: {{kubernetes: 1.29.4}}",
        silent=f"{GAUDI}; toolkit: {{gaudi: 1.19.0}}; runtime: {{kubernetes: 1.31.0}}",
        lacking=f"{GAUDI}; toolkit: {{gaudi: 1.19.0}}",
    ),
)


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_rules(row: Row, catalog: Catalog) -> None:
    check(row, catalog)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1.19.0-2427ed8", "1.19.0"),
        ("Gaudi-1.20.0", "1.20.0"),
        ("1.16.0.526", "1.16.0"),
        ("hl-1.18.0-fw-53.1.1.1", "1.18.0"),
        ("latest", None),
    ],
)
def test_the_release_in_a_text(text: str, found: str | None) -> None:
    assert release(text) == found
