"""The files of /dev that programs open for AMD's accelerators: udev makes them, and lets the groups `render` and `video` in."""

from __future__ import annotations

import stat
from pathlib import Path

from aistack.facts.readings import Reading
from aistack.facts.system_readings import DeviceNode
from aistack.host.probes.reading import inside, read

KFD = "/dev/kfd"
DRIVER = "/sys/bus/pci/drivers/amdgpu"


def amd_nodes(root: Path) -> Reading[tuple[DeviceNode, ...]]:
    """KFD's file, which all of them share, and each device's own for computing, as amdgpu names it; those that are missing too."""
    return read(f"{KFD}, {DRIVER}/*/drm", lambda: _amd_nodes(root))


def _amd_nodes(root: Path) -> tuple[DeviceNode, ...]:
    own = sorted(f"/dev/dri/{folder.name}" for folder in inside(root, DRIVER).glob("*:*:*.*/drm/renderD*"))
    return tuple(_node(root, path) for path in (KFD, *own))


def _node(root: Path, path: str) -> DeviceNode:
    try:
        found = inside(root, path).stat()
    except FileNotFoundError:
        return DeviceNode(path=path)
    return DeviceNode(path=path, group=found.st_gid, mode=stat.S_IMODE(found.st_mode))
