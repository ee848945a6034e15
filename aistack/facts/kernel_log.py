"""Lines of the kernel's log that speak of trouble, from the records of /dev/kmsg: one event for all that say the same of one device."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TypeAlias

from aistack.facts.device_readings import KernelEvent

TROUBLE = "NVRM|nvidia-nvswitch|AER:|DPC:|PCIe Bus Error|amdgpu|EDAC|mce:|Hardware Error|Memory failure|Out of memory|aistack:"
"""What lines hold that can speak of trouble: an extended regular expression, and one of journalctl's as well."""

MARKS = re.compile(TROUBLE)
RECORD = re.compile(r"\d+,\d+,(\d+),[^;]*;(.*)")
ADDRESS = r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}(?:\.[0-7])?"
AMDGPU = r"page fault|GPU reset begin|GPU reset(?:\(\d+\))? failed|Fatal error during GPU init|device lost from bus"
SEVERITY = r"(Correct(?:ed|able)|Uncorrect(?:ed|able)(?: \((?:Non-Fatal|Fatal)\))?)"
CONTAINED = ("err_fatal", "err_nonfatal", "unmasked uncorrectable error", "rp pio error")
"""Errors after which a port cuts its link off (Downstream Port Containment); not those that somebody asked for (`software trigger`)."""
PATTERNS = (
    # The driver starts all of its devices anew, or asks for no recovery of one any more, or a person says that one was mended: the whole
    # line, as others may quote it.
    ("mended", re.compile(r"^NVRM: loading NVIDIA UNIX")),
    ("mended", re.compile(rf"^NVRM: Xid \((?:PCI:)?({ADDRESS})[^)]*\): 154, .* to 0x0 \(None\)", re.IGNORECASE)),
    ("mended", re.compile(rf"^aistack: ({ADDRESS}) was mended\s*$")),
    ("xid", re.compile(rf"NVRM: Xid \((?:PCI:)?({ADDRESS})[^)]*\): (\d+)", re.IGNORECASE)),
    ("sxid", re.compile(rf"nvidia-nvswitch\d+: SXid \(PCI:({ADDRESS})\): (\d+)", re.IGNORECASE)),
    ("aer", re.compile(rf"AER: (?:Multiple )?{SEVERITY} error .*({ADDRESS})")),
    ("aer", re.compile(rf"({ADDRESS}): (?:AER: )?PCIe Bus Error: severity={SEVERITY}")),
    ("dpc", re.compile(rf"({ADDRESS}): DPC: .*?({'|'.join(CONTAINED)})", re.IGNORECASE)),
    ("amdgpu", re.compile(rf"amdgpu ({ADDRESS}).*\b[1-9]\d* (?:new )?(uncorrectable|correctable|deferred) hardware error", re.IGNORECASE)),
    ("amdgpu", re.compile(rf"amdgpu ({ADDRESS}): .*?({AMDGPU})", re.IGNORECASE)),
    ("edac", re.compile(r"EDAC .*?\b(CE|UE)\b")),
    ("mce", re.compile(r"\[Hardware Error\]: CPU \d+: Machine Check(?: Exception)?: [0-9a-f]+ Bank \d+: ([0-9a-f]{16})")),
    ("mce", re.compile(r"^(?:mce: )?\[Hardware Error\]: (System Fatal|Uncorrected|Deferred|Corrected)\b")),
    ("mce", re.compile(r"^mce: (Uncorrected) hardware memory error")),
    ("memory", re.compile(r"^Memory failure: 0x[0-9a-f]+: ")),
    ("oom", re.compile(r"^Out of memory\b")),  # of the machine: that of a group of programs is between them and whoever set its limit
)
WORD = re.compile(r"Xid \([^)]*\): \d+, (?:(?:\w+ )?(non-?fatal|fatal)\b|GPU recovery action changed .* to \w+ \((.+?)\))", re.IGNORECASE)
"""How bad the driver calls what it numbers, before what it says of it; or the recovery that it asks for from now on."""

UNCORRECTED = 1 << 61
"""The bit of a processor's register of status (MCi_STATUS) that says so, on those of Intel and AMD alike."""
STATUS_DIGITS = 16

FIRMWARE = re.compile(r"^\{(\d+)\}\[Hardware Error\]:\s+(.*)$")
"""A line of an error that the firmware reports (APEI), with the error's number; those of an earlier boot (BERT) have none."""
FIRMWARE_SEVERITY = re.compile(r"event severity: (\w+)")
FIRMWARE_PART = re.compile(rf"section_type: |error_type: |fru_text: |DIMM location: |node: ?\d|device_id: {ADDRESS}")
"""What of such an error says where it was."""


Key: TypeAlias = tuple[str, str, str | None, str | None]


def events(lines: Iterable[str]) -> tuple[KernelEvent, ...]:
    """The events among kmsg records (`6,339,5140900,-;message`), gathered; what is no record is passed over."""
    return gathered(_told(lines))


def gathered(told: Iterable[KernelEvent]) -> tuple[KernelEvent, ...]:
    """One event for all of one kind, code, word and address, in the order of the last of each; the first one's message and time stay.

    What was said of a device before it was mended is gone. A driver that is loaded anew mends a part: so what came before the last time
    stands before that event, and what came since behind it.
    """
    before: dict[Key, KernelEvent] = {}
    since: dict[Key, KernelEvent] = {}
    loaded: tuple[KernelEvent, ...] = ()
    for event in told:
        if event.kind == "mended" and event.address is None:
            for known in since.values():
                _add(before, known)
            since, loaded = {}, (event,)
            continue
        if event.kind == "mended":
            for kept in (before, since):
                for key in [key for key, known in kept.items() if known.address == event.address]:
                    del kept[key]
        _add(since, event)
    return (*before.values(), *loaded, *since.values())


def _add(kept: dict[Key, KernelEvent], event: KernelEvent) -> None:
    key = (event.kind, event.code, event.address, event.word)
    known = kept.pop(key, None)
    kept[key] = event if known is None else replace(known, times=known.times + event.times, last=event.last or event.seconds)


def _told(lines: Iterable[str]) -> Iterator[KernelEvent]:
    """Every event as it was told; an error of the firmware's is one, though it has many lines."""
    number, parts, began = "", list[str](), 0.0
    for line in lines:
        if (record := RECORD.match(line)) is None:
            continue
        message, seconds = record[2], int(record[1]) / 1e6
        if (firmware := FIRMWARE.match(message)) is None:
            if (seen := _seen(message)) is not None:
                kind, code, address, word = seen
                yield KernelEvent(kind=kind, code=code, address=address, seconds=seconds, message=message, word=word)
            continue
        if firmware[1] != number:
            yield from _of_firmware(parts, began)
            number, parts, began = firmware[1], [], seconds
        if FIRMWARE_SEVERITY.match(firmware[2]) or FIRMWARE_PART.match(firmware[2]):
            parts.append(firmware[2].strip())
    yield from _of_firmware(parts, began)


def _of_firmware(parts: Sequence[str], seconds: float) -> Iterator[KernelEvent]:
    severity = next((found[1] for part in parts if (found := FIRMWARE_SEVERITY.match(part))), "info")
    if severity == "info":
        return
    address = next((part.partition(" ")[2] for part in parts if part.startswith("device_id: ")), None)
    yield KernelEvent(kind="firmware", code=severity, address=_whole(address), seconds=seconds, message="; ".join(parts))


@lru_cache(maxsize=1024)
def _seen(message: str) -> tuple[str, str, str | None, str | None] | None:
    """Kind, code, address and word of a message. In a storm it is the same ones again and again."""
    if MARKS.search(message) is None:
        return None
    for kind, pattern in PATTERNS:
        if (seen := pattern.search(message)) is None:
            continue
        words = [word for word in seen.groups() if word]
        address = next((word for word in words if ":" in word), None)
        code = next((word for word in words if word != address), kind)
        word = next((word.lower().replace("-", "") for word in found.groups() if word), None) if (found := WORD.search(message)) else None
        return kind, _code(kind, code.lower()), _whole(address), word
    return None


def _code(kind: str, code: str) -> str:
    if kind == "amdgpu":
        return re.sub(r"\(\d+\)", "", code)
    if kind == "aer":
        return "corrected" if code.startswith("correct") else "fatal" if code.endswith("(fatal)") else "non-fatal"
    if kind != "mce":
        return code
    if len(code) == STATUS_DIGITS:
        return "uncorrected" if int(code, 16) & UNCORRECTED else "corrected"
    return "uncorrected" if code == "system fatal" else code


def _whole(address: str | None) -> str | None:
    """A PCI address with all its parts: `0000:3b:00` and `00000000:3B:00.0` are `0000:3b:00.0`; a domain may have more than four digits."""
    if address is None:
        return None
    domain, bus, slot = address.lower().split(":")
    return f"{int(domain, 16):04x}:{bus}:{slot if '.' in slot else slot + '.0'}"
