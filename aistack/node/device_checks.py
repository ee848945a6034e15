"""What is asked of each accelerator itself: memory, clocks, power, modes. Pure judgement over one device's readings.

Thresholds are the catalog's, by product, or the device's own; what neither knows is not judged. The cause is `hardware` only with evidence
that no driver's work could have made: the device's own counters of errors. A check that does not concern a device gives None, and so does
one whose readings the device does not offer; any other error of a reading leaves the check *unknown*, unless it found the device unhealthy.
Links are judged in `link_checks`, and in `program_checks` what programs came to.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import field, replace

from aistack.facts.catalog import Accelerator
from aistack.facts.device_readings import UNSUPPORTED, Device
from aistack.facts.limits import Limits
from aistack.facts.readings import Reading
from aistack.node.products import is_display
from aistack.node.results import Cause, Result, bad, good, several, untold, worse
from aistack.values import dataclass

MEMORY, ECC, ROWS, RECOVERY = "accelerator-memory", "accelerator-ecc", "accelerator-rows", "accelerator-recovery"
CLOCKS, POWER, MODES = "accelerator-clocks", "accelerator-power", "accelerator-modes"

VGPU = "vgpu"
"""The virtualization of a device of which this virtual machine was given a part, in memory and time."""

LANE_GBPS = {1: 0.25, 2: 0.5, 3: 0.985, 4: 1.969, 5: 3.938, 6: 7.563}
"""GB/s of one PCI Express lane each way, by generation: transfers a second, less what its encoding takes."""

SLOWED = {
    "hardware-slowdown": "the board itself slows the clocks down",
    "hardware-thermal": "the device is too hot",
    "software-thermal": "the device is too hot",
    "power-brake": "the machine's power supply asks for less",
}
"""Reasons for held clocks that an idle and healthy device does not give."""

WAITING = {
    "rows.pending": "a row of memory",
    "pages.pending": "a page of memory",
    "repairs.channel": "a channel of memory",
    "repairs.processors": "a part of its processors (TPC)",
}
"""What a device has marked for repair, and is to be reset for."""

SENSORS = (
    ("temperature.celsius", "temperature.slowdown-celsius"),
    ("temperature.memory-celsius", "temperature.memory-slowdown-celsius"),
)
"""Temperatures, each with the highest that the device's own driver allows."""

SOFTWARE_ERRORS = (
    "LibRmVersionMismatch",
    "LibraryNotFound",
    "LibraryUnusable",
    "FunctionNotFound",
    "NoComputeDriver",
    "SYSTEM_DRIVER_MISMATCH",
    "INSUFFICIENT_DRIVER",
)
RESET = "reset the device (NVIDIA's: `nvidia-smi --gpu-reset -i DEVICE`), or reboot the node"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a machine's accelerators are held against: the product, where it is known, the vendor's limits, how many, the driver's version.

    `mig` are the parts that each is split into, by their profiles with spaces between; empty where none is to be split, None where nobody
    said so. Where nobody promised a product and devices are of several, `each` has by a device's number its own, and how many are of it.
    """

    vendor: str
    product: Accelerator | None = None
    limits: Limits | None = None
    each: Mapping[str, tuple[Accelerator, int]] = field(default_factory=dict)
    count: int | None = None
    driver: str | None = None
    mig: str | None = ""

    @property
    def is_fabric(self) -> bool:
        """Whether its devices reach each other only through switches that a program has to set up."""
        many = self.count is None or self.count > 1
        return self.product is not None and self.product.interconnect in ("nvswitch", "nvl72") and many

    @property
    def products(self) -> tuple[Accelerator, ...]:
        """All that its devices are held against."""
        return tuple(product for product, _ in self.each.values()) or ((self.product,) if self.product else ())

    @property
    def is_of_lock(self) -> bool:
        """Whether a lock says how the devices are to be set up."""
        return self.mig is not None

    def is_of_product(self, device: Device) -> bool:
        """Whether it is one of the promised product: machines have others beside them, such as a processor's own graphics."""
        if self.each:
            return device.get("pci.id") in self.each
        return self.product is None or not self.product.pci_ids or device.get("pci.id") in self.product.pci_ids

    def is_judged(self, device: Device) -> bool:
        """Whether more is asked of a device than that it is there."""
        return self.is_of_product(device) and not is_display(device, self.of(device).product, self.products)

    def of(self, device: Device) -> Promise:
        """What one device is held against."""
        product, count = self.each.get(str(device.get("pci.id")), (self.product, self.count))
        return replace(self, product=product, count=count, each={})

    @property
    def said(self) -> str:
        """How many of what: `8 x nvidia/h100-sxm-80gb`."""
        named = {product.id: count for product, count in self.each.values()}
        named = named or {self.product.id if self.product else self.vendor: self.count or 0}
        return " and ".join(f"{count} x {name}" for name, count in named.items())

    def is_part(self, device: Device) -> bool:
        """Whether it is but a part of a device, which a virtual machine was given."""
        return device.get("virtualization") == VGPU or (self.product is not None and device.get("pci.id") in self.product.virtual_ids)

    def corrects_errors(self, device: Device) -> bool:
        """Whether errors of its memory are corrected as it is delivered."""
        told = device.get("ecc.default-mode") or (self.product is not None and self.product.ecc is not None)
        return bool(told) and not self.is_part(device)


def _memory(wanted: Promise, device: Device) -> Result | None:
    """Its size, and how much of it nobody has who could be seen: a driver leaks memory where a program ended badly.

    AMD names no such bound, and where an Arm processor and the device have each other's memory, Linux may use it: neither is judged.
    """
    seen = device.number("memory.total-mib")
    if seen is None:
        silent = "memory.total-mib" not in device.values or (wanted.product is not None and wanted.product.shared_memory)
        return None if silent else cannot_tell(MEMORY, device, "memory.total-mib")
    if unread := first_unread(MEMORY, device, "memory.used-mib"):
        return unread
    evidence = (("mib", f"{seen:.0f}"), *shown(device, "memory.used-mib", "programs", "programs.graphics"))
    if device.get("virtualization") == VGPU:
        return good(MEMORY, f"{seen:.0f} MiB of memory, the part that this virtual machine was given", *evidence)
    least = wanted.product.least_memory if wanted.product else None
    if least is not None and seen < least[0] * 1024:
        evidence = (*evidence, ("least-gib", f"{least[0]:.1f}, {least[1]}"), *sources(wanted))
        action = "compare the product with the recipe; a device that lost memory is to be replaced"
        said = f"{seen:.0f} MiB of memory; a whole one shows {least[0]:.1f} GiB at least ({least[1]})"
        return bad(MEMORY, Cause.UNKNOWN, said, *evidence, action=action)
    used = device.number("memory.used-mib") or 0
    free = wanted.limits.free_memory if wanted.limits else None
    own = wanted.product is None or wanted.product.host is None
    if free is not None and own and used > (1 - free) * seen and is_idle(device):
        said = f"{used:.0f} of {seen:.0f} MiB of memory are used, and no program is seen on it"
        action = f"{RESET}; in a container, look from the machine itself, where its programs are seen"
        return worse(MEMORY, f"{said}; the vendor's own diagnosis asks for {free:.0%} of it", *evidence, action=action)
    return good(MEMORY, f"{seen:.0f} MiB of memory", *evidence)


def _ecc(wanted: Promise, device: Device) -> Result | None:
    """Errors that could not be corrected since the driver was loaded; those of the device's whole life, and the parts, where told.

    Whether errors are to be corrected at all the device itself says (its default), or the product's facts.
    """
    now, ever = device.number("ecc.uncorrected"), device.number("ecc.uncorrected-ever")
    modes = ("ecc.mode", "ecc.pending-mode", "ecc.default-mode")
    evidence = shown(device, *modes, "ecc.uncorrected", "ecc.corrected", "ecc.uncorrected-ever", "ecc.corrected-ever", "ecc.where")
    if device.get("ecc.sram-worn"):
        action = "run NVIDIA's field diagnosis; a device that fails it is replaced"
        said = "its SRAM had more errors than the vendor lets pass"
        return bad(ECC, Cause.HARDWARE, said, ("ecc.sram-worn", "True"), *evidence, action=action)
    if now:
        said = f"{several(now, 'error')} of {device.get('ecc.where') or 'memory'} that could not be corrected"
        return bad(ECC, Cause.HARDWARE, said, *evidence, action=RESET)
    if unread := first_unread(ECC, device, "ecc.mode", "ecc.pending-mode", "ecc.uncorrected", "ecc.sram-worn"):
        return unread
    if device.get("ecc.mode") != device.get("ecc.pending-mode"):
        return worse(ECC, "error correction changes with the next reset of the device", *evidence, action=RESET)
    if wanted.corrects_errors(device):
        if device.get("ecc.mode") is False:
            action = "if nobody wants this: `nvidia-smi --ecc-config=1`, then reset the device"
            return worse(
                ECC, "error correction is off, which the product has on as it is delivered", *evidence, *sources(wanted), action=action
            )
        if now is None and not device.get("mig") and not device.get("confidential"):
            action = "look at `dmesg` for what the driver says of ECC or RAS, and whether a newer driver counts its errors"
            said = "it counts no errors of its memory, which the product does"
            return worse(ECC, said, *evidence, *sources(wanted), action=action)
    if now is None:
        return None
    life = f", {ever:.0f} in the device's life" if ever is not None else ""
    return good(ECC, f"no uncorrected error since the driver was loaded{life}", *evidence)


def _rows(wanted: Promise, device: Device) -> Result | None:
    evidence = shown(device, "rows.corrected", "rows.uncorrected", "rows.failed", "memory.unrepairable", *WAITING)
    if device.get("rows.failed"):
        action = "replace the device: it has no spare rows left where they are needed"
        return bad(ROWS, Cause.HARDWARE, "a row of memory failed and could not be replaced", *evidence, action=action)
    if device.get("memory.unrepairable"):
        action = "run NVIDIA's field diagnosis; a device that fails it is replaced"
        return bad(ROWS, Cause.HARDWARE, "it has memory that cannot be repaired", *evidence, action=action)
    if unread := first_unread(ROWS, device, "rows.failed", "memory.unrepairable", *WAITING):
        return unread
    if waiting := next((what for name, what in WAITING.items() if device.get(name)), None):
        return worse(ROWS, f"{waiting} is replaced with the next reset of the device", *evidence, action=RESET)
    if not evidence:
        return None
    return good(ROWS, "no row of memory is waiting to be replaced", *evidence)


def _recovery(wanted: Promise, device: Device) -> Result | None:
    action = device.get("recovery")
    if action is None:
        return first_unread(RECOVERY, device, "recovery")
    if action != "none":
        return bad(
            RECOVERY,
            Cause.UNKNOWN,
            f"the driver asks for a recovery: {action}",
            ("recovery", str(action)),
            action=str(action),
        )
    return good(RECOVERY, "the driver asks for no recovery", ("recovery", str(action)))


def _clocks(wanted: Promise, device: Device) -> Result | None:
    """Clocks that the driver says are held, and temperatures at which it holds them."""
    held, action = device.get("clocks.held-by"), "look at fans, air, and the power supply"
    if unread := first_unread(CLOCKS, device, "clocks.held-by", *itertools.chain(*SENSORS)):
        return unread
    evidence = shown(device, "clocks.held-by", *itertools.chain(*SENSORS), "power.watts", "clocks.mhz")
    reasons = [word for word in str(held).split() if word in SLOWED]
    if reasons:
        return worse(CLOCKS, f"its clocks are held: {SLOWED[reasons[0]]} ({held})", *evidence, action=action)
    pairs = [(seen, most) for here, limit in SENSORS if (seen := device.number(here)) and (most := device.number(limit))]
    if hot := next((pair for pair in pairs if pair[0] >= pair[1]), None):
        return worse(CLOCKS, f"it is {hot[0]:.0f} °C hot, its driver slows it down from {hot[1]:.0f} °C on", *evidence, action=action)
    if held is None and not pairs:
        return None
    normal = ", ".join(word for word in str(held or "").split() if word != "idle")
    said, degrees = f"no fault slows it down, only {normal}" if normal else "nothing slows it down", device.number("temperature.celsius")
    return good(CLOCKS, f"{said}{f', {degrees:.0f} °C' if degrees is not None else ''}", *evidence)


def _power(wanted: Promise, device: Device) -> Result | None:
    limit, default = device.number("power.limit-watts"), device.number("power.default-watts")
    if unread := first_unread(POWER, device, "power.limit-watts", "power.default-watts"):
        return unread
    if limit is None or default is None:
        return None
    product, least = (wanted.product.power_watts, wanted.product.power_minimum) if wanted.product else (None, None)
    evidence = (("limit-watts", f"{limit:.0f}"), ("default-watts", f"{default:.0f}"), ("product-watts", str(product or "unknown")))
    if limit < default:
        action = "if nobody wants this, set it back: `nvidia-smi --power-limit`, or amdgpu's file power1_cap"
        return worse(POWER, f"its power is limited to {limit:.0f} W of {default:.0f} W", *evidence, action=action)
    if least is not None and limit < least:
        said = f"its power limit is {limit:.0f} W, as it was made; the vendor's own diagnosis asks for {least} W"
        action = "compare its VBIOS with that of other devices of the product; the machine's maker may have limited it"
        return worse(POWER, said, *evidence, *sources(wanted), action=action)
    return good(POWER, f"its power limit is {limit:.0f} W", *evidence)


def _modes(wanted: Promise, device: Device) -> Result | None:
    """Settings that programs would stumble over: a split that nobody asked for, a device that lets no program in."""
    evidence = shown(device, "mig", "mig.pending", "mig.parts", "compute-mode", "persistence", "partitions")
    if device.get("compute-mode") == "prohibited":
        return bad(MODES, Cause.UNKNOWN, "it lets no program compute", *evidence, action="nvidia-smi --compute-mode=DEFAULT")
    if unread := first_unread(MODES, device, "mig", "mig.pending", "compute-mode", "persistence", "partitions"):
        return unread
    if not evidence:
        return None
    if wanted.mig:
        if unread := first_unread(MODES, device, "mig.parts"):
            return unread
        found = str(device.get("mig.parts") or "nothing") if device.get("mig") else "nothing: MIG is off"
        if found != wanted.mig:
            action = f"nvidia-smi --multi-instance-gpu=1, then `nvidia-smi mig -cgi {wanted.mig.replace(' ', ',')} -C`"
            return worse(MODES, f"it is to be split into {wanted.mig}, and is into {found}", *evidence, action=action)
    elif wanted.is_of_lock and (device.get("mig") or device.get("mig.pending")):
        return worse(
            MODES,
            "it is, or will be, split by MIG, which the lock does not ask for",
            *evidence,
            action="nvidia-smi --multi-instance-gpu=0",
        )
    if wanted.is_of_lock and (parts := device.number("partitions") or 1) > 1:
        action = "write SPX into its file current_compute_partition"
        return worse(MODES, f"it is split into {parts:.0f} parts, which the lock does not ask for", *evidence, action=action)
    if device.get("persistence") is False and wanted.is_of_lock:
        return worse(MODES, "its driver unloads it between programs", *evidence, action="systemctl status nvidia-persistenced")
    return good(MODES, "no mode is in the way", *evidence)


def link_floor(limits: Limits | None, device: Device) -> tuple[float | None, str]:
    """What copies must reach each way: the catalog's part of what the link carries.

    Where they are encrypted (Confidential Computing) the processor and a buffer in between set the pace
    (https://arxiv.org/html/2606.23969v1).
    """
    if device.get("confidential"):
        return None, "copies are encrypted"
    generation, lanes = link_now(device)
    part = limits.copies_of_link if limits else None
    if generation is None or lanes is None or int(generation) not in LANE_GBPS or part is None:
        return None, "nothing is known"
    return LANE_GBPS[int(generation)] * lanes * part, f"{part:.0%} of PCI Express {generation:.0f} x{lanes:.0f}"


def link_now(device: Device) -> tuple[float | None, float | None]:
    """Generation and lanes of the link, beside a program where one ran."""
    generation, lanes = (device.number(f"compute.pcie-{part}") or device.number(f"pcie.{part}") for part in ("generation", "lanes"))
    return generation, lanes


Check = Callable[[Promise, Device], Result | None]
CHECKS: tuple[Check, ...] = (
    _memory,
    _ecc,
    _rows,
    _recovery,
    _clocks,
    _power,
    _modes,
)


def shown(device: Device, *names: str) -> tuple[tuple[str, str], ...]:
    """The readings of those names that there are, as evidence."""
    return tuple((name, str(value)) for name in names if (value := device.get(name)) is not None)


def sources(wanted: Promise) -> tuple[tuple[str, str], ...]:
    """The catalog's product, as evidence of what a device was held against."""
    return (("catalog", wanted.product.id),) if wanted.product else ()


def is_idle(device: Device) -> bool:
    """Whether all who could have its memory can be seen, and nobody has it: neither programs nor screens, parts or virtual machines.

    Of AMD's devices nobody tells the screens.
    """
    others = device.number("compute.programs") or device.get("mig") or device.get("virtualization") in ("host-vgpu", "host-vsga", VGPU)
    return device.number("programs") == 0 and device.number("programs.graphics") == 0 and not others


def is_unsupported(device: Device, name: str) -> bool:
    """Whether this device, or every device of its vendor, does not tell it."""
    reading = device.values.get(name)
    return reading is None or reading.error == UNSUPPORTED


def cannot_tell(check: str, device: Device, name: str) -> Result:
    """What a check comes to whose reading has an error."""
    return untold(check, device.values.get(name, Reading(source="none", error="nobody asked")), name)


def first_unread(check: str, device: Device, *names: str) -> Result | None:
    """What a check comes to that rests on these readings, where one of them has an error: the first."""
    failed = next((name for name in names if not is_unsupported(device, name) and device.get(name) is None), None)
    return cannot_tell(check, device, failed) if failed else None
