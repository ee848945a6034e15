"""What the stand-ins for NVIDIA's libraries serve: machines as they are delivered, and one fault in each of them.

The values of the H100 were read on a real one (tests/data/h100.json); what differs between the products is from their data sheets.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from aistack.values import dataclass

HERE = Path(__file__).parent
DRIVER = "580.159.04"
MIB = 1 << 20
LOST, UNKNOWN, LIBRARY_MISMATCH, NOT_LOADED, INVALID, DENIED, STRUCTURE = "!15", "!999", "!18", "!9", "!2", "!4", "!25"
"""NVML's codes for a device that is lost, an unknown error, a library that is not of the module's version, or finds no module, a wrong
argument, no permission, and a version of a structure that it does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine of `count` equal devices; `pci` is the device's number on PCI, `links` its NVLinks, `fabric` whether switches join them.

    Without switches nothing joins them, unless their baseboard does (`joined`): NVML shows the links of a card without a bridge, and all
    are down. `mig` are the parts into which each is split, by index and profile: its links are off then (an A100's), and CUDA shows one
    part of all where it is not told which.
    """

    name: str
    pci: str
    count: int
    memory_mib: int
    capability: str
    lanes: int = 16
    generation: int = 5
    links: int = 0
    fabric: bool = False
    joined: bool = False
    watts: int = 700
    mig: tuple[tuple[int, str], ...] = ()
    ecc: bool = True

    def addresses(self) -> tuple[str, ...]:
        """Where its devices are on PCI."""
        return tuple(f"0000:{0x10 + 8 * index:02x}:00.0" for index in range(self.count))

    def nvml(self) -> dict[str, str]:
        """The profile of the stand-in for NVML."""
        found = {
            "nvmlSystemGetDriverVersion": DRIVER,
            "nvmlSystemGetNVMLVersion": f"13.{DRIVER}",
            "nvmlSystemGetCudaDriverVersion": "13000",
            "nvmlDeviceGetCount": str(self.count),
        }
        for index in range(self.count):
            found |= {f"{index}.{name}": value for name, value in self._device(index).items()}
            for part, profile in self.mig:
                number = self.number(index, part)
                found[f"{index}.nvmlDeviceGetMigDeviceHandleByIndex.{part}"] = str(number)
                found[f"{number}.nvmlDeviceGetName"] = f"{self.name} MIG {profile}"
                found[f"{number}.nvmlDeviceGetUUID"] = self.uuid(index, part)
                found[f"{number}.nvmlDeviceGetComputeRunningProcesses"] = "0"
        return found

    def number(self, index: int, part: int) -> int:
        """The number under which the profiles have a part of a device."""
        return 100 + 10 * index + part

    def uuid(self, index: int, part: int | None = None) -> str:
        """What tells a device, or a part of it, from all others."""
        return f"GPU-00000000-0000-0000-0000-{index:012d}" if part is None else f"MIG-00000000-0000-0000-{index:04d}-{part:012d}"

    def _device(self, index: int) -> dict[str, str]:
        vendor_last = f"0x{self.pci}10de"
        values = {
            "nvmlDeviceGetName": self.name,
            "nvmlDeviceGetUUID": self.uuid(index),
            "nvmlDeviceGetSerial": f"16500{index:08d}",
            "nvmlDeviceGetVbiosVersion": "96.00.DA.00.0C",
            "nvmlDeviceGetGspFirmwareVersion": DRIVER,
            "nvmlDeviceGetPciInfo": f"0 {0x10 + 8 * index} 0 {vendor_last}",
            "nvmlDeviceGetCudaComputeCapability": self.capability.replace(".", " "),
            "nvmlDeviceGetMemoryInfo": f"{self.memory_mib * MIB} {480 * MIB}",
            "nvmlDeviceGetEccMode": "1 1" if self.ecc else "0 0",
            "nvmlDeviceGetDefaultEccMode": str(int(self.ecc)),
            "nvmlDeviceGetRemappedRows": "0 0 0 0",
            "nvmlDeviceGetRepairStatus": "0 0",
            "nvmlDeviceGetUnrepairableMemoryFlag_v1": "0",
            "nvmlDeviceGetSramEccErrorStatus": "0",
            "nvmlDeviceGetCurrPcieLinkGeneration": str(self.generation),
            "nvmlDeviceGetMaxPcieLinkGeneration": str(self.generation),
            "nvmlDeviceGetCurrPcieLinkWidth": str(self.lanes),
            "nvmlDeviceGetMaxPcieLinkWidth": str(self.lanes),
            "nvmlDeviceGetPcieReplayCounter": "0",
            "nvmlDeviceGetPersistenceMode": "1",
            "nvmlDeviceGetMigMode": "1 1" if self.mig else "0 0",
            "nvmlDeviceGetMaxMigDeviceCount": "7" if self.mig else "0",
            "nvmlDeviceGetComputeMode": "0",
            "nvmlDeviceGetEnforcedPowerLimit": str(self.watts * 1000),
            "nvmlDeviceGetPowerManagementDefaultLimit": str(self.watts * 1000),
            "nvmlDeviceGetPowerUsage": "71787",
            "nvmlDeviceGetTemperature.0": "35",
            "nvmlDeviceGetTemperatureThreshold.1": "89",
            "nvmlDeviceGetCurrentClocksThrottleReasons": "1",
            "nvmlDeviceGetClockInfo.1": "345",
            "nvmlDeviceGetMaxClockInfo.1": "1980",
            "nvmlDeviceGetComputeRunningProcesses": "0",
            "nvmlDeviceGetGraphicsRunningProcesses": "0",
            "nvmlDeviceGetFieldValues.230": "0",
            "nvmlDeviceGetGpuFabricInfo": "3 0" if self.fabric else "0 0",
            "nvmlDeviceGetGpuFabricInfoV": "0x1aa 1" if self.fabric else "0 0",
        }
        values |= {f"nvmlDeviceGetTotalEccErrors.{kind}.{counter}": "0" for kind in (0, 1) for counter in (0, 1) if self.ecc}
        values |= {
            f"nvmlDeviceGetNvLinkState.{link}": str(int((self.fabric or self.joined) and not self.mig)) for link in range(self.links)
        }
        up = range(self.links if self.fabric or self.joined else 0)
        values |= {f"nvmlDeviceGetNvLinkErrorCounter.{link}.{kind}": "0" for link in up for kind in range(4)}
        return values

    def cuda(self) -> dict[str, str]:
        """The profile of the stand-in for CUDA."""
        found = {"count": str(1 if self.mig else self.count)}
        for index, address in enumerate(self.addresses()):
            found |= {f"{index}.pci": address, f"{index}.uuid": self.uuid(index)}
            for part, _ in self.mig:
                found |= {f"{self.number(index, part)}.pci": address, f"{self.number(index, part)}.uuid": self.uuid(index, part)}
        return found


MACHINES = {
    "nvidia/h100-sxm-80gb": Machine(
        name="NVIDIA H100 80GB HBM3", pci="2330", count=8, memory_mib=81559, capability="9.0", links=18, fabric=True
    ),
    "nvidia/h100-pcie-80gb": Machine(name="NVIDIA H100 PCIe", pci="2331", count=2, memory_mib=81559, capability="9.0", links=18, watts=350),
    "nvidia/l4": Machine(name="NVIDIA L4", pci="27b8", count=1, memory_mib=23034, capability="8.9", generation=4, watts=72),
    "nvidia/b200": Machine(
        name="NVIDIA B200", pci="2901", count=8, memory_mib=183359, capability="10.0", links=18, fabric=True, watts=1000
    ),
    "nvidia/gb200": Machine(
        name="NVIDIA GB200", pci="2941", count=4, memory_mib=189471, capability="10.0", links=18, fabric=True, watts=1200
    ),
    "nvidia/a100-sxm-80gb": Machine(
        name="NVIDIA A100-SXM4-80GB",
        pci="20b2",
        count=8,
        memory_mib=81920,
        capability="8.0",
        generation=4,
        links=12,
        fabric=True,
        watts=400,
    ),
    "nvidia/v100-16gb": Machine(
        name="Tesla V100-SXM2-16GB", pci="1db1", count=8, memory_mib=16384, capability="7.0", generation=3, links=6, joined=True, watts=300
    ),
    "nvidia/a100-sxm-64gb": Machine(
        name="NVIDIA A100-SXM-64GB",
        pci="20b3",
        count=4,
        memory_mib=65536,
        capability="8.0",
        generation=4,
        links=12,
        joined=True,
        watts=400,
    ),
    "nvidia/b300": Machine(
        name="NVIDIA B300 SXM6 AC", pci="3182", count=8, memory_mib=275040, capability="10.3", links=18, fabric=True, watts=1100
    ),
}
"""By the catalog's product: a machine with it as it leaves its maker."""

SPLIT = replace(MACHINES["nvidia/a100-sxm-80gb"], count=2, mig=((0, "4g.40gb"), (3, "3g.40gb")))
"""A100 with MIG."""


def lay(folder: Path, nvml: Mapping[str, str], cuda: Mapping[str, str]) -> dict[str, str]:
    """Write both profiles; what the environment needs for programs to meet the stand-ins and not a driver's libraries."""
    for name, profile in (("nvml", nvml), ("cuda", cuda)):
        (folder / name).write_text("".join(f"{key} {value}\n" for key, value in profile.items()))
    return {"STAND_IN_NVML": str(folder / "nvml"), "STAND_IN_CUDA": str(folder / "cuda")}


def compile_stand_ins(folder: Path) -> None:
    """Both libraries under the names that programs load."""
    for source, library in (("nvml.c", "libnvidia-ml.so.1"), ("cuda.c", "libcuda.so.1")):
        compile_library(folder / library, HERE / "stand_ins" / source)


def compile_library(library: Path, source: Path | str) -> None:
    """A shared library of a C file, or of a text in C."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "a C compiler is needed: apt-get install gcc"
    text = source.read_text() if isinstance(source, Path) else source
    command = [compiler, "-shared", "-fPIC", "-O3", "-w", "-I", str(HERE / "stand_ins"), "-x", "c", "-o", str(library), "-"]
    subprocess.run(command, input=text, text=True, check=True)
