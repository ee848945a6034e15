"""Entries with fields for systemd's journal, by its own protocol: https://systemd.io/JOURNAL_NATIVE_PROTOCOL."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Mapping
from pathlib import Path

from aistack.facts.events import Event

SOCKET = Path("/run/systemd/journal/socket")
LONGEST = 4096
"""Bytes of a field that are kept; a datagram holds all of them."""


def send(event: Event, message: str, fields: Mapping[str, str], path: Path = SOCKET) -> None:
    """Say something; the names of `fields` are put after AISTACK_. Where no journal listens nobody is told: no gate depends on it."""
    said = {"MESSAGE": message, "MESSAGE_ID": event.id, "PRIORITY": str(event.priority), "SYSLOG_IDENTIFIER": "aistack"}
    said |= {f"AISTACK_{name.upper()}": value for name, value in fields.items()}
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(b"".join(_field(name, value) for name, value in said.items()), str(path))


def _field(name: str, value: str) -> bytes:
    """A field in the form that may hold line breaks: its name, the length of its value (64 bits, little-endian), the value."""
    data = value.encode()[:LONGEST]
    return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
