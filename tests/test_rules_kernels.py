"""Rules about which kernels a driver compiles for, which flavor of modules it has, and when kernels and branches end."""

from __future__ import annotations

import pytest
from module_snapshots import ERROR, H100, L4, UNKNOWN, V100, WARNING, Cases, driver, hold, platform

from aistack.facts.catalog import Catalog

CASES: Cases = {
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
    "open 535 on what Debian 12 calls 6.1.0-56": (
        platform(os="debian-12", kernel="6.1.0-56-amd64") + driver("535.261.03", "flavor: open, install: dkms"),
        {"NV201": ERROR},
    ),
    "open 535 on an elder one": (
        platform(os="debian-12", kernel="6.1.0-50-cloud-amd64") + driver("535.261.03", "flavor: open, install: dkms"),
        {},
    ),
    "open 535 on one between": (
        platform(os="debian-12", kernel="6.1.0-52-amd64") + driver("535.261.03", "flavor: open, install: dkms"),
        {"NV202": WARNING},
    ),
    "proprietary 535 on it": (platform(os="debian-12", kernel="6.1.0-56-amd64") + driver("535.261.03", "install: dkms"), {}),
    "open 570 on another's 6.1": (
        platform(os="amazon-linux-2023", kernel="6.1.190-200.amzn2023.x86_64") + driver("570.211.01", "flavor: open"),
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
    hold(CASES, name, catalog)
