"""Products that the catalog does not list, programs of any release, engines and builds for arm64, and series that admit their members."""

from __future__ import annotations

import pytest
from judged_snapshots import Row, check, judged, named

from aistack.diagnostics import Severity
from aistack.facts.catalog import Catalog

JETSON = "accelerator: {product: nvidia/jetson-orin-nano-super}; platform: {os: jetpack-6.2, arch: aarch64}"
OPEN = "driver: {version: '570', module: {flavor: open}}"

ROWS = (
    Row(
        rule="AC107",
        says="built for compute capability 8.9, the accelerator has 8.0",
        fires="accelerator: {arch: sm_80}; frameworks: {tensorrt-llm: {version: 0.8.0, engine: sm_89}}",
        silent="accelerator: {arch: sm_89}; frameworks: {tensorrt-llm: {version: 0.8.0, engine: sm_89}}",
        lacking="frameworks: {tensorrt-llm: {version: 0.8.0, engine: sm_89}}",
    ),
    Row(
        rule="AC108",
        says="for servers, the machine is a Jetson",
        fires=f"{JETSON}; frameworks: {{bitsandbytes: {{version: 0.46.1, build: aarch64-sbsa}}}}",
        silent="accelerator: {product: nvidia/gb10}; frameworks: {bitsandbytes: {version: 0.46.1, build: aarch64-sbsa}}",
        lacking="platform: {arch: aarch64}; frameworks: {bitsandbytes: {version: 0.46.1, build: aarch64-sbsa}}",
    ),
    Row(
        rule="AC108",
        says="for Jetson, which the machine is not",
        fires="accelerator: {product: nvidia/gh200-96gb}; frameworks: {onnxruntime-gpu: {build: l4t-r36}}",
        silent=f"{JETSON}; frameworks: {{onnxruntime-gpu: {{build: l4t-r36}}}}",
        lacking="frameworks: {onnxruntime-gpu: {build: l4t-r36}}",
        severity=Severity.WARNING,
    ),
)


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_rows(row: Row, catalog: Catalog) -> None:
    check(row, catalog)


@pytest.mark.parametrize(
    ("text", "rule", "severity"),
    [
        (f"accelerator: {{product: nvidia/gtx-1050-mobile, family: pascal}}; {OPEN}", "AC104", Severity.ERROR),
        (f"accelerator: {{product: nvidia/gtx-1050-mobile}}; {OPEN}", "AC104", Severity.WARNING),
        (f"accelerator: {{product: nvidia/gtx-1650-mobile, family: turing}}; {OPEN}", "AC104", None),
        (f"accelerator: {{product: nvidia/gt-9999}}; {OPEN}", "AC104", None),
        ("accelerator: {arch: sm_75}; frameworks: {vllm: {}}; model: {id: Qwen/Qwen3-8B, dtype: bfloat16}", "PR101", Severity.ERROR),
        ("accelerator: {arch: sm_80}; frameworks: {vllm: {}}; model: {id: Qwen/Qwen3-8B, dtype: bfloat16}", "PR101", None),
        ("accelerator: {product: nvidia/gb200}; frameworks: {torch: {build: cpu}}", "AC106", Severity.ERROR),
        ("accelerator: {product: nvidia/gb200}; frameworks: {torch: {build: cpu}, tensorrt-llm: {}}", "AC106", Severity.WARNING),
        ("accelerator: {product: nvidia/gtx-1650}; frameworks: {torch: {build: cpu}}", "AC106", Severity.WARNING),
        ("accelerator: {product: intel/gaudi2}; driver: {firmware: {spi: '1.17'}}; image: {gaudi: 1.18.0}", "GD101", Severity.ERROR),
        ("accelerator: {product: intel/gaudi2}; driver: {firmware: {spi: '1.18'}}; image: {gaudi: 1.18.0}", "GD101", None),
        ("accelerator: {product: intel/gaudi2}; driver: {firmware: {spi: '1.18'}}; image: {gaudi: 1.18.0}", "GD102", None),
        ("runtime: {podman: 4.9.3, cdi: {fields: [additionalGids]}}", "CD106", Severity.ERROR),
        ("runtime: {podman: 5.1.0, cdi: {fields: [additionalGids]}}", "CD106", None),
        ("runtime: {containerd: '1.7', cdi: {spec_version: 0.6.0}}", "CD108", Severity.UNKNOWN),
    ],
)
def test_what_is_said(text: str, rule: str, severity: Severity | None, catalog: Catalog) -> None:
    found = [one for one in judged(text, catalog) if one.rule == rule]
    assert [one.severity for one in found] == ([severity] if severity else []), found
    assert all("None" not in one.message and "(no " not in one.message for one in found)


def test_bfloat16_is_refused_once(catalog: Catalog) -> None:
    text = "accelerator: {arch: sm_75}; frameworks: {vllm: {version: 0.8.5}}; model: {id: Qwen/Qwen3-8B, dtype: bfloat16}"
    assert [one.rule for one in judged(text, catalog)].count("PR101") == 1
