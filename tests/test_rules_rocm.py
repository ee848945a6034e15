"""ROCm beside its kernel driver, systems and architectures; AMD's operator."""

from __future__ import annotations

import pytest
from judged_snapshots import Row, check, judged, named

from aistack.compose.between import amd_system
from aistack.diagnostics import Severity
from aistack.facts.catalog import Catalog

MI300X = "accelerator: {product: amd/mi300x, arch: gfx942}"
MI50 = "accelerator: {product: amd/mi50-32gb}"
MI250X = "accelerator: {product: amd/mi250x, arch: gfx90a}"
MI350P = "accelerator: {product: amd/mi350p}"

ROWS = (
    Row(
        rule="RC101",
        says="ROCm 7.0.0 is too new for kernel driver of ROCm 6.1.2",
        fires=f"{MI300X}; toolkit: {{rocm: 7.0.0, kmd: 6.1.2}}",
        silent=f"{MI300X}; toolkit: {{rocm: 6.4.1, kmd: 6.1.2}}",
        lacking=f"{MI300X}; toolkit: {{rocm: 7.0.0}}",
    ),
    Row(
        rule="RC101",
        says="ROCm 5.4.3 is too new for kernel driver of ROCm 5.1.3",
        fires=f"{MI250X}; toolkit: {{rocm: 5.4.3, kmd: 5.1.3}}",
        silent=f"{MI250X}; toolkit: {{rocm: 5.3.0, kmd: 5.1.3}}",
        lacking=f"{MI250X}; toolkit: {{kmd: 5.1.3}}",
    ),
    Row(
        rule="RC101",
        says="ROCm 7.2.1 is too new for kernel driver 6.8.5",
        fires=f"{MI300X}; driver: {{module: {{name: amdgpu, version: 6.8.5}}}}; toolkit: {{rocm: 6.2.0}}; image: {{rocm: 7.2.1}}",
        silent=f"{MI300X}; driver: {{module: {{name: amdgpu, version: 6.8.5}}}}; toolkit: {{rocm: 7.2.1}}; image: {{rocm: 6.2.0}}",
        lacking=f"{MI300X}; driver: {{module: {{name: amdgpu}}}}; toolkit: {{rocm: 7.2.1}}",
    ),
    Row(
        rule="RC102",
        says="AMD did not test ROCm 5.7.0 with kernel driver 30.10",
        severity=Severity.WARNING,
        fires="accelerator: {arch: gfx90a}; driver: {module: {name: amdgpu, version: '30.10'}}; toolkit: {rocm: 5.7.0}",
        silent="accelerator: {arch: gfx90a}; driver: {module: {name: amdgpu, version: '30.10'}}; toolkit: {rocm: 6.3.3}",
        lacking="accelerator: {arch: gfx90a}; driver: {module: {name: amdgpu, version: '30.10'}}",
    ),
    Row(
        rule="RC103",
        says="AMD does not list ROCm 6.3.0 for ubuntu-20.04",
        severity=Severity.WARNING,
        fires="accelerator: {arch: gfx90a}; platform: {os: ubuntu-20.04}; toolkit: {rocm: 6.3.0}",
        silent="accelerator: {arch: gfx90a}; platform: {os: ubuntu-22.04.5}; toolkit: {rocm: 6.3.0}",
        lacking="accelerator: {arch: gfx90a}; platform: {os: rhel-9}; toolkit: {rocm: 6.3.0}",
    ),
    Row(
        rule="RC104",
        says="AMD does not list ROCm 6.1.0 for amd/mi300x on rhel-9.3",
        severity=Severity.WARNING,
        fires=f"{MI300X}; platform: {{os: rhel-9.3}}; toolkit: {{rocm: 6.1.0}}",
        silent="accelerator: {product: amd/mi210, arch: gfx90a}; platform: {os: rhel-9.3}; toolkit: {rocm: 6.1.0}",
        lacking=f"{MI300X}; toolkit: {{rocm: 6.1.0}}",
    ),
    Row(
        rule="RC104",
        says="AMD does not list ROCm 6.2.0 for amd/mi300x on ubuntu-22.04.5",
        severity=Severity.WARNING,
        fires=f"{MI300X}; platform: {{os: ubuntu-22.04.5, kernel: 6.8.0-40-generic}}; toolkit: {{rocm: 6.2.0}}",
        silent=f"{MI300X}; platform: {{os: ubuntu-22.04.5, kernel: 5.15.0-119-generic}}; toolkit: {{rocm: 6.2.0}}",
        lacking=f"{MI300X}; platform: {{os: ubuntu-22.04.5}}; toolkit: {{rocm: 6.2.0}}",
    ),
    Row(
        rule="RC105",
        says="DRA driver 1.0.0 does not offer accelerators under amdgpu 31.40",
        fires="driver: {module: {name: amdgpu, version: '31.40'}}; runtime: {amd_dra_driver: v1.0.0}",
        silent="driver: {module: {name: amdgpu, version: '30.30'}}; runtime: {amd_dra_driver: v1.0.0}",
        lacking="runtime: {amd_dra_driver: v1.0.0}",
    ),
    Row(
        rule="RC106",
        says="does not run on Kubernetes 1.31",
        fires="runtime: {amd_dra_driver: 1.0.1, kubernetes: '1.31'}",
        silent="runtime: {amd_dra_driver: 1.0.1, kubernetes: '1.34'}",
        lacking="runtime: {kubernetes: '1.31'}",
    ),
    Row(
        rule="RC107",
        says="ROCm 7.2.2 is too old for amd/mi350p",
        fires=f"{MI350P}; toolkit: {{rocm: 7.2.2}}",
        silent=f"{MI350P}; toolkit: {{rocm: 7.13.0}}",
        lacking=f"{MI350P}",
    ),
    Row(
        rule="RC108",
        says="AMD GPU Operator 1.5.1 was not tested with Kubernetes 1.28",
        severity=Severity.WARNING,
        fires="runtime: {amd_gpu_operator: v1.5.1, kubernetes: '1.28'}",
        silent="runtime: {amd_gpu_operator: v1.5.1, kubernetes: '1.36'}",
        lacking="runtime: {amd_gpu_operator: v1.5.1}",
    ),
    Row(
        rule="RC109",
        says="AMD GPU Operator 1.4.1 does not list amd/mi350p",
        severity=Severity.WARNING,
        fires=f"{MI350P}; runtime: {{amd_gpu_operator: 1.4.1}}",
        silent=f"{MI350P}; runtime: {{amd_gpu_operator: 1.5.1}}",
        lacking="accelerator: {arch: gfx950}; runtime: {amd_gpu_operator: 1.4.1}",
    ),
    Row(
        rule="RC110",
        says="amdgpu 30.30 is too old for amd/mi350p",
        fires=f"{MI350P}; driver: {{module: {{name: amdgpu, version: '30.30'}}}}",
        silent=f"{MI350P}; driver: {{module: {{name: amdgpu, version: 6.19.0}}}}",
        lacking=f"{MI350P}; driver: {{module: {{name: amdgpu}}}}",
    ),
    Row(
        rule="RC111",
        says="firmware 01.24.10.01 of amd/mi355x is older than what AMD tested with ROCm 7.2.2",
        severity=Severity.WARNING,
        fires="accelerator: {product: amd/mi355x}; driver: {firmware: {pldm: 01.24.10.01}}; toolkit: {rocm: 7.2.2}",
        silent="accelerator: {product: amd/mi355x}; driver: {firmware: {pldm: 01.25.17.07}}; toolkit: {rocm: 7.2.2}",
        lacking="accelerator: {product: amd/mi355x}; driver: {firmware: {pldm: 01.24.10.01}}",
    ),
    Row(
        rule="GX101",
        says="the image has no code for gfx90a",
        fires="accelerator: {arch: gfx90a}; image: {arch_list: [gfx942, gfx950]}",
        silent="accelerator: {arch: gfx90a}; image: {arch_list: [gfx942, 'gfx90a:xnack-']}",
        lacking="accelerator: {arch: gfx90a}; image: {rocm: '6.4'}",
    ),
    Row(
        rule="GX101",
        says="llama.cpp has no code for gfx1031",
        fires="accelerator: {arch: gfx1031}; frameworks: {llama.cpp: {arch_list: [gfx1030, gfx1100]}}",
        silent="accelerator: {arch: gfx1031}; frameworks: {llama.cpp: {arch_list: [gfx10-3-generic]}}",
        lacking="frameworks: {llama.cpp: {arch_list: [gfx1030, gfx1100]}}",
    ),
    Row(
        rule="GX102",
        says="PyTorch's wheels for ROCm 6.2 have no code for gfx1010",
        fires="accelerator: {arch: gfx1010}; frameworks: {torch: {version: 2.5.1, build: rocm6.2}}",
        silent="accelerator: {arch: gfx1100}; frameworks: {torch: {version: 2.5.1, build: rocm6.2}}",
        lacking="accelerator: {arch: gfx1010}; frameworks: {torch: 2.5.1}",
    ),
    Row(
        rule="GX102",
        says="PyTorch's wheels for ROCm 6.2.4 have no code for gfx1102",
        fires="accelerator: {arch: gfx1102}; frameworks: {torch: 2.6.0+rocm6.2.4}",
        silent="accelerator: {arch: gfx1102}; frameworks: {torch: 2.7.0+rocm6.3}",
        lacking="frameworks: {torch: 2.6.0+rocm6.2.4}",
    ),
    Row(
        rule="GX103",
        says="ROCm 6.4.1 is older than gfx950",
        fires="accelerator: {arch: gfx950}; toolkit: {rocm: 6.4.1}",
        silent="accelerator: {arch: gfx950}; toolkit: {rocm: '7.0'}",
        lacking="accelerator: {arch: gfx950}",
    ),
    Row(
        rule="GX104",
        says="AMD does not list gfx1031 for ROCm 6.3.2",
        severity=Severity.WARNING,
        fires="accelerator: {arch: gfx1031}; toolkit: {rocm: 6.3.2}",
        silent="accelerator: {arch: gfx1030}; toolkit: {rocm: 6.3.2}",
        lacking="accelerator: {arch: gfx1031}",
    ),
    Row(
        rule="GX105",
        says="vLLM has no kernels for gfx1010",
        fires="accelerator: {arch: gfx1010}; frameworks: {vllm: {version: 0.9.0, build: rocm6.4}}",
        silent="accelerator: {arch: gfx942}; frameworks: {vllm: {version: 0.9.0, build: rocm6.4}}",
        lacking="frameworks: {vllm: {version: 0.9.0, build: rocm6.4}}",
    ),
    Row(
        rule="GX102",
        says="PyTorch's wheels for ROCm 7.0 have no code for gfx1151",
        fires="accelerator: {product: amd/ryzen-ai-max-395}; frameworks: {torch: {version: 2.10.0.dev20250930, build: rocm7.0}}",
        silent="accelerator: {product: amd/ryzen-ai-max-395}; frameworks: {torch: {version: 2.10.0.dev20251101, build: rocm7.0}}",
        lacking="accelerator: {product: amd/ryzen-ai-max-395}; frameworks: {torch: {build: rocm7.0}}",
    ),
    Row(
        rule="GX102",
        says="PyTorch's wheels for ROCm 6.2 have no code for gfx1102",
        fires="accelerator: {product: amd/rx-7600}; frameworks: {torch: {version: 2.5.1, build: rocm6.2}}",
        silent="accelerator: {product: amd/rx-7600}; frameworks: {torch: {version: 2.7.1, build: rocm6.2.4}}",
        lacking="accelerator: {product: amd/rx-7600}; frameworks: {torch: {build: rocm6.2}}",
    ),
    Row(
        rule="RC114",
        says="ROCm 4.3 refuses amd/mi50-32gb",
        fires=f"{MI50}; platform: {{os: rocky-8.4}}; driver: {{module: {{flavor: in-tree}}}}; toolkit: {{rocm: '4.3'}}",
        silent=f"{MI50}; platform: {{os: rocky-8.6}}; driver: {{module: {{flavor: in-tree}}}}; toolkit: {{rocm: '4.3'}}",
        lacking=f"{MI50}; driver: {{module: {{flavor: in-tree}}}}; toolkit: {{rocm: '4.3'}}",
    ),
    Row(
        rule="RC114",
        says="ROCm 5.3 refuses amd/radeon-vii",
        fires="accelerator: {product: amd/radeon-vii}; platform: {kernel: 5.4.0-131-generic}; driver: {module: {flavor: in-tree}}; "
        "toolkit: {rocm: '5.3'}",
        silent="accelerator: {product: amd/radeon-vii}; platform: {kernel: 5.15.0-25-generic}; driver: {module: {flavor: in-tree}}; "
        "toolkit: {rocm: '5.3'}",
        lacking="accelerator: {product: amd/radeon-vii}; platform: {kernel: 5.4.0-131-generic}; toolkit: {rocm: '5.3'}",
    ),
    Row(
        rule="GX106",
        says="vLLM does not list gfx1030",
        severity=Severity.WARNING,
        fires="accelerator: {arch: gfx1030}; frameworks: {vllm: {version: 0.9.0, build: rocm6.4}}",
        silent="accelerator: {arch: gfx1100}; frameworks: {vllm: {version: 0.9.0, build: rocm6.4}}",
        lacking="accelerator: {arch: gfx1030}; frameworks: {vllm: {build: rocm6.4}}",
    ),
)


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_rules(row: Row, catalog: Catalog) -> None:
    check(row, catalog)


def test_the_kernels_own_driver_has_no_release_of_amds(catalog: Catalog) -> None:
    text = "accelerator: {arch: gfx1100}; driver: {module: {name: amdgpu, version: 6.8.5, flavor: in-tree}}; toolkit: {rocm: 7.2.1}"
    assert [found for found in judged(text, catalog) if found.severity is not Severity.UNKNOWN] == []


@pytest.mark.parametrize(
    ("os", "named_so"),
    [
        ("ubuntu-22.04.5", "ubuntu-22.04"),
        ("rhel-9.4", "rhel-9.4"),
        ("rhel-9", None),
        ("sles-15-sp6", "sles-15.6"),
        ("sles-15.6", "sles-15.6"),
        ("debian-12", "debian-12"),
        ("ol-8.9", "ol-8"),
        ("arch", None),
        ("fedora-42", None),
    ],
)
def test_systems_in_amds_words(os: str, named_so: str | None) -> None:
    assert amd_system(os) == named_so
