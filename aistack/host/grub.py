"""GRUB's environment block: the few values that the boot loader and the running system both read and write."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from aistack.diagnostics import DiagnosticError, unable
from aistack.host import durable
from aistack.values import dataclass

PATH = Path("/boot/grub/grubenv")
SIZE = 1024
SIGNATURE = b"# GRUB Environment Block\n"
TRIAL, COUNTER = "trial", "boot_counter"
FALLEN_BACK = -1
"""The counter's value when the boot loader has given up on the deployment on trial; nothing may reboot because of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A deployment (`CHECKSUM.SERIAL`) that GRUB starts `tries` more times, 1 to 3; FALLEN_BACK once it starts the one below instead.

    It counts only while that deployment is the menu's first entry.
    """

    deployment: str
    tries: int


def read_environment(data: bytes) -> dict[str, str]:
    """The values in a block (https://www.gnu.org/software/grub/manual/grub/html_node/Environment-block.html)."""
    if len(data) != SIZE or not data.startswith(SIGNATURE):
        raise unable("GRB001", "environment-damaged", "GRUB's environment block is damaged", why=(f"{len(data)} bytes",))
    values = {}
    for line in data[len(SIGNATURE) :].split(b"\n"):
        name, equals, value = line.partition(b"=")
        if equals and not name.startswith(b"#"):
            values[name.decode()] = value.decode().replace("\\\\", "\\")
    return values


def write_environment(values: Mapping[str, str]) -> bytes:
    """A block that holds those values."""
    text = "".join(f"{name}={value}\n".replace("\\", "\\\\") for name, value in sorted(values.items())).encode()
    if len(SIGNATURE) + len(text) > SIZE:
        raise unable("GRB002", "environment-full", f"GRUB's environment block holds {SIZE} bytes, not {len(SIGNATURE) + len(text)}")
    return (SIGNATURE + text).ljust(SIZE, b"#")


def trial(path: Path = PATH) -> Trial | None:
    """Which deployment is on trial, None when none is: a block that is missing or damaged counts nothing for GRUB either."""
    values = _values(path) or {}
    tries = values.get(COUNTER, "")
    return Trial(deployment=values[TRIAL], tries=int(tries) if tries.isdecimal() else FALLEN_BACK) if values.get(TRIAL) else None


def set_trial(wanted: Trial | None, path: Path = PATH) -> None:
    """Put a deployment on trial, or end what trial there is with None; nothing is written where that changes nothing.

    The block is written over in place: GRUB itself can only overwrite the sectors that the file has. Both values stand in its first
    sector, so that a power cut leaves both or neither. A block that is missing or damaged is made anew; GRUB finds it by its name.
    """
    if wanted is not None and not 1 <= wanted.tries <= 3:
        raise ValueError(f"{wanted.tries} tries: GRUB's menu counts from 3 at most")
    before = _values(path)
    values = {name: value for name, value in (before or {}).items() if name not in (TRIAL, COUNTER)}
    if wanted is not None:
        values |= {TRIAL: wanted.deployment, COUNTER: str(wanted.tries)}
    if values == before:
        return
    if before is None:
        durable.write(path, write_environment({}).decode())
    with path.open("r+b", buffering=0) as stream:
        stream.write(write_environment(values))
        os.fsync(stream.fileno())


def _values(path: Path) -> dict[str, str] | None:
    """What the block holds; None where there is no block that GRUB could read."""
    try:
        return read_environment(path.read_bytes())
    except (FileNotFoundError, UnicodeDecodeError, DiagnosticError):
        return None
