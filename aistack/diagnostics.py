"""What can be wrong, where, why, and what would mend it: values only, no printing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import field
from enum import IntEnum, StrEnum

from aistack.values import dataclass

_CREDENTIALS = re.compile(r"(?<=://)[^/\s@\"']+(?=@)")


def masked(text: str) -> str:
    """The text without the user name and password of any address in it; as long as before, so that columns stay what they are."""
    return _CREDENTIALS.sub(lambda found: "*" * len(found[0]), text) if "@" in text else text


class ExitCode(IntEnum):
    """Exit codes of the command line (docs/architecture.md)."""

    OK = 0
    NO = 1
    USAGE = 2
    UNABLE = 3
    BUG = 70
    INTERRUPTED = 130


class Severity(StrEnum):
    """How much a diagnostic matters; `UNKNOWN` means that facts were missing."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Place:
    """A span on one line of a text file; line and column count from 1, length is in characters."""

    file: str
    line: int
    column: int
    length: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A place with a few words to draw beside it."""

    place: Place
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Another value in a document: `replacement` stands then at `place`, or is added under the keys of `path` where there is no place."""

    path: tuple[str | int, ...]
    replacement: str
    place: Place | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """What would mend the problem; `changes` say how to make it in the text, where that is known.

    `proved` is true only when the changes were made in a copy and everything was checked again; `leaves` are the codes of the other
    errors that were there before and still are.
    """

    text: str
    changes: tuple[Change, ...] = ()
    proved: bool = False
    leaves: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.proved:
            return self.text
        left = f"mends this one; {', '.join(self.leaves)} remain{'s' * (len(self.leaves) == 1)}"
        return f"{self.text} (checked: {left if self.leaves else 'the recipe then resolves'})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnostic:
    """One finding: `rule` is its code (`NV101`), `name` its readable name (`cuda-driver-minimum`). Its words hold no credentials."""

    rule: str
    name: str
    severity: Severity
    message: str
    place: Place | None = None
    labels: tuple[Label, ...] = ()
    why: tuple[str, ...] = ()
    source: str | None = None
    rule_place: Place | None = None
    checked: str | None = None
    hints: tuple[str, ...] = ()
    fixes: tuple[Fix, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", masked(self.message))
        object.__setattr__(self, "why", tuple(map(masked, self.why)))
        object.__setattr__(self, "hints", tuple(map(masked, self.hints)))


_WEIGHTS = (Severity.ERROR, Severity.WARNING, Severity.UNKNOWN, Severity.INFO)


def in_order(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Those without a place first; then file by file what breaks the stack before what may, each in the order of the text."""
    start = Place(file="", line=0, column=0)

    def rank(found: Diagnostic) -> tuple[object, ...]:
        place = found.place or start
        return (place.file, _WEIGHTS.index(found.severity), place, found.rule, found.message)

    return tuple(sorted(diagnostics, key=rank))


@dataclass(slots=True)
class DiagnosticError(Exception):
    """Stops a command: its diagnostics are printed, then the process ends with `exit_code`."""

    diagnostics: tuple[Diagnostic, ...]
    exit_code: ExitCode = field(default=ExitCode.NO)

    def __str__(self) -> str:
        return "; ".join(diagnostic.message for diagnostic in self.diagnostics)


def refuse(*diagnostics: Diagnostic) -> DiagnosticError:
    """The answer is bad (exit 1)."""
    return DiagnosticError(diagnostics, ExitCode.NO)


MAKE_ROOM = ("free space, or set AISTACK_STORE to a folder on a larger disk", "`aistack store prune` removes what nothing uses")
"""The ways out of a full disk."""


def unable(rule: str, name: str, message: str, *, why: tuple[str, ...] = (), hints: tuple[str, ...] = ()) -> DiagnosticError:
    """Could not tell or could not do (exit 3): tool, network, disk, permission, missing credential."""
    diagnostic = Diagnostic(rule=rule, name=name, severity=Severity.ERROR, message=message, why=why, hints=hints)
    return DiagnosticError((diagnostic,), ExitCode.UNABLE)
