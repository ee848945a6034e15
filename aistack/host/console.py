"""What a machine's console says: text cleaned of terminal codes, panics and emergency shells found, the lines that matter; pure."""

from __future__ import annotations

import re

CODES = re.compile(r"\x1b\[[0-9;?!=]*[ -/]*[@-~]|\x1b[@-Z\\-_]|\x1b\][^\x07]*\x07|[\x00-\x08\x0b\x0c\x0e-\x1f]")
PANIC = re.compile(r"Kernel panic - not syncing: (?P<why>.*)")
EMERGENCY = re.compile(r"(You are in emergency mode|Entering emergency mode|Generating \"/run/initramfs/rdsosreport\.txt\")")
BOOTLOADER = re.compile(r"GNU GRUB|GRUB loading|Welcome to GRUB")
KERNEL = re.compile(r"Booting `|Linux version |Decompressing Linux")
NOTHING_TO_BOOT = re.compile(r"No bootable device|UEFI Interactive Shell|BdsDxe: No bootable option|Shell> ")
TROUBLE = re.compile(
    r"Kernel panic|BUG:|Oops|general protection|Call Trace|Out of memory|I/O error|EXT4-fs error|[Ff]ailed|FAILED|[Ee]rror|Timed out|"
    r"not found|emergency|Dependency failed|can't find|Unable to"
)
STACK = re.compile(r"^\[ *[0-9.]+\] +(\?|[A-Za-z_.]\w*\+0x|R[A-Z0-9]{2}:|[DE]S:|CR2:|FS:|Code:|</?[A-Z]+>)")


def clean(data: bytes) -> str:
    """The console's text without terminal codes; one line for each line feed or carriage return."""
    text = CODES.sub("", data.decode("utf-8", "replace"))
    return re.sub(r"\r+\n?", "\n", text)


def panic(text: str) -> str | None:
    """Why the kernel panicked, or None when it did not."""
    found = PANIC.search(text)
    return found.group("why").strip() if found else None


def panic_lines(text: str, most: int = 20) -> tuple[str, ...]:
    """The panic's line, some lines before it, and the head of what follows, without the registers."""
    lines = [line.rstrip() for line in text.split("\n") if line.strip()]
    at = next((index for index, line in enumerate(lines) if PANIC.search(line)), len(lines))
    around = lines[max(0, at - 8) : at + most]
    return tuple(line for line in around if not STACK.match(line))[:most]


def lines_that_matter(text: str, most: int = 15) -> tuple[str, ...]:
    """Lines that speak of trouble, then the last ones: at most `most`, in their order, without repetitions."""
    lines = [line.rstrip() for line in text.split("\n") if line.strip()]
    last = max(0, len(lines) - most // 2)
    chosen: dict[str, int] = {}
    for index, line in enumerate(lines):
        if index >= last or (TROUBLE.search(line) and not STACK.match(line)):
            chosen.setdefault(re.sub(r"^\[ *[0-9.]+\] ", "", line), index)
    kept = sorted(chosen.values())
    trouble = [index for index in kept if index < last][-(most - min(most // 2, len(lines))) :] if most else []
    return tuple(lines[index] for index in (*trouble, *(index for index in kept if index >= last)))[-most:]
