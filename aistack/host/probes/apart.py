"""Asking a driver in a process of its own: a driver in trouble may hang, or end, whoever asks it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aistack.facts.readings import Reading
from aistack.host.probes.reading import read
from aistack.host.process import run

PACKAGE = Path(__file__).resolve().parents[3]


HIDING = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
"""Variables by which somebody hides devices from their own programs: a probe sees all."""


def ask(module: str, arguments: Sequence[str], *, source: str, timeout: float, environment: Mapping[str, str]) -> Reading[Any]:
    """What a probe's own program (`python3 -m MODULE`) prints as JSON, or why it printed none within `timeout` seconds."""

    def answer() -> Any:
        paths = [str(PACKAGE), *([os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else [])]
        inherited = {name: value for name, value in os.environ.items() if name not in HIDING}
        around = {**inherited, "PYTHONPATH": os.pathsep.join(paths), **environment}
        return json.loads(run([sys.executable, "-m", module, *arguments], env=around, timeout=timeout).stdout)

    return read(source, answer)
