"""Asking a vendor's driver, and judging what it said by the catalog's facts of the product."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from aistack.compose.lock import Lock
from aistack.facts.catalog import Catalog
from aistack.facts.dcgm import LEVELS
from aistack.facts.device_readings import Accelerators, Values
from aistack.facts.faults import Faults
from aistack.facts.readings import PciDevice
from aistack.host.catalog_files import load_catalog
from aistack.host.probes import services
from aistack.host.probes.accelerators import take_accelerators
from aistack.host.probes.dcgm import diagnosis
from aistack.host.probes.device_nodes import amd_nodes
from aistack.host.probes.reading import inside
from aistack.host.probes.system import SERVICES, cdi
from aistack.node.accelerators import judge
from aistack.node.device_checks import Promise
from aistack.node.diagnosis import judge_diagnosis
from aistack.node.driver_services import judge_containers, judge_nodes, judge_services
from aistack.node.products import judged
from aistack.node.results import Result

FAULTS = {"xid": "nvidia/xids", "sxid": "nvidia/sxids", "amdgpu": "amd/messages"}
"""By the kind of an event in the kernel's log: what the catalog knows of its codes."""

OFFERS = "/usr/lib/systemd/system/aistack-cdi.service"
"""Who offers containers NVIDIA's devices, before the first gate."""


def asked(
    root: Path, vendor: str, present: tuple[PciDevice, ...], lock: Lock | None, level: str
) -> tuple[tuple[Result, ...], Accelerators]:
    """What is thought of the accelerators that are on the bus, and every reading that it rests on."""
    serials = lock is not None and ("serial-numbers", "reported") in lock.node
    seen = take_accelerators(root, vendor, level, serials=serials)
    catalog = load_catalog()  # a driver's process has gone by now, and its memory with it
    wanted = _wanted(catalog, vendor, present, lock, seen.driver)
    found = judge(wanted, seen, known_faults(catalog))
    if lock is not None:
        found = (*found, *_around(root, wanted, seen))
    return ((*found, *_diagnosis(wanted, seen)) if level == "thorough" and vendor == "nvidia" else found), seen


def _around(root: Path, wanted: Promise, seen: Accelerators) -> Iterator[Result]:
    """What a node of ours needs beside a driver that answers. The services of a tree below `root` run nowhere."""
    if seen.devices.value is None:
        return
    if wanted.vendor == "amd":
        yield judge_nodes(amd_nodes(root))
    if wanted.vendor != "nvidia":
        return
    if inside(root, OFFERS).exists():
        yield judge_containers(wanted, seen, cdi(root))
    if root == Path("/"):
        yield from judge_services(wanted, services.units(SERVICES))


def _diagnosis(wanted: Promise, seen: Accelerators) -> Iterator[Result]:
    """What the vendor's own diagnosis finds, where it is installed, no program is there that it would disturb, and no device is split.

    DCGM refuses all devices where one is split (https://github.com/NVIDIA/DCGM/issues/70). Of several products the highest level counts:
    what DCGM does not allow on a board it skips there (its plugins' parameter `is_allowed`).
    """
    devices = seen.devices.value or ()
    if not devices or any(device.number("programs") != 0 or device.get("mig") for device in devices):
        return
    found = diagnosis(max((LEVELS.get(product.kind, 1) for product in wanted.products), default=1))
    if found is not None:
        yield from judge_diagnosis(found, [device.address for device in devices])


def known_faults(catalog: Catalog) -> dict[str, Faults]:
    """The catalog's codes by the kind of event that carries them."""
    return {kind: catalog.faults[name] for kind, name in FAULTS.items()}


def _wanted(catalog: Catalog, vendor: str, present: tuple[PciDevice, ...], lock: Lock | None, driver: Values) -> Promise:
    """What the driver has to know: the lock's accelerators as far as they are on the bus, or all that the catalog knows."""
    limits = catalog.limits_of(vendor)
    if lock is None or lock.accelerator is None:
        version, flavour = (reading.value if (reading := driver.get(name)) else None for name in ("version", "flavour"))
        there = judged(catalog, present, str(version or ""), str(flavour or ""))
        counts = Counter(there[device.identity].id for device in present if device.identity in there)
        products = {product.id: product for product in there.values()}
        only = next(iter(products.values())) if len(products) == 1 else None
        each = {} if only else {number: (product, counts[product.id]) for number, product in there.items()}
        return Promise(vendor=vendor, product=only, each=each, limits=limits, count=counts.total() if there else len(present), mig=None)
    promised = lock.accelerator
    known = catalog.accelerators.get(promised.product)
    fitting = [device for device in present if known is None or not known.pci_ids or device.identity in known.pci_ids]
    return Promise(
        vendor=vendor,
        product=known,
        limits=limits,
        count=min(promised.count, len(fitting)),
        # The version of a driver that is the kernel's own is that of its firmware, and the kernel is compared by itself.
        driver=dict(lock.components).get("driver") if vendor == "nvidia" else None,
        mig=dict(lock.node).get("mig", ""),
    )


def numbers(lock: Lock | None) -> frozenset[str]:
    """The PCI numbers of the promised product; none where none is promised, or the catalog knows none of it."""
    known = load_catalog().accelerators.get(lock.accelerator.product) if lock is not None and lock.accelerator is not None else None
    return frozenset(known.pci_ids) if known is not None else frozenset()
