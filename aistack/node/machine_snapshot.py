"""A machine as a snapshot: what was read of it, in the words in which machines, images and reports are judged (facts/snapshot.py). Pure.

What could not be read is left out, which means unknown; what is known to be absent says so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from aistack.facts.architecture import architecture_named
from aistack.facts.catalog import Accelerator
from aistack.facts.device_readings import Accelerators
from aistack.facts.readings import MachineReadings, Reading, UnitState
from aistack.facts.system_readings import SystemReadings
from aistack.facts.unique import CDI_NAME

SCHEMA = "aistack/snapshot/v1"
SETTINGS = ("DRM", "DRM_NOUVEAU", "NOVA_CORE", "PREEMPT_RT", "MODULE_SIG", "MODULE_SIG_FORCE")
"""The kernel's settings that rules ask for."""

ARGUMENT = re.compile(
    r"(module|modprobe|rd\.driver|nvidia|nouveau|nova|amdgpu|iommu|intel_iommu|amd_iommu|pci|lockdown|nokaslr|kaslr)\b|module_"
)
"""The kernel's arguments that a snapshot tells; others may be secrets, such as credentials."""

RIVALS = {"nvidia": ("nouveau", "nova_core")}
"""By vendor: modules that claim its devices and cannot compute on them."""


def snapshot(
    machine: MachineReadings, system: SystemReadings, product: Accelerator | None, vendor: str | None, seen: Accelerators | None
) -> dict[str, Any]:
    """The document; `product` is what the machine is there for, where the catalog knows it, `seen` what its driver said."""
    found = {
        "schema": SCHEMA,
        "accelerator": dict(_accelerator(product, seen)),
        "platform": dict(_platform(machine, system, vendor)),
        "driver": _driver(machine, system, vendor, seen),
        "fabric": _fabric(system) if vendor == "nvidia" else {},
        "toolkit": _one("cuda", system.versions["nvcc"]),
        "runtime": dict(_runtime(system)),
    }
    return {name: block for name, block in found.items() if block}


def _accelerator(product: Accelerator | None, seen: Accelerators | None) -> Iterator[tuple[str, Any]]:
    numbers = (None, *product.pci_ids) if product is not None else ()
    devices = [device for device in (seen.devices.value if seen else None) or () if device.lost is None]
    devices = [device for device in devices if not numbers or device.get("pci.id") in numbers]
    if product is not None:
        yield "product", product.id
    if not devices:
        return
    yield "count", len(devices)
    if capability := devices[0].get("compute-capability"):
        yield "arch", f"sm_{str(capability).replace('.', '')}"
    elif target := devices[0].get("target"):
        yield "arch", target
    memory = [number for device in devices if (number := device.number("memory.total-mib")) is not None]
    if memory:
        yield "memory_gib", round(min(memory) / 1024, 1)


def _platform(machine: MachineReadings, system: SystemReadings, vendor: str | None) -> Iterator[tuple[str, Any]]:
    if system.os.value:
        yield "os", system.os.value
    if machine.architecture.value:
        yield "arch", architecture_named(machine.architecture.value) or machine.architecture.value
    if machine.kernel.value:
        yield "kernel", machine.kernel.value
    if system.glibc.value:
        yield "glibc", system.glibc.value
    if system.secure_boot.value is not None:
        yield "secure_boot", system.secure_boot.value
    if system.blacklist.value is not None:
        yield "blacklist", list(system.blacklist.value)
    config = system.kernel_config.value
    if config:
        yield "kernel_config", {f"CONFIG_{name}": config[f"CONFIG_{name}"] for name in SETTINGS if f"CONFIG_{name}" in config}
    if vendor in RIVALS and machine.modules.value is not None:
        yield "competing_driver", [name for name in RIVALS[vendor] if name in machine.modules.value.present]
    arguments = [word for word in (machine.command_line.value or "").split() if ARGUMENT.match(word)]
    if arguments:
        yield "cmdline", " ".join(arguments)


def _driver(machine: MachineReadings, system: SystemReadings, vendor: str | None, seen: Accelerators | None) -> dict[str, Any]:
    if vendor == "amd" and machine.modules.value and "amdgpu" in machine.modules.value.present:
        return {"module": {"name": "amdgpu"}}
    if vendor != "nvidia" or seen is None:
        return {}
    found: dict[str, Any] = _one("version", seen.driver.get("version"))
    module = {**_one("version", seen.driver.get("module")), **_one("flavor", seen.driver.get("flavour"))}
    if module and machine.kernel.value:
        module["built_for"] = machine.kernel.value  # it is loaded
    if module:
        found["module"] = module
    running = next((device.get("firmware") for device in seen.devices.value or () if device.get("firmware")), None)
    if running is not None:
        found["gsp_firmware"] = running
    elif system.firmware.value:
        found["gsp_firmware"] = system.firmware.value[-1]
    return found


def _fabric(system: SystemReadings) -> dict[str, Any]:
    parts = {"manager": ("nvidia-fabricmanager.service", "fabricmanager"), "imex": ("nvidia-imex.service", "imex")}
    found = {part: _service(system.services[unit], system.versions[program]) for part, (unit, program) in parts.items()}
    return {part: block for part, block in found.items() if block}


def _service(unit: Reading[UnitState], version: Reading[str]) -> dict[str, Any]:
    """A service's state in a snapshot's words; nobody can tell where systemd does not answer."""
    if unit.value is None:
        return _one("version", version)
    if unit.value.load == "not-found":
        return {"state": "absent"} if version.value is None else {**_one("version", version), "state": "installed"}
    return {**_one("version", version), "state": "running" if unit.value.active == "active" else "stopped"}


def _runtime(system: SystemReadings) -> Iterator[tuple[str, Any]]:
    for name in ("podman", "container_toolkit", "dcgm"):
        if system.versions[name].value is not None:
            yield name, system.versions[name].value
    specifications = system.cdi.value or ()
    if specifications:
        devices = [device for specification in specifications for device in specification.devices if not CDI_NAME.search(device)]
        driver = next((specification.driver for specification in specifications if specification.driver), None)
        cdi: dict[str, Any] = {"spec_version": specifications[0].version, "devices": devices}
        yield "cdi", cdi | ({"driver": driver} if driver else {})


def _one(name: str, reading: Reading[Any] | None) -> dict[str, Any]:
    return {name: reading.value} if reading is not None and reading.value is not None else {}
