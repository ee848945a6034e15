"""The numbered faults that a driver writes into the kernel's log (Xid, SXid): whose fault each is, and what a person does."""

from __future__ import annotations

from typing import Annotated, Literal

from aistack.facts.decode import Number
from aistack.facts.systems import Checked, Source
from aistack.values import dataclass

Kind = Literal["application", "driver", "hardware", "link", "notice"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One code. `kind` says where its cause lies: in the `application`, in the `driver` and its firmware, in the device (`hardware`), or in
    a `link` between devices, which has two ends and what lies between; a `notice` tells of something that is no fault by itself.

    `action` is what a person does, in one sentence. `architectures` are those to which the code belongs, where it is not all.
    """

    code: Annotated[int, Number(minimum=1)]
    name: str
    kind: Kind
    action: str
    architectures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """All codes of one kind of message, in ascending order."""

    schema: Literal["aistack/faults/v1"] = "aistack/faults/v1"
    id: str
    name: str
    vendor: str
    faults: tuple[Fault, ...]
    source: Source
    checked: Checked

    def fault(self, code: int) -> Fault | None:
        """What is known of a code; None where no document tells of it."""
        return next((fault for fault in self.faults if fault.code == code), None)
