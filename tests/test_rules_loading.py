"""Rules about what keeps the driver's modules from the device: another driver, a list that forbids them, a missing signature."""

from __future__ import annotations

import pytest
from module_snapshots import AMD, ERROR, H100, L4, SIGNED, UNKNOWN, WARNING, Cases, driver, hold, platform

from aistack.facts.catalog import Catalog

CASES: Cases = {
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
}


@pytest.mark.parametrize("name", CASES)
def test_case(name: str, catalog: Catalog) -> None:
    hold(CASES, name, catalog)
