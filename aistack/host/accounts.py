"""System users and groups with fixed numbers, as lines for /etc/passwd and its companions.

Read from the text of a sysusers.d(5) file: `g NAME GID` and `u! NAME UID[:GID] "WORDS" HOME SHELL`, all fields given.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

DAY = 86_400


def lines(text: str, *, epoch: int) -> Mapping[str, str]:
    """What to append to `passwd`, `group`, `shadow` and `gshadow`; `epoch` (seconds since 1970) dates the locked passwords."""
    found: dict[str, list[str]] = {"passwd": [], "group": [], "shadow": [], "gshadow": []}

    def group(name: str, number: str) -> None:
        found["group"].append(f"{name}:x:{number}:")
        found["gshadow"].append(f"{name}:!*::")

    for line in text.splitlines():
        fields = shlex.split(line, comments=True)
        if not fields:
            continue
        kind, name, number = fields[:3]
        if kind == "g":
            group(name, number)
            continue
        words, home, shell = fields[3:6]
        user, _, primary = number.partition(":")
        if not primary:
            group(name, user)
        found["passwd"].append(f"{name}:x:{user}:{primary or user}:{words}:{home}:{shell}")
        found["shadow"].append(f"{name}:!*:{epoch // DAY}::::::")
    return {file: "".join(f"{entry}\n" for entry in entries) for file, entries in found.items()}
