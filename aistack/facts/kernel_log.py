"""Lines of the kernel's log that speak of trouble, from the records of /dev/kmsg."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aistack.facts.device_readings import KernelEvent

RECORD = re.compile(r"\d+,\d+,(\d+),[^;]*;(.*)")
ADDRESS = r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}(?:\.[0-7])?"
AMDGPU = r"page fault|GPU reset begin|GPU reset(?:\(\d+\))? failed|Fatal error during GPU init|device lost from bus"
SEVERITY = r"(Correct(?:ed|able)|Uncorrect(?:ed|able)(?: \((?:Non-Fatal|Fatal)\))?)"
PATTERNS = (
    # The driver starts all of its devices anew, or asks for no recovery of one any more, or a person says that one was mended.
    ("mended", re.compile(r"NVRM: loading NVIDIA UNIX")),
    ("mended", re.compile(rf"NVRM: Xid \((?:PCI:)?({ADDRESS})[^)]*\): 154, .* to 0x0 \(None\)", re.IGNORECASE)),
    ("mended", re.compile(rf"aistack: ({ADDRESS}) was mended")),
    ("xid", re.compile(rf"NVRM: Xid \((?:PCI:)?({ADDRESS})[^)]*\): (\d+)", re.IGNORECASE)),
    ("sxid", re.compile(rf"nvidia-nvswitch\d+: SXid \(PCI:({ADDRESS})\): (\d+)", re.IGNORECASE)),
    ("aer", re.compile(rf"AER: (?:Multiple )?{SEVERITY} error .*({ADDRESS})")),
    ("aer", re.compile(rf"({ADDRESS}): (?:AER: )?PCIe Bus Error: severity={SEVERITY}")),
    ("amdgpu", re.compile(rf"amdgpu ({ADDRESS}).*\b[1-9]\d* (?:new )?(uncorrectable|correctable|deferred) hardware error", re.IGNORECASE)),
    ("amdgpu", re.compile(rf"amdgpu ({ADDRESS}): .*?({AMDGPU})", re.IGNORECASE)),
    ("edac", re.compile(r"EDAC .*?\b(CE|UE)\b|mce: \[(Hardware Error)\]")),
    ("oom", re.compile(r"(Out of memory|oom-kill)")),
)
WORD = re.compile(r"Xid \([^)]*\): \d+, (?:(?:\w+ )?(non-?fatal|fatal)\b|GPU recovery action changed .* to \w+ \((.+?)\))", re.IGNORECASE)
"""How bad the driver calls what it numbers, before what it says of it; or the recovery that it asks for from now on."""


def events(text: str) -> Iterator[KernelEvent]:
    """The lines that speak of trouble among kmsg records (`6,339,5140900,-;message`), oldest first; what is no record is passed over."""
    for line in text.splitlines():
        if (record := RECORD.match(line)) is None:
            continue
        found = _event(record.group(2), int(record.group(1)) / 1e6)
        if found is not None:
            yield found


def _event(message: str, seconds: float) -> KernelEvent | None:
    for kind, pattern in PATTERNS:
        if (seen := pattern.search(message)) is None:
            continue
        words = [word for word in seen.groups() if word]
        address = next((word for word in words if ":" in word), None)
        code = next((word for word in words if word != address), kind)
        word = next((word.lower().replace("-", "") for word in found.groups() if word), None) if (found := WORD.search(message)) else None
        return KernelEvent(kind=kind, code=_code(kind, code), address=_whole(address), seconds=seconds, message=message, word=word)
    return None


def _code(kind: str, code: str) -> str:
    said = re.sub(r"\(\d+\)", "", code.lower()) if kind == "amdgpu" else code.lower()
    if kind != "aer":
        return said
    return "corrected" if said.startswith("correct") else "fatal" if said.endswith("(fatal)") else "non-fatal"


def _whole(address: str | None) -> str | None:
    """A PCI address with all its parts: `0000:3b:00` and `00000000:3B:00.0` are `0000:3b:00.0`."""
    if address is None:
        return None
    domain, bus, slot = address.lower().split(":")
    return f"{domain[-4:]}:{bus}:{slot if '.' in slot else slot + '.0'}"
