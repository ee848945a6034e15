"""NVIDIA's own diagnosis of its devices, where DCGM is installed and its host engine runs."""

from __future__ import annotations

from aistack.facts.dcgm import Diagnosed, diagnosed
from aistack.facts.readings import Reading
from aistack.host.probes.reading import read
from aistack.host.process import find, run

SECONDS = 600.0
"""How long a diagnosis may take: level 2 takes about two minutes."""


def diagnosis(level: int) -> Reading[tuple[Diagnosed, ...]] | None:
    """What a run at that level found, or why there was none; None where DCGM is not installed. dcgmi ends badly where a test failed."""
    if find("dcgmi") is None:
        return None
    command = ["dcgmi", "diag", "--run", str(level), "--json"]
    return read(" ".join(command), lambda: diagnosed(run(command, check=False, timeout=SECONDS).stdout))
