"""What the reference of an image alone tells, and what the rules make of it."""

from __future__ import annotations

import re

import pytest
from judged_snapshots import Row, check, judged, named

from aistack.compose import requirement
from aistack.diagnostics import Severity
from aistack.facts import images
from aistack.facts.catalog import Catalog
from aistack.facts.images import Image, expression, placeholders, told
from aistack.facts.version import Scheme

R570 = "driver: {version: 570.172.08}"

ROWS = (
    Row(
        rule="RQ101",
        says="image vllm/vllm-openai:v0.9.2 asks for `cuda>=12.8`, which driver 550.163.01 does not offer",
        fires="accelerator: {product: nvidia/rtx-4090}; driver: {version: 550.163.01}; image: {ref: 'vllm/vllm-openai:v0.9.2'}",
        silent="accelerator: {product: nvidia/l4}; driver: {version: 550.163.01}; image: {ref: 'vllm/vllm-openai:v0.9.2'}",
        lacking="driver: {version: 550.163.01}; image: {ref: 'vllm/vllm-openai:v0.9.2'}",
    ),
    Row(
        rule="RQ101",
        says="asks for `cuda>=12.4`",
        fires="accelerator: {product: nvidia/v100}; driver: {version: '530'}; image: {ref: 'm.example/x/nvidia/cuda:12.4.1-base-ubi9'}",
        silent="accelerator: {product: nvidia/v100}; driver: {version: '535'}; image: {ref: 'm.example/x/nvidia/cuda:12.4.1-base-ubi9'}",
        lacking="accelerator: {product: nvidia/v100}; image: {ref: 'm.example/x/nvidia/cuda:12.4.1-base-ubi9'}",
    ),
    Row(
        rule="FC101",
        says="driver libraries 550 do not run on driver branch 535 with a consumer product",
        fires="accelerator: {product: nvidia/rtx-4090}; driver: {version: 535.171.04}; image: {ref: 'vllm/vllm-openai:v0.5.0'}",
        silent="accelerator: {product: nvidia/rtx-4090}; driver: {version: 550.163.01}; image: {ref: 'vllm/vllm-openai:v0.5.0'}",
        lacking="accelerator: {product: nvidia/rtx-4090}; image: {ref: 'vllm/vllm-openai:v0.5.0'}",
    ),
    Row(
        rule="FC101",
        says="driver libraries 560 do not run",
        severity=Severity.WARNING,
        fires="accelerator: {product: nvidia/rtx-4090}; driver: {version: 535.171.04}; image: {ref: 'nvcr.io/nvidia/pytorch:24.10-py3'}",
        silent="accelerator: {product: nvidia/rtx-4090}; driver: {version: 560.35.03}; image: {ref: 'nvcr.io/nvidia/pytorch:24.10-py3'}",
        lacking="driver: {version: 535.171.04}; image: {ref: 'nvcr.io/nvidia/pytorch:24.10-py3'}",
    ),
    Row(
        rule="NV101",
        says="driver 570.172.08 is too old for CUDA 13.0",
        fires=f"accelerator: {{product: nvidia/rtx-5090}}; {R570}; image: {{ref: 'nvcr.io/nvidia/pytorch:25.09-py3'}}",
        silent=f"accelerator: {{product: nvidia/rtx-5090}}; {R570}; image: {{ref: 'nvcr.io/nvidia/pytorch:25.06-py3'}}",
        lacking=f"accelerator: {{product: nvidia/h100}}; {R570}; image: {{ref: 'nvcr.io/nvidia/pytorch:25.09-py3'}}",
    ),
    Row(
        rule="NV101",
        says="driver 560.35.03 is too old for CUDA 13.0",
        fires="accelerator: {product: nvidia/h100}; driver: {version: 560.35.03}; image: {ref: 'nvcr.io/nvidia/pytorch:25.09-py3'}",
        silent=f"accelerator: {{product: nvidia/h100}}; {R570}; image: {{ref: 'nvcr.io/nvidia/pytorch:25.09-py3'}}",
        lacking="accelerator: {product: nvidia/h100}; image: {ref: 'nvcr.io/nvidia/pytorch:25.09-py3'}",
    ),
    Row(
        rule="NV101",
        says="driver 470.256.02 is too old for CUDA 12.4",
        fires="driver: {version: 470.256.02}; image: {ref: 'pytorch/pytorch:2.5.1-cuda12.4-cudnn9-runtime'}",
        silent="driver: {version: 525.147.05}; image: {ref: 'pytorch/pytorch:2.5.1-cuda12.4-cudnn9-runtime'}",
        lacking="accelerator: {product: nvidia/l4}; image: {ref: 'pytorch/pytorch:2.5.1-cuda12.4-cudnn9-runtime'}",
    ),
    Row(
        rule="AC105",
        says="torch 2.5.1 has no code for compute capability 12.0",
        fires="accelerator: {product: nvidia/rtx-5090}; image: {ref: 'pytorch/pytorch:2.5.1-cuda12.4-cudnn9-runtime'}",
        silent="accelerator: {product: nvidia/rtx-5090}; image: {ref: 'pytorch/pytorch:2.7.0-cuda12.8-cudnn9-runtime'}",
        lacking="image: {ref: 'pytorch/pytorch:2.5.1-cuda12.4-cudnn9-runtime'}",
    ),
    Row(
        rule="AC106",
        says="the image holds CUDA 12.4.1, which is for NVIDIA's accelerators",
        fires="accelerator: {product: amd/mi300x}; image: {ref: 'vllm/vllm-openai:v0.6.3'}",
        silent="accelerator: {product: amd/mi300x}; image: {ref: 'rocm/vllm:rocm6.3.1_instinct_vllm0.8.3_20250410'}",
        lacking="image: {ref: 'vllm/vllm-openai:v0.6.3'}",
    ),
    Row(
        rule="RC101",
        says="ROCm 7.0 is too new for kernel driver of ROCm 6.1",
        fires="accelerator: {product: amd/mi300x}; toolkit: {kmd: '6.1'}; "
        "image: {ref: 'rocm/pytorch:rocm7.0_ubuntu24.04_py3.12_pytorch_release_2.8.0'}",
        silent="accelerator: {product: amd/mi300x}; toolkit: {kmd: '7.0'}; "
        "image: {ref: 'rocm/pytorch:rocm7.0_ubuntu24.04_py3.12_pytorch_release_2.8.0'}",
        lacking="accelerator: {product: amd/mi300x}; image: {ref: 'rocm/pytorch:rocm7.0_ubuntu24.04_py3.12_pytorch_release_2.8.0'}",
    ),
    Row(
        rule="GD101",
        says="the image is of Gaudi release 1.18.0, but the driver of 1.19.0",
        fires="accelerator: {product: intel/gaudi2}; driver: {version: 1.19.0}; "
        "image: {ref: 'vault.habana.ai/gaudi-docker/1.18.0/ubuntu22.04/habanalabs/pytorch-installer-2.4.0:latest'}",
        silent="accelerator: {product: intel/gaudi2}; driver: {version: 1.18.0}; "
        "image: {ref: 'vault.habana.ai/gaudi-docker/1.18.0/ubuntu22.04/habanalabs/pytorch-installer-2.4.0:latest'}",
        lacking="image: {ref: 'vault.habana.ai/gaudi-docker/1.18.0/ubuntu22.04/habanalabs/pytorch-installer-2.4.0:latest'}",
    ),
    Row(
        rule="BD112",
        says="Ollama 0.12.3 does not support driver 525.147.05",
        severity=Severity.WARNING,
        fires="accelerator: {product: nvidia/rtx-3090}; driver: {version: 525.147.05}; image: {ref: 'ollama/ollama:0.12.3'}",
        silent="accelerator: {product: nvidia/rtx-3090}; driver: {version: 535.183.01}; image: {ref: 'ollama/ollama:0.12.3'}",
        lacking="accelerator: {product: nvidia/rtx-3090}; image: {ref: 'ollama/ollama:0.12.3'}",
    ),
)


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_rules(row: Row, catalog: Catalog) -> None:
    check(row, catalog)


CUDA_12_4 = {"cuda": "12.4.1", "os": "ubuntu-22.04", "compat": "cuda"}


@pytest.mark.parametrize(
    ("reference", "facts"),
    [
        ("nvidia/cuda:12.4.1-devel-ubuntu22.04", CUDA_12_4),
        ("nvcr.io/nvidia/cuda:12.4.1-cudnn-devel-ubuntu22.04", CUDA_12_4),
        ("registry.example:5000/proxy/nvidia/cuda:12.4.1-base-ubuntu22.04", CUDA_12_4),
        ("docker://docker.io/nvidia/cuda:12.4.1-base-ubuntu22.04@sha256:0123", CUDA_12_4),
        ("nvidia/cuda:10.2-base", {"cuda": "10.2", "compat": "cuda"}),
        ("nvidia/cuda:11.8.0-runtime-rockylinux8", {"cuda": "11.8.0", "os": "rockylinux-8", "compat": "cuda"}),
        ("vllm/vllm-openai:v0.6.3.post1", {**CUDA_12_4, "vllm": "0.6.3.post1"}),
        ("vllm/vllm-openai:v0.20.0-aarch64-cu129-ubuntu2404", {"cuda": "12.9", "os": "ubuntu-24.04", "compat": "cuda", "vllm": "0.20.0"}),
        ("vllm/vllm-openai:v0.2.7", {"vllm": "0.2.7"}),
        ("lmsysorg/sglang:v0.5.3-cu126", {"sglang": "0.5.3", "cuda": "12.6", "os": "ubuntu-22.04", "compat": "cuda"}),
        ("lmsysorg/sglang:v0.5.12", {"sglang": "0.5.12", "cuda": "13.0?", "compat": "cuda?"}),
        ("lmsysorg/sglang:v0.4.6.post5-rocm630-mi30x", {"sglang": "0.4.6.post5+rocm6.3.0", "rocm": "6.3.0"}),
        (
            "ghcr.io/huggingface/text-generation-inference:2.4.0",
            {"tgi": "2.4.0", "torch": "2.4.0+cu124", "cuda": "12.1.0", "os": "ubuntu-22.04", "compat": "cuda"},
        ),
        ("ghcr.io/huggingface/text-generation-inference:3.3.4-rocm", {"tgi": "3.3.4+rocm6.3.1", "rocm": "6.3.1"}),
        ("nvcr.io/nvidia/pytorch:24.10-py3", {"cuda": "12.6", "os": "ubuntu-22.04", "compat": "cuda?", "torch": "2.5.0a0+e000cf0ad9"}),
        ("nvcr.io/nvidia/tritonserver:25.03-trtllm-python-py3", {"cuda": "12.8", "tensorrt-llm": "0.18.0", "compat": "cuda?"}),
        ("nvcr.io/nvidia/tritonserver:24.10-py3", {"cuda": "12.6", "compat": "cuda?"}),
        (
            "nvcr.io/nvidia/tensorrt-llm/release:1.1.0",
            {"tensorrt-llm": "1.1.0", "cuda": "13.0?", "os": "ubuntu-24.04?", "compat": "cuda?", "torch": "2.9.0a0+145a3a7bda?"},
        ),
        ("pytorch/pytorch:2.5.1-cuda12.4-cudnn9-runtime", {"torch": "2.5.1+cu124", "cuda": "12.4"}),
        ("pytorch/pytorch:2.5.1-cuda12.4-cudnn9-devel", {"torch": "2.5.1+cu124", "cuda": "12.4", "compat": "cuda"}),
        ("rocm/pytorch:rocm6.2_ubuntu22.04_py3.10_pytorch_2.3.0", {"rocm": "6.2", "os": "ubuntu-22.04", "torch": "2.3.0+rocm6.2.git"}),
        ("rocm/vllm:rocm7.0.0_vllm_0.11.1_20251103", {"rocm": "7.0.0", "vllm": "0.11.1+rocm7.0.0.git"}),
        ("rocm/dev-ubuntu-24.04:6.4-complete", {"rocm": "6.4", "os": "ubuntu-24.04"}),
        (
            "vault.habana.ai/gaudi-docker/1.18.0/rhel9.4/habanalabs/pytorch-installer-2.4.0:1.18.0-524",
            {"gaudi": "1.18.0", "os": "rhel-9.4", "torch": "2.4.0"},
        ),
        ("ghcr.io/ggml-org/llama.cpp:server-cuda", {"cuda": "12?"}),
        ("ghcr.io/ggml-org/llama.cpp:server-cuda13-b7000", {"cuda": "13", "llama.cpp": "b7000"}),
        ("ollama/ollama:0.5.7-rocm", {"ollama": "0.5.7", "rocm": "6.1.2"}),
        ("vllm/vllm-openai:latest", {}),
        ("nvidia/cuda", {}),
        ("nvidia/cuda@sha256:0123", {}),
        ("nvidia/cuda:custom", {}),
        ("someone/cuda:12.4.1-devel-ubuntu22.04", {}),
        ("registry.example/nonvidia/cuda:12.4.1-devel-ubuntu22.04", {}),
        ("", {}),
    ],
)
def test_what_a_reference_tells(reference: str, facts: dict[str, str], catalog: Catalog) -> None:
    """A `?` stands behind what is only usual."""
    found = told(reference, catalog.images, catalog.scheme)
    assert {name: fact.text + "?" * fact.assumed for name, fact in found.items() if name not in ("requires", "arch")} == facts


def test_an_image_asks_for_what_its_dockerfile_says(catalog: Catalog) -> None:
    asked = told("nvidia/cuda:12.4.1-base-ubuntu22.04", catalog.images, catalog.scheme)["requires"].text
    assert asked.startswith("cuda>=12.4 brand=tesla,driver>=470,driver<471 brand=unknown,driver>=470,driver<471 ")
    assert asked.endswith(" brand=titan,driver>=535,driver<536 brand=titanrtx,driver>=535,driver<536") and len(asked.split()) == 31


REF = "image: {ref: 'vllm/vllm-openai:v0.9.2'"
MACHINE = "accelerator: {product: nvidia/rtx-4090}; driver: {version: 550.163.01}; "


@pytest.mark.parametrize(
    ("said", "rules"),
    [
        (f"{REF}}}", {"RQ101", "FC101"}),
        (f"{REF}, cuda: '12.8'}}", {"RQ101", "FC101"}),
        (f"{REF}, requires: 'cuda>=12.0'}}", {"FC101"}),
        (f"{REF}, cuda: '12.4'}}", set()),
        (f"{REF}}}; frameworks: {{vllm: 0.8.4}}", set()),
        (f"{REF}}}; frameworks: {{vLLM: {{}}}}", {"RQ101", "FC101"}),
        (f"{REF}}}; frameworks: {{vllm: v0.9.2}}", {"RQ101", "FC101"}),
    ],
)
def test_a_snapshots_own_word_wins(said: str, rules: set[str], catalog: Catalog) -> None:
    """Where it contradicts the reference, nothing is concluded from the reference."""
    assert {one.rule for one in judged(MACHINE + said, catalog) if one.severity is Severity.ERROR} == rules


def test_what_the_reference_tells_is_shown_where_it_stands(catalog: Catalog) -> None:
    found = judged(MACHINE + f"{REF}}}", catalog)
    (asked,) = (one for one in found if one.rule == "RQ101")
    assert asked.place is not None and (asked.place.line, asked.place.column) == (4, 14)
    assert asked.why[0] == "image vllm/vllm-openai:v0.9.2 is built on nvidia/cuda:12.8.1"
    assert asked.rule_place is not None and asked.rule_place.file == "recipes/images/nvidia-cuda.yaml"


@pytest.mark.parametrize(
    ("arch", "hint"),
    [("sm_999", "did you mean `sm_90` or `sm_89`?"), ("gfx999", "gfx90"), ("gaudi9", "gaudi"), ("xyz", "aistack list accelerators")],
)
def test_an_architecture_that_nothing_has_is_named_and_judged_by_no_rule(arch: str, hint: str, catalog: Catalog) -> None:
    found = judged(f"accelerator: {{arch: {arch}}}; frameworks: {{torch: 2.5.1}}", catalog)
    (one,) = (one for one in found if one.rule == "SN104")
    assert f"`{arch}`" in one.message and hint in one.hints[0]
    assert {other.severity for other in found} == {Severity.UNKNOWN}


@pytest.mark.parametrize("arch", ["sm_90", "sm_90a", "SM_80", "gfx942", "gfx90a:sramecc+:xnack-", "gaudi2"])
def test_architectures_that_products_have(arch: str, catalog: Catalog) -> None:
    assert "SN104" not in {one.rule for one in judged(f"accelerator: {{arch: '{arch}'}}", catalog)}


def test_products_of_like_names_are_offered(catalog: Catalog) -> None:
    (one,) = (one for one in judged("accelerator: {product: nvidia/rtx-5999}", catalog) if one.rule == "SN102")
    assert one.hints[0].count("`nvidia/rtx-5") >= 2


# The catalog's files.


def test_patterns_are_unmistakable(catalog: Catalog) -> None:
    """A pattern names at least two parts of a repository, and a tag; its placeholders are components or marks."""
    for image in catalog.images.values():
        for pattern in image.references:
            repository, _, tag = pattern.rpartition(":")
            assert repository.count("/") >= 1 and tag and not repository.startswith("*"), pattern
            for name in placeholders(pattern):
                plain = name.removesuffix("-digits")
                known = plain in catalog.components or plain in catalog.frameworks or plain in catalog.schemes
                assert known or name in image.marks or name in images.KINDS or plain in ("cuda", "rocm", "gaudi"), (pattern, name)
            expression(pattern, tuple(image.marks.items()))


def test_an_image_is_shown_by_an_id_of_its_own(catalog: Catalog) -> None:
    others = {*catalog.frameworks, *catalog.components, *catalog.systems, *catalog.distributions}
    others |= {alias for component in catalog.components.values() for alias in component.aliases}
    assert others.isdisjoint(catalog.images)


def test_bases_and_requirements_mean_something(catalog: Catalog) -> None:
    for image in catalog.images.values():
        for contents in image.contents:
            assert contents.base or contents.has or contents.requires, image.id
            assert bool(contents.allows) is (set(contents.allows) == {"branches", "brands"}), image.id
            if contents.base is not None and "{" not in contents.base:
                assert told(contents.base, catalog.images, catalog.scheme), contents.base
            if contents.requires is not None:
                assert requirement.parse(contents.requires), image.id
                assert {found[1] for found in re.finditer(r"cuda>=([\d.]+)", contents.requires)} <= {
                    str(wanted).split(",")[0].removeprefix(">=") for wanted in contents.when.values()
                }, image.id


def test_images_that_stand_on_each_other_end() -> None:
    one = Image(id="a", name="A", references=("x/a:{cuda}",), contents=(images.Contents(base="x/a:{cuda}"),), source=(), checked="")
    assert {name: fact.text for name, fact in told("x/a:12.4", {"a": one}, lambda name: Scheme.RELEASE).items()} == {"cuda": "12.4"}
