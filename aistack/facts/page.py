"""A page of explanation, what `aistack explain` says of a code that no rule owns."""

from __future__ import annotations

from aistack.values import dataclass


@dataclass(frozen=True, slots=True)
class Page:
    """What `aistack explain CODE` says; the first line of `text` is the summary."""

    code: str
    name: str
    text: str
