"""Asking a driver in a process of its own: a driver in trouble may hang, or end, whoever asks it."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aistack.diagnostics import DiagnosticError
from aistack.facts.device_readings import UNASKED
from aistack.facts.readings import Reading
from aistack.host.probes.reading import in_words, read
from aistack.host.process import run, talk

PACKAGE = Path(__file__).resolve().parents[3]


SOMEBODYS = re.compile(r"CUDA_(?!MPS_(PIPE|LOG)_DIRECTORY$)|HIP_VISIBLE_DEVICES|ROCR_VISIBLE_DEVICES")
"""Variables by which somebody hides devices from their own programs, or changes how these run: a probe sees all, and runs as it is.

Where a device is shared by CUDA's MPS, two say where its server is to be found; the others give a client less memory or fewer processors
(https://docs.nvidia.com/deploy/mps/latest/appendix-environment-variables.html).
"""


def ask(module: str, arguments: Sequence[str], *, source: str, timeout: float, environment: Mapping[str, str]) -> Reading[Any]:
    """What a probe's own program (`python3 -m MODULE`) prints, JSON objects, one a line: put together, `devices` of all of them.

    Where it does not end well within `timeout` seconds, `unfinished` says why, and `asking` which device held it up; there is no
    value where it had come to none. An error that begins with UNASKED is none of the driver's: this process could not ask.
    """
    paths = [str(PACKAGE), *([os.environ["PYTHONPATH"]] if os.environ.get("PYTHONPATH") else [])]
    inherited = {name: value for name, value in os.environ.items() if not SOMEBODYS.match(name)}
    around = {**inherited, "PYTHONPATH": os.pathsep.join(paths), **environment}
    argv = [sys.executable, "-m", module, *arguments]
    return read(source, lambda: _answer(argv, around, timeout))


def _answer(argv: Sequence[str], environment: Mapping[str, str], timeout: float) -> dict[str, Any]:
    error = None
    try:
        with talk() as log:
            try:
                run(argv, env=environment, timeout=timeout, log=log)
            except DiagnosticError as failed:
                error = in_words(failed)
            said = log.read_text(errors="replace")
    except OSError as own:  # what the program meets, it says itself
        raise ValueError(f"{UNASKED}: {own}") from own
    whole = _together(said)
    if error is None and whole:
        return whole
    if "asking" not in whole:
        raise ValueError(error or "it said nothing")
    return {**whole, "unfinished": error}


def _together(said: str) -> dict[str, Any]:
    """The objects as one; what the program or a library said beside them is passed over, and a line that was cut off."""
    whole: dict[str, Any] = {}
    for line in said.splitlines(keepends=True):
        if line.startswith("{") and line.endswith("\n"):
            part = json.loads(line)
            devices = [*whole.get("devices", []), *part.get("devices", [])]
            whole |= part | ({"devices": devices} if devices else {})
    return whole
