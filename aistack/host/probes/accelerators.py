"""The whole reading of a machine's accelerators: each vendor's driver in a process of its own, and the kernel's log."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from aistack.facts.device_readings import NOBODY, Accelerators, Device, Plain, from_plain
from aistack.facts.readings import Reading
from aistack.host.probes.apart import ask
from aistack.host.probes.kernel_log import kernel_log
from aistack.host.probes.reading import inside, read

SECONDS = {"none": 30.0, "quick": 60.0, "standard": 120.0, "thorough": 600.0}
"""How long a driver may take to answer, by the level of the check; at `none` nothing is computed."""

NVML, CUDA = "NVML", "libcuda.so.1"
MODULE = "/sys/module/nvidia/version"
OPENNESS = "/proc/driver/nvidia/version"


def take_accelerators(root: Path, vendor: str, level: str, *, serials: bool = False) -> Accelerators:
    """Everything that `vendor`'s driver tells at that level; never raises, each reading carries its own error.

    Programs run on the devices before they are asked: a link that had gone to sleep is then awake. Serial numbers and UUIDs are read only
    with `serials`.
    """
    log = kernel_log(root)
    if vendor != "nvidia":
        nobody: Reading[tuple[Device, ...]] = Reading(source=NOBODY, error=f"no probe knows {vendor}'s driver")
        return Accelerators(devices=nobody, log=log, level=level)
    computed = _computed(level) if level != "none" else {}
    answer = _answer("aistack.host.probes.nvidia", ["--serials"] if serials else [], NVML, SECONDS[level])
    driver: dict[str, Reading[Plain]] = {
        "module": read(MODULE, lambda: inside(root, MODULE).read_text().strip()),
        "flavour": read(OPENNESS, lambda: _flavour(inside(root, OPENNESS).read_text())),
    }
    if answer.value is None:
        return Accelerators(driver=driver, devices=Reading(source=NVML, error=answer.error), log=log, level=level)
    devices = tuple(_with_computed(from_plain(values), computed, level) for values in answer.value["devices"])
    return Accelerators(
        driver=driver | from_plain(answer.value["driver"]), devices=Reading(source=NVML, value=devices), log=log, level=level
    )


def _answer(module: str, arguments: list[str], source: str, timeout: float) -> Reading[Any]:
    """What the probe's program said; an error that it tells is the reading's."""
    answer = ask(module, arguments, source=source, timeout=timeout, environment={"CUDA_DEVICE_ORDER": "PCI_BUS_ID"})
    if answer.value is not None and "error" in answer.value:
        return Reading(source=source, error=answer.value["error"])
    return answer


def _computed(level: str) -> dict[str, dict[str, Reading[Plain]]] | str:
    """What programs on each device came to, by PCI address; a text where none could be started at all."""
    answer = _answer("aistack.host.probes.cuda", [level], CUDA, SECONDS[level])
    if answer.value is None:
        return answer.error or "no answer"
    found = {}
    for values in answer.value["devices"]:
        error = values.pop("compute.error", None)
        readings: dict[str, Reading[Plain]] = {name: Reading(source=CUDA, value=value) for name, value in values.items()}
        readings["compute"] = Reading(source=CUDA, error=error) if error else Reading(source=CUDA, value=True)
        found[str(values.get("pci.address"))] = readings
    return found


def _with_computed(values: dict[str, Reading[Plain]], computed: dict[str, dict[str, Reading[Plain]]] | str, level: str) -> Device:
    if level == "none":
        return Device(values=values)
    address = values["pci.address"].value if "pci.address" in values else None
    if isinstance(computed, str):
        return Device(values={**values, "compute": Reading(source=CUDA, error=computed)})
    unlisted: dict[str, Reading[Plain]] = {"compute": Reading(source=CUDA, error="CUDA does not list this device")}
    return Device(values=computed.get(str(address), unlisted) | values)


def _flavour(text: str) -> str:
    if "NVRM version" not in text:
        raise ValueError("no line `NVRM version`")
    return "open" if re.search(r"Open Kernel Module", text) else "proprietary"
