"""The whole reading of a machine's accelerators: each vendor's driver in a process of its own, and the kernel's log."""

from __future__ import annotations

import itertools
import math
import re
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aistack.facts.device_readings import CUT, HANGS, NOBODY, UNTRIED, Accelerators, Device, Plain, from_plain
from aistack.facts.readings import Reading
from aistack.host.probes.apart import ask
from aistack.host.probes.kernel_log import kernel_log
from aistack.host.probes.reading import inside, read
from aistack.host.process import left
from aistack.values import dataclass

SECONDS = {"none": 30.0, "quick": 60.0, "standard": 120.0, "thorough": 600.0}
"""How long a driver may take to answer, by the level of the check; at `none` nothing is computed."""

PART = 0.8
"""Of the time that is left, what programs may take: after them the driver is asked again."""
MOST_DEVICES = 256
"""More than any machine has: a driver in trouble may count any number."""

ENVIRONMENT = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_CACHE_DISABLE": "1"}
"""Of the programs: NVML's order of devices, and nothing compiled is left in somebody's home."""

MODULE = "/sys/module/nvidia/version"
OPENNESS = "/proc/driver/nvidia/version"

WHOLE_MACHINE = "pid:[4026531836]"
"""Where the link below leads to of a program that sees all others: the kernel's PROC_PID_INIT_INO (include/linux/proc_ns.h, Linux 6.18)."""
NAMESPACE = "/proc/self/ns/pid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """The probes of one vendor, each a program below aistack.host.probes: `asks` reads its driver, `computes` tries the devices.

    `driver` and `library` are whom they ask; `rooted` says that the driver is read from files below a root. None computes where that takes
    what no node has.
    """

    asks: str
    driver: str
    rooted: bool
    computes: str | None
    library: str


PROBES = {
    "nvidia": Programs(asks="nvidia", driver="NVML", rooted=False, computes="cuda", library="libcuda.so.1"),
    "amd": Programs(asks="amd", driver="amdgpu", rooted=True, computes="hsa", library="libhsa-runtime64.so.1"),
    "gaudi": Programs(asks="gaudi", driver="habanalabs", rooted=True, computes=None, library="SynapseAI"),
}


def take_accelerators(root: Path, vendor: str, level: str, *, serials: bool = False) -> Accelerators:
    """Everything that `vendor`'s driver tells at that level; never raises, each reading carries its own error.

    The driver is asked first, and programs run only where it answers; then it is asked again, so that what they did to a device is seen.
    Serial numbers and UUIDs are read only with `serials`.
    """
    log = kernel_log(root)
    programs = PROBES.get(vendor)
    if programs is None:
        nobody: Reading[tuple[Device, ...]] = Reading(source=NOBODY, error=f"no probe knows {vendor}'s driver")
        return Accelerators(devices=nobody, log=log, level=level)
    arguments = [str(root)] if programs.rooted else ["--serials"] if serials else []

    def ask_driver() -> Reading[Any]:
        return _answer(programs.asks, arguments, programs.driver, SECONDS[level])

    answer, computed = ask_driver(), None
    if level != "none" and answer.value is not None:
        if "unfinished" in answer.value:
            computed = Reading[Any](source=programs.library, error=f"{UNTRIED}: {programs.driver} does not answer for every device")
        else:
            computed, again = _computed(programs, level), ask_driver()
            answer = again if left() > 0 else answer
    driver = _nvidia(root) if vendor == "nvidia" else {}
    if answer.value is None:
        return Accelerators(driver=driver, devices=Reading(source=programs.driver, error=answer.error), log=log, level=level)
    told = [from_plain(values) for values in answer.value.get("devices", [])]
    if vendor == "nvidia" and not _sees_all(root):
        told = [_unseen(values) for values in told]
    devices = (*(_device(values, computed) for values in told), *_unasked(programs.driver, answer.value, len(told)))
    driver |= from_plain(answer.value["driver"])
    return Accelerators(driver=driver, devices=Reading(source=programs.driver, value=devices), log=log, level=level)


def _sees_all(root: Path) -> bool:
    """Whether NVML lists the machine's programs here, and not a container's alone."""
    return read(NAMESPACE, lambda: str(inside(root, NAMESPACE).readlink())).value == WHOLE_MACHINE


def _unseen(values: Mapping[str, Reading[Plain]]) -> dict[str, Reading[Plain]]:
    """A device's readings without the word that nobody is on it, where only a container's programs are listed."""
    why = "only programs of this container are seen"
    nobody = [name for name in ("programs", "programs.graphics") if name in values and values[name].value == 0]
    return {**values, **{name: Reading(source=values[name].source, error=why) for name in nobody}}


def _unasked(source: str, answer: dict[str, Any], told: int) -> Iterator[Device]:
    """The device that held its driver up, and those behind it, of which nothing is known."""
    if "unfinished" not in answer or told == answer["count"]:
        return
    why = str(answer["unfinished"])
    hanging: Reading[Plain] = Reading(source=source, error=why if why.startswith(CUT) else f"{HANGS}: {why}")
    yield Device(values={"device": hanging, "pci.address": Reading(source=source, value=answer["asking"])})
    for _ in range(min(answer["count"], MOST_DEVICES) - told - 1):
        yield Device(values={"device": Reading(source=source, error="nobody could ask it behind one that does not answer")})


def _computed(programs: Programs, level: str) -> Reading[Any]:
    """What programs came to on each device."""
    program, source = programs.computes, programs.library
    if program is None:
        return Reading(source=source, error=f"{UNTRIED}: a program for it takes {source}")
    seconds = min(SECONDS[level], PART * left())
    until = time.monotonic() + seconds
    whole = _answer(program, [level], source, seconds)
    apart = whole.value.get("apart") if whole.value is not None else None
    if apart is None:
        return whole
    devices = [list(parts) for _, parts in itertools.groupby(apart, key=lambda one: one["known"]["pci.address"])]
    with ThreadPoolExecutor(len(devices)) as pool:  # parts of one device may share its memory
        found = pool.map(lambda parts: [_alone(program, level, one, source, until) for one in parts], devices)
        return Reading(source=source, value={"devices": [one for parts in found for one in parts]})


def _alone(program: str, level: str, one: dict[str, Any], source: str, until: float) -> dict[str, Any]:
    """What a program came to that is shown one part of a device, or one whole device, alone."""
    answer = _answer(program, [level, *one["place"]], source, max(until - time.monotonic(), 0.0))
    said = answer.value or {}
    untold = {"compute.error": answer.error or said.get("unfinished") or f"{source} does not show it"}
    found, known = next(iter(said.get("devices", [])), untold), one["known"]
    counts = [count for count in (found.get("compute.programs"), known.get("compute.programs")) if count is not None]
    return {**found, **known, "compute.programs": max(counts, default=None)}


def _answer(program: str, arguments: list[str], source: str, timeout: float) -> Reading[Any]:
    """What a probe's program said; an error that it tells is the reading's."""
    module = f"aistack.host.probes.{program}"
    began, given = time.monotonic(), min(timeout, left())
    answer = ask(module, arguments, source=source, timeout=timeout, environment=ENVIRONMENT)
    spent = time.monotonic() - began
    if left() < math.inf and spent < SECONDS["none"] and (left() <= 0 or spent >= given):
        answer = _cut(answer)
    if answer.value is not None and "error" in answer.value:
        return Reading(source=source, error=answer.value["error"])
    if answer.value is not None and "untried" in answer.value:
        return Reading(source=source, error=f"{UNTRIED}: {answer.value['untried']}")
    return answer


def _cut(answer: Reading[Any]) -> Reading[Any]:
    """An answer that did not come, or not to its end, where that is none of the driver's."""
    if answer.value is None:
        return Reading(source=answer.source, error=f"{CUT}: {answer.error}")
    if "unfinished" in answer.value:
        return Reading(source=answer.source, value={**answer.value, "unfinished": f"{CUT}: {answer.value['unfinished']}"})
    return answer


def _device(values: dict[str, Reading[Plain]], computed: Reading[Any] | None) -> Device:
    """One device: what its driver says, and what programs came to on it, where some were started."""
    if computed is None:
        return Device(values=values)
    if computed.value is None:
        return Device(values={**values, "compute": Reading(source=computed.source, error=computed.error)})
    address, target = (values[name].value if name in values else None for name in ("pci.address", "target"))
    known = computed.value.get("targets")
    tried = [one for one in computed.value.get("devices", []) if one.get("pci.address") == address]
    if not tried and "unfinished" in computed.value:
        hangs = address == computed.value.get("asking")
        error = computed.value["unfinished"] if hangs else f"{UNTRIED}: {computed.value.get('asking')} held up the programs"
        return Device(values={**values, "compute": Reading(source=computed.source, error=error)})
    if not tried:
        untried = known is not None and target is not None and target not in known
        error = f"{UNTRIED}: {computed.source} knows no {target}" if untried else f"{computed.source} does not list this device"
        return Device(values={**values, "compute": Reading(source=computed.source, error=error)})
    found = max(tried, key=_badness)  # of a device that is split, the worst part
    error = found.get("compute.error")
    told: dict[str, Reading[Plain]] = {name: Reading(source=computed.source, value=value) for name, value in found.items()}
    told.pop("compute.error", None)
    done: Reading[Plain] = Reading(source=computed.source, error=error) if error else Reading(source=computed.source, value=True)
    return Device(values={**told, "compute": done, **values})


def _badness(one: dict[str, Any]) -> tuple[bool, int, bool, float]:
    """What is worse has more of it: a failure, wrong answers, a failure beside others' programs, time."""
    failed, taken = "compute.error" in one, bool(one.get("compute.programs"))
    wrong = one.get("compute.wrong-answers", 0) + one.get("compute.wrong-words", 0)
    return failed and not taken, wrong, failed, one.get("compute.seconds", 0.0)


def _nvidia(root: Path) -> dict[str, Reading[Plain]]:
    """What the kernel says of NVIDIA's modules, which NVML does not."""
    return {
        "module": read(MODULE, lambda: inside(root, MODULE).read_text().strip()),
        "flavour": read(OPENNESS, lambda: _flavour(inside(root, OPENNESS).read_text())),
    }


def _flavour(text: str) -> str:
    if "NVRM version" not in text:
        raise ValueError("no line `NVRM version`")
    return "open" if re.search(r"Open Kernel Module", text) else "proprietary"
