"""What is asked of each accelerator's links, to the host and to the other devices, by the rules of `device_checks`."""

from __future__ import annotations

from aistack.facts.device_readings import JOINING, Device
from aistack.node.device_checks import Check, Promise, cannot_tell, first_unread, link_now, shown, sources
from aistack.node.results import Cause, Outcome, Result, bad, good, worse

LINK, NVLINK, FABRIC, PEERS = "accelerator-link", "accelerator-nvlink", "accelerator-fabric", "accelerator-peers"

SLOWER = frozenset({"degraded-bandwidth", "route-recovery", "access-timeout-recovery", "limited-capacity"})
"""What the fabric may say of a device that serves on, if slower; anything else cuts it off from the others."""


def _link(wanted: Promise, device: Device) -> Result | None:
    """The link to the host, against what the product and its slot can do; how fast it is only where it was read while it was awake.

    Drivers slow links down soon after a program ended, so that only what was read beside one counts.
    """
    generation, lanes = link_now(device)
    if unread := first_unread(LINK, device, "pcie.generation", "pcie.lanes", "pcie.most-generation", "pcie.most-lanes"):
        return unread
    if generation is None or lanes is None:
        return _unlinked(wanted, device)
    least, product = (wanted.product.pcie_minimum, wanted.product.pcie) if wanted.product else (None, None)
    is_module = wanted.product is not None and wanted.product.links is not None and device.get("virtualization") != "passthrough"
    read = ("compute.pcie-generation", "compute.pcie-lanes", "pcie.generation", "pcie.lanes", "pcie.most-generation", "pcie.most-lanes")
    evidence = shown(device, *read, "pcie.replays")
    evidence = (*evidence, *sources(wanted))
    most = (device.number("pcie.most-generation") or generation, device.number("pcie.most-lanes") or lanes)
    awake = device.get("compute.pcie-generation") is not None
    said = f"PCI Express {generation:.0f} x{lanes:.0f}"
    sees_slot = device.get("virtualization") != "passthrough"  # a virtual machine does not: its device's word counts as the port's
    if sees_slot and (lanes < most[1] or (awake and generation < most[0])):
        action = "seat the device or its riser again; a link that comes up narrow or slow is damaged or dirty"
        return worse(LINK, f"{said}, though device and slot can do {most[0]:.0f} x{most[1]:.0f}", *evidence, action=action)
    if least is not None and (lanes < least.lanes or (awake and generation < least.generation)):
        action = "give it a slot, or a virtual machine's port, that can do as much"
        return worse(LINK, f"{said}; the vendor's own diagnosis asks for {least.generation} x{least.lanes}", *evidence, action=action)
    if least is None and is_module and product is not None and lanes < product.lanes:
        action = "look at the baseboard's connectors and its PCI Express switches (`lspci -vv`)"
        return worse(LINK, f"{said}; a module on its baseboard has x{product.lanes}", *evidence, action=action)
    of_product = (
        f", of the product's {product.generation} x{product.lanes}"
        if product and (generation, lanes) != (product.generation, product.lanes)
        else ""
    )
    return good(LINK, f"{said}{of_product}", *evidence)


def _unlinked(wanted: Promise, device: Device) -> Result | None:
    """A device of whose link its kernel knows nothing: as of the parts that virtual machines are given, where these are known."""
    if wanted.product is None or not wanted.product.virtual_ids or "pcie.lanes" not in device.values or wanted.is_part(device):
        return None
    action = "look at `dmesg` and `lspci -vv`; a virtual machine has to be given the device behind a port of PCI Express"
    return worse(LINK, "the kernel knows no PCI Express link of it", *sources(wanted), action=action)


def _links(wanted: Promise, device: Device) -> Result | None:
    """NVLinks through switches, all of which have to be up, and those that a baseboard joins, of which it may leave some.

    Those for bridges may join none, some or all: how many, nobody promised. The parts of a device that is split use none, and an A100's are
    then off (https://docs.nvidia.com/datacenter/tesla/fabric-manager-user-guide/index.html).
    """
    up, there = device.number("links.up"), device.number("links.all")
    evidence = shown(device, "links.up", "links.all", "links.errors")
    if unread := first_unread(NVLINK, device, "links.up", "links.all"):
        return unread
    own, is_alone = wanted.product.links if wanted.product else None, wanted.count == 1
    if not wanted.is_fabric or device.get("mig"):
        if own is not None and "links.up" in device.values and not is_alone and not device.get("mig") and (up or 0) < own:
            said = f"{up or 0:.0f} of the {own} NVLinks are up that join the product's modules"
            action = (
                "look at `nvidia-smi nvlink -s`; some machines join fewer, and a virtual machine may lack the devices at their other ends"
            )
            return worse(NVLINK, said, *evidence, *sources(wanted), action=action)
        return None if up is None else good(NVLINK, f"{up:.0f} of {there or up:.0f} NVLinks are up", *evidence)
    if up is None and device.get("virtualization") == "passthrough" and device.get("fabric.state") in (None, "not supported"):
        return worse(NVLINK, "this virtual machine was given the device without its NVLinks", *evidence)
    if up is None:
        action = "look at `dmesg` for NVLink and the fabric manager"
        return bad(NVLINK, Cause.UNKNOWN, "the driver shows no NVLink", *evidence, action=action)
    least = own or there or up
    if up < least:
        action = "look at `nvidia-smi nvlink -e` and the fabric manager's log; a link that stays down is a cable, a switch or the device"
        return bad(NVLINK, Cause.UNKNOWN, f"{up:.0f} of {least:.0f} NVLinks are up", *evidence, *sources(wanted), action=action)
    return good(NVLINK, f"all {up:.0f} NVLinks are up", *evidence)


def _peers(wanted: Promise, device: Device) -> Result | None:
    """The devices that this one reaches over Infinity Fabric: all others, as far as its links go."""
    reached, links = device.number("peers"), wanted.product.links if wanted.product else None
    if links is None or wanted.count is None or wanted.count == 1 or "peers" not in device.values:
        return None
    if reached is None:
        return cannot_tell(PEERS, device, "peers")
    least = min(links, wanted.count - 1)
    evidence = (("peers", f"{reached:.0f}"), ("links", str(links)), *sources(wanted))
    said = f"it reaches {reached:.0f} of {least} other devices over Infinity Fabric"
    action = "look at `dmesg` for XGMI; a device that stays out of the others' hive is to be seated again or replaced"
    if not reached:  # as in a virtual machine that was given no such links; where they are, the others miss this one
        return worse(PEERS, said, *evidence, action=action)
    if reached < least:
        return bad(PEERS, Cause.UNKNOWN, said, *evidence, action=action)
    return good(PEERS, said, *evidence)


def _fabric(wanted: Promise, device: Device) -> Result | None:
    state, status = device.get("fabric.state"), device.number("fabric.status")
    if not wanted.is_fabric:
        return None
    if unread := first_unread(FABRIC, device, "fabric.state", "fabric.status"):
        return unread
    evidence = shown(device, "fabric.state", "fabric.status", "fabric.health")
    if state is None or state == "not supported":
        return None
    if ("fabric.state", state) == JOINING:
        return Result(
            name=FABRIC,
            outcome=Outcome.UNKNOWN,
            message="its registration with the fabric is still going on",
            evidence=evidence,
        )
    if state != "completed" or status:
        said = f"its registration with the fabric is {state}, status {status or 0:.0f}"
        return bad(
            FABRIC,
            Cause.UNKNOWN,
            said,
            *evidence,
            action="systemctl status nvidia-fabricmanager; its version must be the driver's",
        )
    if unread := first_unread(FABRIC, device, "fabric.health"):
        return unread
    health = str(device.get("fabric.health") or "").split()
    if not health:
        return good(FABRIC, "its registration with the fabric is completed", *evidence)
    said, action = f"the fabric says of it: {' '.join(health)}", "look at the fabric manager's log, and at NVLink's cables and switches"
    if set(health) <= SLOWER:
        return worse(FABRIC, said, *evidence, action=action)
    return bad(FABRIC, Cause.UNKNOWN, said, *evidence, action=action)


CHECKS: tuple[Check, ...] = (_link, _links, _peers, _fabric)
