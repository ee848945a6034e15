"""What programs came to that ran on each accelerator: answers, memory, copies, by the rules of `device_checks`."""

from __future__ import annotations

from dataclasses import replace

from aistack.facts.device_readings import UNTRIED, Device, Plain
from aistack.facts.readings import Reading
from aistack.node.device_checks import RESET, SOFTWARE_ERRORS, VGPU, Check, Promise, cannot_tell, is_idle, link_floor, shown, sources
from aistack.node.results import Cause, Outcome, Result, bad, good, several, worse

COMPUTE, COPIES = "accelerator-compute", "accelerator-copies"

LEAKED = f"if no program is there that could not be seen, {RESET}"

HARDWARE_ERRORS = ("ECC_UNCORRECTABLE", "HARDWARE_STACK_ERROR")
TAKEN_ERRORS = ("OUT_OF_MEMORY", "OUT_OF_RESOURCES", "DEVICE_UNAVAILABLE")
"""What a program hears where others have the memory, or the whole device."""


def _compute(wanted: Promise, device: Device) -> Result | None:
    """Whether programs run there, on each part of a device that is split, and give right answers."""
    reading = device.values.get("compute")
    if reading is None:
        return None
    if device.get("mig") and not device.get("mig.parts"):
        if device.get("mig.parts") is None:
            return cannot_tell(COMPUTE, device, "mig.parts")
        action = "make parts (`nvidia-smi mig -cgi PROFILE -C`), or end the mode (`nvidia-smi --multi-instance-gpu=0`)"
        return worse(COMPUTE, "no program was run there: MIG is on, and it has no parts", action=action)
    return _of_part(device, _ran(device, reading))


def _ran(device: Device, reading: Reading[Plain]) -> Result:
    names = ("compute.part", "compute.wrong-answers", "compute.wrong-words", "compute.free-mib", "compute.tested-mib", "compute.seconds")
    evidence = shown(device, *names)
    if reading.value is None:
        error, programs = reading.error or "", _programs(device)
        if error.startswith(UNTRIED):
            action = "nothing keeps apps from starting; whether they answer is then the only proof"
            return worse(COMPUTE, f"no program was run there: {error}", ("error", error), action=action)
        if programs and any(word in error for word in TAKEN_ERRORS):
            said = f"cannot tell whether it computes: it is taken by {several(programs, 'program')}"
            return Result(name=COMPUTE, outcome=Outcome.UNKNOWN, message=said, evidence=(("error", error), *evidence))
        software, hardware = (any(word in error for word in words) for words in (SOFTWARE_ERRORS, HARDWARE_ERRORS))
        cause = Cause.HARDWARE if hardware else Cause.SOFTWARE if software else Cause.UNKNOWN
        return bad(COMPUTE, cause, f"no program runs there: {error}", ("error", error), *evidence, action=_mend(error))
    wrong = [(noun, number) for noun in ("answer", "word") if (number := device.number(f"compute.wrong-{noun}s"))]
    if wrong:
        said = f"it computes wrongly: {several(wrong[0][1], f'wrong {wrong[0][0]}')}"
        return bad(COMPUTE, Cause.UNKNOWN, said, *evidence, action="take it out of service; run the vendor's diagnosis")
    said, tested = "a program ran and its answer was right", device.number("compute.tested-mib")
    if tested == 0:
        said = f"{said}, but no memory was tried: {_left(device)}"
        return worse(COMPUTE, said, *evidence, action=LEAKED) if is_idle(device) else good(COMPUTE, said, *evidence)
    kept = f", {tested:.0f} MiB of memory keep what is written" if tested else ""
    return good(COMPUTE, f"{said}{kept}, {device.number('compute.seconds') or 0:.1f} s", *evidence)


def _programs(device: Device) -> float:
    """Whoever is on the device, or the part of it, beside the program that tried it: before, meanwhile or after.

    Where not all programs can be seen, memory that no listed one has is another's.
    """
    after = None if device.get("compute.part") else device.number("programs")
    unseen = device.number("programs") is None and device.get("compute.unlisted")
    return max(device.number("compute.programs") or 0, after or 0, 1 if unseen else 0)


def _left(device: Device) -> str:
    return f"{device.number('compute.free-mib') or 0:.0f} MiB of it are free{', and no program is seen on it' if is_idle(device) else ''}"


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
        if device.get("compute") is None or device.get("compute.free-mib") is None:
            return None  # that no program ran, or which step failed, is told above
        said, evidence = f"no copies were tried: {_left(device)}", shown(device, "compute.free-mib", "programs")
        return _of_part(device, worse(COPIES, said, *evidence, action=LEAKED) if is_idle(device) else good(COPIES, said, *evidence))
    least, why = link_floor(wanted.limits, device)
    part = wanted.limits.copies_of_test if wanted.limits else None
    asked = wanted.product.memory_bandwidth_minimum if wanted.product else None
    within = part * asked if part and asked else None
    said = f"{to:.1f} GB/s to it, {back:.1f} GB/s from it, {inside:.0f} GB/s inside"
    evidence = shown(device, "copies.to-device-gbps", "copies.from-device-gbps", "copies.inside-gbps")
    floors = (
        ("floor-gbps", f"{least:.1f}, {why}" if least else "none"),
        ("floor-inside-gbps", f"{within:.0f}, of {asked}" if within else "none"),
    )
    evidence = (*evidence, *floors, *sources(wanted))
    if device.get("virtualization") == VGPU or device.get("compute.part"):
        return _of_part(device, good(COPIES, f"{said}; in a part of a device no floor holds", *evidence))
    if programs := _programs(device):
        return good(COPIES, f"{said}; beside {several(programs, 'program')} no floor holds", *evidence)
    if least is not None and min(to, back) < least:
        action = "look at the link's width, at the slot's processor (NUMA), and at what else uses the bus"
        return worse(COPIES, f"copies are slow: {said}; at least {least:.1f} GB/s are expected ({why})", *evidence, action=action)
    if within is not None and inside < within:
        action = "look at the memory's clocks, and at what else runs on the device"
        least_said = f"at least {within:.0f} GB/s are expected, for the vendor's own diagnosis asks for {asked}"
        return worse(COPIES, f"its memory is slow: {said}; {least_said}", *evidence, action=action)
    return good(COPIES, said, *evidence)


CHECKS: tuple[Check, ...] = (_compute, _copies)
