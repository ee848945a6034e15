"""How it is written which image a node follows, and when it may reboot by itself."""

from __future__ import annotations

import datetime
import re

HOST = r"(?:localhost|[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+|[A-Za-z0-9-]+(?=:))(?::[0-9]+)?"
REPOSITORY = r"(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)+"
TAG = r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
DIGEST = r"@sha256:[0-9a-f]{64}"
REFERENCE = rf"{HOST}{REPOSITORY}{TAG}"
"""HOST/REPOSITORY:TAG (https://github.com/distribution/reference)."""

SEALED_LABEL = "org.opencontainers.image.created"
"""The label of a system image that says when its lock was sealed: the order in which images may follow each other on a node."""
SEALED_FORM = "%Y-%m-%dT%H:%M:%SZ"
"""UTC, as strftime(3) writes it; such times sort as text."""

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
"""As systemd.time(7) spells them, in the order of Python's weekdays."""
_DAY = f"(?:{'|'.join(DAYS)})"
_CLOCK = r"([01]\d|2[0-3]):([0-5]\d)"
WINDOW = rf"(?:({_DAY}(?:,{_DAY})*) )?{_CLOCK}\.\.{_CLOCK}"
"""`Sun 02:00..04:00`, `Sat,Sun 22:00..06:00`, `01:00..05:00` for every day; one that ends before it begins ends on the day after."""
LEAST_MINUTES = 60
"""A node looks twice an hour, each time a few minutes later than the last: a shorter window could be missed."""

_ONE_DAY = datetime.timedelta(days=1)


def window_problem(text: str) -> str | None:
    """What is wrong with a window, or None."""
    found = re.fullmatch(WINDOW, text)
    if found is None:
        return f"`{text}` is no window"
    begin, end = _span(found)
    return None if end - begin >= datetime.timedelta(minutes=LEAST_MINUTES) else f"it is shorter than {LEAST_MINUTES} minutes"


def latest(now: datetime.datetime) -> str:
    """The latest time of sealing that is believed at a time (UTC): a clock that was wrong by years would outrank every later image."""
    return (now + _ONE_DAY).strftime(SEALED_FORM)


def is_open(window: str, now: datetime.datetime, *, sure: bool = True) -> bool:
    """Whether a local time lies in the window; one that is not `sure` only in a window of every hour.

    Raises ValueError where it is none.
    """
    found = re.fullmatch(WINDOW, window)
    if found is None:
        raise ValueError(f"`{window}` is no window")
    days, (begin, end) = found[1].split(",") if found[1] else DAYS, _span(found)
    if not sure and (found[1] or end - begin < _ONE_DAY):
        return False
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return any(DAYS[day.weekday()] in days and day + begin <= now < day + end for day in (midnight, midnight - _ONE_DAY))


def _span(found: re.Match[str]) -> tuple[datetime.timedelta, datetime.timedelta]:
    begin, end = (datetime.timedelta(hours=int(found[at]), minutes=int(found[at + 1])) for at in (2, 4))
    return begin, end if end > begin else end + _ONE_DAY
