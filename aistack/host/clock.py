"""Whether this machine's clock can be believed: what the kernel was told of it, by whatever sets it (timesyncd, chrony, ntpd)."""

from __future__ import annotations

import ctypes

MOST = 16_000_000
"""Microseconds of possible error from which on the kernel calls its clock not synchronized: the error grows while nobody sets it.

systemd's timedated asks the same: https://github.com/systemd/systemd/blob/main/src/basic/time-util.c (`ntp_synced`).
"""


class _Timex(ctypes.Structure):
    """The beginning of `struct timex` (adjtimex(2)) on 64-bit machines; the rest is left as room."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("rest", ctypes.c_byte * 256),
    )


def synchronized() -> bool:
    """Whether somebody set the clock right not long ago; a machine that cannot tell has no such clock."""
    asked = _Timex()  # modes 0: nothing is changed
    said: int = ctypes.CDLL(None).adjtimex(ctypes.byref(asked))
    return said >= 0 and int(asked.maxerror) < MOST
