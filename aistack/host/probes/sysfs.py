"""What the kernel tells of a device on PCI in the files of its folder, each as one reading; for probes that are programs of their own."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

MIB = 1 << 20
UNSUPPORTED = "not supported"
GENERATIONS = {"2.5": 1, "5.0": 2, "8.0": 3, "16.0": 4, "32.0": 5, "64.0": 6}
"""By the transfers a second of one lane, in thousands of millions: the generation of PCI Express."""

REFUSED = os.strerror(errno.EPERM)
"""What newer kernels say of the sensors of an AMD device that sleeps (drivers/gpu/drm/amd/pm/amdgpu_pm.c, pm_runtime_get_if_active)."""

Ask = Callable[[Path], Any]


def text(device: Path, name: str) -> str:
    """What a file of the device holds."""
    return (device / name).read_text().strip()


def board(device: Path) -> Path:
    """The device, or the outermost of the bridges on its own board, whose link is the one to the machine."""
    folder = device.resolve()
    while (folder.parent / "vendor").is_file() and text(folder.parent, "vendor") == text(folder, "vendor"):
        folder = folder.parent
    return folder


def generation(device: Path, name: str) -> int:
    """The generation of a link at `32.0 GT/s PCIe`; a virtual function has no link of its own, and says `Unknown`."""
    said = text(board(device), name)
    if said.startswith("Unknown"):
        raise FileNotFoundError(name)
    return GENERATIONS[f"{float(said.split()[0]):.1f}"]


def lanes(device: Path, name: str) -> int:
    """The lanes of a link; none is the answer of a virtual function."""
    found = int(text(board(device), name))
    if not found:
        raise FileNotFoundError(name)
    return found


def says(name: str) -> tuple[str, Ask]:
    """The text of a file."""
    return name, lambda device: text(device, name)


def of(ask: Callable[..., Any], source: str, *arguments: str) -> tuple[str, Ask]:
    """What a function finds in the device's folder by these arguments, or by the name of the file."""
    return source, lambda device: ask(device, *(arguments or (source,)))


IDENTITY: dict[str, tuple[str, Ask]] = {
    "pci.address": ("the folder's name", lambda device: device.name),
    "pci.id": ("vendor, device", lambda device: ":".join(text(device, part).removeprefix("0x") for part in ("vendor", "device"))),
}
LINK: dict[str, tuple[str, Ask]] = {
    "pcie.generation": of(generation, "current_link_speed"),
    "pcie.most-generation": of(generation, "max_link_speed"),
    "pcie.lanes": of(lanes, "current_link_width"),
    "pcie.most-lanes": of(lanes, "max_link_width"),
}
"""The link to the machine."""


def reading(source: str, ask: Callable[[], Any]) -> dict[str, Any]:
    """One reading as JSON; a file that the driver does not have for this device, or has nothing to say in, is `not supported`."""
    try:
        return {"source": source, "value": ask()}
    except FileNotFoundError:
        return {"source": source, "error": UNSUPPORTED}
    except OSError as error:
        return {"source": source, "error": UNSUPPORTED if error.errno == errno.EOPNOTSUPP else error.strerror or str(error)}
    except (ValueError, KeyError, IndexError) as error:
        return {"source": source, "error": f"not understood: {error}"}


def taken(asks: Mapping[str, tuple[str, Ask]], device: Path) -> dict[str, Any]:
    """Every reading of a device; one that sleeps (runtime power management) is not woken, and what it then refuses is `not supported`."""
    found = {name: reading(source, partial(ask, device)) for name, (source, ask) in asks.items()}
    if reading("power", lambda: text(device, "power/runtime_status")).get("value") == "suspended":
        found |= {name: {**one, "error": UNSUPPORTED} for name, one in found.items() if one.get("error") == REFUSED}
    return found


def one_by_one(version: dict[str, Any], devices: Sequence[Path], about: Callable[[Path], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The driver's version, then where each device is and every reading of it, so that what was read stands there when one hangs."""
    yield {"driver": {"version": version}, "devices": [], "count": len(devices)}
    for device in devices:
        yield {"asking": device.name}
        yield {"devices": [about(device)]}


def module_version(root: Path, module: str) -> dict[str, Any]:
    """The version of a module that a vendor publishes; the kernel's own have none, and are of the kernel's."""
    own = f"sys/module/{module}/version"
    source = own if (root / own).is_file() else "proc/sys/kernel/osrelease"
    return reading(source, lambda: text(root, source))
