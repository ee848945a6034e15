"""Rules about builds: what was compiled into a program, and what it runs on."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aistack.compose.rules.data import in_words, story
from aistack.compose.rules.situation import IMAGE, Finding, Situation, Value, code_rule
from aistack.diagnostics import Severity
from aistack.facts.capability import TEGRA, capability, covers
from aistack.facts.catalog import Release
from aistack.facts.snapshot import seen_frameworks

VENDORS = {"nvidia": r"cu(da)?\d", "amd": r"rocm\d"}
"""How the name of a build begins that is made for a vendor's accelerators."""
COMPUTING = frozenset({"torch", "torchvision", "torchaudio", "transformers", "accelerate", "diffusers", "sentence-transformers"})
"""Programs that compute on an accelerator only through torch."""
ENGINES = re.compile(r"(tensorrt|trt|triton)(?!.*rtx)")
"""How the names of programs begin that load TensorRT's engines; those of TensorRT for RTX are made for several products."""
SERVERS = re.compile(r"sbsa")
BOARDS = re.compile(r"l4t|tegra|jetpack")
"""How builds for arm64 say that they are for servers, and for Jetson."""
UNSAID = "7"
"""The JetPack from which on nothing is said of builds for servers."""
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
    owner = situation.catalog.components.get(name)
    listed = owner is not None and value.compiled != "listed"
    why = story(situation, (name,))
    if not release.architectures:
        spoken = value.path not in situation.referred  # of what only an image's reference tells no more can be expected
        if name == MUST_BE_KNOWN and spoken and value.text is not None and situation.text("vendor") in ("nvidia", None):
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
        source=owner.builds_source if owner and listed else None,
        checked=owner.checked if owner and owner.builds_source and listed else None,
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
    vendor's the program finds no accelerator at all. A build for processors leaves the accelerator idle. That may be meant, where another
    program uses it or a desktop does; where torch is all that computes on an accelerator of a data centre, it is a mistake: the index of
    PyPI has long had builds for processors alone for arm64. A container image that holds CUDA or ROCm is made for one of them too.
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
            severity=Severity.WARNING if only and not _idle(situation, name) else None,
            message=f"this build of {name} is for {speaks}{' alone' if only else ''}: {build}",
            path=("frameworks", name, "build" if one.build else "version"),
            label="needs a build for " + {"nvidia": "CUDA", "amd": "ROCm"}[vendor.text],
            also=((vendor.path, "named here"),),
        )
    yield from _image_for_other(situation, vendor)


def _idle(situation: Situation, name: str) -> bool:
    """Whether an accelerator of a data centre has nothing to do where this build of a program is for processors alone."""
    others = {word.lower().replace("_", "-") for word in seen_frameworks(situation.seen)} - COMPUTING
    return name == "torch" and not others and situation.seen.accelerator.product is not None and situation.text("brand") == "datacenter"


def _image_for_other(situation: Situation, vendor: Value) -> Iterator[Finding]:
    image = situation.seen.image
    for made, name, version in (("nvidia", "CUDA", image.cuda), ("amd", "ROCm", image.rocm)):
        own = image.rocm if made == "nvidia" else image.cuda
        if version is None or made == vendor.text or own is not None:
            continue
        path = ("image", name.lower())
        told = situation.referred.get(path)
        yield Finding(
            severity=Severity.WARNING if told is not None and told.assumed else None,
            message=f"the image holds {name} {version}, which is for {'NVIDIA' if made == 'nvidia' else 'AMD'}'s accelerators",
            path=path,
            label=f"needs an image with {'CUDA' if made == 'amd' else 'ROCm'}",
            also=((vendor.path, "named here"),),
            why=(told.because,) if told is not None else (),
        )


def _engine(situation: Situation) -> Iterator[Finding]:
    """A TensorRT engine runs on the compute capability for which it was built, and on no other.

    Its kernels were chosen and compiled for that accelerator; another one refuses to load it ("expecting compute 8.0 got compute 8.9").
    Engines that were built in one of the modes of hardware compatibility run on several: a snapshot calls those otherwise than by one
    architecture (`ampere+`).
    """
    mine = situation.value("compute-capability")
    if mine is None or mine.text is None:
        return
    for name, one in seen_frameworks(situation.seen).items():
        built = capability(one.engine) if one.engine and ENGINES.match(name.lower()) else None
        if built is not None and built != mine.text:
            yield Finding(
                severity=Severity.WARNING if mine.assumed else None,
                message=f"the engine of {name} was built for compute capability {built}, the accelerator has {mine.text}",
                path=("frameworks", name, "engine"),
                label=f"needs an engine for {mine.text}",
                also=((mine.path, "named here"),),
                hints=("build the engine on the accelerator that runs it, or in a mode of hardware compatibility",),
            )


def _arm64_kind(situation: Situation) -> Iterator[Finding]:
    """Of programs for arm64 there are builds for servers (`sbsa`) and for Jetson (`l4t`, `tegra`), whose code is not the same.

    Both install on either. Before JetPack 7 a Jetson has a CUDA toolkit and libraries of its own, with another binary interface: there a
    build for servers fails at its first call ("named symbol not found"), though the machine code itself would run. The other way round no
    document says what happens, so that is a warning; nothing is said of JetPack 7 and newer.
    """
    brand = situation.text("brand")
    if brand is None:
        return
    jetson = brand == "embedded"
    own = re.search(r"jetpack-?(\d+)", (situation.seen.platform.os or "").lower())
    mine = situation.text("compute-capability")
    whose = "servers, the machine is a Jetson" if jetson else "Jetson, which the machine is not"
    if jetson and not (mine in TEGRA and (own is None or int(own[1]) < int(UNSAID))):
        return
    for name, one in seen_frameworks(situation.seen).items():
        text = (one.build or (one.version or "").partition("+")[2]).lower()
        if (SERVERS if jetson else BOARDS).search(text):
            yield Finding(
                severity=None if jetson and own is not None else Severity.WARNING,
                message=f"this build of {name} is for {whose}",
                path=("frameworks", name, "build" if one.build else "version"),
                label=f"needs a build for {'Jetson' if jetson else 'servers (sbsa)'}",
                also=((situation.where("compute-capability"), "named here"),),
                hints=("take it from Jetson's own index, or compile it there",) if jetson else (),
            )


RULES = (
    code_rule(
        _engine,
        "AC107",
        "engine-architecture",
        "stack",
        of="snapshot",
        topics=("recipe-arch-agreement", "architecture-not-in-build"),
        source=(
            "https://docs.nvidia.com/deeplearning/tensorrt/11.1.0/inference-library/engine-compatibility.html",
            "https://docs.nvidia.com/deeplearning/tensorrt/10.16.1/getting-started/support-matrix.html",
        ),
        checked="2026-11-26",
    ),
    code_rule(
        _arm64_kind,
        "AC108",
        "arm64-build",
        "stack",
        of="snapshot",
        topics=("package-arch", "architecture-not-in-build"),
        source=(
            "https://docs.nvidia.com/cuda/cuda-for-tegra-appnote/",
            "https://github.com/bitsandbytes-foundation/bitsandbytes/issues/1930",
        ),
        checked="2026-11-26",
    ),
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
        topics=("architecture-not-in-build", "gfx-not-in-build", "package-arch"),
        source=("https://pytorch.org/get-started/previous-versions",),
        checked="2026-11-26",
    ),
    code_rule(_platform, "AC109", "platform-of-framework", "app", of="snapshot", topics=("architecture-not-in-build", "gfx-not-in-build")),
)
