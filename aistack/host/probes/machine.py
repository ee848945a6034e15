"""What the kernel says of the machine: version, processor, memory, modules, disks, PCI devices."""

from __future__ import annotations

import os
import re
from pathlib import Path

from aistack.facts.readings import FileSystem, Modules, PciDevice, Processor, Reading
from aistack.host.probes.reading import inside, read

KEEPERS = re.compile(r"vfio|pci-stub|pciback")
"""Drivers that keep a device for virtual machines (vfio-pci, nvgrace_gpu_vfio_pci, xen-pciback)."""


def start(root: Path) -> Reading[str]:
    """How this start began, as aistack-start.service found it: `first`, `power-on` (switched off in order before) or `restart`."""
    return read("/run/aistack/start", lambda: _line(root, "/run/aistack/start"))


def kernel(root: Path) -> Reading[str]:
    """The running kernel's version string."""
    return read("/proc/sys/kernel/osrelease", lambda: _line(root, "/proc/sys/kernel/osrelease"))


def architecture(root: Path) -> Reading[str]:
    """The machine's architecture in the kernel's words (`x86_64`, `aarch64`); kernels before 6.1 say it to programs alone."""
    told = read("/proc/sys/kernel/arch", lambda: _line(root, "/proc/sys/kernel/arch"))
    return Reading(source="uname", value=os.uname().machine) if told.value is None and root == Path("/") else told


def command_line(root: Path) -> Reading[str]:
    """The kernel command line."""
    return read("/proc/cmdline", lambda: _line(root, "/proc/cmdline"))


def processor(root: Path) -> Reading[Processor]:
    """Model, count and the features that every processor has."""
    return read("/proc/cpuinfo", lambda: _processor(inside(root, "/proc/cpuinfo").read_text()))


def memory_mib(root: Path) -> Reading[int]:
    """Memory that the kernel can give out, in MiB; a little less than what the machine was given."""
    return read("/proc/meminfo", lambda: _memory(inside(root, "/proc/meminfo").read_text()))


def modules(root: Path, version: str | None) -> Reading[Modules]:
    """The modules in use, and those that lie on disk for the kernel `version`."""
    return read("/sys/module, modules.dep, modules.builtin", lambda: _modules(root, version))


def file_system(root: Path, path: str) -> Reading[FileSystem]:
    """Space of the file system that holds `path`."""
    return read(f"statvfs {path}", lambda: _file_system(root, path))


def pci(root: Path) -> Reading[tuple[PciDevice, ...]]:
    """Every device in PCI configuration space, by address; what is here was seen without any driver's help."""
    return read("/sys/bus/pci/devices", lambda: _pci(inside(root, "/sys/bus/pci/devices")))


def _line(root: Path, path: str) -> str:
    text = inside(root, path).read_text().strip()
    if not text:
        raise ValueError(f"{path} is empty")
    return text


def _processor(text: str) -> Processor:
    blocks = [dict(re.findall(r"^(.*?)[ \t]*:[ \t]*(.*)$", block, re.MULTILINE)) for block in text.split("\n\n") if block.strip()]
    flags = [frozenset((block.get("flags") or block["Features"]).split()) for block in blocks if "processor" in block]
    if not flags:
        raise ValueError("no processor is described")
    return Processor(model=blocks[0].get("model name", "unknown"), count=len(flags), features=frozenset.intersection(*flags))


def _memory(text: str) -> int:
    found = re.search(r"^MemTotal:\s+(\d+) kB$", text, re.MULTILINE)
    if found is None:
        raise ValueError("no MemTotal line")
    return int(found.group(1)) // 1024


def _modules(root: Path, version: str | None) -> Modules:
    if version is None:
        raise ValueError("which kernel runs is not known")
    folder = inside(root, f"/usr/lib/modules/{version}")
    present = {entry.name for entry in inside(root, "/sys/module").iterdir()}
    if not folder.is_dir():  # a kernel whose modules came from elsewhere, or that has none
        return Modules(present=frozenset(present), loadable=frozenset())
    present |= {_module_name(line) for line in (folder / "modules.builtin").read_text().split()}
    loadable = {_module_name(line.partition(":")[0]) for line in (folder / "modules.dep").read_text().splitlines() if ":" in line}
    return Modules(present=frozenset(present), loadable=frozenset(loadable))


def _module_name(path: str) -> str:
    return path.rsplit("/", 1)[-1].partition(".ko")[0].replace("-", "_")


def _file_system(root: Path, path: str) -> FileSystem:
    space = os.statvfs(inside(root, path))
    return FileSystem(path=path, size_mib=space.f_blocks * space.f_frsize // 2**20, free_mib=space.f_bavail * space.f_frsize // 2**20)


def _pci(folder: Path) -> tuple[PciDevice, ...]:
    return tuple(
        PciDevice(
            address=entry.name,
            vendor=_hexadecimal(entry / "vendor"),
            device=_hexadecimal(entry / "device"),
            device_class=_hexadecimal(entry / "class"),
            lent=(entry / "physfn").exists() or bool(KEEPERS.search((entry / "driver").resolve().name)),
        )
        for entry in sorted(folder.iterdir())
    )


def _hexadecimal(path: Path) -> str:
    text = path.read_text().strip().removeprefix("0x")
    int(text, 16)
    return text
