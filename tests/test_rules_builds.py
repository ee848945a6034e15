"""Rules about what programs hold code for, and which releases run on which accelerators and drivers."""

from __future__ import annotations

import pytest
from program_snapshots import Case, explained, hold, on, serving, with_

from aistack.diagnostics import Severity
from aistack.facts.catalog import Catalog

CASES = {
    "no Blackwell in 2.6": Case("AC105", on("sm_120") | with_("torch 2.6.0 cu124"), with_("torch 2.7.0 cu128"), "accelerator.arch"),
    "the other build of a release": Case("AC105", on("sm_60") | with_("torch 2.8.0 cu128"), with_("torch 2.8.0 cu126"), "accelerator.arch"),
    "between two releases": Case("AC105", on("sm_100") | with_("vllm 0.8.3"), on("sm_90"), "frameworks/vllm/version"),
    "Hopper before 11.8": Case("AC105", on("sm_90") | with_("torch 2.0.1 cu117"), with_("torch 2.0.1 cu118"), "frameworks/torch/version"),
    "arm64 has other builds": Case(
        "AC105",
        on("sm_70", platform__arch="aarch64") | with_("torch 2.10.0 cu128"),
        {"platform.arch": "x86_64"},
        "accelerator.arch",
    ),
    "an image's list": Case(
        "AC105", on("sm_120", image__arch_list=["sm_80", "sm_90"]), {"image.arch_list": ["8.0", "12.0"]}, "image.arch_list"
    ),
    "exact architectures": Case(
        "AC105", on("sm_103") | {"frameworks/x/arch_list": ["sm_100a"]}, {"frameworks/x/arch_list": ["sm_100f"]}, "accelerator.arch"
    ),
    "PTX alone": Case(
        "AC105",
        on("sm_120", image__arch_list=["8.0", "9.0+PTX"]),
        {"image.arch_list": ["9.0", "12.0"]},
        "accelerator.arch",
        Severity.WARNING,
    ),
    "CUDA on AMD's": Case(
        "AC106", {"accelerator.product": "amd/mi300x"} | with_("torch 2.6.0 cu124"), with_("torch 2.6.0 rocm6.2.4"), "accelerator.product"
    ),
    "ROCm on NVIDIA's": Case(
        "AC106", {"accelerator.product": "nvidia/l4"} | with_("torch 2.6.0+rocm6.2.4"), with_("torch 2.6.0+cu124"), "accelerator.product"
    ),
    "a processor's build": Case(
        "AC106",
        {"accelerator.product": "nvidia/rtx-4090"} | with_("torch 2.6.0 cpu"),
        with_("torch 2.6.0 cu124"),
        "frameworks/torch/build",
        Severity.WARNING,
    ),
    "PTX of a newer CUDA": Case(
        "BD102",
        on("sm_90", driver__version="535.129.03", image__cuda="12.8", image__arch_list=["8.0+PTX"]),
        {"driver.version": "570.124.06"},
        "driver.version",
    ),
    "PTX and a series": Case(
        "BD102",
        on("sm_90", driver__version="535", image__cuda="12.8", image__arch_list=["8.0+PTX"]),
        {"driver.version": "575"},
        "image.cuda",
    ),
    "too old for vLLM": Case("BD101", on("sm_60") | with_("vllm 0.2.3"), on("sm_70"), "accelerator.arch"),
    "Volta and new vLLM": Case("BD101", on("sm_70") | with_("vllm 0.31.0"), on("sm_75"), "frameworks/vllm/version"),
    "compiled for the accelerator": Case(
        "BD101", on("sm_60") | with_("vllm 0.8.5"), {"frameworks/vllm/arch_list": ["sm_60"]}, "frameworks/vllm/version"
    ),
    "compiled for another one": Case(
        "AC105",
        on("sm_60") | with_("vllm 0.8.5") | {"frameworks/vllm/arch_list": ["sm_70"]},
        {"frameworks/vllm/arch_list": ["sm_60"]},
        "frameworks/vllm/arch_list",
    ),
    "compiled for who knows what": Case(
        "BD101", on("sm_60") | with_("vllm 0.8.5.dev0+gabcdef"), on("sm_70"), "accelerator.arch", Severity.WARNING
    ),
    "Volta and SGLang": Case("BD105", on("sm_70") | with_("sglang 0.4.6"), on("sm_75"), "accelerator.arch"),
    "Pascal and TensorRT 10": Case("BD106", on("sm_60") | with_("tensorrt-llm 0.12.0"), on("sm_70"), "frameworks/tensorrt-llm/version"),
    "Turing and FlashAttention 2": Case("BD107", on("sm_75") | with_("flash_attn 2.5.8"), on("sm_80"), "frameworks/flash_attn/version"),
    "Kepler and llama.cpp": Case("BD109", on("sm_37") | with_("llama.cpp b4589"), on("sm_60"), "accelerator.arch"),
    "cuDNN": Case("BD103", on("sm_70") | with_("cudnn 9.12.0"), with_("cudnn 9.10.2"), "frameworks/cudnn/version"),
    "no wheel for arm64": Case(
        "WH102", {"platform.arch": "aarch64"} | with_("xformers 0.0.31"), {"platform.arch": "x86_64"}, "platform.arch", Severity.WARNING
    ),
    "CUDA 13 and Volta": Case("NV102", on("sm_70", toolkit__cuda="13.0"), {"toolkit.cuda": "12.9"}, "toolkit.cuda"),
    "CUDA 12 and Kepler": Case("NV102", on("sm_37", image__cuda="12.2"), {"image.cuda": "11.8"}, "accelerator.arch"),
    "an old CUDA and Blackwell": Case(
        "NV103",
        {"accelerator.product": "nvidia/rtx-5090", "toolkit.cuda": "12.4"},
        {"toolkit.cuda": "12.8"},
        "toolkit.cuda",
        Severity.WARNING,
    ),
    "JAX's code for servers on a Jetson": Case(
        "AC105",
        on("sm_87", platform__arch="aarch64") | with_("jax 0.11.1 cuda12"),
        {"accelerator.arch": "sm_86"},
        "frameworks/jax/build",
    ),
    "JAX for CUDA 13 on Volta": Case("AC105", on("sm_70") | with_("jax 0.8.0 cuda13"), with_("jax 0.8.0 cuda12"), "accelerator.arch"),
    "a target that nvcc has dropped": Case(
        "BD119",
        {"toolkit.cuda": "12.2", "frameworks.mine": {"arch_list": ["sm_35", "sm_50", "sm_70"]}},
        {"toolkit.cuda": "11.8"},
        "toolkit.cuda",
    ),
    "a target that nvcc does not know yet": Case(
        "BD120",
        {"toolkit.cuda": "12.6", "frameworks.mine": {"arch_list": ["8.0", "12.0+PTX"]}},
        {"toolkit.cuda": "12.8"},
        "toolkit.cuda",
    ),
    "a library of a wheel and an old C library": Case(
        "BD118",
        with_("bitsandbytes 0.45.3", "torch 2.6.0 cu126", platform__glibc="2.31", platform__arch="x86_64"),
        with_("torch 2.6.0 cu124"),
        "platform.glibc",
    ),
    "experts and an old C library": Case(
        "BD117",
        serving("vllm 0.10.0", "nvidia/h100-sxm-80gb", "Qwen/Qwen3-30B-A3B", platform__glibc="2.28", platform__arch="x86_64"),
        {"platform.glibc": "2.34"},
        "platform.glibc",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_rules(name: str, catalog: Catalog) -> None:
    hold(CASES[name], catalog)


@pytest.mark.parametrize("rule", sorted({case.rule for case in CASES.values()}))
def test_rules_say_why_and_what_about(rule: str, catalog: Catalog) -> None:
    explained(CASES, rule, catalog)
