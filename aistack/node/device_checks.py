"""What is asked of each accelerator: memory, links, clocks, modes, programs that ran there. Pure judgement over one device's readings.

Thresholds are the catalog's, by product, or the device's own; what neither knows is not judged. The cause is `hardware` only with evidence
that no driver's work could have made: the device's own counters of errors. A check that does not concern a device gives None.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

from aistack.facts.catalog import Accelerator
from aistack.facts.device_readings import JOINING, UNSUPPORTED, UNTRIED, Device, Plain
from aistack.facts.readings import Reading
from aistack.node.results import Cause, Outcome, Result, bad, good, untold, worse
from aistack.values import dataclass

MEMORY, ECC, ROWS, RECOVERY = "accelerator-memory", "accelerator-ecc", "accelerator-rows", "accelerator-recovery"
LINK, NVLINK, FABRIC, PEERS = "accelerator-link", "accelerator-nvlink", "accelerator-fabric", "accelerator-peers"
CLOCKS, POWER, MODES = "accelerator-clocks", "accelerator-power", "accelerator-modes"
COMPUTE, COPIES = "accelerator-compute", "accelerator-copies"

VGPU = "vgpu"
"""The virtualization of a device of which this virtual machine was given a part, in memory and time."""

LANE_GBPS = {1: 0.25, 2: 0.5, 3: 0.985, 4: 1.969, 5: 3.938, 6: 7.563}
"""GB/s of one PCI Express lane each way, by generation: transfers a second, less what its encoding takes."""

COPY_PART = 0.5
"""Of a link's rate, what copies must reach; packets' headers alone leave nine tenths of it."""

MEMORY_PART = 0.8
"""Of what the vendor's own test of the memory must reach, what copies inside it must. Estimated, as that test is another program: an H100's
copies reach 1.5 times that number (tests/data/h100.json), but of the vendors' numbers some are nearer to what the memory can do at all."""

SLOWED = {
    "hardware-slowdown": "the board itself slows the clocks down",
    "hardware-thermal": "the device is too hot",
    "software-thermal": "the device is too hot",
    "power-brake": "the machine's power supply asks for less",
}
"""Reasons for held clocks that an idle and healthy device does not give."""

SLOWER = frozenset({"degraded-bandwidth", "route-recovery", "access-timeout-recovery", "limited-capacity"})
"""What the fabric may say of a device that serves on, if slower; anything else cuts it off from the others."""

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
HARDWARE_ERRORS = ("ECC_UNCORRECTABLE", "HARDWARE_STACK_ERROR")
TAKEN_ERRORS = ("OUT_OF_MEMORY", "OUT_OF_RESOURCES", "DEVICE_UNAVAILABLE")
"""What a program hears where others have the memory, or the whole device."""
RESET = "reset the device (NVIDIA's: `nvidia-smi --gpu-reset -i DEVICE`), or reboot the node"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a machine's accelerators are held against: the product, where it is known, how many, the driver's version.

    `mig` are the parts that each is split into, by their profiles with spaces between; empty where none is to be split, None where nobody
    said so.
    """

    vendor: str
    product: Accelerator | None = None
    count: int | None = None
    driver: str | None = None
    mig: str | None = ""

    @property
    def is_fabric(self) -> bool:
        """Whether its devices reach each other only through switches that a program has to set up."""
        many = self.count is None or self.count > 1
        return self.product is not None and self.product.interconnect in ("nvswitch", "nvl72") and many

    def is_of_product(self, device: Device) -> bool:
        """Whether it is one of the promised product: machines have others beside them, such as a processor's own graphics."""
        return self.product is None or not self.product.pci_ids or device.get("pci.id") in self.product.pci_ids


def _memory(wanted: Promise, device: Device) -> Result | None:
    seen = device.number("memory.total-mib")
    if seen is None:
        silent = "memory.total-mib" not in device.values or (wanted.product is not None and wanted.product.shared_memory)
        return None if silent else _cannot_tell(MEMORY, device, "memory.total-mib")
    if device.get("virtualization") == VGPU:
        return good(MEMORY, f"{seen:.0f} MiB of memory, the part that this virtual machine was given", ("mib", f"{seen:.0f}"))
    least = wanted.product.least_memory if wanted.product else None
    if least is not None and seen < least[0] * 1024:
        evidence = (("mib", f"{seen:.0f}"), ("least-gib", f"{least[0]:.1f}, {least[1]}"), *_sources(wanted))
        action = "compare the product with the recipe; a device that lost memory is to be replaced"
        said = f"{seen:.0f} MiB of memory; a whole one shows {least[0]:.1f} GiB at least ({least[1]})"
        return bad(MEMORY, Cause.UNKNOWN, said, *evidence, action=action)
    return good(MEMORY, f"{seen:.0f} MiB of memory", ("mib", f"{seen:.0f}"))


def _ecc(wanted: Promise, device: Device) -> Result | None:
    """Errors that could not be corrected since the driver was loaded; those of the device's whole life, and the parts, where told."""
    now, ever = device.number("ecc.uncorrected"), device.number("ecc.uncorrected-ever")
    evidence = _evidence(device, "ecc.mode", "ecc.uncorrected", "ecc.corrected", "ecc.uncorrected-ever", "ecc.corrected-ever", "ecc.where")
    if device.get("ecc.sram-worn"):
        action = "run NVIDIA's field diagnosis; a device that fails it is replaced"
        said = "its SRAM had more errors than the vendor lets pass"
        return bad(ECC, Cause.HARDWARE, said, ("ecc.sram-worn", "True"), *evidence, action=action)
    if now is None:
        without = _is_unsupported(device, "ecc.uncorrected") or device.get("ecc.mode") is False
        return None if without else _cannot_tell(ECC, device, "ecc.uncorrected")
    if now:
        said = f"{now:.0f} errors of {device.get('ecc.where') or 'memory'} that could not be corrected"
        return bad(ECC, Cause.HARDWARE, said, *evidence, action=RESET)
    if device.get("ecc.mode") != device.get("ecc.pending-mode"):
        return worse(ECC, "error correction changes with the next reset of the device", *evidence, action=RESET)
    life = f", {ever:.0f} in the device's life" if ever is not None else ""
    return good(ECC, f"no uncorrected error since the driver was loaded{life}", *evidence)


def _rows(wanted: Promise, device: Device) -> Result | None:
    evidence = _evidence(device, "rows.corrected", "rows.uncorrected", "rows.pending", "rows.failed", "pages.pending")
    if device.get("rows.failed"):
        action = "replace the device: it has no spare rows left where they are needed"
        return bad(ROWS, Cause.HARDWARE, "a row of memory failed and could not be replaced", *evidence, action=action)
    if device.get("rows.pending") or device.get("pages.pending"):
        return worse(ROWS, "a row or page of memory is replaced with the next reset of the device", *evidence, action=RESET)
    if not evidence:
        return None if _is_unsupported(device, "rows.failed") else _cannot_tell(ROWS, device, "rows.failed")
    return good(ROWS, "no row of memory is waiting to be replaced", *evidence)


def _recovery(wanted: Promise, device: Device) -> Result | None:
    action = device.get("recovery")
    if action is None:
        return None if _is_unsupported(device, "recovery") else _cannot_tell(RECOVERY, device, "recovery")
    if action != "none":
        return bad(
            RECOVERY,
            Cause.UNKNOWN,
            f"the driver asks for a recovery: {action}",
            ("recovery", str(action)),
            action=str(action),
        )
    return good(RECOVERY, "the driver asks for no recovery", ("recovery", str(action)))


def _link(wanted: Promise, device: Device) -> Result | None:
    """The link to the host, against what the product and its slot can do; how fast it is only where it was read while it was awake.

    Drivers slow links down soon after a program ended, so that only what was read beside one counts.
    """
    generation, lanes = _link_now(device)
    if generation is None or lanes is None:
        return None if _is_unsupported(device, "pcie.lanes") else _cannot_tell(LINK, device, "pcie.lanes")
    least, product = (wanted.product.pcie_minimum, wanted.product.pcie) if wanted.product else (None, None)
    read = ("compute.pcie-generation", "compute.pcie-lanes", "pcie.generation", "pcie.lanes", "pcie.most-generation", "pcie.most-lanes")
    evidence = _evidence(device, *read, "pcie.replays")
    evidence = (*evidence, *_sources(wanted))
    most = (device.number("pcie.most-generation") or generation, device.number("pcie.most-lanes") or lanes)
    awake = device.get("compute.pcie-generation") is not None
    said = f"PCI Express {generation:.0f} x{lanes:.0f}"
    if lanes < most[1] or (awake and generation < most[0]):
        action = "seat the device or its riser again; a link that comes up narrow or slow is damaged or dirty"
        return worse(LINK, f"{said}, though device and slot can do {most[0]:.0f} x{most[1]:.0f}", *evidence, action=action)
    if least is not None and (lanes < least.lanes or (awake and generation < least.generation)):
        action = "give it a slot, or a virtual machine's port, that can do as much"
        return worse(LINK, f"{said}; the vendor's own diagnosis asks for {least.generation} x{least.lanes}", *evidence, action=action)
    of_product = (
        f", of the product's {product.generation} x{product.lanes}"
        if product and (generation, lanes) != (product.generation, product.lanes)
        else ""
    )
    return good(LINK, f"{said}{of_product}", *evidence)


def _links(wanted: Promise, device: Device) -> Result | None:
    """NVLinks through switches, all of which have to be up. Those for bridges may join none, some or all: how many, nobody promised.

    The parts of a device that is split use none, and an A100's are then off
    (https://docs.nvidia.com/datacenter/tesla/fabric-manager-user-guide/index.html).
    """
    up, there = device.number("links.up"), device.number("links.all")
    evidence = _evidence(device, "links.up", "links.all", "links.errors")
    if not wanted.is_fabric or device.get("mig"):
        return None if up is None else good(NVLINK, f"{up:.0f} of {there or up:.0f} NVLinks are up", *evidence)
    if up is None and device.get("virtualization") == "passthrough" and device.get("fabric.state") in (None, "not supported"):
        return worse(NVLINK, "this virtual machine was given the device without its NVLinks", *evidence)
    if up is None:
        action = "look at `dmesg` for NVLink and the fabric manager"
        return bad(NVLINK, Cause.UNKNOWN, "the driver shows no NVLink", *evidence, action=action)
    least = (wanted.product.links if wanted.product else None) or there or up
    if up < least:
        action = "look at `nvidia-smi nvlink -e` and the fabric manager's log; a link that stays down is a cable, a switch or the device"
        return bad(NVLINK, Cause.UNKNOWN, f"{up:.0f} of {least:.0f} NVLinks are up", *evidence, *_sources(wanted), action=action)
    return good(NVLINK, f"{up:.0f} NVLinks are up", *evidence)


def _peers(wanted: Promise, device: Device) -> Result | None:
    """The devices that this one reaches over Infinity Fabric: all others, as far as its links go."""
    reached, links = device.number("peers"), wanted.product.links if wanted.product else None
    if links is None or wanted.count is None or wanted.count == 1 or "peers" not in device.values:
        return None
    if reached is None:
        return _cannot_tell(PEERS, device, "peers")
    least = min(links, wanted.count - 1)
    evidence = (("peers", f"{reached:.0f}"), ("links", str(links)), *_sources(wanted))
    said = f"it reaches {reached:.0f} of {least} other devices over Infinity Fabric"
    action = "look at `dmesg` for XGMI; a device that stays out of the others' hive is to be seated again or replaced"
    if not reached:  # as in a virtual machine that was given no such links; where they are, the others miss this one
        return worse(PEERS, said, *evidence, action=action)
    if reached < least:
        return bad(PEERS, Cause.UNKNOWN, said, *evidence, action=action)
    return good(PEERS, said, *evidence)


def _fabric(wanted: Promise, device: Device) -> Result | None:
    state, status = device.get("fabric.state"), device.number("fabric.status")
    if not wanted.is_fabric:
        return None
    evidence = _evidence(device, "fabric.state", "fabric.status", "fabric.health")
    if state is None or state == "not supported":
        return None if _is_unsupported(device, "fabric.state") or state is not None else _cannot_tell(FABRIC, device, "fabric.state")
    if ("fabric.state", state) == JOINING:
        return Result(
            name=FABRIC,
            outcome=Outcome.UNKNOWN,
            message="its registration with the fabric is still going on",
            evidence=evidence,
        )
    if state != "completed" or status:
        said = f"its registration with the fabric is {state}, status {status or 0:.0f}"
        return bad(
            FABRIC,
            Cause.UNKNOWN,
            said,
            *evidence,
            action="systemctl status nvidia-fabricmanager; its version must be the driver's",
        )
    health = str(device.get("fabric.health") or "").split()
    if not health:
        return good(FABRIC, "its registration with the fabric is completed", *evidence)
    said, action = f"the fabric says of it: {' '.join(health)}", "look at the fabric manager's log, and at NVLink's cables and switches"
    if set(health) <= SLOWER:
        return worse(FABRIC, said, *evidence, action=action)
    return bad(FABRIC, Cause.UNKNOWN, said, *evidence, action=action)


def _clocks(wanted: Promise, device: Device) -> Result | None:
    """Clocks that the driver says are held, and temperatures at which it holds them."""
    held, action = device.get("clocks.held-by"), "look at fans, air, and the power supply"
    if held is None and not _is_unsupported(device, "clocks.held-by"):
        return _cannot_tell(CLOCKS, device, "clocks.held-by")
    evidence = _evidence(device, "clocks.held-by", *itertools.chain(*SENSORS), "power.watts", "clocks.mhz")
    reasons = [word for word in str(held).split() if word in SLOWED]
    if reasons:
        return worse(CLOCKS, f"its clocks are held: {SLOWED[reasons[0]]} ({held})", *evidence, action=action)
    pairs = [(seen, most) for here, limit in SENSORS if (seen := device.number(here)) and (most := device.number(limit))]
    if hot := next((pair for pair in pairs if pair[0] >= pair[1]), None):
        return worse(CLOCKS, f"it is {hot[0]:.0f} °C hot, its driver slows it down from {hot[1]:.0f} °C on", *evidence, action=action)
    if held is None and not pairs:
        return None
    return good(CLOCKS, f"nothing slows it down, {device.number('temperature.celsius') or 0:.0f} °C", *evidence)


def _power(wanted: Promise, device: Device) -> Result | None:
    limit, default = device.number("power.limit-watts"), device.number("power.default-watts")
    if limit is None or default is None:
        return None
    product = wanted.product.power_watts if wanted.product else None
    evidence = (("limit-watts", f"{limit:.0f}"), ("default-watts", f"{default:.0f}"), ("product-watts", str(product or "unknown")))
    if limit < default:
        action = "if nobody wants this, set it back: `nvidia-smi --power-limit`, or amdgpu's file power1_cap"
        return worse(POWER, f"its power is limited to {limit:.0f} W of {default:.0f} W", *evidence, action=action)
    return good(POWER, f"its power limit is {limit:.0f} W", *evidence)


def _modes(wanted: Promise, device: Device) -> Result | None:
    """Settings that programs would stumble over: a split that nobody asked for, a device that lets no program in."""
    evidence = _evidence(device, "mig", "mig.pending", "mig.parts", "compute-mode", "persistence", "partitions")
    if not evidence:
        return None
    if device.get("compute-mode") == "prohibited":
        return bad(MODES, Cause.UNKNOWN, "it lets no program compute", *evidence, action="nvidia-smi --compute-mode=DEFAULT")
    if wanted.mig:
        found = str(device.get("mig.parts") or "nothing") if device.get("mig") else "nothing: MIG is off"
        if found != wanted.mig:
            action = f"nvidia-smi --multi-instance-gpu=1, then `nvidia-smi mig -cgi {wanted.mig.replace(' ', ',')} -C`"
            return worse(MODES, f"it is to be split into {wanted.mig}, and is into {found}", *evidence, action=action)
    elif wanted.mig is not None and (device.get("mig") or device.get("mig.pending")):
        return worse(
            MODES,
            "it is, or will be, split by MIG, which the lock does not ask for",
            *evidence,
            action="nvidia-smi --multi-instance-gpu=0",
        )
    if wanted.mig is not None and (parts := device.number("partitions") or 1) > 1:
        action = "write SPX into its file current_compute_partition"
        return worse(MODES, f"it is split into {parts:.0f} parts, which the lock does not ask for", *evidence, action=action)
    if device.get("persistence") is False:
        return worse(MODES, "its driver unloads it between programs", *evidence, action="systemctl status nvidia-persistenced")
    return good(MODES, "no mode is in the way", *evidence)


def _compute(wanted: Promise, device: Device) -> Result | None:
    """Whether programs run there, on each part of a device that is split, and give right answers."""
    reading = device.values.get("compute")
    if reading is None:
        return None
    if device.get("mig") and not device.get("mig.parts"):
        if device.get("mig.parts") is None:
            return _cannot_tell(COMPUTE, device, "mig.parts")
        action = "make parts (`nvidia-smi mig -cgi PROFILE -C`), or end the mode (`nvidia-smi --multi-instance-gpu=0`)"
        return worse(COMPUTE, "no program was run there: MIG is on, and it has no parts", action=action)
    return _of_part(device, _ran(device, reading))


def _ran(device: Device, reading: Reading[Plain]) -> Result:
    names = ("compute.part", "compute.wrong-answers", "compute.wrong-words", "compute.tested-mib", "compute.seconds")
    evidence = _evidence(device, *names)
    if reading.value is None:
        error, programs = reading.error or "", device.number("compute.programs" if device.get("compute.part") else "programs")
        if error.startswith(UNTRIED):
            action = "nothing keeps apps from starting; whether they answer is then the only proof"
            return worse(COMPUTE, f"no program was run there: {error}", ("error", error), action=action)
        if programs and any(word in error for word in TAKEN_ERRORS):
            said = f"cannot tell whether it computes: it is taken by {programs:.0f} programs"
            return Result(name=COMPUTE, outcome=Outcome.UNKNOWN, message=said, evidence=(("error", error), *evidence))
        software, hardware = (any(word in error for word in words) for words in (SOFTWARE_ERRORS, HARDWARE_ERRORS))
        cause = Cause.HARDWARE if hardware else Cause.SOFTWARE if software else Cause.UNKNOWN
        return bad(COMPUTE, cause, f"no program runs there: {error}", ("error", error), *evidence, action=_mend(error))
    wrong = [(name, number) for name in ("compute.wrong-answers", "compute.wrong-words") if (number := device.number(name))]
    if wrong:
        said = f"it computes wrongly: {wrong[0][1]:.0f} wrong {wrong[0][0].rpartition('-')[2]}"
        return bad(COMPUTE, Cause.UNKNOWN, said, *evidence, action="take it out of service; run the vendor's diagnosis")
    tested = device.number("compute.tested-mib")
    kept = f", {tested:.0f} MiB of memory keep what is written" if tested else ""
    return good(COMPUTE, f"a program ran and its answer was right{kept}, {device.number('compute.seconds') or 0:.1f} s", *evidence)


def _of_part(device: Device, result: Result) -> Result:
    """A result of programs, told with the part of a device that is split (MIG) that it is of: the worst."""
    part, parts = device.get("compute.part"), str(device.get("mig.parts") or "").split()
    return replace(result, message=f"part {part}, the worst of {len(parts)}: {result.message}") if part else result


def _mend(error: str) -> str:
    if "SYSTEM_NOT_READY" in error:
        return "CUDA waits for the fabric (`systemctl status nvidia-fabricmanager`) or, confidential, for `nvidia-smi conf-compute -srs 1`"
    if "DEVICE_UNAVAILABLE" in error or "EXCLUSIVE" in error:
        return "another program holds the device: `nvidia-smi` names it"
    return "look at `dmesg` for what the driver says of it"


def _copies(wanted: Promise, device: Device) -> Result | None:
    """Copies between host and device, and inside its memory, against what the vendor's own diagnosis asks for."""
    to, back, inside = (device.number(f"copies.{way}-gbps") for way in ("to-device", "from-device", "inside"))
    if to is None or back is None or inside is None:
        return None
    least, why = link_floor(device)
    # AMD's number is of another program (BabelStream) than the copies of its runtime that are measured here.
    asked = wanted.product.memory_bandwidth_minimum if wanted.product and wanted.vendor == "nvidia" else None
    within = MEMORY_PART * asked if asked else None
    said = f"{to:.1f} GB/s to it, {back:.1f} GB/s from it, {inside:.0f} GB/s inside"
    evidence = _evidence(device, "copies.to-device-gbps", "copies.from-device-gbps", "copies.inside-gbps")
    floors = (
        ("floor-gbps", f"{least:.1f}, {why}" if least else "none"),
        ("floor-inside-gbps", f"{within:.0f}, of {asked}" if within else "none"),
    )
    evidence = (*evidence, *floors, *_sources(wanted))
    if device.get("virtualization") == VGPU or device.get("compute.part"):
        return _of_part(device, good(COPIES, f"{said}; in a part of a device no floor holds", *evidence))
    if programs := device.number("programs"):
        return good(COPIES, f"{said}; beside {programs:.0f} programs no floor holds", *evidence)
    if least is not None and min(to, back) < least:
        action = "look at the link's width, at the slot's processor (NUMA), and at what else uses the bus"
        return worse(COPIES, f"copies are slow: {said}; at least {least:.1f} GB/s are expected ({why})", *evidence, action=action)
    if within is not None and inside < within:
        action = "look at the memory's clocks, and at what else runs on the device"
        least_said = f"at least {within:.0f} GB/s are expected, for the vendor's own diagnosis asks for {asked}"
        return worse(COPIES, f"its memory is slow: {said}; {least_said}", *evidence, action=action)
    return good(COPIES, said, *evidence)


def link_floor(device: Device) -> tuple[float | None, str]:
    """What copies must reach each way: no vendor names a number, so a part of what the link carries.

    Where they are encrypted (Confidential Computing) the processor and a buffer in between set the pace
    (https://arxiv.org/html/2606.23969v1).
    """
    if device.get("confidential"):
        return None, "copies are encrypted"
    generation, lanes = _link_now(device)
    if generation is None or lanes is None or int(generation) not in LANE_GBPS:
        return None, "nothing is known"
    return LANE_GBPS[int(generation)] * lanes * COPY_PART, f"half of PCI Express {generation:.0f} x{lanes:.0f}"


def _link_now(device: Device) -> tuple[float | None, float | None]:
    """Generation and lanes of the link, beside a program where one ran."""
    generation, lanes = (device.number(f"compute.pcie-{part}") or device.number(f"pcie.{part}") for part in ("generation", "lanes"))
    return generation, lanes


Check = Callable[[Promise, Device], Result | None]
CHECKS: tuple[Check, ...] = (
    _memory,
    _ecc,
    _rows,
    _recovery,
    _link,
    _links,
    _peers,
    _fabric,
    _clocks,
    _power,
    _modes,
    _compute,
    _copies,
)


def _evidence(device: Device, *names: str) -> tuple[tuple[str, str], ...]:
    return tuple((name, str(value)) for name in names if (value := device.get(name)) is not None)


def _sources(wanted: Promise) -> tuple[tuple[str, str], ...]:
    return (("catalog", wanted.product.id),) if wanted.product else ()


def _is_unsupported(device: Device, name: str) -> bool:
    """Whether this device, or every device of its vendor, does not tell it."""
    reading = device.values.get(name)
    return reading is None or reading.error == UNSUPPORTED


def _cannot_tell(check: str, device: Device, name: str) -> Result:
    return untold(check, device.values.get(name, Reading(source="none", error="nobody asked")), name)
