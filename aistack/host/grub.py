"""GRUB's environment block: the few values that the boot loader and the running system both read and write."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from aistack.diagnostics import unable

PATH = Path("/boot/grub/grubenv")
SIZE = 1024
SIGNATURE = b"# GRUB Environment Block\n"
COUNTER = "boot_counter"
FALLEN_BACK = -1
"""The counter's value when the boot loader has given up on the newest deployment; nothing may reboot because of it."""


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


def counter(path: Path = PATH) -> int | None:
    """How many boots the newest deployment still has; FALLEN_BACK after the last one; None when nothing is on trial."""
    text = read_environment(path.read_bytes()).get(COUNTER)
    try:
        return int(text) if text else None
    except ValueError as error:
        raise unable("GRB001", "environment-damaged", f"`{COUNTER}` is `{text}`, not a number") from error


def set_counter(tries: int | None, path: Path = PATH) -> None:
    """Give the newest deployment `tries` boots (1 to 3), or end its trial with None.

    The block is written over in place: GRUB itself can only overwrite the sectors that the file has.
    """
    if tries is not None and not 1 <= tries <= 3:
        raise ValueError(f"{tries} tries: GRUB's menu counts from 3 at most")
    with path.open("r+b", buffering=0) as stream:
        values = read_environment(stream.read(SIZE))
        values.pop(COUNTER, None)
        if tries is not None:
            values[COUNTER] = str(tries)
        stream.seek(0)
        stream.write(write_environment(values))
        os.fsync(stream.fileno())
