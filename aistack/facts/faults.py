"""The faults that a driver writes into the kernel's log (Xid, SXid, amdgpu's messages): whose each is, and what a person does."""

from __future__ import annotations

from typing import Annotated, Literal

from aistack.facts.decode import Number
from aistack.facts.systems import Checked, Source
from aistack.values import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One code, in own words; `action` is what a person does, in one sentence. `kind` says where its cause lies by its vendor's document.

    A driver that numbers nothing has the words of its message for a code, in small letters.

    `application`: in the app, or a new start of it is all that is asked for. `driver`: in the driver or its firmware. `hardware`: in the
    device, its memory or its power. `link`: between devices, with an end on either side. `notice`: it asks for nothing by itself.
    `unclear`: in one of several, which the code alone does not tell.
    """

    code: Annotated[int, Number(minimum=1)] | str
    kind: Literal["application", "driver", "hardware", "link", "notice", "unclear"]
    name: str
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The codes of one kind of message, in ascending order."""

    schema: Literal["aistack/faults/v1"] = "aistack/faults/v1"
    id: str
    name: str
    vendor: str
    faults: tuple[Fault, ...]
    source: Source
    checked: Checked

    def fault(self, code: int | str) -> Fault | None:
        """What is known of a code, as a number or as it stands in the log; None where no document tells of it."""
        return next((fault for fault in self.faults if str(fault.code) == str(code)), None)
