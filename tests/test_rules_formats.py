"""Rules about models on programs: formats of numbers and weights, lengths, heads, memory; and what names of checkpoints tell."""

from __future__ import annotations

import pytest
from program_snapshots import Case, explained, hold, on, serving, with_

from aistack.compose.programs import served
from aistack.diagnostics import Severity
from aistack.facts import checkpoint
from aistack.facts.catalog import Catalog
from aistack.facts.snapshot import SeenModel, Snapshot

CASES = {
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
    "MXFP4 before Ampere, by the day of the build": Case(
        "PR102",
        on("sm_75") | {"frameworks.vllm": {"as_of": "2025-08-05"}, "model.id": "openai/gpt-oss-120b"},
        {"accelerator.arch": "sm_80"},
        "accelerator.arch",
    ),
    "heads of an older model": Case(
        "MD105",
        serving("vllm 0.5.1", "nvidia/a100-sxm-80gb", "Qwen/Qwen2-57B-A14B-Instruct", accelerator__count=8, model__tensor_parallel=8),
        {"model.tensor_parallel": 4},
        "model.id",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_rules(name: str, catalog: Catalog) -> None:
    hold(CASES[name], catalog)


@pytest.mark.parametrize("rule", sorted({case.rule for case in CASES.values()}))
def test_rules_say_why_and_what_about(rule: str, catalog: Catalog) -> None:
    explained(CASES, rule, catalog)


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
