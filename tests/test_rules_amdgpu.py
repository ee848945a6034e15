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
    "Ubuntu 16.04's first kernel": (
        AMD + platform(os="ubuntu-16.04", kernel="4.4.0-139-generic") + "driver: {module: {version: 1.9-307, install: dkms}}\n",
        {"AM201": ERROR},
    ),
    "Ubuntu 16.04's later kernel": (
        AMD + platform(os="ubuntu-16.04", kernel="4.15.0-43-generic") + "driver: {module: {version: 1.9-307, install: dkms}}\n",
        {},
    ),
    "a kernel of RHEL with newer graphics code": (
        AMD + platform(os="centos-7.6", kernel="3.10.0-957.el7.x86_64") + "driver: {module: {version: 1.9-307, install: dkms}}\n",
        {},
    ),
    "before it followed": (
        AMD + platform(os="ubuntu-18.04", kernel="4.18.0-15-generic") + "driver: {module: {version: 1.9-307, install: dkms}}\n",
        {"AM201": ERROR},
    ),
    "a fault of one release": (
        AMD + platform(os="ubuntu-18.04", kernel="4.18.0-16-generic") + "driver: {module: {version: 2.2-31, install: dkms}}\n",
        {"AM201": ERROR},
    ),
    "a release that goes with it": (
        AMD + platform(os="ubuntu-18.04", kernel="5.0.0-37-generic") + "driver: {module: {version: 2.10-14, install: dkms}}\n",
        {},
    ),
    "the next kernel": (
        AMD + platform(os="ubuntu-18.04", kernel="5.3.0-40-generic") + "driver: {module: {version: 2.10-14, install: dkms}}\n",
        {"AM201": ERROR},
    ),
    "the next release": (
        AMD + platform(os="ubuntu-18.04", kernel="5.3.0-40-generic") + "driver: {module: {version: 3.3-19, install: dkms}}\n",
        {},
    ),
    "beyond what it is made for": (
        AMD + platform(os="ubuntu-20.04", kernel="5.8.0-43-generic") + "driver: {module: {version: 4.0-23, install: dkms}}\n",
        {"AM201": ERROR},
    ),
    "what it is made for": (
        AMD + platform(os="ubuntu-20.04", kernel="5.4.0-65-generic") + "driver: {module: {version: 4.0-23, install: dkms}}\n",
        {},
    ),
    "older than it wants": (
        AMD + platform(os="ubuntu-18.04", kernel="4.15.0-140-generic") + "driver: {module: {version: 4.1-26, install: dkms}}\n",
        {"AM201": ERROR},
    ),
    "a mainline kernel of Ubuntu": (
        AMD + platform(os="ubuntu-24.04", kernel="6.18.14-061814-generic") + "driver: {module: {version: 6.16.13, install: dkms}}\n",
        {"AM202": ERROR},
    ),
    "the distribution's own kernel": (
        AMD + platform(os="ubuntu-24.04", kernel="6.17.0-23-generic") + "driver: {module: {version: 6.16.13, install: dkms}}\n",
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
