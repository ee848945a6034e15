"""What works is not complained about, what somebody compiled is no project's build, and what is known of releases in between."""

from __future__ import annotations

import pytest
from program_snapshots import Keys, of, on, said, serving, with_

from aistack.compose.programs import cuda_of_build, release_of
from aistack.diagnostics import Severity
from aistack.facts.catalog import Catalog

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
