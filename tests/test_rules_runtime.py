"""DCGM, operators and container runtimes, storage."""

from __future__ import annotations

import pytest
from judged_snapshots import Row, check, named

from aistack.diagnostics import Severity
from aistack.facts.catalog import Catalog

V100 = "accelerator: {product: nvidia/v100}; driver: {version: 580.65.06}"

ROWS = (
    Row(
        rule="DC101",
        says="those for CUDA 12, but driver 580.95.05 carries CUDA 13",
        fires="driver: {version: 580.95.05}; runtime: {dcgm: {version: 4.4.1, cuda_package: cuda12}}",
        silent="driver: {version: 580.95.05}; runtime: {dcgm: {version: 4.4.1, cuda_package: datacenter-gpu-manager-4-cuda13}}",
        lacking="driver: {version: 580.95.05}; runtime: {dcgm: {version: 4.4.1}}",
    ),
    Row(
        rule="DC101",
        says="those for CUDA 13, but driver 570.133.20 carries CUDA 12",
        fires="driver: {version: 570.133.20}; runtime: {dcgm: {cuda_package: '13'}}",
        silent=f"{V100}; runtime: {{dcgm: {{version: 4.4.1, cuda_package: cuda12}}}}",
        lacking="runtime: {dcgm: {cuda_package: '13'}}",
    ),
    Row(
        rule="DC101",
        says="those for CUDA 13, but CUDA 13 has no code for Volta",
        fires=f"{V100}; runtime: {{dcgm: {{version: 4.4.1, cuda_package: cuda13}}}}",
        silent="accelerator: {arch: sm_75}; driver: {version: 580.65.06}; runtime: {dcgm: {version: 4.4.1, cuda_package: cuda13}}",
        lacking="driver: {version: 580.65.06}; runtime: {dcgm: {version: 4.4.1, cuda_package: cuda13}}",
    ),
    Row(
        rule="DC102",
        says="DCGM 4.4.1 fails its PCIe test under driver 580.65.06",
        fires=f"{V100}; runtime: {{dcgm: {{version: 4.4.1, cuda_package: cuda12, level: 2}}}}",
        silent=f"{V100}; runtime: {{dcgm: {{version: 4.4.1, cuda_package: cuda12, level: short}}}}",
        lacking=f"{V100}; runtime: {{dcgm: {{version: 4.4.1, cuda_package: cuda12}}}}",
    ),
    Row(
        rule="DC103",
        says="the pulse test of DCGM 4.2.3 does not know compute capability 12.0",
        fires="accelerator: {arch: sm_120}; runtime: {dcgm: {version: 4.2.3, plugins: [pulse_test]}}",
        silent="accelerator: {arch: sm_90}; runtime: {dcgm: {version: 4.2.3, plugins: [pulse_test]}}",
        lacking="accelerator: {arch: sm_120}; runtime: {dcgm: {version: 4.2.3}}",
    ),
    Row(
        rule="DC104",
        says="DCGM 3.0.4 does not know CUDA 12, which driver branch 525 carries",
        fires="driver: {version: 525.60.13}; runtime: {dcgm: 3.0.4}",
        silent="driver: {version: 525.60.13}; runtime: {dcgm: {version: 3.1.3}}",
        lacking="runtime: {dcgm: 3.0.4}",
    ),
    Row(
        rule="DC105",
        says="DCGM 4.2.3 has no diagnostics for CUDA 13",
        severity=Severity.WARNING,
        fires="driver: {version: '580'}; runtime: {dcgm: 4.2.3}",
        silent="driver: {version: '580'}; runtime: {dcgm: 4.4.2-1}",
        lacking="driver: {version: '580'}; runtime: {dcgm: {}}",
    ),
    Row(
        rule="DC106",
        says="driver branch 418 is too old for DCGM 3.1.7",
        fires="driver: {version: 418.226.00}; runtime: {dcgm: 3.1.7}",
        silent="driver: {version: 450.80.02}; runtime: {dcgm: 3.1.7}",
        lacking="runtime: {dcgm: 3.1.7}",
    ),
    Row(
        rule="RT101",
        says="GPU Operator 25.10.0 was not tested with Kubernetes 1.29",
        severity=Severity.WARNING,
        fires="runtime: {gpu_operator: v25.10.0, kubernetes: '1.29'}",
        silent="runtime: {gpu_operator: v25.10.0, kubernetes: v1.33.5-eks-3025e55}",
        lacking="runtime: {gpu_operator: v25.10.0}",
    ),
    Row(
        rule="RT102",
        says="GPU Operator 24.9.2 was not tested with containerd 2.0.1",
        severity=Severity.WARNING,
        fires="runtime: {gpu_operator: 24.9.2, containerd: 2.0.1}",
        silent="runtime: {gpu_operator: 25.3.0, containerd: 2.0.1}",
        lacking="runtime: {containerd: 2.0.1}",
    ),
    Row(
        rule="RT103",
        says="keeps restarting under containerd 1.6.9",
        fires="runtime: {gpu_operator: 22.9.0, containerd: 1.6.9}",
        silent="runtime: {gpu_operator: 22.9.1, containerd: 1.6.9}",
        lacking="runtime: {containerd: 1.6.9}",
    ),
    Row(
        rule="RT104",
        says="container toolkit 1.17.0 does not start on rke2",
        fires="runtime: {container_toolkit: 1.17.0, provisioner: rke2}",
        silent="runtime: {container_toolkit: 1.17.1, provisioner: rke2}",
        lacking="runtime: {container_toolkit: 1.17.0}",
    ),
    Row(
        rule="RT105",
        says="GPU Operator 25.10.0 misconfigures containerd on GKE 1.33.4",
        severity=Severity.WARNING,
        fires="runtime: {gpu_operator: 25.10.0, provisioner: gke, kubernetes: 1.33.4}",
        silent="runtime: {gpu_operator: 25.10.0, provisioner: gke, kubernetes: 1.32.4}",
        lacking="runtime: {gpu_operator: 25.10.0, provisioner: gke}",
    ),
    Row(
        rule="RT107",
        says="not supported with Secure Boot",
        severity=Severity.WARNING,
        fires="platform: {secure_boot: true}; runtime: {gds: 2.17.5, gpu_operator: 23.9.1}",
        silent="platform: {secure_boot: false}; runtime: {gds: 2.17.5, gpu_operator: 23.9.1}",
        lacking="runtime: {gds: 2.17.5, gpu_operator: 23.9.1}",
    ),
    Row(
        rule="RT108",
        says="does not run on Kubernetes 1.31",
        fires="runtime: {nvidia_dra_driver: 25.3.0, kubernetes: '1.31'}",
        silent="runtime: {nvidia_dra_driver: 25.3.0, kubernetes: '1.32'}",
        lacking="runtime: {nvidia_dra_driver: 25.3.0}",
    ),
    Row(
        rule="RT109",
        says="driver container 570.124.06 does not bring up an HGX B200",
        fires="accelerator: {product: nvidia/b200}; driver: {version: 570.124.06, module: {install: driver-container}}",
        silent="accelerator: {product: nvidia/b200}; driver: {version: 570.133.20, module: {install: driver-container}}",
        lacking="accelerator: {product: nvidia/b200}; driver: {version: 570.124.06}",
    ),
)


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_rules(row: Row, catalog: Catalog) -> None:
    check(row, catalog)
