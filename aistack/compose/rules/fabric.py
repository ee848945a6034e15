"""Rules about what connects accelerators with each other: NVSwitch and its manager, NVLink across nodes, and peers on the network."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aistack.compose.rules.situation import Finding, Path, Situation, code_rule
from aistack.compose.rules.vendor import BOARD, GUIDE
from aistack.diagnostics import Severity
from aistack.facts.kernel_name import same_kernel
from aistack.facts.snapshot import listed, stated
from aistack.facts.version import agree, upstream

MANAGER: Path = ("fabric", "manager", "state")
UP = ("enabled", "running", "active")
KERNEL = re.compile(r"\d+\.\d+\.\d+-\d+[.\w-]*[a-z]")
"""What the name of a kernel looks like, and the number of no OFED (`5.8-1.1.2`, `23.07-0.5.1.2`)."""
DOWN = ("absent", "stopped", "inactive", "disabled", "failed", "missing")


def _driver(situation: Situation) -> str | None:
    """The version of the modules that are loaded, which is what the services compare themselves with."""
    driver = situation.seen.driver
    return driver.module.version or driver.version


def _driver_path(situation: Situation) -> Path:
    """Where that version is told."""
    return ("driver", "module", "version") if situation.seen.driver.module.version else ("driver", "version")


def _switched(situation: Situation) -> bool | None:
    """Whether accelerators hang on NVSwitches of their own board; None where that is not known.

    A product that is sold on such boards stands on others too: NVIDIA's boards for four A100 or H100 SXM modules have no switches.
    """
    link, seen = situation.value("interconnect"), situation.seen.accelerator
    if link is not None and link.text is not None:
        told = seen.interconnect is not None or (seen.count or 0) >= BOARD
        return (True if told else None) if link.text == "nvswitch" else False
    return False if situation.text("brand") in ("consumer", "workstation", "embedded") else None


def _fifth(situation: Situation) -> bool:
    """Whether the switches speak NVLink 5: as said, else as the product's architecture has it."""
    said = situation.seen.accelerator.nvlink_generation
    return said >= 5 if said is not None else situation.text("architecture") == "Blackwell"


def _missing(situation: Situation) -> Iterator[Finding]:
    """A board with NVSwitches needs NVIDIA's fabric manager running.

    It programs the switches when the machine starts. Until it has, nvidia-smi lists healthy accelerators, but the first call of any CUDA
    program fails with error 802, "system not yet initialized". A virtual machine with one accelerator of such a board does not need it.
    """
    state, count = situation.seen.fabric.manager.state, situation.seen.accelerator.count
    switched = _switched(situation)
    possible = switched is None and situation.text("interconnect") == "nvswitch"
    if not (switched or possible) or state not in DOWN or count == 1:
        return
    where = situation.where("interconnect")
    if possible and count is not None:
        message = (
            f"could not tell whether the {count} accelerators need the fabric manager, which is {state}: there are boards without switches"
        )
        yield Finding(severity=Severity.UNKNOWN, message=message, path=MANAGER, hints=("say `interconnect: nvswitch` or `none`",))
        return
    yield Finding(
        severity=Severity.WARNING if possible else None,
        message=f"the fabric manager is {state}, and the accelerators are connected by NVSwitches"
        + (", as they are on boards with eight of them" if possible else ""),
        path=MANAGER,
        label="must be running",
        also=((where, "NVSwitches"),),
        source=GUIDE,
        checked="2026-11-22",
        hints=("install nvidia-fabricmanager in the driver's version, and `systemctl enable --now nvidia-fabricmanager`",),
    )


def _unavailable(situation: Situation) -> Iterator[Finding]:
    """A fabric manager that an image asks for must exist for the driver's version and the machine's processor.

    NVIDIA does not publish one for every driver: branches for desktops have releases without it, and for arm64 there are fewer.
    """
    manager, arch = situation.seen.fabric.manager, situation.text("arch")
    made_for = re.search(r"x86[_-]64|amd64|aarch64|arm64|sbsa", manager.asset or "")
    machine = "amd64" if made_for and made_for[0].startswith(("x86", "amd")) else "arm64"
    wrong = made_for is not None and arch in ("amd64", "arm64") and arch != machine
    if (manager.state == "install-requested" and manager.asset in ("absent", "missing", "none", "not-found")) or wrong:
        yield Finding(
            message=f"there is no fabric manager to install for driver {_driver(situation) or '(unknown)'}"
            + (f" on {arch}" if wrong else ""),
            path=("fabric", "manager", "asset"),
            label=f"made for {machine}" if wrong else "not published",
            hints=("choose a driver release of a data-centre branch: those have a fabric manager of the same version",),
        )


def _same_release(situation: Situation) -> Iterator[Finding]:
    """The fabric manager must be of exactly the driver's release.

    It compares its own version with that of the loaded modules and stops where they differ, be it only in the last number. A package
    of a distribution or of NVIDIA that is upgraded alone leads there.
    """
    manager, driver = situation.seen.fabric.manager, _driver(situation)
    if driver is None or _switched(situation) is False or manager.state == "absent":
        return
    branch = re.search(r"[-_](\d{3})(?:[-_.]|$)", manager.package or "")
    asset = re.search(r"\d{3}(?:\.\d+){1,2}", manager.asset or "")
    versions = ((manager.version, "version"), (branch[1] if branch else None, "package"), (asset[0] if asset else None, "asset"))
    for version, key in versions:
        if version is not None and agree(upstream(version), upstream(driver)) is False:
            yield Finding(
                message=f"fabric manager {version} does not work with driver {driver}",
                path=("fabric", "manager", key),
                label=f"must be {driver}",
                also=((_driver_path(situation), f"driver {driver}"),),
                hints=("pin both packages to one version and upgrade them together",),
            )
            return


def _management(situation: Situation) -> Iterator[Finding]:
    """NVLink 5 boards (HGX B100, B200, B300) are managed through InfiniBand: `mlx5_ib` and `ib_umad` must be there, and nvlsm.

    The fabric manager finds the switches by InfiniBand management devices and has the subnet manager nvlsm program them. Without the
    modules it falls back to the way of older boards, finds nothing to do and stops; without nvlsm it cannot start. The accelerators then
    never finish joining the fabric, and CUDA fails with error 802. Reduced kernel packages leave these modules out.
    """
    if not _switched(situation) or not _fifth(situation):
        return
    fabric = situation.seen.fabric
    missing = [name for name in listed(fabric.kernel_modules_missing) or () if name.replace("-", "_") in ("mlx5_ib", "ib_umad")]
    if missing:
        yield Finding(
            message=f"the fabric manager cannot reach NVLink 5 switches without the kernel modules {' and '.join(missing)}",
            path=("fabric", "kernel_modules_missing"),
            label="must be loaded",
            source="https://github.com/NVIDIA/gpu-operator/issues/2781",
            checked="2026-11-26",
            hints=("install the kernel's extra modules (Ubuntu: linux-modules-extra) and load both at boot through /etc/modules-load.d",),
        )
    if fabric.nvlsm.state in DOWN:
        yield Finding(
            message=f"the subnet manager nvlsm is {fabric.nvlsm.state}, without which NVLink 5 switches are not programmed",
            path=("fabric", "nvlsm", "state"),
            label="must be installed",
            source=GUIDE,
            checked="2026-11-22",
            hints=("install nvlsm beside nvidia-fabricmanager",),
        )


def _rack(situation: Situation) -> Iterator[Finding]:
    """Trays of an NVL72 rack share memory across nodes by nvidia-imex, of the driver's branch.

    The switches stand in trays of their own, where their fabric manager runs. A tray whose IMEX service is missing still computes alone;
    one of another branch than the driver does not come up.
    """
    imex, driver = situation.seen.fabric.imex, _driver(situation)
    if imex.version is not None and driver is not None and agree(imex.version, driver) is False:
        branches = imex.version.split(".")[0] != driver.split(".")[0]
        yield Finding(
            severity=None if branches else Severity.WARNING,
            message=f"nvidia-imex {imex.version} {'does not belong to' if branches else 'is not the release of'} driver {driver}",
            path=("fabric", "imex", "version"),
            label=f"must be {driver}",
            source="https://docs.nvidia.com/dgx/dgxgb300nvl72-release-notes/package-contents.html",
            checked="2026-11-26",
        )
    if situation.text("interconnect") == "nvl72" and imex.state in DOWN:
        yield Finding(
            severity=Severity.WARNING,
            message=f"nvidia-imex is {imex.state}: programs cannot share memory with other trays of the rack",
            path=("fabric", "imex", "state"),
            label="must be running for jobs of more than one tray",
            source="https://docs.nvidia.com/multi-node-nvlink-systems/imex-guide",
            checked="2026-11-26",
        )


def _needless(situation: Situation) -> Iterator[Finding]:
    """A fabric manager has nothing to do where no NVSwitch is on the machine's own board; its unit then fails at boot.

    That holds for cards, for accelerators that are bridged in pairs, and for the trays of an NVL72 rack, whose switches stand elsewhere.
    The accelerators work, but the machine counts as degraded, and whatever waits for the unit stops.
    """
    state = situation.seen.fabric.manager.state
    if state in UP and _switched(situation) is False:
        rack = situation.text("interconnect") == "nvl72"
        yield Finding(
            message="the fabric manager finds no NVSwitch here" + (": those of the rack stand in trays of their own" if rack else ""),
            path=MANAGER,
            label=f"{state}, but fails when it starts",
            hints=("disable nvidia-fabricmanager" + (" and enable nvidia-imex" if rack else ""),),
        )


def _two_cores(situation: Situation) -> Iterator[Finding]:
    """Only one `ib_core` can be loaded: the kernel's, or the one that an OFED brings.

    Modules that were compiled for the other one are refused. On SLES 16 with DOCA-OFED NVIDIA lists it as a known issue that the fabric
    manager of NVLink 5 boards then does not start; elsewhere the OFED's module usually takes the place of the kernel's.
    """
    providers = [_family(word) for word in listed(situation.seen.fabric.ib_core) or ()]
    if len(set(providers)) < 2:
        return
    known = (situation.text("os") or "").startswith("sles-16") and situation.seen.fabric.manager.state in UP
    stops = known and _switched(situation) is not False and situation.seen.accelerator.nvlink_generation in (None, 5)
    yield Finding(
        severity=Severity.ERROR if stops else Severity.WARNING,
        message="`ib_core` comes from the kernel and from an OFED" + (", and the fabric manager does not start" if stops else ""),
        path=("fabric", "ib_core"),
        label="one of the two must go",
        hints=("keep the kernel's `ib_core` from being loaded, or remove the OFED: /etc/modprobe.d, then a new initramfs",),
    )


def _family(word: str) -> str:
    """Who brings the InfiniBand modules: `inbox`, `doca`, `mlnx`, or the word itself."""
    name = word.lower().replace("_", "-")
    if name in ("kernel", "inbox", "in-tree", "distribution", "absent", "none", "in-box"):
        return "inbox"
    return "doca" if name.startswith("doca") else "mlnx" if name.startswith(("mlnx", "mofed", "mellanox", "ofed")) else name


def _release(word: str) -> str | None:
    """`23.07-0.5.1.2` of `MLNX_OFED_LINUX-23.07-0.5.1.2`."""
    found = re.search(r"\d+(?:\.\d+)+(?:-\d+(?:\.\d+)*)?", word)
    return found[0] if found else None


def _peermem(situation: Situation) -> Iterator[Finding]:
    """nvidia-peermem must be compiled against the `ib_core` that is loaded.

    It registers itself there, under symbols whose versions the kernel compares: against another `ib_core` it fails with "disagrees about
    version of symbol" or "Invalid argument". A driver that was installed before the OFED, or an OFED that was upgraded after it, leads
    there. The kernel's own `ib_core` has no such registration, so nvidia-peermem needs an OFED; without one, DMA-BUF is the way (open
    kernel modules, kernel 5.12 or newer).
    """
    fabric = situation.seen.fabric
    peer, cores = fabric.peermem, listed(fabric.ib_core) or ()
    running = cores[0] if len(cores) == 1 else fabric.ofed
    module = (peer.module or "nvidia-peermem").replace("_", "-")
    if running is None or stated(peer.loaded) is True or module not in ("nvidia-peermem", "nv-peer-mem"):
        return
    if peer.built_against is not None and KERNEL.match(peer.built_against) is None:
        built, loaded = peer.built_against, running
        other = not (built[0].isdigit() or loaded[0].isdigit()) and _family(built) != _family(loaded)  # a bare number names no OFED
        one, two = _release(built), _release(loaded)
        if other or (one is not None and two is not None and one != two):
            yield Finding(
                message=f"{module} was compiled against {built}, but the InfiniBand modules are those of {loaded}",
                path=("fabric", "peermem", "built_against"),
                label=f"must be {loaded}",
                source="https://github.com/NVIDIA/gpu-operator/issues/2868",
                checked="2026-11-26",
                hints=("install the driver again now that the OFED is there, or use DMA-BUF instead of the module",),
            )
    elif _family(running) == "inbox" and peer.module is not None:
        patched = (situation.text("os") or "").startswith("ubuntu")
        yield Finding(
            severity=Severity.WARNING if patched else None,
            message=f"{module} does not load without an OFED: the kernel's own `ib_core` has no place to register",
            path=("fabric", "ofed") if fabric.ofed else ("fabric", "ib_core"),
            label="needs MLNX_OFED or DOCA-OFED",
            why=("Ubuntu's kernels carry the registration as a patch of their own",) if patched else (),
            source="https://docs.nvidia.com/datacenter/cloud-native/gpu-operator/latest/gpu-operator-rdma.html",
            checked="2026-11-26",
            hints=("use DMA-BUF: open kernel modules and a kernel of 5.12 or newer",),
        )


def _peermem_kernel(situation: Situation) -> Iterator[Finding]:
    """A module for peer access fits the kernel that it was compiled for, as the InfiniBand modules beside it do, and no other.

    After an update of the kernel both have to be compiled anew: the kernel compares the versions of their symbols and refuses them
    ("disagrees about version of symbol").
    """
    peer, kernel = situation.seen.fabric.peermem, situation.seen.platform.kernel
    built = peer.built_against or ""
    if kernel is None or stated(peer.loaded) is True or KERNEL.match(built) is None or same_kernel(built, kernel) is not False:
        return
    yield Finding(
        message=f"{peer.module or 'the module for peer access'} was compiled for kernel {built}, the machine runs {kernel}",
        path=("fabric", "peermem", "built_against"),
        label=f"needs {kernel}",
        also=((("platform", "kernel"), "the kernel"),),
        hints=(f"compile the OFED's modules and it for {kernel}, or boot {built}",),
    )


def _legacy(situation: Situation) -> Iterator[Finding]:
    """nv_peer_mem is the module of drivers before R470, which bring their own nvidia-peermem.

    Its last release is older than the year-numbered OFEDs (23.04 and newer) and DOCA-OFED, under which it no longer loads.
    """
    fabric = situation.seen.fabric
    module, driver, ofed = (fabric.peermem.module or "").replace("-", "_"), _driver(situation), fabric.ofed or ""
    branch = re.match(r"\d+", driver or "")
    if module not in ("nv_peer_mem", "nv_peer_memory") or branch is None or int(branch[0]) < 470:
        return
    loaded, release = stated(fabric.peermem.loaded), _release(ofed)
    newer = _family(ofed) == "doca" or (release is not None and int(release.split(".")[0]) >= 23)
    yield Finding(
        severity=None if loaded is not True and (newer or loaded is False) else Severity.WARNING,
        message=f"nv_peer_mem is superseded: driver {driver} brings nvidia-peermem",
        path=("fabric", "peermem", "module"),
        label="use nvidia-peermem",
        also=((("fabric", "ofed"), "newer than the last nv_peer_mem"),) if newer else (),
        hints=("remove nvidia-peer-memory-dkms and load nvidia-peermem",),
    )


TOPICS = ("fabric",)

RULES = (
    code_rule(_missing, "FB101", "fabric-manager-missing", "stack", of="snapshot", topics=TOPICS, source=(GUIDE,), checked="2026-11-22"),
    code_rule(
        _unavailable,
        "FB102",
        "fabric-manager-unavailable",
        "stack",
        of="snapshot",
        topics=("fabric", "package-arch"),
        source=("https://github.com/siderolabs/pkgs/issues/720",),
        checked="2026-11-26",
    ),
    code_rule(
        _same_release, "FB103", "fabric-manager-release", "stack", of="snapshot", topics=TOPICS, source=(GUIDE,), checked="2026-11-22"
    ),
    code_rule(
        _management,
        "FB104",
        "nvlink5-management",
        "stack",
        of="snapshot",
        topics=TOPICS,
        source=(
            "https://github.com/NVIDIA/gpu-operator/issues/2781",
            GUIDE,
        ),
        checked="2026-11-26",
    ),
    code_rule(
        _rack,
        "FB105",
        "rack-imex",
        "stack",
        of="snapshot",
        topics=TOPICS,
        source=(
            "https://docs.nvidia.com/dgx/dgxgb300nvl72-release-notes/package-contents.html",
            "https://docs.nvidia.com/multi-node-nvlink-systems/imex-guide",
        ),
        checked="2026-11-26",
    ),
    code_rule(
        _needless,
        "FB106",
        "fabric-manager-needless",
        "stack",
        of="snapshot",
        severity=Severity.WARNING,
        topics=TOPICS,
        source=("https://github.com/NVIDIA/gpu-operator/issues/610",),
        checked="2026-11-26",
    ),
    code_rule(
        _two_cores,
        "PM101",
        "two-ib-cores",
        "stack",
        of="snapshot",
        topics=("peermem-or-ofed", "fabric"),
        source=("https://docs.nvidia.com/cuda/archive/13.2.2/cuda-toolkit-release-notes/index.html",),
        checked="2026-11-22",
    ),
    code_rule(
        _peermem,
        "PM102",
        "peermem-ib-core",
        "stack",
        of="snapshot",
        topics=("peermem-or-ofed",),
        source=(
            "https://github.com/NVIDIA/gpu-operator/issues/2868",
            "https://docs.nvidia.com/datacenter/cloud-native/gpu-operator/latest/gpu-operator-rdma.html",
        ),
        checked="2026-11-26",
    ),
    code_rule(
        _peermem_kernel,
        "PM104",
        "peermem-kernel",
        "stack",
        of="snapshot",
        topics=("peermem-or-ofed", "module-built-for-other-kernel"),
        source=("https://github.com/Mellanox/nv_peer_memory/issues/39",),
        checked="2026-11-26",
    ),
    code_rule(
        _legacy,
        "PM103",
        "peermem-legacy",
        "stack",
        of="snapshot",
        topics=("peermem-or-ofed",),
        source=("https://github.com/Mellanox/nv_peer_memory",),
        checked="2026-11-26",
    ),
)
