"""Rules about what a node needs that only its accelerator's vendor has, so that the recipe must name an archive of theirs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aistack.compose.rules.accelerator import PRODUCT
from aistack.compose.rules.situation import Finding, Path, Situation, code_rule
from aistack.diagnostics import Severity
from aistack.facts.version import agree, upstream

BOARD = 8
"""Accelerators on a board with NVSwitches. Boards with four of the same modules link them directly."""
GUIDE = "https://docs.nvidia.com/datacenter/tesla/pdf/fabric-manager-user-guide.pdf"
FABRIC_MANAGER = re.compile(r"(?:cuda-drivers-|nvidia-)fabricmanager(?:-(?P<branch>\d+))?(?:=(?P<version>.+))?")


def setting(*packages: str) -> str:
    """The line of a recipe that takes packages from a vendor's archive."""
    return f"`sources: [{{kind: apt, uri: ADDRESS, suites: [./], signed-by: KEY-FILE, packages: [{', '.join(packages)}]}}]`"


def named(situation: Situation) -> Iterator[tuple[Path, str]]:
    """The packages that the recipe asks for beside its OS's own choice, each with where it is named."""
    for index, source in enumerate(situation.wish.sources):
        yield from ((("sources", index, "packages", number), package) for number, package in enumerate(source.for_node))
    yield from ((("node", "packages", number), package) for number, package in enumerate(situation.wish.node.packages))


def _fabric_manager(situation: Situation) -> Iterator[Finding]:
    """A board with NVSwitches needs NVIDIA's fabric manager, of exactly the driver's version.

    It programs the switches when the machine starts. Without it nvidia-smi lists healthy accelerators, and the first call of any CUDA
    program fails with error 802. Debian has no such package: NVIDIA's archive does, as `nvidia-fabricmanager-BRANCH`. Boards with
    NVLink 5 need `nvlsm` beside it. A package of another version than the driver's is an error, since it stops when it starts.
    """
    product, driver, count = situation.accelerator, situation.driver, situation.text("accelerator-count")
    if product is None or driver is None or product.interconnect != "nvswitch" or int(count or 0) < BOARD:
        return
    managers = [(path, match) for path, package in named(situation) if (match := FABRIC_MANAGER.fullmatch(package))]
    branch = driver.version.partition(".")[0]
    if not managers:
        packages = [f"nvidia-fabricmanager-{branch}={driver.version}-1", *(["nvlsm"] if (product.nvlink or 0) >= 5 else [])]
        yield Finding(
            message=f"{count} {product.name} hang on NVSwitches, and no package of the node is the fabric manager that programs them",
            path=PRODUCT,
            label="CUDA fails with error 802 without it",
            why=("none of the OS's archives has it",),
            source=GUIDE,
            checked="2026-11-26",
            hints=(f"name NVIDIA's archive: {setting(*packages)}",),
        )
    for path, match in managers:
        version = upstream(match["version"]) if match["version"] else match["branch"]
        if version is not None and agree(version, driver.version) is False:
            yield Finding(
                severity=Severity.ERROR,
                message=f"fabric manager {version} does not work with driver {driver.version}",
                path=path,
                label=f"must be {driver.version}",
                also=((situation.where("driver"), f"driver {driver.version}"),),
                source=GUIDE,
                checked="2026-11-26",
            )


def _driver_elsewhere(situation: Situation) -> Iterator[Finding]:
    """An accelerator needs a driver: one that its OS offers, or packages of an archive that the recipe names.

    For some accelerators no archive of the OS has the driver, its firmware or its libraries. What their vendor's archive has may be
    built for another distribution. Sources of modules among them are compiled for the image's kernel, as the OS's own are. Whether
    packages of such an archive drive the accelerator is not known before it runs.
    """
    product, os = situation.accelerator, situation.os
    if product is None or os is None or product.vendor == "cpu" or "base" not in os.roles:
        return
    if any(driver.vendor == product.vendor for driver in os.drivers):
        return
    taken = [(path, package) for path, package in named(situation) if path[0] == "sources"]
    if taken:
        path, package = taken[0]
        message = f"could not tell whether `{package}` drives {product.name}: no driver of {os.name} does"
        yield Finding(severity=Severity.UNKNOWN, message=message, path=path, also=((PRODUCT, "asked here"),))
        return
    yield Finding(
        message=f"{os.name} has no driver for {product.name}",
        path=PRODUCT,
        why=(product.elsewhere,) if product.elsewhere else (),
        source=product.source[-1] if product.elsewhere else None,
        checked=product.checked,
        place=f"accelerators/{product.id}",
        hints=(f"name an archive that has it, built for this OS: {setting('PACKAGE')}",),
    )


RULES = (
    code_rule(
        _fabric_manager,
        "FB107",
        "fabric-manager-unnamed",
        "node",
        "accelerator",
        "accelerator-count",
        "driver",
        severity=Severity.WARNING,
        topics=("fabric",),
        source=(GUIDE,),
        checked="2026-11-26",
    ),
    code_rule(_driver_elsewhere, "DV101", "driver-elsewhere", "node", "accelerator", "os"),
)
