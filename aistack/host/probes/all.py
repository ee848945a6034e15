"""The whole reading of a machine before its apps run."""

from __future__ import annotations

from pathlib import Path

from aistack.facts.readings import MachineReadings
from aistack.host.probes import deployment, images, machine

# Where images and state grow, and where the next kernel has to fit.
FILE_SYSTEMS = ("/var", "/boot")


def take(root: Path) -> MachineReadings:
    """Read everything below `root`; never raises, each reading carries its own error."""
    kernel = machine.kernel(root)
    return MachineReadings(
        start=machine.start(root),
        kernel=kernel,
        architecture=machine.architecture(root),
        command_line=machine.command_line(root),
        processor=machine.processor(root),
        memory_mib=machine.memory_mib(root),
        modules=machine.modules(root, kernel.value),
        file_systems=tuple(machine.file_system(root, path) for path in FILE_SYSTEMS),
        pci=machine.pci(root),
        deployment=deployment.deployment(root),
        bound_images=images.bound_images(root),
        promised_images=images.promised_images(root),
    )
