"""Asking a driver in a process of its own: a driver in trouble may hang, or end, whoever asks it."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aistack.facts.readings import Reading
from aistack.host.probes.reading import read
from aistack.host.process import run

PACKAGE = Path(__file__).resolve().parents[3]


SOMEBODYS = re.compile(r"CUDA_(?!MPS_)|HIP_VISIBLE_DEVICES|ROCR_VISIBLE_DEVICES")
"""Variables by which somebody hides devices from their own programs, or changes how these run: a probe sees all, and runs as it is.

Where a device is shared by CUDA's MPS, its variables say where the server is to be found.
"""


def ask(module: str, arguments: Sequence[str], *, source: str, timeout: float, environment: Mapping[str, str]) -> Reading[Any]:
    """What a probe's own program (`python3 -m MODULE`) prints, JSON objects, one a line: put together, `devices` of all of them.

    Where it does not end well within `timeout` seconds, `unfinished` says why, and `asking` which device held it up; there is no
    value where it had come to none.
    """
    paths = [str(PACKAGE), *([os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else [])]
    inherited = {name: value for name, value in os.environ.items() if not SOMEBODYS.match(name)}
    around = {**inherited, "PYTHONPATH": os.pathsep.join(paths), **environment}
    argv = [sys.executable, "-m", module, *arguments]
    return read(source, lambda: _answer(argv, around, source, timeout))


def _answer(argv: Sequence[str], environment: Mapping[str, str], source: str, timeout: float) -> dict[str, Any]:
    with tempfile.TemporaryFile() as file:  # without a name: whoever kills this process leaves nothing behind
        said = Path(f"/proc/self/fd/{file.fileno()}")
        ended = read(source, lambda: run(argv, env=environment, timeout=timeout, log=said))
        whole = _together(said.read_text(errors="replace"))
    if ended.error is None and whole:
        return whole
    if "asking" not in whole:
        raise ValueError(ended.error or "it said nothing")
    return {**whole, "unfinished": ended.error}


def _together(said: str) -> dict[str, Any]:
    """The objects as one; what the program or a library said beside them is passed over, and a line that was cut off."""
    whole: dict[str, Any] = {}
    for line in said.splitlines(keepends=True):
        if line.startswith("{") and line.endswith("\n"):
            part = json.loads(line)
            devices = [*whole.get("devices", []), *part.get("devices", [])]
            whole |= part | ({"devices": devices} if devices else {})
    return whole
