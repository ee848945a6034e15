"""Which devices of a machine count for what, by their numbers on PCI.

* Judged are all that the catalog knows, each by its own product (`judged`).
* What is made for data centres is there to compute. It decides what a machine is there for (`product`) and whose driver is asked
  (`catalogued`), and beside it a card of another kind may be but a display (`judged`, `is_display`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from aistack.facts.alike import common
from aistack.facts.catalog import Accelerator, Catalog
from aistack.facts.device_readings import Device
from aistack.facts.pci import VENDORS
from aistack.facts.readings import PciDevice

COMPUTING = "data-centre"
"""The kind of products that are there to compute: what else is there may be a display."""


def computing(products: Iterable[Accelerator]) -> tuple[Accelerator, ...]:
    """Those that are there to compute."""
    return tuple(product for product in products if product.kind == COMPUTING)


def numbered(catalog: Catalog, present: Sequence[PciDevice]) -> dict[str, Accelerator]:
    """By its number, the product of each device that the catalog knows; where products share a number, what they have in common.

    Where the same products share several numbers, that is one product with all of these.
    """
    sharing: dict[str, tuple[str, ...]] = {}
    for one in catalog.accelerators.values():
        for number in one.pci_ids:
            sharing[number] = (*sharing.get(number, ()), one.id)
    found = {}
    for number in dict.fromkeys(device.identity for device in present if device.identity in sharing):
        products = [catalog.accelerators[name] for name in sharing[number]]
        alike = tuple(other for other in products[0].pci_ids if sharing[other] == sharing[number])
        found[number] = products[0] if len(products) == 1 else replace(common(products, " or ".join(sharing[number])), pci_ids=alike)
    return found


def judged(catalog: Catalog, present: Sequence[PciDevice], version: str, flavour: str) -> dict[str, Accelerator]:
    """By its number, the product that each device is held against, under a driver of that version and flavour (NVIDIA's).

    The driver need not know a display: beside what is there to compute, none is missed that such a driver does not drive.
    """
    known, branch = numbered(catalog, present), catalog.branches.get(version.partition(".")[0])
    if not computing(known.values()):
        return known

    def is_driven(one: Accelerator) -> bool:
        return (flavour != "open" or one.open_modules != "unsupported") and (branch is None or branch.drives(one.architecture))

    return {number: one for number, one in known.items() if one.kind == COMPUTING or is_driven(one)}


def is_display(device: Device, own: Accelerator | None, others: Iterable[Accelerator]) -> bool:
    """Whether somebody keeps a device beside those `others` that are there to compute from computing: nothing more is asked of it."""
    return own is not None and own.kind != COMPUTING and bool(computing(others)) and device.get("compute-mode") == "prohibited"


def product(catalog: Catalog, present: Sequence[PciDevice], promised: str | None = None) -> Accelerator | None:
    """The product that a machine is there for: the one that its lock promises, where some of it is there, or may be.

    Else of those that compute, or of all where none is made for that alone, the one with the most memory together; None where the catalog
    does not know it, or more than one have its number.
    """
    wanted, numbers = catalog.accelerators.get(promised or ""), {device.identity for device in present}
    if wanted is not None and (not wanted.pci_ids or not numbers.isdisjoint(wanted.pci_ids)):
        return wanted
    known = numbered(catalog, present)
    counts = Counter(known[device.identity].id for device in present if device.identity in known)
    candidates = computing(known.values()) or tuple(known.values())
    found = max(candidates, key=lambda one: (one.memory_gib or 0) * counts[one.id], default=None)
    return catalog.accelerators.get(found.id) if found else None


def catalogued(catalog: Catalog, present: Sequence[PciDevice]) -> tuple[str, tuple[PciDevice, ...]]:
    """Whose accelerators to ask, and theirs: those of the vendor with most that computes, then with most memory.

    What the catalog does not know, such as a server's display, nobody takes for an accelerator of this machine. A vendor is the platform of
    `VENDORS`; `none` where there is none.
    """
    known = numbered(catalog, present)
    asked: tuple[str, tuple[PciDevice, ...]] = ("none", ())
    most = (0, -1)
    for vendor, number in VENDORS.items():
        own = tuple(device for device in present if device.vendor == number and device.is_accelerator and not device.lent)
        products = [known[device.identity] for device in own if device.identity in known]
        weight = (len(computing(products)), sum(one.memory_gib or 0 for one in products))
        if products and weight > most:
            asked, most = (vendor, own), weight
    return asked
