"""What a model keeps in memory, how long its requests may be, and the number formats that a release computes with."""

from __future__ import annotations

import re

import pytest
from judged_snapshots import Row, check, judged, named

from aistack.compose import memory
from aistack.diagnostics import Severity
from aistack.facts import checkpoint
from aistack.facts.catalog import Catalog

MISTRAL = "id: mistralai/Mistral-7B-Instruct-v0.3, max_model_len"
LONG = "is more than `mistralai/Mistral-7B-Instruct-v0.3` was made for"
GEMMA = "accelerator: {product: nvidia/l40s, count: 1}; model: {id: google/gemma-3-12b-it, max_model_len: 131072}"
SCOUT = "accelerator: {product: nvidia/h200-sxm-141gb, count: 8}; model: {id: meta-llama/Llama-4-Scout-17B-16E-Instruct, tensor_parallel: 8"


def served(program: str, product: str, model: str, count: int = 1) -> str:
    """A snapshot of so many of a product with a program (`vllm: 0.11.0`) and a model's keys."""
    return f"accelerator: {{product: nvidia/{product}, count: {count}}}; frameworks: {{{program}}}; model: {{{model}}}"


SPLIT = "id: Qwen/Qwen3-235B-A22B-FP8, max_model_len: 16384, tensor_parallel: 8"

ROWS = (
    Row(
        rule="MD104",
        says=LONG,
        fires=f"frameworks: {{vllm: 0.11.0}}; model: {{{MISTRAL}: 65536}}",
        silent=f"frameworks: {{vllm: 0.11.0}}; model: {{{MISTRAL}: 32768}}",
        lacking="frameworks: {vllm: 0.11.0}; model: {id: mistralai/Mistral-7B-Instruct-v0.3}",
    ),
    Row(
        rule="MD104",
        says=LONG,
        fires=f"frameworks: {{sglang: 0.5.2}}; model: {{{MISTRAL}: 65536}}",
        silent=f"frameworks: {{sglang: 0.5.2}}; model: {{{MISTRAL}: 65536, rope_scaling: {{rope_type: yarn, factor: 2.0}}}}",
        lacking="frameworks: {sglang: 0.5.2}; model: {max_model_len: 65536}",
    ),
    Row(
        rule="MD104",
        says=LONG,
        severity=Severity.WARNING,
        fires=f"frameworks: {{sglang: 0.4.4}}; model: {{{MISTRAL}: 65536}}",
        silent=f"frameworks: {{vllm: 0.11.0}}; model: {{{MISTRAL}: 65536, hf_overrides: {{rope_parameters: {{rope_type: yarn}}}}}}",
        lacking="frameworks: {sglang: 0.4.4}; model: {max_model_len: 65536}",
    ),
    Row(
        rule="MD104",
        says="is more than `Qwen/QwQ-32B` was made for",
        severity=Severity.WARNING,
        fires="frameworks: {vllm: 0.11.0}; model: {id: Qwen/QwQ-32B, max_model_len: 131072}",
        silent="frameworks: {vllm: 0.11.0}; model: {id: Qwen/Qwen3-8B, max_model_len: 40960}",
        lacking="model: {max_model_len: 131072}",
    ),
    Row(
        rule="MD104",
        says="is more than `Qwen/Qwen3-8B` was made for",
        fires="frameworks: {vllm: 0.11.0}; model: {id: Qwen/Qwen3-8B, max_model_len: 131072}",
        silent="frameworks: {vllm: 0.11.0}; model: {id: Qwen/Qwen3-4B-Instruct-2507, max_model_len: 262144}",
        lacking="model: {max_model_len: 262144}",
    ),
    Row(
        rule="MD104",
        says=LONG,
        severity=Severity.WARNING,
        fires=f"frameworks: {{vllm: {{version: 0.11.0, env: {{VLLM_ALLOW_LONG_MAX_MODEL_LEN: 1}}}}}}; model: {{{MISTRAL}: 65536}}",
        silent=f"frameworks: {{vllm: {{version: 0.11.0, env: {{VLLM_ALLOW_LONG_MAX_MODEL_LEN: 1}}}}}}; model: {{{MISTRAL}: 8192}}",
        lacking="frameworks: {vllm: {version: 0.11.0, env: {VLLM_ALLOW_LONG_MAX_MODEL_LEN: 1}}}; model: {max_model_len: 65536}",
    ),
    Row(
        rule="ME102",
        says="needs 70.7 GiB",
        fires=f"frameworks: {{vllm: 0.9.0}}; {GEMMA}",
        silent=f"frameworks: {{vllm: 0.9.1}}; {GEMMA}",
        lacking=f"frameworks: {{vllm: {{}}}}; {GEMMA}",
    ),
    Row(
        rule="ME102",
        says="`meta-llama/Llama-4-Scout-17B-16E-Instruct` does not fit",
        fires=f"frameworks: {{vllm: 0.13.0}}; {SCOUT}, max_model_len: 5000000}}",
        silent=f"frameworks: {{vllm: 0.14.0}}; {SCOUT}, max_model_len: 5000000}}",
        lacking=f"frameworks: {{vllm: {{}}}}; {SCOUT}, max_model_len: 5000000}}",
    ),
    Row(
        rule="ME102",
        says="does not fit with requests of 40960 tokens",
        severity=Severity.WARNING,
        fires=served("sglang: 0.5.2", "l4", "id: Qwen/Qwen3-8B, max_model_len: 40960, gpu_memory_utilization: 0.85"),
        silent=served("sglang: 0.5.2", "l4", "id: Qwen/Qwen3-8B, max_model_len: 20480, gpu_memory_utilization: 0.85"),
        lacking=served("sglang: 0.5.2", "l4", "id: Qwen/Qwen3-8B, gpu_memory_utilization: 0.85"),
    ),
    Row(
        rule="MD108",
        says="requests of up to 4096 tokens, not of 8192",
        fires="frameworks: {vllm: 0.5.4}; model: {id: google/gemma-2-27b-it, max_model_len: 8192}",
        silent="frameworks: {vllm: 0.6.3}; model: {id: google/gemma-2-27b-it, max_model_len: 8192}",
        lacking="frameworks: {vllm: 0.5.4}; model: {id: google/gemma-2-27b-it}",
    ),
    Row(
        rule="MD103",
        says="vllm 0.11.0 does not know `meta-llama/Llama-3.2-11B-Vision-Instruct`",
        fires=served("vllm: 0.11.0", "a100-sxm-80gb", "id: meta-llama/Llama-3.2-11B-Vision-Instruct, max_model_len: 8192"),
        silent=served("vllm: 0.10.2", "a100-sxm-80gb", "id: meta-llama/Llama-3.2-11B-Vision-Instruct, max_model_len: 8192"),
        lacking=served("vllm: {}", "a100-sxm-80gb", "id: meta-llama/Llama-3.2-11B-Vision-Instruct, max_model_len: 8192"),
    ),
    Row(
        rule="MD106",
        says="the perceptron of `Qwen/Qwen2.5-14B-Instruct-AWQ` is 13824 wide",
        severity=Severity.WARNING,
        fires=served("vllm: 0.11.0", "l40s", "id: Qwen/Qwen2.5-14B-Instruct-AWQ, tensor_parallel: 8", 8),
        silent=served("vllm: 0.11.0", "l40s", "id: Qwen/Qwen2.5-14B-Instruct-AWQ, tensor_parallel: 4", 4),
        lacking=served("vllm: 0.11.0", "l40s", "id: Qwen/Qwen2.5-14B-Instruct-AWQ"),
    ),
    Row(
        rule="MD106",
        says="each expert of `MiniMaxAI/MiniMax-M2.5` is 1536 wide",
        severity=Severity.WARNING,
        fires=served("vllm: 0.14.0", "h100-sxm-80gb", "id: MiniMaxAI/MiniMax-M2.5, tensor_parallel: 8", 8),
        silent=served("vllm: 0.14.0", "h200-sxm-141gb", "id: MiniMaxAI/MiniMax-M2.5, tensor_parallel: 4", 4),
        lacking=served("vllm: 0.14.0", "h100-sxm-80gb", "id: MiniMaxAI/MiniMax-M2.5", 8),
    ),
    Row(
        rule="MD106",
        says="each expert of `Qwen/Qwen3-235B-A22B-FP8` is 1536 wide",
        fires=served("vllm: 0.8.5", "h200-sxm-141gb", f"{SPLIT}, expert_parallel: false", 8),
        silent=served("vllm: 0.8.5", "h200-sxm-141gb", f"{SPLIT}, expert_parallel: true", 8),
        lacking=served("vllm: 0.29.0", "h200-sxm-141gb", f"{SPLIT}, expert_parallel: false", 8),
    ),
    Row(
        rule="MD106",
        says="each expert of `Qwen/Qwen3-235B-A22B-FP8` is 1536 wide",
        severity=Severity.WARNING,
        fires=served("vllm: 0.28.0", "h200-sxm-141gb", SPLIT, 8),
        silent=served("vllm: 0.29.0", "h200-sxm-141gb", SPLIT, 8),
        lacking=served("vllm: 0.28.0", "h200-sxm-141gb", "id: Qwen/Qwen3-235B-A22B-FP8, expert_parallel: false", 8),
    ),
    Row(
        rule="MD110",
        says="transformers 4.49.0 does not know Qwen3ForCausalLM",
        fires="frameworks: {transformers: 4.49.0}; model: {id: Qwen/Qwen3-8B}",
        silent="frameworks: {transformers: 4.51.0.dev0}; model: {id: Qwen/Qwen3-8B}",
        lacking="frameworks: {transformers: {}}; model: {id: Qwen/Qwen3-8B}",
    ),
    Row(
        rule="MD111",
        says="transformers 4.50.3 does not know DeepseekV3ForCausalLM by itself",
        severity=Severity.WARNING,
        fires="frameworks: {transformers: 4.50.3}; model: {id: deepseek-ai/DeepSeek-R1}",
        silent="frameworks: {transformers: 4.51.0}; model: {id: deepseek-ai/DeepSeek-R1}",
        lacking="frameworks: {transformers: 4.50.3}; model: {id: somebody/else}",
    ),
    Row(
        rule="MD107",
        says="reads gguf weights only with the plugin `vllm-gguf-plugin`",
        severity=Severity.WARNING,
        fires="frameworks: {vllm: 0.25.0}; model: {id: unsloth/Qwen3-8B-GGUF}",
        silent="frameworks: {vllm: 0.23.0}; model: {id: unsloth/Qwen3-8B-GGUF}",
        lacking="frameworks: {vllm: {}}; model: {id: unsloth/Qwen3-8B-GGUF}",
    ),
    Row(
        rule="MD107",
        says="only with the plugin `vllm-bnb-plugin`",
        severity=Severity.WARNING,
        fires="frameworks: {vllm: 0.29.0}; model: {id: Qwen/Qwen3-8B, quantization: bitsandbytes}",
        silent="frameworks: {vllm: 0.29.0, vllm-bnb-plugin: {}}; model: {id: Qwen/Qwen3-8B, quantization: bitsandbytes}",
        lacking="frameworks: {vllm: 0.29.0}; model: {id: Qwen/Qwen3-8B}",
    ),
    Row(
        rule="PR102",
        says="no kernels for fp8-modelopt weights on compute capability 8.0",
        fires=served("vllm: 0.11.0", "a100-sxm-80gb", "id: nvidia/Llama-3.1-8B-Instruct-FP8, max_model_len: 8192"),
        silent=served("vllm: 0.11.0", "a100-sxm-80gb", "id: RedHatAI/Llama-3.1-8B-Instruct-FP8, max_model_len: 8192"),
        lacking="frameworks: {vllm: 0.11.0}; model: {id: nvidia/Llama-3.1-8B-Instruct-FP8}",
    ),
    Row(
        rule="PR102",
        says="no kernels for fp8-block weights on compute capability 7.5",
        fires=served("vllm: 0.13.0", "t4", "id: Qwen/Qwen3-4B-FP8, max_model_len: 8192"),
        silent=served("vllm: 0.14.0", "t4", "id: Qwen/Qwen3-4B-FP8, max_model_len: 8192"),
        lacking="accelerator: {product: nvidia/t4}; frameworks: {vllm: {}}; model: {id: Qwen/Qwen3-4B-FP8, max_model_len: 8192}",
    ),
    Row(
        rule="PR112",
        says="does not compute with INT8 weights and activations on compute capability 12.0",
        fires=served("vllm: 0.11.0", "rtx-5090", "id: RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a8, max_model_len: 8192"),
        silent=served("vllm: 0.11.0", "rtx-4090", "id: RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a8, max_model_len: 8192"),
        lacking=served("vllm: 0.11.0", "rtx-5090", "max_model_len: 8192"),
    ),
    Row(
        rule="PR112",
        says="does not compute with INT8",
        fires=served("vllm: 0.12.0", "b200", "id: a/Qwen3-8B-W8A8, quantization: compressed-tensors, max_model_len: 8192"),
        silent=served("vllm: 0.12.0", "b200", "id: a/Qwen3-8B-W4A16, quantization: compressed-tensors, max_model_len: 8192"),
        lacking=served("vllm: 0.12.0", "b200", "quantization: compressed-tensors"),
    ),
    Row(
        rule="PR113",
        says="computes with awq weights in float16 alone, not in bfloat16",
        fires=served("vllm: 0.6.3", "a10", "id: Qwen/Qwen2.5-7B-Instruct-AWQ, quantization: awq, dtype: bfloat16, max_model_len: 8192"),
        silent=served("vllm: 0.6.3", "a10", "id: Qwen/Qwen2.5-7B-Instruct-AWQ, dtype: bfloat16, max_model_len: 8192"),
        lacking=served("vllm: 0.6.3", "a10", "id: Qwen/Qwen2.5-7B-Instruct-AWQ, quantization: awq, max_model_len: 8192"),
    ),
    Row(
        rule="PR114",
        says="cannot share bitsandbytes weights among 2 accelerators",
        fires=served("vllm: 0.6.0", "rtx-3090", "id: unsloth/llama-3-8b-bnb-4bit, tensor_parallel: 2", 2),
        silent=served("vllm: 0.6.2", "rtx-3090", "id: unsloth/llama-3-8b-bnb-4bit, tensor_parallel: 2", 2),
        lacking=served("vllm: 0.6.0", "rtx-3090", "id: unsloth/llama-3-8b-bnb-4bit", 2),
    ),
    Row(
        rule="PR115",
        says="no kernels for nvfp4 weights on compute capability 9.0",
        fires=served("sglang: 0.5.4", "h100-sxm-80gb", "id: nvidia/Qwen3-235B-A22B-NVFP4, tensor_parallel: 4", 4),
        silent=served("sglang: 0.5.13", "h100-sxm-80gb", "id: nvidia/Qwen3-235B-A22B-NVFP4, tensor_parallel: 4", 4),
        lacking="accelerator: {product: nvidia/h100-sxm-80gb}; frameworks: {sglang: {}}; model: {id: nvidia/Qwen3-235B-A22B-NVFP4}",
    ),
    Row(
        rule="BD114",
        says="the V1 engine of vLLM 0.9.2 does not run on compute capability 7.5",
        fires=served("vllm: {version: 0.9.2, engine: v1}", "t4", "id: Qwen/Qwen3-4B, dtype: half, max_model_len: 8192"),
        silent=served("vllm: 0.9.2", "t4", "id: Qwen/Qwen3-4B, dtype: half, max_model_len: 8192"),
        lacking="frameworks: {vllm: {version: 0.9.2, engine: v1}}",
    ),
)


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_rules(row: Row, catalog: Catalog) -> None:
    check(row, catalog)


WORKING = (
    served("vllm: 0.8.3", "h200-sxm-141gb", "id: meta-llama/Llama-4-Scout-17B-16E-Instruct, tensor_parallel: 8, max_model_len: 3600000", 8),
    served("vllm: 0.8.3", "h100-sxm-80gb", "id: meta-llama/Llama-4-Scout-17B-16E-Instruct, tensor_parallel: 8, max_model_len: 1000000", 8),
    served("vllm: 0.10.2", "a100-sxm-80gb", "id: openai/gpt-oss-120b, max_model_len: 131072"),
    served("vllm: 0.10.2", "l4", "id: openai/gpt-oss-20b, max_model_len: 131072"),
    served("vllm: 0.11.0", "a100-sxm-80gb", "id: nvidia/Llama-3.3-70B-Instruct-FP4, tensor_parallel: 2, max_model_len: 8192", 2),
    served("vllm: 0.11.0", "l40s", "id: Qwen/Qwen2.5-72B-Instruct-AWQ, tensor_parallel: 8", 8),
    served("vllm: 0.9.2", "rtx-3090", "id: Qwen/Qwen3-8B, kv_cache_dtype: fp8, max_model_len: 8192"),
    served("vllm: 0.12.0", "rtx-3090", "id: Qwen/Qwen3-8B, kv_cache_dtype: fp8, max_model_len: 8192"),
    served("vllm: 0.11.0", "rtx-3090", "id: Qwen/Qwen3-8B, kv_cache_dtype: fp8_e5m2, max_model_len: 8192"),
    served("vllm: 0.11.0", "b200", "id: nvidia/DeepSeek-V3.1-NVFP4, quantization: modelopt, tensor_parallel: 4", 4),
    served("vllm: 0.8.5", "rtx-4090", "id: unsloth/Qwen3-8B-bnb-4bit, max_model_len: 8192"),
    served("vllm: 0.11.0", "l40s", "id: Qwen/Qwen2.5-VL-7B-Instruct, max_model_len: 128000"),
    served("vllm: 0.9.0", "h100-sxm-80gb", "id: deepseek-ai/DeepSeek-R1, tensor_parallel: 16", 8),
)


@pytest.mark.parametrize("text", WORKING)
def test_what_works_is_no_error(text: str, catalog: Catalog) -> None:
    assert [found for found in judged(text, catalog) if found.severity is Severity.ERROR] == []


def test_a_model_that_a_release_does_not_know_is_told_with_the_document_about_that(catalog: Catalog) -> None:
    (found,) = judged("frameworks: {vllm: 0.8.3}; model: {id: Qwen/Qwen3-8B}", catalog)
    assert found.rule == "MD103" and found.source is not None and "registry.py" in found.source


def test_what_is_compiled_in_is_told_with_the_document_about_that(catalog: Catalog) -> None:
    said = judged("accelerator: {arch: sm_120}; frameworks: {torch: {version: 2.6.0, build: cu124}}", catalog)
    (found,) = (one for one in said if one.rule == "AC105")
    assert found.source is not None and "pytorch" in found.source


def test_layers_with_a_window_keep_that_and_what_is_computed(catalog: Catalog) -> None:
    model = catalog.models["google/gemma-3-27b-it"]
    kept, whole = memory.cache(model, 1), memory.cache(model, 1, windowed=False)
    assert kept is not None and whole is not None
    # 10 layers with every token, 52 with 1023 and 2048; each 2 x 16 heads x 128 x 2 bytes a token
    assert kept.size(131072) == 8192 * (10 * 131072 + 52 * 3071)
    assert whole.size(131072) == 8192 * 62 * 131072
    assert kept.size(2000) == whole.size(2000)
    for room in (0, 10**6, 10**9, 10**10):
        assert kept.size(kept.longest(room)) <= room < kept.size(kept.longest(room) + 1)


def test_where_all_layers_have_a_window_length_costs_nothing(catalog: Catalog) -> None:
    kept = memory.cache(catalog.models["mistralai/Mistral-7B-Instruct-v0.1"], 1)
    assert kept is not None and kept.size(32768) == kept.size(10**6) and kept.longest(10**9) == memory.ENDLESS


def test_windows_are_facts_that_agree(catalog: Catalog) -> None:
    for model in catalog.models.values():
        facts = (model.window, model.window_kind, model.window_kv_bytes_per_token)
        assert None not in facts or set(facts) == {None}, model.id
        assert model.scaled_context is None or (model.max_context or 0) < model.scaled_context, model.id


@pytest.mark.parametrize(
    ("word", "times"), [(None, 1), ("auto", 1), ("bfloat16", 1), ("fp8", 2), ("fp8_e5m2", 2), ("nvfp4", 4), ("turboquant_4bit_nc", 4)]
)
def test_a_cache_in_fewer_bits(word: str | None, times: int) -> None:
    assert memory.smaller(word) == times


def test_what_fp8_at_the_end_of_a_name_is() -> None:
    stored = [checkpoint.in_name(name)[1] for name in ("nvidia/A-FP8", "Qwen/A-FP8", "Qwen/A-FP8-Static-PerTensor", "x/A-FP8-dynamic")]
    assert stored == ["fp8-modelopt", "fp8-block", "fp8", "fp8"]


def test_mixtures_of_experts_that_are_named_so_are_known_to_be(catalog: Catalog) -> None:
    named_so = [model for model in catalog.models.values() if re.search(r"-A\d+B\b", model.id) and "Embedding" not in model.id]
    assert [model.id for model in named_so if model.experts is None] == []
