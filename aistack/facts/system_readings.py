"""What was read of a machine's operating system and its container runtime."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from aistack.facts.readings import Reading, UnitState
from aistack.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceNode:
    """A file of /dev that programs open to use a device: its group's number and its permissions (0o660), None where it is missing."""

    path: str
    group: int | None = None
    mode: int | None = None

    def opens_for(self, groups: Collection[int]) -> bool:
        """Whether a program of no user that counts here, with these groups, may read and write it."""
        mode = self.mode or 0
        return mode & 0o006 == 0o006 or (self.group in groups and mode & 0o060 == 0o060)


@dataclass(frozen=True, slots=True, kw_only=True)
class CdiSpecification:
    """One specification: its file, its format's version, the devices that it offers, the driver whose libraries it mounts.

    `nodes` are the device nodes that a container gets with each device, by the device's name (`nvidia.com/gpu=all`): names are as its
    maker likes them, such as `0`, `gpu0`, `mig1:0` or a UUID.
    """

    path: str
    version: str
    nodes: Mapping[str, tuple[str, ...]]
    driver: str | None = None

    @property
    def devices(self) -> tuple[str, ...]:
        """The names of the devices that it offers."""
        return tuple(self.nodes)


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemReadings:
    """An operating system: its name (`debian-13`), its C library, what guards it, the runtime that starts containers.

    `kernel_config` has `y`, `m` or `n` by setting, `firmware` the versions of GSP firmware on disk, `versions` what programs say of
    themselves, by the names of a snapshot's parts.
    """

    os: Reading[str]
    glibc: Reading[str]
    secure_boot: Reading[bool]
    blacklist: Reading[tuple[str, ...]]
    kernel_config: Reading[Mapping[str, str]]
    firmware: Reading[tuple[str, ...]]
    services: Mapping[str, Reading[UnitState]]
    versions: Mapping[str, Reading[str]]
    cdi: Reading[tuple[CdiSpecification, ...]]
