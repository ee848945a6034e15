"""What a machine really has, as it was read: each reading names who saw it, and one that failed is data too."""

from __future__ import annotations

from dataclasses import field
from typing import Generic, TypeVar

from aistack.facts.pci import ACCELERATOR_CLASSES
from aistack.values import dataclass

Value_co = TypeVar("Value_co", covariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(Generic[Value_co]):
    """One thing that was read, or the error that came instead; `source` is the file or program that was asked."""

    source: str
    value: Value_co | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """`/proc/cpuinfo`: the model's name, how many processors, and the features that all of them have."""

    model: str
    count: int
    features: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSystem:
    """Space of the file system that holds a path, in MiB; free is what an unprivileged writer may use."""

    path: str
    size_mib: int
    free_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Modules:
    """Kernel modules by their names with underscores: those in use (built in or loaded) and those on disk for this kernel."""

    present: frozenset[str]
    loadable: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PciDevice:
    """One device in PCI configuration space; vendor, device and class in hexadecimal without `0x`.

    `lent`: it is kept for virtual machines, by the driver that it is bound to (VFIO), or as a part of a device that is here too (SR-IOV).
    """

    address: str
    vendor: str
    device: str
    device_class: str
    lent: bool = False

    @property
    def identity(self) -> str:
        """Vendor and device as the catalog writes them, `10de:27b8`."""
        return f"{self.vendor}:{self.device}"

    @property
    def is_accelerator(self) -> bool:
        """Whether its class is that of devices that compute."""
        return self.device_class[:4] in ACCELERATOR_CLASSES


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundImage:
    """One image in the bound store: its manifest digest, its names, and the folders of its layers, lowest first."""

    digest: str
    names: tuple[str, ...]
    layers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PromisedImage:
    """One image that the system binds: its name and manifest digest."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """The booted OSTree deployment.

    `promised_manifest` and `reference` (what it follows) come from the deployment's origin file (what the update engine laid down),
    `manifest` and `lock_identity` from the commit that is really booted.
    """

    stateroot: str
    commit: str
    serial: int
    promised_manifest: str | None
    manifest: str | None
    lock_identity: str | None
    reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineReadings:
    """A machine before its apps run; `start` is how this start began: `first`, `power-on` or `restart`."""

    start: Reading[str]
    kernel: Reading[str]
    architecture: Reading[str]
    command_line: Reading[str]
    processor: Reading[Processor]
    memory_mib: Reading[int]
    modules: Reading[Modules]
    file_systems: tuple[Reading[FileSystem], ...]
    pci: Reading[tuple[PciDevice, ...]]
    deployment: Reading[Deployment]
    bound_images: Reading[tuple[BoundImage, ...]]
    promised_images: Reading[tuple[PromisedImage, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitState:
    """What systemd says of one unit: `active`, `sub` and `result` in its words; `started` says whether it was active since boot."""

    unit: str
    load: str
    active: str
    sub: str
    result: str
    restarts: int = 0
    started: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AppState:
    """One app after its start: its service, and the HTTP status of its health path (None where it has none)."""

    app: str
    unit: Reading[UnitState]
    status: Reading[int] | None
    waited_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AppsReadings:
    """A node after its apps were started."""

    apps: tuple[AppState, ...]
    failed_units: Reading[tuple[str, ...]] = field(default_factory=lambda: Reading(source="systemctl", value=()))
