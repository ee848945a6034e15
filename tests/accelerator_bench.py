"""A machine with stand-ins for its driver's libraries, and the readings of real ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from accelerator_profiles import DRIVER, MACHINES, compile_stand_ins, lay

from aistack.facts.catalog import Catalog
from aistack.facts.device_readings import Accelerators, Device, KernelEvent, from_plain
from aistack.facts.readings import Reading
from aistack.host.probes.accelerators import WHOLE_MACHINE, take_accelerators
from aistack.node.accelerators import judge
from aistack.node.asking import known_faults
from aistack.node.device_checks import Promise
from aistack.node.results import Result

PCIE = "nvidia/h100-pcie-80gb"
H100, L4, A100 = "nvidia/h100-sxm-80gb", "nvidia/l4", "nvidia/a100-sxm-80gb"
RECORDED = {name: json.loads((Path(__file__).parent / "data" / f"{name}.json").read_text()) for name in ("h100", "h200")}


def recorded(name: str = "h100") -> Accelerators:
    found = RECORDED[name]
    devices = tuple(Device(values=from_plain(values)) for values in found["devices"])
    log: Reading[tuple[KernelEvent, ...]] = Reading(source="/dev/kmsg", value=())
    return Accelerators(driver=from_plain(found["driver"]), devices=Reading(source="NVML", value=devices), log=log, level=found["level"])


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stand-ins")
    compile_stand_ins(folder)
    return folder


class Bench:
    """A machine with stand-ins for its driver's libraries; what the probes read of it, and what is thought of that."""

    def __init__(self, libraries: Path, folder: Path, patch: pytest.MonkeyPatch, catalog: Catalog) -> None:
        self.libraries, self.folder, self.patch, self.catalog = libraries, folder, patch, catalog
        self.namespace = WHOLE_MACHINE

    def look(
        self,
        product: str,
        nvml: Mapping[str, str | None] | None = None,
        cuda: Mapping[str, str] | None = None,
        *,
        level: str = "none",
        kmsg: str = "",
    ) -> Accelerators:
        machine = MACHINES[product]
        changed = {name: value for name, value in (machine.nvml() | dict(nvml or {})).items() if value is not None}
        for name, value in lay(self.folder, changed, machine.cuda() | dict(cuda or {})).items():
            self.patch.setenv(name, value)
        self.patch.setenv("LD_LIBRARY_PATH", str(self.libraries))
        root = self.folder / "root"
        for name, text in (("sys/module/nvidia/version", f"{DRIVER}\n"), ("dev/kmsg", kmsg)):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        namespace = root / "proc/self/ns/pid"
        namespace.parent.mkdir(parents=True, exist_ok=True)
        namespace.unlink(missing_ok=True)
        namespace.symlink_to(self.namespace)
        return take_accelerators(root, "nvidia", level)

    def judge(self, product: str, seen: Accelerators, *, count: int | None = None, driver: str = DRIVER) -> tuple[Result, ...]:
        about, many = self.catalog.accelerators[product], count or MACHINES[product].count
        wanted = Promise(vendor="nvidia", product=about, limits=self.catalog.limits_of("nvidia"), count=many, driver=driver)
        return judge(wanted, seen, known_faults(self.catalog))


@pytest.fixture
def bench(stand_ins: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, catalog: Catalog) -> Bench:
    return Bench(stand_ins, tmp_path, monkeypatch, catalog)
