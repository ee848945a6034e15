"""The kernels that an OS's archives offer, each as the recipe's stack would be with it: what `aistack kernels` asks about."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from aistack.compose.recipe import Recipe, SourceWish
from aistack.facts.catalog import Catalog
from aistack.facts.systems import Kernel, Os, Suite
from aistack.facts.version import Scheme, newest_first
from aistack.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """One kernel in an archive: its version string, the suite that has it, and the package's own version."""

    kernel: str
    suite: str
    version: str


def suites(os: Os, flavor: str) -> tuple[Suite, ...]:
    """Where an OS's kernels of a flavour come from: its own suites, and those from which a recipe may take one."""
    further = (Suite(name=kernel.suite) for kernel in os.kernels if kernel.flavor == flavor)
    return tuple({suite.name: suite for suite in (*further, *os.suites)}.values())


def offered(images: Iterable[tuple[str, str, str]], headers: Iterable[str]) -> tuple[Offered, ...]:
    """Of the images (suite, package, version) those for which there are headers as well, newest first, each once."""
    names = set(headers)
    found: dict[str, Offered] = {}
    for suite, package, version in images:
        kernel = package.removeprefix("linux-image-")
        if f"linux-headers-{kernel}" in names:
            found.setdefault(kernel, Offered(kernel=kernel, suite=suite, version=version))
    order = {version: place for place, version in enumerate(newest_first({one.version for one in found.values()}, Scheme.DEBIAN))}
    return tuple(sorted(found.values(), key=lambda one: (order[one.version], one.kernel)))


def with_kernel(recipe: Recipe, catalog: Catalog, one: Offered) -> tuple[Recipe, Catalog]:
    """The recipe and the catalog in which its OS offers that kernel and no other, whatever the recipe wishes."""
    os = catalog.systems[recipe.os]
    known = next(kernel for kernel in os.kernels if kernel.flavor == recipe.kernel.flavor)
    kernel = replace(known, version=upstream(one.kernel), suite=one.suite, packages=(f"linux-image-{one.kernel}",))
    own = {suite.name: suite for suite in os.suites}
    beside = () if one.suite in own else (Suite(name=one.suite),)
    alone = replace(os, kernels=(kernel,), suites=(*os.suites, *beside))
    systems: Mapping[str, Os] = {**catalog.systems, os.id: alone}
    wish = replace(recipe, kernel=replace(recipe.kernel, version=None), sources=_without_kernel(recipe, known))
    return wish, replace(catalog, systems=systems)


def _without_kernel(recipe: Recipe, kernel: Kernel) -> tuple[SourceWish, ...]:
    """The recipe's sources, none of which names the kernel's package any longer."""
    names = {package.replace("{arch}", recipe.arch) for package in kernel.packages}
    return tuple(
        replace(source, packages=tuple(one for one in source.packages if one.partition("=")[0] not in names)) for source in recipe.sources
    )


def upstream(kernel: str) -> str:
    """The upstream part of a version string: `6.12.118` of `6.12.118+deb13-amd64`."""
    found = re.match(r"\d+(?:\.\d+)*", kernel)
    return found[0] if found else kernel
