"""Is this node what its lock promises? Pure judgement over readings: nothing is read here, and nothing is done about it."""

from __future__ import annotations

from collections.abc import Iterable

from aistack.compose.lock import Lock, LockedAccelerator, LockFormatError, decode, identity
from aistack.compose.render.system import app_unit, image_names
from aistack.facts.pci import VENDORS, platform
from aistack.facts.readings import AppsReadings, AppState, FileSystem, MachineReadings, PciDevice, Reading
from aistack.node.results import Cause, Outcome, Result, bad, good, several, untold

NEEDED_MODULES = ("overlay",)
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
# The kernel keeps a part of what the machine was given (its own image, page tables, firmware): up to a tenth on small machines.
KERNEL_SHARE = 0.10
LOW_SPACE_MIB = 512
NO_SPACE_MIB = 32
COLD_STARTS = {"first": "at the first start of this installation", "power-on": "after the machine was switched off and on"}
"""Starts before which no software of this node can have taken a device off the bus: what is missing then is missing from the machine."""


def check(machine: MachineReadings, lock_text: Reading[bytes], numbers: frozenset[str] = frozenset()) -> tuple[Result, ...]:
    """The first gate, before any app: the machine, its accelerators, and the images that its apps will need.

    `numbers` are those of the promised accelerator on PCI (`10de:27b8`); without any, all of its vendor's accelerators count.
    """
    if lock_text.value is None:
        return (untold("lock", lock_text, "whether this node is what was promised"), *_promises(machine, None))
    try:
        lock = decode(lock_text.value)
    except LockFormatError as error:
        message = f"the lock of this system is damaged: {error}"
        return (bad("lock", Cause.SOFTWARE, message, ("file", lock_text.source), action="install the system image again"),)
    said = good("lock", f"the lock is {lock.name}, {identity(lock)}", ("name", lock.name), ("identity", identity(lock)))
    return (said, *_promises(machine, lock, numbers))


def tell(machine: MachineReadings) -> tuple[Result, ...]:
    """A machine that is no node of ours: what it has, and what nobody can compare it with; its accelerators' drivers are asked elsewhere.

    Which accelerators there are has to be known all the same.
    """
    compared = "the system, its images, processor and memory are held against nothing, nor is the number of accelerators"
    results = [good("lock", f"no lock, so nothing was promised here: {compared}")]
    if (processor := machine.processor.value) is not None:
        results.append(good("processor", f"{processor.count} x {processor.model}", ("model", processor.model)))
    if machine.memory_mib.value is not None:
        results.append(good("memory", f"{machine.memory_mib.value} MiB of memory", ("mib", str(machine.memory_mib.value))))
    if machine.pci.value is None:
        return (*results, untold("accelerator", machine.pci, "which accelerators there are"))
    vendors = VENDORS.values()
    seen = [device for device in machine.pci.value if device.is_accelerator and device.vendor in vendors and not device.lent]
    said = f"in PCI configuration space: {several(len(seen), 'device')} that may compute"
    return (*results, good("accelerator", said, ("pci", _listed(seen))))


def confirm(lock: Lock, apps: AppsReadings) -> tuple[Result, ...]:
    """The second gate: every app of the lock runs and answers."""
    seen = {state.app: state for state in apps.apps}
    results = [_app(lock, app.name, seen.get(app.name)) for app in lock.apps]
    failed = apps.failed_units
    if failed.value:
        others = tuple(unit for unit in failed.value if unit not in {app_unit(app.name) for app in lock.apps})
        if others:
            message = f"units failed: {', '.join(others)}"
            results.append(
                Result(
                    name="units",
                    outcome=Outcome.DEGRADED,
                    message=message,
                    evidence=(("failed", " ".join(others)),),
                    action=f"systemctl status {others[0]}",
                )
            )
    elif failed.value is None:
        results.append(untold("units", failed, "whether a unit failed"))
    return tuple(results)


def _promises(machine: MachineReadings, lock: Lock | None, numbers: frozenset[str] = frozenset()) -> tuple[Result, ...]:
    results = [_manifest(machine), _processor(machine, lock), _memory(machine, lock), _modules(machine)]
    results += [_space(reading) for reading in machine.file_systems]
    if lock is not None:
        results += [_lock_identity(machine, lock), _architecture(machine, lock), _kernel(machine, lock), _images(machine, lock)]
        if lock.accelerator is not None:
            results.append(_accelerator(machine, lock.accelerator, numbers))
    return tuple(sorted(results, key=lambda result: result.name))


def _manifest(machine: MachineReadings) -> Result:
    reading = machine.deployment
    if reading.value is None:
        return untold("deployment", reading, "which deployment is booted")
    promised, booted = reading.value.promised_manifest, reading.value.manifest
    evidence = (("promised", promised or "none"), ("booted", booted or "none"), ("commit", reading.value.commit))
    if promised is None or booted is None:
        where = "origin file" if promised is None else "commit"
        return Result(
            name="deployment",
            outcome=Outcome.UNKNOWN,
            message=f"the deployment's {where} names no manifest digest",
            evidence=evidence,
            action="install this node again with aistack",
        )
    if promised != booted:
        message = f"the booted system image is {booted}, not the promised {promised}"
        return bad("deployment", Cause.SOFTWARE, message, *evidence, action="stage the promised system image again")
    return good("deployment", f"the promised system image {booted} is booted", *evidence)


def _lock_identity(machine: MachineReadings, lock: Lock) -> Result:
    reading = machine.deployment
    if reading.value is None:
        return untold("lock-identity", reading, "which lock the booted commit was made from")
    promised, present = reading.value.lock_identity, identity(lock)
    evidence = (("commit", promised or "none"), ("file", present))
    if promised is None:
        return Result(
            name="lock-identity",
            outcome=Outcome.UNKNOWN,
            message="the booted commit names no lock",
            evidence=evidence,
            action="install this node again with aistack",
        )
    if promised != present:
        message = f"the booted commit was made from lock {promised}, but the lock in it is {present}"
        return bad("lock-identity", Cause.SOFTWARE, message, *evidence, action="stage the promised system image again")
    return good("lock-identity", "the commit and the lock in it agree", *evidence)


def _architecture(machine: MachineReadings, lock: Lock) -> Result:
    reading, wanted = machine.architecture, MACHINES.get(lock.arch, lock.arch)
    if reading.value is None:
        return untold("architecture", reading, "the machine's architecture")
    if reading.value != wanted:
        return bad("architecture", Cause.UNKNOWN, f"the machine is {reading.value}, the lock is for {wanted}", ("seen", reading.value))
    return good("architecture", f"the machine is {wanted}")


def _kernel(machine: MachineReadings, lock: Lock) -> Result:
    reading, wanted = machine.kernel, dict(lock.components).get("kernel")
    if reading.value is None:
        return untold("kernel", reading, "which kernel runs")
    evidence = (("running", reading.value), ("promised", wanted or "none"))
    if wanted is None:
        return Result(name="kernel", outcome=Outcome.UNKNOWN, message="the lock names no kernel", evidence=evidence)
    if reading.value != wanted:
        message = f"the running kernel is {reading.value}, not {wanted}"
        return bad("kernel", Cause.SOFTWARE, message, *evidence, action="look at the bootloader's entries: `ostree admin status`")
    return good("kernel", f"kernel {wanted} runs", *evidence)


def _modules(machine: MachineReadings) -> Result:
    reading = machine.modules
    if reading.value is None:
        return untold("modules", reading, "which kernel modules there are")
    missing = [name for name in NEEDED_MODULES if name not in reading.value.present | reading.value.loadable]
    if missing:
        message = f"the kernel has no module {', '.join(missing)}: containers cannot start"
        return bad("modules", Cause.SOFTWARE, message, ("missing", " ".join(missing)), action="build the base with a kernel that has it")
    return good("modules", f"{', '.join(NEEDED_MODULES)}: in use or at hand")


def _processor(machine: MachineReadings, lock: Lock | None) -> Result:
    """A missing feature may be the machine's fault or a newer app's demand: only a rollback can tell, so the cause is unknown."""
    reading = machine.processor
    if reading.value is None:
        return untold("processor", reading, "what the processor can do")
    missing = {
        app.name: lacking for app in (lock.apps if lock else ()) if (lacking := sorted(set(app.cpu_features) - reading.value.features))
    }
    evidence = (("model", reading.value.model), ("count", str(reading.value.count)))
    if missing:
        said = "; ".join(f"app `{app}` needs {', '.join(lacking)}" for app, lacking in sorted(missing.items()))
        action = "run it on a processor that has them; on a virtual machine, let it see the host's processor"
        return bad("processor", Cause.UNKNOWN, f"the processor lacks what the apps need: {said}", *evidence, action=action)
    if lock is None:
        return _unpromised("processor", f"{reading.value.count} x {reading.value.model}", *evidence)
    return good("processor", f"{reading.value.count} x {reading.value.model} has what the apps need", *evidence)


def _memory(machine: MachineReadings, lock: Lock | None) -> Result:
    reading = machine.memory_mib
    if reading.value is None:
        return untold("memory", reading, "how much memory there is")
    if lock is None:
        return _unpromised("memory", f"{reading.value} MiB of memory", ("mib", str(reading.value)))
    wanted = lock.memory_mib
    evidence = (("mib", str(reading.value)), ("promised_mib", str(wanted)))
    if reading.value < wanted * (1 - KERNEL_SHARE):
        message = f"the machine has {reading.value} MiB of memory, the lock needs {wanted} MiB"
        return bad("memory", Cause.UNKNOWN, message, *evidence, action="give the machine more memory, or look for a module that failed")
    return good("memory", f"{reading.value} MiB of memory", *evidence)


def _space(reading: Reading[FileSystem]) -> Result:
    name = f"space {reading.source.removeprefix('statvfs ')}"
    if reading.value is None:
        return untold(name, reading, "how much space is left")
    space = reading.value
    evidence = (("size_mib", str(space.size_mib)), ("free_mib", str(space.free_mib)))
    message = f"{space.free_mib} MiB free of {space.size_mib} MiB on {space.path}"
    if space.free_mib < NO_SPACE_MIB:
        return bad(name, Cause.UNKNOWN, message, *evidence, action=f"free some space: `du -xh {space.path} | sort -h | tail`")
    if space.free_mib < LOW_SPACE_MIB and space.free_mib * 10 < space.size_mib:
        action = f"free some space: `du -xh {space.path} | sort -h | tail`"
        return Result(name=name, outcome=Outcome.DEGRADED, message=message, evidence=evidence, action=action)
    return good(name, message, *evidence)


def _images(machine: MachineReadings, lock: Lock) -> Result:
    promised, present = machine.promised_images, machine.bound_images
    if promised.value is None:
        return untold("images", promised, "which images this system binds")
    digests = {image.name: image.digest for image in promised.value}
    unbound = [name for name in image_names(lock) if name not in digests]
    if unbound:
        message = f"the lock has images that the system does not bind: {', '.join(unbound)}"
        return bad("images", Cause.SOFTWARE, message, ("unbound", " ".join(unbound)), action="build the system image again")
    if not digests:
        return good("images", "this system binds no image")
    if present.value is None:
        return untold("images", present, "which images are on this node")
    stored = {image.digest for image in present.value}
    missing = [f"{name}@{digest}" for name, digest in sorted(digests.items()) if digest not in stored]
    if missing:
        message = f"bound images are not on this node: {', '.join(missing)}"
        return bad("images", Cause.SOFTWARE, message, ("missing", " ".join(missing)), action="fetch them again: `aistack node update`")
    return good("images", f"{len(digests)} bound images are here, by digest")


def _accelerator(machine: MachineReadings, promised: LockedAccelerator, numbers: frozenset[str]) -> Result:
    """A promised accelerator that cannot be seen is never healthy; what its driver says of it is judged in `accelerators`."""
    product, count = promised.product, promised.count
    vendor = platform(product)
    name = "accelerator"
    if vendor == "cpu":
        if machine.processor.value is None:
            return untold(name, machine.processor, f"whether {product} is there")
        return good(name, f"{product} is the processor itself")
    if machine.pci.value is None:
        return untold(name, machine.pci, f"whether {count} x {product} are there")
    every = [device for device in machine.pci.value if device.vendor == VENDORS.get(vendor) and device.is_accelerator]
    seen = [device for device in every if not numbers or device.identity in numbers]
    evidence = (("promised", f"{count} x {product}"), ("pci", _listed(every)))
    if vendor not in VENDORS:
        return Result(name=name, outcome=Outcome.UNKNOWN, message=f"no probe knows how to see {product}", evidence=evidence)
    if len(seen) < count:
        since = COLD_STARTS.get(machine.start.value or "")
        others = f", and {several(len(every) - len(seen), 'other')}" if len(every) > len(seen) else ""
        message = f"{len(seen)} of {count} x {product} are in PCI configuration space{others}{f', {since}' if since else ''}"
        action = "inspect its seat, riser and power; a virtual machine has to be given it"
        if since is None:
            action = f"switch the machine off (`systemctl poweroff`) and on; if it is still missing, {action}"
        if others and not seen:
            action = "compare the product with the recipe: this machine has another"
        cause = Cause.HARDWARE if since and (seen or not others) else Cause.UNKNOWN
        return bad(name, cause, message, *evidence, ("start", machine.start.value or machine.start.error or "unknown"), action=action)
    return good(name, f"{count} x {product} are in PCI configuration space", *evidence)


def _listed(devices: Iterable[PciDevice]) -> str:
    return " ".join(f"{device.address}={device.identity}" for device in devices) or "none"


def _app(lock: Lock, app: str, state: AppState | None) -> Result:
    name = f"app {app}"
    if state is None:
        return Result(name=name, outcome=Outcome.UNKNOWN, message=f"nothing was read about app `{app}`")
    if state.unit.value is None:
        return untold(name, state.unit, f"whether {app_unit(app)} runs")
    unit = state.unit.value
    evidence = [("unit", unit.unit), ("active", unit.active), ("sub", unit.sub), ("result", unit.result), ("restarts", str(unit.restarts))]
    evidence.append(("waited_seconds", f"{state.waited_seconds:.0f}"))
    action = f"journalctl -b -u {unit.unit}"
    # Where the lock promises no accelerator there is no device that could have failed below the app.
    plain = lock.accelerator is None or lock.accelerator.product.startswith("cpu/")
    cause = Cause.SOFTWARE if plain else Cause.UNKNOWN
    if unit.load != "loaded":
        return bad(name, Cause.SOFTWARE, f"{unit.unit} is {unit.load}: its quadlet was not accepted", *evidence, action=action)
    if unit.active != "active":
        return bad(name, cause, f"{unit.unit} is {unit.active} ({unit.sub}, {unit.result})", *evidence, action=action)
    if state.status is None:
        return good(name, f"{unit.unit} runs", *evidence)
    if state.status.value != 200:
        said = f"HTTP {state.status.value}" if state.status.value is not None else state.status.error
        message = f"{unit.unit} runs, but does not answer within {state.waited_seconds:.0f} s: {said}"
        return bad(name, cause, message, *evidence, ("asked", state.status.source), action=action)
    return good(name, f"{unit.unit} answers: {state.status.source}", *evidence)


def _unpromised(name: str, seen: str, *evidence: tuple[str, str]) -> Result:
    """What a machine has, where no lock says what it should have."""
    return Result(name=name, outcome=Outcome.UNKNOWN, message=f"{seen}; no lock says what is needed", evidence=evidence)
