"""An image as a snapshot: what its files say that it has, in the words in which machines and reports are judged (facts/snapshot.py).

What files cannot say is left out, which means unknown: the firmware's settings of a machine, its accelerators unless a lock promises them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from packaging.utils import canonicalize_name

from aistack.compose.checks import driver
from aistack.compose.checks.claims import kept_away
from aistack.compose.checks.cmdline import arguments
from aistack.compose.checks.packages import database, installed
from aistack.compose.checks.tree import Tree, boots, newest_first, setting, trees
from aistack.compose.lock import Lock
from aistack.facts.binary import DRIVER_VERSION, GSP_FIRMWARE
from aistack.facts.catalog import Catalog, Component, Framework
from aistack.facts.files import APP
from aistack.facts.filesystem import Filesystem
from aistack.facts.kernel_files import Module, module_name
from aistack.facts.version import in_numbers

SCHEMA = "aistack/snapshot/v1"
TORCH_VERSION = re.compile(r".*/(?:site|dist)-packages/torch/version\.py")
DISTRIBUTION = re.compile(r".*/(?:site|dist)-packages/(?P<name>[^/]+)-(?P<version>[^/-]+)\.(?:dist|egg)-info")
COMPAT = re.compile(r"/usr/local/cuda[^/]*/compat/libcuda\.so\.(" + DRIVER_VERSION.pattern + ")")
SETTINGS = ("DRM", "DRM_NOUVEAU", "NOVA_CORE", "PREEMPT_RT", "MODULE_SIG", "MODULE_SIG_FORCE")
"""The kernel's settings that rules ask for."""
RUNTIME = {"podman": "podman", "container_toolkit": "nvidia-container-toolkit", "dcgm": "datacenter-gpu-manager"}
"""Parts of the container runtime, and the packages that they come in."""
MANAGER = re.compile(r"nvidia-fabric-?manager(-\d+)?")


def wanted(path: str) -> bool:
    """The files whose contents are read for a snapshot alone."""
    return TORCH_VERSION.fullmatch(path) is not None


def snapshot(
    filesystem: Filesystem,
    catalog: Catalog,
    lock: Lock | None,
    *,
    bootable: bool,
    arch: str,
    environment: Mapping[str, str],
    reference: str,
) -> dict[str, Any]:
    """The document; `environment` is what the image sets for its programs, `reference` its name in a registry, empty where it has none."""
    packages = {name: _upstream(version) for name, version, _ in installed(database(filesystem) or "")}
    found: dict[str, Any] = {"schema": SCHEMA}
    if bootable or boots(filesystem):
        if lock and lock.accelerator and lock.accelerator.vendor != "cpu":
            found["accelerator"] = {"product": lock.accelerator.product, "count": lock.accelerator.count}
        kernel = next(iter(kernels(filesystem)), None)
        found["platform"] = {**_platform(filesystem, packages, kernel), "arch": arch}
        found |= _driver(filesystem, packages, kernel)
        found["runtime"] = {part: packages[name] for part, name in RUNTIME.items() if name in packages}
    else:
        found["image"] = {"arch": arch, **_container(filesystem, environment, reference)}
    found["frameworks"] = {**_packaged(packages, catalog), **_programs(filesystem, catalog)}
    return {name: block for name, block in found.items() if block}


def kernels(filesystem: Filesystem) -> tuple[Tree, ...]:
    """The kernels, newest first; a snapshot is of the first."""
    return newest_first(trees(filesystem))


def _upstream(version: str) -> str:
    """`5.4.2` of `1:5.4.2+ds1-2+b1`."""
    return re.split(r"[+~](?:dfsg|ds)", version.split(":", 1)[-1].rsplit("-", 1)[0])[0]


def _platform(filesystem: Filesystem, packages: Mapping[str, str], tree: Tree | None) -> dict[str, Any]:
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', filesystem.text("/etc/os-release") or "", re.MULTILINE))
    found: dict[str, Any] = {}
    if "ID" in release and "VERSION_ID" in release:
        found["os"] = f"{release['ID']}-{release['VERSION_ID']}"
    if "libc6" in packages:
        found["glibc"] = packages["libc6"]
    if tree is None:
        return found
    found["kernel"] = tree.version
    found["cmdline"] = " ".join(arguments(filesystem))
    found["blacklist"] = sorted(kept_away(filesystem))
    config = {f"CONFIG_{name}": setting(filesystem, tree.version, f"CONFIG_{name}") for name in SETTINGS}
    found["kernel_config"] = {name: value or "n" for name, value in config.items() if value is not None}
    compiler = re.search(r"gcc.* (\d+\.\d+)", setting(filesystem, tree.version, "CONFIG_CC_VERSION_TEXT") or "")
    if compiler:
        found["kernel_compiler"] = f"gcc-{compiler[1]}"
    others = [module for module in tree.modules.values() if not module.in_tree]
    if others and not any(module.signature for module in others):
        found["module_signature"] = "none"
    return {name: value for name, value in found.items() if value not in ("", {})}


def _driver(filesystem: Filesystem, packages: Mapping[str, str], tree: Tree | None) -> dict[str, Any]:
    """NVIDIA's driver with its fabric manager, or the kernel's own for AMD's accelerators."""
    modules = (driver.of_nvidia(tree.modules) if tree else {}) or driver.modules(filesystem)
    named = (match for path in filesystem.binaries if "/libcuda.so." in path and (match := driver.LIBRARY.fullmatch(path)))
    libraries = {match["version"] for match in named if not driver.FOR_OLDER.fullmatch(match[0])}
    if not modules and not libraries:
        own = next((module for path, module in (tree.modules if tree else {}).items() if module_name(path) == "amdgpu"), None)
        return {"driver": {"module": {"name": "amdgpu", "flavor": "in-tree"}}} if own else {}
    found: dict[str, Any] = {"version": max(libraries, key=in_numbers)} if libraries else {}
    if modules:
        module = next((one for one in modules.values() if one.name == "nvidia"), next(iter(modules.values())))
        found["module"] = _module(module)
        firmware = {match["version"] for path in filesystem.entries if (match := GSP_FIRMWARE.fullmatch(path))}
        found["gsp_firmware"] = module.version if module.version in firmware else max(firmware, default="absent", key=in_numbers)
    images = [filesystem.initramfs[path] for path in tree.images if path in filesystem.initramfs] if tree else []
    if inside := {module.version for image in images for module in driver.modules(image).values()}:
        found["initramfs_version"] = max(inside, key=in_numbers)
    manager = next((version for name, version in packages.items() if MANAGER.fullmatch(name)), None)
    fabric = {"manager": {"version": manager, "state": "installed"} if manager else {"state": "absent"}} if packages else {}
    return {"driver": found, "fabric": fabric}


def _module(module: Module) -> dict[str, str]:
    flavor = "proprietary" if module.licence == "NVIDIA" else "open"
    return {"version": module.version, "flavor": flavor, "built_for": module.vermagic.partition(" ")[0]}


def _container(filesystem: Filesystem, environment: Mapping[str, str], reference: str) -> dict[str, str]:
    compat = max((match[1] for path in filesystem.entries if (match := COMPAT.fullmatch(path))), default="", key=in_numbers)
    words = {
        "ref": reference,
        "cuda": environment.get("CUDA_VERSION", ""),
        "requires": environment.get("NVIDIA_REQUIRE_CUDA", ""),
        "cuda_compat": compat,
    }
    return {name: word for name, word in words.items() if word}


def _packaged(packages: Mapping[str, str], catalog: Catalog) -> dict[str, Any]:
    """The frameworks that come in packages of the OS."""
    delivered = {one.delivery.packages[0]: one.id for one in catalog.frameworks.values() if one.delivery and not one.delivery.wheels}
    return {delivered[name]: {"version": version} for name, version in packages.items() if name in delivered}


def _programs(filesystem: Filesystem, catalog: Catalog) -> dict[str, Any]:
    """The Python distributions that the catalog knows, an app's own before those of its OS; with what they were compiled for."""
    found: dict[str, Any] = {}
    for path in sorted(filesystem.entries, key=lambda path: (not path.startswith(APP + "/"), path)):
        match = DISTRIBUTION.fullmatch(path)
        name = str(canonicalize_name(match["name"])) if match else ""
        owner = catalog.component(name) or catalog.framework(name)
        if match and name not in found and (owner or name in catalog.wheels):
            folder = path.rpartition("/")[0]
            said = {"version": match["version"].partition("+")[0], "build": match["version"].partition("+")[2]}
            said |= _build(filesystem.text(f"{folder}/torch/version.py") or "") if name == "torch" else {}
            architectures = sorted(set(_architectures(filesystem, folder, owner)))
            found[name] = {key: value for key, value in {**said, "arch_list": architectures}.items() if value}
    return found


def _build(text: str) -> dict[str, str]:
    """What torch's own file says of the CUDA or the ROCm that it was built with."""
    for word, name in (("cuda", "cu"), ("hip", "rocm")):
        if match := re.search(rf"^{word}\b.*= *'(\d+)\.(\d+)", text, re.MULTILINE):
            return {"build": f"cu{match[1]}{match[2]}" if name == "cu" else f"rocm{match[1]}.{match[2]}"}
    return {}


def _architectures(filesystem: Filesystem, folder: str, owner: Component | Framework | None) -> Iterator[str]:
    for path, code in filesystem.code.items():
        if owner and owner.binary and fnmatchcase(path, f"{folder}/{owner.binary}"):
            yield from code.usual
