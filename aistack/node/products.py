"""Which products a machine has by their numbers on PCI, where no lock says what is to be there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from aistack.facts.alike import common
from aistack.facts.catalog import Accelerator, Catalog
from aistack.facts.pci import VENDORS
from aistack.facts.readings import PciDevice

COMPUTING = "data-centre"
"""The kind of products that are there to compute: what else is there may be a display."""


def numbered(catalog: Catalog, present: Sequence[PciDevice]) -> dict[str, Accelerator]:
    """By its number, the product of each device that the catalog knows; where products share a number, what they have in common."""
    found = {}
    for number in dict.fromkeys(device.identity for device in present):
        products = [one for one in catalog.accelerators.values() if number in one.pci_ids]
        if len(products) > 1:
            found[number] = replace(common(products, " or ".join(one.id for one in products)), pci_ids=(number,))
        elif products:
            found[number] = products[0]
    return found


def computing(catalog: Catalog, present: Sequence[PciDevice]) -> dict[str, Accelerator]:
    """Those of `numbered` that are there to compute, or all where none is made for that alone: what is beside them may be a display."""
    known = numbered(catalog, present)
    return {number: one for number, one in known.items() if one.kind == COMPUTING} or known


def product(catalog: Catalog, present: Sequence[PciDevice]) -> Accelerator | None:
    """The product that a machine is there for: of those that compute the one with the most memory together.

    None where the catalog does not know it, or more than one have its number.
    """
    known = computing(catalog, present)
    counts = Counter(known[device.identity].id for device in present if device.identity in known)
    found = max(known.values(), key=lambda one: (one.memory_gib or 0) * counts[one.id], default=None)
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
        weight = (sum(one.kind == COMPUTING for one in products), sum(one.memory_gib or 0 for one in products))
        if products and weight > most:
            asked, most = (vendor, own), weight
    return asked
