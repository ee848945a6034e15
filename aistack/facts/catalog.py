"""What is known: accelerators, models, frameworks, components, data rules, and (facts/systems.py) systems, each with its source.

The types mirror the YAML of `accelerators/`, `models/` and `recipes/{os,frameworks}/`: a field `eol_date` is the key `eol-date`.
Versions are text and stay text; facts/version.py says how each component's are compared. None means unknown, never "none".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from typing import Literal

from aistack.diagnostics import Place
from aistack.facts.data_rules import DataRule
from aistack.facts.faults import Faults
from aistack.facts.images import Image
from aistack.facts.limits import Limits
from aistack.facts.systems import Branch, Checked, Distribution, KernelSeries, Os, Source, System
from aistack.facts.version import SCHEMES, Scheme
from aistack.facts.wheel_tags import Wheels
from aistack.values import dataclass

GIB = 1 << 30
VISIBLE = 0.97
"""What programs see of the memory that an accelerator is sold with, where no reading is at hand."""
ECC = 1 / 16
"""What error correction takes of memory that has no chips of its own for it (GDDR), by NVIDIA's CUDA C++ Best Practices Guide."""
SHARED = 0.93
"""What systems see of memory that processor and accelerator share: 15.3 of 16 GiB, 7.4 of 8 GiB; firmware keeps the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pcie:
    """A link of PCI Express: its generation, and the number of its lanes."""

    generation: int
    lanes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """A product; memory is for one piece: `memory_gib` as marketed, `memory_bytes` what programs see (both None for a CPU).

    `ecc` says that its memory's errors are corrected as the product is delivered: `inline` with bits that take a part of that memory,
    `sideband` with bits of their own. `virtual_ids` are those of `pci_ids` that the parts have which virtual machines are given (SR-IOV).
    With `shared_memory` it is the processor's own: the system, its programs and what the accelerator holds have to fit into it together.
    `target` is what compilers call the architecture where it is not NVIDIA's (`gfx942`, `gaudi3`).
    `open_modules` says whether the open kernel modules are `required`, `supported` or `unsupported`; `driver_minimum` is the first
    driver that knows the product, and `driver_branches` the first one of each branch that was begun before the product and learned of it
    later (`"550": 550.127.08`). `interconnect` is one of `none`, `pcie`, `nvlink-bridge`, `nvswitch`, `nvl72`, `nvlink` the generation of
    its NVLink, and `links` how many links one device has to others or to switches (NVLink, Infinity Fabric). `pcie` is the most that the
    board can do, `pcie_minimum` what its vendor's diagnosis asks of a link at least. `power_watts` is the limit of its power as it is sold;
    some boards are made with less, and say so themselves, but none with less than `power_minimum`, below which its vendor's diagnosis has
    nothing to test. `memory_minimum` are the GiB of memory that its driver shows at least, and
    `memory_bandwidth_minimum` is what the vendor's test of the device's own memory must reach, in GB (10^9 bytes) a second.
    `firmware` are the files below /usr/lib/firmware that the kernel's own driver asks for.
    `elsewhere` says in a sentence where its driver comes from, if not from an OS's archives.
    `aliases` are other names of this product, `families` less exact ones that it shares with others.
    `recalled` names the fields that no document confirms: rules treat them as unknown.
    """

    schema: Literal["aistack/accelerator/v1"] = "aistack/accelerator/v1"
    id: str
    name: str
    vendor: str
    kind: str
    architecture: str | None = None
    compute_capability: str | None = None
    target: str | None = None
    pci_ids: tuple[str, ...] = ()
    virtual_ids: tuple[str, ...] = ()
    memory_gib: int | None = None
    memory_bytes: int | None = None
    ecc: Literal["inline", "sideband"] | None = None
    shared_memory: bool = False
    driver_minimum: str | None = None
    driver_branches: Mapping[str, str] = field(default_factory=dict)
    open_modules: Literal["required", "supported", "unsupported"] | None = None
    interconnect: Literal["none", "pcie", "nvlink-bridge", "nvswitch", "nvl72"] | None = None
    nvlink: int | None = None
    links: int | None = None
    pcie: Pcie | None = None
    pcie_minimum: Pcie | None = None
    power_watts: int | None = None
    power_minimum: int | None = None
    memory_minimum: int | None = None
    memory_bandwidth_minimum: int | None = None
    firmware: tuple[str, ...] = ()
    elsewhere: str | None = None
    host: str | None = None
    families: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    recalled: tuple[str, ...] = ()
    source: Source
    checked: Checked

    @property
    def platform(self) -> str:
        """What programs are built for: its vendor's software, of which Intel has one for Gaudi and another for its GPUs."""
        return "gaudi" if (self.target or "").startswith("gaudi") else self.vendor

    @property
    def is_processor(self) -> bool:
        """Whether it is a processor, which has no memory of its own."""
        return self.vendor == "cpu"

    @property
    def visible_bytes(self) -> int | None:
        """The memory that programs see on one of it: as it was read, or concluded from the marketed size; None where it is not known."""
        if self.memory_bytes is not None:
            return self.memory_bytes
        if self.memory_gib is None:
            return None
        if self.shared_memory:
            return int(self.memory_gib * GIB * SHARED)
        return int(self.memory_gib * GIB * VISIBLE * (1 - ECC if self.ecc == "inline" else 1))

    @property
    def least_memory(self) -> tuple[float, str] | None:
        """The GiB that its driver shows at least of a whole device, and where that is from; None where nobody can say.

        The estimate leaves room for error correction that a person switched on. Memory that is the processor's too is as large as
        firmware makes it.
        """
        if self.memory_minimum is not None:
            return float(self.memory_minimum), "read of others"
        if self.memory_gib is None or self.shared_memory:
            return None
        return self.memory_gib * VISIBLE * (1 - ECC), "estimated"

    @property
    def has_known_memory(self) -> bool:
        """Whether it is known what programs see of its memory."""
        return self.visible_bytes is not None

    def holds(self, size: int, part: float) -> bool:
        """Whether so many bytes fit into a part of the memory that programs see."""
        return (self.visible_bytes or 0) * part >= size


def targets(product: Accelerator) -> tuple[str, ...]:
    """What compilers call the product's architecture: `sm_90`, `gfx942`, `gaudi3`."""
    found = [product.target] if product.target else []
    if product.compute_capability:
        found.append("sm_" + product.compute_capability.replace(".", ""))
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """AI weights, as the hub names them; sizes in bytes, `kv_bytes_per_token` for one copy in 16 bit.

    That counts the layers that keep every token of a request. Of layers that look back only so far, `window` is how many tokens they see,
    `window_kind` whether it moves with each token (`sliding`) or from block to block (`chunked`), and `window_kv_bytes_per_token` what one
    token takes in all of them. Layers with a fixed state (Mamba, linear attention) are in neither.
    `max_context` is what the model's configuration allows, `scaled_context` what its makers' document reaches by scaling its positions.
    `sources` are places beside the hub that carry the same bytes (`wheel:NAME==VERSION`); `gated` means that the hub asks for
    a licence to be accepted; `licence` is an SPDX expression, with `LicenseRef-…` for what SPDX does not name; `format` is the format
    of the published files. `quantization` is how the published weights are stored, in the words of facts/checkpoint.py.
    `intermediate_size` is the width of a layer's perceptron; of a mixture of experts, `experts` counts them and `expert_size` is the width
    of one. `frameworks` says which releases of frameworks and libraries can load it.
    """

    schema: Literal["aistack/model/v1"] = "aistack/model/v1"
    id: str
    name: str
    kind: str
    architecture: str | None = None
    parameters: int | None = None
    weights_bytes: int | None = None
    format: str
    dtype: str | None = None
    quantization: str | None = None
    layers: int | None = None
    attention_heads: int | None = None
    kv_heads: int | None = None
    head_dim: int | None = None
    intermediate_size: int | None = None
    experts: int | None = None
    expert_size: int | None = None
    kv_bytes_per_token: int | None = None
    window: int | None = None
    window_kind: Literal["sliding", "chunked"] | None = None
    window_kv_bytes_per_token: int | None = None
    max_context: int | None = None
    scaled_context: int | None = None
    licence: str
    gated: bool
    sources: tuple[str, ...] = ()
    frameworks: Mapping[str, str] = field(default_factory=dict)
    recalled: tuple[str, ...] = ()
    source: Source
    checked: Checked


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One version of a component: `needs` restricts other components (component → range), `brings` fixes them (component → version).

    `pins` restricts what else stands in the same environment, where it does: a package manager keeps them, so nothing is chosen by them.
    `architectures` are the compute capabilities that are compiled into the build that its index serves by default; `12.0+PTX` can be
    compiled upwards on the node. `builds` are those of other builds (`cu126`, `rocm6.4`), `arm64` those of all builds for arm64.
    """

    version: str
    date: str | None = None
    needs: Mapping[str, str] = field(default_factory=dict)
    pins: Mapping[str, str] = field(default_factory=dict)
    brings: Mapping[str, str] = field(default_factory=dict)
    architectures: tuple[str, ...] = ()
    builds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    arm64: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """A versioned part that others pull in (torch, …), with its releases; `versions` is the scheme that compares them.

    `aliases` are other names by which reports call it; `builds_source` is the document of what is compiled into its releases.
    `project` is its name in a Python index, from which `facts refresh` reads it, and `binary` the file of its wheel (`*` for any
    characters) whose code says for which accelerators it was compiled.
    """

    schema: Literal["aistack/component/v1"] = "aistack/component/v1"
    id: str
    name: str
    aliases: tuple[str, ...] = ()
    versions: Scheme
    project: str | None = None
    binary: str | None = None
    builds_source: str | None = None
    releases: tuple[Release, ...]
    source: Source
    checked: Checked


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """How a framework arrives in an app's root: packages of an OS, and, for `wheels`, requirements for that OS's Python.

    `{version}` in a requirement is the chosen version.
    """

    os: str
    packages: tuple[str, ...]
    wheels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """A change of format before serving: `argv` runs in a throw-away root, the model at /in, its result under /out.

    `{model}` in it is the model's id.
    """

    format: str
    os: str
    packages: tuple[str, ...]
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """What makes a framework use the accelerators of one vendor: packages and arguments beside its own.

    `targets` are the architectures that it has code for, or makes it for when it starts (`Accelerator.target`), `binaries` the files that
    hold it (`*` for any characters). An argument with `{n}` names every accelerator of the node, with commas between (`ROCm{n}`:
    `ROCm0,ROCm1`).
    """

    targets: tuple[str, ...]
    binaries: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    args: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    """A serving framework, or any program that an app runs.

    Without a `delivery` it is only known: snapshots with it are judged, and images that others built of it, but nothing installs it.
    `platforms` says by the accelerator's platform of which releases there are builds for it; of others that is not known.
    `stored` has, for platforms of which no rule tells it, the ways of storing weights that documents say it loads there, in the words of
    facts/checkpoint.py.
    `serve` is the command with `{model}` (the model's folder in the app), `{id}` (the model's id) and `{port}`; the options that the
    model's kind needs (`kinds`) and a recipe's `args` are appended. `models` says how many models it serves: `none`, `one` or
    `many`; `formats` are the formats that it loads.
    `cpu_features` (by architecture) are spelled as in /proc/cpuinfo; `vendors` are the accelerator vendors that this delivery can use,
    `backends` (by vendor) what that takes where the delivery alone does not do it, or not for every product.
    `aliases` are other names by which reports call it.
    What `spills` keeps in the machine's own memory what finds no room in the accelerators'; others need room for the whole model there.
    `memory_mib` is what it needs beside the models, `memory_fraction` the part of an accelerator's memory that it takes by itself, by
    the range of its releases, `window_cache` the releases that keep no more cache of layers with a window than that window needs, by its
    kind, `options` its own names for settings that rules ask about. `project` and `binary` are as in a component.
    """

    schema: Literal["aistack/framework/v1"] = "aistack/framework/v1"
    id: str
    name: str
    aliases: tuple[str, ...] = ()
    models: Literal["none", "one", "many"]
    versions: Scheme
    formats: tuple[str, ...] = ()
    delivery: Delivery | None = None
    serve: tuple[str, ...] = ()
    kinds: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int | None = None
    health: str | None = None
    conversion: Conversion | None = None
    cpu_features: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    vendors: tuple[str, ...] = ()
    backends: Mapping[str, Backend] = field(default_factory=dict)
    platforms: Mapping[str, str] = field(default_factory=dict)
    stored: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    spills: bool = False
    memory_mib: int | None = None
    memory_fraction: Mapping[str, float] = field(default_factory=dict)
    window_cache: Mapping[Literal["sliding", "chunked"], str] = field(default_factory=dict)
    options: Mapping[Literal["context", "memory-fraction", "tensor-parallel", "dtype", "quantization", "kv-cache-dtype"], str] = field(
        default_factory=dict
    )
    project: str | None = None
    binary: str | None = None
    releases: tuple[Release, ...]
    source: Source
    checked: Checked

    def runs_on(self, product: Accelerator) -> bool:
        """Whether any of its releases has builds for the accelerator's platform."""
        return product.platform in (self.platforms or self.vendors)

    def delivered_on(self, product: Accelerator) -> bool:
        """Whether its delivery can use the product: one of its vendors', and of an architecture that it has code for."""
        backend = self.backends.get(product.vendor)
        return self.delivery is not None and product.vendor in self.vendors and (backend is None or product.target in backend.targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a licence asks of whoever passes on what it covers, where that is limited; `limit` says it in one sentence.

    `id` is the name by which models and drivers name the licence: SPDX's own, or `LicenseRef-…`.
    """

    schema: Literal["aistack/terms/v1"] = "aistack/terms/v1"
    id: str
    name: str
    limit: str
    source: Source
    checked: Checked


NOISE = frozenset(
    ("nvidia", "amd", "intel", "tesla", "quadro", "geforce", "instinct", "radeon", "graphics", "hbm2", "hbm2e", "hbm3", "hbm3e")
)
"""Words of the names of accelerators that tools print and no id has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """Everything that is known, by id.

    `identity` is `sha256:` over the texts that it was read from; `places` has each entry's: `models/ID`, `frameworks/ID/RELEASE`, …
    """

    identity: str
    systems: Mapping[str, Os]
    accelerators: Mapping[str, Accelerator]
    models: Mapping[str, Model]
    frameworks: Mapping[str, Framework]
    components: Mapping[str, Component]
    rules: Mapping[str, DataRule]
    terms: Mapping[str, Terms] = field(default_factory=dict)
    wheels: Mapping[str, Wheels] = field(default_factory=dict)
    branches: Mapping[str, Branch] = field(default_factory=dict)
    kernels: Mapping[str, KernelSeries] = field(default_factory=dict)
    distributions: Mapping[str, Distribution] = field(default_factory=dict)
    images: Mapping[str, Image] = field(default_factory=dict)
    faults: Mapping[str, Faults] = field(default_factory=dict)
    limits: Mapping[str, Limits] = field(default_factory=dict)
    schemes: Mapping[str, Scheme] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)

    def scheme(self, component: str) -> Scheme:
        """How versions of that component are compared."""
        owner = self.frameworks.get(component) or self.components.get(component)
        return owner.versions if owner else self.schemes.get(component) or SCHEMES.get(component, Scheme.WORD)

    def limits_of(self, vendor: str) -> Limits | None:
        """What all of a vendor's devices are held against on a node, where anything is known."""
        return self.limits.get(f"{vendor}/limits")

    def accelerator(self, name: str) -> Accelerator | None:
        """The accelerator of that id or alias."""
        found = self.accelerators.get(name)
        return found or next((product for product in self.accelerators.values() if name in product.aliases), None)

    def component(self, name: str) -> Component | None:
        """The component of that id or alias."""
        found = self.components.get(name)
        return found or next((component for component in self.components.values() if name in component.aliases), None)

    def framework(self, name: str) -> Framework | None:
        """The framework of that id or alias."""
        found = self.frameworks.get(name)
        return found or next((framework for framework in self.frameworks.values() if name in framework.aliases), None)

    def family(self, name: str) -> tuple[Accelerator, ...]:
        """The products that a less exact name may mean (`nvidia/a100`), or one that tools print (`NVIDIA A100-SXM4-80GB`, `Tesla T4`)."""
        plain = name.lower()
        products = tuple(self.accelerators.values())
        found = tuple(product for product in products if plain in (product.id, *product.families) or product.id.startswith(f"{plain}-"))
        words = {re.sub(r"^sxm\d$", "sxm", word) for word in re.findall(r"[a-z0-9]+", plain)} - NOISE
        for wanted in (words, words - {"sxm", "pcie"}):
            found = found or tuple(product for product in products if wanted and wanted <= set(re.findall(r"[a-z0-9]+", product.id)))
        return found

    def namesake(self, name: str) -> tuple[Accelerator, ...]:
        """The products with whose name, memory and form apart, an unknown one begins (`nvidia/gtx-1050-mobile`); of a series, none."""
        stem = name.lower().rpartition("-")[0]
        while re.search(r"\d", stem):
            own = re.compile(re.escape(stem) + r"(-\d+gb|-pcie|-sxm\d?|-nvl)*")
            products = self.accelerators.values()
            if found := tuple(one for one in products if stem in (*one.aliases, *one.families) or own.fullmatch(one.id)):
                return found
            stem = stem.rpartition("-")[0]
        return ()

    def distribution(self, name: str) -> System | None:
        """The system that a snapshot calls so, hyphens apart; a point release (`ubuntu-22.04.5`, `rhel9.4`) belongs to its release."""
        aliases = {alias: system for system in self.distributions.values() for alias in system.aliases}
        every: dict[str, System] = {**aliases, **self.distributions, **self.systems}
        known = {_joined(called): system for called, system in every.items()}
        stem = name.lower()
        while stem and _joined(stem) not in known:
            stem = stem[: max(stem.rfind("."), stem.rfind("-"), 0)]
        return known.get(_joined(stem))

    def model(self, name: str) -> Model | None:
        """The model of that id, matched without case as the hub does."""
        found = self.models.get(name)
        return found or next((model for model in self.models.values() if model.id.lower() == name.lower()), None)


def _joined(name: str) -> str:
    """A system's name without what joins its words: `sles15sp6` of `SLES 15-SP6`."""
    return re.sub(r"[-_ ]", "", name)
