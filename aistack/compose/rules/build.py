"""Rules about builds: what was compiled into a program, and what it runs on."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aistack.compose.rules.data import in_words, story
from aistack.compose.rules.situation import IMAGE, Finding, Situation, Value, code_rule
from aistack.diagnostics import Severity
from aistack.facts.capability import TEGRA, covers
from aistack.facts.catalog import Release
from aistack.facts.snapshot import seen_frameworks

VENDORS = {"nvidia": r"cu(da)?\d", "amd": r"rocm\d"}
"""How the name of a build begins that is made for a vendor's accelerators."""
PLATFORMS = {
    "nvidia": "NVIDIA's accelerators",
    "amd": "AMD's accelerators",
    "intel": "Intel's GPUs",
    "gaudi": "Gaudi",
    "cpu": "processors alone",
}
"""By platform: what a sentence says that builds are for."""
MUST_BE_KNOWN = "torch"
"""The one program of which it is worth a word that nothing is known of what is compiled in."""


def _architecture_in_build(situation: Situation) -> Iterator[Finding]:
    """A build of torch, and of every other program whose architectures are known, must hold code for the accelerator.

    Machine code for X.y runs on X.z with z at least y, and on no other major version; code for `9.0a` runs on 9.0 alone, code for
    `10.0f` on the family of 10.0. PTX is compiled by the driver when a program starts, which is slow and needs a driver as new as the
    CUDA that made it. Without either, the first kernel fails with "no kernel image is available for execution on the device".
    Jetson's processors run code that was compiled for them alone.

    Which build of a release is there decides: PyPI serves one, the project's own index others (`cu118`, `cu126`, …), and for arm64 yet
    others. Where a snapshot does not say which, the usual one is judged, unless the CUDA that it speaks of belongs to another.
    """
    part, capability = situation.part, situation.value("compute-capability")
    if part is None or capability is None or capability.text is None:
        return
    served = {part.framework.id: part.release} if part.framework is not None else {}
    for name, release in {**part.pulled, **served}.items():
        value = situation.value(name)
        if release is not None and value is not None:
            yield from _judge(situation, name, release, value, capability.text)


def _judge(situation: Situation, name: str, release: Release, value: Value, capability: str) -> Iterator[Finding]:
    title = "the image" if name == IMAGE else f"{name} {release.version}".strip()
    place = f"components/{name}/{release.version}"
    why = story(situation, (name,))
    if not release.architectures:
        if name == MUST_BE_KNOWN and value.text is not None and situation.text("vendor") in ("nvidia", None):
            message = f"could not tell whether {title} has code for compute capability {capability}"
            yield Finding(severity=Severity.UNKNOWN, message=message, path=value.path, why=why, place=place)
        return
    answer = covers(release.architectures, capability)
    if answer is True:
        return
    if answer is None:
        message = f"{title} has no machine code for compute capability {capability}, only PTX to compile at start"
        severity: Severity | None = Severity.WARNING
    else:
        message = f"{title} has no code for compute capability {capability}"
        severity = None
    others = tuple(build for build, built in release.builds.items() if covers(built, capability) is not False)
    if situation.snapshot is not None and others and (value.assumed or _named(situation) & set(others)):
        message = f"could not tell which build of {title} this is: the usual one has no code for compute capability {capability}"
        severity = Severity.UNKNOWN
    elif situation.snapshot is not None and capability in TEGRA and release.builds:
        message = f"{message}, unless it was built for Jetson"
        severity = Severity.WARNING
    yield Finding(
        severity=severity,
        message=message,
        path=value.path,
        label=f"built for {', '.join(release.architectures)}",
        also=((("accelerator", "product"), "named here"),) if severity is None else (),
        why=why,
        place=place,
        hints=(f"its build for {' or '.join(others)} has code for {capability}",) if others else (),
    )


def _named(situation: Situation) -> set[str]:
    """The builds to which the CUDA belongs that the snapshot speaks of."""
    found = (situation.seen.image.cuda, situation.seen.toolkit.cuda)
    return {"cu" + "".join(cuda.split(".")[:2]) for cuda in found if cuda}


def _platform(situation: Situation) -> Iterator[Finding]:
    """A release of a framework must have builds for the accelerator's platform: CUDA, ROCm, Intel's GPUs, Gaudi, or processors.

    The catalog says for which releases documents speak of such builds; of others it is not known.
    """
    part, product = situation.part, situation.accelerator
    framework = part.framework if part else None
    value = situation.value(framework.id) if framework else None
    if framework is None or value is None or product is None or not framework.platforms:
        return
    wanted = framework.platforms.get(product.platform)
    place = f"frameworks/{framework.id}"
    if wanted is None:
        known = " or ".join(PLATFORMS[name] for name in framework.platforms)
        yield Finding(
            severity=Severity.UNKNOWN if product.platform == "cpu" else None,
            message=f"{framework.name} has no builds for {PLATFORMS.get(product.platform, product.platform)}",
            path=value.path,
            label=f"has builds for {known}",
            also=((("accelerator", "product"), "named here"),),
            place=place,
        )
    elif value.fits(wanted, framework.versions) is not True:
        told = f"could not tell whether {framework.name} {value.text or ''}".rstrip()
        yield Finding(
            severity=Severity.UNKNOWN,
            message=f"{told} has a build for {PLATFORMS.get(product.platform, product.platform)}",
            path=value.path,
            label=f"known to be there for {in_words(wanted)}",
            place=place,
        )


def _vendor_of_build(situation: Situation) -> Iterator[Finding]:
    """A program's build is made for one vendor's accelerators, and has no code for another's.

    PyTorch and what stands on it come in builds for CUDA (`cu128`), for ROCm (`rocm6.4`) and for processors alone (`cpu`). With another
    vendor's the program finds no accelerator at all. A build for processors leaves the accelerator idle, which may be meant.
    """
    vendor = situation.value("vendor")
    if vendor is None or vendor.text not in VENDORS:
        return
    for name, one in seen_frameworks(situation.seen).items():
        build = (one.build or (one.version or "").partition("+")[2]).strip().lower()
        made = next((whose for whose, pattern in VENDORS.items() if re.match(pattern, build)), None)
        only = build == "cpu"
        if not only and made in (None, vendor.text):
            continue
        speaks = "processors" if only else {"nvidia": "NVIDIA's accelerators", "amd": "AMD's accelerators"}[made or ""]
        yield Finding(
            severity=Severity.WARNING if only else None,
            message=f"this build of {name} is for {speaks}{' alone' if only else ''}: {build}",
            path=("frameworks", name, "build" if one.build else "version"),
            label="needs a build for " + {"nvidia": "CUDA", "amd": "ROCm"}[vendor.text],
            also=((vendor.path, "named here"),),
        )


RULES = (
    code_rule(
        _architecture_in_build,
        "AC105",
        "architecture-in-build",
        "app",
        "compute-capability",
        "torch",
        of="both",
        topics=("architecture-not-in-build",),
        source=("https://docs.nvidia.com/cuda/cuda-c-programming-guide/", "https://docs.nvidia.com/cuda/ada-compatibility-guide"),
        checked="2026-11-26",
    ),
    code_rule(
        _vendor_of_build,
        "AC106",
        "vendor-of-build",
        "stack",
        of="snapshot",
        topics=("architecture-not-in-build", "gfx-not-in-build"),
        source=("https://pytorch.org/get-started/previous-versions",),
        checked="2026-11-26",
    ),
    code_rule(_platform, "AC107", "platform-of-framework", "app", of="snapshot", topics=("architecture-not-in-build", "gfx-not-in-build")),
)
