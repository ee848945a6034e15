"""Rules about what keeps the driver's kernel modules from the device: another driver, a missing signature, a list that forbids them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aistack.compose.rules.module import CHECKED, is_nvidia
from aistack.compose.rules.situation import Finding, Path, Situation, code_rule
from aistack.diagnostics import Severity
from aistack.facts.snapshot import Snapshot, listed, stated

OTHERS = frozenset({"none", "absent", "nvidia", "amdgpu", "i915", "xe", "ast", "mgag200", "simpledrm", "efifb", "vesafb"})
"""Drivers that claim other devices, or give theirs up: beside an accelerator's own they do no harm."""

NOVA = frozenset({"Turing", "Ampere", "Ada Lovelace"})
"""The architectures that nova_core binds; it refuses newer ones."""

SMALL_KERNELS = re.compile(r"(al2|al2023|amazon|amzn|talos|flatcar|bottlerocket|cos|rhcos)\b")
"""Systems whose kernels come without nouveau."""

CLOUD_FLAVORS = frozenset({"cloud", "aws", "azure", "azure-fde", "gcp", "gke", "oracle", "ibm", "kvm", "virtual"})
"""Flavors whose basic packages come without nouveau."""

OWN_RULES = re.compile(r"(arch|archlinux|artix|cachyos|endeavouros|manjaro|nixos|gentoo|void|slackware|alpine)\b")
"""Distributions whose kernels do not lock themselves down for Secure Boot alone."""


def _name(module: str) -> str:
    return module.strip().lower().replace("-", "_")


def _parameter(snapshot: Snapshot, *names: str) -> set[str]:
    """The modules that the kernel's command line lists under these names."""
    words = [word.partition("=") for word in (snapshot.platform.cmdline or "").split()]
    return {_name(module) for name, _, modules in words if name in names for module in modules.split(",")}


def blacklisted(snapshot: Snapshot) -> set[str] | None:
    """The modules that are not loaded by themselves; None where that is not known."""
    listed_here = snapshot.platform.blacklist
    told = _parameter(snapshot, "modprobe.blacklist", "rd.driver.blacklist", "module_blacklist")
    if "nouveau.modeset=0" in (snapshot.platform.cmdline or "").split():
        told.add("nouveau")
    return None if listed_here is None else {_name(module) for module in listed_here} | told


def _competing(situation: Situation) -> Iterator[Finding]:
    """One driver has a device: another that claims it first keeps it from the vendor's.

    nouveau, the kernel's own driver for NVIDIA's devices, and its successor nova_core are loaded at boot for every device that they know,
    unless they are blacklisted; vfio-pci holds a device for virtual machines. NVIDIA's modules then say "No such device", or that the
    device is already bound. Where a snapshot says who competes, it is believed.
    """
    seen = situation.seen
    named = [word for word in listed(seen.platform.competing_driver) or () if _name(word) not in {_name(other) for other in OTHERS}]
    for word in named:
        yield Finding(
            message=f"`{word}` has the accelerator, so the vendor's driver does not get it",
            path=("platform", "competing_driver"),
            hints=(f"blacklist `{word}` and make the initramfs anew, or take the device from it",),
        )
    driver = seen.driver
    asked = driver.version or driver.module.version or driver.module.install or driver.module.flavor
    forbidden = blacklisted(seen)
    if named or not asked or not is_nvidia(situation) or forbidden is None or seen.platform.competing_driver is not None:
        return
    if "nouveau" not in forbidden and _has_nouveau(situation):
        packaged = driver.module.install in ("dkms", "package", "precompiled", "akmods")
        yield Finding(
            severity=Severity.WARNING if packaged else None,
            message="nouveau is not blacklisted, so it takes the accelerator at boot",
            path=("platform", "blacklist"),
            label="needs `nouveau`",
            source="https://gist.github.com/YCmove/3723f799ba1e75a39541cdf0ce1e8d0c",
            checked=CHECKED,
            hints=("write `blacklist nouveau` and `options nouveau modeset=0` under /etc/modprobe.d/, make the initramfs anew, reboot",),
        )
    yield from _nova(situation, forbidden)


def _has_nouveau(situation: Situation) -> bool:
    """Whether the kernel has nouveau: its configuration says so, or kernels of its kind usually do."""
    platform = situation.seen.platform
    config = platform.kernel_config or {}
    if (option := config.get("CONFIG_DRM_NOUVEAU") or ("n" if config.get("CONFIG_DRM") == "n" else None)) is not None:
        return option in ("y", "m")
    return not SMALL_KERNELS.match(platform.os or "") and situation.text("kernel-flavor") not in CLOUD_FLAVORS


def _nova(situation: Situation, forbidden: set[str]) -> Iterator[Finding]:
    option = (situation.seen.platform.kernel_config or {}).get("CONFIG_NOVA_CORE")
    architecture = situation.text("architecture")
    if option not in ("y", "m") or "nova_core" in forbidden or (architecture is not None and architecture not in NOVA):
        return
    yield Finding(
        severity=Severity.UNKNOWN if architecture is None else None,
        message="nova_core is not blacklisted, so it takes the accelerator at boot"
        if architecture is not None
        else "could not tell whether nova_core, which is not blacklisted, takes the accelerator: its architecture is not known",
        path=("platform", "blacklist"),
        label="needs `nova_core`",
        why=(f"the kernel has CONFIG_NOVA_CORE={option}; that driver binds Turing, Ampere and Ada, and cannot drive them yet",),
        source="https://github.com/beclab/Olares/pull/3963",
        checked=CHECKED,
        hints=("blacklist `nova_core` beside `nouveau` and make the initramfs anew, or take a kernel that is built without it",),
    )


def _forbidden(situation: Situation) -> Iterator[Finding]:
    """The vendor's own module must not be on a list of modules that are not to be loaded.

    Such lists are left behind by tools that switch between two accelerators, or by a host that once gave the device to virtual machines.
    `module_blacklist=` forbids a module for good; `blacklist` keeps it from being loaded by itself.
    """
    seen = situation.seen
    own = "amdgpu" if situation.text("vendor") == "amd" else "nvidia" if is_nvidia(situation) else None
    if own is None or own not in (blacklisted(seen) or _parameter(seen, "modprobe.blacklist", "module_blacklist")):
        return
    never = own in _parameter(seen, "module_blacklist")
    in_list = own in {_name(module) for module in seen.platform.blacklist or ()}
    path: Path = ("platform", "blacklist") if in_list and not never else ("platform", "cmdline")
    yield Finding(
        severity=Severity.ERROR if never else Severity.WARNING,
        message=f"`{own}` is on a list of modules that are not {'ever' if never else 'by themselves'} loaded",
        path=path,
        hints=("remove it from /etc/modprobe.d/ or from the kernel's command line, make the initramfs anew, reboot",),
    )


def _signature(situation: Situation) -> Iterator[Finding]:
    """A kernel that checks signatures loads only modules that are signed with a key that it knows.

    Under Secure Boot the kernels of the large distributions lock themselves down and then do; `module.sig_enforce=1`, a `lockdown=` on the
    command line and CONFIG_MODULE_SIG_FORCE do the same without it. Modules that were compiled on the machine are signed with its own
    key, which the firmware must have been told of (`mokutil --import`, confirmed at the next boot).
    """
    seen = situation.seen
    enforced = _enforced(seen)
    if enforced is None or (seen.platform.kernel_config or {}).get("CONFIG_MODULE_SIG") == "n":
        return
    told, path = enforced
    signature = seen.platform.module_signature
    if signature in ("none", "unsigned", "unenrolled"):
        what = "are not signed" if signature != "unenrolled" else "are signed with a key that the machine does not know"
        yield Finding(
            message=f"the driver's modules {what}, and {told}",
            path=("platform", "module_signature"),
            label="needs a signature with an enrolled key",
            also=((path, "asks for signatures"),),
            source="https://docs.kernel.org/admin-guide/module-signing.html",
            checked=CHECKED,
            hints=(
                "enroll the key that signs them (`mokutil --import`), take modules that the distribution signed, or turn Secure Boot off",
            ),
        )
    elif signature is None and seen.driver.module.install in ("dkms", "runfile", "akmods"):
        yield Finding(
            severity=Severity.UNKNOWN,
            message=f"could not tell whether the driver's modules are signed with a key that the machine knows; {told}",
            path=path,
        )


def _enforced(snapshot: Snapshot) -> tuple[str, Path] | None:
    """Why the kernel refuses modules without a known signature, and where that is said; None where nothing says that it does."""
    platform = snapshot.platform
    words = (platform.cmdline or "").split()
    if any(re.fullmatch(r"module\.sig_enforce(=(1|y|yes))?|lockdown=(integrity|confidentiality)", word) for word in words):
        return "the kernel's command line asks for signatures", ("platform", "cmdline")
    if (platform.kernel_config or {}).get("CONFIG_MODULE_SIG_FORCE") == "y":
        return "the kernel is built to refuse modules without a known signature", ("platform", "kernel_config", "CONFIG_MODULE_SIG_FORCE")
    if stated(platform.secure_boot) and not OWN_RULES.match(platform.os or ""):
        return "Secure Boot is on", ("platform", "secure_boot")
    return None


RULES = (
    code_rule(
        _competing,
        "MO201",
        "competing-driver",
        "node",
        of="snapshot",
        topics=("competing-driver",),
    ),
    code_rule(_forbidden, "MO202", "driver-blacklisted", "node", of="snapshot", topics=("competing-driver",)),
    code_rule(
        _signature,
        "MO203",
        "module-signature",
        "node",
        of="snapshot",
        topics=("secure-boot-signature",),
        source=("https://docs.kernel.org/admin-guide/module-signing.html",),
        checked=CHECKED,
    ),
)
