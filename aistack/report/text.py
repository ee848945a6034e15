"""Text for a terminal: what is safe to print, how wide it is, and when colour is wanted."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import TextIO

from aistack.values import dataclass

TAB = "    "


def colour_wanted(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Whether to colour what goes to `stream`: `NO_COLOR` forbids it, `FORCE_COLOR` asks for it, else a terminal gets it."""
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR"):
        return True
    return stream.isatty() and environment.get("TERM") != "dumb"


def printable(text: str) -> str:
    """The text without anything that would steer a terminal: tabs become spaces, other control characters are shown as U+FFFD."""
    if text.isprintable():
        return text
    return "".join(TAB if sign == "\t" else sign if sign.isprintable() or sign == " " or _joins(sign) else "\ufffd" for sign in text)


def width(text: str) -> int:
    """How many columns printable text takes: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_columns(sign) for sign in text)


def crop(text: str, columns: int) -> str:
    """As much of the text as fits into so many columns."""
    used = 0
    for index, sign in enumerate(text):
        used += _columns(sign)
        if used > columns:
            return text[:index]
    return text


def _joins(sign: str) -> bool:
    """Whether it shapes the character before it (a joiner or a variation mark); marks that turn the direction do not count."""
    return sign in "\u200c\u200d" or unicodedata.category(sign) in ("Mn", "Me")


def _columns(sign: str) -> int:
    if _joins(sign):
        return 0
    return 2 if unicodedata.east_asian_width(sign) in ("W", "F") else 1


@dataclass(frozen=True, slots=True)
class Paint:
    """Colours text, or leaves it as it is."""

    colour: bool

    def __call__(self, text: str, *codes: int) -> str:
        """The text between the escape sequences for `codes` (31 red, 1 bold, …)."""
        return f"\x1b[{';'.join(map(str, codes))}m{text}\x1b[0m" if self.colour and text else text
