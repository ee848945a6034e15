"""What the kernel's amdgpu shows of machines with AMD's accelerators, as files below a root: eight MI300X as delivered, and faults in them.

Names and forms of the files are the kernel's (docs/accelerators.md, "What amdgpu tells"). Where the values are from, all read 2026-11-26:

* addresses of eight MI300X: `amd-smi xgmi` in https://github.com/ROCm/amdsmi/blob/amd-mainline/CHANGELOG.md
* nodes 2 to 9 of KFD, all reached over XGMI in one hop, 206,141,652,992 bytes of memory of which 297,623,552 are in use: `rocm-smi` in
  https://github.com/modelscope/ms-swift/blob/main/docs/source_en/BestPractices/AMD-support.md
* 750 W, slowed down from 100 degrees on, memory from 95, PCI Express 5 x16, device 74a1: `amd-smi static` in
  https://instinct.docs.amd.com/projects/virt-drv/en/latest/
* the names in a node's properties: an MI325X's in https://github.com/torvalds/linux/blob/master/drivers/gpu/drm/amd/amdkfd/kfd_topology.c
* the blocks that are watched: https://github.com/ROCm/rocm-systems/issues/11468, https://github.com/ROCm/omnistat/pull/158
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from accelerator_profiles import HERE, compile_library

KERNEL = "6.12.117+deb13-amd64"
ADDRESSES = tuple(f"0000:{bus}:00.0" for bus in ("05", "26", "46", "65", "85", "a6", "c6", "e5"))
FIRST_NODE = 2
HIVE = 11638818706288400384
XGMI, PCIE = 11, 2

MI300X: Mapping[str, str | bytes] = {
    "vendor": "0x1002",
    "device": "0x74a1",
    "class": "0x120000",
    "config": b"\x02\x10\xa1\x74" + bytes(60),
    "current_link_speed": "32.0 GT/s PCIe",
    "max_link_speed": "32.0 GT/s PCIe",
    "current_link_width": "16",
    "max_link_width": "16",
    "pcie_replay_count": "0",
    "product_name": "AMD Instinct MI300X OAM",
    "serial_number": "692251001124",
    "unique_id": "8c2bd1b6e2f3a4d5",
    "vbios_version": "113-M3000100-102",
    "mem_info_vram_total": "206141652992",
    "mem_info_vram_used": "297623552",
    "ras/features": "feature mask: 0x3fff",
    **{f"ras/{block}_err_count": "ue: 0\nce: 0\nde: 0" for block in ("umc", "sdma", "gfx", "mmhub", "xgmi_wafl")},
    "ras/gpu_vram_bad_pages": "",
    "hwmon/hwmon3/name": "amdgpu",
    "hwmon/hwmon3/temp2_label": "junction",
    "hwmon/hwmon3/temp2_input": "43000",
    "hwmon/hwmon3/temp2_crit": "100000",
    "hwmon/hwmon3/temp3_label": "mem",
    "hwmon/hwmon3/temp3_input": "36000",
    "hwmon/hwmon3/temp3_crit": "95000",
    "hwmon/hwmon3/power1_input": "155000000",
    "hwmon/hwmon3/power1_cap": "750000000",
    "hwmon/hwmon3/power1_cap_default": "750000000",
}
"""The device's folder; a value may be bytes where the kernel gives no text."""


def lay(root: Path, addresses: Sequence[str] = ADDRESSES, *, apart: Sequence[str] = (), kmsg: str = "") -> Path:
    """A machine with one MI300X at each address; those `apart` are in no hive with the others."""
    write(root, {"proc/sys/kernel/osrelease": KERNEL, "dev/kmsg": kmsg})
    (root / "sys/module/amdgpu").mkdir(parents=True)
    open_to_all(root, "dev/kfd")
    for number in range(FIRST_NODE):
        node(root, number, "cpu_cores_count 48\nsimd_count 0\nvendor_id 0\nlocation_id 0\ndomain 0", gpu=0)
    for index, address in enumerate(addresses):
        folder = device_folder(root, address)
        write(folder.parent, {"vendor": "0x1022", "class": "0x060400", "current_link_speed": "32.0 GT/s PCIe"})
        write(folder, MI300X)
        bind(root, address)
        (folder / f"drm/renderD{128 + index}").mkdir(parents=True)
        open_to_all(root, f"dev/dri/renderD{128 + index}")
        location = int(address[5:7], 16) << 8
        said = f"cpu_cores_count 0\nsimd_count 1216\ngfx_target_version 90402\nvendor_id 4098\ndevice_id 29857\nlocation_id {location}"
        said += f"\ndomain 0\nhive_id {0 if address in apart else HIVE}\nnum_xcc 8\nunique_id {9895604649984 + index}"
        others = [] if address in apart else [other for other in addresses if other != address and other not in apart]
        node(root, FIRST_NODE + index, said, gpu=1000 + index, reached=[FIRST_NODE + addresses.index(other) for other in others])
    return root


def open_to_all(root: Path, path: str) -> None:
    """A file of /dev; to give it to the group `render` takes root."""
    write(root, {path: ""})
    (root / path).chmod(0o666)


def device_folder(root: Path, address: str) -> Path:
    """Where the kernel keeps a device: below the root port that it hangs on."""
    return root / "sys/devices" / f"pci0000:{address[5:7]}" / f"0000:{address[5:7]}:01.1" / address


def bind(root: Path, address: str) -> None:
    """The links by which a device is found: all of the bus, and those that amdgpu drives."""
    for folder in ("sys/bus/pci/devices", "sys/bus/pci/drivers/amdgpu"):
        link = root / folder / address
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(device_folder(root, address), link.parent))


def node_folder(root: Path, address: str) -> Path:
    """The device's node in KFD's topology."""
    return root / "sys/class/kfd/kfd/topology/nodes" / str(FIRST_NODE + ADDRESSES.index(address))


def node(root: Path, number: int, properties: str, *, gpu: int, reached: Sequence[int] = ()) -> None:
    """A node of KFD's topology: one link to its processor over PCI Express, one to each node that it reaches over Infinity Fabric."""
    links = [(PCIE, 0)] if gpu else []
    links += [(XGMI, other) for other in reached]
    files = {"properties": properties, "gpu_id": str(gpu)}
    for index, (kind, other) in enumerate(links):
        files[f"io_links/{index}/properties"] = f"type {kind}\nversion_major 0\nnode_from {number}\nnode_to {other}\nweight 15"
    write(root / "sys/class/kfd/kfd/topology/nodes" / str(number), files)


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Files with a newline at the end of each text, as the kernel gives them."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else f"{content}\n".encode() if content else b"")


def unplug(root: Path, address: str) -> None:
    """Take a device away as a machine that has it no more: bus, driver and KFD do not know it."""
    for folder in ("sys/bus/pci/devices", "sys/bus/pci/drivers/amdgpu"):
        (root / folder / address).unlink()
    shutil.rmtree(node_folder(root, address))


def runtime(folder: Path, profile: Mapping[str, str]) -> dict[str, str]:
    """Compile the stand-in for ROCm's runtime and write its profile; what the environment needs for programs to meet it."""
    library = folder / "libhsa-runtime64.so.1"
    if not library.exists():
        compile_library(library, HERE / "stand_ins/hsa.c")
    (folder / "hsa").write_text("".join(f"{name} {value}\n" for name, value in profile.items()))
    return {"STAND_IN_HSA": str(folder / "hsa"), "LD_LIBRARY_PATH": str(folder)}
