"""A node's status for Prometheus, as node_exporter's textfile collector reads it.

The format: https://prometheus.io/docs/instrumenting/exposition_formats/.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from aistack.node.results import Outcome
from aistack.node.status import Status

Sample = tuple[dict[str, str], float]
"""Labels and a value."""

READINGS = {
    "temperature.celsius": "device_temperature_celsius",
    "power.watts": "device_power_watts",
    "memory.used-mib": "device_memory_used_mib",
    "ecc.corrected": "device_ecc_corrected",
    "ecc.uncorrected": "device_ecc_uncorrected",
    "pcie.generation": "device_pcie_generation",
    "pcie.lanes": "device_pcie_lanes",
    "links.up": "device_links_up",
    "programs": "device_programs",
}
"""Readings of each accelerator that are metrics too, by their names."""


def text(status: Status) -> str:
    """The whole file; a metric whose value nobody knows is left out."""
    return "".join(_metric(name, what, samples) for name, what, samples in _metrics(status) if samples)


def _metrics(status: Status) -> Iterator[tuple[str, str, list[Sample]]]:
    state, listed = status.state, status.deployments.value
    image = {"name": status.lock_name, "digest": status.booted or "", "version": status.version or "", "lock": status.lock or ""}
    yield "info", "The booted system image.", [(image, 1)]
    yield "state_readable", "Whether the node can read what it remembers.", [({}, status.state_error is None)]
    if status.state_error is None:
        confirmed = status.booted is not None and status.booted == state.confirmed
        yield "confirmed", "Whether the booted system image passed both gates.", [({}, confirmed)]
        yield "unfit", "Whether no system image makes this machine serve.", [({}, state.unfit is not None)]
        yield "quarantined_images", "System images that were undone on this node.", [({}, len(state.quarantined))]
    yield "on_trial", "Whether the booted system image has still to prove itself.", [({}, status.on_trial)]
    if listed is not None:
        yield "update_staged", "Whether the next orderly reboot starts another system image.", [({}, status.staged is not None)]
        yield "rollback_possible", "Whether there is a deployment to go back to.", [({}, status.rollback is not None)]
    gates: list[Sample] = [
        ({"gate": gate, "outcome": one.value}, status.outcome(gate) == one.value) for gate in status.gates for one in Outcome
    ]
    yield "gate_outcome", "What each gate came to at this boot: 1 for the outcome that it had.", gates
    times: list[Sample] = [({"gate": gate}, _seconds(said.time)) for gate, said in status.gates.items() if said.time is not None]
    yield "gate_timestamp_seconds", "When each gate, or the watch, last came to an end.", times
    look = status.last_look
    found = {(one.name, one.device or "", one.outcome.value) for one in look.results} if look else ()
    checks: list[Sample] = [({"check": check, "device": device, "outcome": outcome}, 1) for check, device, outcome in sorted(found)]
    yield "check", "What each check came to at the last look; with the device that it is about.", checks
    for reading, name in READINGS.items():
        numbers = [(device.address, device.number(reading)) for device in look.devices] if look else []
        told = [({"device": address}, number) for address, number in numbers if number is not None]
        yield name, f"An accelerator's reading `{reading}` at the last look.", told
    for key, said, label in (("update", status.last_update, "outcome"), ("change", status.last_change, "action")):
        yield f"last_{key}_timestamp_seconds", f"When the last {key} was.", [({label: said[label]}, _seconds(said["time"]))] if said else []


def _metric(name: str, what: str, samples: list[Sample]) -> str:
    whole = f"aistack_node_{name}"
    return f"# HELP {whole} {what}\n# TYPE {whole} gauge\n" + "".join(
        f"{whole}{_labels(labels)} {float(value):.15g}\n" for labels, value in samples
    )


def _labels(labels: dict[str, str]) -> str:
    escaped = ((name, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")) for name, value in labels.items())
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}" if labels else ""


def _seconds(time: str) -> float:
    return datetime.datetime.fromisoformat(time).timestamp()
