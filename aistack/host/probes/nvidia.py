"""What NVIDIA's driver says of itself and of each device, through NVML.

A program of its own (`python3 -m aistack.host.probes.nvidia [--serials]`), because NVML hangs where the driver does. It prints JSON
objects, one a line, so that what was read stands there when a device hangs: `driver` and `count`, then for each device where it is
(`asking`) and `devices` with it alone, each reading under its name (docs/node.md has the list) with the NVML function that was asked.
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pynvml as nvml

MIB = 1 << 20
UNSUPPORTED = "not supported"
MOST_LINKS = 18
VOLATILE, AGGREGATE, CORRECTED, UNCORRECTED = 0, 1, 0, 1
RECOVERY_ACTION = 230
"""NVML_FI_DEV_GET_GPU_RECOVERY_ACTION, which older bindings do not name."""

RECOVERY = (
    "none",
    "reset the device",
    "reboot the node",
    "drain peers",
    "drain and reset the device",
    "recover the IMEX domain (drivers of branch 580: reset the device's bus)",
    "reset the device's bus",
    "reboot the system",
)
"""By the number of `nvmlDeviceGpuRecoveryAction_t` (PyPI: nvidia-ml-py 13.580.126, 13.615.71); 5 changed its meaning between the two."""

FABRIC = ("not supported", "not started", "in progress", "completed")
FABRIC_HEALTH = ((0, "degraded-bandwidth"), (2, "route-recovery"), (4, "route-unhealthy"), (6, "access-timeout-recovery"))
FABRIC_SETUP = (
    "wrong-system-guid",
    "wrong-chassis-serial-number",
    "no-partition",
    "too-few-nvlinks",
    "wrong-firmware",
    "wrong-location",
    "wrong-device-state",
)
"""What `healthMask` says: by the place of two bits that are 1, and, of its part for a wrong configuration, from the number 2 on
(https://docs.nvidia.com/deploy/nvml-api/group__nvmlFabricDefs.html; PyPI: nvidia-ml-py 13.615.71)."""

FABRIC_SUMMARY = {2: "unhealthy", 3: "limited-capacity"}
THROTTLE = (
    (0x01, "idle"),
    (0x02, "application-clocks"),
    (0x04, "software-power-cap"),
    (0x08, "hardware-slowdown"),
    (0x10, "sync-boost"),
    (0x20, "software-thermal"),
    (0x40, "hardware-thermal"),
    (0x80, "power-brake"),
    (0x100, "display-clocks"),
)
"""The bits of `nvmlDeviceGetCurrentClocksThrottleReasons`, in this program's words."""

NOT_OFFERED = (3, 13, 25, 26)
"""NVML's codes for what this device, or this driver, does not offer: not supported, no such function, no such version of its structure,
deprecated (PyPI: nvidia-ml-py 13.580.126)."""

Ask = Callable[[Any], Any]


class FabricInfo(ctypes.Structure):
    """`nvmlGpuFabricInfo_v3_t`: which fabric this device belongs to, how far its registration with the fabric manager went, how it fares.

    Version 2 lacks `summary`, and the one without a number `version`, `mask` and `summary`; what is lacking stays 0, which is `not told`.
    """

    _fields_ = [
        ("version", ctypes.c_uint),
        ("cluster", ctypes.c_ubyte * 16),
        ("status", ctypes.c_uint),
        ("clique", ctypes.c_uint),
        ("state", ctypes.c_ubyte),
        ("mask", ctypes.c_uint),
        ("summary", ctypes.c_ubyte),
    ]


def fabric(device: Any) -> FabricInfo:
    """What this driver tells of the fabric by the newest of the functions and structures for it that it knows."""
    for version, size in ((3, ctypes.sizeof(FabricInfo)), (2, FabricInfo.summary.offset)):
        found = FabricInfo(version=version << 24 | size)
        try:
            code = nvml._nvmlGetFunctionPointer("nvmlDeviceGetGpuFabricInfoV")(device, ctypes.byref(found))
        except nvml.NVMLError_FunctionNotFound:
            break
        if not code:
            return found
        if code not in (*NOT_OFFERED, nvml.NVML_ERROR_INVALID_ARGUMENT):
            raise nvml.NVMLError(code)
    found = FabricInfo()
    code = nvml._nvmlGetFunctionPointer("nvmlDeviceGetGpuFabricInfo")(device, ctypes.byref(found, FabricInfo.cluster.offset))
    if code:
        raise nvml.NVMLError(code)
    return found


def fabric_health(device: Any) -> str:
    """What is wrong with the device's place in the fabric, in words; empty where nothing is."""
    found = fabric(device)
    if not found.mask and not found.summary:
        raise nvml.NVMLError(nvml.NVML_ERROR_NOT_SUPPORTED)
    words = [word for shift, word in FABRIC_HEALTH if found.mask >> shift & 0x3 == 1]
    wrong = found.mask >> 8 & 0xF
    if wrong > 1:
        words.append(FABRIC_SETUP[wrong - 2] if wrong - 2 < len(FABRIC_SETUP) else f"wrong-configuration-{wrong}")
    return " ".join(words) or FABRIC_SUMMARY.get(found.summary, "")


def firmware(device: Any) -> str:
    """The version of the firmware that runs on the device; the bindings of driver 550 want a buffer for it, later ones none."""
    found = ctypes.create_string_buffer(nvml.NVML_GSP_FIRMWARE_VERSION_BUF_SIZE)
    code = nvml._nvmlGetFunctionPointer("nvmlDeviceGetGspFirmwareVersion")(device, found)
    if code:
        raise nvml.NVMLError(code)
    return found.value.decode(errors="replace")


def field(device: Any, number: int) -> int:
    """One of the values that NVML gives by number."""
    found = nvml.nvmlDeviceGetFieldValues(device, [number])[0]
    if found.nvmlReturn:
        raise nvml.NVMLError(found.nvmlReturn)
    return int(found.value.ullVal) & 0xFFFFFFFF


def recovery(device: Any) -> str:
    """What the driver wants done with the device; drivers before 565 do not know that number, and say so as a wrong argument."""
    try:
        number = field(device, RECOVERY_ACTION)
    except nvml.NVMLError_InvalidArgument as error:
        raise nvml.NVMLError(nvml.NVML_ERROR_NOT_SUPPORTED) from error
    return RECOVERY[number] if number < len(RECOVERY) else f"action {number} of its driver"


def throttle(device: Any) -> str:
    """Why the clocks are not at their highest, in words; empty where nothing holds them."""
    bits = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(device)
    return " ".join(word for bit, word in THROTTLE if bits & bit)


def pci_id(device: Any) -> str:
    """Vendor and device as the catalog writes them, `10de:2330`."""
    both = nvml.nvmlDeviceGetPciInfo(device).pciDeviceId
    return f"{both & 0xFFFF:04x}:{both >> 16:04x}"


def address(device: Any) -> str:
    """The PCI address as the kernel writes it."""
    info = nvml.nvmlDeviceGetPciInfo(device)
    return f"{info.domain:04x}:{info.bus:02x}:{info.device:02x}.0"


def links(device: Any) -> dict[int, bool]:
    """The NVLinks that the device has, by number, and whether each is up."""
    found = {}
    for link in range(MOST_LINKS):
        try:
            found[link] = bool(nvml.nvmlDeviceGetNvLinkState(device, link))
        except (nvml.NVMLError_NotSupported, nvml.NVMLError_InvalidArgument):
            continue
    if not found:
        raise nvml.NVMLError(nvml.NVML_ERROR_NOT_SUPPORTED)
    return found


def sram_worn(device: Any) -> bool:
    """Whether the device's caches had more errors than NVIDIA's field diagnosis lets pass; only root may ask."""
    found = nvml.c_nvmlEccSramErrorStatus_v1_t()
    nvml.nvmlDeviceGetSramEccErrorStatus(device, ctypes.byref(found))
    return bool(found.bThresholdExceeded)


def repairs(device: Any) -> tuple[bool, bool]:
    """Whether channels of memory, and parts of its processors (TPC), wait for a reset to be repaired; bindings before 580 do not ask."""
    found = (ctypes.c_uint * 3)(1 << 24 | 12)  # nvmlRepairStatus_v1_t
    if code := nvml._nvmlGetFunctionPointer("nvmlDeviceGetRepairStatus")(device, found):
        raise nvml.NVMLError(code)
    return bool(found[1]), bool(found[2])


def unrepairable(device: Any) -> bool:
    """Whether it has memory that cannot be repaired; bindings before 590 do not ask.

    The structure is the flag alone (https://docs.nvidia.com/deploy/nvml-api/structnvmlUnrepairableMemoryStatus__v1__t.html), and driver
    580.159.04 wrote it so on an H200. NVIDIA's bindings (PyPI: nvidia-ml-py 13.615.71) look for it behind a version, where that driver
    writes nothing; one that does as they do finds their version here.
    """
    version = 1 << 24 | 8
    found = (ctypes.c_uint * 4)(version)
    if code := nvml._nvmlGetFunctionPointer("nvmlDeviceGetUnrepairableMemoryFlag_v1")(device, found):
        raise nvml.NVMLError(code)
    return bool(found[0] if found[0] != version else found[1])


def confidential(_: Any) -> bool:
    """Whether what crosses the bus is encrypted (Confidential Computing), which a machine's devices do all or none."""
    found = nvml.c_nvmlSystemConfComputeSettings_v1_t()
    if code := nvml.nvmlSystemGetConfComputeSettings(ctypes.byref(found)):
        raise nvml.NVMLError(code)
    return bool(found.ccFeature or found.multiGpuMode)


def parts(device: Any) -> list[tuple[int, str, Any]]:
    """The parts into which MIG splits a device: the index of each, its profile (`1g.10gb`) from its name, its handle."""
    found = []
    for index in range(nvml.nvmlDeviceGetMaxMigDeviceCount(device)):
        try:
            part = nvml.nvmlDeviceGetMigDeviceHandleByIndex(device, index)
            name = nvml.nvmlDeviceGetName(part)
        except nvml.NVMLError_NotFound:
            continue
        found.append((index, (name.decode() if isinstance(name, bytes) else name).partition(" MIG ")[2], part))
    return found


def uuid(address: str, part: str | None = None) -> Any:
    """The name by which CUDA is told to show a program one device alone, or one part of it."""
    return nvml.nvmlDeviceGetUUID(handle(address, part))


def handle(address: str, part: str | None = None) -> Any:
    """What NVML knows a device by, or a part of it."""
    nvml.nvmlInit()
    device = nvml.nvmlDeviceGetHandleByPciBusId(address)
    return device if part is None else nvml.nvmlDeviceGetMigDeviceHandleByIndex(device, int(part))


def link_errors(device: Any) -> int:
    """Errors of replay, recovery and checksums over all NVLinks since the driver was loaded."""
    return sum(nvml.nvmlDeviceGetNvLinkErrorCounter(device, link, kind) for link in links(device) for kind in range(4))


def _call(name: str) -> tuple[str, Ask]:
    return name, lambda device: getattr(nvml, name)(device)


def _of(name: str, *arguments: Any, take: Ask = lambda value: value) -> tuple[str, Ask]:
    return name, lambda device: take(getattr(nvml, name)(device, *arguments))


DEVICE: dict[str, tuple[str, Ask]] = {
    "name": _call("nvmlDeviceGetName"),
    "pci.address": ("nvmlDeviceGetPciInfo", address),
    "pci.id": ("nvmlDeviceGetPciInfo", pci_id),
    "compute-capability": _of("nvmlDeviceGetCudaComputeCapability", take=lambda pair: f"{pair[0]}.{pair[1]}"),
    "vbios": _call("nvmlDeviceGetVbiosVersion"),
    "firmware": ("nvmlDeviceGetGspFirmwareVersion", firmware),
    "memory.total-mib": _of("nvmlDeviceGetMemoryInfo", take=lambda memory: memory.total // MIB),
    "memory.used-mib": _of("nvmlDeviceGetMemoryInfo", take=lambda memory: memory.used // MIB),
    "ecc.mode": _of("nvmlDeviceGetEccMode", take=lambda pair: bool(pair[0])),
    "ecc.pending-mode": _of("nvmlDeviceGetEccMode", take=lambda pair: bool(pair[1])),
    "ecc.default-mode": _of("nvmlDeviceGetDefaultEccMode", take=lambda modes: bool(modes[0])),
    "ecc.uncorrected": _of("nvmlDeviceGetTotalEccErrors", UNCORRECTED, VOLATILE),
    "ecc.corrected": _of("nvmlDeviceGetTotalEccErrors", CORRECTED, VOLATILE),
    "ecc.uncorrected-ever": _of("nvmlDeviceGetTotalEccErrors", UNCORRECTED, AGGREGATE),
    "ecc.corrected-ever": _of("nvmlDeviceGetTotalEccErrors", CORRECTED, AGGREGATE),
    "ecc.sram-worn": ("nvmlDeviceGetSramEccErrorStatus", sram_worn),
    "rows.corrected": _of("nvmlDeviceGetRemappedRows", take=lambda rows: rows[0]),
    "rows.uncorrected": _of("nvmlDeviceGetRemappedRows", take=lambda rows: rows[1]),
    "rows.pending": _of("nvmlDeviceGetRemappedRows", take=lambda rows: bool(rows[2])),
    "rows.failed": _of("nvmlDeviceGetRemappedRows", take=lambda rows: bool(rows[3])),
    "repairs.channel": ("nvmlDeviceGetRepairStatus", lambda device: repairs(device)[0]),
    "repairs.processors": ("nvmlDeviceGetRepairStatus", lambda device: repairs(device)[1]),
    "memory.unrepairable": ("nvmlDeviceGetUnrepairableMemoryFlag_v1", unrepairable),
    "pages.pending": _of("nvmlDeviceGetRetiredPagesPendingStatus", take=bool),
    "pcie.generation": _call("nvmlDeviceGetCurrPcieLinkGeneration"),
    "pcie.most-generation": _call("nvmlDeviceGetMaxPcieLinkGeneration"),
    "pcie.lanes": _call("nvmlDeviceGetCurrPcieLinkWidth"),
    "pcie.most-lanes": _call("nvmlDeviceGetMaxPcieLinkWidth"),
    "pcie.replays": _call("nvmlDeviceGetPcieReplayCounter"),
    "persistence": _of("nvmlDeviceGetPersistenceMode", take=bool),
    "mig": _of("nvmlDeviceGetMigMode", take=lambda pair: bool(pair[0])),
    "mig.pending": _of("nvmlDeviceGetMigMode", take=lambda pair: bool(pair[1])),
    "mig.parts": ("nvmlDeviceGetMigDeviceHandleByIndex", lambda device: " ".join(sorted(profile for _, profile, _ in parts(device)))),
    "virtualization": _of(
        "nvmlDeviceGetVirtualizationMode", take=lambda mode: ("none", "passthrough", "vgpu", "host-vgpu", "host-vsga")[mode]
    ),
    "confidential": ("nvmlSystemGetConfComputeSettings", confidential),
    "compute-mode": _of(
        "nvmlDeviceGetComputeMode", take=lambda mode: ("default", "exclusive-thread", "prohibited", "exclusive-process")[mode]
    ),
    "power.limit-watts": _of("nvmlDeviceGetEnforcedPowerLimit", take=lambda milliwatts: milliwatts / 1000),
    "power.default-watts": _of("nvmlDeviceGetPowerManagementDefaultLimit", take=lambda milliwatts: milliwatts / 1000),
    "power.watts": _of("nvmlDeviceGetPowerUsage", take=lambda milliwatts: milliwatts / 1000),
    "temperature.celsius": _of("nvmlDeviceGetTemperature", 0),
    "temperature.slowdown-celsius": _of("nvmlDeviceGetTemperatureThreshold", 1),
    "clocks.held-by": ("nvmlDeviceGetCurrentClocksThrottleReasons", throttle),
    "clocks.mhz": _of("nvmlDeviceGetClockInfo", 1),
    "clocks.most-mhz": _of("nvmlDeviceGetMaxClockInfo", 1),
    "programs": _of("nvmlDeviceGetComputeRunningProcesses", take=len),
    "programs.graphics": _of("nvmlDeviceGetGraphicsRunningProcesses", take=len),
    "recovery": ("nvmlDeviceGetFieldValues", recovery),
    "fabric.state": ("nvmlDeviceGetGpuFabricInfo", lambda device: FABRIC[fabric(device).state]),
    "fabric.status": ("nvmlDeviceGetGpuFabricInfo", lambda device: fabric(device).status),
    "fabric.health": ("nvmlDeviceGetGpuFabricInfoV", fabric_health),
    "links.up": ("nvmlDeviceGetNvLinkState", lambda device: sum(links(device).values())),
    "links.all": ("nvmlDeviceGetNvLinkState", lambda device: len(links(device))),
    "links.errors": ("nvmlDeviceGetNvLinkErrorCounter", link_errors),
}

SERIALS: dict[str, tuple[str, Ask]] = {"serial": _call("nvmlDeviceGetSerial"), "uuid": _call("nvmlDeviceGetUUID")}
"""What tells one device from all others; asked for only where the recipe allows it."""

DRIVER: dict[str, tuple[str, Callable[[], Any]]] = {
    "version": ("nvmlSystemGetDriverVersion", lambda: nvml.nvmlSystemGetDriverVersion()),
    "library": ("nvmlSystemGetNVMLVersion", lambda: nvml.nvmlSystemGetNVMLVersion()),
    "cuda": ("nvmlSystemGetCudaDriverVersion", lambda: cuda(nvml.nvmlSystemGetCudaDriverVersion())),
}


def cuda(number: int) -> str:
    """CUDA's version out of its number: 13000 is `13.0`."""
    return f"{number // 1000}.{number % 1000 // 10}"


def apart() -> list[dict[str, Any]]:
    """Each part of a device that is split, and each whole one beside it: where it is (`uuid`), and what is known of it.

    Nothing where none is split.
    """
    nvml.nvmlInit()
    asked = {"address": DEVICE["pci.address"], "split": DEVICE["mig"], "parts": ("nvmlDeviceGetMigDeviceHandleByIndex", parts)}
    found, is_any_split = [], False
    for one in (one for said in devices(asked) for one in said.get("devices", ())):
        address, is_split, there = (one.get(name, {}).get("value") for name in asked)
        is_any_split = is_any_split or bool(is_split)
        if is_split:
            for index, profile, part in there or ():
                programs = reading("nvmlDeviceGetComputeRunningProcesses", partial(DEVICE["programs"][1], part)).get("value")
                known = {"pci.address": address, "compute.part": f"{index} ({profile})", "compute.programs": programs}
                found.append({"place": [address, str(index)], "known": known})
        elif address is not None:
            found.append({"place": [address], "known": {"pci.address": address}})
    return found if is_any_split else []


def processes(address: str, part: str | None = None) -> list[int]:
    """The number of each process that computes on a device or a part of it."""
    return [process.pid for process in nvml.nvmlDeviceGetComputeRunningProcesses(handle(address, part))]


def unlisted(address: str, part: str | None = None) -> int:
    """Bytes of a device, or a part of it, that no process has which NVML lists; what the driver keeps for itself does not count.

    Drivers before 510, and those that do not tell what each process has, do not offer it.
    """
    device = handle(address, part)
    used = nvml.nvmlDeviceGetMemoryInfo(device, nvml.nvmlMemory_v2).used
    listed = {
        process.pid: process.usedGpuMemory
        for ask in (nvml.nvmlDeviceGetGraphicsRunningProcesses, nvml.nvmlDeviceGetComputeRunningProcesses)
        for process in ask(device)
    }
    if None in listed.values():
        raise nvml.NVMLError(nvml.NVML_ERROR_NOT_SUPPORTED)
    return int(used) - int(sum(listed.values()))


def some(address: str, names: Sequence[str]) -> dict[str, Any]:
    """The readings of those names, of one device, that it tells."""
    device = handle(address)
    asked = {name: reading(DEVICE[name][0], partial(DEVICE[name][1], device)) for name in names}
    return {name: one["value"] for name, one in asked.items() if "value" in one}


def told(error: nvml.NVMLError) -> str:
    """An error by the name of its code and in NVML's words: `GpuIsLost: GPU is lost`."""
    return f"{type(error).__name__.removeprefix('NVMLError_')}: {error}"


def reading(source: str, ask: Callable[[], Any]) -> dict[str, Any]:
    """One reading as JSON; what this driver or this device does not offer is `not supported`."""
    try:
        value = ask()
    except AttributeError:
        return {"source": source, "error": UNSUPPORTED}
    except nvml.NVMLError as error:
        return {"source": source, "error": UNSUPPORTED if error.value in NOT_OFFERED else told(error)}
    except (IndexError, TypeError, ValueError) as error:
        return {"source": source, "error": f"not understood: {error}"}
    return {"source": source, "value": value.decode(errors="replace") if isinstance(value, bytes) else value}


def devices(wanted: dict[str, tuple[str, Ask]]) -> Iterator[dict[str, Any]]:
    """Where each device is that the driver counts, then its readings; of one that is lost, only why."""
    for index in range(nvml.nvmlDeviceGetCount()):
        yield {"asking": f"device {index}"}
        try:
            device = nvml.nvmlDeviceGetHandleByIndex(index)
        except nvml.NVMLError as error:
            yield {"devices": [{"device": {"source": "nvmlDeviceGetHandleByIndex", "error": told(error)}}]}
            continue
        yield {"asking": reading("nvmlDeviceGetPciInfo", partial(address, device)).get("value", f"device {index}")}
        yield {"devices": [{name: reading(source, partial(ask, device)) for name, (source, ask) in wanted.items()}]}


def everything(*, serials: bool) -> Iterator[dict[str, Any]]:
    """All readings, as they come; `error` where NVML itself could not be used."""
    try:
        nvml.nvmlInit()
        driver = {name: reading(source, ask) for name, (source, ask) in DRIVER.items()}
        yield {"driver": driver, "devices": [], "count": nvml.nvmlDeviceGetCount()}
        yield from devices(DEVICE | SERIALS if serials else DEVICE)
    except nvml.NVMLError as error:
        yield {"error": told(error)}


def main(arguments: Sequence[str]) -> int:
    """Print what was read; the exit code is 0 whatever it was."""
    for part in everything(serials="--serials" in arguments):
        print(json.dumps(part), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
