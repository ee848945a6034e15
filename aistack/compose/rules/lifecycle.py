"""Rules about time: branches of the driver and series of the kernel that nobody mends any more, and kernels newer than what is known."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aistack.compose.rules.situation import Finding, Proposal, Situation, code_rule
from aistack.diagnostics import Severity
from aistack.facts.kernel_name import series
from aistack.facts.systems import Branch
from aistack.facts.version import Scheme, key, newest_first

FOLLOWING = re.compile(r"(arch|archlinux|artix|cachyos|endeavouros|manjaro|nixos|gentoo|void|fedora|opensuse-tumbleweed|tumbleweed)\b")
"""Distributions that take their kernels from upstream and go on to the next series when one ends; others mend theirs themselves."""


def _branch_ended(situation: Situation) -> Iterator[Finding]:
    """A driver branch past its end of life gets no fixes any more, for security neither.

    NVIDIA mends a production branch for a year and a long-term one for three; a new feature branch ends with the next. For branches that
    NVIDIA's pages no longer list, the day is concluded from that policy. A distribution may go on to patch its package for newer
    kernels, but not the closed parts of the driver.
    """
    branches, driver = situation.catalog.branches, situation.value("driver")
    branch = branches.get((driver.text or "").partition(".")[0]) if driver is not None else None
    if driver is None or branch is None or branch.eol is None or branch.eol >= situation.today:
        return
    alive = newest_first([one.id for one in branches.values() if _goes_on(one, situation)], Scheme.RELEASE)
    offered = {one.version.partition(".")[0] for one in situation.os.drivers} if situation.os else set()
    listed = f"long-term branches that go on: {', '.join(alive)}" if alive else "no long-term branch that goes on drives the accelerator"
    none = f"; {situation.os.name} offers none of them" if situation.os and alive and offered.isdisjoint(alive) else ""
    yield Finding(
        message=f"driver branch {branch.id} reached its end of life on {branch.eol}",
        path=driver.path,
        place=f"branches/{branch.id}",
        proposals=tuple(Proposal(path=("driver", "version"), value=f"{one}.*") for one in alive if one in offered),
        hints=(listed + none,),
    )


def _goes_on(branch: Branch, situation: Situation) -> bool:
    """Whether a branch is mended for long, and drives the accelerator as far as is known."""
    drives = branch.drives(situation.accelerator.architecture if situation.accelerator else None)
    return branch.kind == "long-term" and branch.eol is not None and branch.eol >= situation.today and drives


def _kernel_ended(situation: Situation) -> Iterator[Finding]:
    """A kernel series past its end of life gets no fixes any more.

    That is upstream's date, so it counts where the kernel is upstream's: a mainline build, or a distribution that follows upstream from
    series to series. Kernels that a distribution mends itself live as long as the distribution.
    """
    kernel = situation.value("kernel")
    found = situation.catalog.kernels.get(series(kernel.text or "") or "") if kernel is not None else None
    follows = FOLLOWING.match(situation.text("os") or "") is not None or situation.text("kernel-flavor") == "mainline"
    if kernel is not None and found is not None and found.eol is not None and found.eol < situation.today and follows:
        yield Finding(
            message=f"the kernel series {found.id} reached its end of life on {found.eol}",
            path=kernel.path,
            place=f"kernels/{found.id}",
        )


def _kernel_unknown(situation: Situation) -> Iterator[Finding]:
    """A kernel may be newer than any that NVIDIA's sources are known to handle.

    Most new kernels change an interface that the modules use. A driver that was released before such a kernel is a risk, not a proven
    failure; a newer release of the branch, or an older kernel, is the safe choice.
    """
    driver, kernel = situation.value("driver"), situation.value("kernel")
    if driver is None or driver.text is None or kernel is None:
        return
    running = series(kernel.text or "")
    handled = {upto for branch in situation.catalog.branches.values() for upto in branch.kernels.values()}
    if running is None or not handled:
        return
    (newest, *_) = newest_first(handled, Scheme.KERNEL)
    if key(running, Scheme.KERNEL) > key(newest, Scheme.KERNEL):
        yield Finding(
            message=f"kernel {kernel.text} is newer than any that a driver of NVIDIA is known to compile for",
            path=kernel.path,
            label=f"known: up to {newest}",
            source="https://github.com/NVIDIA/open-gpu-kernel-modules",
        )


RULES = (
    code_rule(
        _branch_ended,
        "DR101",
        "driver-branch-end-of-life",
        "node",
        "driver",
        severity=Severity.WARNING,
        of="both",
        topics=("accelerator-driver-support-window",),
    ),
    code_rule(_kernel_ended, "KR103", "kernel-end-of-life", "node", severity=Severity.WARNING, of="snapshot"),
    code_rule(
        _kernel_unknown,
        "KR104",
        "kernel-newer-than-known",
        "node",
        severity=Severity.WARNING,
        of="snapshot",
        topics=("driver-kernel-build",),
    ),
)
