"""What apps need beside a driver that answers: their containers get every device, and its services live. Pure judgement."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping

from aistack.facts.device_readings import Accelerators
from aistack.facts.files import RENDER, VIDEO
from aistack.facts.readings import Reading, UnitState
from aistack.facts.system_readings import CdiSpecification, DeviceNode
from aistack.facts.unique import CDI_NAME
from aistack.node.device_checks import Promise
from aistack.node.results import Cause, Result, bad, good, several, untold, worse

CONTAINERS, SERVICES = "accelerator-containers", "accelerator-services"
NEEDED = {"nvswitch": "nvidia-fabricmanager.service", "nvl72": "nvidia-imex.service"}
"""The service that devices need to reach each other, by how they are joined."""

ASKED = "nvidia.com/gpu=all"
"""What apps ask their container engine for (compose/render/system.py)."""

NODE = re.compile(r"/dev/nvidia\d+")
"""A device's own node; a part of it (MIG) comes with its whole device's, and others are for all of them."""


UVM = "/dev/nvidia-uvm"
"""The node of the driver's second module, which CUDA cannot do without and NVML can."""
MODPROBE = "nvidia-modprobe -u -c 0; systemctl restart aistack-cdi, and the apps"


def judge_containers(wanted: Promise, seen: Accelerators, offered: Reading[tuple[CdiSpecification, ...]]) -> Result:
    """Whether the CDI specification, made before the first gate, is of all devices and of the driver that runs.

    Its makers name single devices as they like, so what counts are the nodes that come with what apps ask for. Of two folders that offer
    it, engines take the second's; of two files of one folder, neither.
    """
    if offered.value is None:
        return untold(CONTAINERS, offered, "what containers are offered")
    offering = [one for one in offered.value if ASKED in one.nodes]
    offering = [one for one in offering if posixpath.dirname(one.path) == posixpath.dirname(offering[-1].path)]
    brought, driver = (offering[0].nodes[ASKED], offering[0].driver) if offering else ((), None)
    nodes = sorted(node for node in set(brought) if NODE.fullmatch(node))
    version = seen.driver.get("version")
    running = str(version.value) if version is not None and version.value is not None else None
    evidence = (("offered", " ".join(nodes) or "none"), ("promised", str(wanted.count or "any")), ("driver", running or "unknown"))
    action = "systemctl restart aistack-cdi, and the apps; `ls /dev/nvidia*` shows whether a device has no node"
    if len(offering) > 1:
        said = f"{' and '.join(one.path for one in offering)} each offer {ASKED}, so that engines take neither"
        return bad(CONTAINERS, Cause.SOFTWARE, said, *evidence, action="remove all but one, then restart the apps")
    if driver and running and driver != running:
        said = f"containers get the files of driver {driver}, and {running} runs"
        return bad(CONTAINERS, Cause.SOFTWARE, said, *evidence, action=action)
    if not offering and (others := {name for one in offered.value for name in one.nodes}):
        told = ", ".join(sorted(name for name in others if not CDI_NAME.search(name))) or f"{several(len(others), 'device')} by UUID"
        said = f"containers are offered {told}, but not {ASKED}, which apps ask for"
        return bad(CONTAINERS, Cause.SOFTWARE, said, *evidence, action=action)
    if offering and UVM not in brought:
        return bad(CONTAINERS, Cause.UNKNOWN, f"containers are given no {UVM}, without which none computes", *evidence, action=MODPROBE)
    if len(nodes) < (wanted.count or 1):
        said = f"containers are offered {len(nodes)} of {several(wanted.count or 1, 'device')}"
        return bad(CONTAINERS, Cause.UNKNOWN, said, *evidence, action=action)
    return good(CONTAINERS, f"containers are offered {several(len(nodes), 'device')}", *evidence)


def judge_nodes(nodes: Reading[tuple[DeviceNode, ...]]) -> Result:
    """Whether apps, which have the groups `render` and `video` and no user of their own, can open the files of AMD's devices."""
    if nodes.value is None:
        return untold(CONTAINERS, nodes, "which files of AMD's devices apps can open")
    evidence = tuple((node.path, "missing" if node.mode is None else f"group {node.group}, {node.mode:04o}") for node in nodes.value)
    if missing := [node.path for node in nodes.value if node.mode is None]:
        said = f"there is no {', '.join(missing)}, which apps open to compute"
        return bad(
            CONTAINERS, Cause.UNKNOWN, said, *evidence, action="udevadm trigger, then restart the apps; journalctl -b -u systemd-udevd"
        )
    if closed := [node.path for node in nodes.value if not node.opens_for((RENDER, VIDEO))]:
        said = f"apps, which have the groups render ({RENDER}) and video ({VIDEO}), cannot open {', '.join(closed)}"
        return bad(CONTAINERS, Cause.SOFTWARE, said, *evidence, action=f"udevadm info {closed[0]} shows the rules that made it")
    return good(CONTAINERS, f"apps can open {', '.join(node.path for node in nodes.value)}", *evidence)


def judge_services(wanted: Promise, units: Mapping[str, Reading[UnitState]]) -> Iterator[Result]:
    """Whether the service lives that joins the devices, where they need one and this system has it.

    One that never started may have nothing to do, as in a virtual machine whose switches another one keeps: what came of that the
    devices' registration with their fabric tells.
    """
    if not wanted.is_fabric or wanted.product is None:
        return
    name = NEEDED[wanted.product.interconnect or ""]
    unit = units[name]
    if unit.value is None:
        yield untold(SERVICES, unit, f"whether {name} lives")
        return
    state = unit.value
    if state.load == "not-found":
        return
    evidence = (("unit", name), ("active", state.active), ("sub", state.sub), ("result", state.result))
    action = f"journalctl -b -u {name}; `systemctl restart {name}`"
    if state.active == "active":
        yield good(SERVICES, f"{name} lives", *evidence)
    elif state.started:
        yield bad(SERVICES, Cause.UNKNOWN, f"{name} has ended: {state.active} ({state.sub}, {state.result})", *evidence, action=action)
    elif state.active == "inactive":
        yield good(SERVICES, f"{name} has nothing to do here", *evidence)
    else:
        yield worse(SERVICES, f"{name} did not start: {state.active} ({state.sub}, {state.result})", *evidence, action=action)
