"""From a snapshot to what the rules see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from aistack.commands.reading import read_recipe
from aistack.compose.observe import observe
from aistack.compose.programs import cuda_of_build
from aistack.compose.rules.situation import Situation
from aistack.diagnostics import DiagnosticError
from aistack.facts.capability import capability
from aistack.facts.catalog import Catalog
from aistack.facts.decode import decode
from aistack.facts.document import parse
from aistack.facts.snapshot import Snapshot
from aistack.facts.version import Scheme, parse_range


def snapshot(**blocks: Any) -> Snapshot:
    root, problems = parse(yaml.safe_dump({"schema": "aistack/snapshot/v1", **blocks}), "s.yaml")
    assert root is not None and not problems
    found, more = decode(Snapshot, root)
    assert found is not None and not more, more
    return found


def seen(catalog: Catalog, **blocks: Any) -> Situation:
    return observe(snapshot(**blocks), catalog, "2026-11-26")


def test_nothing_said_is_nothing_known(catalog: Catalog) -> None:
    situation = seen(catalog)
    assert set(situation.values) == {"schema"} and situation.accelerator is None and situation.parts[0].framework is None


def test_a_product_brings_its_facts(catalog: Catalog) -> None:
    situation = seen(catalog, accelerator={"product": "nvidia/l4", "count": 2})
    values = {name: situation.text(name) for name in ("vendor", "architecture", "compute-capability", "brand", "accelerator-count")}
    assert values == {
        "vendor": "nvidia",
        "architecture": "Ada Lovelace",
        "compute-capability": "8.9",
        "brand": "datacenter",
        "accelerator-count": "2",
    }


def test_of_a_less_exact_name_only_what_all_share_is_known(catalog: Catalog) -> None:
    product = seen(catalog, accelerator={"product": "nvidia/h100"}).accelerator
    assert product is not None
    assert (product.compute_capability, product.open_modules) == ("9.0", "supported")
    assert product.memory_gib is None and product.pci_ids == ()


def test_an_architecture_alone_says_what_all_its_products_share(catalog: Catalog) -> None:
    situation = seen(catalog, accelerator={"arch": "sm_120", "memory_gib": 32})
    assert situation.accelerator is not None
    assert (situation.accelerator.open_modules, situation.accelerator.memory_gib) == ("required", 32)
    assert situation.where("architecture") == ("accelerator", "arch")


@pytest.mark.parametrize(
    ("blocks", "driver", "series"),
    [
        ({"driver": {"version": "550.163.01"}}, "550.163.01", False),
        ({"driver": {"version": "580"}}, "580", True),
        ({"driver": {"module": {"version": "550.120"}}}, "550.120", False),
        ({"driver": {"version": "6.12.12", "module": {"name": "amdgpu"}}}, None, False),
        ({"driver": {"version": "1.19.0"}, "toolkit": {"gaudi": "1.20.0"}}, None, False),
    ],
)
def test_a_driver_is_nvidias_unless_something_says_whose_it_is(
    catalog: Catalog, blocks: dict[str, Any], driver: str | None, series: bool
) -> None:
    value = seen(catalog, **blocks).value("driver")
    assert (value.text if value else None, value.series if value else False) == (driver, series)


@pytest.mark.parametrize(
    ("blocks", "cuda", "assumed"),
    [
        ({"frameworks": {"torch": {"version": "2.10.0", "build": "cu126"}}, "image": {"cuda": "13.0"}}, "12.6", False),
        ({"frameworks": {"torch": {"version": "2.10.0+cu126"}}}, "12.6", False),
        ({"frameworks": {"torch": "2.10.0"}, "image": {"cuda": "13.0"}}, "13.0", False),
        ({"frameworks": {"torch": "2.10.0"}}, "12.8", True),
        ({"frameworks": {"vllm": "0.33.0"}}, "13.0", True),
        ({"frameworks": {"vllm": {"version": "0.33.0", "build": "rocm7.0"}}}, None, False),
        ({"frameworks": {"vllm": {}}}, None, False),
    ],
)
def test_which_cuda_the_programs_were_built_with(catalog: Catalog, blocks: dict[str, Any], cuda: str | None, assumed: bool) -> None:
    value = seen(catalog, **blocks).parts[0].values.get("cuda")
    assert (value.text if value else None, value.assumed if value else False) == (cuda, assumed)


def test_every_value_is_there_under_its_dotted_path(catalog: Catalog) -> None:
    situation = seen(catalog, fabric={"manager": {"state": "absent"}}, runtime={"podman": "4.2.0"}, platform={"secure_boot": True})
    assert situation.text("fabric.manager.state") == "absent"
    assert situation.text("runtime.podman") == "4.2.0"
    assert situation.text("platform.secure_boot") == "true"
    assert situation.where("runtime.podman") == ("runtime", "podman")


def test_names_of_architectures_and_builds() -> None:
    assert [capability(name) for name in ("sm_90", "sm_90a", "sm_121", "gfx942", None)] == ["9.0", "9.0", "12.1", None, None]
    assert [cuda_of_build(name) for name in ("cu128", "cu12torch2.7", "cu130", "rocm6.2", "")] == ["12.8", "12", "13.0", None, None]


@pytest.mark.parametrize(
    ("wanted", "series", "answer"),
    [
        (">=580.65.06", "580", None),
        (">=580.65.06", "590", True),
        (">=580.65.06", "570", False),
        (">=580", "580", True),
        ("<580", "580", False),
        ("<581", "580", True),
        ("<575.57.08", "575", None),
        (">=6.15", "6.15", True),
        (">6.15", "6.15", None),
        ("6.15.*", "6.15", True),
        ("6.15.*", "6.1", False),
        ("6.15.3", "6.15", None),
        ("!=6.14.2", "6.15", True),
        (">=5.15,<6.2", "6.1", True),
        (">=5.15,<6.1.4", "6.1", None),
        (">=6.2,<6.5.3", "6.1", False),
    ],
)
def test_a_series_stands_for_all_its_versions(wanted: str, series: str, answer: bool | None) -> None:
    assert parse_range(wanted, Scheme.RELEASE).admits_all(series) is answer


def test_jetsons_driver_has_numbers_of_its_own(catalog: Catalog) -> None:
    """L4T's releases are no versions of the desktop's driver."""
    for accelerator in ({"product": "nvidia/jetson-t5000"}, {"arch": "sm_87"}):
        assert seen(catalog, accelerator=accelerator, driver={"version": "36.4.3"}, toolkit={"cuda": "12.6"}).value("driver") is None


def test_a_driver_tells_whose_it_is(catalog: Catalog) -> None:
    assert seen(catalog, driver={"version": "535.216.01"}).text("vendor") == "nvidia"
    assert seen(catalog, driver={"version": "1.21.0"}).value("vendor") is None
    assert seen(catalog, driver={"module": {"name": "amdgpu", "version": "600.1"}}).text("vendor") == "amd"


def test_verbs_about_recipes_say_what_a_snapshot_is(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("schema: aistack/snapshot/v1\n")
    with pytest.raises(DiagnosticError) as caught:
        read_recipe(file)
    assert [one.rule for one in caught.value.diagnostics] == ["REC013"]
