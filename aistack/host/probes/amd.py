"""What the kernel's amdgpu says of each of AMD's devices, in the files that docs/accelerators.md lists; nothing is loaded for it.

A program of its own (`python3 -m aistack.host.probes.amd ROOT`), because a file of a driver in trouble may never give an answer. It prints
JSON objects, one a line, as probes/nvidia.py does; each reading is under its name (docs/node.md has the list) with the file that was read.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from aistack.host.probes.sysfs import IDENTITY, LINK, MIB, Ask, module_version, of, one_by_one, reading, says, taken, text

KFD = "sys/class/kfd/kfd"
XGMI = 11
"""The type of a link of KFD's that is Infinity Fabric."""

ERRORS = re.compile(r"^(ue|ce): *(\d+)$", re.MULTILINE)
BAD_PAGE = re.compile(r"^0x[0-9a-f]+ *: *0x[0-9a-f]+ *: *([RPF])$", re.MULTILINE | re.IGNORECASE)


def errors(device: Path, kind: str) -> dict[str, int]:
    """Errors since the driver was loaded by the block that had them: `ue` not corrected, `ce` corrected."""
    blocks = sorted((device / "ras").glob("*_err_count"))
    if not blocks:
        raise FileNotFoundError(device / "ras")
    found = {block.name.removesuffix("_err_count"): dict(ERRORS.findall(block.read_text())) for block in blocks}
    if unclear := [name for name, counts in found.items() if kind not in counts]:
        raise ValueError(f"{unclear[0]}_err_count has no line `{kind}: N`")
    return {name: int(counts[kind]) for name, counts in found.items()}


def bad_pages(device: Path, state: str) -> bool:
    """Whether a page of memory is in that state: `P` taken out at the next occasion, `F` could not be taken out."""
    return state in BAD_PAGE.findall(text(device, "ras/gpu_vram_bad_pages"))


def sensor(device: Path, label: str, ending: str) -> float:
    """A temperature in degrees Celsius by its label (`junction`, `mem`): the sensor's or its limit (`_input`, `_crit`)."""
    for named in sorted(device.glob("hwmon/hwmon*/temp*_label")):
        if named.read_text().strip() == label:
            return int(named.with_name(named.name.replace("_label", ending)).read_text()) / 1000
    raise FileNotFoundError(device / "hwmon")


def watts(device: Path, *names: str) -> float:
    """Power from the first of the files that is there."""
    for file in (file for name in names for file in sorted(device.glob(f"hwmon/hwmon*/{name}"))):
        return int(file.read_text()) / 1e6
    raise FileNotFoundError(device / "hwmon")


def _mib(name: str) -> tuple[str, Ask]:
    return name, lambda device: int(text(device, name)) // MIB


DEVICE: dict[str, tuple[str, Ask]] = {
    "name": says("product_name"),
    "vbios": says("vbios_version"),
    "memory.total-mib": _mib("mem_info_vram_total"),
    "memory.used-mib": _mib("mem_info_vram_used"),
    "ecc.uncorrected": ("ras/*_err_count", lambda device: sum(errors(device, "ue").values())),
    "ecc.corrected": ("ras/*_err_count", lambda device: sum(errors(device, "ce").values())),
    "ecc.where": ("ras/*_err_count", lambda device: " ".join(name for name, count in errors(device, "ue").items() if count)),
    "rows.pending": of(bad_pages, "ras/gpu_vram_bad_pages", "P"),
    "rows.failed": of(bad_pages, "ras/gpu_vram_bad_pages", "F"),
    "pcie.replays": ("pcie_replay_count", lambda device: int(text(device, "pcie_replay_count"))),
    "power.limit-watts": of(watts, "power1_cap"),
    "power.default-watts": of(watts, "power1_cap_default"),
    "power.watts": of(watts, "power1_average, power1_input", "power1_average", "power1_input"),
    "temperature.celsius": of(sensor, "temp*_input", "junction", "_input"),
    "temperature.slowdown-celsius": of(sensor, "temp*_crit", "junction", "_crit"),
    "temperature.memory-celsius": of(sensor, "temp*_input", "mem", "_input"),
    "temperature.memory-slowdown-celsius": of(sensor, "temp*_crit", "mem", "_crit"),
}


class Node:
    """A node of KFD's topology: what programs compute on. A device that is split has several at one address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.values = properties(folder / "properties")

    @property
    def slot(self) -> str:
        """Its PCI address without the function, whose bits older kernels use for the number of the part (`0000:c1:00`)."""
        location = self.values["location_id"] & 0xFFFF
        return f"{self.values['domain']:04x}:{location >> 8:02x}:{location >> 3 & 0x1F:02x}"

    @property
    def target(self) -> str:
        """Its architecture as compilers call it: 90402 is `gfx942`."""
        version = self.values["gfx_target_version"]
        return f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"

    def reached(self) -> Iterator[int]:
        """The numbers of the nodes that it reaches over Infinity Fabric."""
        for link in sorted((self.folder / "io_links").glob("*/properties")):
            values = properties(link)
            if values["type"] == XGMI:
                yield values["node_to"]

    def programs(self, kfd: Path) -> int:
        """Programs that hold some of its memory."""
        number = (self.folder / "gpu_id").read_text().strip()
        return sum(int(held.read_text()) > 0 for held in kfd.glob(f"proc/*/vram_{number}"))


def properties(file: Path) -> dict[str, int]:
    """The numbers of a file of KFD's by their names."""
    return {name: int(value) for name, value in (line.split() for line in file.read_text().splitlines())}


def nodes(kfd: Path) -> dict[int, Node]:
    """The nodes that are accelerators, by number."""
    found = {int(folder.name): Node(folder) for folder in (kfd / "topology/nodes").iterdir()}
    return {number: node for number, node in found.items() if node.values["simd_count"]}


def about_nodes(kfd: Path, address: str) -> dict[str, Any]:
    """What KFD says of a device: its architecture, its parts, the other devices that it reaches, the programs on it."""
    try:
        every = nodes(kfd)
    except (OSError, ValueError, KeyError) as error:
        return {"device": {"source": KFD, "error": f"KFD's topology cannot be read: {error}"}}
    own = [node for node in every.values() if node.slot == address.rpartition(".")[0]]
    if not own:
        return {"device": {"source": KFD, "error": "KFD has no node for it: no program can compute there"}}
    asks: dict[str, Callable[[], Any]] = {
        "target": lambda: own[0].target,
        "partitions": lambda: len(own),
        "peers": lambda: len({every[number].slot for node in own for number in node.reached() if number in every} - {own[0].slot}),
        "programs": lambda: sum(node.programs(kfd) for node in own),
    }
    return {name: reading(f"{KFD}/topology", ask) for name, ask in asks.items()}


def about(device: Path, kfd: Path) -> dict[str, Any]:
    """Every reading of one device; of one that is lost, who it is and why (`device`)."""
    gone = reading("config", lambda: (device / "config").read_bytes()[:4] == b"\xff" * 4)
    if gone.get("value"):
        return {**taken(IDENTITY, device), "device": {"source": "config", "error": "it answers no more on PCI Express"}}
    return {**taken(IDENTITY | LINK | DEVICE, device), **about_nodes(kfd, device.name)}


def everything(root: Path) -> Iterator[dict[str, Any]]:
    """All readings, as they come; `error` where amdgpu is not loaded, or lets no program compute."""
    module, kfd = root / "sys/module/amdgpu", root / KFD
    if not module.is_dir():
        yield {"error": "DriverNotLoaded: there is no /sys/module/amdgpu"}
    elif not (kfd / "topology/nodes").is_dir():
        yield {"error": f"NoComputeDriver: there is no /{KFD}/topology, so amdgpu was built without CONFIG_HSA_AMD"}
    else:
        bound = sorted((root / "sys/bus/pci/drivers/amdgpu").glob("*:*:*.*"))
        yield from one_by_one(module_version(root, "amdgpu"), bound, partial(about, kfd=kfd))


def main(arguments: Sequence[str]) -> int:
    """Print what was read below the folder that is named; the exit code is 0 whatever it was."""
    for part in everything(Path(arguments[0] if arguments else "/")):
        print(json.dumps(part), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
