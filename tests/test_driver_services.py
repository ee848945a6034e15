"""What apps need beside NVIDIA's driver: the specification for containers as it is written and read, services as systemd tells them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from amd_machines import ADDRESSES, lay

from aistack.facts.catalog import Catalog
from aistack.facts.device_readings import Accelerators
from aistack.facts.files import RENDER, VIDEO
from aistack.facts.readings import Reading, UnitState
from aistack.facts.system_readings import DeviceNode
from aistack.host.probes.device_nodes import amd_nodes
from aistack.host.probes.system import cdi
from aistack.node.cdi import TARGET, specification
from aistack.node.device_checks import Promise
from aistack.node.driver_services import judge_containers, judge_nodes, judge_services

DRIVER = "580.159.04"
SEEN = Accelerators(driver={"version": Reading(source="NVML", value=DRIVER)})


@pytest.mark.parametrize(
    ("count", "driver", "outcome", "cause", "words"),
    [
        (8, DRIVER, "healthy", None, "8 devices"),
        (7, DRIVER, "unhealthy", "unknown", "7 of 8 devices"),
        (8, "575.57.08", "unhealthy", "software", "files of driver 575.57.08, and 580.159.04 runs"),
        (0, DRIVER, "unhealthy", "unknown", "0 of 8 devices"),
    ],
)
def test_containers_are_offered_every_device_of_this_driver(
    tmp_path: Path, count: int, driver: str, outcome: str, cause: str | None, words: str
) -> None:
    """Of the document that the node's own service writes; without a device it writes none."""
    files = {"libcuda.so.1": f"/usr/lib/x86_64-linux-gnu/libcuda.so.{driver}"}
    document = specification([f"/dev/nvidia{number}" for number in range(count)], ["/dev/nvidia-uvm"], files, [], "x86_64")
    target = tmp_path / "var" / TARGET
    target.parent.mkdir(parents=True)
    if count:
        target.write_text(json.dumps(document))
    found = judge_containers(Promise(vendor="nvidia", count=8), SEEN, cdi(tmp_path))
    assert (str(found.outcome), found.cause and str(found.cause)) == (outcome, cause) and words in found.message


def lay_specification(folder: Path, name: str, devices: dict[str, list[str]], uvm: tuple[str, ...] = ("/dev/nvidia-uvm",)) -> None:
    """As nvidia-ctk makes them: each device with the nodes that come with it."""
    each = [{"name": device, "containerEdits": {"deviceNodes": [{"path": path} for path in paths]}} for device, paths in devices.items()]
    folder.mkdir(parents=True, exist_ok=True)
    common = {"deviceNodes": [{"path": path} for path in ("/dev/nvidiactl", *uvm)]}
    document = {"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": each, "containerEdits": common}
    (folder / name).write_text(json.dumps(document))


FIRST, SECOND, CAPS = "/dev/nvidia0", "/dev/nvidia1", "/dev/nvidia-caps/nvidia-cap12"
ALL = {"all": [FIRST, SECOND, "/dev/dri/card1", CAPS]}


@pytest.mark.parametrize(
    ("devices", "outcome", "words"),
    [
        ({"0": [FIRST], "1:0": [SECOND, CAPS], "1:1": [SECOND, CAPS], **ALL}, "healthy", "2 devices"),
        ({"gpu0": [FIRST], "mig1:0": [SECOND, CAPS], **ALL}, "healthy", "2 devices"),
        ({"GPU-00000000-0000-0000-0000-000000000001": [FIRST], **ALL}, "healthy", "2 devices"),
        (ALL, "healthy", "2 devices"),
        ({"0": [FIRST], "1": [SECOND], "all": [FIRST]}, "unhealthy", "1 of 2 devices"),
        ({"0": [FIRST], "1": [SECOND]}, "unhealthy", "not nvidia.com/gpu=all, which apps ask for"),
    ],
)
def test_devices_count_by_their_nodes_whatever_they_are_named(
    tmp_path: Path, devices: dict[str, list[str]], outcome: str, words: str
) -> None:
    lay_specification(tmp_path / "etc/cdi", "nvidia.json", devices)
    found = judge_containers(Promise(vendor="nvidia", count=2), SEEN, cdi(tmp_path))
    assert str(found.outcome) == outcome and words in found.message


UUID = "GPU-b850f46d-d5ea-c752-ddf3-c4453e44d3f7"


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (("0", UUID), "nvidia.com/gpu=0"),
        ((UUID, UUID.replace("GPU", "MIG")), "2 devices by UUID"),
    ],
)
def test_no_report_tells_a_uuid(tmp_path: Path, names: tuple[str, ...], told: str) -> None:
    lay_specification(tmp_path / "etc/cdi", "nvidia.json", {name: [FIRST] for name in names})
    found = judge_containers(Promise(vendor="nvidia", count=1), SEEN, cdi(tmp_path))
    assert str(found.outcome) == "unhealthy" and f"are offered {told}, but not" in found.message
    assert "b850f46d" not in repr(found)


def test_containers_without_the_drivers_second_module_compute_nothing(tmp_path: Path) -> None:
    lay_specification(tmp_path / "etc/cdi", "nvidia.json", ALL, uvm=())
    found = judge_containers(Promise(vendor="nvidia", count=2), SEEN, cdi(tmp_path))
    assert str(found.outcome) == "unhealthy" and "no /dev/nvidia-uvm" in found.message


def test_the_specification_that_engines_prefer_counts_and_a_damaged_one_is_unknown(tmp_path: Path) -> None:
    wanted = Promise(vendor="nvidia", count=2)
    lay_specification(tmp_path / "etc/cdi", "nvidia.json", {"all": [FIRST]})
    lay_specification(tmp_path / "var/run/cdi", "nvidia.json", ALL)
    assert judge_containers(wanted, SEEN, cdi(tmp_path)).message == "containers are offered 2 devices"
    lay_specification(tmp_path / "etc/cdi", "other.json", {"all": [FIRST]})
    assert judge_containers(wanted, SEEN, cdi(tmp_path)).message == "containers are offered 2 devices"
    lay_specification(tmp_path / "var/run/cdi", "other.json", {"0": [FIRST]})
    assert judge_containers(wanted, SEEN, cdi(tmp_path)).message == "containers are offered 2 devices"
    lay_specification(tmp_path / "var/run/cdi", "other.json", {"all": [FIRST]})
    said = judge_containers(wanted, SEEN, cdi(tmp_path))
    assert str(said.cause) == "software"
    assert (
        "/var/run/cdi/nvidia.json and /var/run/cdi/other.json each offer nvidia.com/gpu=all, so that engines take neither" in said.message
    )
    (tmp_path / "etc/cdi/nvidia.json").write_text("{")
    assert str(judge_containers(wanted, SEEN, cdi(tmp_path)).outcome) == "unknown"


def test_apps_can_open_the_files_of_amds_devices(tmp_path: Path) -> None:
    root = lay(tmp_path, ADDRESSES[:2])
    assert judge_nodes(amd_nodes(root)).message == "apps can open /dev/kfd, /dev/dri/renderD128, /dev/dri/renderD129"
    (root / "dev/dri/renderD129").chmod(0o600)
    said = judge_nodes(amd_nodes(root))
    assert (str(said.outcome), str(said.cause)) == ("unhealthy", "software") and said.message.endswith("cannot open /dev/dri/renderD129")
    (root / "dev/kfd").unlink()
    said = judge_nodes(amd_nodes(root))
    assert (str(said.outcome), str(said.cause)) == ("unhealthy", "unknown") and said.message.startswith("there is no /dev/kfd,")
    (root / "dev/kfd").symlink_to("kfd")
    assert str(judge_nodes(amd_nodes(root)).outcome) == "unknown"


@pytest.mark.parametrize(
    ("group", "mode", "opens"),
    [
        (895, 0o660, True),
        (44, 0o660, True),
        (0, 0o660, False),
        (895, 0o640, False),
        (0, 0o666, True),
        (895, 0o606, True),
        (0, 0o600, False),
    ],
)
def test_who_may_open_a_device(group: int, mode: int, opens: bool) -> None:
    assert DeviceNode(path="/dev/kfd", group=group, mode=mode).opens_for((RENDER, VIDEO)) is opens


FABRIC, IMEX = "nvidia-fabricmanager.service", "nvidia-imex.service"


@pytest.mark.parametrize(
    ("product", "dead", "load", "started", "outcomes"),
    [
        ("nvidia/h100-sxm-80gb", None, "loaded", True, ["healthy"]),
        ("nvidia/h100-sxm-80gb", FABRIC, "loaded", True, ["unhealthy"]),
        ("nvidia/h100-sxm-80gb", FABRIC, "loaded", False, ["degraded"]),
        ("nvidia/h100-sxm-80gb", FABRIC, "not-found", False, []),
        ("nvidia/h100-sxm-80gb", IMEX, "loaded", True, ["healthy"]),
        ("nvidia/gb200", IMEX, "loaded", True, ["unhealthy"]),
        ("nvidia/gb200", FABRIC, "loaded", True, ["healthy"]),
        ("nvidia/l4", FABRIC, "loaded", True, []),
    ],
)
def test_a_service_that_joins_the_devices_has_to_live(
    catalog: Catalog, product: str, dead: str | None, load: str, started: bool, outcomes: list[str]
) -> None:
    units = {
        name: Reading(
            source="systemctl show",
            value=UnitState(
                unit=name, load=load, active="failed" if name == dead else "active", sub="x", result="exit-code", started=started
            ),
        )
        for name in (FABRIC, IMEX)
    }
    found = list(judge_services(Promise(vendor="nvidia", product=catalog.accelerators[product], count=4), units))
    assert [str(result.outcome) for result in found] == outcomes
    assert all(str(dead) in result.message for result in found if str(result.outcome) != "healthy")
