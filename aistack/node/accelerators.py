"""Are the accelerators what the lock promises? The driver as a whole, how many devices it knows, and what the kernel's log says of them."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from aistack.facts.device_readings import CUT, HANGS, NOBODY, UNASKED, UNSUPPORTED, Accelerators, Device, KernelEvent
from aistack.facts.faults import Fault, Faults
from aistack.facts.kernel_log import CONTAINED
from aistack.facts.readings import Reading
from aistack.node import device_checks, link_checks, program_checks
from aistack.node.device_checks import RESET, SOFTWARE_ERRORS, Promise
from aistack.node.program_checks import COMPUTE
from aistack.node.results import Cause, Outcome, Result, bad, good, several, untold, worse

CHECKS = (*device_checks.CHECKS, *link_checks.CHECKS, *program_checks.CHECKS)
COUNT, DRIVER, LOG, MACHINE = "accelerator-count", "accelerator-driver", "accelerator-log", "machine-log"
OURS = (CUT, UNASKED)
"""How errors begin that are neither the driver's nor a device's, but of whoever checks."""


def judge(wanted: Promise, seen: Accelerators, faults: Mapping[str, Faults]) -> tuple[Result, ...]:
    """Every check of every device; what all devices passed is one result, what one did not pass names that device.

    `faults` are the codes that a driver writes into the kernel's log, by the kind of the event (`xid`, `sxid`, `amdgpu`).
    """
    if seen.devices.value is None:
        return (_no_driver(seen), *_log(seen, faults))
    devices = seen.devices.value
    answering = [device for device in devices if device.lost is None and wanted.is_judged(device)]
    checked = (_about(device, check(wanted.of(device), device)) for check in CHECKS for device in answering)
    found = (result for result in checked if result is not None)
    return (_count(wanted, devices), _driver(wanted, seen), *_together(found), *_log(seen, faults))


def _about(device: Device, result: Result | None) -> Result | None:
    compute = device.values.get("compute")
    if result is not None and result.name == COMPUTE and compute is not None and (compute.error or "").startswith(OURS):
        result = untold(COMPUTE, compute, "whether programs run there")
    return None if result is None else replace(result, device=device.address)


def _together(results: Iterable[Result]) -> Iterator[Result]:
    """One result for all devices that pass a check, one each for the others; results of one check stand side by side."""
    for _, group in itertools.groupby(results, key=lambda result: result.name):
        found = list(group)
        well = [result for result in found if result.outcome is Outcome.HEALTHY]
        if len(well) == 1:
            yield well[0]
        elif well:
            said = tuple((result.device or "?", result.message) for result in well)
            yield good(well[0].name, f"{len(well)} devices, the first: {well[0].message}", *said)
        yield from (replace(result, message=f"{result.device}: {result.message}") for result in found if result not in well)


def _no_driver(seen: Accelerators) -> Result:
    error = seen.devices.error or ""
    if seen.devices.source == NOBODY or error.startswith(OURS):
        return untold(DRIVER, seen.devices, "what the driver says")
    software = any(word in error for word in SOFTWARE_ERRORS)
    evidence = (("source", seen.devices.source), *((name, str(reading.value or reading.error)) for name, reading in seen.driver.items()))
    module = seen.driver.get("module")
    action = "the driver's module and its library differ, or one is missing: `aistack verify` names it" if software else "look at `dmesg`"
    if "DriverNotLoaded" in error and module is not None and module.value is not None:
        action = "its module is loaded, so look whether it has its nodes: `ls /dev/nvidia*`; `nvidia-modprobe -u -c 0` makes them"
    cause = Cause.SOFTWARE if software else Cause.UNKNOWN
    return bad(DRIVER, cause, f"the driver does not answer: {error}", *evidence, action=action)


def _count(wanted: Promise, devices: Sequence[Device]) -> Result:
    others = [device for device in devices if not wanted.is_of_product(device) and (device.lost is None or device.get("pci.id"))]
    lost = [device for device in devices if device.lost is not None and device not in others]
    evidence = tuple((device.address, f"{device.get('name')} {device.get('pci.id')}") for device in devices)
    hanging = next((device for device in lost if str(device.lost).startswith(HANGS)), None)
    if hanging is not None:
        said = f"{hanging.address} {hanging.lost}; {len(devices) - len(lost)} of {several(len(devices), 'device')} answered before it"
        return replace(bad(COUNT, Cause.UNKNOWN, said, *evidence, action=RESET), device=hanging.address)
    if any(str(device.lost).startswith(CUT) for device in lost):
        return untold(COUNT, lost[0].values["device"], f"more than {len(devices) - len(lost)} of {several(len(devices), 'device')}")
    if lost:
        said = f"the driver lost {len(lost)} of {several(len(devices), 'device')}: {lost[0].lost}"
        return bad(COUNT, Cause.UNKNOWN, said, *evidence, action=RESET)
    fitting = len(devices) - len(others)
    if wanted.count is None:
        return good(COUNT, f"the driver knows {several(fitting, 'device')}", *evidence)
    said = f"{wanted.count} devices ({wanted.said})" if wanted.each else wanted.said
    if fitting < wanted.count:
        also = f", and {several(len(others), 'other')}" if others else ""
        action = "a device that is on the bus and not here did not start (`dmesg`), or another driver has it (`lspci -k`)"
        return bad(COUNT, Cause.UNKNOWN, f"the driver knows {fitting} of {said}{also}", *evidence, action=action)
    return good(COUNT, f"the driver knows {wanted.said}", *evidence)


def _driver(wanted: Promise, seen: Accelerators) -> Result:
    """The module in the kernel, the library, the firmware on each device and the lock agree on one version, as far as there are such."""
    version, module = seen.driver["version"], seen.driver.get("module")
    if version.value is None:
        return untold(DRIVER, version, "the driver's version")
    versions = {"library" if module is not None else "module": str(version.value)}
    if module is not None and module.value is not None:
        versions["module"] = str(module.value)
    versions |= {f"firmware of {device.address}": str(value) for device in seen.devices.value or () if (value := device.get("firmware"))}
    if wanted.driver is not None:
        versions["lock"] = wanted.driver.partition("-")[0]
    if len(set(versions.values())) > 1:
        said = ", ".join(f"{who} {version}" for who, version in versions.items())
        action = "start the node again; if that does not help, build the system image again"
        return bad(DRIVER, Cause.SOFTWARE, f"the driver's parts differ: {said}", *versions.items(), action=action)
    parts = (("module", module), *((f"firmware of {device.address}", device.values.get("firmware")) for device in seen.devices.value or ()))
    unread = next(((who, one) for who, one in parts if one is not None and one.error not in (None, UNSUPPORTED)), None)
    if unread is not None:
        return untold(DRIVER, unread[1], f"which version its {unread[0]} has")
    return good(DRIVER, f"driver {version.value}: {', '.join(versions)}", *versions.items())


def _log(seen: Accelerators, faults: Mapping[str, Faults]) -> Iterator[Result]:
    """What the driver wrote into the kernel's log since boot, by the catalog's classes; what the kernel wrote of the machine."""
    if seen.log.value is None:
        yield untold(LOG, seen.log, "what the kernel said")
        return
    lasting, devices = list(_lasting(seen.log.value, faults)), seen.devices.value or ()
    told = [event for event in lasting if event.kind in faults]
    found = [result for event in _first_of_each(told) if (result := _fault(event, faults[event.kind].fault(event.code))) is not None]
    found += _recoveries(told, devices)
    yield from found
    gap = next((event for event in lasting if event.kind == "gap"), None)
    if gap is not None and gap.code == "unread":
        yield untold(LOG, Reading(source="journalctl", error=gap.message), f"what the kernel said before second {gap.seconds:.0f}")
    elif not found:
        codes = ", ".join(sorted({f"{NAMES[event.kind]} {event.code}" for event in told}))
        since = "since boot" if gap is None else f"since second {gap.seconds:.0f}, where what is left of the kernel's log begins"
        yield good(LOG, f"nothing {since} that would be the device's fault: {codes}" if codes else f"no fault {since}")
    yield from _machine(lasting, {device.address for device in devices})


def _machine(lasting: Sequence[KernelEvent], accelerators: Container[str]) -> Iterator[Result]:
    """What the kernel said of the machine: somebody has to look at some of it, and what was corrected is told."""
    about = [event for event in lasting if event.kind not in (*NAMES, "mended", "gap")]
    bad = [event for event in about if (event.kind, event.code) in OF_THE_MACHINE]
    bad += [event for event in about if (event.kind, event.code) == NOT_FATAL and event.address in accelerators]
    for event in _first_of_each(bad):
        said, action = OF_THE_MACHINE.get((event.kind, event.code), OF_AN_ACCELERATOR)
        at = f"{event.address}: " if event.address else ""
        yield replace(worse(MACHINE, f"{at}{said}", *_line(event), action=action), device=event.address)
    rest = [(event.address or event.kind, f"{event.times} x {event.kind} {event.code}") for event in about if event not in bad]
    if rest:
        said = "; ".join(f"{number}{f' at {at}' if ':' in at else ''}" for at, number in rest[:MOST_TOLD])
        more = f"; {len(rest) - MOST_TOLD} more" if len(rest) > MOST_TOLD else ""
        yield good(MACHINE, f"the kernel reports what did no harm to the machine: {said}{more}", *rest)


def _lasting(events: Sequence[KernelEvent], faults: Mapping[str, Faults]) -> Iterator[KernelEvent]:
    """The events but those that were over when NVIDIA's driver was loaded; what was over else is not among them."""
    loaded = max((place for place, event in enumerate(events) if event.kind == "mended" and event.address is None), default=-1)
    yield from (event for place, event in enumerate(events) if place > loaded or not _ends_with_driver(event, faults))


def _ends_with_driver(event: KernelEvent, faults: Mapping[str, Faults]) -> bool:
    """Whether NVIDIA's driver, loaded anew, is rid of it. What the device itself had it has until it is reset or replaced."""
    if event.kind not in ("xid", "sxid") or event.kind not in faults:
        return False
    fault = faults[event.kind].fault(event.code)
    return fault is None or fault.kind != "hardware"


NAMES = {"xid": "Xid", "sxid": "SXid", "amdgpu": "amdgpu:"}

CAUSES = {"hardware": Cause.HARDWARE, "link": Cause.UNKNOWN, "driver": Cause.UNKNOWN, "unclear": Cause.UNKNOWN}
"""By the kind of fault: what a device, a link or the driver's firmware did; applications' faults and notices are none of the node's."""


SLOT, MODULE = "look at the slot, the riser and what is plugged into it", "have the memory module examined that the message names"
UNCORRECTED = "an error of the machine's memory that could not be corrected"
CHECK = "the machine's processor or memory had an error that could not be corrected"
OF_THE_MACHINE = {
    ("aer", "fatal"): ("a fatal error of PCI Express", SLOT),
    **{("dpc", code): ("the port cut its link off after an error of PCI Express", SLOT) for code in CONTAINED},
    ("edac", "ue"): (UNCORRECTED, MODULE),
    ("mce", "uncorrected"): (CHECK, "`ras-mc-ctl --errors` or the vendor's tool names the part; have it examined"),
    ("memory", "memory"): (UNCORRECTED, "`ras-mc-ctl --errors` or the machine's management names the module; have it examined"),
    ("firmware", "fatal"): ("the firmware reports a fatal error of the hardware", "have the part examined that the message names"),
    ("firmware", "recoverable"): (
        "the firmware reports an error of the hardware that was not corrected",
        "have the part examined that the message names",
    ),
}
"""What the kernel says of the bus, the processors and the memory that all devices need: the machine serves on, and somebody has to look."""

NOT_FATAL, OF_AN_ACCELERATOR = ("aer", "non-fatal"), ("an error of PCI Express that could not be corrected, and was not fatal", SLOT)
"""Of other devices these are told: some make one at each start, for requests that they do not know (UnsupReq)."""

MOST_TOLD = 8


def _first_of_each(events: Iterable[KernelEvent]) -> Iterator[KernelEvent]:
    """The first event of each code, as bad as it is, on each device."""
    seen = set()
    for event in events:
        if (event.address, event.code, event.word) not in seen:
            seen.add((event.address, event.code, event.word))
            yield event


def _fault(event: KernelEvent, fault: Fault | None) -> Result | None:
    """What a code means; one that the driver itself calls not fatal lets the device serve on, and so does one that nobody explains."""
    said = f"{event.address}: {NAMES[event.kind]} {event.code}"
    if event.kind == "sxid" and event.word is None:
        return None  # a switch says first how grave it is; the lines after that have its registers
    if fault is None:
        if event.word == "nonfatal":
            return None
        action = "look the code up in its vendor's newest documents; if apps fail on the device, take the node out"
        return replace(worse(LOG, f"{said}, which is not in the catalog", *_line(event), action=action), device=event.address)
    if fault.kind not in CAUSES:
        return None
    said = f"{said}, {fault.name}"
    if event.word == "nonfatal":
        return replace(worse(LOG, f"{said}; the driver calls it not fatal", *_line(event), action=fault.action), device=event.address)
    return replace(bad(LOG, CAUSES[fault.kind], said, *_line(event), action=fault.action), device=event.address)


def _recoveries(told: Iterable[KernelEvent], devices: Iterable[Device]) -> Iterator[Result]:
    """What the driver asked for last (Xid 154), of devices that do not answer; those that do tell it themselves, and newer."""
    answering = {device.address for device in devices if device.get("recovery") is not None}
    last = {event.address: event for event in told if (event.kind, event.code) == ("xid", "154")}
    for event in last.values():
        if event.word not in (None, "none") and event.address not in answering:
            said = f"{event.address}: the driver asks for a recovery: {event.word}"
            yield replace(bad(LOG, Cause.UNKNOWN, said, *_line(event), action=event.word), device=event.address)


def _line(event: KernelEvent) -> tuple[tuple[str, str], ...]:
    often = (("times", str(event.times)), ("last-seconds", f"{event.last:.0f}")) if event.last is not None else ()
    return ("message", event.message), ("seconds", f"{event.seconds:.0f}"), *often
