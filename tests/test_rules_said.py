"""What a snapshot says that says nothing, and by which names accelerators are found."""

from __future__ import annotations

import pytest
from judged_snapshots import judged

from aistack.diagnostics import Severity
from aistack.facts.catalog import Catalog


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "SN101"),
        ("accelerator: null\nframeworks: null\nruntime: null", "SN101"),
        ("accelerator: {product: nvidia/dgx-h100}", "SN102"),
        ("accelerator: {product: nvidia/h10}", "SN102"),
        ("fabric: {manager: {state: sleeping}}", "SN103"),
        ("platform: {secure_boot: perhaps}", "SN103"),
        ("accelerator: {product: nvidia/l4, count: -1}", "SN103"),
        ("model: {gpu_memory_utilization: 90}", "SN103"),
        ("model: {tensor_parallel: 0}", "SN103"),
    ],
)
def test_what_says_nothing_is_unknown(text: str, rule: str, catalog: Catalog) -> None:
    assert [(one.rule, one.severity) for one in judged(text, catalog) if one.rule.startswith("SN")] == [(rule, Severity.UNKNOWN)]


@pytest.mark.parametrize(
    "text",
    [
        "frameworks: {vllm: null}",
        "runtime: {podman: null}\nplatform: {os: ubuntu-24.04}",
        "accelerator: {product: nvidia/a100}",
        "accelerator: {arch: sm_90}",
        "fabric: {manager: {state: active}}",
        "platform: {secure_boot: false, module_signature: unsigned}",
        "model: {gpu_memory_utilization: 0.92, tensor_parallel: 1}",
    ],
)
def test_what_says_something_is_not(text: str, catalog: Catalog) -> None:
    assert [one for one in judged(text, catalog) if one.rule.startswith("SN")] == []


@pytest.mark.parametrize(
    ("printed", "ids"),
    [
        ("NVIDIA H100 80GB HBM3", {"nvidia/h100-sxm-80gb", "nvidia/h100-pcie-80gb"}),
        ("NVIDIA A100-SXM4-80GB", {"nvidia/a100-sxm-80gb"}),
        ("Tesla T4", {"nvidia/t4"}),
        ("NVIDIA L40S", {"nvidia/l40s"}),
        ("nvidia/H100-SXM-80GB", {"nvidia/h100-sxm-80gb"}),
        ("AMD Instinct MI300X", {"amd/mi300x"}),
        ("NVIDIA RTX A6000", {"nvidia/rtx-a6000"}),
        ("nvidia/dgx-h100", set()),
        ("NVIDIA", set()),
    ],
)
def test_names_that_tools_print(catalog: Catalog, printed: str, ids: set[str]) -> None:
    assert {product.id for product in catalog.family(printed)} == ids
