"""What was read of accelerators: each device as its driver tells it, by the names of docs/node.md, and what the kernel's log says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, TypeAlias

from aistack.facts.readings import Reading
from aistack.values import dataclass

Plain: TypeAlias = int | float | str | bool
Values: TypeAlias = Mapping[str, Reading[Plain]]

UNSUPPORTED = "not supported"
"""The error of a reading that this device, or its driver, does not offer: nothing is wrong with it."""

JOINING = ("fabric.state", "in progress")
"""The reading of a device that asks to be taken into its fabric: minutes, where the switches start with the node."""
UNTRIED = "not tried"
"""How the error of a reading begins that this machine has no means for: nobody promised them, and the device may be well."""

CUT = "no time was left"
"""How the error of a reading begins that whoever checks ended, before its driver or program had the time that one may take."""

UNASKED = "could not be asked"
"""How the error of a reading begins where whoever checks could not even start what asks, or not read what it said."""

HANGS = "does not answer"
"""How the reason begins why a device is lost that held up whoever asked it."""

NOBODY = "none"
"""The source of what nobody could be asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One accelerator: its readings by name; a device that its driver lists and cannot be asked has only errors."""

    values: Values

    def get(self, name: str) -> Plain | None:
        """What was read under that name; None where nothing was, or an error came instead."""
        reading = self.values.get(name)
        return reading.value if reading is not None else None

    def number(self, name: str) -> float | None:
        """The same as a number; None where it is none."""
        value = self.get(name)
        return value if isinstance(value, (int, float)) else None

    @property
    def lost(self) -> str | None:
        """Why a device that the driver counts cannot be asked anything; None of one that answers."""
        reading = self.values.get("device")
        return reading.error if reading is not None else None

    @property
    def address(self) -> str:
        """Its PCI address as the kernel writes it (`0000:3b:00.0`), `?` where nobody could tell."""
        return str(self.get("pci.address") or "?")


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelEvent:
    """What the kernel's log says of trouble: `kind` is `xid`, `sxid`, `amdgpu`, `aer`, `dpc`, `edac`, `mce`, `memory`, `firmware` or `oom`.

    Two kinds are none: `mended` says that what was told before of its device is over (without an address: that NVIDIA's driver was loaded
    anew), `gap` that what the kernel said before is not known: nobody kept it (`lost`), or the journal could not be read (`unread`).

    `code` is the number of an Xid or SXid, the words of amdgpu's message, or how bad it is: an AER message's severity (`corrected`,
    `non-fatal`, `fatal`), the firmware's (`corrected`, `recoverable`, `fatal`), a machine check's (`corrected`, `deferred`, `uncorrected`).
    `word` is what NVIDIA's driver calls it behind the number, where it does: `fatal`, `nonfatal`; of Xid 154 the recovery in small letters.
    It was said `times` times, at `seconds` after the start in these words, and more than once: at `last` for the last time.
    """

    kind: str
    code: str
    address: str | None
    seconds: float
    message: str
    word: str | None = None
    times: int = 1
    last: float | None = None

    @property
    def told(self) -> str:
        """Its message, and how often it was said."""
        return self.message if self.last is None else f"{self.message} ({self.times} times, until second {self.last:.0f})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerators:
    """Everything that was read of a machine's accelerators: of the driver as a whole, of each device, of the kernel's log since boot."""

    driver: Values = field(default_factory=dict)
    devices: Reading[tuple[Device, ...]] = field(default_factory=lambda: Reading(source=NOBODY, error="no driver was asked"))
    log: Reading[tuple[KernelEvent, ...]] = field(default_factory=lambda: Reading(source="/dev/kmsg", error="not read"))
    level: str = "none"


def from_plain(plain: Mapping[str, Any]) -> dict[str, Reading[Plain]]:
    """Readings out of their JSON form, an object of `source` and `value` or `error` for each name."""
    return {name: Reading(source=item["source"], value=item.get("value"), error=item.get("error")) for name, item in plain.items()}


def to_plain(values: Values) -> dict[str, dict[str, Plain]]:
    """The JSON form of readings."""
    return {name: _plain(reading) for name, reading in values.items()}


def _plain(reading: Reading[Plain]) -> dict[str, Plain]:
    if reading.error is not None or reading.value is None:
        return {"source": reading.source, "error": reading.error or "nothing was read"}
    return {"source": reading.source, "value": reading.value}
