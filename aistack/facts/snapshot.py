"""The snapshot: what an existing machine, an image or a report of a failure really has, as far as it is said.

Every block and key may be missing, which means that nothing is known of it. What is known to be absent says so (`state: absent`,
`gsp_firmware: absent`, `blacklist: []`). Versions are upstream's, without a distribution's suffix; one may be only a series
("580", "6.8"). The keys are those of such reports everywhere, so they have underscores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, ClassVar, Literal

from aistack.facts.decode import Number, Text
from aistack.values import dataclass

Word = Annotated[str, Text(what="a word", loose=True)]
Words = tuple[Word, ...] | Word
Settings = Mapping[str, Word | Mapping[str, Word]] | Word


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenAccelerator:
    """The accelerators; memory is that of one piece."""

    DASHES: ClassVar[bool] = False
    OPEN: ClassVar[bool] = True
    product: Annotated[str | None, "the catalog's id, or a less exact one like `nvidia/a100`"] = None
    family: Word | None = None
    arch: Annotated[str | None, "`sm_90`, `gfx942`, `gaudi2`"] = None
    brand: Annotated[Word | None, "`datacenter`, `workstation`, `consumer` or `embedded`"] = None
    count: Annotated[int | None, Number(minimum=0)] = None
    memory_gib: Annotated[float | None, Number(minimum=0)] = None
    interconnect: Annotated[Word | None, "`nvswitch`, `nvlink-bridge`, `nvl72`, `pcie` or `none`"] = None
    nvlink_generation: Annotated[int | None, Number(minimum=1)] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenPlatform:
    """The operating system, its kernel, and what guards it."""

    DASHES: ClassVar[bool] = False
    OPEN: ClassVar[bool] = True
    os: Annotated[str | None, "like `ubuntu-22.04.5`"] = None
    arch: Word | None = None
    kernel: Annotated[str | None, "as `uname -r` prints it, or a series"] = None
    kernel_flavor: Word | None = None
    kernel_compiler: Annotated[str | None, "what compiled the kernel: `gcc-12.3`"] = None
    compiler: Annotated[str | None, "what would compile a module: `gcc-11.4`"] = None
    glibc: str | None = None
    secure_boot: bool | Word | None = None
    module_signature: Annotated[Word | None, "`none`, `enrolled` or `unenrolled`"] = None
    blacklist: Annotated[tuple[Word, ...] | None, "modules that may not be loaded by themselves"] = None
    kernel_config: Annotated[Mapping[str, Word] | None, "`CONFIG_…` to `y`, `m` or `n`"] = None
    competing_driver: Words | None = None
    kernel_headers: Annotated[Word | None, "`present` or `absent`"] = None
    kernel_trees: Annotated[Words | None, "the kernels whose headers are there"] = None
    cmdline: Word | None = None
    repos: Words | None = None
    repos_missing: Words | None = None
    kaslr: bool | Word | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenModule:
    """The driver's kernel modules."""

    DASHES: ClassVar[bool] = False
    OPEN: ClassVar[bool] = True
    name: Annotated[Word | None, "`amdgpu`; NVIDIA's where nothing is said"] = None
    version: str | None = None
    flavor: Annotated[Word | None, "`open`, `proprietary`, `in-tree` or `dkms`"] = None
    built_for: Annotated[str | None, "the kernel that they were compiled for"] = None
    install: Annotated[Word | None, "`dkms`, `precompiled`, `package`, `driver-container`, `akmods` or `runfile`"] = None
    parameters: Mapping[str, Word] | Words | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenFirmware:
    """Firmware of the board: `pldm` of AMD's, `spi` of Gaudi's."""

    DASHES: ClassVar[bool] = False
    OPEN: ClassVar[bool] = True
    pldm: str | None = None
    spi: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenDriver:
    """The driver: `version` is that of its user space."""

    DASHES: ClassVar[bool] = False
    OPEN: ClassVar[bool] = True
    version: str | None = None
    variant: Annotated[Word | None, "`vgpu-host`"] = None
    module: SeenModule = field(default_factory=SeenModule)
    gsp_firmware: Annotated[str | None, "the version of the firmware files, or `absent`"] = None
    initramfs_version: Annotated[str | None, "the version of the modules inside the initramfs"] = None
    precompiled_available_for: Annotated[Words | None, "kernels for which compiled modules are offered"] = None
    precompiled_flavors: Annotated[Words | None, "kernel flavors for which compiled modules are offered"] = None
    lib_path: Word | None = None
    firmware: SeenFirmware = field(default_factory=SeenFirmware)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenService:
    """A service and its package."""

    DASHES: ClassVar[bool] = False
    OPEN: ClassVar[bool] = True
    version: str | None = None
    state: Annotated[Word | None, "`absent`, `installed`, `enabled`, `running`, `stopped` or `install-requested`"] = None
    asset: Word | None = None
    package: Word | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenPeermem:
    """The module for peer access from network cards."""

    DASHES: ClassVar[bool] = False
    OPEN: ClassVar[bool] = True
    module: Word | None = None
    version: str | None = None
    built_against: Word | None = None
    loaded: bool | Word | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenFabric:
    """What connects accelerators with each other and with the network."""

    DASHES: ClassVar[bool] = False
    OPEN: ClassVar[bool] = True
    manager: SeenService = field(default_factory=SeenService)
    imex: SeenService = field(default_factory=SeenService)
    nvlsm: Annotated[SeenService, "the subnet manager of NVLink 5"] = field(default_factory=SeenService)
    kernel_modules_present: Words | None = None
    kernel_modules_missing: Words | None = None
    ib_core: Annotated[Words | None, "who brings `ib_core`: `kernel`, `doca-ofed`"] = None
    peermem: SeenPeermem = field(default_factory=SeenPeermem)
    ofed: Word | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenToolkit:
    """What programs are compiled with, or find on the machine; `kmd` is the ROCm release of the kernel driver."""

    DASHES: ClassVar[bool] = False
    OPEN: ClassVar[bool] = True
    cuda: str | None = None
    rocm: str | None = None
    kmd: str | None = None
    libraries: Mapping[str, Word] | Words | None = None
    gaudi: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenPart:
    """One part of the container runtime or the cluster, where more than its version is known."""

    DASHES: ClassVar[bool] = False
    OPEN: ClassVar[bool] = True
    version: str | None = None
    cuda_package: Word | None = None
    level: int | Word | None = None
    plugins: Words | None = None
    state: Annotated[Word | None, "of CDI: whether the engine reads specifications, `enabled` or `disabled`"] = None
    driver: Annotated[str | None, "of a CDI specification: the driver that it was made for"] = None
    spec_version: str | None = None
    fields: Annotated[Words | None, "fields that the specification uses"] = None
    mounts: Words | None = None
    host_libraries: Words | None = None
    devices: Annotated[Words | None, "devices that the specification offers: `nvidia.com/gpu=all`"] = None
    requested: Annotated[Words | None, "devices that a container asks for"] = None
    mode: Word | None = None
    library_search_path: Words | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenImage:
    """A container image."""

    DASHES: ClassVar[bool] = False
    OPEN: ClassVar[bool] = True
    ref: Word | None = None
    cuda: str | None = None
    requires: Annotated[str | None, "the variable NVIDIA_REQUIRE_CUDA"] = None
    cuda_compat: Annotated[str | None, "the driver version of the forward-compatibility libraries in the image"] = None
    rocm: str | None = None
    gaudi: str | None = None
    arch: Word | None = None
    arch_list: Words | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenFramework:
    """A framework or library; an empty one is there in an unknown version."""

    DASHES: ClassVar[bool] = False
    OPEN: ClassVar[bool] = True
    version: str | None = None
    build: Annotated[str | None, "`cu128`, `rocm6.2`, `cu12torch2.7`"] = None
    arch_list: Words | None = None
    cxx11_abi: bool | Word | None = None
    engine: Word | None = None
    env: Annotated[Mapping[str, Word] | None, "variables of its environment that were set"] = None
    as_of: Annotated[str | None, "the day of a build without a version"] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenModel:
    """The model and how it is served."""

    DASHES: ClassVar[bool] = False
    OPEN: ClassVar[bool] = True
    id: str | None = None
    dtype: Word | None = None
    quantization: Word | None = None
    kv_cache_dtype: Word | None = None
    max_model_len: Annotated[int | None, Number(minimum=-1), "-1: as long as fits"] = None
    gpu_memory_utilization: Annotated[float | None, Number(minimum=0, maximum=1)] = None
    tensor_parallel: Annotated[int | None, Number(minimum=1)] = None
    expert_parallel: Annotated[bool | None, "whether whole experts are shared out, instead of a part of each"] = None
    weights_gib_per_gpu: Annotated[float | None, Number(minimum=0)] = None
    activation_peak_gib: Annotated[float | None, Number(minimum=0)] = None
    rope_scaling: Annotated[Settings | None, "how the positions are scaled, or `none`"] = None
    hf_overrides: Annotated[Settings | None, "what is changed of the model's own configuration"] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What is known of a machine, an image or a report."""

    DASHES: ClassVar[bool] = False
    OPEN: ClassVar[bool] = True
    schema: Literal["aistack/snapshot/v1"]
    accelerator: SeenAccelerator = field(default_factory=SeenAccelerator)
    platform: SeenPlatform = field(default_factory=SeenPlatform)
    driver: SeenDriver = field(default_factory=SeenDriver)
    fabric: SeenFabric = field(default_factory=SeenFabric)
    toolkit: SeenToolkit = field(default_factory=SeenToolkit)
    runtime: Mapping[str, Word | SeenPart] = field(default_factory=dict)
    image: SeenImage = field(default_factory=SeenImage)
    frameworks: Mapping[str, Word | SeenFramework] = field(default_factory=dict)
    model: SeenModel = field(default_factory=SeenModel)


def seen_frameworks(snapshot: Snapshot) -> dict[str, SeenFramework]:
    """The snapshot's frameworks, one that is only a version included."""
    return {name: SeenFramework(version=seen) if isinstance(seen, str) else seen for name, seen in snapshot.frameworks.items()}


def listed(words: tuple[str, ...] | str | None) -> tuple[str, ...] | None:
    """Several words, one, or (None) nothing known."""
    return (words,) if isinstance(words, str) else words


def stated(flag: bool | str | None) -> bool | None:
    """A yes or no that may be written as a word (`enabled`, `disabled`); None where it is not known."""
    if isinstance(flag, str):
        return {"enabled": True, "on": True, "yes": True, "true": True, "disabled": False, "off": False, "no": False, "false": False}.get(
            flag.lower()
        )
    return flag
