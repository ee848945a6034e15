"""What is known of operating systems, kernels and drivers: the part of the catalog on which a node stands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Literal

from aistack.facts.decode import Text
from aistack.values import dataclass

Checked = Annotated[str, Text(pattern=r"\d{4}-\d{2}-\d{2}", what="a date", example="2026-11-22"), "the day on which the source was read"]
Lifecycle = Annotated[tuple[str, ...], "where `released`, `eol` and `extended-eol` stand"]
Source = Annotated[
    tuple[str, ...], "where the facts stand: addresses of public documents, or `PyPI: NAME VERSION`, `Debian: SUITE PACKAGE VERSION`"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One source of packages: apt's suite name, and the archive components taken from it."""

    name: str
    components: tuple[str, ...] = ("main",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """A kernel that an OS offers: `version` is the upstream part, `packages` are meta packages, `drm` and `realtime` its build options.

    `{arch}` in a package's name is the node's architecture.
    """

    flavor: str
    version: str
    suite: str
    packages: tuple[str, ...]
    headers: tuple[str, ...] = ()
    compiler: str | None = None
    drm: bool
    realtime: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """An accelerator driver that an OS offers as packages.

    `flavor` is `open`, `proprietary`, or `in-tree`: the kernel's own modules, of which packages and version are those of the firmware.
    `newest_kernel` is the newest upstream series that the package is known to handle.
    `modules` are the packages that compile the kernel modules, `packages` what the node itself carries; `licence` is that of the programs
    among them, where it is no free one.
    """

    vendor: str
    version: str
    flavor: Literal["open", "proprietary", "in-tree"]
    suite: str
    components: tuple[str, ...]
    packages: tuple[str, ...]
    modules: tuple[str, ...] = ()
    newest_kernel: str | None = None
    licence: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Os:
    """A distribution to start from.

    `roles` says what it may be used for: `base` (a node boots it) or `app` (an app's root). `keyring` is the archive's keyring
    file, and `keyring_package` the package that brings it. `packages` are those that a base needs beside the ones
    that every node of the family has.
    """

    schema: Literal["aistack/os/v1"] = "aistack/os/v1"
    id: str
    name: str
    family: str
    release: str
    codename: str
    roles: tuple[Literal["base", "app"], ...]
    architectures: tuple[str, ...]
    suites: tuple[Suite, ...]
    keyring: str
    keyring_package: str
    python: str
    glibc: str
    kernels: tuple[Kernel, ...] = ()
    drivers: tuple[Driver, ...] = ()
    packages: tuple[str, ...] = ()
    released: str | None = None
    eol: str | None = None
    extended_eol: str | None = None
    lifecycle_source: Lifecycle = ()
    source: Source
    checked: Checked


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A kernel of a distribution, as far as its number says something: `6.8`, or `5.14.0-427`, which the point release `release` has."""

    flavor: str
    version: str
    release: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """A distribution that aistack does not build, as machines that exist have it.

    `family` names those whose kernels and packages are alike (`rhel` is that of its rebuilds too). With `rebases` its kernel moves to
    newer upstream series as they appear. `aliases` are other names of it. What no document confirms is left out.
    """

    schema: Literal["aistack/distribution/v1"] = "aistack/distribution/v1"
    id: str
    name: str
    family: str
    release: str
    kernels: tuple[Series, ...] = ()
    rebases: bool = False
    gcc: str | None = None
    glibc: str | None = None
    python: str | None = None
    released: str | None = None
    eol: str | None = None
    extended_eol: str | None = None
    lifecycle_source: Lifecycle = ()
    aliases: tuple[str, ...] = ()
    source: Source
    checked: Checked


System = Os | Distribution
"""What a machine runs, built by aistack or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelSeries:
    """A series of upstream's kernel (`6.12`); `eol` is upstream's day, after which only distributions may go on to mend it."""

    schema: Literal["aistack/kernel/v1"] = "aistack/kernel/v1"
    id: str
    long_term: bool = False
    released: str | None = None
    eol: str | None = None
    source: Source
    checked: Checked


GENERATIONS = ("Tesla", "Fermi", "Kepler", "Maxwell", "Pascal", "Volta", "Turing")
"""NVIDIA's architectures in the order in which they came, and in which drivers drop them; what came after these no driver has dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A branch of NVIDIA's driver, named by the first number of its versions.

    `cuda` is the newest CUDA that it carries itself (what `nvidia-smi` prints). `oldest` is the oldest architecture that it drives.
    `eol` is NVIDIA's day where its pages name one, else the one that endoflife.date concludes from NVIDIA's policy and the first release.
    `kernels` says, by the driver version that brought it, up to which kernel series the sources ask the kernel for its interfaces.
    `debian` are releases, beside the newest, whose sources Debian's archives carry with patches for newer kernels.
    """

    schema: Literal["aistack/branch/v1"] = "aistack/branch/v1"
    id: str
    kind: Literal["production", "new-feature", "long-term"] | None = None
    released: str | None = None
    eol: str | None = None
    newest: str | None = None
    cuda: str | None = None
    oldest: str | None = None
    kernels: Mapping[str, str] = field(default_factory=dict)
    debian: tuple[str, ...] = ()
    source: Source
    checked: Checked

    def drives(self, architecture: str | None) -> bool:
        """Whether it has not dropped an architecture, as far as is known."""
        if not {architecture, self.oldest} <= set(GENERATIONS):
            return True
        return GENERATIONS.index(str(architecture)) >= GENERATIONS.index(str(self.oldest))
