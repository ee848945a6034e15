"""What a snapshot says of the driver's kernel modules and of what they are compiled for, as components that data rules ask for.

`driver-sources`  `vendor`: NVIDIA's sources as released; only assumed so where a distribution goes on to patch a branch's last release
`gcc`, `clang`    the compiler on the machine
`kernel-flavor`, `kernel-realtime`   also where only the kernel's name tells
`kernel-preemptible`   `true` where the kernel's own code may be preempted; only assumed so where nothing tells
`debian-kernel`, `ubuntu-kernel`   their number of a kernel, `6.8.0.44` of `6.8.0-44-generic`: upstream's release is not in such a name
`amdgpu-release`  the ROCm release that amdgpu's out-of-tree modules are from; only where it is not known, `amdgpu-dkms`: their version
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from aistack.compose.rules.situation import Path, Value
from aistack.facts.catalog import Catalog
from aistack.facts.snapshot import Snapshot

_DEBIAN = "debian|ubuntu|kubuntu|linuxmint|pop|zorin|elementary|neon|kde-neon"

PATCHING = re.compile(rf"({_DEBIAN})\b")
"""Distributions whose archives test their driver packages against their own kernels, and patch them where NVIDIA no longer does."""

LEGACY = frozenset({"340", "390", "470"})
"""Branches that NVIDIA ended and that distributions go on to patch, since nothing newer drives what they drive."""

CARRYING = re.compile(
    rf"({_DEBIAN}|almalinux|arch|artix|cachyos|centos|endeavouros|fedora|gentoo|manjaro|nixos|opensuse|rhel|rocky|tumbleweed|void)\b"
)
"""Distributions for which packages of those branches are made that carry patches, by themselves or by RPM Fusion, ELRepo and the AUR."""

PREEMPTIBLE = re.compile(r"(arch|artix|cachyos|debian|endeavouros|fedora|manjaro|nixos|opensuse-tumbleweed|tumbleweed|void)\b")
"""Distributions that leave preemption in their kernels for x86-64, as it is where nobody changes it; it is switched on at boot."""

PREEMPTIBLE_NAME = re.compile(r"\b(xanmod|zen|liquorix|cachyos|arch|fc\d\d)", re.IGNORECASE)
"""The same by what is in the name of a kernel."""

MAINLINE = re.compile(r"-\d{6}(rc\d+)?-generic$")
"""The end of a kernel's name that comes from Ubuntu's builds of mainline kernels: `6.10.0-061000-generic`."""

REALTIME = re.compile(r"(^|[-.+])(preempt-)?rt\d*([-.]|$)|realtime", re.IGNORECASE)


def build_values(snapshot: Snapshot, catalog: Catalog, values: Mapping[str, Value]) -> dict[str, Value]:
    """The components, beside `values`: those that were already found."""
    found = {
        "driver-sources": _driver_sources(snapshot, catalog, values.get("driver")),
        "gcc": _compiler(snapshot, "gcc"),
        "clang": _compiler(snapshot, "clang"),
        "kernel-flavor": _flavor(snapshot),
        "kernel-realtime": values.get("kernel-realtime") or _realtime(snapshot),
        "kernel-preemptible": _preemptible(snapshot, values.get("arch")),
        **_numbered_kernel(snapshot),
        **_amdgpu(snapshot, values),
    }
    return {name: value for name, value in found.items() if value is not None}


def is_compiled(snapshot: Snapshot) -> bool | None:
    """Whether the modules are compiled on the machine, or for it by a container; None where it is not said."""
    install, flavor = snapshot.driver.module.install, snapshot.driver.module.flavor
    if install is None:
        return {"dkms": True, "in-tree": False}.get(flavor or "")
    return install in ("dkms", "akmods", "runfile", "driver-container")


def _driver_sources(snapshot: Snapshot, catalog: Catalog, driver: Value | None) -> Value | None:
    if driver is None or driver.text is None:
        return None
    branch = catalog.branches.get(driver.text.partition(".")[0])
    os = snapshot.platform.os or ""
    mended = branch is not None and (branch.newest in (driver.text, None) or (os.startswith("debian") and driver.text in branch.debian))
    pristine = snapshot.driver.module.install in ("runfile", "driver-container") or _mainline(snapshot)
    carried = PATCHING if branch is None or branch.id not in LEGACY else CARRYING
    patched = carried.match(os) is not None and not pristine and (mended or driver.series)
    told = f"the driver package of {snapshot.platform.os} may carry patches that NVIDIA's sources lack" if patched else ""
    return Value(text="vendor", path=driver.path, because=told, assumed=patched)


def _mainline(snapshot: Snapshot) -> bool:
    return snapshot.platform.kernel_flavor == "mainline" or MAINLINE.search(snapshot.platform.kernel or "") is not None


def _compiler(snapshot: Snapshot, name: str) -> Value | None:
    found = re.fullmatch(rf"{name}[- ]?(\d+(?:\.\d+)*)", snapshot.platform.compiler or "")
    return Value(text=found[1], path=("platform", "compiler")) if found else None


def _flavor(snapshot: Snapshot) -> Value | None:
    platform = snapshot.platform
    if platform.kernel_flavor is not None:
        return Value(text=platform.kernel_flavor, path=("platform", "kernel_flavor"))
    if not (platform.os or "").startswith("ubuntu"):
        return None
    found = "mainline" if _mainline(snapshot) else None
    if found is None and (named := re.fullmatch(r"[\d.]+-\d+-([a-z][a-z0-9-]*)", platform.kernel or "")):
        found = named[1]
    return Value(text=found, path=("platform", "kernel")) if found else None


def _realtime(snapshot: Snapshot) -> Value | None:
    signs: tuple[tuple[str | None, Path], ...] = (
        (snapshot.platform.kernel_flavor, ("platform", "kernel_flavor")),
        (snapshot.platform.kernel, ("platform", "kernel")),
    )
    return next((Value(text="true", path=path) for text, path in signs if REALTIME.search(text or "")), None)


def _preemptible(snapshot: Snapshot, arch: Value | None) -> Value | None:
    platform, options = snapshot.platform, snapshot.platform.kernel_config or {}
    if platform.kernel is None or (arch is not None and arch.text != "amd64"):
        return None
    asked = next((name for name in ("CONFIG_PREEMPT_RCU", "CONFIG_PREEMPT_DYNAMIC", "CONFIG_PREEMPT") if options.get(name) == "y"), None)
    if asked is not None or "CONFIG_PREEMPT_RCU" in options:
        return Value(text=str(asked is not None).lower(), path=("platform", "kernel_config", asked or "CONFIG_PREEMPT_RCU"))
    known = PREEMPTIBLE.match(platform.os or "") or PREEMPTIBLE_NAME.search(platform.kernel)
    because = "" if known else "kernels for x86-64 are preemptible unless they are built otherwise"
    return Value(text="true", path=("platform", "kernel"), assumed=known is None, because=because)


def _numbered_kernel(snapshot: Snapshot) -> dict[str, Value]:
    found = re.fullmatch(r"(\d+\.\d+\.\d+)-(\d{1,4})(?:-[a-z0-9-]+)?", snapshot.platform.kernel or "")
    os = snapshot.platform.os or ""
    if found is None or not PATCHING.match(os):
        return {}
    name = "debian-kernel" if os.startswith("debian") else "ubuntu-kernel"
    return {name: Value(text=f"{found[1]}.{found[2]}", path=("platform", "kernel"))}


def _amdgpu(snapshot: Snapshot, values: Mapping[str, Value]) -> dict[str, Value]:
    vendor, module, toolkit = values.get("vendor"), snapshot.driver.module, snapshot.toolkit
    if vendor is None or vendor.text != "amd" or "dkms" not in (module.flavor, module.install):
        return {}
    at: Path = ("driver", "module", "version")
    version, release = _dkms_version(module.version)
    told: tuple[tuple[str, str | None, Path], ...] = (
        ("amdgpu-release", release, at),
        ("amdgpu-release", toolkit.kmd, ("toolkit", "kmd")),
        ("amdgpu-dkms", version if (version or "").startswith("30.") else None, at),
        ("amdgpu-release", toolkit.rocm, ("toolkit", "rocm")),
        ("amdgpu-dkms", version, at),
    )
    name, text, path = next((found for found in told if found[1] is not None), ("", None, at))
    return {name: Value(text=text, path=path, series=name == "amdgpu-release" and text.count(".") < 2)} if text else {}


def _dkms_version(text: str | None) -> tuple[str | None, str | None]:
    """A version of amdgpu-dkms, and the ROCm release that it is of, where it tells: `6.12.12.60401` is of 6.4.1, `4.0-23` of 4.0."""
    found = re.match(r"(\d+\.\d+(?:\.\d+)?)(?:\.(\d)(\d\d)(\d\d)\b)?", text or "")
    if found is None:
        return None, None
    if int(found[1].partition(".")[0]) < 5:  # up to 4.3 the modules had the number of their release
        return found[1], found[1]
    return found[1], f"{found[2]}.{int(found[3])}.{int(found[4])}" if found[2] else None
