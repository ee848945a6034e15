"""Rules about the driver, its kernel modules and the kernel: what fires, its nearest neighbour that works, and what is not said."""

from __future__ import annotations

import pytest

from aistack.compose.judge_snapshot import judge_snapshot
from aistack.diagnostics import Diagnostic, Severity
from aistack.facts.catalog import Catalog
from aistack.facts.decode import decode
from aistack.facts.document import parse, places
from aistack.facts.kernel_name import same_kernel, series
from aistack.facts.snapshot import Snapshot

TODAY = "2026-11-26"
OURS = ("MO", "DR", "AM", "KR", "NV1", "NV2")
ERROR, WARNING, UNKNOWN = Severity.ERROR, Severity.WARNING, Severity.UNKNOWN


def judged(text: str, catalog: Catalog) -> tuple[Diagnostic, ...]:
    root, problems = parse("schema: aistack/snapshot/v1\n" + text, "snapshot.yaml")
    assert root is not None and problems == ()
    snapshot, more = decode(Snapshot, root)
    assert snapshot is not None, more
    return judge_snapshot(snapshot, catalog, places(root), TODAY)


def ours(text: str, catalog: Catalog) -> dict[str, Severity]:
    """What the rules of this file's subject say, by their codes; that a branch has ended is asked of it alone."""
    found = {one.rule: one.severity for one in judged(text, catalog) if one.rule.startswith(OURS)}
    return {code: severity for code, severity in found.items() if code not in ("DR101", "NV101") or "eol" in text}


def driver(version: str, module: str = "", rest: str = "") -> str:
    return f"driver: {{version: '{version}', module: {{{module}}}{', ' + rest if rest else ''}}}\n"


def platform(**keys: str) -> str:
    return "platform: {" + ", ".join(f"{name}: {value}" for name, value in keys.items()) + "}\n"


H100 = "accelerator: {product: nvidia/h100-sxm-80gb}\n"
L4 = "accelerator: {product: nvidia/l4}\n"
V100 = "accelerator: {product: nvidia/v100-32gb}\n"
AMD = "accelerator: {arch: gfx942}\n"
SIGNED = "{CONFIG_MODULE_SIG_FORCE: y}"

CASES = {
    # One version everywhere.
    "other modules": (driver("580.178.04", "version: 580.173.02"), {"MO101": ERROR}),
    "same modules": (driver("580.178.04", "version: 580.178.04"), {}),
    "as NVML shortens it": (driver("580.178", "version: 580.178.04"), {}),
    "only the branch is known": (driver("580", "version: 580.178.04"), {}),
    "another branch": (driver("580", "version: 570.211.01"), {"MO101": ERROR}),
    "a package's version": (driver("550.163.01-2", "version: 550.163.01"), {}),
    "modules not known": (driver("580.178.04"), {}),
    "modules of another vendor": (AMD + driver("7.0.2", "{name: amdgpu, version: 6.16.6}"[1:-1]), {}),
    "old initramfs": (driver("550.120", "version: '550.120'", "initramfs_version: 550.107.02"), {"MO102": ERROR}),
    "new initramfs": (driver("550.120", "version: '550.120'", "initramfs_version: '550.120'"), {}),
    "old initramfs, modules not known": (driver("580.95.05", "", "initramfs_version: 570.172.08"), {"MO102": ERROR}),
    # Compiled for the kernel.
    "built for the kernel before": (
        platform(os="ubuntu-22.04", kernel="6.8.0-60-generic") + driver("570.211.01", "built_for: 6.8.0-59-generic"),
        {"MO103": ERROR},
    ),
    "built for another flavor": (
        platform(os="ubuntu-24.04", kernel="6.8.0-60-lowlatency") + driver("570.211.01", "built_for: 6.8.0-60-generic"),
        {"MO103": ERROR},
    ),
    "built for it": (platform(kernel="6.8.0-60-generic") + driver("570.211.01", "built_for: 6.8.0-60-generic"), {}),
    "built for it, said shorter": (platform(kernel="6.8.0-60-generic") + driver("570.211.01", "built_for: 6.8.0-60"), {}),
    "only the series": (platform(kernel="'6.8'") + driver("570.211.01", "built_for: 6.8.0-60-generic"), {}),
    "another series": (platform(kernel="'6.11'") + driver("570.211.01", "built_for: 6.8.0-60-generic"), {"MO103": ERROR}),
    "an update of the point release": (
        platform(os="rhel-9.6", kernel="5.14.0-570.30.1.el9_6.x86_64") + driver("570.211.01", "built_for: 5.14.0-570.12.1.el9_6.x86_64"),
        {},
    ),
    "the next point release": (
        platform(os="rhel-9.6", kernel="5.14.0-570.30.1.el9_6.x86_64") + driver("570.211.01", "built_for: 5.14.0-503.11.1.el9_5.x86_64"),
        {"MO103": ERROR},
    ),
    "larger pages": (
        platform(os="rhel-9.6", kernel="5.14.0-570.12.1.el9_6.aarch64+64k")
        + driver("570.211.01", "built_for: 5.14.0-570.12.1.el9_6.aarch64"),
        {"MO103": ERROR},
    ),
    "an update of the service pack": (
        platform(os="sles-15.6", kernel="6.4.0-150600.23.50-default") + driver("570.211.01", "built_for: 6.4.0-150600.21-default"),
        {},
    ),
    "amdgpu for another kernel": (
        AMD + platform(kernel="6.8.0-60-generic") + "driver: {module: {name: amdgpu, flavor: dkms, built_for: 6.8.0-57-generic}}\n",
        {"MO103": ERROR},
    ),
    # Headers.
    "dkms without headers": (platform(kernel_headers="absent") + driver("570.211.01", "install: dkms"), {"MO104": ERROR}),
    "dkms with headers": (platform(kernel_headers="present") + driver("570.211.01", "install: dkms"), {}),
    "compiled already": (
        platform(kernel="6.8.0-60-generic", kernel_headers="absent") + driver("570.211.01", "install: dkms, built_for: 6.8.0-60-generic"),
        {},
    ),
    "precompiled without headers": (platform(kernel_headers="absent") + driver("570.211.01", "install: precompiled"), {}),
    "nobody says how": (platform(kernel_headers="absent") + driver("570.211.01"), {}),
    "headers of another kernel": (
        platform(kernel="6.8.0-60-generic", kernel_trees="[6.8.0-57-generic, 6.8.0-58-generic]") + driver("570.211.01", "install: akmods"),
        {"MO104": ERROR},
    ),
    "headers of this one too": (
        platform(kernel="6.8.0-60-generic", kernel_trees="[6.8.0-57-generic, 6.8.0-60-generic]") + driver("570.211.01", "install: dkms"),
        {},
    ),
    "no headers at all": (platform(kernel_trees="[]") + driver("570.211.01", "install: runfile"), {"MO104": ERROR}),
    "amdgpu-dkms without headers": (
        AMD + platform(kernel_headers="absent") + "driver: {module: {name: amdgpu, flavor: dkms}}\n",
        {"MO104": ERROR},
    ),
    # Precompiled.
    "not precompiled for it": (
        platform(os="ubuntu-22.04", kernel="5.15.0-140-generic")
        + driver("570.211.01", "install: precompiled", "precompiled_available_for: [5.15.0-138-generic, 5.15.0-139-generic]"),
        {"MO105": ERROR},
    ),
    "precompiled for it": (
        platform(os="ubuntu-22.04", kernel="5.15.0-139-generic")
        + driver("570.211.01", "install: precompiled", "precompiled_available_for: [5.15.0-138-generic, 5.15.0-139-generic]"),
        {},
    ),
    "not precompiled, but dkms": (
        platform(os="ubuntu-22.04", kernel="5.15.0-140-generic")
        + driver("570.211.01", "install: dkms", "precompiled_available_for: [5.15.0-138-generic]"),
        {},
    ),
    "not precompiled for the flavor": (
        platform(os="ubuntu-22.04", kernel="5.15.0-1061-gke")
        + driver("570.211.01", "install: precompiled", "precompiled_flavors: [generic]"),
        {"MO105": ERROR},
    ),
    "precompiled for the flavor": (
        platform(os="ubuntu-22.04", kernel="5.15.0-1061-aws")
        + driver("570.211.01", "install: precompiled", "precompiled_flavors: [aws, generic]"),
        {},
    ),
    "flavor not known": (platform(os="talos") + driver("570.211.01", "install: precompiled", "precompiled_flavors: [generic]"), {}),
    "no containers for the flavor": (
        platform(os="ubuntu-22.04", kernel="5.15.0-1061-gke")
        + driver("570.211.01", "install: precompiled")
        + "runtime: {gpu_operator: 24.6.1}\n",
        {"NV210": WARNING},
    ),
    "containers for the flavor": (
        platform(os="ubuntu-22.04", kernel="5.15.0-1061-aws")
        + driver("570.211.01", "install: precompiled")
        + "runtime: {gpu_operator: 24.6.1}\n",
        {},
    ),
    "the distribution's own for the flavor": (
        platform(os="ubuntu-22.04", kernel="5.15.0-1061-gke") + driver("570.211.01", "install: precompiled"),
        {},
    ),
    # Compilers.
    "older gcc": (platform(kernel_compiler="gcc-12.3", compiler="gcc-11.4") + driver("570.211.01", "install: dkms"), {"MO106": ERROR}),
    "gcc without function alignment": (platform(kernel_compiler="gcc-14.2", compiler="gcc-13.3"), {"MO106": ERROR}),
    "older gcc that knows all": (platform(kernel_compiler="gcc-13.2", compiler="gcc-12.3"), {"MO106": WARNING}),
    "newer gcc": (platform(kernel_compiler="gcc-11.4", compiler="gcc-12.3"), {"MO106": WARNING}),
    "another minor version": (platform(kernel_compiler="gcc-12.3", compiler="gcc-12.2"), {}),
    "clang's kernel, gcc": (platform(kernel_compiler="clang-18.1", compiler="gcc-14.1"), {"MO106": ERROR}),
    "gcc's kernel, clang": (platform(kernel_compiler="gcc-14.1", compiler="clang-18"), {"MO106": ERROR}),
    "nothing is compiled": (
        platform(kernel_compiler="gcc-12.3", compiler="gcc-11.4") + driver("570.211.01", "install: precompiled"),
        {},
    ),
    "compiler not known": (platform(kernel_compiler="gcc-12.3"), {}),
    "nvcc and a newer gcc": (platform(compiler="gcc-14.2") + "toolkit: {cuda: '12.4'}\n", {"NV208": WARNING}),
    "nvcc and its gcc": (platform(compiler="gcc-13.3") + "toolkit: {cuda: '12.4'}\n", {}),
    "nvcc and a newer clang": (platform(compiler="clang-20") + "toolkit: {cuda: '12.9'}\n", {"NV209": WARNING}),
    # GSP firmware.
    "open without firmware": (L4 + driver("550.163.01", "flavor: open", "gsp_firmware: absent"), {"MO107": ERROR}),
    "open with firmware": (L4 + driver("550.163.01", "flavor: open", "gsp_firmware: 550.163.01"), {}),
    "open, firmware not known": (L4 + driver("550.163.01", "flavor: open"), {}),
    "open with other firmware": (L4 + driver("550.163.01", "flavor: open", "gsp_firmware: 550.144.03"), {"MO107": ERROR}),
    "proprietary without firmware": (L4 + driver("550.163.01", "flavor: proprietary", "gsp_firmware: absent"), {"MO107": WARNING}),
    "flavor not known, before the default": (L4 + driver("550.163.01", "", "gsp_firmware: absent"), {"MO107": UNKNOWN}),
    "flavor not known, open is the default": (L4 + driver("580.95.05", "", "gsp_firmware: absent"), {"MO107": ERROR}),
    "no GSP in it": (V100 + driver("580.95.05", "", "gsp_firmware: absent"), {}),
    "no open modules yet": (driver("470.256.02", "", "gsp_firmware: absent"), {}),
    # Who has the device.
    "vfio has it": (L4 + platform(competing_driver="vfio-pci") + driver("580.95.05"), {"MO201": ERROR}),
    "nouveau has it": (platform(competing_driver="nouveau"), {"MO201": ERROR}),
    "the board's own display": (L4 + platform(competing_driver="ast") + driver("580.95.05"), {}),
    "nobody has it": (L4 + platform(competing_driver="none") + driver("580.95.05"), {}),
    "nouveau not blacklisted": (
        L4 + platform(os="ubuntu-22.04", blacklist="[]") + driver("580.95.05", "install: runfile"),
        {"MO201": ERROR},
    ),
    "nouveau not blacklisted by a package": (
        L4 + platform(os="ubuntu-22.04", blacklist="[]") + driver("580.95.05", "install: dkms"),
        {"MO201": WARNING},
    ),
    "nouveau blacklisted": (L4 + platform(blacklist="[nouveau]") + driver("580.95.05", "install: runfile"), {}),
    "nouveau blacklisted at boot": (
        L4 + platform(blacklist="[]", cmdline="'quiet modprobe.blacklist=nouveau,nova_core'") + driver("580.95.05", "install: runfile"),
        {},
    ),
    "blacklist not known": (L4 + platform(os="ubuntu-22.04") + driver("580.95.05", "install: runfile"), {}),
    "a kernel without nouveau": (
        L4 + platform(blacklist="[]", kernel_config="{CONFIG_DRM_NOUVEAU: n}") + driver("580.95.05", "install: runfile"),
        {},
    ),
    "a cloud kernel": (
        L4 + platform(os="ubuntu-22.04", kernel="6.8.0-1030-aws", blacklist="[]") + driver("580.95.05", "install: runfile"),
        {},
    ),
    "no driver of NVIDIA's is meant": (platform(blacklist="[]"), {}),
    "nova": (
        L4 + platform(blacklist="[nouveau]", kernel_config="{CONFIG_NOVA_CORE: m}") + driver("595.91.07", "install: runfile"),
        {"MO201": ERROR},
    ),
    "nova blacklisted": (
        L4 + platform(blacklist="[nouveau, nova-core]", kernel_config="{CONFIG_NOVA_CORE: m}") + driver("595.91.07", "install: runfile"),
        {},
    ),
    "nova does not know it": (
        H100 + platform(blacklist="[nouveau]", kernel_config="{CONFIG_NOVA_CORE: m}") + driver("595.91.07", "install: runfile"),
        {},
    ),
    "nova, architecture not known": (
        platform(blacklist="[nouveau]", kernel_config="{CONFIG_NOVA_CORE: m}") + driver("595.91.07", "install: runfile"),
        {"MO201": UNKNOWN},
    ),
    "nvidia blacklisted": (L4 + platform(blacklist="[nouveau, nvidia]") + driver("580.95.05"), {"MO202": WARNING}),
    "nvidia forbidden": (L4 + platform(cmdline="'module_blacklist=nvidia,nvidia_drm'") + driver("580.95.05"), {"MO202": ERROR}),
    "amdgpu blacklisted": (AMD + platform(blacklist="[amdgpu]"), {"MO202": WARNING}),
    # Signatures.
    "secure boot, own key unknown": (platform(os="ubuntu-24.04", secure_boot="true", module_signature="unenrolled"), {"MO203": ERROR}),
    "secure boot, own key known": (platform(os="ubuntu-24.04", secure_boot="true", module_signature="enrolled"), {}),
    "no secure boot": (platform(os="ubuntu-24.04", secure_boot="false", module_signature="none"), {}),
    "secure boot not known": (platform(os="ubuntu-24.04", module_signature="none"), {}),
    "secure boot, signature not known": (
        platform(os="ubuntu-24.04", secure_boot="enabled") + driver("580.95.05", "install: dkms"),
        {"MO203": UNKNOWN},
    ),
    "enforced without secure boot": (platform(module_signature="none", cmdline="module.sig_enforce=1"), {"MO203": ERROR}),
    "locked down": (platform(module_signature="none", cmdline="'quiet lockdown=integrity'"), {"MO203": ERROR}),
    "built to enforce": (platform(module_signature="none", kernel_config=SIGNED), {"MO203": ERROR}),
    "a kernel that does not lock down": (platform(os="arch", secure_boot="true", module_signature="none"), {}),
    "a kernel without signatures": (
        platform(secure_boot="true", module_signature="none", kernel_config="{CONFIG_MODULE_SIG: n}"),
        {},
    ),
    # Which kernels a driver compiles for.
    "proprietary on 6.15": (platform(kernel="6.15.0") + driver("570.153.02", "flavor: proprietary"), {"NV201": ERROR}),
    "open on 6.15": (platform(kernel="6.15.0") + driver("570.153.02", "flavor: open"), {}),
    "flavor not known on 6.15": (platform(kernel="6.15.0") + driver("570.153.02"), {}),
    "older on 6.15": (platform(kernel="6.15.0") + driver("570.144"), {"NV201": ERROR}),
    "only the branch on 6.15": (platform(kernel="'6.15'") + driver("570"), {"NV201": UNKNOWN}),
    "550 on 6.15": (
        platform(os="fedora-42", kernel="6.15.4-200.fc42.x86_64") + driver("550.163.01", "install: akmods"),
        {"NV201": ERROR, "KR103": WARNING},
    ),
    "550 on Debian's 6.17": (
        platform(os="debian-13", kernel="6.17.8+deb13-amd64") + driver("550.163.01", "install: dkms"),
        {"NV201": WARNING},
    ),
    "550 from NVIDIA on Debian's 6.17": (
        platform(os="debian-13", kernel="6.17.8+deb13-amd64") + driver("550.163.01", "install: runfile"),
        {"NV201": ERROR},
    ),
    "550 on Debian's own": (platform(os="debian-13", kernel="6.12.107+deb13-amd64") + driver("550.163.01", "install: dkms"), {}),
    "open 550 on Debian's newer 6.12": (
        platform(os="debian-13", kernel="6.12.118+deb13-amd64") + driver("550.163.01", "flavor: open, install: dkms"),
        {"NV201": ERROR},
    ),
    "535.274 as Debian patches it": (
        platform(os="debian-14", kernel="7.2.13+deb14-amd64") + driver("535.274.02", "install: dkms"),
        {"NV201": WARNING},
    ),
    "535.274 from NVIDIA on Debian": (
        platform(os="debian-14", kernel="7.2.13+deb14-amd64") + driver("535.274.02", "install: runfile"),
        {"NV201": ERROR},
    ),
    "superseded on Ubuntu's 6.8": (
        platform(os="ubuntu-22.04", kernel="6.8.0-40-generic") + driver("535.54.03", "install: dkms"),
        {"NV201": ERROR},
    ),
    "current on Ubuntu's 6.8": (platform(os="ubuntu-22.04", kernel="6.8.0-40-generic") + driver("535.183.01", "install: dkms"), {}),
    "mainline on Ubuntu": (
        platform(os="ubuntu-24.04", kernel="6.10.0-061000-generic") + driver("470.256.02", "install: dkms"),
        {"NV201": ERROR, "KR103": WARNING},
    ),
    "470 on 6.1": (platform(os="debian-12", kernel="6.1.0-40-amd64") + driver("470.256.02"), {}),
    "545 on 6.8": (platform(kernel="6.8.1") + driver("545.29.06"), {"NV201": ERROR}),
    "560 on 6.12": (platform(kernel="6.12.3") + driver("560.35.03"), {"NV201": ERROR}),
    "565 on 6.12": (platform(kernel="6.12.3") + driver("565.57.01"), {}),
    "550.127 on 6.12": (platform(os="talos", kernel="6.12.1-talos") + driver("550.127.08"), {}),
    "580.65 on 6.17": (platform(kernel="6.17.1") + driver("580.65.06"), {"NV201": ERROR}),
    "580.82 on 6.17": (platform(kernel="6.17.1") + driver("580.82.07"), {}),
    "570.211 on 6.18": (platform(os="talos", kernel="6.18.42-talos") + driver("570.211.01"), {}),
    "590 on 7.0": (platform(kernel="7.0.4") + driver("590.48.01"), {"NV201": ERROR}),
    "595.84 on 7.0": (platform(kernel="7.0.12-zen1") + driver("595.84"), {}),
    "a beta that is older than its number": (platform(kernel="7.0.4") + driver("595.45.04"), {"NV201": ERROR}),
    "580.142 on 7.1": (platform(kernel="7.1.0") + driver("580.142"), {"NV201": ERROR}),
    "580.178 on 7.2": (platform(kernel="7.2.3") + driver("580.178.04"), {}),
    "610 on 7.2": (platform(kernel="7.2.0") + driver("610.43.02"), {"NV201": ERROR}),
    "595 on 7.2": (platform(kernel="7.2.0") + driver("595.91.07"), {"NV202": WARNING}),
    "on an unknown kernel": (platform(kernel="7.3.4") + driver("580.178.04"), {"KR104": WARNING}),
    "RHEL's backports": (platform(os="rhel-9.6", kernel="5.14.0-570.12.1.el9_6.x86_64") + driver("535.54.03"), {}),
    "Amazon's kernel": (platform(os="al2023", kernel="6.12.35-55.103.amzn2023") + driver("575.57.08", "install: dkms"), {}),
    "GPL symbols": (
        platform(os="void", kernel="6.7.3_1") + driver("535.154.05", "flavor: proprietary"),
        {"NV212": ERROR, "KR103": WARNING},
    ),
    "GPL symbols in Debian's kernel": (
        platform(os="debian-12", kernel="6.1.0-18-cloud-amd64") + driver("525.125.06", "flavor: proprietary, install: runfile"),
        {"NV212": ERROR},
    ),
    "GPL symbols, patched by Debian": (
        platform(os="debian-12", kernel="6.1.0-18-amd64") + driver("525.147.05", "flavor: proprietary, install: dkms"),
        {"NV212": WARNING},
    ),
    "GPL symbols, maybe": (platform(kernel="6.1.76") + driver("535.129.03", "flavor: proprietary"), {"NV212": WARNING}),
    "GPL symbols, by the kernel's name": (
        platform(kernel="6.6.15-x64v3-xanmod1") + driver("545.29.06", "flavor: proprietary"),
        {"NV212": ERROR},
    ),
    "GPL symbols, not preemptible": (
        platform(os="arch", kernel="6.1.76-1-lts", kernel_config="{CONFIG_PREEMPT_RCU: n}") + driver("535.129.03", "flavor: proprietary"),
        {},
    ),
    "GPL symbols, the next kernel": (platform(os="debian-12", kernel="6.1.77") + driver("535.129.03", "flavor: proprietary"), {}),
    "GPL symbols, the next driver": (platform(kernel="6.1.76") + driver("535.161.07", "flavor: proprietary"), {}),
    "GPL symbols, open": (platform(kernel="6.1.76") + driver("535.129.03", "flavor: open"), {}),
    # Branches that ended long ago.
    "340 on 5.4": (platform(kernel="5.4.0-100") + driver("340.108"), {}),
    "340 on 5.10": (platform(kernel="5.10.1") + driver("340.108"), {"NV201": ERROR}),
    "340 as Debian patches it": (
        platform(os="debian-12", kernel="6.1.0-40-amd64") + driver("340.108", "install: dkms"),
        {"NV201": WARNING},
    ),
    "340 as the AUR patches it": (platform(os="arch", kernel="6.12.58-1-lts") + driver("340.108", "install: dkms"), {"NV201": WARNING}),
    "340 from NVIDIA on Arch": (platform(os="arch", kernel="6.12.58-1-lts") + driver("340.108", "install: runfile"), {"NV201": ERROR}),
    "an older 390 on 5.15": (
        platform(os="ubuntu-22.04", kernel="5.15.0-30-generic") + driver("390.144", "install: dkms"),
        {"NV201": ERROR},
    ),
    "390 on 6.1": (platform(kernel="6.1.90") + driver("390.157"), {}),
    "390 on 6.2": (platform(kernel="6.2.1") + driver("390.157"), {"NV201": ERROR}),
    "only the branch of 390 on 6.8": (platform(kernel="6.8.1") + driver("390"), {"NV201": ERROR}),
    "418 on 5.15": (platform(kernel="5.15.100") + driver("418.226.00"), {}),
    "418 on RHEL 9": (platform(os="rhel-9.4", kernel="5.14.0-427.13.1.el9_4.x86_64") + driver("418.211.00"), {"NV201": ERROR}),
    "440 on 5.8": (platform(kernel="5.8.0-63-generic") + driver("440.100"), {"NV201": ERROR}),
    "450 on 5.15": (platform(os="ubuntu-20.04", kernel="5.15.0-60-generic") + driver("450.142.00", "install: runfile"), {"NV201": ERROR}),
    "450's last on 6.1": (platform(kernel="6.1.90") + driver("450.248.02"), {}),
    "460's last on 5.15": (platform(kernel="5.15.100") + driver("460.106.00"), {}),
    "460's last on 5.17": (platform(kernel="5.17.1") + driver("460.106.00"), {"NV201": ERROR}),
    "465 on 5.14": (platform(kernel="5.14.1") + driver("465.31"), {"NV201": ERROR}),
    "470's first on 5.15": (platform(kernel="5.15.0-60-generic") + driver("470.57.02"), {"NV201": ERROR}),
    "470 on 5.15": (platform(kernel="5.15.0-60-generic") + driver("470.82.01"), {}),
    "470 on RHEL 8": (platform(os="rhel-8.10", kernel="4.18.0-553.el8_10.x86_64") + driver("470.57.02"), {}),
    "495 on 5.17": (platform(kernel="5.17.1") + driver("495.46"), {"NV201": ERROR}),
    "510 on 6.1": (platform(kernel="6.1.90") + driver("510.108.03"), {}),
    "510 on 6.2": (platform(kernel="6.2.0-39-generic") + driver("510.108.03"), {"NV201": ERROR}),
    "Fermi and a newer branch": ("accelerator: {product: nvidia/c2075}\n" + driver("470.256.02"), {"NV104": ERROR}),
    "Fermi and its last branch": ("accelerator: {product: nvidia/c2075}\n" + driver("390.157"), {}),
    "GeForce 8's generation": ("accelerator: {product: nvidia/c1060}\n" + driver("390.157"), {"NV104": ERROR}),
    "an old kernel": (H100 + platform(os="rhel-7.9", kernel="3.10.0-1160.el7.x86_64") + driver("560.35.03"), {"NV203": WARNING}),
    "no modules at all": (L4 + platform(kernel_config="{CONFIG_MODULES: n}") + driver("580.95.05"), {"NV204": ERROR}),
    "real time": (L4 + platform(kernel="6.6.30-rt30-generic") + driver("580.95.05"), {"NV107": ERROR}),
    "real time by its configuration": (L4 + platform(kernel_config="{CONFIG_PREEMPT_RT: y}") + driver("580.95.05"), {"NV107": ERROR}),
    "preempted, but not real time": (L4 + platform(kernel_config="{CONFIG_PREEMPT_RT: n}") + driver("580.95.05"), {}),
    "kernel not known": (driver("550.40.07"), {}),
    # Flavors.
    "no open modules then": (L4 + driver("510.108.03", "flavor: open"), {"NV205": ERROR}),
    "open modules on a workstation": (
        "accelerator: {product: nvidia/rtx-3090}\n" + driver("535.183.01", "flavor: open"),
        {"NV206": WARNING},
    ),
    "open modules on a workstation, later": ("accelerator: {product: nvidia/rtx-3090}\n" + driver("550.163.01", "flavor: open"), {}),
    "GDS and proprietary": (H100 + driver("580.95.05", "flavor: proprietary") + "runtime: {gds: 2.17.5}\n", {"NV207": ERROR}),
    "older GDS and proprietary": (H100 + driver("580.95.05", "flavor: proprietary") + "runtime: {gds: 2.17.3}\n", {}),
    "GDS, flavor not known": (H100 + driver("580.95.05") + "runtime: {gds: 2.20.5}\n", {}),
    "too old and too new": (V100 + driver("590.48.01"), {"NV104": ERROR}),
    # amdgpu.
    "dkms on a newer kernel": (
        AMD + platform(kernel="6.14.0-24-generic") + "driver: {module: {name: amdgpu, version: 6.12.12.60401, flavor: dkms}}\n",
        {"AM201": ERROR},
    ),
    "dkms that follows": (
        AMD + platform(kernel="6.14.0-24-generic") + "driver: {module: {name: amdgpu, version: 6.12.12.60402, flavor: dkms}}\n",
        {},
    ),
    "dkms of ROCm": (
        AMD + platform(kernel="6.11.0-8-generic") + "driver: {module: {name: amdgpu, install: dkms}}\ntoolkit: {rocm: 6.2.2}\n",
        {"AM201": ERROR},
    ),
    "the driver's own release counts": (
        AMD + platform(kernel="6.17.0-8-generic") + "driver: {module: {name: amdgpu, install: dkms}}\ntoolkit: {rocm: 7.0.2, kmd: 7.1.1}\n",
        {},
    ),
    "the driver's own number counts": (
        AMD + platform(kernel="6.17.0-8-generic") + "driver: {module: {version: 30.20.1, install: dkms}}\ntoolkit: {rocm: 7.0.2}\n",
        {},
    ),
    "dkms of an old driver": (
        AMD + platform(kernel="6.17.0-8-generic") + "driver: {module: {version: 30.10.1, install: dkms}}\ntoolkit: {rocm: 7.1.1}\n",
        {"AM202": ERROR},
    ),
    "only the modules' version": (
        AMD + platform(kernel="6.11.0-8-generic") + "driver: {module: {name: amdgpu, version: 6.8.5, install: dkms}}\n",
        {"AM202": ERROR},
    ),
    "Ubuntu's update": (
        AMD + platform(os="ubuntu-24.04", kernel="6.8.0-44-generic") + "driver: {module: {install: dkms}}\ntoolkit: {rocm: 6.2.0}\n",
        {"AM201": ERROR},
    ),
    "Ubuntu before its update": (
        AMD + platform(os="ubuntu-24.04", kernel="6.8.0-40-generic") + "driver: {module: {install: dkms}}\ntoolkit: {rocm: 6.2.0}\n",
        {},
    ),
    "the kernel's own": (
        AMD + platform(kernel="7.0.0-14-generic") + "driver: {module: {name: amdgpu, flavor: in-tree}}\ntoolkit: {rocm: 7.2.1}\n",
        {},
    ),
    "nobody says which": (AMD + platform(kernel="7.0.0-14-generic") + "toolkit: {rocm: 7.2.1}\n", {}),
    "no DRM": (AMD + platform(kernel_config="{CONFIG_DRM: n}"), {"AM203": ERROR}),
    "no compute": (
        AMD + platform(kernel_config="{CONFIG_HSA_AMD: n}") + "driver: {module: {flavor: in-tree}}\n",
        {"AM204": ERROR},
    ),
    # Time.
    "a branch that ended (eol)": (driver("550.163.01") + "# eol\n", {"DR101": WARNING}),
    "a branch that goes on (eol)": (driver("580.178.04") + "# eol\n", {}),
    "a branch that nobody knows (eol)": (driver("999.1") + "# eol\n", {}),
    "a kernel that ended": (platform(os="arch", kernel="6.16.8-arch1-1"), {"KR103": WARNING}),
    "a kernel that its distribution mends": (platform(os="ubuntu-24.04", kernel="6.14.0-37-generic"), {}),
    "a long-term kernel": (platform(os="arch", kernel="6.12.58-1-lts"), {}),
}


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, catalog: Catalog) -> None:
    text, expected = CASES[name]
    assert ours(text, catalog) == expected


def test_what_is_said_can_be_pasted_into_a_ticket(catalog: Catalog) -> None:
    """Every diagnostic has a place, its versions, and where a vendor's document decides, that document."""
    for text, _ in CASES.values():
        for found in judged(text, catalog):
            assert "(no " not in found.message and "None" not in found.message, found.message
            assert found.place is not None, found
            if found.rule.startswith(("NV2", "AM")):
                assert found.source and found.checked and found.rule_place, found


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("6.8.0-45-generic", "6.8.0-45-generic", True),
        ("6.8.0-45-generic", "6.8.0-4", False),
        ("6.8.0-45-generic", "6.8.0-45", None),
        ("6.8", "6.8.0-45-generic", None),
        ("6.12.107+deb13-amd64", "6.12.107", None),
        ("5.14.0-427.13.1.el9_4.x86_64", "5.14.0-427.13.1.el9_4", True),
        ("5.14.0-427.13.1.el9_4.x86_64", "5.14.0-427.el9.x86_64", None),
        ("5.14.0-427.13.1.el9_4.x86_64", "5.14.0-362.8.1.el9_3.x86_64", False),
        ("6.4.0-150600.23.50-default", "6.4.0-150500.55.7-default", False),
    ],
)
def test_same_kernel(one: str, other: str, same: bool | None) -> None:
    assert same_kernel(one, other) is same and same_kernel(other, one) is same


def test_series() -> None:
    assert [series(text) for text in ("6.8.0-45-generic", "7.3~rc7-amd64", "6.12", "linux", "6")] == ["6.8", "7.3", "6.12", None, None]
