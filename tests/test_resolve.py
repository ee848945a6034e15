"""Resolving small catalogs made at random gives what trying every combination in order gives."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aistack.commands.fixing import applied
from aistack.compose.fixes import minimal_conflict, requirements
from aistack.compose.judge import judge
from aistack.compose.recipe import DriverWish, Recipe, read
from aistack.compose.resolve import resolve
from aistack.compose.rules.situation import Path
from aistack.diagnostics import Diagnostic, Severity
from aistack.facts.catalog import Catalog, Release
from aistack.facts.document import parse, places
from aistack.facts.systems import Driver
from aistack.facts.version import Scheme, key
from aistack.host.catalog_files import load_catalog

TODAY = "2026-11-22"
DRIVERS = ("470.256.02", "520.61.05", "535.274.02", "550.163.01", "580.65.06", "580.178.04")
CUDAS = ("11.8", "12.1", "12.8", "13.0")
FLOORS = {"11": "450.80.02", "12": "525.60.13", "13": "580.65.06"}
RECIPE = """
schema: aistack/recipe/v1
name: random
arch: amd64
os: debian-13
kernel: {flavor: generic}
accelerator: {product: nvidia/a100-sxm-80gb}
apps:
  one: {framework: {vllm: null}, models: [Qwen/Qwen3-0.6B], port: 8000}
"""


@functools.cache
def shipped() -> Catalog:
    return load_catalog()


def wanted(drivers: str | None, frameworks: tuple[str | None, ...]) -> Recipe:
    root, _ = parse(RECIPE.strip(), "recipe.yaml")
    assert root is not None
    recipe, problems = read(root)
    assert recipe is not None, problems
    app = recipe.apps["one"]
    apps = {f"app{number}": replace(app, framework={"vllm": text}, port=8000 + number) for number, text in enumerate(frameworks)}
    return replace(recipe, apps=apps, driver=DriverWish(version=drivers))


@st.composite
def catalogs(draw: st.DrawFn) -> Catalog:
    """The shipped catalog with a handful of drivers, and of releases of vllm and torch that pin each other at random."""
    base = shipped()
    torch = tuple(
        Release(version=f"2.{minor}.0", brings={"cuda": draw(st.sampled_from(CUDAS))}, architectures=("8.0",))
        for minor in range(draw(st.integers(1, 4)))
    )
    pins = st.sampled_from([release.version for release in torch] + [">=2.0", "<2.2"])
    python = st.sampled_from([">=3.9", ">=3.9,<3.13", ">=3.13"])
    vllm = tuple(
        Release(version=f"0.{minor}.0", needs={"torch": draw(pins), "python": draw(python)}) for minor in range(draw(st.integers(1, 5)))
    )
    offered = draw(st.lists(st.sampled_from(DRIVERS), min_size=1, max_size=4, unique=True))
    system = base.systems["debian-13"]
    drivers = tuple(replace(system.drivers[0], version=version, flavor="proprietary", newest_kernel=None) for version in offered)
    model = replace(base.models["Qwen/Qwen3-0.6B"], frameworks={})
    return replace(
        base,
        accelerators={name: base.accelerators[name] for name in ("nvidia/a100-sxm-80gb",)},
        rules={name: rule for name, rule in base.rules.items() if name.startswith("NV")},
        wheels={},
        systems={"debian-13": replace(system, drivers=drivers)},
        frameworks={"vllm": replace(base.frameworks["vllm"], releases=vllm)},
        components={"torch": replace(base.components["torch"], releases=torch)},
        models={model.id: model},
        places={},
    )


def newest(releases: tuple[Release, ...]) -> list[Release]:
    return sorted(releases, key=lambda release: key(release.version, Scheme.RELEASE), reverse=True)


def admitted(text: str | None, version: str) -> bool:
    """The ranges of this test, written out once more by hand."""
    numbers = [int(part) for part in version.split(".")]
    if text is None:
        return True
    for part in text.split(","):
        if part.endswith(".*"):
            stem = [int(number) for number in part[:-2].split(".")]
            if numbers[: len(stem)] != stem:
                return False
            continue
        operator, bound = (part[:2], part[2:]) if part[:2] == ">=" else (part[:1], part[1:]) if part[:1] == "<" else ("", part)
        other = [int(number) for number in bound.split(".")]
        width = max(len(numbers), len(other))
        mine, theirs = numbers + [0] * (width - len(numbers)), other + [0] * (width - len(other))
        if not {">=": mine >= theirs, "<": mine < theirs, "": mine == theirs}[operator]:
            return False
    return True


def fits(driver: Driver, vllm: Release, torch: Release) -> bool:
    floor = FLOORS[torch.brings["cuda"].split(".")[0]]
    return (
        admitted(f">={floor}", driver.version)
        and admitted(">=450.80.02", driver.version)
        and admitted(vllm.needs["torch"], torch.version)
        and admitted(vllm.needs["python"], "3.13.5")
    )


def brute_force(catalog: Catalog, drivers: str | None, frameworks: tuple[str | None, ...]) -> list[str] | None:
    torches = newest(catalog.components["torch"].releases)
    offered = sorted(catalog.systems["debian-13"].drivers, key=lambda driver: key(driver.version, Scheme.RELEASE), reverse=True)
    for driver in offered:
        if not admitted(drivers, driver.version):
            continue
        chosen: list[str] = [driver.version]
        for text in frameworks:
            releases = [release for release in newest(catalog.frameworks["vllm"].releases) if admitted(text, release.version)]
            pair = next(((vllm, torch) for vllm in releases for torch in torches if fits(driver, vllm, torch)), None)
            if pair is None:
                break
            chosen += [pair[0].version, pair[1].version]
        else:
            return chosen
    return None


RANGES = st.sampled_from([None, ">=0.1", "<0.3", "0.2.*", "0.0.0", ">=0.1,<0.4"])


@settings(max_examples=120, deadline=None)
@given(catalogs(), st.sampled_from([None, "550.*", ">=535", "<580"]), st.lists(RANGES, min_size=1, max_size=3))
@pytest.mark.slow
def test_resolves_as_brute_force_does(catalog: Catalog, drivers: str | None, frameworks: list[str | None]) -> None:
    recipe = wanted(drivers, tuple(frameworks))
    expected = brute_force(catalog, drivers, tuple(frameworks))
    resolution = resolve(recipe, catalog, TODAY)
    if expected is None:
        assert resolution.violations, [(name, getattr(candidate, "version", None)) for name, candidate in resolution.assignment.items()]
        return
    assert resolution.violations == () and resolution.given == ()
    found = [candidate.version for variable, candidate in resolution.assignment.items() if variable != "kernel" and candidate]
    assert found == expected, (found, expected)
    assert resolve(recipe, catalog, TODAY).assignment == resolution.assignment


@settings(max_examples=40, deadline=None)
@given(catalogs(), RANGES)
def test_a_wish_never_widens(catalog: Catalog, text: str | None) -> None:
    """What resolves under a range resolves without it, to nothing older."""
    narrow = resolve(wanted(None, (text,)), catalog, TODAY)
    if narrow.violations:
        return
    wide = resolve(wanted(None, (None,)), catalog, TODAY)
    assert wide.violations == ()
    pairs = [
        (wide.assignment[variable], narrow.assignment[variable])
        for variable in ("driver", "app/app0")
        if wide.assignment["driver"] == narrow.assignment["driver"] or variable == "driver"
    ]
    for newer, older in pairs:
        assert newer is not None and older is not None
        assert key(newer.version, Scheme.RELEASE) >= key(older.version, Scheme.RELEASE)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(catalogs(), st.sampled_from(["550.*", ">=535", "<580"]), st.lists(RANGES.filter(bool), min_size=1, max_size=3))
def test_a_conflict_is_minimal(catalog: Catalog, drivers: str, frameworks: list[str]) -> None:
    """What is named cannot all hold; without any one of it, all else of it can."""
    recipe = wanted(drivers, tuple(frameworks))
    wishes = frozenset(requirements(recipe))
    conflict = frozenset(minimal_conflict(recipe, catalog, TODAY, frozenset()))

    def conflicting(kept: frozenset[Path]) -> bool:
        return bool(resolve(recipe, catalog, TODAY, without=wishes - kept).violations)

    assert conflicting(conflict) is bool(resolve(recipe, catalog, TODAY).violations)
    if not conflict:
        assert conflicting(frozenset()) is conflicting(wishes)
    for wish in conflict:
        assert not conflicting(conflict - {wish})


def judged(text: str, catalog: Catalog, *, fixes: bool = True) -> tuple[Diagnostic, ...]:
    root, problems = parse(text, "recipe.yaml")
    assert root is not None and not problems
    recipe, more = read(root)
    assert recipe is not None, more
    return judge(recipe, catalog, places(root), TODAY, fixes=fixes).diagnostics


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(catalogs(), st.sampled_from(["550.*", ">=535", "<580", "470.256.02"]), st.lists(RANGES.filter(bool), min_size=1, max_size=2))
def test_a_fix_that_is_called_proved_works_in_the_file(catalog: Catalog, drivers: str, frameworks: list[str]) -> None:
    """Made in the recipe's own text, which is then read and judged from the beginning, it leaves no error."""
    apps = "".join(
        f"  app{number}: {{framework: {{vllm: '{text}'}}, models: [Qwen/Qwen3-0.6B], port: {8000 + number}}}\n"
        for number, text in enumerate(frameworks)
    )
    text = RECIPE.strip().partition("apps:")[0] + f"driver: {{version: '{drivers}'}}  # as the fleet has it\napps:\n{apps}"

    def errors(text: str) -> Counter[tuple[str, str]]:
        return Counter((one.rule, one.message) for one in judged(text, catalog, fixes=False) if one.severity is Severity.ERROR)

    before = errors(text)  # two apps may have the same one, each for itself
    for error in judged(text, catalog):
        for fix in error.fixes if error.severity is Severity.ERROR else ():
            after = applied(text, fix)
            assert fix.proved and after is not None and "# as the fleet has it" in after
            left = errors(after)
            assert {rule for rule, _ in left} == set(fix.leaves), (fix.text, after)
            assert left <= before - Counter([(error.rule, error.message)]), (fix.text, after)


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(catalogs(), st.sampled_from(["550.*", "<580", "470.256.02"]), RANGES, st.sampled_from(["65536", "100000"]))
def test_independent_conflicts_do_not_hide_the_fixes_of_each_other(catalog: Catalog, drivers: str, vllm: str | None, longest: str) -> None:
    """What mends each of two conflicts where it is alone is offered where both are, and both together."""
    clean = RECIPE.strip() + "\ndriver: {version: '" + drivers + "'}\n"
    clean = clean.replace("{vllm: null}", f"{{vllm: '{vllm or '>=0'}'}}, args: {{max-model-len: 1024}}")
    long = clean.replace("1024", longest)

    alone, both = ([one for one in judged(text, catalog) if one.severity is Severity.ERROR] for text in (clean, long))
    assert {one.rule for one in both} == {*(one.rule for one in alone), "MD104"}
    if len(alone) != 1:
        return
    (first,) = (one for one in both if one.rule != "MD104")
    (second,) = (one for one in both if one.rule == "MD104")
    assert [(fix.text, ("MD104",)) for fix in alone[0].fixes] == [(fix.text, fix.leaves) for fix in first.fixes if fix.leaves]
    assert (first.rule,) in [fix.leaves for fix in second.fixes]
    together = [fix for fix in second.fixes if not fix.leaves]
    assert together == [fix for fix in first.fixes if not fix.leaves] and len(together) == bool(alone[0].fixes)
