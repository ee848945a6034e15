"""NVSwitch and its manager, racks, and peers on the network."""

from __future__ import annotations

import pytest
from judged_snapshots import Row, check, judged, named

from aistack.diagnostics import Severity
from aistack.facts.catalog import Catalog

HGX = "accelerator: {product: nvidia/h100, interconnect: nvswitch, count: 8}; driver: {version: 550.90.07}"
B200 = "accelerator: {product: nvidia/b200, interconnect: nvswitch, count: 8}; driver: {version: 580.95.05}"
RACK = "accelerator: {product: nvidia/gb200, interconnect: nvl72}; driver: {version: 580.95.05}"
DOCA = "accelerator: {interconnect: nvswitch, nvlink_generation: 5}; fabric: {manager: {state: enabled}, ofed: doca-ofed, ib_core: %s}"

ROWS = (
    Row(
        rule="FB101",
        says="the fabric manager is stopped",
        fires=f"{HGX}; fabric: {{manager: {{state: stopped}}}}",
        silent=f"{HGX}; fabric: {{manager: {{state: running}}}}",
        lacking=f"{HGX}; fabric: {{manager: {{version: 550.90.07}}}}",
    ),
    Row(
        rule="FB101",
        says="the fabric manager is absent",
        fires="accelerator: {product: nvidia/h100-sxm-80gb, count: 8}; fabric: {manager: {state: absent}}",
        silent="accelerator: {product: nvidia/h100-sxm-80gb, count: 1}; fabric: {manager: {state: absent}}",
        lacking="accelerator: {product: nvidia/h100}; fabric: {manager: {state: absent}}",
    ),
    Row(
        rule="FB102",
        says="no fabric manager to install for driver 530.41.03",
        fires="driver: {version: 530.41.03}; fabric: {manager: {state: install-requested, asset: absent}}",
        silent="driver: {version: 530.41.03}; fabric: {manager: {state: install-requested, asset: present}}",
        lacking="driver: {version: 530.41.03}; fabric: {manager: {state: install-requested}}",
    ),
    Row(
        rule="FB102",
        says="no fabric manager to install for driver 570.124.06 on arm64",
        fires="platform: {arch: aarch64}; driver: {version: 570.124.06}; fabric: {manager: {asset: fabricmanager-linux-x86_64-570.124.06}}",
        silent="platform: {arch: aarch64}; driver: {version: 570.124.06}; fabric: {manager: {asset: fabricmanager-linux-sbsa-570.124.06}}",
        lacking="driver: {version: 570.124.06}; fabric: {manager: {asset: fabricmanager-linux-x86_64-570.124.06}}",
    ),
    Row(
        rule="FB103",
        says="fabric manager 570.124.06 does not work with driver 570.133.20",
        fires="driver: {version: 570.133.20}; fabric: {manager: {asset: fabricmanager-linux-x86_64-570.124.06-archive}}",
        silent="driver: {version: 570.124.06}; fabric: {manager: {asset: fabricmanager-linux-x86_64-570.124.06-archive}}",
        lacking="fabric: {manager: {asset: fabricmanager-linux-x86_64-570.124.06-archive}}",
    ),
    Row(
        rule="FB103",
        says="fabric manager 550.127.05 does not work with driver 550.90.07",
        fires=f"{HGX}; fabric: {{manager: {{version: 550.127.05, state: installed}}}}",
        silent=f"{HGX}; fabric: {{manager: {{version: 550.90.07, state: installed}}}}",
        lacking="accelerator: {interconnect: nvswitch}; fabric: {manager: {version: 550.127.05, state: installed}}",
    ),
    Row(
        rule="FB103",
        says="fabric manager 535 does not work with driver 550.90.07",
        fires=f"{HGX}; fabric: {{manager: {{package: nvidia-fabricmanager-535}}}}",
        silent=f"{HGX}; fabric: {{manager: {{package: nvidia-fabricmanager-550, version: '550'}}}}",
        lacking=f"{HGX}; fabric: {{manager: {{package: nvidia-fabricmanager}}}}",
    ),
    Row(
        rule="FB104",
        says="without the kernel modules mlx5_ib and ib_umad",
        fires=f"{B200}; fabric: {{manager: {{state: running}}, kernel_modules_missing: [mlx5_ib, ib_umad]}}",
        silent=f"{HGX}; fabric: {{manager: {{state: running}}, kernel_modules_missing: [mlx5_ib, ib_umad]}}",
        lacking=f"{B200}; fabric: {{manager: {{state: running}}, kernel_modules_present: [mlx5_ib]}}",
    ),
    Row(
        rule="FB104",
        says="nvlsm is absent",
        fires=f"{B200}; fabric: {{manager: {{state: running}}, nvlsm: {{state: absent}}}}",
        silent=f"{HGX}; fabric: {{manager: {{state: running}}, nvlsm: {{state: absent}}}}",
        lacking="accelerator: {product: nvidia/b300, interconnect: pcie}; fabric: {nvlsm: {state: absent}}",
    ),
    Row(
        rule="FB105",
        says="nvidia-imex 570.133.20 does not belong to driver 580.95.05",
        fires=f"{RACK}; fabric: {{imex: {{version: 570.133.20}}}}",
        silent=f"{RACK}; fabric: {{imex: {{version: '580'}}}}",
        lacking="accelerator: {product: nvidia/gb200}; fabric: {imex: {version: 570.133.20}}",
    ),
    Row(
        rule="FB105",
        says="cannot share memory with other trays",
        severity=Severity.WARNING,
        fires=f"{RACK}; fabric: {{imex: {{state: absent}}}}",
        silent=f"{HGX}; fabric: {{imex: {{state: absent}}}}",
        lacking=f"{RACK}; fabric: {{imex: {{}}}}",
    ),
    Row(
        rule="FB106",
        says="finds no NVSwitch here",
        severity=Severity.WARNING,
        fires="accelerator: {product: nvidia/a40, interconnect: nvlink-bridge}; fabric: {manager: {state: enabled}}",
        silent="accelerator: {product: nvidia/a40, interconnect: nvlink-bridge}; fabric: {manager: {state: installed}}",
        lacking="fabric: {manager: {state: enabled}}",
    ),
    Row(
        rule="FB106",
        says="those of the rack stand in trays of their own",
        severity=Severity.WARNING,
        fires=f"{RACK}; fabric: {{manager: {{state: enabled}}}}",
        silent=f"{HGX}; fabric: {{manager: {{state: enabled}}}}",
        lacking="accelerator: {arch: sm_100}; fabric: {manager: {state: enabled}}",
    ),
    Row(
        rule="PM101",
        says="the fabric manager does not start",
        fires=f"platform: {{os: sles-16}}; {DOCA % '[kernel, doca-ofed]'}",
        silent=f"platform: {{os: sles-16}}; {DOCA % '[doca-ofed]'}",
        lacking="platform: {os: sles-16}; fabric: {manager: {state: enabled}, ofed: doca-ofed}",
    ),
    Row(
        rule="PM101",
        says="`ib_core` comes from the kernel and from an OFED",
        severity=Severity.WARNING,
        fires=f"platform: {{os: ubuntu-22.04}}; {DOCA % '[kernel, doca-ofed]'}",
        silent=f"platform: {{os: ubuntu-22.04}}; {DOCA % '[kernel, inbox]'}",
        lacking="platform: {os: ubuntu-22.04}; fabric: {ofed: doca-ofed}",
    ),
    Row(
        rule="PM102",
        says="was compiled against kernel, but the InfiniBand modules are those of doca-ofed",
        fires="fabric: {ofed: doca-ofed, peermem: {module: nvidia-peermem, built_against: kernel}}",
        silent="fabric: {ofed: doca-ofed, peermem: {module: nvidia-peermem, built_against: doca-ofed}}",
        lacking="fabric: {peermem: {module: nvidia-peermem, built_against: kernel}}",
    ),
    Row(
        rule="PM102",
        says="MLNX_OFED_LINUX-5.8-3.0.7.0, but the InfiniBand modules are those of MLNX_OFED_LINUX-23.10-1.1.9.0",
        fires="fabric: {ofed: MLNX_OFED_LINUX-23.10-1.1.9.0, peermem: {built_against: MLNX_OFED_LINUX-5.8-3.0.7.0}}",
        silent="fabric: {ofed: MLNX_OFED_LINUX-5.8-3.0.7.0, peermem: {built_against: MLNX_OFED_LINUX-5.8-3.0.7.0}}",
        lacking="fabric: {ofed: MLNX_OFED_LINUX-23.10-1.1.9.0, peermem: {built_against: mlnx-ofed}}",
    ),
    Row(
        rule="PM102",
        says="was compiled against 5.4-1.0.3.0, but the InfiniBand modules are those of MLNX_OFED_LINUX-5.8-3.0.7.0",
        fires="fabric: {ofed: MLNX_OFED_LINUX-5.8-3.0.7.0, peermem: {module: nv_peer_mem, built_against: 5.4-1.0.3.0}}",
        silent="fabric: {ofed: MLNX_OFED_LINUX-5.8-3.0.7.0, peermem: {module: nv_peer_mem, built_against: 5.8-3.0.7.0}}",
        lacking="fabric: {peermem: {module: nv_peer_mem, built_against: 5.4-1.0.3.0}}",
    ),
    Row(
        rule="PM104",
        says="nv_peer_mem was compiled for kernel 5.4.0-97-generic, the machine runs 5.4.0-116-generic",
        fires="platform: {kernel: 5.4.0-116-generic}; fabric: {peermem: {module: nv_peer_mem, built_against: 5.4.0-97-generic}}",
        silent="platform: {kernel: 5.4.0-97-generic}; fabric: {ofed: 5.4-1.0.3.0, peermem: {built_against: 5.4.0-97-generic}}",
        lacking="fabric: {peermem: {module: nv_peer_mem, built_against: 5.4.0-97-generic}}",
    ),
    Row(
        rule="PM102",
        says="does not load without an OFED",
        fires="platform: {os: rhel-9.4}; fabric: {ofed: absent, peermem: {module: nvidia-peermem}}",
        silent="platform: {os: rhel-9.4}; fabric: {ofed: absent, peermem: {module: nvidia-peermem, loaded: true}}",
        lacking="platform: {os: rhel-9.4}; fabric: {ofed: absent}",
    ),
    Row(
        rule="PM102",
        says="does not load without an OFED",
        severity=Severity.WARNING,
        fires="platform: {os: ubuntu-24.04}; fabric: {ofed: inbox, peermem: {module: nvidia-peermem}}",
        silent="platform: {os: ubuntu-24.04}; fabric: {ofed: doca-ofed, peermem: {module: nvidia-peermem}}",
        lacking="platform: {os: ubuntu-24.04}; fabric: {peermem: {module: nvidia-peermem}}",
    ),
    Row(
        rule="PM103",
        says="driver 470.199.02 brings nvidia-peermem",
        fires="driver: {version: 470.199.02}; fabric: {ofed: MLNX_OFED_LINUX-23.07-0.5.1.2, peermem: {module: nv_peer_mem}}",
        silent="driver: {version: 440.33.01}; fabric: {ofed: MLNX_OFED_LINUX-5.1-2.5.8.0, peermem: {module: nv_peer_mem}}",
        lacking="fabric: {ofed: MLNX_OFED_LINUX-23.07-0.5.1.2, peermem: {module: nv_peer_mem}}",
    ),
    Row(
        rule="PM103",
        says="driver 470.82.01 brings nvidia-peermem",
        severity=Severity.WARNING,
        fires="driver: {version: 470.82.01}; fabric: {ofed: MLNX_OFED_LINUX-5.4-1.0.3.0, peermem: {module: nv_peer_mem, loaded: true}}",
        silent="driver: {version: 470.82.01}; fabric: {ofed: MLNX_OFED_LINUX-5.4-1.0.3.0, peermem: {module: nvidia-peermem}}",
        lacking="driver: {version: 470.82.01}; fabric: {ofed: MLNX_OFED_LINUX-5.4-1.0.3.0}",
    ),
)


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_rules(row: Row, catalog: Catalog) -> None:
    check(row, catalog)


def test_the_service_compares_itself_with_the_loaded_modules(catalog: Catalog) -> None:
    """An upgraded user space beside old modules: the manager of the new release stops."""
    text = "driver: {version: 570.133.20, module: {version: 570.124.06}}; fabric: {manager: {version: 570.133.20, state: running}}"
    (found,) = (found for found in judged(text, catalog) if found.rule == "FB103")
    assert found.labels[0].text == "must be 570.124.06"


@pytest.mark.parametrize(
    ("accelerator", "severity"),
    [
        ("{product: nvidia/a100-sxm-80gb, count: 8}", Severity.ERROR),
        ("{product: nvidia/a100-sxm-80gb, count: 4, interconnect: nvswitch}", Severity.ERROR),
        ("{product: nvidia/a100-sxm-80gb}", Severity.WARNING),
        ("{product: nvidia/a100-sxm-80gb, count: 4}", Severity.UNKNOWN),
        ("{product: nvidia/a100-sxm-80gb, count: 4, interconnect: none}", None),
    ],
)
def test_four_modules_may_stand_on_a_board_without_switches(accelerator: str, severity: Severity | None, catalog: Catalog) -> None:
    found = judged(f"accelerator: {accelerator}; fabric: {{manager: {{state: absent}}}}", catalog)
    assert [one.severity for one in found if one.rule == "FB101"] == ([] if severity is None else [severity])


def test_a_packages_revision_is_no_other_release(catalog: Catalog) -> None:
    text = (
        "accelerator: {product: nvidia/h100-sxm-80gb, count: 8}; driver: {version: 550.127.08}; fabric: {manager: {version: 550.127.REV}}"
    )
    assert [one.rule for one in judged(text.replace("REV", "08-1"), catalog) if one.rule == "FB103"] == []
    assert [one.rule for one in judged(text.replace("REV", "05-1"), catalog) if one.rule == "FB103"] == ["FB103"]
