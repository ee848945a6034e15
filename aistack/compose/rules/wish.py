"""Rules about the recipe's own wishes: ranges that admit nothing, and what `allow` may say. Resolve and judge apply them themselves."""

from __future__ import annotations

from collections.abc import Iterator

from aistack.compose.rules.situation import Finding, Situation, code_rule
from aistack.diagnostics import Severity


def _no_release(situation: Situation) -> Iterator[Finding]:
    """aistack knows of no version that the recipe's range admits.

    A recipe asks for one version (`550.163.01`) or for a range (`550.*`, `>=0.11,<0.20`). What
    there is to choose from is a list that aistack carries with it: the kernels and drivers that
    the operating system offers as packages, and the releases of each framework (vllm, …).
    `aistack show debian-13` and `aistack show vllm` print these lists.

    To mend it, write a range that includes one of the listed versions, take another operating
    system, or name under `sources:` an archive that has the package. A version that came out
    after this aistack is not listed yet: update aistack.
    """
    return iter(())


def _allow_unknown(situation: Situation) -> Iterator[Finding]:
    """An entry of `allow` must name a rule, by its code or by its name. `aistack explain` lists all."""
    return iter(())


def _allow_fatal(situation: Situation) -> Iterator[Finding]:
    """A stack that cannot work cannot be allowed.

    `allow` accepts a risk for a reason and for a time: warnings, and the few errors of which the rule itself says that they can be
    accepted. There is no way to force the others.
    """
    return iter(())


def _allow_expired(situation: Situation) -> Iterator[Finding]:
    """An entry of `allow` ends on its day `until`. From then on the finding counts again; decide anew, and write a new date or mend it."""
    return iter(())


def _allow_unused(situation: Situation) -> Iterator[Finding]:
    """An entry of `allow` for which nothing was found is no longer needed, and would hide the next such finding."""
    return iter(())


NO_RELEASE = code_rule(_no_release, "RS101", "no-release", "stack")
ALLOW_UNKNOWN = code_rule(_allow_unknown, "AL101", "allow-unknown", "stack")
ALLOW_FATAL = code_rule(_allow_fatal, "AL102", "allow-fatal", "stack")
ALLOW_EXPIRED = code_rule(_allow_expired, "AL103", "allow-expired", "stack", severity=Severity.WARNING)
ALLOW_UNUSED = code_rule(_allow_unused, "AL104", "allow-unused", "stack", severity=Severity.WARNING)

RULES = (NO_RELEASE, ALLOW_UNKNOWN, ALLOW_FATAL, ALLOW_EXPIRED, ALLOW_UNUSED)
