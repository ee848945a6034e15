"""What every accelerator of a vendor is held against on a node, beside what its product's file says."""

from __future__ import annotations

from typing import Annotated, Literal

from aistack.facts.decode import Number
from aistack.facts.systems import Checked, Source
from aistack.values import dataclass

Part = Annotated[float, Number(minimum=0, maximum=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Parts of one; what is left out is not compared.

    `copies_of_link`: of what the link to the host carries, what copies each way reach at least. `copies_of_test`: of the product's
    `memory_bandwidth_minimum`, what copies inside the device do. `free_memory`: of the device's memory, what is free where nobody is seen
    on it.
    """

    schema: Literal["aistack/limits/v1"] = "aistack/limits/v1"
    id: str
    name: str
    vendor: str
    copies_of_link: Part | None = None
    copies_of_test: Part | None = None
    free_memory: Part | None = None
    source: Source
    checked: Checked
