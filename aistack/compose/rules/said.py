"""Rules about a snapshot's own words: what is said, but says nothing to any rule, is told, because silence would look like a yes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from aistack.compose.rules.situation import Finding, Situation, code_rule
from aistack.diagnostics import Severity
from aistack.facts.catalog import targets
from aistack.facts.decode import nearest

STATES = (
    "absent",
    "missing",
    "installed",
    "enabled",
    "running",
    "active",
    "stopped",
    "inactive",
    "disabled",
    "failed",
    "install-requested",
)
WORDS = {
    "fabric.manager.state": STATES,
    "fabric.imex.state": STATES,
    "platform.secure_boot": ("true", "false", "enabled", "disabled", "on", "off", "yes", "no"),
    "platform.module_signature": ("none", "unsigned", "enrolled", "unenrolled"),
    "platform.kernel_headers": ("present", "absent"),
    "accelerator.brand": ("datacenter", "workstation", "consumer", "embedded"),
    "accelerator.interconnect": ("nvswitch", "nvlink-bridge", "nvl72", "pcie", "none"),
}
"""By the place of a value: the words that rules know."""

KERNEL = re.compile(r"\d+\.\d")
"""How the version of a kernel begins."""


def _nothing(situation: Situation) -> Iterator[Finding]:
    """A snapshot must say something that a rule asks for; one that says nothing is not a machine without a problem."""
    if set(situation.values) == {"schema"} and not situation.seen.frameworks:
        yield Finding(message="the snapshot says nothing that any rule asks for", path=("schema",), hints=("`aistack schema snapshot`",))


def _product(situation: Situation) -> Iterator[Finding]:
    """The accelerator must be one that the catalog has, by its id, by a less exact one, or by the name that tools print.

    Of any other only what the snapshot says itself is known.
    """
    product = situation.seen.accelerator.product
    catalog = situation.catalog
    if product is not None and catalog.accelerator(product) is None and not catalog.family(product):
        families = {name for known in catalog.accelerators.values() for name in (*known.families, *known.aliases)}
        others = catalog.namesake(product)
        judged = f"it was taken for a variant of {others[0].name}" if others else "of it only what else the snapshot says was judged"
        yield Finding(
            message=f"no accelerator `{product}` is known: {judged}",
            path=("accelerator", "product"),
            hints=_meant(product, {*catalog.accelerators, *families}),
        )


def _architecture(situation: Situation) -> Iterator[Finding]:
    """The accelerator's architecture must be that of a product in the catalog (`sm_90`, `gfx942`, `gaudi3`).

    What runs on another, and which drivers know it, is not known, so no rule could speak of it.
    """
    arch = situation.seen.accelerator.arch
    if arch is None:
        return
    plain = arch.lower().partition(":")[0]
    known = {target for product in situation.catalog.accelerators.values() for target in targets(product)}
    if plain not in known and re.sub(r"^(sm_\d+)[af]$", r"\1", plain) not in known:
        yield Finding(
            message=f"no accelerator of architecture `{arch}` is known: nothing could be judged that depends on it",
            path=("accelerator", "arch"),
            hints=_meant(arch, known),
        )


def _system(situation: Situation) -> Iterator[Finding]:
    """The operating system must be one that the catalog has, and the kernel be called by a version, as `uname -r` prints it.

    Of any other system nothing is known that comes with it: its C library, its compiler, its kernels and their backports.
    """
    platform, catalog = situation.seen.platform, situation.catalog
    if platform.os is not None and situation.system is None:
        yield Finding(
            message=f"no system `{platform.os}` is known: of it only what else the snapshot says was judged",
            path=("platform", "os"),
            hints=_meant(platform.os.lower(), {*catalog.distributions, *catalog.systems}, "os"),
        )
    if platform.kernel is not None and not KERNEL.match(platform.kernel):
        yield Finding(
            message=f"`{platform.kernel}` is no kernel's version: nothing could be judged that depends on it",
            path=("platform", "kernel"),
            label="like `6.8.0-79-generic` or `6.8`",
        )


def _meant(word: str, known: Iterable[str], kind: str = "accelerators") -> tuple[str, ...]:
    near = nearest(word, known)
    return (f"did you mean {' or '.join(f'`{name}`' for name in near)}?",) if near else (f"`aistack list {kind}` shows what is known",)


def _values(situation: Situation) -> Iterator[Finding]:
    """A word must be one that rules know."""
    for place, known in WORDS.items():
        value = situation.values.get(place)
        if value is not None and value.text is not None and value.text not in known:
            message = f"`{'.'.join(map(str, value.path))}: {value.text}` says nothing to any rule"
            yield Finding(message=message, path=value.path, label=f"known: {', '.join(known)}")


RULES = (
    code_rule(_nothing, "SN101", "snapshot-says-nothing", "node", of="snapshot", severity=Severity.UNKNOWN),
    code_rule(_product, "SN102", "snapshot-product-unknown", "node", of="snapshot", severity=Severity.UNKNOWN),
    code_rule(_architecture, "SN104", "snapshot-architecture-unknown", "node", of="snapshot", severity=Severity.UNKNOWN),
    code_rule(_system, "SN105", "snapshot-system-unknown", "node", of="snapshot", severity=Severity.UNKNOWN),
    code_rule(_values, "SN103", "snapshot-value-unknown", "node", of="snapshot", severity=Severity.UNKNOWN),
)
