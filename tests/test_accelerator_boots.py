"""Accelerators promised to a node in QEMU, and what its gates do where they are there, missing, mismatched, or nobody can tell.

No such device can be put into the machine: a tree of PCI devices and of NVIDIA's module is mounted over the kernel's own, and its libraries
are the stand-ins, so that the node's own probes, nvidia-ml-py included, read and judge as on a real machine. What belongs to the machine
lies below /var, and is the same for every system image; what belongs to an image lies in it.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pynvml
import pytest
from accelerator_profiles import DRIVER, MACHINES, MIB, compile_stand_ins
from booted_node import root_of_the_os
from node_machine import Node
from node_series import ALL, UNITS, Series, answers, decided, last_word
from tools_needed import needs

from aistack.compose.lock import Lock, LockedAccelerator, encode, identity
from aistack.compose.render.system import LOCK_PATH
from aistack.host import own_files, rootfs
from aistack.host.qemu import Firmware

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not ALL, reason="minutes for each of nine starts: `make endurance` (AISTACK_TEST_UNDO=1)"),
]

PRODUCT = "nvidia/h100-pcie-80gb"
MACHINE = MACHINES[PRODUCT]
ONE_OF_TWO = MACHINE.nvml() | {"nvmlDeviceGetCount": "1"}
OTHER_LIBRARY = MACHINE.nvml() | {"nvmlSystemGetDriverVersion": "575.57.08"}
PROGRAMS = MACHINE.cuda() | {f"{index}.memory": str(64 * MIB) for index in range(MACHINE.count)}
"""An emulated processor stands for the devices': as much memory as it can try in seconds, and too little for copies to be timed."""
MOST_OF_THE_WATCH = 40.0
"""MiB of memory, in which its programs and what they read for the first time count."""
HARDWARE, IMAGE = "/var/lib/stand-in", "/usr/lib/stand-in"
SHOW = f"""\
#!/bin/sh
set -e
mount --bind {HARDWARE}/pci /sys/bus/pci/devices
mount --bind {HARDWARE}/module /sys/module
mount -t tmpfs tmpfs /proc/driver
mkdir /proc/driver/nvidia
echo 'NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  {DRIVER}' > /proc/driver/nvidia/version
[ -e {IMAGE}/nvml ] && cp {IMAGE}/nvml /run/stand-in-nvml || cp {HARDWARE}/nvml /run/stand-in-nvml
"""
UNIT = f"""\
[Unit]
After=local-fs.target
Before=aistack-check.service
ConditionPathExists={HARDWARE}/pci
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh {IMAGE}/show
"""
MEETS = f"""\
[Unit]
After=stand-in.service
[Service]
Environment=LD_LIBRARY_PATH={IMAGE} STAND_IN_NVML=/run/stand-in-nvml STAND_IN_CUDA={HARDWARE}/cuda
"""
PATIENT = """\
[Manager]
DefaultDeviceTimeoutSec=15min
"""
"""A busy machine that emulates another has shown it its /boot after systemd's minute and a half."""


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A node that is up with both accelerators and has confirmed it, and how further images of its kind are made."""

    series: Series
    files: Mapping[str, bytes | str]
    kept: Path

    def image(self, name: str, nvml: Mapping[str, str] | None = None) -> str:
        """Pushes an image of that kind, with a library of its own where `nvml` is given; returns its digest."""
        lock = promising(self.series)
        files = {**self.files, LOCK_PATH: encode(lock), "/usr/share/name": name.encode()}
        if nvml is not None:
            files[f"{IMAGE}/nvml"] = profile(nvml)
        return self.series.push(name, files, {"io.aistack.lock": identity(lock)})


def promising(made: Series) -> Lock:
    """The lock with two accelerators."""
    accelerator = LockedAccelerator(product=PRODUCT, count=MACHINE.count, pci_ids=(f"10de:{MACHINE.pci}",))
    return replace(made.lock, accelerator=accelerator, components=(*made.lock.components, ("driver", DRIVER)))


def profile(values: Mapping[str, str]) -> bytes:
    return "".join(f"{key} {value}\n" for key, value in values.items()).encode()


def lay_hardware(node: Node, *, addresses: tuple[str, ...] = MACHINE.addresses(), nvml: Mapping[str, str] | None = None) -> None:
    """Write down what this machine has in its slots, and what its devices say of themselves."""
    lines = [f"rm -rf {HARDWARE}; mkdir -p {HARDWARE}/module/nvidia {HARDWARE}/pci; echo {DRIVER} > {HARDWARE}/module/nvidia/version"]
    for address in addresses:
        values = {"vendor": "0x10de", "device": f"0x{MACHINE.pci}", "class": "0x030200"}
        lines += [f"mkdir {HARDWARE}/pci/{address}"] + [f"echo {value} > {HARDWARE}/pci/{address}/{name}" for name, value in values.items()]
    node.ssh("\n".join(lines))
    node.ssh(f"cat > {HARDWARE}/nvml", input=profile(nvml or MACHINE.nvml()).decode())
    node.ssh(f"cat > {HARDWARE}/cuda; sync", input=profile(PROGRAMS).decode())


def take(node: Node, made: Series, name: str, *, off: bool = False) -> None:
    """Update to an image and start into it, from a machine that was switched `off` or only restarted."""
    node.ssh(f"aistack node update --to {made.reference(name)}", seconds=1200)
    node.ssh(f"systemctl --no-block {'poweroff' if off else 'reboot'}")
    if off:
        node.switch_on()


def settled(node: Node, starts: int) -> dict[str, Any]:
    """The second gate's report of the start that was to be the last."""
    node.until(lambda: len(node.resets) >= starts or None, f"{starts} starts", seconds=3600)
    report: dict[str, Any] = node.until(lambda: last_word(node), "word of the second gate")
    assert len(node.resets) == starts, node.said()
    return report


def binding() -> dict[str, bytes | str]:
    """NVIDIA's own Python binding where the node looks for it, compiled as Debian's package of it is when the image is made."""
    source = Path(str(pynvml.__file__))
    with tempfile.TemporaryDirectory() as work:
        copy = shutil.copy(source, work)
        argv = ["python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", f"/run/{source.name}"]
        rootfs.enter(root_of_the_os(), argv, binds=[rootfs.Bind(source=Path(work), target="/run", writable=True)])
        files = [Path(copy), *Path(work).glob("__pycache__/*.pyc")]
        return {f"{own_files.FOLDER}/{file.relative_to(work)}": file.read_bytes() for file in files}


def measured(node: Node) -> dict[str, dict[str, float]]:
    """By unit: its main process's start and end in seconds since the kernel's start, peak of memory in MiB, seconds of processor time."""
    node.ssh("systemctl start aistack-watch.service")
    asked = "Id,ExecMainStartTimestampMonotonic,ExecMainExitTimestampMonotonic,MemoryPeak,CPUUsageNSec"
    said = node.ssh(f"systemctl show -p {asked} aistack-check app-web aistack-confirm aistack-watch")
    units = [dict(line.split("=") for line in unit.splitlines()) for unit in said.split("\n\n")]
    return {
        unit["Id"]: {
            "from": int(unit["ExecMainStartTimestampMonotonic"]) / 1e6,
            "until": int(unit["ExecMainExitTimestampMonotonic"]) / 1e6,
            "mib": int(unit["MemoryPeak"]) / MIB,
            "seconds": int(unit["CPUUsageNSec"]) / 1e9,
        }
        for unit in units
    }


def remembered(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(node.ssh("cat /var/lib/aistack/state.json"))
    return found


@pytest.fixture(scope="module")
def bench(series: Series) -> Iterator[Bench]:
    needs("gcc")
    folder = series.folder / "stand-ins"
    folder.mkdir()
    compile_stand_ins(folder)
    files: dict[str, bytes | str] = {f"{IMAGE}/{library.name}": library.read_bytes() for library in folder.iterdir()}
    files |= {f"{IMAGE}/show": SHOW.encode(), f"{UNITS}/stand-in.service": UNIT.encode()}
    files[f"{UNITS}/multi-user.target.wants/stand-in.service"] = "../stand-in.service"
    files |= {f"{UNITS}/aistack-{name}.service.d/50-stand-in.conf": MEETS.encode() for name in ("check", "confirm", "watch")}
    files |= {"/usr/lib/systemd/system.conf.d/60-patient.conf": PATIENT.encode(), **binding()}
    bench = Bench(series=series, files=files, kept=series.folder / "kept-accelerators")
    whole = bench.image("whole")
    with series.up(Firmware.UEFI, series.folder / "accelerators") as node:
        print("\nwithout an accelerator:", json.dumps(measured(node), indent=1))
        lay_hardware(node)
        take(node, series, "whole")
        report = settled(node, 1)
        assert report["outcome"] == "healthy" and decided(report) == "confirm", node.said()
        assert remembered(node)["confirmed"] == whole
        check = json.loads(node.ssh("cat /run/aistack/check.json"))
        names = {result["name"]: result["message"] for result in check["results"]}
        assert names["accelerator"] == f"{MACHINE.count} x {PRODUCT} are in PCI configuration space"
        assert "accelerator-compute" in names and answers(node)
        spent = measured(node)
        print(f"\nwith {MACHINE.count} x {PRODUCT}:", json.dumps(spent, indent=1))
        assert spent["aistack-watch.service"]["mib"] <= MOST_OF_THE_WATCH
        node.keep(bench.kept)
    yield bench
    shutil.rmtree(bench.kept)


def test_a_device_that_is_missing_is_the_hardwares_fault(bench: Bench, tmp_path: Path) -> None:
    new = bench.image("same")
    with bench.series.up(Firmware.UEFI, tmp_path, bench.kept) as node:
        lay_hardware(node, addresses=MACHINE.addresses()[:1])
        take(node, bench.series, "same", off=True)
        report = settled(node, 1)
        assert (report["outcome"], report["cause"], decided(report)) == ("unhealthy", "hardware", "mark-unfit"), node.said()
        assert remembered(node)["unfit"] == new and not answers(node)
        assert "1 of 2 x nvidia/h100-pcie-80gb" in node.ssh("aistack node status; cat /run/issue.d/*")


def test_a_library_that_does_not_fit_the_driver_is_the_images_fault(bench: Bench, tmp_path: Path) -> None:
    new = bench.image("mismatched", OTHER_LIBRARY)
    with bench.series.up(Firmware.UEFI, tmp_path, bench.kept) as node:
        before = remembered(node)["confirmed"]
        take(node, bench.series, "mismatched")
        report = settled(node, 2)
        assert report["outcome"] == "healthy" and decided(report) == "nothing", node.said()
        assert (remembered(node)["confirmed"], remembered(node)["quarantined"]) == (before, [new])
        assert answers(node)


@pytest.mark.parametrize("of_the_machine", [False, True], ids=["software after all", "hardware after all"])
def test_where_nobody_can_tell_one_rollback_is_the_experiment(bench: Bench, tmp_path: Path, *, of_the_machine: bool) -> None:
    name = f"unclear-{of_the_machine}".lower()
    new = bench.image(name, None if of_the_machine else ONE_OF_TWO)
    with bench.series.up(Firmware.UEFI, tmp_path, bench.kept) as node:
        before = remembered(node)["confirmed"]
        if of_the_machine:
            lay_hardware(node, nvml=ONE_OF_TWO)
        take(node, bench.series, name)
        report = settled(node, 3 if of_the_machine else 2)
        state = remembered(node)
        assert state["confirmed"] == before and state["experiment"] is None
        if of_the_machine:
            assert (report["outcome"], decided(report)) == ("unhealthy", "mark-unfit"), node.said()
            assert (state["unfit"], state["quarantined"]) == (new, []) and not answers(node)
        else:
            assert report["outcome"] == "healthy" and decided(report) == "make-default", node.said()
            assert (state["unfit"], state["quarantined"]) == (None, [new]) and answers(node)
