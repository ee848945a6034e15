"""Rules about programs in one environment: what their packages pin, and what their compiled parts were built against."""

from __future__ import annotations

import pytest
from program_snapshots import Case, explained, hold, with_

from aistack.diagnostics import Severity
from aistack.facts.catalog import Catalog

CASES = {
    "C library": Case("AP103", {"platform.glibc": "2.31"} | with_("vllm 0.20.2"), {"platform.glibc": "2.35"}, "platform.glibc"),
    "C library of a component": Case(
        "AP104", {"platform.glibc": "2.17"} | with_("torch 2.7.0"), {"platform.glibc": "2.28"}, "platform.glibc"
    ),
    "torchvision": Case("PN101", with_("torch 2.6.0", "torchvision 0.22.0"), with_("torch 2.7.0"), "frameworks/torch/version"),
    "another patch": Case(
        "PN101", with_("torch 2.7.1", "torchvision 0.22.0"), with_("torch 2.7.0"), "frameworks/torch/version", Severity.WARNING
    ),
    "vLLM's torch": Case("PN101", with_("torch 2.5.1", "vllm 0.8.5"), with_("torch 2.6.0"), "frameworks/vllm/version"),
    "SGLang's torch between releases": Case(
        "PN101", with_("torch 2.6.0", "sglang 0.5.3"), with_("torch 2.8.0"), "frameworks/sglang/version"
    ),
    "a series": Case("PN101", with_("torch 2.7", "torchvision 0.20.1"), with_("torchvision 0.22"), "frameworks/torch/version"),
    "transformers out of range": Case(
        "PN101", with_("vllm 0.16.0", "transformers 5.2.0"), with_("transformers 4.57.1"), "frameworks/vllm/version", Severity.WARNING
    ),
    "FlashAttention's torch": Case(
        "PN102",
        with_("torch 2.10.0", "flash-attn 2.8.3 cu12torch2.7"),
        with_("flash-attn 2.8.3 cu12torch2.10"),
        "frameworks/flash-attn/build",
    ),
    "the build in the version": Case(
        "PN102", with_("torch 2.9.0", "flash-attn 2.8.3+cu12torch2.8"), with_("torch 2.8.0"), "frameworks/torch/version"
    ),
    "a later torch than 2.10": Case(
        "PN102",
        with_("torch 2.12.1 cu126", "flash-attn 2.8.3 cu12torch2.10"),
        with_("torch 2.10.0 cu126"),
        "frameworks/torch/version",
        Severity.WARNING,
    ),
    "C++ ABI": Case(
        "PN103",
        with_("torch 2.7.1 cu126", "flash-attn 2.8.3 cu12torch2.7cxx11abiFALSE"),
        with_("flash-attn 2.8.3 cu12torch2.7cxx11abiTRUE"),
        "frameworks/flash-attn/build",
    ),
    "C++ ABI of torch 2.6 by its CUDA": Case(
        "PN103",
        with_("torch 2.6.0 cu126", "flash-attn 2.7.4.post1 cu12torch2.6cxx11abiFALSE"),
        with_("torch 2.6.0 cu124"),
        "frameworks/torch/build",
    ),
    "C++ ABI as stated": Case(
        "PN103",
        with_("torch 2.5.0a0", "flash-attn 2.6.3") | {"frameworks/torch/cxx11_abi": True, "frameworks/flash-attn/cxx11_abi": False},
        {"frameworks/flash-attn/cxx11_abi": True},
        "frameworks/torch/cxx11_abi",
    ),
    "two CUDAs": Case(
        "PN104", with_("torch 2.9.0 cu130", "torchvision 0.24.0 cu128"), with_("torchvision 0.24.0 cu130"), "frameworks/torch/build"
    ),
    "another toolkit for DeepSpeed": Case(
        "PN105",
        with_("torch 2.1.2 cu121", "deepspeed 0.15.4", toolkit__cuda="11.7"),
        {"toolkit.cuda": "12.4"},
        "toolkit.cuda",
    ),
    "transformers that vLLM cannot bear": Case(
        "PN111", with_("vllm 0.9.2", "transformers 4.55.0"), with_("transformers 4.53.3"), "frameworks/vllm/version"
    ),
    "jaxlib that is too old": Case("PN101", with_("jax 0.4.35", "jaxlib 0.4.30"), with_("jaxlib 0.4.34"), "frameworks/jax/version"),
    "jaxlib that is too new": Case("PN101", with_("jax 0.4.38", "jaxlib 0.5.0"), with_("jaxlib 0.4.38"), "frameworks/jaxlib/version"),
    "NumPy 2": Case("PN112", with_("torch 2.2.2", "numpy 2.0.1"), with_("numpy 1.26.4"), "frameworks/torch/version"),
    "libraries of another CUDA than the build's": Case(
        "PN107", with_("onnxruntime-gpu 1.18.0 cu118", toolkit__cuda="12.4"), {"toolkit.cuda": "11.8"}, "toolkit.cuda"
    ),
    "another program lends them": Case(
        "PN107",
        with_("onnxruntime-gpu 1.18.0 cu118", toolkit__cuda="12.4"),
        with_("torch 2.3.1 cu118"),
        "frameworks/onnxruntime-gpu/build",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_rules(name: str, catalog: Catalog) -> None:
    hold(CASES[name], catalog)


@pytest.mark.parametrize("rule", sorted({case.rule for case in CASES.values()}))
def test_rules_say_why_and_what_about(rule: str, catalog: Catalog) -> None:
    explained(CASES, rule, catalog)
