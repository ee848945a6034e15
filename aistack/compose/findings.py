"""What a check of an image is, and what it found. Values only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum

from aistack.facts.filesystem import Filesystem
from aistack.values import dataclass

SHOWN = 5

Look = Callable[[Filesystem], Sequence[str] | str]
"""Everything that is wrong, one text each; a single text instead says why that cannot be told."""


class Outcome(StrEnum):
    """What a check found."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: a name, what it found, and in words what that is.

    `fatal` says whether a `no` condemns the image; without it, it is a warning. `accepted` says why a `no` is borne, and until when.
    """

    name: str
    outcome: Outcome
    message: str
    fatal: bool = True
    accepted: str = ""

    def condemns(self, *, strict: bool = False) -> bool:
        """Whether the image is bad for it; when `strict`, warnings count."""
        return self.outcome is Outcome.NO and not self.accepted and (self.fatal or strict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A question that an image's files answer: `description` is the sentence that is true when the answer is yes.

    With `bootable` it is asked of bootable containers only, with `kernel` of them and of every image with a kernel or its modules.
    """

    name: str
    description: str
    look: Look
    fatal: bool = True
    bootable: bool = False
    kernel: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Exemption:
    """Where a check's `no` is borne: `applies` says in which images, `until` when that ends."""

    check: str
    because: str
    until: str
    applies: Callable[[Filesystem], bool]


def ask(filesystem: Filesystem, checks: Iterable[Check], exemptions: Iterable[Exemption] = ()) -> Iterator[Finding]:
    """The finding of each check, in order."""
    for check in checks:
        found = check.look(filesystem)
        if isinstance(found, str):
            yield Finding(name=check.name, outcome=Outcome.UNKNOWN, message=found, fatal=check.fatal)
        elif not found:
            yield Finding(name=check.name, outcome=Outcome.YES, message=check.description, fatal=check.fatal)
        else:
            borne = (f"{one.because}; until {one.until}" for one in exemptions if one.check == check.name and one.applies(filesystem))
            yield Finding(name=check.name, outcome=Outcome.NO, message=some(found), fatal=check.fatal, accepted=next(borne, ""))


def answer(name: str, good: bool, yes: str, no: str) -> Finding:
    """The finding of a check that came to an answer, with the words for each."""
    return Finding(name=name, outcome=Outcome.YES if good else Outcome.NO, message=yes if good else no)


def some(items: Sequence[str]) -> str:
    """The first few of them, and how many more there are."""
    more = f" …and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return "; ".join(items[:SHOWN]) + more if items else "none"
