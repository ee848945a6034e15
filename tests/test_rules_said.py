"""What a snapshot says that says nothing, and by which names accelerators are found."""

from __future__ import annotations

import pytest
from judged_snapshots import judged

from aistack.diagnostics import Diagnostic, Severity
from aistack.facts.catalog import Catalog
from aistack.facts.decode import decode
from aistack.facts.document import parse
from aistack.facts.snapshot import Snapshot


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "SN101"),
        ("accelerator: null\nframeworks: null\nruntime: null", "SN101"),
        ("accelerator: {product: nvidia/dgx-h100}", "SN102"),
        ("accelerator: {product: nvidia/h10}", "SN102"),
        ("fabric: {manager: {state: sleeping}}", "SN103"),
        ("platform: {secure_boot: perhaps}", "SN103"),
        ("platform: {os: hannah-montana-linux-3}", "SN105"),
        ("platform: {kernel: same as RHEL}", "SN105"),
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
        "platform: {os: ubuntu-22.04.5, kernel: 6.8.0-79-generic}",
        "platform: {kernel: '6.8'}",
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


@pytest.mark.parametrize(
    ("called", "id"),
    [
        ("amazon-2", "al2"),
        ("amazon-2023", "al2023"),
        ("rhel9", "rhel-9"),
        ("rhel9.4", "rhel-9"),
        ("redhat-9", "rhel-9"),
        ("red-hat-enterprise-linux-8.10", "rhel-8"),
        ("suse-15-sp6", "sles-15-sp6"),
        ("SLES15-SP6", "sles-15-sp6"),
        ("ol8", "oraclelinux-8"),
        ("rockylinux-9.4", "rocky-9"),
        ("rocky9", "rocky-9"),
        ("centos-9-stream", "centos-stream-9"),
        ("ubuntu22.04", "ubuntu-22.04"),
        ("debian13", "debian-13"),
        ("debian-1", None),
        ("arch", None),
    ],
)
def test_names_of_systems(catalog: Catalog, called: str, id: str | None) -> None:
    found = catalog.distribution(called)
    assert (found.id if found else None) == id


def test_a_misspelt_system_is_guessed(catalog: Catalog) -> None:
    (one,) = (one for one in judged("platform: {os: ubunto-22.04}", catalog) if one.rule == "SN105")
    assert any("`ubuntu-22.04`" in hint for hint in one.hints)


def test_a_version_that_cannot_be_read_is_told(catalog: Catalog) -> None:
    found = judged("driver: {version: not-a-version}; platform: {kernel: 6.17.0-5-generic}".replace("; ", "\n"), catalog)
    assert any("driver `not-a-version` cannot be read as a version" in one.message for one in found)


def problems(text: str) -> tuple[Diagnostic, ...]:
    """What is said of a snapshot's form."""
    root, _ = parse(f"schema: aistack/snapshot/v1\n{text}\n", "snapshot.yaml")
    assert root is not None
    return decode(Snapshot, root)[1]


@pytest.mark.parametrize(
    "text",
    [
        "accelerator: {count: -3}",
        "accelerator: {memory_gib: -80}",
        "accelerator: {nvlink_generation: 0}",
        "model: {tensor_parallel: 0}",
        "model: {gpu_memory_utilization: 7}",
        "model: {max_model_len: -2}",
        "model: {weights_gib_per_gpu: -1}",
    ],
)
def test_numbers_that_cannot_be_are_errors(text: str) -> None:
    assert [(one.rule, one.severity) for one in problems(text)] == [("DOC024", Severity.ERROR)]


def test_numbers_that_can_be_are_none() -> None:
    assert problems("accelerator: {count: 0}\nmodel: {max_model_len: -1, gpu_memory_utilization: 1, expert_parallel: false}") == ()


def test_a_misspelt_block_is_a_warning_and_an_unknown_key_a_note() -> None:
    block, key = problems("accelerater: {product: nvidia/l4}\nplatform: {kernal: '6.8'}")
    assert (block.rule, block.severity, block.hints) == ("DOC025", Severity.WARNING, ("did you mean `accelerator`?",))
    assert (key.rule, key.severity, key.hints) == ("DOC025", Severity.INFO, ("did you mean `kernel`?",))
