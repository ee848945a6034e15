"""From a snapshot to the situation that the rules judge: its keys as components, with the catalog's facts about them.

Every value of a snapshot is a component under its dotted path (`fabric.manager.state`), so that data rules can ask for it. Those that a
stack has too are there under the stack's names: `driver`, `kernel`, `compute-capability`, …
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from aistack.compose.rules.situation import Part, Path, Situation, Value
from aistack.facts.architecture import ARCHITECTURES, architecture_named
from aistack.facts.catalog import Accelerator, Catalog, Component, Framework, Release, System
from aistack.facts.snapshot import SeenFramework, SeenImage, Snapshot
from aistack.facts.version import Scheme, VersionFormatError, key

BRANDS = {"data-centre": "datacenter", "workstation": "workstation", "consumer": "consumer", "embedded": "embedded"}
"""By a product's kind: the brand that programs are told."""


def observe(snapshot: Snapshot, catalog: Catalog, today: str) -> Situation:
    """What the rules see of a snapshot on the day `today` (`2026-11-22`)."""
    product = accelerator(snapshot, catalog)
    system = catalog.distribution(snapshot.platform.os) if snapshot.platform.os else None
    values = {**dict(_leaves(snapshot, ())), **_values(snapshot, product, system), **_concluded(snapshot, product, system)}
    situation = Situation(catalog=catalog, today=today, snapshot=snapshot, os=None, system=system, accelerator=product, values=values)
    return replace(situation, parts=(_part(snapshot, catalog, values),))


def accelerator(snapshot: Snapshot, catalog: Catalog) -> Accelerator | None:
    """The product; of a less exact name, or where only its architecture is known, what all products that it may be have in common."""
    seen = snapshot.accelerator
    found = catalog.accelerator(seen.product) if seen.product else None
    if found is None:
        target = seen.arch or ""
        candidates: Sequence[Accelerator] = catalog.family(seen.product) if seen.product else ()
        candidates = candidates or [product for product in catalog.accelerators.values() if target and target in targets(product)]
        if not candidates:
            return None
        found = _common(candidates, seen.product or target)
    if seen.memory_gib is not None and (found.memory_gib is None or abs(found.memory_gib - seen.memory_gib) >= 1):
        found = replace(found, memory_gib=int(seen.memory_gib), memory_bytes=None)
    interconnect = seen.interconnect if seen.interconnect in ("none", "pcie", "nvlink-bridge", "nvswitch", "nvl72") else None
    return replace(found, interconnect=interconnect or found.interconnect)  # type: ignore[arg-type]  # one of the words, just compared


def targets(product: Accelerator) -> tuple[str, ...]:
    """What compilers call the product's architecture: `sm_90`, `gfx942`, `gaudi3`."""
    found = [product.target] if product.target else []
    if product.compute_capability:
        found.append("sm_" + product.compute_capability.replace(".", ""))
    return tuple(found)


def _common(products: Sequence[Accelerator], name: str) -> Accelerator:
    first, *others = products
    known = {
        field.name: value
        for field in dataclasses.fields(first)
        if field.name not in ("id", "name", "aliases", "pci_ids", "source", "checked", "recalled")
        and all(getattr(other, field.name) == (value := getattr(first, field.name)) for other in (first, *others))
    }
    recalled = tuple(sorted({word for product in products for word in product.recalled}))
    drivers = [product.driver_minimum for product in products if product.driver_minimum is not None]
    if len(drivers) == len(products):  # an older driver knows none of them
        known["driver_minimum"] = min(drivers, key=lambda driver: key(driver, Scheme.RELEASE))
    missing = {"vendor": first.vendor, "kind": ""}
    return Accelerator(id=name, name=name, source=first.source, checked=first.checked, recalled=recalled, **{**missing, **known})


def capability(target: str | None) -> str | None:
    """`9.0` of `sm_90`, `12.1` of `sm_121`; None for other vendors' names."""
    found = re.fullmatch(r"sm_?(\d{1,2})(\d)[a-z]?", target or "")
    return f"{found[1]}.{found[2]}" if found else None


def vendor(snapshot: Snapshot) -> str | None:
    """Whose accelerator and driver these are, by what only that vendor has; None where nothing tells."""
    seen, module = snapshot.accelerator, snapshot.driver.module.name or ""
    signs = {
        "amd": (snapshot.toolkit.rocm, snapshot.image.rocm, module.startswith("amdgpu"), (seen.arch or "").startswith("gfx")),
        "intel": (snapshot.toolkit.gaudi, snapshot.image.gaudi, module.startswith("habana"), (seen.arch or "").startswith("gaudi")),
        "nvidia": (snapshot.toolkit.cuda, snapshot.image.cuda, module.startswith("nvidia"), (seen.arch or "").startswith("sm_")),
    }
    named = (seen.product or "").partition("/")[0]
    found = [name for name, told in signs.items() if name == named or (not named and any(told))]
    return found[0] if len(found) == 1 else named or None


def _leaves(value: Any, path: Path) -> Iterator[tuple[str, Value]]:
    """Every single value below, by its dotted path."""
    kind: Any = type(value)
    if hasattr(kind, "__dataclass_fields__"):
        below: Iterable[tuple[str, Any]] = ((name, getattr(value, name)) for name in _names(kind))
    elif isinstance(value, Mapping):
        below = value.items()
    else:
        if not isinstance(value, tuple):
            text = str(value).lower() if isinstance(value, bool) else str(value)
            yield ".".join(str(part) for part in path), Value(text=text, path=path)
        return
    for name, inner in below:
        if inner is not None:
            yield from _leaves(inner, (*path, name))


@functools.cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


def _concluded(snapshot: Snapshot, product: Accelerator | None, system: System | None) -> dict[str, Value]:
    """What a snapshot does not say but the catalog's facts about the product and the system do."""
    platform, found = snapshot.platform, dict[str, Value]()
    if platform.arch is None and product is not None and product.host is not None:
        found["arch"] = Value(text=product.host, path=("accelerator", "product"), because=f"{product.name} has an {product.host} processor")
    if platform.arch is None and (named := architecture_named(platform.kernel or "")) is not None:
        found["arch"] = Value(text=named, path=("platform", "kernel"), because=f"the kernel is {platform.kernel}")
    if product is not None and product.interconnect is not None and snapshot.accelerator.interconnect is None:
        unsure = "interconnect" in product.recalled
        found["interconnect"] = Value(text=product.interconnect, path=("accelerator", "product"), assumed=unsure)
    if system is not None and system.glibc is not None and platform.glibc is None and snapshot.image == SeenImage():
        told = f"{system.name} has glibc {system.glibc}"
        found["glibc"] = Value(text=system.glibc, path=("platform", "os"), because=told, assumed=True)
    return found


def _values(snapshot: Snapshot, product: Accelerator | None, system: System | None) -> dict[str, Value]:
    seen, platform, driver = snapshot.accelerator, snapshot.platform, snapshot.driver
    at: Path = ("accelerator", "product") if seen.product else ("accelerator", "arch")
    whose = product.vendor if product else vendor(snapshot)
    arch = ARCHITECTURES.get(platform.arch or "", platform.arch)
    kind = BRANDS.get(product.kind) if product else None
    kernel, module = platform.kernel, driver.module
    link = seen.nvlink_generation or (product.nvlink if product else None)
    found: list[tuple[str, str | None, Path]] = [
        ("accelerator", product.id if product else seen.product, at),
        ("vendor", whose, at),
        ("architecture", product.architecture if product else None, at),
        ("compute-capability", capability(seen.arch) or (product.compute_capability if product else None), at),
        ("gfx", seen.arch if (seen.arch or "").startswith("gfx") else product.target if product and whose == "amd" else None, at),
        ("interconnect", seen.interconnect, ("accelerator", "interconnect")),
        ("brand", seen.brand or kind, ("accelerator", "brand") if seen.brand else at),
        ("accelerator-count", str(seen.count) if seen.count else None, ("accelerator", "count")),
        ("nvlink-generation", str(link) if link else None, ("accelerator", "nvlink_generation") if seen.nvlink_generation else at),
        ("os", platform.os, ("platform", "os")),
        ("os-family", system.family if system else None, ("platform", "os")),
        ("os-release", system.id if system else None, ("platform", "os")),
        ("arch", arch, ("platform", "arch")),
        ("kernel", kernel, ("platform", "kernel")),
        ("kernel-flavor", platform.kernel_flavor, ("platform", "kernel_flavor")),
        ("kernel-realtime", _config(snapshot, "CONFIG_PREEMPT_RT"), ("platform", "kernel_config", "CONFIG_PREEMPT_RT")),
        ("kernel-drm", _config(snapshot, "CONFIG_DRM"), ("platform", "kernel_config", "CONFIG_DRM")),
        ("glibc", platform.glibc if snapshot.image == SeenImage() else None, ("platform", "glibc")),
        ("rocm", snapshot.toolkit.rocm or snapshot.image.rocm, ("toolkit", "rocm") if snapshot.toolkit.rocm else ("image", "rocm")),
        ("gaudi", snapshot.toolkit.gaudi, ("toolkit", "gaudi")),
    ]
    ours = module.name is None or module.name.startswith("nvidia")
    if ours and whose in ("nvidia", None):
        user = driver.version is not None
        found.append(("driver", driver.version or module.version, ("driver", "version") if user else ("driver", "module", "version")))
        flavor = module.flavor if module.flavor in ("open", "proprietary") else None
        found.append(("driver-flavor", flavor, ("driver", "module", "flavor")))
    elif whose == "amd":
        found.append(("amdgpu", module.version, ("driver", "module", "version")))
    return {name: Value(text=text, path=path, series=_series(name, text)) for name, text, path in found if text is not None}


def _series(name: str, text: str) -> bool:
    """Whether a version is only the beginning of one: a driver always has a minor number, a kernel a third."""
    return re.fullmatch({"driver": r"\d+", "kernel": r"\d+\.\d+", "rocm": r"\d+\.\d+"}.get(name, r"(?!)"), text) is not None


def _config(snapshot: Snapshot, option: str) -> str | None:
    """`true` or `false` of a kernel's option, None where it is not known."""
    value = (snapshot.platform.kernel_config or {}).get(option)
    return None if value is None else str(value in ("y", "m")).lower()


# Programs.


def seen_frameworks(snapshot: Snapshot) -> dict[str, SeenFramework]:
    """The snapshot's frameworks, one that is only a version included."""
    return {name: SeenFramework(version=seen) if isinstance(seen, str) else seen for name, seen in snapshot.frameworks.items()}


def cuda_of_build(build: str | None) -> str | None:
    """`12.8` of `cu128`, `12` of `cu12torch2.7`; None where a build does not say."""
    found = re.match(r"\+?cu(\d{2})(\d)?(?!\d)", build or "")
    return f"{found[1]}.{found[2]}" if found and found[2] else found[1] if found else None


def _part(snapshot: Snapshot, catalog: Catalog, node: Mapping[str, Value]) -> Part:
    seen = seen_frameworks(snapshot)
    framework = next((catalog.frameworks[name] for name in seen if name in catalog.frameworks), None)
    values: dict[str, Value] = {}
    pulled: dict[str, Release | None] = {}
    for name, one in seen.items():
        path: Path = ("frameworks", name, "version") if one.version else ("frameworks", name)
        if not one.version:
            continue
        values[name] = Value(text=one.version, path=path, because=f"{name} {one.version}")
        owner = catalog.components.get(name)
        if owner is not None:
            pulled[name] = _with_build(_release(owner, one.version), one)
    release = None
    if framework is not None and (version := seen[framework.id].version):
        release = _release(framework, version)
        for name, wanted in release.needs.items():
            owner = catalog.components.get(name)
            exact = re.fullmatch(r"(?:==)?([0-9][0-9A-Za-z.+]*)", wanted)
            if owner is not None and exact and name not in seen and _is_plain(seen[framework.id].build):
                because = f"{framework.id} {version} needs {name} {exact[1]}"
                values[name] = Value(text=exact[1], path=("frameworks", framework.id, "version"), because=because)
                pulled[name] = _with_build(_release(owner, exact[1]), seen[framework.id])
    cuda = _cuda(snapshot, seen, values, pulled)
    if cuda is not None:
        values["cuda"] = cuda
    settings = (
        ("context", snapshot.model.max_model_len, "max_model_len"),
        ("tensor-parallel", snapshot.model.tensor_parallel, "tensor_parallel"),
        ("memory-fraction", snapshot.model.gpu_memory_utilization, "gpu_memory_utilization"),
    )
    values |= {name: Value(text=str(number), path=("model", own)) for name, number, own in settings if number is not None}
    served = snapshot.model.id
    models = ((served, catalog.model(served)),) if served else ()
    paths: tuple[Path, ...] = (("model", "id"),) if served else ()
    return Part(name="", framework=framework, root=None, models=models, model_paths=paths, values=values, release=release, pulled=pulled)


def _is_plain(build: str | None) -> bool:
    """Whether a build is one of those that the project publishes for NVIDIA's accelerators."""
    return build is None or build.startswith("cu")


def _release(owner: Framework | Component, version: str) -> Release:
    """The catalog's release of that version; one of which nothing else is known where the catalog has none."""
    public = version.partition("+")[0]
    for release in owner.releases:
        try:
            if key(release.version, owner.versions) == key(public, owner.versions):
                return release
        except VersionFormatError:
            continue
    return Release(version=version)


def _with_build(release: Release, seen: SeenFramework) -> Release:
    """The release as it was really built: what the report says outweighs what the catalog knows of the usual build."""
    if isinstance(seen.arch_list, tuple):
        said = tuple(found + ("+PTX" if "PTX" in word else "") for word in seen.arch_list if (found := _numbers(word)))
        return replace(release, architectures=said)
    local = (seen.build or (seen.version or "").partition("+")[2]).strip()
    cuda = cuda_of_build(local)
    if not local or (cuda and cuda == release.brings.get("cuda")):
        return release
    return replace(release, architectures=release.builds.get(local, ()), brings={"cuda": cuda} if cuda else {})


def _numbers(word: str) -> str | None:
    found = re.match(r"(?:sm_|compute_)?(\d+)\.?(\d)[a-z]?(?:\b|\+|$)", word)
    return f"{found[1]}.{found[2]}" if found else None


def _cuda(
    snapshot: Snapshot, seen: Mapping[str, SeenFramework], values: Mapping[str, Value], pulled: Mapping[str, Release | None]
) -> Value | None:
    """The CUDA that the programs were built with: what their build says, else the image's, else the toolkit's, else the usual wheel's."""
    for name, one in seen.items():
        found = cuda_of_build(one.build or (one.version or "").partition("+")[2])
        if found:
            path: Path = ("frameworks", name, "build") if one.build else ("frameworks", name, "version")
            return Value(text=found, path=path, because=f"{name} is built for CUDA {found}", series="." not in found)
    if any(one.build for one in seen.values()):
        return None  # built for something else than CUDA
    for text, path in ((snapshot.image.cuda, ("image", "cuda")), (snapshot.toolkit.cuda, ("toolkit", "cuda"))):
        if text:
            return Value(text=text, path=path)
    torch = pulled.get("torch")
    if torch is None or "cuda" not in torch.brings or vendor(snapshot) not in ("nvidia", None):
        return None
    told = values["torch"].because
    because = f"{told}, whose wheel on PyPI carries CUDA {torch.brings['cuda']}"
    return Value(text=torch.brings["cuda"], path=values["torch"].path, because=because, assumed=True)
