"""What several products have in common, where nothing tells which of them is meant."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from aistack.facts.catalog import Accelerator
from aistack.facts.version import Scheme, key


def common(products: Sequence[Accelerator], name: str) -> Accelerator:
    """A product of that name with all in which these agree; of their oldest drivers the older one, since before it none is known."""
    first, *others = products
    known = {
        field.name: value
        for field in dataclasses.fields(first)
        if field.name not in ("id", "name", "aliases", "pci_ids", "source", "checked", "recalled")
        and all(getattr(other, field.name) == (value := getattr(first, field.name)) for other in (first, *others))
    }
    recalled = tuple(sorted({word for product in products for word in product.recalled}))
    drivers = [product.driver_minimum for product in products if product.driver_minimum is not None]
    if len(drivers) == len(products):  # an older driver knows none of them
        known["driver_minimum"] = min(drivers, key=lambda driver: key(driver, Scheme.RELEASE))
    missing = {"vendor": first.vendor, "kind": ""}
    return Accelerator(id=name, name=name, source=first.source, checked=first.checked, recalled=recalled, **{**missing, **known})
