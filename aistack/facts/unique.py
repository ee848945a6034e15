"""What tells one device from all others in the world, which no report names unless its recipe says so."""

from __future__ import annotations

import re

CDI_NAME = re.compile(r"=(GPU-|MIG-|0x[0-9a-f]{8})", re.IGNORECASE)
"""The names of devices in a CDI specification that are of that kind; each device has a number as well."""

UUID = re.compile(r"(?:(?:GPU|MIG)-)*[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
SERIAL = re.compile(r"\b(serial(?:\s+number)?(?:\s+is)?\W*)\w*[0-9]\w*", re.IGNORECASE)
BOARD = re.compile(r"(?<![\w.])[0-9]{13}(?![\w.])")
"""What is called a serial number; and what has the form of those of NVIDIA's boards, whatever it is called."""


def hidden(text: str) -> str:
    """A vendor's sentence without UUIDs and serial numbers; the words that take their place say what was there."""
    return BOARD.sub("(serial number)", SERIAL.sub(r"\1(not told)", UUID.sub("(UUID)", text)))
