"""Rules about wheels, dropped architectures, sizes by name, pins apart and bad releases: each fires, and its neighbour is silent.

A case is a rule, a snapshot by dotted keys on which it fires, what to change so that it works, and a key without which nothing is certain.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from program_snapshots import Case, Keys, said, with_

from aistack.compose.refresh_wheels import entered, newest, spans
from aistack.diagnostics import Severity
from aistack.facts.catalog import Catalog
from aistack.facts.model_names import contained, told
from aistack.facts.version import Scheme, parse_range

WARNING = Severity.WARNING


def machine(**more: object) -> Keys:
    return {key.replace("__", "."): value for key, value in more.items()}


GH200 = machine(accelerator__product="nvidia/gh200", platform__arch="aarch64")
BUILT = machine(driver__version="550.90.07", driver__module__install="dkms")

CASES = {
    "a build that needs a newer glibc": Case(
        "WH101",
        machine(platform__glibc="2.35", platform__arch="x86_64") | with_("vllm 0.30.0 cpu"),
        {"platform.glibc": "2.39"},
        "platform.glibc",
    ),
    "a distribution has the glibc that it has": Case(
        "WH101",
        machine(platform__os="ubuntu-20.04") | with_("flash-attn 2.8.2 cu12torch2.7"),
        with_("flash-attn 2.7.4.post1 cu12torch2.6"),
        "platform.os",
    ),
    "a library that needs more than the wheel's name says": Case(
        "WH101",
        machine(platform__os="ubuntu-20.04", platform__arch="x86_64") | with_("vllm 0.5.2"),
        with_("vllm 0.5.3.post1"),
        "platform.os",
    ),
    "neither wheel nor sources for the processor": Case(
        "WH102", GH200 | with_("bitsandbytes 0.43.1"), with_("bitsandbytes 0.46.0"), "frameworks/bitsandbytes/version"
    ),
    "sources against a torch without CUDA": Case(
        "WH102", GH200 | with_("vllm 0.6.4.post1", "torch 2.5.1"), with_("vllm 0.22.0"), "frameworks/vllm/version"
    ),
    "no wheel for the Python": Case("WH103", with_("torch 2.4.0", "python 3.13"), with_("python 3.12.3"), "frameworks/python/version"),
    "torch for processors": Case("WH104", GH200 | with_("torch 2.8.0"), with_("torch 2.11.0"), "frameworks/torch/version", WARNING),
    "Volta and TensorRT": Case(
        "BD130", machine(accelerator__arch="sm_70") | with_("tensorrt 10.5.0"), with_("tensorrt 10.4.0"), "accelerator.arch"
    ),
    "Blackwell and an older TensorRT": Case(
        "BD131", machine(accelerator__arch="sm_120") | with_("tensorrt 10.7.0.23"), with_("tensorrt 10.8.0"), "accelerator.arch"
    ),
    "Pascal and RAPIDS": Case("BD132", machine(accelerator__arch="sm_60") | with_("cudf 24.10"), with_("cudf 23.12"), "accelerator.arch"),
    "Kepler and DALI for CUDA 12": Case(
        "BD133",
        machine(accelerator__arch="sm_37") | with_("nvidia-dali-cuda120 1.41.0"),
        machine(accelerator__arch="sm_50"),
        "accelerator.arch",
    ),
    "Pascal and Triton": Case(
        "BD134", machine(accelerator__arch="sm_61") | with_("triton 3.1.0"), {"accelerator.arch": "sm_70"}, "accelerator.arch"
    ),
    "Turing and Triton": Case(
        "BD135", machine(accelerator__arch="sm_75") | with_("triton 3.3.0"), with_("triton 3.2.0"), "accelerator.arch", WARNING
    ),
    "Pascal and LMDeploy": Case(
        "BD136", machine(accelerator__arch="sm_60") | with_("lmdeploy 0.5.3"), {"accelerator.arch": "sm_70"}, "accelerator.arch"
    ),
    "Turing and Transformer Engine": Case(
        "BD137", machine(accelerator__arch="sm_75") | with_("transformer-engine 1.9.0"), {"accelerator.arch": "sm_80"}, "accelerator.arch"
    ),
    "Turing and ExLlamaV3": Case(
        "BD138", machine(accelerator__arch="sm_75") | with_("exllamav3 0.0.5"), {"accelerator.arch": "sm_86"}, "accelerator.arch"
    ),
    "the toolkit does not compile for it": Case(
        "NV109",
        machine(accelerator__arch="sm_61", toolkit__cuda="13.0") | with_("torch 2.9.0 cu126"),
        {"toolkit.cuda": "12.9"},
        "toolkit.cuda",
        WARNING,
    ),
    "TensorRT's own glibc": Case(
        "BD139",
        machine(platform__arch="x86_64", platform__glibc="2.17") | with_("tensorrt 10.9.0"),
        {"platform.glibc": "2.28"},
        "platform.glibc",
    ),
    "TensorRT and CUDA 13": Case(
        "BD140", machine(toolkit__cuda="13.0") | with_("tensorrt 10.9.0"), {"toolkit.cuda": "12.9"}, "toolkit.cuda"
    ),
    "the CUDA that a name tells": Case(
        "NV102", machine(accelerator__arch="sm_61") | with_("cupy-cuda13x 13.6.0"), {"accelerator.arch": "sm_75"}, "accelerator.arch"
    ),
    "Vega and rocBLAS": Case(
        "GX110", machine(accelerator__arch="gfx906", toolkit__rocm="6.4.1"), {"toolkit.rocm": "6.3.3"}, "toolkit.rocm"
    ),
    "a small integrated one": Case(
        "GX111", machine(accelerator__arch="gfx1036", toolkit__rocm="6.2.0"), {"accelerator.arch": "gfx1030"}, "toolkit.rocm", WARNING
    ),
    "Strix Halo under a new kernel": Case(
        "RC112",
        machine(accelerator__arch="gfx1151", platform__kernel="6.18.9", toolkit__rocm="7.1.1"),
        {"toolkit.rocm": "7.2"},
        "platform.kernel",
    ),
    "Strix Halo under an old kernel": Case(
        "RC113",
        machine(accelerator__arch="gfx1151", platform__kernel="6.17.1", driver__module__flavor="in-tree"),
        {"platform.kernel": "6.18.4"},
        "platform.kernel",
        WARNING,
    ),
    "Vega 20 and ROCm 4.1": Case(
        "RC114",
        machine(accelerator__arch="gfx906", platform__kernel="5.11.6", driver__module__flavor="in-tree", toolkit__rocm="4.1.0"),
        {"toolkit.rocm": "4.0.1"},
        "platform.kernel",
    ),
    "ROCm before the kernel's own driver": Case(
        "RC115",
        machine(accelerator__arch="gfx900", driver__module__flavor="in-tree", toolkit__rocm="1.8.0"),
        {"toolkit.rocm": "1.9.0"},
        "toolkit.rocm",
    ),
    "a toolkit known to be bad": Case(
        "RT120",
        {"runtime": {"container_toolkit": "1.17.0", "cdi": {"requested": ["nvidia.com/gpu=all"]}}},
        {"runtime": {"container_toolkit": "1.17.1", "cdi": {"requested": ["nvidia.com/gpu=all"]}}},
        "runtime",
    ),
    "a toolkit before CDI": Case(
        "RT121",
        {"runtime": {"container_toolkit": "1.11.0", "cdi": {"requested": ["nvidia.com/gpu=all"]}}},
        {"runtime": {"container_toolkit": "1.12.0", "cdi": {"requested": ["nvidia.com/gpu=all"]}}},
        "runtime",
    ),
    "NCCL and the new module": Case(
        "PT120",
        machine(fabric__peermem__module="nvidia-peermem") | with_("nccl 2.22.3"),
        with_("nccl 2.23.4"),
        "fabric.peermem.module",
        WARNING,
    ),
    "ONNX Runtime for another CUDA": Case(
        "PN120", machine(toolkit__cuda="12.0") | with_("onnxruntime 1.13.1"), {"toolkit.cuda": "11.8"}, "toolkit.cuda"
    ),
    "ONNX Runtime and cuDNN": Case(
        "PN121", with_("onnxruntime-gpu 1.20.1", "cudnn 8.9.7"), with_("cudnn 9.1.0"), "frameworks/cudnn/version"
    ),
    "ONNX Runtime and torch's cuDNN": Case(
        "PN122", with_("onnxruntime-gpu 1.20.1", "torch 2.3.1"), with_("torch 2.5.1"), "frameworks/torch/version", WARNING
    ),
    "CTranslate2 and cuDNN": Case(
        "PN123", with_("ctranslate2 4.4.0", "cudnn 9.1.0"), with_("ctranslate2 4.5.0"), "frameworks/cudnn/version"
    ),
    "CTranslate2 and torch": Case(
        "PN124", with_("ctranslate2 4.4.0", "torch 2.5.1"), with_("ctranslate2 4.5.0"), "frameworks/torch/version"
    ),
    "CTranslate2 and CUDA": Case(
        "PN125", machine(toolkit__cuda="11.8") | with_("ctranslate2 4.5.0"), with_("ctranslate2 3.24.0"), "toolkit.cuda"
    ),
    "xformers and FlashAttention": Case(
        "PN126", with_("xformers 0.0.32.post1", "flash-attn 2.8.3"), with_("flash-attn 2.8.2"), "frameworks/xformers/version"
    ),
    "TensorFlow and NumPy 2": Case("PN127", with_("tensorflow 2.15.0", "numpy 2.0.1"), with_("numpy 1.26.4"), "frameworks/numpy/version"),
    "pins that exclude each other": Case(
        "PN106", with_("vllm 0.6.6.post1", "vllm-flash-attn 2.6.2"), with_("vllm 0.6.0"), "frameworks/vllm-flash-attn/version"
    ),
    "an ABI that is only usual": Case(
        "PN103",
        with_("torch 2.3.0", "flash-attn 2.5.8 cu122torch2.3cxx11abiTRUE"),
        with_("torch 2.7.0"),
        "frameworks/torch/version",
        WARNING,
    ),
    "a candidate of a kernel": Case(
        "NV201",
        machine(platform__kernel="6.4.0-rc1", driver__version="530.41.03", driver__module__install="dkms"),
        machine(platform__kernel="6.3.1"),
        "platform.kernel",
    ),
    "R580 on Linux 6.19": Case(
        "NV201",
        machine(platform__kernel="6.19.2", driver__version="580.126.09", driver__module__install="dkms"),
        machine(driver__version="580.126.18"),
        "platform.kernel",
    ),
    "an option of gcc 11.3": Case(
        "MO106",
        BUILT | machine(platform__kernel_compiler="gcc-11.3", platform__compiler="gcc-9.5"),
        machine(platform__compiler="gcc-11.4"),
        "platform.compiler",
    ),
    "an option of gcc 15": Case(
        "MO106",
        BUILT | machine(platform__kernel_compiler="gcc-15.1", platform__compiler="gcc-14.2"),
        machine(platform__compiler="gcc-15.2"),
        "platform.compiler",
    ),
    "an old build stops at a minor version": Case(
        "MO106",
        machine(
            driver__version="470.57.02",
            driver__module__install="runfile",
            platform__kernel_compiler="gcc-11.2",
            platform__compiler="gcc-11.1",
        ),
        machine(driver__version="515.65.01"),
        "platform.compiler",
    ),
    "Gaudi's plug-in tells its release": Case(
        "GD101",
        machine(driver__version="1.18.0") | with_("habana-torch-plugin 1.19.0.561"),
        machine(driver__version="1.19.0"),
        "driver.version",
    ),
    "larger than all accelerators, by its name": Case(
        "ME104",
        machine(accelerator__product="nvidia/rtx-4090", accelerator__count=2, model__id="somebody/Thing-70B-Chat") | with_("vllm 0.8.5"),
        machine(model__id="somebody/Thing-70B-Chat-AWQ"),
        "accelerator.count",
    ),
    "a program that may keep a part elsewhere": Case(
        "ME104",
        machine(accelerator__product="nvidia/rtx-4090", accelerator__count=1, model__id="thing:70b") | with_("ollama 0.5.0"),
        machine(model__id="thing:32b"),
        "accelerator.product",
        WARNING,
    ),
    "hardly room beside the weights": Case(
        "ME104",
        machine(accelerator__product="nvidia/v100-16gb", accelerator__count=1, model__id="somebody/Thing-8B") | with_("vllm 0.5.4"),
        machine(model__id="somebody/Thing-3B"),
        "model.id",
        WARNING,
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_rule_fires_and_its_neighbour_is_silent(case: Case, catalog: Catalog) -> None:
    fired = [found.severity for found in said(case.fires, catalog) if found.rule == case.rule]
    assert case.severity in fired, fired
    again = [found.severity for found in said({**case.fires, **case.works}, catalog) if found.rule == case.rule]
    assert not {Severity.ERROR, case.severity} & set(again), again
    less = {key: value for key, value in case.fires.items() if key != case.missing}
    assert Severity.ERROR not in [found.severity for found in said(less, catalog) if found.rule == case.rule]


QUIET = {
    "an image has a C library and wheels of its own": machine(
        platform__os="rhel-7.9", platform__arch="aarch64", image__ref="vllm/vllm-openai:v0.6.4"
    )
    | with_("vllm 0.6.4.post1"),
    "Jetson has an index of its own": machine(accelerator__product="nvidia/jetson-orin-nx-16gb", platform__arch="aarch64")
    | with_("onnxruntime-gpu 1.16.3"),
    "torch from PyTorch's own index": GH200 | with_("torch 2.5.1 cu124"),
    "somebody compiled it": machine(platform__glibc="2.31") | with_("flash-attn 2.8.3"),
    "torch brings the CUDA": machine(toolkit__cuda="12.4") | with_("onnxruntime-gpu 1.16.3", "torch 2.3.1 cu118"),
    "a draft is smaller than its name": machine(
        accelerator__product="nvidia/l4", accelerator__count=1, model__id="somebody/EAGLE3-Thing-70B"
    )
    | with_("vllm 0.8.5"),
}


@pytest.mark.parametrize("snapshot", QUIET.values(), ids=QUIET)
def test_what_works_is_not_called_broken(snapshot: Keys, catalog: Catalog) -> None:
    assert [found for found in said(snapshot, catalog) if found.severity is Severity.ERROR] == []


def test_nothing_told_is_said_to_be_unknown(catalog: Catalog) -> None:
    snapshot = machine(accelerator__product="nvidia/l4", accelerator__count=1, model__id="somebody/Thing") | with_("vllm 0.8.5")
    assert [found.severity for found in said(snapshot, catalog) if found.rule == "ME104"] == [Severity.UNKNOWN]


@pytest.mark.parametrize(
    ("name", "parameters", "bits"),
    [
        ("Qwen/Qwen2.5-7B-Instruct-AWQ", 7.0, 4.0),
        ("Qwen/Qwen2-57B-A14B-Instruct", 57.0, None),
        ("mistralai/Mixtral-8x7B-v0.1", 56.0, None),
        ("llama3.1:70b-instruct-q4_K_M", 70.0, 4.0),
        ("TheBloke/Llama-2-70B-Chat-GPTQ", 70.0, 4.0),
        ("bartowski/Llama-3.3-70B-Instruct-GGUF", 70.0, 2.0),
        ("turboderp/Llama-3-70B-exl2-4.0bpw", 70.0, 4.0),
        ("nvidia/Llama-3.1-405B-Instruct-FP8", 405.0, 8.0),
        ("x/Llama-3.1-405B-quantized.w4a16", 405.0, 4.0),
        ("1bitLLM/bitnet_b1_58-3B", 3.0, 1.0),
        ("unsloth/gpt-oss-120b", 120.0, 4.0),
        ("yuhuili/EAGLE3-LLaMA3.1-Instruct-8B", None, None),
        ("microsoft/Phi-3.5-MoE-instruct", None, None),
    ],
)
def test_names_tell_sizes_and_formats(name: str, parameters: float | None, bits: float | None) -> None:
    found = told(name)
    assert found.parameters == (parameters and parameters * 1e9) and found.bits == bits


def test_names_tell_families() -> None:
    known = ["qwen2.5-7b-instruct", "llama-3.1-8b-instruct", "mixtral-8x7b-v0.1", "mistral-7b-instruct-v0.3", "qwen2.5-vl-72b-instruct"]
    assert contained("Hermes-3-Llama-3.1-8B", known) == "llama-3.1-8b-instruct"
    assert contained("Nous-Hermes-2-Mixtral-8x7B-DPO", known) == "mixtral-8x7b-v0.1"
    assert contained("OpenHermes-2.5-Mistral-7B", known) == "mistral-7b-instruct-v0.3"
    assert contained("DeepSeek-R1-Distill-Qwen-7B", known) == contained("Qwen2-7B-Instruct", known) == "qwen2.5-7b-instruct"
    for other in ("Qwen2.5-VL-7B-Instruct", "Qwen2.5-Coder-7B", "Llama-3.1-Nemotron-70B", "EAGLE-Llama-3.1-8B", "Qwen2.5-72B-Instruct"):
        assert contained(other, known) is None, other


NAMES = (
    "engine-1.0.tar.gz",
    "engine-1.0-cp39-cp39-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "engine-1.0-cp310-cp310-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "engine-1.1-cp39-abi3-manylinux_2_28_aarch64.whl",
    "engine-1.1-cp39-abi3-manylinux_2_31_x86_64.whl",
    "engine-1.1-cp39-abi3-musllinux_1_2_x86_64.whl",
    "engine-1.2-cp39-abi3-manylinux_2_28_aarch64.whl",
    "engine-1.2-cp39-abi3-manylinux_2_31_x86_64.whl",
    "engine-1.3rc1-py3-none-any.whl",
    "engine-1.3-cp312-cp312-win_amd64.whl",
    "not a name",
)


def test_names_of_files_tell_processors_and_pythons() -> None:
    last, second, first = spans(NAMES)
    assert (last.since, last.amd64, last.arm64) == ("1.3", None, None)
    assert second.since == "1.1" and second.arm64 and second.amd64 and second.amd64.glibc == "2.31" and second.amd64.pythons == ("3.9+",)
    assert first.amd64 and first.amd64.glibc == "2.17" and first.amd64.pythons == ("3.9", "3.10") and first.sources
    assert newest(NAMES) == "1.3"
    assert first.amd64.has("3.10.4") and not first.amd64.has("3.11") and second.amd64.has("3.13")


def test_what_was_read_is_entered_and_what_was_written_stays(catalog: Catalog) -> None:
    file = Path(__file__).parent.parent / "recipes/wheels/torch.yaml"
    before = file.read_text()
    after = entered(before, NAMES, "2030-01-01")
    assert "  # The size of the wheels" in after and 'newest: "1.3"' in after and "checked: 2030-01-01" in after
    assert '  - {since: "1.1", amd64: {glibc: "2.31", pythons: ["3.9+"]}, arm64: {glibc: "2.28", pythons: ["3.9+"]}}' in after
    assert entered(after, NAMES, "2031-01-01") == after, "nothing new, nothing changed"
    torch = catalog.wheels["torch"]
    assert torch.of("99.0") is None and torch.of("2.5.1", "cu999") is None
    span = torch.of("2.5.1")
    assert span is not None and span.arm64 is not None and not span.arm64.accelerators and span.wheel("ppc64le") is None


def test_a_candidate_belongs_to_its_series() -> None:
    since, before = parse_range(">=6.4", Scheme.KERNEL), parse_range("<6.4", Scheme.KERNEL)
    assert since.admits("6.4.0-rc1") and not before.admits("6.4-rc7") and since.admits("6.4~rc2") and not since.admits("6.3.9")
