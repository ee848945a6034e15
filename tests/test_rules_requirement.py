"""What an image asks of a machine, and the driver libraries that it brings along."""

from __future__ import annotations

import pytest
from judged_snapshots import Row, check, judged, named

from aistack.compose import requirement
from aistack.diagnostics import Severity
from aistack.facts.catalog import Catalog

EXEMPT = "cuda>=12.8 brand=tesla,driver>=535,driver<536 brand=nvidia,driver>=535,driver<536 brand=unknown,driver>=535,driver<536"
IMAGE = f"image: {{cuda: '12.8', requires: '{EXEMPT}'}}"

ROWS = (
    Row(
        rule="RQ101",
        says="asks for `cuda>=12.8`, which driver 535.261.03 does not offer",
        fires=f"accelerator: {{product: nvidia/rtx-4090}}; driver: {{version: 535.261.03}}; {IMAGE}",
        silent=f"accelerator: {{product: nvidia/l4}}; driver: {{version: 535.261.03}}; {IMAGE}",
        lacking=f"driver: {{version: 535.261.03}}; {IMAGE}",
    ),
    Row(
        rule="RQ101",
        says="asks for `cuda>=12.8`",
        fires=f"accelerator: {{brand: datacenter}}; driver: {{version: '545'}}; {IMAGE}",
        silent=f"accelerator: {{brand: datacenter}}; driver: {{version: '570'}}; {IMAGE}",
        lacking=f"accelerator: {{brand: datacenter}}; {IMAGE}",
    ),
    Row(
        rule="RQ101",
        says="asks for `arch>=8.0`, which the product does not offer",
        fires="accelerator: {arch: sm_75}; driver: {version: 580.65.06}; image: {requires: 'cuda>=12.0,arch>=8.0'}",
        silent="accelerator: {arch: sm_89}; driver: {version: 580.65.06}; image: {requires: 'cuda>=12.0,arch>=8.0'}",
        lacking="driver: {version: 580.65.06}; image: {requires: 'cuda>=12.0,arch>=8.0'}",
    ),
    Row(
        rule="RQ101",
        says="asks for `cuda>=12.8`",
        severity=Severity.WARNING,
        fires=f"accelerator: {{brand: consumer}}; driver: {{version: 550.54.14}}; {IMAGE}; runtime: {{cdi: {{mode: jit-cdi}}}}",
        silent=f"accelerator: {{brand: consumer}}; driver: {{version: 570.86.15}}; {IMAGE}; runtime: {{cdi: {{mode: jit-cdi}}}}",
        lacking=f"{IMAGE}; runtime: {{cdi: {{mode: jit-cdi}}}}",
    ),
    Row(
        rule="FC101",
        says="libraries 530.30.02 do not run on driver branch 525 with a consumer product",
        fires="accelerator: {brand: consumer}; driver: {version: '525'}; image: {cuda: '12.1', cuda_compat: 530.30.02}",
        silent="accelerator: {brand: consumer}; driver: {version: '535'}; image: {cuda: '12.1', cuda_compat: 530.30.02}",
        lacking="driver: {version: '525'}; image: {cuda: '12.1', cuda_compat: 530.30.02}",
    ),
    Row(
        rule="FC102",
        says="selected workstation products",
        severity=Severity.WARNING,
        fires="accelerator: {product: nvidia/rtx-a6000}; driver: {version: 525.125.06}; image: {cuda: '12.2', cuda_compat: 535.54.03}",
        silent="accelerator: {product: nvidia/a40}; driver: {version: 525.125.06}; image: {cuda: '12.2', cuda_compat: 535.54.03}",
        lacking="accelerator: {product: nvidia/rtx-a6000}; image: {cuda: '12.2', cuda_compat: 535.54.03}",
    ),
    Row(
        rule="FC103",
        says="libraries 570.86.15 are not made for driver branch 545",
        fires="accelerator: {brand: datacenter}; driver: {version: 545.23.08}; image: {cuda: '12.8', cuda_compat: 570.86.15}",
        silent="accelerator: {brand: datacenter}; driver: {version: 535.261.03}; image: {cuda: '12.8', cuda_compat: 570.86.15}",
        lacking="driver: {version: 545.23.08}; image: {cuda: '12.8', cuda_compat: 570.86.15}",
    ),
)


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_rules(row: Row, catalog: Catalog) -> None:
    check(row, catalog)


def rules_of(text: str, catalog: Catalog) -> list[str]:
    return [found.rule for found in judged(text, catalog) if found.severity is Severity.ERROR]


def test_libraries_that_an_image_brings_answer_for_the_driver(catalog: Catalog) -> None:
    """CUDA 13 on driver 535: wrong by itself, right with the compatibility libraries on a data-centre product."""
    machine = "accelerator: {product: nvidia/a100}; driver: {version: 535.261.03}; "
    assert rules_of(machine + "image: {cuda: '13.0'}", catalog) == ["NV101"]
    assert rules_of(machine + "image: {cuda: '13.0', cuda_compat: 580.65.06}", catalog) == []
    asked = "cuda>=13.0 brand=tesla,driver>=535,driver<536 brand=nvidia,driver>=535,driver<536"
    assert rules_of(machine + f"image: {{cuda: '13.0', requires: '{asked}'}}", catalog) == []
    assert rules_of("accelerator: {brand: consumer}; driver: {version: 535.261.03}; image: {cuda: '12.8'}", catalog) == []


def test_the_label_says_what_would_do(catalog: Catalog) -> None:
    text = f"accelerator: {{product: nvidia/l4}}; driver: {{version: 545.23.08}}; {IMAGE}"
    (found,) = (found for found in judged(text, catalog) if found.rule == "RQ101")
    assert [label.text for label in found.labels] == ["needs driver 570 or newer, or a driver of branch 535", "driver 545.23.08"]
    assert found.why[0] == "driver 545.23.08 itself carries CUDA 12.3"


@pytest.mark.parametrize(
    ("text", "machine", "answer"),
    [
        ("", {}, True),
        ("cuda>=12.1", {"driver": "530.30.02"}, True),
        ("cuda>=12.2", {"driver": "530.30.02"}, False),
        ("cuda>=12.2", {}, None),
        ("cuda>=13.0", {"driver": "999.1"}, True),
        ("cuda>=99.0", {"driver": "999.1"}, None),
        ("cuda>=9.0 unheard>=1", {"driver": "380.1"}, None),
        ("driver>=535,driver<536", {"driver": "535"}, True),
        ("driver>=535.100,driver<536", {"driver": "535"}, None),
        ("driver!=535.100", {"driver": "535.100"}, False),
        ("brand=tesla", {"brand": "datacenter", "architecture": "Volta"}, True),
        ("brand=tesla", {"brand": "datacenter", "architecture": "Hopper"}, None),
        ("brand=tesla brand=nvidia", {"brand": "datacenter", "architecture": "Hopper"}, True),
        ("brand=geforce brand=tesla", {"brand": "workstation"}, False),
        ("brand!=geforce", {"brand": "datacenter"}, True),
        ("cuda>=12.6", {"brand": "embedded", "driver": "540.4.0"}, None),
    ],
)
def test_the_language(text: str, machine: dict[str, str], answer: bool | None, catalog: Catalog) -> None:
    asked = {"driver": None, "brand": None, "architecture": None, "capability": None, **machine}
    groups = requirement.parse(text)
    assert requirement.satisfied(groups, requirement.machine(catalog.branches, **asked)) is answer


@pytest.mark.parametrize("odd", ["unknown", "N/A", "580-server", ">=1", "latest", "1.2.3.4.5", "0", "true"])
def test_a_text_that_is_no_version_stops_no_rule(odd: str, catalog: Catalog) -> None:
    blocks = (
        "driver: {version: 'X', firmware: {spi: 'X'}}",
        "toolkit: {gaudi: 'X', rocm: 'X', kmd: 'X'}",
        "image: {cuda: 'X', cuda_compat: 'X', requires: 'cuda>=X brand=x,driver>=X ,, ='}",
        "runtime: {podman: 'X', dcgm: {version: 'X', cuda_package: 'X', level: 'X'}, cdi: {spec_version: 'X', driver: 'X'}}",
        "fabric: {manager: {version: 'X'}, imex: {version: 'X'}, ofed: 'X', peermem: {module: nv_peer_mem, built_against: 'X'}}",
    )
    for block in blocks:
        judged(f"{block}; {blocks[0]}".replace("X", odd) if block != blocks[0] else block.replace("X", odd), catalog)


@pytest.mark.parametrize(
    ("driver", "image", "found"),
    [
        ("418.87.01", "10.2", True),
        ("440.33.01", "10.2", False),
        ("418.39", "10.1", False),
        ("410.48", "10.1", True),
        ("470.82.01", "10.2", False),
    ],
)
def test_before_cuda_11_each_release_has_its_own_driver(driver: str, image: str, found: bool, catalog: Catalog) -> None:
    text = f"accelerator: {{product: nvidia/rtx-2080-ti}}; driver: {{version: '{driver}'}}; image: {{cuda: '{image}'}}"
    assert ("NV101" in [one.rule for one in judged(text, catalog)]) is found
