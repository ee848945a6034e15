"""The rules about what servers have builds for: each fires, stays silent on the nearest working neighbour, and where a key is missing."""

from __future__ import annotations

import pytest
from program_snapshots import Case, of, said, serving

from aistack.compose.rules import find
from aistack.diagnostics import Severity
from aistack.facts.catalog import Catalog

FP8, NVFP4, MXFP4 = "Qwen/Qwen3-32B-FP8", "nvidia/Qwen3-235B-A22B-NVFP4", "openai/gpt-oss-20b"
WARNING, UNKNOWN = Severity.WARNING, Severity.UNKNOWN
VERSION, PRODUCT = "frameworks/{}/version", "accelerator.product"

CASES = {
    "SGLang's images": Case("GX107", serving("sglang 0.5.9", "amd/mi250"), {PRODUCT: "amd/mi355x"}, PRODUCT, WARNING),
    "TGI's kernels": Case("GX108", serving("tgi 3.3.7", "amd/mi355x"), {PRODUCT: "amd/mi250"}, PRODUCT),
    "TGI before MI300": Case("GX108", serving("tgi 2.0.3", "amd/mi300x"), {VERSION.format("tgi"): "2.0.4"}, VERSION.format("tgi")),
    "llama.cpp's image": Case("GX109", serving("llama.cpp 0.7.0", "amd/mi350x"), {PRODUCT: "amd/mi300x"}, PRODUCT),
    "vLLM's documents, early": Case(
        "GX106", serving("vllm 0.6.0", "amd/rx-9070-xt"), {VERSION.format("vllm"): "0.9.2"}, VERSION.format("vllm"), WARNING
    ),
    "vLLM before MI350": Case("GX106", serving("vllm 0.10.2", "amd/mi355x"), {VERSION.format("vllm"): "0.11.2"}, PRODUCT, WARNING),
    "no plugin for Gaudi": Case("IX101", serving("vllm 0.12.0", "intel/gaudi3"), {VERSION.format("vllm"): "0.13.0"}, PRODUCT),
    "Arc in part": Case("IX102", serving("vllm 0.6.0", "intel/arc-a770"), {VERSION.format("vllm"): "0.8.5.post1"}, PRODUCT, WARNING),
    "TGI on Arc": Case("IX103", serving("tgi 3.3.7", "intel/arc-b580"), {PRODUCT: "intel/max-1550"}, PRODUCT, WARNING),
    "SGLang on Max": Case("IX104", serving("sglang 0.5.9", "intel/max-1550"), {PRODUCT: "intel/arc-b580"}, PRODUCT, WARNING),
    "TensorRT-LLM before B300": Case(
        "BD115", serving("tensorrt-llm 1.0.0", "nvidia/b300"), {VERSION.format("tensorrt-llm"): "1.1.0"}, VERSION.format("tensorrt-llm")
    ),
    "TensorRT-LLM before B200": Case("BD115", serving("tensorrt-llm 0.16.0", "nvidia/b200"), {PRODUCT: "nvidia/h200-sxm-141gb"}, PRODUCT),
    "TensorRT-LLM on Volta": Case(
        "BD106", serving("tensorrt-llm 0.16.0", "nvidia/v100-32gb"), {VERSION.format("tensorrt-llm"): "0.14.0"}, PRODUCT
    ),
    "TensorRT-LLM on Jetson": Case(
        "BD113", serving("tensorrt-llm 1.2.0", "nvidia/jetson-agx-orin-64gb"), {PRODUCT: "nvidia/rtx-a6000"}, PRODUCT, WARNING
    ),
    "TGI on Volta": Case("BD116", serving("tgi 3.3.7", "nvidia/v100-32gb"), {PRODUCT: "nvidia/t4"}, PRODUCT, WARNING),
    "MXFP4 before ROCm had it": Case(
        "PR116", serving("vllm 0.9.2", "amd/mi300x", MXFP4), {VERSION.format("vllm"): "0.11.2"}, VERSION.format("vllm")
    ),
    "NVFP4 on ROCm": Case("PR116", serving("vllm 0.15.1", "amd/mi355x", NVFP4), {PRODUCT: "nvidia/b200"}, "model.id"),
    "FP8 on CDNA 2": Case("PR116", serving("vllm 0.11.2", "amd/mi250", FP8), {PRODUCT: "amd/mi300x"}, "model.id"),
    "FP8 on Intel": Case("PR117", serving("vllm 0.14.1", "intel/max-1550", FP8), {VERSION.format("vllm"): "0.33.0"}, "model.id"),
    "NVFP4 on Intel": Case("PR117", serving("vllm 0.33.0", "intel/max-1550", NVFP4), {"model.id": FP8}, "model.id"),
    "NVFP4 in SGLang": Case("PR115", serving("sglang 0.5.9", "nvidia/h100-sxm-80gb", NVFP4), {PRODUCT: "nvidia/b200"}, "model.id"),
    "MXFP4 in SGLang": Case("PR115", serving("sglang 0.5.9", "nvidia/t4", MXFP4), {PRODUCT: "nvidia/l4"}, "model.id"),
    "no build for AMD": Case("AC109", serving("tensorrt-llm 1.2.0", "amd/mi300x"), {PRODUCT: "nvidia/h100-sxm-80gb"}, PRODUCT),
    "whether there was one": Case(
        "AC109", serving("sglang 0.3.0", "amd/mi300x"), {VERSION.format("sglang"): "0.5.9"}, VERSION.format("sglang"), UNKNOWN
    ),
    "whether it loads it": Case(
        "MD109",
        serving("tgi 3.3.7", "nvidia/h100-sxm-80gb", "Qwen/Qwen3-8B"),
        {"frameworks/tgi/version": "3.3.7", "model.id": "Qwen/Qwen2.5-7B-Instruct"},
        "model.id",
        UNKNOWN,
    ),
    "whether it loads it so": Case("MD109", serving("sglang 0.5.9", "amd/mi300x", NVFP4), {"model.id": FP8}, "model.id", UNKNOWN),
}


@pytest.mark.parametrize("name", CASES)
def test_rules(name: str, catalog: Catalog) -> None:
    case = CASES[name]
    assert of(case.rule, said(case.fires, catalog)) == {case.severity}
    assert of(case.rule, said(case.fires | case.works, catalog)) == set(), "it works there"
    without = {key: value for key, value in case.fires.items() if key != case.missing}
    assert Severity.ERROR not in of(case.rule, said(without, catalog)), "what is not known is no error"


@pytest.mark.parametrize("rule", sorted({case.rule for case in CASES.values()}))
def test_rules_say_why_and_what_about(rule: str, catalog: Catalog) -> None:
    found = find(catalog, rule)
    assert found is not None and found.explanation and found.topics


def test_the_cuda_of_a_server_that_states_it(catalog: Catalog) -> None:
    """TensorRT-LLM 1.2 is built with CUDA 13.1, whatever the torch of that version on PyPI is built with."""
    old = serving("tensorrt-llm 1.2.0", "nvidia/h100-sxm-80gb", driver__version="560.35.03")
    assert of("NV101", said(old, catalog)) == {WARNING}, "assumed: nobody said how it was built"
    assert of("NV101", said(old | {VERSION.format("tensorrt-llm"): "0.18.0"}, catalog)) == set()
