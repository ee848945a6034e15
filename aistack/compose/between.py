"""What lies between the driver and the programs, concluded from a snapshot: components that rules ask for beside those that it names.

| component | what it says |
| --- | --- |
| `driver-branch` | the first number of the driver's version |
| `forward-compat` | `true` where an image brings driver libraries of a newer branch than the machine's driver |
| `runtime.NAME` | the version of a part of the runtime, also where more than its version is told |
| `torch-rocm` | the ROCm that torch was built with |
| `compiled-oldest`, `compiled-newest` | the least and the highest compute capability for which a program is compiled with the toolkit |
| `environment-cuda` | the CUDA whose libraries programs find that bring none along |
| `gaudi` | the release of Gaudi's software, also where only a part of it is told |
| `amd-driver` | AMD's kernel driver: its version, or the ROCm release that it came with |
| `runtime.cdi.spec_version` | where it is not said: the least version that has the fields which the specification uses |
| `gaudi-firmware` | the firmware's own number: `53.1.1.1` of `hl-1.18.0-fw-53.1.1.1`; not the release of the software that it came with |
| `cdi-engine`, `cdi-engine-version` | what gives containers their devices: `podman`, `docker`, `cri-o`, else `containerd` |
| `cdi-devices` | `true` where a container asks that engine for devices of a CDI specification, without NVIDIA's runtime in between |
| `cdi-switch` | beside `cdi-devices`: `on` or `off` where it is known whether the engine is told to read such specifications |
| `amd-os` | the system in the words of AMD's matrices: `ubuntu-22.04`, `rhel-9.4`, `sles-15.6` |
| `rhel-release` | the point release of RHEL, or the one that a rebuild is of: `8.4` of `centos-8.4.2105` |
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from aistack.compose import requirement
from aistack.compose.rules.data import fits
from aistack.compose.rules.situation import Path, Value
from aistack.facts import cdi as specification
from aistack.facts.capability import normal
from aistack.facts.catalog import Catalog
from aistack.facts.snapshot import SeenPart, Snapshot, listed, seen_frameworks, stated
from aistack.facts.version import Scheme, key

COMPONENTS = frozenset(
    {
        "driver-branch",
        "forward-compat",
        "torch-rocm",
        "compiled-oldest",
        "compiled-newest",
        "environment-cuda",
        "amd-driver",
        "amd-os",
        "rhel-release",
        "gaudi-firmware",
        "cdi-engine",
        "cdi-engine-version",
        "cdi-devices",
        "cdi-switch",
    }
)
"""The components that have no key of their own in a snapshot."""

BRINGING = re.compile(r"torch|pytorch|jax|nvidia-|vllm|sglang|cupy|conda|cuda-")
"""How the names of programs begin that bring CUDA's libraries along, which others in their environment find too."""

GAUDI_RELEASE = re.compile(r"1\.\d+(\.\d+)*$")
"""What the releases of Gaudi's software look like; the numbers of its firmware begin far above."""

GAUDI_PROGRAMS = "habana"
"""How the names of programs begin that are parts of Gaudi's software, and have the number of its release."""

AMD_SYSTEMS = {"ubuntu": 2, "debian": 1, "rhel": 2, "sles": 2, "ol": 1, "oracle": 1, "oraclelinux": 1, "azurelinux": 2}
"""The systems that AMD's matrices name, and how many numbers of their version count there."""

REBUILDS = re.compile(r"(?:rhel|centos|rocky|almalinux|ol|oraclelinux)-(\d+\.\d+)")
"""RHEL and the systems that are built from its sources, with their point release."""


def node_values(snapshot: Snapshot, driver: Value | None) -> dict[str, Value]:
    """The components of the node; `driver` is the machine's driver."""
    found = _runtime(snapshot)
    found |= _cdi(snapshot, found)
    branch = _branch(driver)
    if driver is not None and branch is not None:
        found["driver-branch"] = Value(text=str(branch), path=driver.path)
        compat = re.match(r"\d+", snapshot.image.cuda_compat or "")
        if compat:
            newer = int(compat[0]) > branch
            found["forward-compat"] = Value(text=str(newer).lower(), path=("image", "cuda_compat"))
    kernel_driver = _amd_driver(snapshot)
    if kernel_driver is not None:
        found["amd-driver"] = kernel_driver
    spi = snapshot.driver.firmware.spi
    if spi is not None and not GAUDI_RELEASE.match(spi):
        found["gaudi-firmware"] = Value(text=spi.rpartition("fw-")[2], path=("driver", "firmware", "spi"))
    system = amd_system(snapshot.platform.os or "")
    if system is not None:
        found["amd-os"] = Value(text=system, path=("platform", "os"))
    rebuilt = REBUILDS.match(snapshot.platform.os or "")
    if rebuilt is not None:
        found["rhel-release"] = Value(text=rebuilt[1], path=("platform", "os"))
    return found


def program_values(snapshot: Snapshot, catalog: Catalog, node: Mapping[str, Value]) -> dict[str, Value]:
    """The components of the programs: the driver whose libraries they load where that is not the machine's own, and torch's ROCm."""
    found: dict[str, Value] = {}
    libraries = _libraries(snapshot, catalog, node)
    if libraries is not None:
        found["driver"] = libraries
    torch = snapshot.frameworks.get("torch")
    build, version = ("", torch) if isinstance(torch, str) else (torch.build or "", torch.version or "") if torch else ("", "")
    rocm = re.search(r"(?:^|\+)rocm(\d+(?:\.\d+)+)", build) or re.search(r"\+rocm(\d+(?:\.\d+)+)", version)
    if rocm:
        path: Path = ("frameworks", "torch", "build") if build else ("frameworks", "torch", "version")
        found["torch-rocm"] = Value(text=rocm[1], path=path, because=f"torch is built for ROCm {rocm[1]}")
    if snapshot.image.gaudi is None and snapshot.toolkit.gaudi is None:
        for name, seen in seen_frameworks(snapshot).items():
            if name.lower().startswith(GAUDI_PROGRAMS) and seen.version is not None:
                found["gaudi"] = Value(text=seen.version, path=("frameworks", name), because=f"this is {name} {seen.version}")
    environment = _environment_cuda(snapshot)
    if environment is not None:
        found["environment-cuda"] = environment
    return found | _compiled_here(snapshot, catalog)


def _compiled_here(snapshot: Snapshot, catalog: Catalog) -> dict[str, Value]:
    """Of a program that no project publishes compiled, as far as is known: for what the toolkit compiles it."""
    for name, seen in seen_frameworks(snapshot).items():
        plain = name.lower().replace("_", "-")
        asked = {built.partition("+")[0].rstrip("af") for word in listed(seen.arch_list) or () if (built := normal(word))}
        if asked and not seen.build and not catalog.framework(plain) and not catalog.component(plain) and plain not in catalog.wheels:
            ranked = sorted(asked, key=lambda text: key(text, Scheme.RELEASE))
            told = f"{name} is compiled for {', '.join(listed(seen.arch_list) or ())}"
            ends = {"compiled-oldest": ranked[0], "compiled-newest": ranked[-1]}
            return {end: Value(text=text, path=("frameworks", name, "arch_list"), because=told) for end, text in ends.items()}
    return {}


def _environment_cuda(snapshot: Snapshot) -> Value | None:
    """The CUDA whose libraries programs find that bring none: the image's or the machine's; None where another program brings its own."""
    if any(BRINGING.match(name.lower().replace("_", "-")) for name in snapshot.frameworks):
        return None
    sources: tuple[tuple[str | None, Path], ...] = ((snapshot.image.cuda, ("image", "cuda")), (snapshot.toolkit.cuda, ("toolkit", "cuda")))
    return next((Value(text=text, path=path, series="." not in text) for text, path in sources if text), None)


def amd_system(os: str) -> str | None:
    """`ubuntu-22.04` of `ubuntu-22.04.5`, `sles-15.6` of `sles-15-sp6`; None for systems that AMD's matrices do not name."""
    found = re.fullmatch(r"([a-z]+)-?(\d[\d.]*)(?:[.-]?sp(\d+))?", os.lower())
    if found is None or found[1] not in AMD_SYSTEMS:
        return None
    numbers = [*found[2].strip(".").split("."), *([found[3]] if found[3] else [])][: AMD_SYSTEMS[found[1]]]
    if len(numbers) < AMD_SYSTEMS[found[1]]:
        return None
    return f"{'ol' if found[1].startswith('o') else found[1]}-{'.'.join(numbers)}"


def _amd_driver(snapshot: Snapshot) -> Value | None:
    module, release = snapshot.driver.module, snapshot.toolkit.kmd
    if (module.name or "").startswith("amdgpu") and module.version is not None:
        return Value(text=module.version, path=("driver", "module", "version"))
    return Value(text=f"of ROCm {release}", path=("toolkit", "kmd")) if release is not None else None


def _branch(driver: Value | None) -> int | None:
    found = re.match(r"\d+", (driver.text if driver else None) or "")
    return int(found[0]) if found else None


def _runtime(snapshot: Snapshot) -> dict[str, Value]:
    found: dict[str, Value] = {}
    for name, part in snapshot.runtime.items():
        version = part.version if isinstance(part, SeenPart) else part
        if version is not None:
            path: Path = ("runtime", name, "version") if isinstance(part, SeenPart) else ("runtime", name)
            text = version.removeprefix("v")
            found[f"runtime.{name}"] = Value(text=text, path=path, series=re.fullmatch(r"\d+(\.\d+)?", text) is not None)
    return found


def _cdi(snapshot: Snapshot, runtime: Mapping[str, Value]) -> dict[str, Value]:
    engines = {"podman": "podman", "docker": "docker", "crio": "cri-o", "containerd": "containerd"}
    engine = next((key for key in engines if key in snapshot.runtime), None)
    found = {"cdi-engine": Value(text=engines[engine], path=("runtime", engine))} if engine else {}
    if f"runtime.{engine}" in runtime:
        found["cdi-engine-version"] = runtime[f"runtime.{engine}"]
    cdi = snapshot.runtime.get("cdi")
    used = specification.newest(listed(cdi.fields) or ()) if isinstance(cdi, SeenPart) and cdi.spec_version is None else None
    if used is not None:
        told = f"the CDI specification uses `{used[0]}`, which came with {used[1]}"
        found["runtime.cdi.spec_version"] = Value(text=used[1], path=("runtime", "cdi", "fields"), because=told)
    if isinstance(cdi, SeenPart) and cdi.requested and cdi.mode not in ("cdi", "jit-cdi"):
        found["cdi-devices"] = Value(text="true", path=("runtime", "cdi", "requested"))
        on = stated({"active": "on", "inactive": "off"}.get(cdi.state or "", cdi.state))
        where: Path = ("runtime", "cdi", "state") if cdi.state else ("runtime", engine or "cdi")
        found["cdi-switch"] = Value(text=None if on is None else "on" if on else "off", path=where)
    return found


def _libraries(snapshot: Snapshot, catalog: Catalog, node: Mapping[str, Value]) -> Value | None:
    """The driver libraries that an image brings, where programs load those instead of the machine's."""
    image, newer = snapshot.image, node.get("forward-compat")
    if image.cuda_compat is not None and newer is not None and newer.text == "true":
        if newer.assumed and _refused(node, catalog):
            return None  # with them or without them: what the machine's own driver cannot do, nothing can
        told = f"the image brings the driver libraries {image.cuda_compat}"
        at: Path = ("image", "cuda_compat")
        return _of_branch(image.cuda_compat, catalog, at, told) or Value(text=image.cuda_compat, path=at, because=told)
    if image.requires is None or image.cuda is None or image.cuda_compat is not None:
        return None
    text = {name: value.text for name, value in node.items()}
    groups = requirement.parse(image.requires)
    asked = requirement.machine(
        catalog.branches,
        driver=text.get("driver"),
        brand=text.get("brand"),
        architecture=text.get("architecture"),
        capability=text.get("compute-capability"),
    )
    plain = [group for group in groups if all(condition.name != "brand" for condition in group)]
    if requirement.satisfied(groups, asked) and (not plain or requirement.satisfied(plain, asked) is False):
        branch = requirement.first_branch(image.cuda, catalog.branches)
        told = "the image allows this driver's branch, for which such images bring newer driver libraries"
        return _of_branch(branch, catalog, ("image", "requires"), told)
    return None


def _refused(node: Mapping[str, Value], catalog: Catalog) -> bool:
    """Whether a rule says for sure that newer driver libraries of an image do not run on this machine."""
    cases = (case for rule in catalog.rules.values() if rule.severity == "error" for case in rule.cases if "forward-compat" in case.when)

    def fit(wanted: Mapping[str, str | tuple[str, ...]]) -> list[bool | None]:
        return [fits(node.get(name), asked, catalog.scheme(name)) for name, asked in wanted.items()]

    return any(all(fit(case.when)) and False in fit(case.needs) for case in cases)


def _of_branch(branch: str | None, catalog: Catalog, path: Path, told: str) -> Value | None:
    """Driver libraries of which only the branch is known: its newest, which its package has at any time; None where it is no branch."""
    known = catalog.branches.get(branch or "")
    if known is None:
        return None
    return Value(text=known.newest or known.id, path=path, because=told, series=known.newest is None, assumed=True)
