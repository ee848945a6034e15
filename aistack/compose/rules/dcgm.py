"""Rules about DCGM, whose diagnostics come in a package for each major version of CUDA."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aistack.compose import requirement
from aistack.compose.rules.situation import Finding, Path, Situation, code_rule
from aistack.facts.snapshot import SeenPart, listed
from aistack.facts.version import Scheme, VersionFormatError, key

GUIDE = "https://docs.nvidia.com/datacenter/dcgm/latest/user-guide/getting-started.html"
OLDER = ("Maxwell", "Pascal", "Volta")
"""Architectures that CUDA 13 no longer has code for, so that DCGM's guide gives them the package for CUDA 12."""


def _dcgm(situation: Situation) -> SeenPart | None:
    part = situation.seen.runtime.get("dcgm")
    return part if isinstance(part, SeenPart) else None


def _majors(dcgm: SeenPart) -> tuple[set[int], Path]:
    """The major versions of CUDA that its packages are for, and where that is said; none where nothing says it."""
    for words, name in (((dcgm.cuda_package,) if dcgm.cuda_package else (), "cuda_package"), (listed(dcgm.plugins) or (), "plugins")):
        found = {int(match[1]) for word in words if (match := re.search(r"(?:cuda-?|^)(1\d)(?:\.\d+)?$", word.lower()))}
        if found:
            return found, ("runtime", "dcgm", name)
    return set(), ("runtime", "dcgm")


def _level(dcgm: SeenPart) -> int:
    """The level at which the diagnostics run, told by its number or its word; 0 where it is not told."""
    told = str(dcgm.level or "").lower()
    number = re.match(r"\d+", told)
    return int(number[0]) if number else {"quick": 1, "short": 1, "medium": 2, "med": 2, "long": 3, "xlong": 4}.get(told, 0)


def _package(situation: Situation) -> Iterator[Finding]:
    """DCGM's diagnostics must be installed for the major version of CUDA that the driver carries.

    `dcgmi diag` starts the plugins for that version; those for another one are not used, and the diagnostics fail, while counters are
    still read. Driver 580 was the first with CUDA 13, so machines that were upgraded to it need datacenter-gpu-manager-4-cuda13. For
    Maxwell, Pascal and Volta, which CUDA 13 has dropped, the package for CUDA 12 remains the right one.
    """
    dcgm, driver = _dcgm(situation), situation.text("driver")
    if dcgm is None or driver is None:
        return
    least, most = requirement.carried(driver, situation.catalog.branches)
    majors, path = _majors(dcgm)
    if not majors or least is None or most is None or least.split(".")[0] != most.split(".")[0]:
        return
    carries, architecture = int(least.split(".")[0]), situation.text("architecture")
    wanted = 12 if carries >= 13 and architecture in OLDER else carries
    if wanted in majors:
        return
    have = " and ".join(str(major) for major in sorted(majors))
    reason = f"driver {driver} carries CUDA {carries}" if wanted == carries else f"CUDA {have} has no code for {architecture}"
    yield Finding(
        message=f"DCGM's diagnostics are those for CUDA {have}, but {reason}",
        path=path,
        label=f"needs the package for CUDA {wanted}",
        also=((situation.where("driver"), f"carries CUDA {least}"),),
        hints=(f"install datacenter-gpu-manager-4-cuda{wanted} (DCGM 4.4 and newer have one for CUDA 13)",),
    )


def _volta(situation: Situation) -> Iterator[Finding]:
    """The PCIe test of DCGM up to 4.4.1 fails under driver 580 with the plugins for CUDA 12, which Volta and older need.

    It is part of the diagnostics from level 2 on. Level 1 and the counters work.
    """
    dcgm, driver = _dcgm(situation), situation.text("driver")
    if dcgm is None or dcgm.version is None or driver is None or _level(dcgm) < 2:
        return
    majors, path = _majors(dcgm)
    try:
        affected = key(dcgm.version, Scheme.KERNEL) <= key("4.4.1", Scheme.KERNEL)
    except VersionFormatError:
        return
    if affected and majors == {12} and driver.split(".")[0] == "580" and situation.text("architecture") in OLDER:
        yield Finding(
            message=f"DCGM {dcgm.version} fails its PCIe test under driver {driver} with the plugins for CUDA 12",
            path=("runtime", "dcgm", "level"),
            label="level 1 works",
            also=((path, "the plugins that this architecture needs"),),
            hints=("run `dcgmi diag -r 1`, or name the tests without `pcie`; or stay with a driver that carries CUDA 12 itself",),
        )


def _pulse(situation: Situation) -> Iterator[Finding]:
    """The pulse test of DCGM up to 4.2.3 does not know compute capability 12 (RTX 50 and RTX PRO Blackwell)."""
    dcgm, capability = _dcgm(situation), situation.text("compute-capability") or ""
    if dcgm is None or dcgm.version is None or not capability.startswith("12."):
        return
    tests = [word.replace("-", "_") for word in listed(dcgm.plugins) or ()]
    try:
        affected = key(dcgm.version, Scheme.KERNEL) <= key("4.2.3", Scheme.KERNEL)
    except VersionFormatError:
        return
    if affected and "pulse_test" in tests:
        yield Finding(
            message=f"the pulse test of DCGM {dcgm.version} does not know compute capability {capability}",
            path=("runtime", "dcgm", "plugins"),
            label="fails on this product",
            hints=("leave pulse_test out, or use a newer DCGM",),
        )


TOPICS = ("dcgm",)

RULES = (
    code_rule(_package, "DC101", "dcgm-cuda-package", "stack", of="snapshot", topics=TOPICS, source=(GUIDE,), checked="2026-11-26"),
    code_rule(
        _volta,
        "DC102",
        "dcgm-pcie-test",
        "stack",
        of="snapshot",
        topics=TOPICS,
        source=("https://github.com/NVIDIA/DCGM/issues/254",),
        checked="2026-11-26",
    ),
    code_rule(
        _pulse,
        "DC103",
        "dcgm-pulse-test",
        "stack",
        of="snapshot",
        topics=TOPICS,
        source=("https://github.com/NVIDIA/DCGM/issues/238",),
        checked="2026-11-26",
    ),
)
