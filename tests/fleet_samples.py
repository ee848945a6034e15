"""Reports of many nodes as the real probes and checks make them, with seeded faults: `python tests/fleet_samples.py FOLDER [--nodes N]`.

The probe asks the stand-ins for NVIDIA's libraries, once for each kind of machine and fault. Copies and temperatures, for which a stand-in
has no truth, are those of a real H100 (tests/data/h100.json), scaled to the product's own floor and scattered; then each node is judged.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import random
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from unittest import mock

from accelerator_profiles import DRIVER, LIBRARY_MISMATCH, LOST, MACHINES, MIB, UNKNOWN, compile_stand_ins
from accelerator_profiles import lay as lay_stand_ins
from node_samples import LOCK, lay, lock_text, readings

from aistack.compose.lock import LockedAccelerator
from aistack.facts.catalog import Catalog
from aistack.facts.device_readings import Accelerators, Device, Plain, from_plain
from aistack.facts.readings import Reading
from aistack.host.catalog_files import load_catalog
from aistack.host.probes.accelerators import take_accelerators
from aistack.node import gate
from aistack.node.accelerators import judge
from aistack.node.asking import known_faults
from aistack.node.device_checks import Promise
from aistack.node.fleet_reading import NodeReport, decode
from aistack.node.health import check
from aistack.node.results import Result, good

H100, A100, L4, B200 = "nvidia/h100-sxm-80gb", "nvidia/a100-sxm-80gb", "nvidia/l4", "nvidia/b200"
RECORDED = json.loads((Path(__file__).parent / "data" / "h100.json").read_text())["devices"][0]
XID = "6,1,5000000,-;NVRM: Xid (PCI:0000:28:00): {code}, pid=1234, name=python3, a message\n"

TIME = "2026-11-26T20:00:00Z"
NOW = datetime.datetime(2026, 11, 26, 20, tzinfo=datetime.UTC)

Change = Mapping[str, str | None]
Changes = Mapping[str, Plain]
FAULTS: Mapping[str, tuple[str, Change, str]] = {
    "gone from the bus": (H100, {"3.nvmlDeviceGetHandleByIndex": LOST}, XID.format(code=79)),
    "one fewer": (H100, {"nvmlDeviceGetCount": "7"}, ""),
    "uncorrectable error": (H100, {"5.nvmlDeviceGetTotalEccErrors.1.0": "2"}, ""),
    "row failed": (H100, {"1.nvmlDeviceGetRemappedRows": "0 3 0 1"}, ""),
    "row pending": (A100, {"1.nvmlDeviceGetRemappedRows": "0 1 1 0"}, ""),
    "link down": (H100, {"4.nvmlDeviceGetNvLinkState.7": "0"}, ""),
    "fabric not ready": (H100, {f"{index}.nvmlDeviceGetGpuFabricInfo": "2 0" for index in range(8)}, ""),
    "library mismatch": (H100, {"nvmlInitWithFlags": LIBRARY_MISMATCH}, ""),
    "older firmware": (B200, {"0.nvmlDeviceGetGspFirmwareVersion": "570.1"}, ""),
    "a reading failed": (A100, {"0.nvmlDeviceGetMemoryInfo": UNKNOWN}, ""),
    "wrong memory": (A100, {"0.nvmlDeviceGetMemoryInfo": f"{40960 * MIB} 0"}, ""),
    "narrow link": (H100, {"2.nvmlDeviceGetCurrPcieLinkWidth": "8"}, ""),
    "too hot": (B200, {"7.nvmlDeviceGetCurrentClocksThrottleReasons": "0x48"}, ""),
    "no persistence": (H100, {f"{index}.nvmlDeviceGetPersistenceMode": "0" for index in range(8)}, ""),
}
"""By name: the product, what is changed in its profile, and what the kernel says."""

FLEET = {H100: 0.7, A100: 0.15, B200: 0.1, L4: 0.05}
"""Which part of the nodes is of which product."""


def reports(folder: Path, count: int, catalog: Catalog, *, seed: int = 7, broken: float = 0.05) -> Iterator[tuple[str, str]]:
    """(file name, text) of each node's report, a `broken` part of them with a fault; `folder` is scratch."""
    chosen = random.Random(seed)
    compile_stand_ins(folder)
    seen = {product: probed(folder, product) for product in FLEET}
    faulty = {name: (product, probed(folder, product, changes, kmsg)) for name, (product, changes, kmsg) in FAULTS.items()}
    machines = {product: machine(folder / product.replace("/", "-"), product) for product in FLEET}
    for number in range(1, count + 1):
        (product,) = chosen.choices(list(FLEET), list(FLEET.values()))
        accelerators = seen[product]
        if chosen.random() < broken:
            product, accelerators = faulty[chosen.choice(list(FAULTS))]
        accelerators = worked(accelerators, product, catalog, chosen)
        wanted = Promise(vendor="nvidia", product=catalog.accelerators[product], count=MACHINES[product].count, driver=DRIVER)
        found = (*machines[product], *judge(wanted, accelerators, known_faults(catalog)))
        host = f"node{number:04}"
        document = gate.document("check", found, accelerators, host=host, time=TIME, uptime_seconds=chosen.uniform(20, 90))
        yield f"{host}.json", json.dumps(document) + "\n"


def probed(folder: Path, product: str, changes: Change | None = None, kmsg: str = "") -> Accelerators:
    """What the real probe reads through the stand-ins below `folder`."""
    profile = MACHINES[product].nvml() | dict(changes or {})
    environment = lay_stand_ins(folder, {name: value for name, value in profile.items() if value is not None}, MACHINES[product].cuda())
    for name, text in (("sys/module/nvidia/version", f"{DRIVER}\n"), ("dev/kmsg", kmsg)):
        (folder / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "root" / name).write_text(text)
    with mock.patch.dict(os.environ, {**environment, "LD_LIBRARY_PATH": str(folder)}):
        return take_accelerators(folder / "root", "nvidia", "none")


def machine(root: Path, product: str) -> tuple[Result, ...]:
    """A healthy node with that product's devices on its bus, and what the machine's own checks say."""
    kind = MACHINES[product]
    lock = replace(LOCK, name=f"{product.rpartition('/')[2]}-serving", accelerator=LockedAccelerator(product=product, count=kind.count))
    lay(root, lock)
    for address in kind.addresses():
        device = root / "sys/bus/pci/devices" / address
        device.mkdir()
        for name, text in (("vendor", "0x10de"), ("device", f"0x{kind.pci}"), ("class", "0x030200")):
            (device / name).write_text(f"{text}\n")
    return check(readings(root, lock), lock_text(lock))


def worked(seen: Accelerators, product: str, catalog: Catalog, chosen: random.Random) -> Accelerators:
    """The same after programs ran on each device: a real H100's readings of that, scaled and scattered; one in 400 devices is slow."""
    if seen.devices.value is None:
        return seen
    scale = (catalog.accelerators[product].memory_bandwidth_minimum or 1905) / 1905
    devices = []
    for device in seen.devices.value:
        slow = 0.86 if chosen.random() < 1 / 400 else 1.0
        link = (device.number("pcie.lanes") or 16) / 16 * 2.0 ** ((device.number("pcie.generation") or 5) - 5)
        parts = {"to-device": link, "from-device": link, "inside": scale * slow}
        copies: dict[str, Reading[Plain]] = {
            f"copies.{way}-gbps": real(f"copies.{way}-gbps", part * chosen.gauss(1.0, 0.006)) for way, part in parts.items()
        }
        copies |= {name: real(name) for name in ("compute", "compute.wrong-answers", "compute.wrong-words", "compute.seconds")}
        warm: Reading[Plain] = Reading(source="nvmlDeviceGetTemperature", value=round(chosen.gauss(38, 3)))
        devices.append(device if device.lost else Device(values={**device.values, **copies, "temperature.celsius": warm}))
    return replace(seen, devices=Reading(source=seen.devices.source, value=tuple(devices)), level="standard")


def real(name: str, part: float | None = None) -> Reading[Plain]:
    """A reading of the recorded H100; its number times `part`."""
    value = RECORDED[name]["value"]
    return Reading(source=RECORDED[name]["source"], value=value if part is None else round(value * part, 2))


class Maker:
    """Makes reports as a node does: readings of a real H100 with changes, judged, and written."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog

    def text(self, host: str | None, *devices: Changes, extra: tuple[Result, ...] = (), promised: object = None, time: str = TIME) -> str:
        seen = Accelerators(
            driver={name: Reading(source="NVML", value="580.159.04") for name in ("version", "module")},
            devices=Reading(source="NVML", value=tuple(self.device(index, changes) for index, changes in enumerate(devices))),
            log=Reading(source="/dev/kmsg", value=()),
            level="standard",
        )
        wanted = Promise(vendor="nvidia", product=self.catalog.accelerators[H100], count=1)
        lock = good("lock", "the lock is example", ("name", "example"), ("identity", "sha256:1"))
        bus = good("accelerator", "they are there", ("promised", f"{promised or len(devices)} x {H100}"))
        results = (lock, bus, *judge(wanted, seen, known_faults(self.catalog)), *extra)
        return json.dumps(gate.document("check", results, seen, host=host, time=time, uptime_seconds=1.0))

    def device(self, index: int, changes: Changes) -> Device:
        known = {name: reading for name, reading in from_plain(RECORDED).items() if not name.startswith(("fabric", "links"))}
        changed: dict[str, Reading[Plain]] = {name: Reading(source="test", value=value) for name, value in changes.items()}
        return Device(values={**known, "pci.address": Reading(source="test", value=f"0000:{index:02x}:00.0"), **changed})

    def report(self, host: str, *devices: Changes, **more: Any) -> NodeReport:
        return decode(self.text(host, *devices, **more), f"{host}.json")


VOID = {"meta", "input", "path", "rect"}
CLOSED_BY_ITSELF = {"th", "td", "tr", "thead", "tbody"}


class Page(HTMLParser):
    """What a browser makes of a page: everything that was opened and not closed, its links, its texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.classes: list[str] = []
        self.texts: list[str] = []
        self.attributes: set[str] = set()
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert tag not in ("img", "link", "iframe", "object") and "src" not in given
        self.attributes |= set(given)
        self.links += [given["href"] or ""] if tag == "a" else []
        self.anchors |= {given["id"] or ""} if "id" in given else set()
        self.classes += (given.get("class") or "").split()
        if tag not in VOID | CLOSED_BY_ITSELF:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID | CLOSED_BY_ITSELF:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def main() -> None:
    """Write the reports into a folder."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--nodes", type=int, default=1000)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for name, text in reports(Path(scratch), given.nodes, load_catalog()):
            (given.folder / name).write_text(text)


if __name__ == "__main__":
    main()
