"""Values that a kernel module's parameters take, by the types that modules state (`parmtype=NVreg_EnableMSI:int`).

A module is not loaded with a value that one of its parameters refuses; a parameter that it does not have, it passes over:
https://docs.kernel.org/core-api/kernel-api.html#module-parameters, kernel/params.c and lib/kstrtox.c.
"""

from __future__ import annotations

import re

BITS = {"byte": 8, "short": 16, "ushort": 16, "int": 32, "uint": 32, "hexint": 32, "long": 64, "ulong": 64, "ullong": 64}
SIGNED = ("short", "int", "long")
MOST_DIGITS = 20
"""Decimal ones, of the largest number of 64 bits."""
NUMBER, HEXADECIMAL = (
    re.compile(r"([-+]?)(0x[0-9a-f]+|0[0-7]*|[1-9]\d*)", re.IGNORECASE),
    re.compile(r"(\+?)(?:0x)?([0-9a-f]+)", re.IGNORECASE),
)
BOOLEAN = re.compile(r"(?:[yte1nfd0]|o[nf])", re.IGNORECASE)
"""How a yes or a no begins; newer kernels take more words than older ones."""
BOOLEANS = ("bool", "invbool", "bint", "bool_enable_only")
ARRAY = "array of "


def refuses(kind: str, value: str | None) -> bool:
    """Whether a parameter of that type refuses a value (None: the parameter stands there alone); of a type of the module's own, no."""
    if kind.startswith(ARRAY):
        return value is None or any(refuses(kind.removeprefix(ARRAY), one) for one in value.split(","))
    if value is None:
        return kind in BITS or kind == "charp"
    if kind in BOOLEANS:
        return not BOOLEAN.match(value)
    return kind in BITS and not _is_number(kind, value)


def _is_number(kind: str, value: str) -> bool:
    match = (HEXADECIMAL if kind == "hexint" else NUMBER).fullmatch(value)
    if match is None or (match[1] == "-" and kind not in SIGNED):
        return False
    digits = match[2].lower()
    base = 16 if kind == "hexint" or digits.startswith("0x") else 8 if digits.startswith("0") else 10
    if base == 10 and len(digits) > MOST_DIGITS:  # more than Python may read
        return False
    number, most = int(digits, base), 1 << BITS[kind] - (kind in SIGNED)
    return number < most or (match[1] == "-" and number == most)
