"""The shipped catalog: every fact has its source, every name and range means something."""

from __future__ import annotations

import dataclasses
import itertools
import re
import typing
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from aistack.compose import serving
from aistack.compose.between import COMPONENTS
from aistack.compose.rules import code_rules, find, rules
from aistack.compose.rules.data import NODE, ranges
from aistack.diagnostics import DiagnosticError
from aistack.facts import checkpoint, pages
from aistack.facts.catalog import Catalog, Component, Framework, Pcie
from aistack.facts.catalog_text import compile_texts, dump, load
from aistack.facts.decode import fields_of, unwrap
from aistack.facts.licences import normal
from aistack.facts.snapshot import Snapshot
from aistack.facts.systems import Distribution, Os
from aistack.facts.version import key, parse_range
from aistack.host.catalog_files import read_texts

ROOT = Path(__file__).resolve().parent.parent
APP = {"cuda", "python", "glibc", "rocm", "gaudi"}
"""Components of an app that are no file of their own."""


def seen(kind: Any = Snapshot, path: str = "") -> Iterator[str]:
    """The dotted path of every single value that a snapshot may have; `.*` ends those below which keys are free."""
    for field in fields_of(kind):
        bare, _ = unwrap(field.kind)
        name = f"{path}.{field.key}".removeprefix(".")
        if dataclasses.is_dataclass(bare):
            yield from seen(bare, name)
        elif Mapping in (typing.get_origin(bare), *map(typing.get_origin, typing.get_args(bare))):
            yield f"{name}.*"
        else:
            yield name


def is_seen(component: str) -> bool:
    """Whether a data rule may ask for the component because a snapshot may name it."""
    return component in COMPONENTS or any(fnmatchcase(component, name) for name in seen())


def owners(catalog: Catalog) -> list[Framework | Component]:
    """Everything that has releases."""
    return [*catalog.frameworks.values(), *catalog.components.values()]


@pytest.fixture(scope="module")
def compiled() -> Catalog:
    """The catalog as it is compiled now, whatever is kept."""
    catalog, problems = compile_texts(read_texts(ROOT))
    assert problems == ()
    return catalog


def test_every_file_is_read(compiled: Catalog) -> None:
    texts, catalog = read_texts(ROOT), compiled
    entries = [
        catalog.systems,
        catalog.distributions,
        catalog.accelerators,
        catalog.models,
        catalog.frameworks,
        catalog.components,
        catalog.terms,
        catalog.branches,
        catalog.kernels,
        catalog.images,
        catalog.faults,
        catalog.limits,
        catalog.wheels,
    ]
    rule_files = sum("aistack/rules/" in text for text in texts.values())
    assert sum(len(entry) for entry in entries) + rule_files == len(texts)


def test_every_entry_has_source_and_date(catalog: Catalog) -> None:
    for kind in (
        catalog.systems,
        catalog.distributions,
        catalog.accelerators,
        catalog.models,
        catalog.frameworks,
        catalog.components,
        catalog.terms,
        catalog.branches,
        catalog.kernels,
        catalog.images,
        catalog.faults,
        catalog.limits,
        catalog.wheels,
        catalog.rules,
    ):
        for name, entry in kind.items():
            assert entry.source, name
            assert all(re.match(r"https://|PyPI: \S|Debian: \S", source) for source in entry.source), (name, entry.source)
            assert re.fullmatch(r"20\d\d-\d\d-\d\d", entry.checked), name


def test_the_end_of_life_of_a_system_has_a_source_of_its_own(catalog: Catalog) -> None:
    """An index of packages, by which the other facts were read, holds no such day."""
    systems: list[Os | Distribution] = [*catalog.systems.values(), *catalog.distributions.values()]
    for system in systems:
        assert bool(system.lifecycle_source) is bool(system.eol), system.id
        assert all(source.startswith("https://") for source in system.lifecycle_source), system.id


def test_ids_are_unique_without_case_and_with_aliases(catalog: Catalog) -> None:
    for kind in (catalog.models, catalog.accelerators):
        names = [name.lower() for name in kind]
        assert len(names) == len(set(names))
    aliases = [alias for product in catalog.accelerators.values() for alias in product.aliases]
    assert len(aliases) == len({*aliases} - set(catalog.accelerators))
    families = {family for product in catalog.accelerators.values() for family in product.families}
    assert families.isdisjoint({*aliases, *catalog.accelerators})


VENDORS = {"nvidia": ("10de",), "amd": ("1002",), "intel": ("8086", "1da3")}
"""By the catalog's name of a vendor: its numbers on the PCI bus; Gaudi still has those of Habana."""


def test_a_pci_id_is_of_one_chip(catalog: Catalog) -> None:
    """Variants of a board may share a device's id, but not two chips, and not two form factors."""
    boards: dict[str, set[tuple[object, ...]]] = {}
    for product in catalog.accelerators.values():
        form = frozenset(word for word in product.id.split("-") if re.fullmatch(r"pcie|nvl|sxm\d?", word))
        for device in product.pci_ids:
            assert re.fullmatch(r"[0-9a-f]{4}:[0-9a-f]{4}", device) and device[:4] in VENDORS[product.vendor], (product.id, device)
            boards.setdefault(device, set()).add((product.architecture, product.compute_capability, product.target, form))
    assert {device: chips for device, chips in boards.items() if len(chips) > 1} == {}


def test_what_a_product_must_reach_is_possible(catalog: Catalog) -> None:
    """A slip of the pen in a threshold would condemn healthy devices, or find no sick one."""
    for product in catalog.accelerators.values():
        if product.pcie is not None:
            assert 1 <= product.pcie.generation <= 6 and product.pcie.lanes in (4, 8, 16), product.id
        if product.pcie is not None and (least := product.pcie_minimum) is not None:
            assert least.generation <= product.pcie.generation and least.lanes <= product.pcie.lanes, product.id
        is_module = not re.search(r"pcie|nvl\b", product.id)
        assert product.links is None or product.vendor == "amd" or (is_module and product.kind == "data-centre"), product.id
        assert product.links is None or 2 <= product.links <= 18, product.id
        assert set(product.virtual_ids) < set(product.pci_ids) or not product.virtual_ids, product.id
        assert product.power_watts is None or 20 <= product.power_watts <= 1500, product.id
        assert product.power_minimum is None or product.power_minimum <= 0.9 * (product.power_watts or 0), product.id
        assert product.memory_bandwidth_minimum is None or 100 <= product.memory_bandwidth_minimum <= 5000, product.id
        memory = product.least_memory
        assert memory is None or (product.memory_gib and 0.85 <= memory[0] / product.memory_gib < 1), product.id
    h100, mi300x = catalog.accelerators["nvidia/h100-sxm-80gb"], catalog.accelerators["amd/mi300x"]
    assert (h100.pcie, h100.links, h100.power_watts) == (Pcie(generation=5, lanes=16), 18, 700)
    assert (mi300x.pcie, mi300x.links, mi300x.memory_bandwidth_minimum) == (Pcie(generation=5, lanes=16), 7, 3885)


def test_versions_and_ranges_can_be_read(catalog: Catalog) -> None:
    for owner in owners(catalog):
        versions = [release.version for release in owner.releases]
        assert len(versions) == len(set(versions)), owner.id
        for version in versions:
            key(version, owner.versions)
        for release in owner.releases:
            for component, wanted in release.needs.items():
                parse_range(wanted, catalog.scheme(component))
            for component, wanted in release.pins.items():
                assert component in catalog.components or component in catalog.frameworks, (owner.id, component)
                parse_range(wanted, catalog.scheme(component))
            for component, version in release.brings.items():
                key(version, catalog.scheme(component))
    for model in catalog.models.values():
        for framework, wanted in model.frameworks.items():
            assert framework in catalog.frameworks or framework in catalog.components, model.id
            parse_range(wanted, catalog.scheme(framework))
    for rule in catalog.rules.values():
        assert list(ranges(rule, catalog)) or any(case.needs for case in rule.cases), rule.id


def test_releases_stand_newest_first(catalog: Catalog) -> None:
    for owner in owners(catalog):
        for newer, older in itertools.pairwise(owner.releases):
            assert key(newer.version, owner.versions) > key(older.version, owner.versions), (owner.id, older.version)


def test_references_exist(catalog: Catalog) -> None:
    known = NODE | APP | serving.COMPONENTS | set(catalog.frameworks) | set(catalog.components) | set(catalog.schemes)
    for rule in catalog.rules.values():
        for case in rule.cases:
            assert all(name in known or is_seen(name) for name in (*case.when, *case.needs)), rule.id
        assert all(name in known or is_seen(name) for name in re.findall(r"\{([^}]*)\}", rule.message)), rule.id
    for owner in owners(catalog):
        for release in owner.releases:
            assert {*release.needs, *release.brings} <= known, (owner.id, release.version)
    kinds = {model.kind for model in catalog.models.values()}
    for framework in catalog.frameworks.values():
        assert set(framework.kinds) <= kinds and bool(framework.kinds) is (framework.models != "none"), framework.id
        assert set(re.findall(r"\{[^}]*\}", " ".join(framework.serve))) <= {"{model}", "{id}", "{port}"}, framework.id
        if framework.delivery is not None:
            assert "app" in catalog.systems[framework.delivery.os].roles and framework.vendors, framework.id
        platforms = {product.platform for product in catalog.accelerators.values()}
        assert set(framework.vendors) <= set(framework.platforms) <= platforms or framework.models == "none", framework.id
        assert set(framework.stored) <= set(framework.platforms), framework.id
        assert {word for words in framework.stored.values() for word in words} <= {*checkpoint.BYTES, "gguf"}, framework.id
        for wanted in framework.platforms.values():
            assert any(parse_range(wanted, framework.versions).admits(release.version) for release in framework.releases), framework.id
        if framework.conversion:
            assert framework.conversion.os in catalog.systems, framework.id
            assert framework.conversion.format in framework.formats, framework.id
    for system in catalog.systems.values():
        suites = {suite.name for suite in system.suites}
        assert {part.suite.removesuffix("-backports") for part in system.kernels} <= suites, system.id
        assert bool(system.kernels) is ("base" in system.roles), system.id
    known_systems = [*catalog.systems, *catalog.distributions]
    known_systems += [alias for system in catalog.distributions.values() for alias in system.aliases]
    assert len(known_systems) == len(set(known_systems))
    listed = [case.needs.get("os-release", ()) for rule in catalog.rules.values() for case in rule.cases]
    assert {name for names in listed for name in names} <= {*catalog.systems, *catalog.distributions}
    fields = {"interconnect", "driver-minimum", "memory-gib", "memory-bytes", "ecc"}
    assert {name for product in catalog.accelerators.values() for name in product.recalled} <= fields


def test_licences_are_expressions_and_the_drivers_terms_are_known(catalog: Catalog) -> None:
    for model in catalog.models.values():
        assert normal(model.licence) == model.licence, model.id
    drivers = [driver for system in catalog.systems.values() for driver in system.drivers]
    assert drivers and {driver.licence for driver in drivers} <= set(catalog.terms)
    used = {driver.licence for driver in drivers} | {name for model in catalog.models.values() for name in model.licence.split(" AND ")}
    assert set(catalog.terms) <= used, "terms that nothing is under"


def test_every_pinned_component_is_known_where_a_release_is_recent(catalog: Catalog) -> None:
    """`vllm` pins torch exactly; the pins of the releases since 0.11 must lead to facts, or nothing could be judged."""
    torch = {release.version for release in catalog.components["torch"].releases}
    vllm = catalog.frameworks["vllm"]
    recent = [release for release in vllm.releases if key(release.version, vllm.versions) >= key("0.11", vllm.versions)]
    assert recent and all(release.needs["torch"] in torch for release in recent)


def test_model_arithmetic_agrees(catalog: Catalog) -> None:
    """Where a model's geometry is known, the bytes per token follow from it (attention with latents aside)."""
    seen = 0
    for model in catalog.models.values():
        if model.layers and model.kv_heads and model.head_dim and model.kv_bytes_per_token:
            full = 2 * model.layers * model.kv_heads * model.head_dim * 2
            assert model.kv_bytes_per_token <= full, model.id
            seen += model.kv_bytes_per_token == full
    assert seen >= 20


def test_codes_and_names_are_one_space(catalog: Catalog) -> None:
    found = rules(catalog)
    every = [rule.code for rule in found] + [page.code for page in pages.PAGES]
    assert len(every) == len(set(every))
    names = [rule.name for rule in found]
    assert len(names) == len(set(names))
    for rule in found:
        assert re.fullmatch(r"[A-Z]{2,3}\d{3}", rule.code)
        assert rule.explanation.strip(), rule.code
        assert find(catalog, rule.code) is not None and find(catalog, rule.name) is not None
    assert {rule.code for rule in code_rules()}.isdisjoint(catalog.rules)


def test_compiled_form_is_the_same_catalog(compiled: Catalog) -> None:
    data = dump(compiled)
    assert load(data) == compiled
    assert dump(load(data)) == data


def test_a_changed_text_is_never_stale(tmp_path: Path) -> None:
    from aistack.host import catalog_files

    texts = {name: text for name, text in read_texts(ROOT).items() if name.startswith("accelerators/nvidia/")}
    for name, text in texts.items():
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert catalog_files._from_checkout(tmp_path, environment).accelerators["nvidia/l4"].memory_gib == 24
    changed = tmp_path / "accelerators/nvidia/l4.yaml"
    changed.write_text(changed.read_text().replace("memory-gib: 24", "memory-gib: 25"))
    assert catalog_files._from_checkout(tmp_path, environment).accelerators["nvidia/l4"].memory_gib == 25
    changed.write_text(changed.read_text().replace("id: nvidia/l4", "id: nvidia/l5"))
    with pytest.raises(DiagnosticError) as stopped:
        catalog_files._from_checkout(tmp_path, environment)
    assert [found.name for found in stopped.value.diagnostics] == ["catalog-name"]


def test_every_model_that_vllm_loads_says_since_when(catalog: Catalog) -> None:
    """Of a model that says nothing, every old release would seem to load it."""
    vllm = catalog.frameworks["vllm"]
    loaded = [model for model in catalog.models.values() if model.format in vllm.formats and model.kind in vllm.kinds]
    assert [model.id for model in loaded if "vllm" not in model.frameworks] == []
