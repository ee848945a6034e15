"""Rules about systems and processors on snapshots: what must be said, and what must not where a neighbour works or nothing is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import yaml

from aistack.compose.judge_snapshot import judge_snapshot
from aistack.compose.observe import accelerator
from aistack.diagnostics import Diagnostic, Severity
from aistack.facts.architecture import architecture_named
from aistack.facts.catalog import Catalog
from aistack.facts.decode import decode
from aistack.facts.document import parse, places
from aistack.facts.snapshot import SeenAccelerator, Snapshot

TODAY = "2026-11-26"
NAMED = """
amd: mi210, mi250, mi300x, mi350p, mi355x, pro-w7900, rx-5700-xt, rx-7900-xtx, rx-vega-56
intel: gaudi2, gaudi3
nvidia: a100, a100-40gb, a100-80gb, a100-sxm, a100-sxm-80gb, a10g, a40, b200, b300, gb10, gb200, gb300, gh200, gtx-1050, gtx-1650, h100,
  h100-80gb, h100-pcie-80gb, h100-sxm-80gb, h200-nvl-141gb, h200-sxm-141gb, jetson-orin-nx, k40c, k80, l40, l4, p100, p100-pcie-16gb, p4,
  rtx-2060, rtx-3090, rtx-3090-ti, rtx-4060, rtx-4090, rtx-5070, rtx-5090, rtx-pro-6000-blackwell, rtx-pro-6000-blackwell-server, t4, v100,
  v100-32gb
"""


def said(blocks: str | dict[str, Any], catalog: Catalog, today: str = TODAY) -> list[Diagnostic]:
    data = yaml.safe_load(blocks) if isinstance(blocks, str) else blocks
    root, problems = parse(yaml.safe_dump({"schema": "aistack/snapshot/v1", **data}, sort_keys=False), "seen.yaml")
    assert root is not None, problems
    snapshot, more = decode(Snapshot, root)
    assert snapshot is not None, more
    return list(judge_snapshot(snapshot, catalog, places(root), today))


E, W, INFO, UNKNOWN = Severity.ERROR, Severity.WARNING, Severity.INFO, Severity.UNKNOWN
CASES: dict[str, tuple[str, str, Severity | None]] = {
    # an accelerator that is soldered to another processor
    "grace on amd64": ("{accelerator: {product: nvidia/gb200}, platform: {arch: x86_64}}", "AC102", E),
    "grace on arm64": ("{accelerator: {product: nvidia/gb200}, platform: {arch: aarch64}}", "AC102", None),
    "grace on a kernel for amd64": ("{accelerator: {product: nvidia/gh200}, platform: {kernel: 6.8.0-1018-nvidia.x86_64}}", "AC102", E),
    "grace on an unknown processor": ("{accelerator: {product: nvidia/gh200}, platform: {kernel: 6.8.0-1018-nvidia-64k}}", "AC102", None),
    "apu on arm64": ("{accelerator: {product: amd/mi300a}, platform: {arch: aarch64}}", "AC102", E),
    "card on arm64": ("{accelerator: {product: nvidia/l4}, platform: {arch: aarch64}}", "AC102", None),
    "jetson on amd64": ("{accelerator: {product: nvidia/jetson-orin-nx}, platform: {arch: x86_64}}", "AC102", E),
    # kernels, images, package sources of another processor
    "image for amd64 on grace": ("{accelerator: {product: nvidia/gb10}, image: {arch: x86_64}}", "OS105", E),
    "image for amd64 on amd64": ("{platform: {arch: x86_64}, image: {arch: amd64}}", "OS105", None),
    "image for many": ("{platform: {arch: x86_64}, image: {arch: multi}}", "OS105", None),
    "image on an unknown processor": ("{accelerator: {product: nvidia/l4}, image: {arch: arm64}}", "OS105", None),
    "image named for arm64": ("{platform: {arch: amd64}, image: {ref: 'registry.example/llm:1.2-arm64'}}", "OS105", E),
    "image with a plain name": ("{platform: {arch: arm64}, image: {ref: 'vllm/vllm-openai:v0.19.1'}}", "OS105", None),
    "kernel of another processor": ("{platform: {arch: x86_64, kernel: 5.14.0-570.12.1.el9_6.aarch64}}", "OS105", E),
    "kernel of this processor": ("{platform: {arch: x86_64, kernel: 5.14.0-570.12.1.el9_6.x86_64}}", "OS105", None),
    "packages of another processor": ("{platform: {arch: aarch64, repos: [cuda-rhel9-x86_64]}}", "OS105", E),
    "packages of both": ("{platform: {arch: aarch64, repos: [cuda-rhel9-x86_64, cuda-rhel9-sbsa]}}", "OS105", None),
    "packages without a name": ("{platform: {arch: aarch64, repos: [nvidia-container-toolkit]}}", "OS105", None),
    "packages for Jetson on a server": (
        "{accelerator: {product: nvidia/t4g}, platform: {arch: aarch64, repos: "
        "['https://developer.download.nvidia.com/compute/cuda/repos/ubuntu2204/arm64']}}",
        "OS107",
        E,
    ),
    "packages for servers on a server": (
        "{accelerator: {product: nvidia/t4g}, platform: {arch: aarch64, repos: "
        "['https://developer.download.nvidia.com/compute/cuda/repos/ubuntu2204/sbsa']}}",
        "OS107",
        None,
    ),
    "packages for Jetson on Jetson": (
        "{accelerator: {product: nvidia/jetson-orin-nx}, platform: {repos: "
        "['https://developer.download.nvidia.com/compute/cuda/repos/ubuntu2204/arm64']}}",
        "OS107",
        None,
    ),
    "packages for Jetson on nothing known": (
        "{platform: {arch: aarch64, repos: ['https://developer.download.nvidia.com/compute/cuda/repos/ubuntu2204/arm64']}}",
        "OS107",
        None,
    ),
    "32-bit driver": ("{accelerator: {product: nvidia/gtx-1080}, platform: {arch: i686}, driver: {version: '470.82.01'}}", "NV183", E),
    "last 32-bit driver": (
        "{accelerator: {product: nvidia/gtx-1080}, platform: {arch: i686}, driver: {version: '390.157'}}",
        "NV183",
        None,
    ),
    "driver of an unknown processor": ("{accelerator: {product: nvidia/gtx-1080}, driver: {version: '470.82.01'}}", "NV183", None),
    "cuda on power": ("{platform: {arch: ppc64le}, toolkit: {cuda: '12.8'}}", "NV185", E),
    "last cuda on power": ("{platform: {arch: ppc64le}, toolkit: {cuda: '12.4'}}", "NV185", None),
    # end of life
    "ended": ("{platform: {os: centos-7}}", "OS104", W),
    "ended, carried on by whoever pays": ("{platform: {os: ubuntu-20.04.6}}", "OS104", INFO),
    "maintained": ("{platform: {os: ubuntu-24.04.3}}", "OS104", None),
    "minor release of a maintained one": ("{platform: {os: rhel-9.2}}", "OS104", None),
    "no system that the catalog has": ("{platform: {os: truenas-25.10.7}}", "OS104", None),
    "no system": ("{platform: {kernel: '6.8'}}", "OS104", None),
    # the C library of the system
    "too old a C library": ("{platform: {os: amazonlinux-2}, frameworks: {torch: {version: 2.7.0}}}", "AP104", E),
    "too old a C library, as it is said": ("{platform: {os: al2, glibc: '2.26'}, frameworks: {torch: {version: 2.7.0}}}", "AP104", E),
    "new enough a C library": ("{platform: {os: rhel-8.10}, frameworks: {torch: {version: 2.7.0}}}", "AP104", None),
    "an image has its own C library": (
        "{platform: {os: centos-7}, image: {cuda: '12.6'}, frameworks: {torch: {version: 2.7.0}}}",
        "AP104",
        None,
    ),
    "no C library known": ("{platform: {os: flatcar-4230.2.2}, frameworks: {torch: {version: 2.7.0}}}", "AP104", None),
    # kernels
    "kernel of a later system": ("{platform: {os: ubuntu-22.04, kernel: 6.14.0-24-generic}}", "OS106", INFO),
    "kernel of an earlier system": ("{platform: {os: rhel-9.4, kernel: 4.18.0-553.el8_10.x86_64}}", "OS106", INFO),
    "hardware enablement kernel": ("{platform: {os: ubuntu-22.04, kernel: 6.5.0-45-generic}}", "OS106", None),
    "kernel that moves": ("{platform: {os: fedora-42, kernel: 6.17.4-200.fc42.x86_64}}", "OS106", None),
    "kernel series": ("{platform: {os: ubuntu-24.04, kernel: '6.8'}}", "OS106", None),
    # the vendor's lists of systems
    "driver guide": ("{accelerator: {product: nvidia/l4}, platform: {os: ubuntu-20.04}, driver: {version: 590.48.01}}", "NV182", W),
    "driver guide, listed": ("{accelerator: {product: nvidia/l4}, platform: {os: rocky-9.6}, driver: {version: 590.48.01}}", "NV182", None),
    "driver guide, series": ("{accelerator: {product: nvidia/l4}, platform: {os: debian-11.9}, driver: {version: '610'}}", "NV182", W),
    "driver guide, packaged elsewhere": (
        "{accelerator: {product: nvidia/l4}, platform: {os: nixos-26.05}, driver: {version: 590.48.01}}",
        "NV182",
        None,
    ),
    "driver guide, older": (
        "{accelerator: {product: nvidia/l4}, platform: {os: ubuntu-20.04}, driver: {version: 535.104.05}}",
        "NV182",
        None,
    ),
    "cuda guide": ("{platform: {os: ubuntu-20.04}, toolkit: {cuda: '13.0'}}", "NV184", W),
    "cuda guide, listed": ("{platform: {os: ubuntu-24.04.2}, toolkit: {cuda: '13.0'}}", "NV184", None),
    "cuda guide, no system": ("{toolkit: {cuda: '13.0'}}", "NV184", None),
    # drivers and products
    "driver before the product": ("{accelerator: {product: nvidia/rtx-5070}, driver: {version: 570.86.16}}", "AC103", E),
    "first driver of the product": ("{accelerator: {product: nvidia/rtx-5070}, driver: {version: 570.133.07}}", "AC103", None),
    "branch that learned late": ("{accelerator: {product: nvidia/h20-141gb}, driver: {version: 550.90.07}}", "AC103", W),
    "branch that has learned": ("{accelerator: {product: nvidia/h20-141gb}, driver: {version: 550.127.08}}", "AC103", None),
    "branch that has learned or not": ("{accelerator: {product: nvidia/h20-141gb}, driver: {version: '550'}}", "AC103", None),
    "driver before a whole family": ("{accelerator: {product: nvidia/h100}, driver: {version: 515.65.01}}", "AC103", E),
    "driver between a family's members": ("{accelerator: {product: nvidia/h100-80gb}, driver: {version: 525.60.13}}", "AC103", None),
    "driver with which machines were sold": ("{accelerator: {product: nvidia/gb10}, driver: {version: 580.95.05}}", "AC103", None),
    "driver of which nothing is confirmed": ("{accelerator: {product: nvidia/gb10}, driver: {version: 580.65.06}}", "AC103", UNKNOWN),
    "last driver of Kepler": ("{accelerator: {product: nvidia/k40c}, driver: {version: 470.256.02}}", "NV104", None),
    "driver after Kepler": ("{accelerator: {product: nvidia/k40c}, driver: {version: 535.104.05}}", "NV104", E),
    "closed modules on Blackwell Ultra": ("{accelerator: {product: nvidia/b300}, driver: {module: {flavor: proprietary}}}", "AC104", E),
}


@pytest.mark.parametrize("name", CASES)
def test_rules(name: str, catalog: Catalog) -> None:
    blocks, rule, severity = CASES[name]
    found = [one for one in said(blocks, catalog) if one.rule == rule]
    assert [one.severity for one in found] == ([severity] if severity else []), found
    for one in found:
        assert one.place is not None and "(no " not in one.message
        assert rule.startswith("OS105") or rule.startswith("OS106") or one.source or one.severity is UNKNOWN, one


def test_every_product_that_reports_name_is_known(catalog: Catalog) -> None:
    for vendor, names in yaml.safe_load(NAMED).items():
        for name in names.split(", "):
            snapshot = Snapshot(schema="aistack/snapshot/v1", accelerator=SeenAccelerator(product=f"{vendor}/{name}"))
            found = accelerator(snapshot, catalog)
            assert found is not None and found.vendor == vendor and found.architecture, name


def test_a_family_is_what_its_members_have_in_common(catalog: Catalog) -> None:
    def seen(**known: Any) -> Any:
        return accelerator(Snapshot(schema="aistack/snapshot/v1", accelerator=SeenAccelerator(**known)), catalog)

    forty = seen(product="nvidia/a100-40gb")
    assert (forty.memory_gib, forty.nvlink, forty.interconnect) == (40, 3, None)
    assert seen(product="nvidia/h100").memory_gib is None and seen(product="nvidia/h100", memory_gib=80).memory_gib == 80
    assert seen(product="nvidia/gh200").host == "arm64" and seen(arch="sm_90").host is None
    assert seen(product="nvidia/jetson-orin-nx").kind == "embedded"
    assert seen(product="nvidia/unheard-of") is None and seen(product="nvidia/unheard-of", arch="sm_120").open_modules == "required"


@pytest.mark.parametrize(
    ("name", "system"),
    [
        ("ubuntu-22.04.5", "ubuntu-22.04"),
        ("Ubuntu-24.04", "ubuntu-24.04"),
        ("rhel-9.4", "rhel-9"),
        ("rhel-10.1", "rhel-10"),
        ("amazonlinux-2023", "al2023"),
        ("al2023.6.20250203", "al2023"),
        ("sles-15.6", "sles-15-sp6"),
        ("sles-16.0", "sles-16"),
        ("debian-13.2", "debian-13"),
        ("flatcar-4230.2.2", "flatcar"),
        ("ubuntu-22", None),
        ("ubuntu-core-24", None),
        ("sles-15", None),
        ("arch", None),
    ],
)
def test_systems_are_found_by_what_reports_call_them(name: str, system: str | None, catalog: Catalog) -> None:
    found = catalog.distribution(name)
    assert (found.id if found else None) == system


def test_what_was_concluded_says_why(catalog: Catalog) -> None:
    (found,) = [one for one in said(CASES["too old a C library"][0], catalog) if one.rule == "AP104"]
    assert "Amazon Linux 2 has glibc 2.26" in found.why
    (found,) = [one for one in said(CASES["image for amd64 on grace"][0], catalog) if one.rule == "OS105"]
    assert found.why == ("NVIDIA DGX Spark / GB10 has an arm64 processor",)


def test_an_interconnect_that_no_document_confirms_gives_no_error(catalog: Catalog) -> None:
    from aistack.compose.observe import observe

    snapshot = Snapshot(schema="aistack/snapshot/v1", accelerator=SeenAccelerator(product="nvidia/h100-sxm-80gb"))
    value = observe(snapshot, catalog, TODAY).values["interconnect"]
    assert (value.text, value.assumed) == ("nvswitch", True)
    told = observe(replace(snapshot, accelerator=replace(snapshot.accelerator, interconnect="pcie")), catalog, TODAY).values["interconnect"]
    assert (told.text, told.assumed) == ("pcie", False)


@pytest.mark.parametrize(
    ("text", "architecture"),
    [
        ("6.8.9-300.fc40.x86_64", "amd64"),
        ("6.12.107+deb13-cloud-arm64", "arm64"),
        ("https://developer.download.nvidia.com/compute/cuda/repos/rhel9/sbsa", "arm64"),
        ("cuda-rhel9-x86_64", "amd64"),
        ("registry.example/a:1.2-arm64-and-amd64", None),
        ("6.8.0-51-generic", None),
        ("", None),
    ],
)
def test_architectures_in_names(text: str, architecture: str | None) -> None:
    assert architecture_named(text) == architecture
