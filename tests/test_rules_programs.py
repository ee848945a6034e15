"""The rules about programs and models on snapshots: each fires, stays silent on the nearest working neighbour, and where a key is missing.

A case is a rule, a snapshot by dotted keys on which it fires, what to change so that it works, and a key without which nothing is certain.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import yaml

from aistack.compose.judge_snapshot import judge_snapshot
from aistack.compose.programs import cuda_of_build, release_of, served
from aistack.compose.rules import find
from aistack.diagnostics import Diagnostic, Severity
from aistack.facts import checkpoint
from aistack.facts.catalog import Catalog
from aistack.facts.decode import decode
from aistack.facts.document import parse, places
from aistack.facts.snapshot import SeenModel, Snapshot

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
    "bfloat16": Case("PR101", serving("vllm 0.5.4", "nvidia/t4", model__dtype="bf16"), {"model.dtype": "half"}, "model.dtype"),
    "bfloat16 of the weights": Case(
        "PR101", serving("vllm 0.8.5", "nvidia/t4", "Qwen/Qwen3-0.6B"), {"model.dtype": "half"}, "accelerator.product", Severity.WARNING
    ),
    "bfloat16 that is asked for": Case(
        "PR101", serving("vllm 0.9.2", "nvidia/t4", "Qwen/Qwen3-0.6B", model__dtype="bfloat16"), {"model.dtype": "auto"}, "model.dtype"
    ),
    "Gemma in half precision": Case(
        "PR111", serving("vllm 0.9.2", "nvidia/l4", "google/gemma-3-4b-it", model__dtype="half"), {"model.dtype": "bfloat16"}, "model.dtype"
    ),
    "Gemma before it was refused": Case(
        "PR111", serving("vllm 0.9.1", "nvidia/l4", "google/gemma-2-9b-it", model__dtype="half"), with_("vllm 0.9.0.1"), "model.id"
    ),
    "AWQ": Case(
        "PR102", serving("vllm 0.8.4", "nvidia/v100", model__quantization="awq"), {"accelerator.product": "nvidia/t4"}, "model.quantization"
    ),
    "a format in the name": Case(
        "PR102",
        serving("vllm 0.8.4", "nvidia/v100", "Qwen/Qwen2.5-7B-Instruct-AWQ"),
        {"model.id": "Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4"},
        "model.id",
    ),
    "FP8 experts before Marlin": Case(
        "PR103", serving("vllm 0.8.5", "nvidia/rtx-3090", "Qwen/Qwen3-30B-A3B-FP8"), with_("vllm 0.9.1"), "frameworks/vllm/version"
    ),
    "FP8 experts in SGLang": Case(
        "PR103",
        serving("sglang 0.4.6.post1", "nvidia/a10", "Qwen/Qwen3-30B-A3B-FP8"),
        {"accelerator.product": "nvidia/l4"},
        "model.id",
    ),
    "FP8 cache by design": Case(
        "PR103",
        serving("ktransformers 0.6.2", "nvidia/a100", "deepseek-ai/DeepSeek-V4-Flash"),
        {"accelerator.product": "nvidia/h100"},
        "accelerator.product",
    ),
    "sparse attention": Case(
        "PR104", serving("vllm 0.11.0", "nvidia/a100", "deepseek-ai/DeepSeek-V3.2"), {"accelerator.product": "nvidia/h100"}, "model.id"
    ),
    "NVFP4 experts": Case(
        "PR105", serving("vllm 0.11.0", "nvidia/rtx-5090", "nvidia/Qwen3-30B-A3B-NVFP4"), with_("vllm 0.13.0"), "frameworks/vllm/version"
    ),
    "NVFP4 experts left out": Case(
        "PR105", serving("vllm 0.15.0", "nvidia/rtx-5090", "nvidia/MiniMax-M2.5-NVFP4"), with_("vllm 0.16.0"), "accelerator.product"
    ),
    "MXFP4 experts": Case(
        "PR106",
        serving("vllm 0.20.0", "nvidia/gb10", "openai/gpt-oss-120b"),
        {"accelerator.product": "nvidia/h100"},
        "accelerator.product",
        Severity.WARNING,
    ),
    "TensorRT-LLM": Case(
        "PR107", serving("tensorrt-llm 1.0.0", "nvidia/h100", "nvidia/DeepSeek-R1-FP4"), {"accelerator.product": "nvidia/b200"}, "model.id"
    ),
    "bitsandbytes": Case(
        "PR108",
        serving("bitsandbytes 0.46.0", "nvidia/p100", model__quantization="int8"),
        {"accelerator.product": "nvidia/t4"},
        "model.quantization",
    ),
    "Transformer Engine": Case(
        "PR109",
        serving("transformer-engine 1.11", "nvidia/a100", model__dtype="fp8"),
        {"accelerator.product": "nvidia/h100"},
        "model.dtype",
    ),
    "FP8 cache": Case(
        "PR110",
        serving("vllm 0.11.0", "nvidia/rtx-3090", model__kv_cache_dtype="fp8"),
        {"frameworks/vllm/version": "0.12.0"},
        "model.kv_cache_dtype",
    ),
    "a model that is too new": Case(
        "MD103", serving("vllm 0.8.3", "nvidia/l4", "Qwen/Qwen3-8B"), with_("vllm 0.8.5"), "frameworks/vllm/version"
    ),
    "the positions of Llama 3.1": Case(
        "MD103", serving("vllm 0.5.3", "nvidia/h100", "meta-llama/Llama-3.1-8B-Instruct"), with_("vllm 0.5.3.post1"), "model.id"
    ),
    "an embedding model that is too new": Case(
        "MD103", serving("vllm 0.2.7", "nvidia/l4", "jinaai/jina-embeddings-v3"), with_("vllm 0.8.5"), "frameworks/vllm/version"
    ),
    "longer than the model was made for": Case(
        "MD104",
        serving("vllm 0.8.5", "nvidia/h100", "Qwen/Qwen2.5-7B-Instruct", model__max_model_len=131072),
        {"model.max_model_len": 32768},
        "model.max_model_len",
    ),
    "heads": Case(
        "MD105",
        serving("vllm 0.8.5", "nvidia/h100", "Qwen/Qwen2.5-7B-Instruct", accelerator__count=8, model__tensor_parallel=8),
        {"model.tensor_parallel": 4},
        "model.tensor_parallel",
    ),
    "several machines": Case(
        "MD105",
        serving("vllm 0.8.5", "nvidia/h100", "deepseek-ai/DeepSeek-R1", accelerator__count=8, model__tensor_parallel=16),
        {"model.tensor_parallel": 8},
        "accelerator.count",
        Severity.WARNING,
    ),
    "blocks of experts": Case(
        "MD106",
        serving("vllm 0.9.1", "nvidia/h100", "Qwen/Qwen3-235B-A22B-FP8", accelerator__count=8, model__tensor_parallel=8),
        {"model.tensor_parallel": 4},
        "model.tensor_parallel",
        Severity.WARNING,
    ),
    "weights": Case(
        "ME102",
        serving("vllm 0.8.5", "nvidia/rtx-4090", "Qwen/Qwen2.5-32B-Instruct", accelerator__count=1),
        {"model.id": "Qwen/Qwen2.5-32B-Instruct-AWQ", "model.max_model_len": 16384},
        "accelerator.count",
    ),
    "the longest request": Case(
        "ME102",
        serving(
            "vllm 0.8.5",
            "nvidia/a100-sxm-80gb",
            "meta-llama/Llama-3.3-70B-Instruct",
            accelerator__count=2,
            model__tensor_parallel=2,
            model__max_model_len=131072,
        ),
        {"accelerator.count": 4, "model.tensor_parallel": 4, "model.max_model_len": 32768},
        "accelerator.product",
    ),
    "the model's own length": Case(
        "ME102",
        serving("vllm 0.8.5", "nvidia/l4", "meta-llama/Llama-3.1-8B-Instruct", accelerator__count=1),
        {"model.max_model_len": 16384},
        "accelerator.count",
        Severity.WARNING,
    ),
    "measured": Case(
        "ME102",
        {
            "accelerator.memory_gib": 40,
            "model.id": "Qwen/Qwen2.5-VL-72B-Instruct",
            "model.tensor_parallel": 4,
            "model.gpu_memory_utilization": 0.95,
            "model.weights_gib_per_gpu": 34.43,
            "model.activation_peak_gib": 2.51,
        },
        {"model.weights_gib_per_gpu": 20.0},
        "accelerator.memory_gib",
    ),
    "an embedding model": Case(
        "ME102",
        serving("vllm 0.10.0", "nvidia/t4", "Qwen/Qwen3-Embedding-8B", accelerator__count=1),
        {"accelerator.product": "nvidia/l4"},
        "model.id",
    ),
    "a model with vision": Case(
        "ME102",
        serving("vllm 0.11.0", "nvidia/l40", "google/gemma-3-27b-it", accelerator__count=1),
        {"accelerator.product": "nvidia/h100-sxm-80gb"},
        "model.id",
    ),
}


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


@pytest.mark.parametrize("name", CASES)
def test_rules(name: str, catalog: Catalog) -> None:
    case = CASES[name]
    found = said(case.fires, catalog)
    assert case.severity in of(case.rule, found), found
    for one in found:
        assert one.place is not None and one.message and "None" not in one.message and "(no " not in one.message, one
    works = said({**case.fires, **case.works}, catalog)
    assert not of(case.rule, works) & {Severity.ERROR, Severity.WARNING}, works
    without = said({key: value for key, value in case.fires.items() if key != case.missing}, catalog)
    assert Severity.ERROR not in of(case.rule, without), without


@pytest.mark.parametrize("rule", sorted({case.rule for case in CASES.values()}))
def test_rules_say_why_and_what_about(rule: str, catalog: Catalog) -> None:
    found = find(catalog, rule)
    assert found is not None and found.topics and found.explanation
    for case in CASES.values():
        if case.rule == rule:
            (first, *_) = (one for one in said(case.fires, catalog) if one.rule == rule and one.severity is case.severity)
            assert first.labels or first.why or first.hints, first


WORKING: dict[str, Keys] = {
    "V100 in half precision": serving(
        "vllm 0.6.3", "nvidia/v100-32gb", "Qwen/Qwen2.5-32B-Instruct", accelerator__count=8, model__dtype="half", model__tensor_parallel=4
    )
    | {"model.max_model_len": 8192, "driver.version": "535.161.08"},
    "a vendor's container": on("sm_90") | with_("torch 2.6.0a0+ecf3bae40a.nv25.01", "transformers 4.48.0"),
    "an image's programs have its C library": {"platform.glibc": "2.31", "image.ref": "vllm/vllm-openai:v0.20.2"} | with_("vllm 0.20.2"),
    "Ada runs code for Ampere": on("sm_89", toolkit__cuda="11.7") | with_("torch 2.0.1 cu117"),
    "all of a release's pins": with_(
        "vllm 0.11.0",
        "torch 2.8.0",
        "torchvision 0.23.0",
        "torchaudio 2.8.0",
        "xformers 0.0.32.post1",
        "transformers 4.57.1",
        "triton 3.4.0",
        "numpy 2.2.6",
    ),
    "FP8 weights unpacked on Ampere": serving(
        "vllm 0.20.2", "nvidia/a100-sxm-80gb", "MiniMaxAI/MiniMax-M2.5", accelerator__count=4, model__tensor_parallel=4
    )
    | {"driver.version": "580.95.05"},
    "quantized while it loads": serving(
        "vllm 0.10.2", "nvidia/rtx-4090", "Qwen/Qwen3-14B", accelerator__count=1, model__quantization="fp8", model__max_model_len=8192
    ),
    "kept in the machine's memory": serving("transformers 4.51.3", "nvidia/rtx-4090", "meta-llama/Llama-3.3-70B-Instruct"),
    "AMD's builds pin other things": {"accelerator.product": "amd/mi300x", "accelerator.arch": "gfx942", "toolkit.rocm": "7.0"}
    | with_("vllm 0.15.1", "torch 2.9.0 rocm7.0"),
    "a torch for the CUDA of the server": {"accelerator.product": "nvidia/jetson-t5000"} | with_("vllm 0.19.0 cu130"),
    "half precision by itself": serving("vllm 0.9.2", "nvidia/t4", "Qwen/Qwen3-0.6B", accelerator__count=1),
    "Grace Hopper": on("sm_90", platform__arch="aarch64") | with_("torch 2.5.1 cu124"),
    "the CUDA of the image tells the build": on("sm_120", image__cuda="12.8") | with_("torch 2.7.1"),
    "one's own weights of another format": serving("llama.cpp b9000", "nvidia/a100", "unsloth/DeepSeek-V4-Flash-GGUF"),
}


COMPILED: dict[str, Keys] = {
    "for the accelerator": with_("vllm 0.8.5", "torch 2.7.0 cu128") | {"frameworks/vllm/arch_list": ["sm_120"]},
    "for another CUDA": with_("vllm 0.8.5 cu128", "torch 2.7.0 cu128"),
    "between releases": with_("vllm 0.8.4.dev0+gabcdef", "torch 2.7.0 cu128"),
    "from a commit": with_("vllm 0.8.5+gabcdef", "torch 2.7.0 cu128"),
}


@pytest.mark.parametrize("name", COMPILED)
def test_what_somebody_compiled_is_not_a_projects_build(name: str, catalog: Catalog) -> None:
    """It may hold other code, and is bound to the torch that was there, so nothing of it is certain."""
    released = said(on("sm_120") | with_("vllm 0.8.5", "torch 2.7.0 cu128"), catalog)
    assert of("BD101", released) == of("PN101", released) == {Severity.ERROR}
    assert not [one for one in said(on("sm_120") | COMPILED[name], catalog) if one.severity is Severity.ERROR]


@pytest.mark.parametrize("name", WORKING)
def test_what_works_is_not_complained_about(name: str, catalog: Catalog) -> None:
    """An old driver's or kernel's end of life, which is no matter of programs, aside."""
    found = [one for one in said(WORKING[name], catalog) if one.severity in (Severity.ERROR, Severity.WARNING)]
    assert [one for one in found if not one.name.endswith("end-of-life")] == []


def test_a_release_between_two_has_what_both_have(catalog: Catalog) -> None:
    vllm, torch = catalog.frameworks["vllm"], catalog.components["torch"]
    assert release_of(vllm, "0.8.3").needs["torch"] == "2.6.0"
    assert release_of(vllm, "0.5.4").needs["torch"] == "2.4.0"
    assert "torch" not in release_of(vllm, "0.5.3").needs  # 2.3 before, 2.4 after
    assert release_of(torch, "2.7").brings == {"cuda": "12.6"} and release_of(torch, "2.7").pins == {}
    assert release_of(torch, "99.0").needs == {}
    assert release_of(torch, "nightly").version == "nightly"


@pytest.mark.parametrize(
    ("build", "cuda"),
    [("cu128", "12.8"), ("cu12torch2.7", "12"), ("cu123torch2.4", "12.3"), ("cuda13", "13"), ("rocm6.2", None), ("", None)],
)
def test_the_cuda_of_a_build(build: str, cuda: str | None) -> None:
    assert cuda_of_build(build) == cuda


@pytest.mark.parametrize(
    ("name", "base", "form"),
    [
        ("Qwen/Qwen3-32B-AWQ", "Qwen3-32B", "awq"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "Qwen2.5-7B-Instruct", "gptq"),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic", "Meta-Llama-3.1-8B-Instruct", "fp8"),
        ("nvidia/DeepSeek-R1-FP4", "DeepSeek-R1", "nvfp4"),
        ("unsloth/Qwen3-8B-bnb-4bit", "Qwen3-8B", "bitsandbytes"),
        ("Qwen/Qwen3-8B", "Qwen3-8B", None),
    ],
)
def test_formats_in_names(name: str, base: str, form: str | None) -> None:
    assert checkpoint.in_name(name) == (base, form)


@pytest.mark.parametrize(
    ("name", "architecture", "layers", "quantization"),
    [
        ("deepseek-ai/DeepSeek-R1-0528", "DeepseekV3ForCausalLM", 61, "fp8-block"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507-FP8", "Qwen3MoeForCausalLM", 48, "fp8-block"),
        ("nvidia/Llama-3.3-70B-Instruct-FP8", "LlamaForCausalLM", 80, "fp8-modelopt"),
        ("meta-llama/Meta-Llama-3.1-8B", "LlamaForCausalLM", 32, None),
        ("MiniMaxAI/MiniMax-M2.1-NVFP4", "MiniMaxM2ForCausalLM", None, "nvfp4"),
    ],
)
def test_models_that_follow_from_their_names(
    name: str, architecture: str, layers: int | None, quantization: str | None, catalog: Catalog
) -> None:
    model = served(Snapshot(schema="aistack/snapshot/v1", model=SeenModel(id=name)), catalog)
    assert model is not None
    assert (model.id, model.architecture, model.layers, model.quantization) == (name, architecture, layers, quantization)


def test_a_name_that_is_like_none(catalog: Catalog) -> None:
    assert served(Snapshot(schema="aistack/snapshot/v1", model=SeenModel(id="example/never-heard-of")), catalog) is None
    assert served(Snapshot(schema="aistack/snapshot/v1"), catalog) is None


@pytest.mark.parametrize(
    ("word", "format_"),
    [
        ("fp8", "fp8"),
        ("modelopt", "fp8-modelopt"),
        ("modelopt_fp4", "nvfp4"),
        ("awq_marlin", "awq-marlin"),
        ("compressed-tensors", "compressed-tensors"),
        ("auto", None),
    ],
)
def test_words_for_formats(word: str, format_: str | None) -> None:
    assert checkpoint.quantization(word) == format_


def test_names_of_mixtures_of_experts() -> None:
    assert checkpoint.has_experts("Qwen/Qwen3-30B-A3B-FP8") and checkpoint.has_experts("mistralai/Mixtral-8x7B-v0.1")
    assert not checkpoint.has_experts("Qwen/Qwen3-32B")
