"""Bills of materials of what a lock builds: SPDX 2.3 and CycloneDX 1.6, from the lock alone. The same lock gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aistack.compose.lock import Lock
from aistack.compose.sbom import cyclonedx, spdx
from aistack.compose.sbom.inventory import Inventory, inventories

FORMATS: Mapping[str, tuple[str, Callable[[Inventory], str]]] = {
    "spdx": ("spdx.json", spdx.document),
    "cyclonedx": ("cdx.json", cyclonedx.document),
}
"""By name: what its files end in, and what writes one."""


def documents(lock: Lock, formats: tuple[str, ...] = tuple(FORMATS)) -> dict[str, str]:
    """File names (`base.spdx.json`, `app-chat.cdx.json`) and their texts: one of each format for each image but the system's."""
    writers = [FORMATS[name] for name in formats]
    return {f"{one.image}.{ending}": write(one) for one in inventories(lock) for ending, write in writers}
