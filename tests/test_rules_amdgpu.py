"""Rules about AMD's kernel driver: which kernels its out-of-tree modules compile for, and what the kernel's own asks of it."""

from __future__ import annotations

import pytest
from module_snapshots import AMD, ERROR, Cases, hold, platform

from aistack.facts.catalog import Catalog

CASES: Cases = {
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
}


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, catalog: Catalog) -> None:
    hold(CASES, name, catalog)
