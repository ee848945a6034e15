"""Rules about the operating system and its kernel."""

from __future__ import annotations

from collections.abc import Iterator

from aistack.compose.rules.situation import Finding, Proposal, Situation, code_rule
from aistack.diagnostics import Severity
from aistack.facts.decode import closest


def _os_known(situation: Situation) -> Iterator[Finding]:
    """The recipe's `os` must be in the catalog.

    Everything else follows from it: the kernels and drivers on offer, the C library, Python, the package sources.
    `aistack list os` shows what is known.
    """
    if situation.os is None:
        known = [system.id for system in situation.catalog.systems.values() if "base" in system.roles]
        guess = closest(situation.wish.os, known)
        yield Finding(
            message=f"os `{situation.wish.os}` is not in the catalog",
            path=("os",),
            hints=(f"did you mean `{guess}`?",) if guess else ("known: " + ", ".join(f"`{name}`" for name in known),),
            proposals=(Proposal(path=("os",), value=guess),) if guess else (),
        )


def _os_base(situation: Situation) -> Iterator[Finding]:
    """The recipe's `os` must be one that a node can boot.

    The catalog also knows systems that only serve as the root of an app, such as a Debian release that is still in the making.
    """
    os = situation.os
    if os is not None and "base" not in os.roles:
        bases = [system.id for system in situation.catalog.systems.values() if "base" in system.roles]
        yield Finding(
            message=f"{os.name} is known as the root of an app only, not as the system of a node",
            path=("os",),
            place=f"systems/{os.id}",
            proposals=tuple(Proposal(path=("os",), value=name) for name in bases),
        )


def _os_architecture(situation: Situation) -> Iterator[Finding]:
    """The recipe's `arch` must be one for which the OS is known."""
    os = situation.os
    if os is not None and situation.wish.arch not in os.architectures:
        yield Finding(
            message=f"{os.name} is not known for `{situation.wish.arch}`",
            path=("arch",),
            label="known: " + ", ".join(os.architectures),
            place=f"systems/{os.id}",
            proposals=tuple(Proposal(path=("arch",), value=name) for name in os.architectures),
        )


def _os_supported(situation: Situation) -> Iterator[Finding]:
    """An OS past its end of life gets no security fixes.

    The date of its maintainers counts; where a long-term team carries on, the message says until when.
    """
    os = situation.os
    if os is not None and os.eol is not None and os.eol < situation.today:
        longer = f"; long-term support goes on until {os.extended_eol}" if os.extended_eol and os.extended_eol >= situation.today else ""
        yield Finding(
            message=f"{os.name} reached its end of life on {os.eol}{longer}",
            path=("os",),
            place=f"systems/{os.id}",
        )


def _kernel_flavor(situation: Situation) -> Iterator[Finding]:
    """The recipe's `kernel.flavor` must be one of the OS's.

    Debian's `generic` kernel has every driver; `cloud` is smaller and has no DRM, so it drives no accelerator but the CPU.
    """
    os = situation.os
    if os is not None and os.kernels and all(kernel.flavor != situation.wish.kernel.flavor for kernel in os.kernels):
        flavors = list(dict.fromkeys(kernel.flavor for kernel in os.kernels))
        guess = closest(situation.wish.kernel.flavor, flavors)
        yield Finding(
            message=f"{os.name} has no kernel flavor `{situation.wish.kernel.flavor}`",
            path=("kernel", "flavor"),
            label="known: " + ", ".join(flavors),
            place=f"systems/{os.id}",
            proposals=tuple(Proposal(path=("kernel", "flavor"), value=name) for name in ([guess] if guess else flavors)),
        )


RULES = (
    code_rule(_os_known, "OS101", "os-unknown", "node", "os"),
    code_rule(_os_base, "OS102", "os-not-a-base", "node", "os"),
    code_rule(_os_architecture, "OS103", "os-architecture", "node", "os"),
    code_rule(_os_supported, "OS104", "os-end-of-life", "node", "os", severity=Severity.WARNING),
    code_rule(_kernel_flavor, "KR101", "kernel-flavor-unknown", "node", "os"),
)
