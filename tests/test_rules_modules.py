"""Rules about the driver's kernel modules: of one version, compiled for the kernel, by its compiler, with their firmware."""

from __future__ import annotations

import pytest
from module_snapshots import AMD, ERROR, L4, UNKNOWN, V100, WARNING, Cases, driver, hold, platform

from aistack.facts.catalog import Catalog
from aistack.facts.kernel_name import same_kernel, series

CASES: Cases = {
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
}


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, catalog: Catalog) -> None:
    hold(CASES, name, catalog)


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
