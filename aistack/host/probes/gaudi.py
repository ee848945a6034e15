"""What the kernel's habanalabs says of each Gaudi, in the files of the kernel's document sysfs-driver-habanalabs.

A program of its own (`python3 -m aistack.host.probes.gaudi ROOT`), because a file of a driver in trouble may never give an answer. Size and
errors of the memory are in no file: the driver tells them to SynapseAI alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from aistack.host.probes.sysfs import IDENTITY, LINK, Ask, module_version, of, one_by_one, says, taken, text

VENDOR = "0x1da3"


def recovery(device: Path, name: str) -> str:
    """What the device needs by its status, `none` where it works; while it is being started or reset nobody can tell."""
    said = text(device, name).lower()
    if not said or said.startswith("in "):
        raise ValueError(said or "nothing")
    return "none" if said == "operational" else said


def watts(device: Path, name: str) -> float:
    """Power that is told in thousandths of a watt."""
    return int(text(device, name)) / 1000


DEVICE: dict[str, tuple[str, Ask]] = {
    "name": says("device_type"),
    "card-firmware": says("cpucp_ver"),
    "boot-firmware": says("preboot_btl_ver"),
    "recovery": of(recovery, "status"),
    "resets": ("hard_reset_cnt", lambda device: int(text(device, "hard_reset_cnt"))),
    "power.limit-watts": of(watts, "max_power"),
}


def everything(root: Path) -> Iterator[dict[str, Any]]:
    """All readings, as they come; `error` where habanalabs is not loaded."""
    if not (root / "sys/module/habanalabs").is_dir():
        yield {"error": "DriverNotLoaded: there is no /sys/module/habanalabs"}
        return
    devices = sorted({link.resolve() for link in (root / "sys/class/accel").glob("accel*/device") if text(link, "vendor") == VENDOR})
    yield from one_by_one(module_version(root, "habanalabs"), devices, partial(taken, IDENTITY | LINK | DEVICE))


def main(arguments: Sequence[str]) -> int:
    """Print what was read below the folder that is named; the exit code is 0 whatever it was."""
    for part in everything(Path(arguments[0] if arguments else "/")):
        print(json.dumps(part), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
