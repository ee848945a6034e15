"""Rules about the driver's kernel modules on a machine: of one version, compiled for its kernel, signed, with their firmware."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aistack.compose.building import is_compiled
from aistack.compose.rules.data import fits
from aistack.compose.rules.situation import Finding, Path, Situation, code_rule
from aistack.diagnostics import Severity
from aistack.facts.kernel_name import same_kernel
from aistack.facts.snapshot import listed
from aistack.facts.version import Scheme

MODULE: Path = ("driver", "module", "version")
KERNEL: Path = ("platform", "kernel")

NVIDIA_README = "https://github.com/NVIDIA/open-gpu-kernel-modules"
GSP_README = "https://download.nvidia.com/XFree86/Linux-x86_64/580.65.06/README/gsp.html"
PRECOMPILED = (
    "https://github.com/NVIDIA/cloud-native-docs/blob/52dcb7b8d956784344e241df476de17094a4574c/gpu-operator/precompiled-drivers.rst"
)
CHECKED = "2026-11-22"


def is_nvidia(situation: Situation) -> bool:
    """Whether the snapshot's driver is NVIDIA's, or nothing says that it is another's."""
    name = situation.seen.driver.module.name
    return (name is None or name.startswith("nvidia")) and situation.text("vendor") in ("nvidia", None)


def differ(one: str | None, other: str | None) -> bool:
    """Whether two versions are surely not the same; one may be only the beginning of the other (NVML prints `580.178`)."""
    if one is None or other is None:
        return False
    found = [re.match(r"\d+(?:\.\d+)*", text) for text in (one, other)]
    numbers = [match[0].split(".") for match in found if match]
    shorter = min(len(part) for part in numbers) if len(numbers) == 2 else 0
    return shorter > 0 and numbers[0][:shorter] != numbers[1][:shorter]


def _user_space(situation: Situation) -> Iterator[Finding]:
    """The driver's programs and its kernel modules must be of one version, to the last number.

    Between them stands an interface that NVIDIA keeps for no two releases: libcuda and nvidia-smi refuse modules of another one with
    "Driver/library version mismatch". It happens where a package was updated and the old modules are still loaded, or where modules did
    not compile and those of an older version were left.
    """
    driver = situation.seen.driver
    if is_nvidia(situation) and differ(driver.version, driver.module.version):
        yield Finding(
            message=f"the driver's programs are {driver.version}, its kernel modules {driver.module.version}",
            path=MODULE,
            label=f"needs {driver.version}",
            also=((("driver", "version"), "the programs"),),
            hints=("load the modules of the programs' version (a reboot does), and let updates change both packages or neither",),
        )


def _initramfs(situation: Situation) -> Iterator[Finding]:
    """The modules inside the initramfs must be those of the installed driver.

    They are loaded before the root is there, so a copy from before an update wins over the new files, and the new programs refuse it.
    """
    driver = situation.seen.driver
    installed = driver.module.version or driver.version
    if is_nvidia(situation) and differ(driver.initramfs_version, installed):
        yield Finding(
            message=f"the initramfs holds driver modules {driver.initramfs_version}, {installed} is installed",
            path=("driver", "initramfs_version"),
            label=f"needs {installed}",
            hints=("make the initramfs anew (`update-initramfs -u`, `dracut --force`, `mkinitcpio -P`), or keep the modules out of it",),
        )


def _built_for(situation: Situation) -> Iterator[Finding]:
    """Compiled kernel modules fit the kernel that they were compiled for, and no other.

    They lie in that kernel's folder, where another kernel does not look, and carry its name, which it compares. Exceptions are updates
    for which a distribution promises that compiled modules go on to fit: within a point release of RHEL or a service pack of SUSE.
    """
    built, kernel = situation.seen.driver.module.built_for, situation.seen.platform.kernel
    if built is not None and kernel is not None and same_kernel(built, kernel) is False:
        yield Finding(
            message=f"the driver's modules are compiled for kernel {built}, the machine runs {kernel}",
            path=("driver", "module", "built_for"),
            label=f"needs {kernel}",
            also=((KERNEL, "the kernel"),),
            hints=(f"compile or install them for {kernel}, or boot {built}",),
        )


def _headers(situation: Situation) -> Iterator[Finding]:
    """Modules that are compiled on the machine need the headers of the very kernel that it runs.

    Without `/lib/modules/KERNEL/build` neither DKMS nor the installer can compile, and no modules are there after the next boot. Modules
    that were already compiled for this kernel go on to work.
    """
    platform, module = situation.seen.platform, situation.seen.driver.module
    if not is_compiled(situation.seen) or (module.built_for and platform.kernel and same_kernel(module.built_for, platform.kernel)):
        return
    trees = listed(platform.kernel_trees)
    running = platform.kernel or "the running kernel"
    if platform.kernel_headers == "absent" or trees == ():
        path: Path = ("platform", "kernel_headers" if platform.kernel_headers else "kernel_trees")
        told = "its headers are absent"
    elif trees is not None and platform.kernel is not None and all(same_kernel(tree, platform.kernel) is False for tree in trees):
        path, told = ("platform", "kernel_trees"), f"headers are there for {', '.join(trees)} only"
    else:
        return
    how = module.install or module.flavor
    yield Finding(
        message=f"the driver's modules ({how}) cannot be compiled for {running}: {told}",
        path=path,
        label=f"needs the headers of {running}",
        hints=("install the kernel's headers package together with each kernel, or use modules that are compiled already",),
    )


def _precompiled(situation: Situation) -> Iterator[Finding]:
    """Modules that were compiled elsewhere must be offered for the kernel that runs, and for its flavor.

    NVIDIA and the distributions publish them for some kernels of some flavors, often days after the kernel itself.
    """
    driver, platform = situation.seen.driver, situation.seen.platform
    if driver.module.install not in ("precompiled", "package", None):
        return
    kernels, flavors, flavor = (
        listed(driver.precompiled_available_for),
        listed(driver.precompiled_flavors),
        situation.value("kernel-flavor"),
    )
    hints = ("boot a kernel that is listed, hold kernel updates until the modules are there, or compile them on the machine",)
    if kernels is not None and platform.kernel and all(same_kernel(one, platform.kernel) is False for one in kernels):
        yield Finding(
            message=f"there are no precompiled modules for kernel {platform.kernel}",
            path=KERNEL,
            label=f"they are there for {', '.join(kernels) or 'no kernel'}",
            source=PRECOMPILED,
            checked=CHECKED,
            hints=hints,
        )
    elif flavors is not None and flavor is not None and flavor.text not in flavors:
        yield Finding(
            message=f"there are no precompiled modules for kernels of the flavor `{flavor.text}`",
            path=flavor.path,
            label=f"they are there for {', '.join(flavors) or 'no flavor'}",
            source=PRECOMPILED,
            checked=CHECKED,
            hints=hints,
        )


OPTIONS = {
    (11, 3): "-mharden-sls=all",
    (12,): "-ftrivial-auto-var-init=zero",
    (14,): "-fmin-function-alignment",
    (15,): "-fzero-init-padding-bits=all",
}
"""By gcc's version: an option that kernels compiled with it hand to every module, and that older compilers refuse."""
OF_X86 = frozenset({"-mharden-sls=all"})
"""Options that only kernels for x86 hand on."""
STRICT = 515
"""The driver from whose build on another minor version of the compiler is a warning; before, the build stopped there."""


def _refused(compiler: str | None, kernel_compiler: str | None, arch: str | None) -> list[str]:
    """The options that the kernel hands on and the compiler does not know; one whose minor version is not said may know them."""
    have, wanted = (tuple(int(part) for part in (_number(text) or "0").split(".")) for text in (compiler, kernel_compiler))
    return [
        option
        for since, option in OPTIONS.items()
        if have[: len(since)] < since <= wanted and not (len(have) < len(since) and have == since[: len(have)])
        if arch != "arm64" or option not in OF_X86
    ]


def _stops_at_minor(situation: Situation) -> bool:
    """Whether NVIDIA's build takes the difference of the two compilers' minor versions for a reason to stop."""
    platform, driver = situation.seen.platform, situation.value("driver")
    numbers = [(_number(text) or "").split(".")[:2] for text in (platform.compiler, platform.kernel_compiler)]
    old = driver is not None and fits(driver, f"<{STRICT}", Scheme.RELEASE) is True
    return is_nvidia(situation) and old and all(len(part) == 2 for part in numbers) and numbers[0] != numbers[1]


def _pristine(situation: Situation) -> bool:
    """Whether the modules are built as NVIDIA delivers them: the packages of distributions ignore the compiler's version."""
    sources, install = situation.value("driver-sources"), situation.seen.driver.module.install
    return install in ("runfile", "driver-container") or (install == "dkms" and sources is not None and not sources.assumed)


def _number(text: str | None) -> str | None:
    found = re.search(r"\d+(\.\d+)*", text or "")
    return found[0] if found else None


def _compiler(situation: Situation) -> Iterator[Finding]:
    """Modules are to be compiled with the compiler that compiled the kernel.

    The kernel's configuration records what its compiler can do, and hands those options to every module. An older gcc refuses the ones
    that came later: `-mharden-sls` came with gcc 11.3, `-ftrivial-auto-var-init` with 12, `-fmin-function-alignment` with 14, and
    `-fzero-init-padding-bits` with 15. gcc and clang refuse each other's. Another major version that knows them all is a risk that NVIDIA's
    build warns of. Drivers before 515 stop the build at another minor version already, unless a package tells them to ignore it.
    """
    platform = situation.seen.platform
    have, wanted = _tool(platform.compiler), _tool(platform.kernel_compiler)
    if have is None or wanted is None or is_compiled(situation.seen) is False:
        return
    refused = _refused(platform.compiler, platform.kernel_compiler, situation.text("arch")) if have[0] == wanted[0] == "gcc" else []
    stops = have[0] == wanted[0] and _stops_at_minor(situation)
    if have == wanted and not refused and not stops:
        return
    if have[0] == wanted[0] == "gcc":
        why = tuple(
            f"gcc {_number(platform.compiler)} does not know `{option}`, which this kernel hands to its modules" for option in refused
        )
        why += (f"the build of drivers before {STRICT} stops where the compiler's version differs",) if stops and not refused else ()
        severity = Severity.ERROR if refused or (stops and _pristine(situation)) else Severity.WARNING
    else:
        why = (f"the options that a {wanted[0]} kernel hands to its modules are not all known to {have[0]}",)
        severity = Severity.ERROR if have[0] != wanted[0] else Severity.WARNING
    yield Finding(
        severity=severity,
        message=f"the kernel is compiled with {platform.kernel_compiler}, its modules would be with {platform.compiler}",
        path=("platform", "compiler"),
        label=f"needs {wanted[0]} {wanted[1]}",
        also=((("platform", "kernel_compiler"), "the kernel's"),),
        why=why,
        hints=(f"install {wanted[0]}-{wanted[1]} and compile the modules with it (`CC={wanted[0]}-{wanted[1]}`)",),
    )


def _tool(compiler: str | None) -> tuple[str, int] | None:
    found = re.match(r"(gcc|clang)[- ]?(\d+)", compiler or "")
    return (found[1], int(found[2])) if found else None


def _gsp_firmware(situation: Situation) -> Iterator[Finding]:
    """The open kernel modules do nothing without the GSP firmware of their own version.

    It lies under `/lib/firmware/nvidia/VERSION/`; files of another version are not even looked at. The proprietary modules use it too,
    but drive products up to Ada without it. Since R560 the open modules are what is installed where nobody chose, so there the absence
    is an error unless the proprietary ones are known to be in use. Products older than Turing have no GSP.
    """
    driver = situation.seen.driver
    firmware, version = driver.gsp_firmware, driver.module.version or driver.version
    absent = firmware == "absent"
    product = situation.accelerator
    if not is_nvidia(situation) or not (absent or differ(firmware, version)) or (product and product.open_modules == "unsupported"):
        return
    flavor = situation.text("driver-flavor")
    branch = int(found[0]) if (found := re.match(r"\d+", version or "")) else None
    if flavor is None and branch is not None and branch < 515:
        return  # these have no open modules, and use the firmware only where they are told to
    severity = {"open": Severity.ERROR, "proprietary": Severity.WARNING}.get(flavor or "")
    if severity is None:
        severity = Severity.ERROR if branch is not None and branch >= 560 else Severity.UNKNOWN
    have = "the GSP firmware is absent" if absent else f"the GSP firmware is of {firmware}"
    driven = f"driver {version}" if version else "the driver"
    yield Finding(
        severity=severity,
        message=f"could not tell whether {driven} works: {have}" if severity is Severity.UNKNOWN else f"{driven} finds no firmware: {have}",
        path=("driver", "gsp_firmware"),
        label=f"needs {version}" if version else "needs the driver's own version",
        why=() if flavor else ("the flavor of the modules is not known; the open ones, the default since R560, need the firmware always",),
        source="https://github.com/NVIDIA/open-gpu-kernel-modules/issues/820" if flavor == "open" else GSP_README,
        checked=CHECKED,
        hints=("install the firmware package of the same version, and let the initramfs hold it where the modules are inside it",),
    )


RULES = (
    code_rule(
        _user_space,
        "MO101",
        "module-user-mismatch",
        "node",
        of="snapshot",
        topics=("module-user-mismatch",),
        source=(NVIDIA_README,),
        checked=CHECKED,
    ),
    code_rule(_initramfs, "MO102", "initramfs-module", "node", of="snapshot", topics=("initramfs-module", "module-user-mismatch")),
    code_rule(_built_for, "MO103", "module-built-for-other-kernel", "node", of="snapshot", topics=("module-built-for-other-kernel",)),
    code_rule(_headers, "MO104", "kernel-headers-missing", "node", of="snapshot", topics=("headers-or-precompiled-missing",)),
    code_rule(
        _precompiled,
        "MO105",
        "precompiled-missing",
        "node",
        of="snapshot",
        topics=("headers-or-precompiled-missing",),
        source=(PRECOMPILED,),
        checked=CHECKED,
    ),
    code_rule(
        _compiler,
        "MO106",
        "compiler-mismatch",
        "node",
        of="snapshot",
        topics=("compiler-mismatch",),
        source=(
            NVIDIA_README,
            "https://github.com/pop-os/pop/issues/3117",
            "https://github.com/NVIDIA/open-gpu-kernel-modules/pull/951",
            "https://github.com/dlundqvist/xone/issues/192",
            "https://github.com/strongtz/i915-sriov-dkms/issues/85",
            "https://github.com/GoogleCloudPlatform/compute-gpu-installation/issues/15",
        ),
        checked=CHECKED,
    ),
    code_rule(
        _gsp_firmware,
        "MO107",
        "gsp-firmware",
        "node",
        of="snapshot",
        topics=("gsp-firmware",),
        source=("https://github.com/NVIDIA/open-gpu-kernel-modules/issues/820",),
        checked=CHECKED,
    ),
)
