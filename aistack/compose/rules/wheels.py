"""Rules about wheels: whether a project's index has one for the processor, the C library and the Python that are there."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aistack.compose.rules.data import fits, story
from aistack.compose.rules.situation import Finding, Situation, Value, code_rule
from aistack.diagnostics import Severity
from aistack.facts.catalog import Release
from aistack.facts.snapshot import SeenImage
from aistack.facts.version import Scheme
from aistack.facts.wheel_tags import Span, Wheel, Wheels
from aistack.values import dataclass

ARCHITECTURES = ("amd64", "arm64")
"""Processors whose wheels are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """A program and what its project has of its release; `build` is empty for what the index serves.

    A build from the project's own index (`own_index`) is made like the usual one, but not for every processor.
    """

    name: str
    value: Value
    wheels: Wheels
    span: Span
    build: str
    own_index: bool
    release: Release | None
    source: str

    @property
    def title(self) -> str:
        return f"{self.name} {self.value.text}" + (f" for {self.build}" if self.build and self.build not in (self.value.text or "") else "")

    def wheel(self, arch: str) -> Wheel | None:
        return self.span.wheel(arch)

    def finding(
        self, severity: Severity | None, message: str, label: str, situation: Situation, *other: str, hints: tuple[str, ...]
    ) -> Finding:
        return Finding(
            severity=severity,
            message=message,
            path=self.value.path,
            label=label,
            also=tuple((situation.where(name), "named here") for name in other),
            why=story(situation, (self.name, *other)),
            source=self.source,
            checked=self.wheels.checked,
            place=f"wheels/{self.wheels.id}",
            hints=hints,
        )


def _offers(situation: Situation) -> Iterator[_Offer]:
    """The situation's programs whose wheels are known."""
    part, snapshot = situation.part, situation.snapshot
    if part is None:
        return
    from aistack.compose import programs  # it needs the package of these rules itself

    seen = programs.programs(snapshot, situation.catalog) if snapshot is not None else {}
    called = {str(program.path[1]).lower().replace("_", "-"): name for name, program in seen.items()}
    served = [part.framework.id] if part.framework is not None else []
    for project, name in {**{name: name for name in (*served, *part.pulled)}, **called}.items():
        value, program = situation.value(name), seen.get(name)
        if project not in situation.catalog.wheels or value is None or value.text is None or value.compiled == "listed":
            continue
        if program is not None and not program.released:
            continue
        wheels, build = situation.catalog.wheels[project], program.build if program is not None else ""
        release = part.release if part.framework is not None and part.framework.id == name else part.pulled.get(name)
        cuda = programs.cuda_of_build(build) if re.fullmatch(r"cu\d+", build) else None
        own = name in programs.PER_CUDA
        usual = (release.brings.get("cuda") or "" if release else "").startswith(cuda or "-")
        span = wheels.of(value.text, build) or (wheels.of(value.text) if cuda is not None and (own or usual) else None)
        if span is not None:
            source = variant.source if (variant := wheels.variant(value.text, build)) is not None else wheels.source
            yield _Offer(
                name=name,
                value=value,
                wheels=wheels,
                span=span,
                build=build,
                own_index=own and bool(build),
                release=release,
                source=source[0],
            )


def _glibc(situation: Situation) -> Iterator[Finding]:
    """The C library must be as new as the one for which a program's wheel was made.

    A wheel's name says so (`manylinux_2_28`: glibc 2.28), and an installer passes over it on an older system; one whose name
    says less than its libraries need is installed, and fails when it is loaded ("version `GLIBC_2.32' not found"). A newer C library
    cannot be installed beside the system's: the program needs a newer system or a container.
    """
    glibc, arch = situation.value("glibc"), situation.text("arch") or "amd64"
    if glibc is None or glibc.text is None or arch not in ARCHITECTURES:
        return
    for offer in _offers(situation):
        wheel = offer.wheel(arch)
        if wheel is None or wheel.glibc is None or fits(glibc, f">={wheel.glibc}", Scheme.RELEASE) is not False:
            continue
        told = (offer.release.needs if offer.release else {}).get("glibc")
        if told is not None and fits(glibc, told, Scheme.RELEASE) is False:
            continue  # the release's own needs say it
        yield offer.finding(
            Severity.WARNING if glibc.assumed or offer.value.assumed else None,
            f"the wheel of {offer.title} needs glibc {wheel.glibc} or newer, it is {glibc.text}",
            f"glibc is {glibc.text}",
            situation,
            "glibc",
            hints=(f"run it in a container whose system has glibc {wheel.glibc} or newer, or take an older release",),
        )


def _architecture(situation: Situation) -> Iterator[Finding]:
    """A program must have a wheel for the machine's processor, or be compiled there.

    Where the project offers no sources either, nothing can be installed. Where it does, the installer compiles them, which needs
    compilers and the libraries that the project builds against: with a torch that has no CUDA that fails, too. What an image or Jetson's
    own index has is not on the project's index, so there nothing is said.
    """
    arch = situation.text("arch")
    if arch not in ARCHITECTURES or situation.text("brand") == "embedded" or _in_image(situation):
        return
    for offer in _offers(situation):
        elsewhere = [other for other in ARCHITECTURES if offer.wheel(other) is not None]
        if offer.wheel(arch) is not None or not elsewhere or offer.own_index:
            continue
        compiled = offer.span.sources and situation.snapshot is not None and not _processor_torch(situation, arch)
        without = "" if offer.span.sources else ", and no sources"
        yield offer.finding(
            Severity.WARNING if compiled or offer.value.assumed or offer.value.compiled else None,
            f"{offer.title} has no wheel for {arch}{without}",
            f"there are wheels for {' and '.join(elsewhere)}",
            situation,
            "arch",
            hints=(_first_with(offer, arch),),
        )


def _first_with(offer: _Offer, arch: str) -> str:
    """Which release has wheels for the processor, as a hint."""
    have = [span.since for span in offer.wheels.releases if span.wheel(arch) is not None]
    if not have:
        return f"no release of {offer.name} has one: take a vendor's image that holds it for {arch}"
    return f"{have[-1]} is the first release that has one"


def _python(situation: Situation) -> Iterator[Finding]:
    """A program must have a wheel for the Python that is there.

    Wheels with compiled parts are made for the Pythons that exist at the time of the release and that the project still supports. On
    another one an installer finds nothing, takes an older release, or compiles the sources where there are any.
    """
    python, arch = situation.value("python"), situation.text("arch") or "amd64"
    if python is None or python.text is None or "." not in python.text or arch not in ARCHITECTURES:
        return
    for offer in _offers(situation):
        wheel = offer.wheel(arch)
        told = (offer.release.needs if offer.release else {}).get("python")
        if wheel is None or wheel.has(python.text) or (told is not None and fits(python, told, Scheme.PEP440) is False):
            continue
        yield offer.finding(
            Severity.WARNING if python.assumed or offer.value.assumed or offer.value.compiled or offer.span.sources else None,
            f"{offer.title} has no wheel for Python {'.'.join(python.text.split('.')[:2])}",
            f"there are wheels for {', '.join(wheel.pythons)}",
            situation,
            "python",
            hints=(f"use Python {wheel.pythons[-1].removesuffix('+')}, or another release of {offer.name}",),
        )


def _without_accelerators(situation: Situation) -> Iterator[Finding]:
    """A program's wheel on the project's index may be made for processors alone, where others are made for accelerators.

    PyPI's torch for arm64 was until 2.10: `torch.cuda.is_available()` is false, and extensions miss `libtorch_cuda.so`. PyTorch's own
    index has others. Where the build is not said, PyPI's is likely.
    """
    arch = situation.text("arch")
    if situation.text("vendor") not in ("nvidia", "amd") or situation.text("brand") == "embedded" or _in_image(situation):
        return
    for offer in _offers(situation):
        wheel = offer.wheel(arch or "")
        if wheel is not None and not wheel.accelerators and not offer.build:
            yield offer.finding(
                Severity.WARNING,
                f"the wheel of {offer.title} for {arch} on PyPI computes on the processor alone",
                "needs a build for the accelerator",
                situation,
                "arch",
                hints=("install it from PyTorch's own index for the wanted CUDA",),
            )


def _in_image(situation: Situation) -> bool:
    return situation.snapshot is not None and situation.snapshot.image != SeenImage()


def _processor_torch(situation: Situation, arch: str) -> bool:
    """Whether the torch that is there computes on processors alone, so that no extension for accelerators compiles against it."""
    if situation.text("vendor") not in ("nvidia", "amd"):
        return False
    torch = next((offer for offer in _offers(situation) if offer.name == "torch" and not offer.build and not offer.value.assumed), None)
    wheel = torch.wheel(arch) if torch is not None else None
    return wheel is not None and not wheel.accelerators


PACKAGES = ("package-arch", "recipe-arch-agreement")

RULES = (
    code_rule(_glibc, "WH101", "wheel-glibc", "app", "framework", "brought", of="both", topics=("glibc-floor",)),
    code_rule(_architecture, "WH102", "wheel-architecture", "app", "framework", "brought", of="both", topics=PACKAGES),
    code_rule(_python, "WH103", "wheel-python", "app", "framework", "brought", of="both", topics=("framework-pins", "package-arch")),
    code_rule(
        _without_accelerators,
        "WH104",
        "wheel-without-accelerators",
        "app",
        "framework",
        "brought",
        of="both",
        severity=Severity.WARNING,
        topics=PACKAGES,
    ),
)
