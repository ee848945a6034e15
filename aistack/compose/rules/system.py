"""Rules about the operating system and its kernel."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aistack.compose.rules.accelerator import PRODUCT
from aistack.compose.rules.situation import Finding, Path, Proposal, Situation, code_rule
from aistack.diagnostics import Severity
from aistack.facts.architecture import ARCHITECTURES, architecture_named
from aistack.facts.decode import closest
from aistack.facts.snapshot import listed
from aistack.facts.systems import Distribution
from aistack.facts.version import Scheme, VersionFormatError, key


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

    The date of its maintainers counts; where a long-term team carries on, the message says until when. Whether a machine that already
    exists has that longer support is not known, so there it is a note only.
    """
    system = situation.system
    if system is None or system.eol is None or system.eol >= situation.today:
        return
    carried_on = system.extended_eol is not None and system.extended_eol >= situation.today
    longer = f"; long-term support goes on until {system.extended_eol}" if carried_on else ""
    yield Finding(
        severity=Severity.INFO if carried_on and situation.snapshot else None,
        message=f"{system.name} reached its end of life on {system.eol}{longer}",
        path=situation.where("os"),
        source=next(iter(system.lifecycle_source), None),
        checked=system.checked,
        place=situation.system_place,
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


def _architectures(situation: Situation) -> Iterator[Finding]:
    """A kernel, an image and the sources of driver packages must be those of the machine's processor.

    Programs of another architecture end with "exec format error"; with an emulator they start, but the driver's libraries that are
    mounted into a container are the host's, and do not load. Of package sources it is enough that one is for the machine.
    """
    arch, seen = situation.value("arch"), situation.seen
    if arch is None or arch.text is None:
        return
    where = "platform" if arch.path[:1] == ("platform",) else "accelerator"
    named: list[tuple[str, str | None, Path]] = [
        ("kernel", architecture_named(seen.platform.kernel or ""), ("platform", "kernel")),
        ("image", ARCHITECTURES.get(seen.image.arch or ""), ("image", "arch")),
    ]
    if seen.image.arch is None:
        named.append(("image", architecture_named((seen.image.ref or "").partition("@")[0]), ("image", "ref")))
    sources = {found for word in listed(seen.platform.repos) or () if (found := architecture_named(word)) is not None}
    if arch.text not in sources:
        named += [("package source", found, ("platform", "repos")) for found in sorted(sources)]
    for what, found, path in named:
        if found is not None and found != arch.text:
            yield Finding(
                message=f"the {what} is for {found}, the machine is {arch.text}",
                path=path,
                label=f"needs `{arch.text}`",
                also=((arch.path, f"the {where} is {arch.text}"),),
                why=(arch.because,) if arch.because else (),
            )


def _jetson_packages(situation: Situation) -> Iterator[Finding]:
    """In NVIDIA's CUDA repository the folder `arm64` is for Jetson; servers with ARM processors have theirs in `sbsa`.

    On a server the folder `arm64` offers neither the driver nor the toolkit.
    """
    product, sources = situation.accelerator, listed(situation.seen.platform.repos) or ()
    wrong = [word for word in sources if re.search(r"cuda/repos/[^/]+/arm64\b", word)]
    if product is not None and product.kind not in ("", "embedded") and wrong and not any("sbsa" in word for word in sources):
        yield Finding(
            message=f"`{wrong[0]}` has packages for Jetson only, the machine has {product.name}",
            path=("platform", "repos"),
            label="needs the folder `sbsa`",
            also=((PRODUCT, "named here"),),
        )


def _kernel_of_the_system(situation: Situation) -> Iterator[Finding]:
    """A kernel that the distribution does not ship may lack its configuration, its modules and the vendor's tests.

    Containers, mainline builds and newer machines have such kernels, and work; it only says where to look first.
    """
    system, kernel = situation.system, situation.value("kernel")
    if system is None or kernel is None or kernel.text is None or not system.kernels:
        return
    try:
        have = key(".".join(kernel.text.split(".")[:2]), Scheme.KERNEL)
        offered = sorted({".".join(one.version.split(".")[:2]) for one in system.kernels}, key=lambda series: key(series, Scheme.KERNEL))
    except VersionFormatError:
        return
    newer = have > key(offered[-1], Scheme.KERNEL)
    if have < key(offered[0], Scheme.KERNEL) or (newer and not (isinstance(system, Distribution) and system.rebases)):
        yield Finding(
            message=f"kernel {kernel.text} is {'newer' if newer else 'older'} than those of {system.name}",
            path=kernel.path,
            label=f"known: {', '.join(offered)}",
            place=situation.system_place,
        )


RULES = (
    code_rule(_os_known, "OS101", "os-unknown", "node", "os"),
    code_rule(_os_base, "OS102", "os-not-a-base", "node", "os"),
    code_rule(_os_architecture, "OS103", "os-architecture", "node", "os"),
    code_rule(_os_supported, "OS104", "os-end-of-life", "node", "os", severity=Severity.WARNING, of="both"),
    code_rule(
        _architectures, "OS105", "architectures-agree", "node", "arch", of="snapshot", topics=("package-arch", "recipe-arch-agreement")
    ),
    code_rule(
        _jetson_packages,
        "OS107",
        "jetson-packages",
        "node",
        "accelerator",
        of="snapshot",
        topics=("package-arch",),
        source=("https://github.com/NVIDIA/NeMo-Retriever/pull/2700", "https://github.com/ollama/ollama/pull/6133"),
        checked="2026-11-26",
    ),
    code_rule(_kernel_of_the_system, "OS106", "kernel-of-the-system", "node", "os", "kernel", severity=Severity.INFO, of="snapshot"),
    code_rule(_kernel_flavor, "KR101", "kernel-flavor-unknown", "node", "os"),
)
