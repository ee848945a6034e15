"""The gates' judgement over recorded trees: a healthy one, each thing broken, and each thing that could not be read."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from node_samples import APP, KERNEL, LOCK, lay, lock_text, readings

from aistack.compose.lock import LockedAccelerator
from aistack.facts.catalog import Catalog
from aistack.facts.readings import AppsReadings, AppState, Deployment, MachineReadings, PciDevice, Reading, UnitState
from aistack.host.probes.all import take
from aistack.host.probes.machine import pci, processor, start
from aistack.node import asking
from aistack.node.first_gate import present
from aistack.node.health import check, confirm
from aistack.node.results import Cause, Outcome, Result, verdict


def result(results: tuple[Result, ...], name: str) -> Result:
    return next(result for result in results if result.name == name)


def test_a_healthy_node_is_healthy_in_every_result(tmp_path: Path) -> None:
    results = check(readings(lay(tmp_path)), lock_text())
    assert {result.outcome for result in results} == {Outcome.HEALTHY}, results
    assert {"lock", "lock-identity", "deployment", "kernel", "modules", "processor", "memory", "images", "accelerator"} <= {
        r.name for r in results
    }
    assert verdict(results).cause is None


def test_what_is_kept_for_virtual_machines_is_none_of_this_machines(tmp_path: Path) -> None:
    """Bound to VFIO, or a virtual function beside its device; a lock that promises it misses it all the same."""
    devices = tmp_path / "sys/bus/pci/devices"
    for number, given in enumerate(("nvidia", "vfio-pci", "nvgrace_gpu_vfio_pci", "physfn", None)):
        device = devices / f"0000:0{number}:00.0"
        device.mkdir(parents=True)
        for name, text in (("vendor", "0x10de"), ("device", "0x27b8"), ("class", "0x030200")):
            (device / name).write_text(f"{text}\n")
        if given is not None:
            target = tmp_path / "sys/bus/pci/drivers" / given
            target.mkdir(parents=True, exist_ok=True)
            (device / ("physfn" if given == "physfn" else "driver")).symlink_to(target)
    found = pci(tmp_path).value or ()
    vendor, own = present(None, found)
    assert vendor == "nvidia" and [device.address[6] for device in own] == ["0", "4"]
    promised = present(replace(LOCK, accelerator=LockedAccelerator(product="nvidia/l4", count=5)), found)
    assert promised == ("nvidia", found)


def edit(path: str, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        text = (root / path).read_text()
        assert old in text
        (root / path).write_text(text.replace(old, new))

    return change


def remove(path: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        (root / path).unlink()

    return change


def lose_a_layer(root: Path) -> None:
    (next((root / "usr/lib/bootc/storage/overlay").iterdir()) / "diff").rmdir()


@pytest.mark.parametrize(
    ("break_it", "name", "outcome", "cause"),
    [
        (edit("proc/sys/kernel/osrelease", "6.12.107", "6.12.106"), "kernel", Outcome.UNHEALTHY, Cause.SOFTWARE),
        (edit("proc/sys/kernel/arch", "x86_64", "aarch64"), "architecture", Outcome.UNHEALTHY, Cause.UNKNOWN),
        (edit("proc/cpuinfo", "avx2 ", ""), "processor", Outcome.UNHEALTHY, Cause.UNKNOWN),
        (edit("proc/cpuinfo", "flags", "flugs"), "processor", Outcome.UNKNOWN, None),
        (edit("proc/meminfo", "2013268", "1013268"), "memory", Outcome.UNHEALTHY, Cause.UNKNOWN),
        (edit("proc/meminfo", "MemTotal", "MemTotl"), "memory", Outcome.UNKNOWN, None),
        (edit(f"usr/lib/modules/{KERNEL}/modules.dep", "overlay.ko", "other.ko"), "modules", Outcome.UNHEALTHY, Cause.SOFTWARE),
        (remove(f"usr/lib/modules/{KERNEL}/modules.dep"), "modules", Outcome.UNKNOWN, None),
        (remove("proc/sys/kernel/osrelease"), "kernel", Outcome.UNKNOWN, None),
        (edit("usr/lib/bootc/storage/overlay-images/images.json", "0001", "0009"), "images", Outcome.UNHEALTHY, Cause.SOFTWARE),
        (edit("usr/lib/bootc/storage/overlay-images/images.json", "]", ""), "images", Outcome.UNKNOWN, None),
        (remove("usr/lib/bootc/storage/overlay-images/images.json"), "images", Outcome.UNKNOWN, None),
        (remove("usr/lib/bootc/bound-images.d/app-embed.image"), "images", Outcome.UNHEALTHY, Cause.SOFTWARE),
        (edit("usr/share/containers/systemd/app-embed.image", "@sha256:", ":"), "images", Outcome.UNKNOWN, None),
        (lose_a_layer, "images", Outcome.UNHEALTHY, Cause.SOFTWARE),
    ],
)
def test_each_thing_broken_is_seen(
    tmp_path: Path, break_it: Callable[[Path], None], name: str, outcome: Outcome, cause: Cause | None
) -> None:
    break_it(lay(tmp_path))
    found = result(check(readings(tmp_path), lock_text()), name)
    assert (found.outcome, found.cause) == (outcome, cause), found


@pytest.mark.parametrize("path", ["proc/cpuinfo", "proc/meminfo", "proc/cmdline", "proc/sys/kernel/osrelease"])
def test_a_truncated_file_is_unknown_and_never_a_crash(tmp_path: Path, path: str) -> None:
    lay(tmp_path)
    (tmp_path / path).write_text("")
    assert verdict(check(take(tmp_path), lock_text())).outcome is Outcome.UNKNOWN


def test_no_permission_is_unknown(tmp_path: Path) -> None:
    lay(tmp_path)
    (tmp_path / "proc/meminfo").chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        found = result(check(readings(tmp_path), lock_text()), "memory")
    finally:
        os.seteuid(user)
    assert found.outcome is Outcome.UNKNOWN
    assert "Permission denied" in found.message


def test_something_else_in_a_file_s_place_is_unknown(tmp_path: Path) -> None:
    lay(tmp_path)
    (tmp_path / "proc/meminfo").unlink()
    (tmp_path / "proc/meminfo").mkdir()
    found = result(check(readings(tmp_path), lock_text()), "memory")
    assert found.outcome is Outcome.UNKNOWN
    assert "directory" in found.message


def test_an_empty_tree_is_unknown_in_every_result_that_needs_it(tmp_path: Path) -> None:
    judged = verdict(check(take(tmp_path), Reading(source="lock", error="No such file")))
    assert judged.outcome is Outcome.UNKNOWN
    assert {"lock", "deployment", "processor", "memory", "modules"} <= set(judged.failed)


def deployed(taken: MachineReadings, **changes: str | None) -> MachineReadings:
    assert taken.deployment.value is not None
    value: Deployment = replace(taken.deployment.value, **changes)  # type: ignore[arg-type]
    return replace(taken, deployment=Reading(source="ostree", value=value))


@pytest.mark.parametrize(
    ("changes", "name", "outcome"),
    [
        ({"manifest": "sha256:" + "1" * 64}, "deployment", Outcome.UNHEALTHY),
        ({"manifest": None}, "deployment", Outcome.UNKNOWN),
        ({"promised_manifest": None}, "deployment", Outcome.UNKNOWN),
        ({"lock_identity": "sha256:" + "1" * 64}, "lock-identity", Outcome.UNHEALTHY),
        ({"lock_identity": None}, "lock-identity", Outcome.UNKNOWN),
    ],
)
def test_another_deployment_than_the_promised_one(tmp_path: Path, changes: dict[str, str | None], name: str, outcome: Outcome) -> None:
    assert result(check(deployed(readings(lay(tmp_path)), **changes), lock_text()), name).outcome is outcome


def test_a_damaged_lock_is_the_image_s_fault(tmp_path: Path) -> None:
    (found,) = check(readings(lay(tmp_path)), Reading(source="lock", value=b'{"schema": "aistack/lock/v1"}'))
    assert (found.outcome, found.cause) == (Outcome.UNHEALTHY, Cause.SOFTWARE)


@pytest.mark.parametrize("seen", [0, 1, 2])
def test_a_promised_accelerator_that_is_not_on_the_bus_is_never_healthy(tmp_path: Path, seen: int) -> None:
    lock = replace(LOCK, accelerator=LockedAccelerator(product="nvidia/l4", count=2))
    devices = tuple(PciDevice(address=f"0000:0{i}:00.0", vendor="10de", device="27b8", device_class="030200") for i in range(seen))
    taken = replace(readings(lay(tmp_path, lock), lock), pci=Reading(source="pci", value=devices))
    found = result(check(taken, lock_text(lock)), "accelerator")
    assert found.outcome is (Outcome.UNHEALTHY if seen < 2 else Outcome.HEALTHY)
    unreadable = replace(taken, pci=Reading(source="pci", error="Permission denied"))
    assert result(check(unreadable, lock_text(lock)), "accelerator").outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("present", "words", "cause"),
    [
        (("10de:2330",) * 7 + ("10de:1cb1",), "7 of 8 x nvidia/h100-sxm-80gb are in PCI configuration space, and 1 other", Cause.HARDWARE),
        (("10de:20b2",) * 8, "0 of 8 x nvidia/h100-sxm-80gb are in PCI configuration space, and 8 others", Cause.UNKNOWN),
        (("10de:2330",) * 7, "7 of 8 x nvidia/h100-sxm-80gb are in PCI configuration space, at the", Cause.HARDWARE),
        (("10de:2330",) * 8 + ("10de:1cb1",), "8 x nvidia/h100-sxm-80gb are in PCI configuration space", None),
    ],
)
def test_other_products_are_not_counted_on_the_bus(
    present: tuple[str, ...], words: str, cause: Cause | None, tmp_path: Path, catalog: Catalog
) -> None:
    """A server's display, or another accelerator, in the place of one that is missing; what has another product alone is the recipe's."""
    lock = replace(LOCK, accelerator=LockedAccelerator(product="nvidia/h100-sxm-80gb", count=8))
    devices = tuple(
        PciDevice(address=f"0000:{place:02x}:00.0", vendor=one[:4], device=one[5:], device_class="030200")
        for place, one in enumerate(present)
    )
    root = lay(tmp_path, lock)
    taken = replace(readings(root, lock), pci=Reading(source="pci", value=devices), start=Reading(source="start", value="first"))
    found = result(check(taken, lock_text(lock), asking.numbers(lock)), "accelerator")
    assert found.cause is cause and words in found.message
    assert asking._wanted(catalog, "nvidia", devices, lock, {}).count == min(8, present.count("10de:2330"))


@pytest.mark.parametrize(
    ("began", "cause"),
    [("first", Cause.HARDWARE), ("power-on", Cause.HARDWARE), ("restart", Cause.UNKNOWN), (None, Cause.UNKNOWN)],
)
def test_what_is_missing_is_the_hardwares_fault_only_after_a_cold_start(began: str | None, cause: Cause, tmp_path: Path) -> None:
    lock = replace(LOCK, accelerator=LockedAccelerator(product="nvidia/l4", count=1))
    if began:
        (tmp_path / "run/aistack").mkdir(parents=True)
        (tmp_path / "run/aistack/start").write_text(f"{began}\n")
    taken = replace(readings(lay(tmp_path / "node", lock), lock), pci=Reading(source="pci", value=()), start=start(tmp_path))
    found = result(check(taken, lock_text(lock)), "accelerator")
    assert (found.outcome, found.cause) == (Outcome.UNHEALTHY, cause)
    assert dict(found.evidence)["start"] == (began or taken.start.error)
    assert ("systemctl poweroff" in (found.action or "")) is (cause is Cause.UNKNOWN)


def test_a_feature_counts_only_when_every_processor_has_it(tmp_path: Path) -> None:
    lay(tmp_path)
    text = (tmp_path / "proc/cpuinfo").read_text()
    (tmp_path / "proc/cpuinfo").write_text(text.replace("avx2 ", "", 1))
    reading = processor(tmp_path)
    assert reading.value is not None
    assert reading.value.count == 2
    assert reading.value.features == {"fpu", "sse2", "fma"}


def app(active: str = "active", status: Reading[int] | None = None, load: str = "loaded") -> AppsReadings:
    unit = UnitState(unit="app-embed.service", load=load, active=active, sub="x", result="exit-code")
    return AppsReadings(apps=(AppState(app=APP.name, unit=Reading(source="systemctl", value=unit), status=status, waited_seconds=3),))


@pytest.mark.parametrize(
    ("apps", "outcome"),
    [
        (app(status=Reading(source="GET", value=200)), Outcome.HEALTHY),
        (app(status=None), Outcome.HEALTHY),
        (app(status=Reading(source="GET", value=503)), Outcome.UNHEALTHY),
        (app(status=Reading(source="GET", error="Connection refused")), Outcome.UNHEALTHY),
        (app(active="failed"), Outcome.UNHEALTHY),
        (app(active="activating"), Outcome.UNHEALTHY),
        (app(active="inactive", load="not-found"), Outcome.UNHEALTHY),
        (AppsReadings(apps=(AppState(app=APP.name, unit=Reading(source="systemctl", error="no bus"), status=None),)), Outcome.UNKNOWN),
        (AppsReadings(apps=()), Outcome.UNKNOWN),
        (replace(app(status=None), failed_units=Reading(source="systemctl", value=("efi.automount",))), Outcome.DEGRADED),
        (replace(app(status=None), failed_units=Reading(source="systemctl", error="no bus")), Outcome.UNKNOWN),
    ],
)
def test_the_second_gate(apps: AppsReadings, outcome: Outcome) -> None:
    assert verdict(confirm(LOCK, apps)).outcome is outcome


def test_an_app_above_an_accelerator_is_not_blamed_for_it() -> None:
    lock = replace(LOCK, accelerator=LockedAccelerator(product="nvidia/l4", count=1))
    assert verdict(confirm(lock, app(active="failed"))).cause is Cause.UNKNOWN
    assert verdict(confirm(LOCK, app(active="failed"))).cause is Cause.SOFTWARE


def test_no_result_is_no_health() -> None:
    assert verdict(()).outcome is Outcome.UNKNOWN


def test_a_system_without_apps_binds_nothing_and_that_is_known(tmp_path: Path) -> None:
    from aistack.host.probes.images import promised_images

    assert promised_images(tmp_path).error is not None, "a machine that is no bootable container"
    (tmp_path / "usr/lib/bootc/kargs.d").mkdir(parents=True)
    assert promised_images(tmp_path).value == ()
