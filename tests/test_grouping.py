"""Which packages share a layer: the same whatever else is there, few enough, and steady from lock to lock."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from aistack.compose import grouping
from aistack.facts.pins import LockedPackage, LockedWheel


def package(name: str, size: int, source: str | None = None) -> LockedPackage:
    return LockedPackage(
        name=name, version="1", arch="amd64", sha256=name.ljust(64, "0"), size=size, origin="trixie/main", filename=f"{name}.deb",
        source=f"{source or name} 1",
    )  # fmt: skip


ROOTS = st.lists(
    st.builds(
        package,
        st.from_regex(r"[a-z]{2,5}", fullmatch=True),
        st.integers(1, 50_000_000),
        st.sampled_from([None, "systemd", "glibc", "openssl"]),
    ),
    max_size=200,
    unique_by=lambda one: one.name,
)


def home(layers: grouping.Layers, name: str) -> str:
    (found,) = [group for group, names in layers if name in names]
    return found


@given(ROOTS, st.randoms())
def test_every_package_has_one_layer_and_there_are_not_too_many(packages: list[LockedPackage], random: object) -> None:
    layers = grouping.group(packages)
    assert sorted(name for _, names in layers for name in names) == sorted(one.name for one in packages)
    assert len(layers) <= grouping.MOST_OWN_GROUPS + grouping.SMALL_GROUPS
    assert layers == grouping.group(packages[::-1])


@given(ROOTS)
def test_a_lock_made_anew_keeps_the_assignment(packages: list[LockedPackage]) -> None:
    first = grouping.group(packages)
    grown = [dataclasses.replace(one, size=one.size * 3) for one in packages]
    again = grouping.group(grown, first)
    assert grouping.group(packages, first) == first
    kept = {group for group, _ in first if not group.startswith("small-")}
    assert kept <= {group for group, _ in again}


@given(ROOTS.filter(lambda packages: len(packages) > 1))
def test_one_package_more_moves_no_small_one(packages: list[LockedPackage]) -> None:
    before, after = grouping.group(packages[1:]), grouping.group(packages)
    for one in packages[1:]:
        if one.source != packages[0].source and home(before, one.name).startswith("small-"):
            assert home(after, one.name) == home(before, one.name)


WHEELS = st.lists(
    st.builds(
        lambda name, size: LockedWheel(name=name, version="1", filename=f"{name}-1-py3-none-any.whl", sha256="0" * 64, size=size),
        st.from_regex(r"[a-z]{2,5}", fullmatch=True),
        st.sampled_from([20_000, 3_999_999, 4_000_000, 900_000_000]),
    ),
    max_size=200,
    unique_by=lambda one: one.name,
)


@given(WHEELS, ROOTS)
def test_wheels_and_packages_together_are_not_too_many_layers(wheels: list[LockedWheel], packages: list[LockedPackage]) -> None:
    layers = grouping.group_wheels(wheels)
    beside = grouping.group(packages, most=grouping.MOST_BESIDE_WHEELS)
    assert sorted(name for _, names in layers for name in names) == sorted(one.name for one in wheels)
    assert len(layers) + len(beside) < 96  # and those that no package owns
    assert not {group for group, _ in layers} & {group for group, _ in beside}


@given(WHEELS.filter(lambda wheels: len(wheels) > 1))
def test_a_wheel_keeps_its_layer_in_a_later_lock(wheels: list[LockedWheel]) -> None:
    first = grouping.group_wheels(wheels[1:])
    grown = [dataclasses.replace(one, version="2", size=one.size * 3) for one in wheels]
    later = grouping.group_wheels(grown, first)
    for one in wheels[1:]:
        assert home(later, one.name) in (home(first, one.name), f"wheel-{one.name}")


def test_what_is_built_from_one_source_lies_together() -> None:
    layers = grouping.group([package("libssl3t64", 2_000_000, "openssl"), package("openssl", 90_000, "openssl"), package("dash", 90_000)])
    assert home(layers, "libssl3t64") == home(layers, "openssl") == "openssl"
    assert home(layers, "dash").startswith("small-")


def test_the_kernel_has_a_layer_of_its_own_whatever_it_is_called() -> None:
    for name in ("linux-image-6.12.107+deb13-cloud-amd64", "linux-image-6.12.117+deb13-amd64"):
        assert home(grouping.group([package(name, 34_000_000, "linux-signed-amd64"), package("dash", 1)]), name) == grouping.KERNEL
