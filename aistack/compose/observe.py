"""From a snapshot to the situation that the rules judge: its keys as components, with the catalog's facts about them.

Every value of a snapshot is a component under its dotted path (`fabric.manager.state`), so that data rules can ask for it. Those that a
stack has too are there under the stack's names: `driver`, `kernel`, `compute-capability`, … The C library is the machine's, so where an
image is spoken of it is not that of the programs, and only known under its path. A distribution keeps its own as long as it lives.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from aistack.compose import programs
from aistack.compose.between import GAUDI_PROGRAMS, node_values, program_values
from aistack.compose.building import build_values
from aistack.compose.referred import AT, Referred, refer
from aistack.compose.rules.situation import Part, Path, Situation, Value
from aistack.facts.alike import common
from aistack.facts.architecture import ARCHITECTURES, architecture_named
from aistack.facts.capability import capability
from aistack.facts.catalog import GIB, Accelerator, Catalog, targets
from aistack.facts.snapshot import SeenImage, Snapshot
from aistack.facts.systems import System
from aistack.facts.version import Scheme, key

BRANDS = {"data-centre": "datacenter", "workstation": "workstation", "consumer": "consumer", "embedded": "embedded"}
"""By a product's kind: the brand that programs are told."""

CHIP = ("architecture", "compute-capability", "target", "open-modules")
"""What a product has from its chip."""

READ = 0.9
"""From this part of the marketed memory on a smaller size is what was read on the machine, not that of another variant."""


DRIVER = re.compile(r"[2-9]\d\d(\.\d+)*$")
"""What the versions of NVIDIA's drivers look like, and those of no other."""


def observe(snapshot: Snapshot, catalog: Catalog, today: str) -> Situation:
    """What the rules see of a snapshot on the day `today` (`2026-11-22`)."""
    referred = refer(snapshot, catalog)
    snapshot = referred.snapshot
    product = accelerator(snapshot, catalog)
    system = catalog.distribution(snapshot.platform.os) if snapshot.platform.os else None
    values = {**dict(_leaves(snapshot, ())), **_values(snapshot, product, system), **_concluded(snapshot, product, system)}
    if product is None and _unheard_of(values.get("compute-capability"), catalog):
        del values["compute-capability"]
    values |= build_values(snapshot, catalog, values)
    values = referred.marked(values)
    values |= referred.marked(node_values(snapshot, values.get("driver")))
    return Situation(
        catalog=catalog,
        today=today,
        snapshot=snapshot,
        referred=referred.facts,
        os=None,
        system=system,
        accelerator=product,
        values=values,
        parts=(observed_programs(referred, catalog, values),),
    )


def observed_programs(referred: Referred, catalog: Catalog, node: Mapping[str, Value]) -> Part:
    """What the rules see of a snapshot's programs, and of its image's reference; `node` are the values of its machine."""
    snapshot = referred.snapshot
    part = programs.part(snapshot, catalog, vendor(snapshot), node)
    inside = {**part.values, **program_values(snapshot, catalog, node), **_library(referred, catalog)}
    return replace(part, values=referred.marked(inside))


def _unheard_of(capability: Value | None, catalog: Catalog) -> bool:
    """Whether a compute capability is higher than that of any product: no rule was made with it in mind."""
    if capability is None or capability.text is None:
        return False
    known = (product.compute_capability for product in catalog.accelerators.values())
    newest = max((key(text, Scheme.RELEASE) for text in known if text is not None), default=())
    return bool(key(capability.text, Scheme.RELEASE) > newest)


def _library(referred: Referred, catalog: Catalog) -> dict[str, Value]:
    """The C library of the programs, where the image's reference names its system."""
    system = catalog.distribution(referred.os.text) if referred.os else None
    if referred.os is None or system is None or system.glibc is None:
        return {}
    told = f"{referred.os.because}, and {system.name} has glibc {system.glibc}"
    return {"glibc": Value(text=system.glibc, path=AT, because=told, assumed=referred.os.assumed)}


def accelerator(snapshot: Snapshot, catalog: Catalog) -> Accelerator | None:
    """The product; of a less exact name, or where only its architecture is known, what all products that it may be have in common."""
    seen = snapshot.accelerator
    found = catalog.accelerator(seen.product) if seen.product else None
    if found is None:
        candidates: Sequence[Accelerator] = catalog.family(seen.product) if seen.product else ()
        found = common(candidates, seen.product or "") if candidates else _unlisted(snapshot, catalog)
    if found is None:
        return None
    if seen.memory_gib is not None and (found.memory_gib is None or abs(found.memory_gib - seen.memory_gib) >= 1):
        if found.memory_gib is not None and found.memory_gib * READ <= seen.memory_gib < found.memory_gib:
            found = replace(found, memory_bytes=int(seen.memory_gib * GIB))
        else:
            found = replace(found, memory_gib=int(seen.memory_gib), memory_bytes=None, ecc=None)
    interconnect = seen.interconnect if seen.interconnect in ("none", "pcie", "nvlink-bridge", "nvswitch", "nvl72") else None
    return replace(found, interconnect=interconnect or found.interconnect)  # type: ignore[arg-type]  # one of the words, just compared


def _unlisted(snapshot: Snapshot, catalog: Catalog) -> Accelerator | None:
    """What is known of a product that is not in the catalog, by its architecture or by a product whose name its own begins with.

    Of that product only what its chip decides is taken: a variant has other memory, and other drivers that know it first. It is
    `recalled`, as long as no architecture confirms it.
    """
    seen, target, family = snapshot.accelerator, snapshot.accelerator.arch or "", _plain(snapshot.accelerator.family)
    products = catalog.accelerators.values()
    named = catalog.namesake(seen.product) if seen.product else ()
    told = [
        product
        for product in products
        if (target or family) and target in ("", *targets(product)) and family in ("", _plain(product.architecture))
    ]
    both = [product for product in named if product in told]
    if (candidates := both or told or named) == ():
        return None
    shared = common(candidates, seen.product or target or family)
    if not named:
        return shared
    recalled = () if both else CHIP
    empty = Accelerator(id=shared.id, name=shared.name, vendor=shared.vendor, kind="", source=shared.source, checked=shared.checked)
    chip = {field: getattr(shared, field.replace("-", "_")) for field in CHIP}
    return replace(empty, recalled=recalled, **{field.replace("-", "_"): value for field, value in chip.items()})


def _plain(word: str | None) -> str:
    """An architecture's name as it is compared: `adalovelace` of `Ada Lovelace`, `ada-lovelace`."""
    return re.sub(r"[^a-z0-9]", "", (word or "").lower())


def vendor(snapshot: Snapshot) -> str | None:
    """Whose accelerator and driver these are, by what only that vendor has; None where nothing tells."""
    seen, module = snapshot.accelerator, snapshot.driver.module.name or ""
    plugin = any(name.lower().startswith(GAUDI_PROGRAMS) for name in snapshot.frameworks)
    signs = {
        "amd": (snapshot.toolkit.rocm, snapshot.image.rocm, module.startswith("amdgpu"), (seen.arch or "").startswith("gfx")),
        "intel": (snapshot.toolkit.gaudi, snapshot.image.gaudi, module.startswith("habana"), (seen.arch or "").startswith("gaudi"), plugin),
        "nvidia": (
            snapshot.toolkit.cuda,
            snapshot.image.cuda,
            module.startswith("nvidia"),
            (seen.arch or "").startswith("sm_"),
            not module and DRIVER.match(snapshot.driver.version or snapshot.driver.module.version or ""),
        ),
    }
    maker = next((name for name in signs if name in re.findall(r"[a-z]+", (seen.product or "").lower())), None)
    found = [name for name, told in signs.items() if name == maker or (maker is None and any(told))]
    return found[0] if len(found) == 1 else maker


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
        found["glibc"] = Value(text=system.glibc, path=("platform", "os"), because=told, assumed=_in_container(snapshot))
    return found


def _in_container(snapshot: Snapshot) -> bool:
    """Whether the programs may run in a container with a C library of its own: something of a container's runtime is spoken of."""
    return bool(
        {"container_toolkit", "podman", "docker", "containerd", "kubernetes", "gpu_operator", "cdi", "crio"} & set(snapshot.runtime)
    )


def _values(snapshot: Snapshot, product: Accelerator | None, system: System | None) -> dict[str, Value]:
    seen, platform, driver = snapshot.accelerator, snapshot.platform, snapshot.driver
    at: Path = ("accelerator", "product") if seen.product else ("accelerator", "arch")
    whose = product.vendor if product else vendor(snapshot)
    arch = ARCHITECTURES.get(platform.arch or "", platform.arch)
    kind = BRANDS.get(product.kind) if product else None
    kernel, module = platform.kernel, driver.module
    link = seen.nvlink_generation or (product.nvlink if product else None)
    compiled = module.built_for is not None and module.built_for == kernel  # then the compiler has found nothing in this kernel against it
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
        (
            "kernel-realtime",
            None if compiled else _config(snapshot, "CONFIG_PREEMPT_RT"),
            ("platform", "kernel_config", "CONFIG_PREEMPT_RT"),
        ),
        ("kernel-drm", None if compiled else _config(snapshot, "CONFIG_DRM"), ("platform", "kernel_config", "CONFIG_DRM")),
        ("glibc", platform.glibc if snapshot.image == SeenImage() else None, ("platform", "glibc")),
        ("rocm", snapshot.image.rocm or snapshot.toolkit.rocm, ("image", "rocm") if snapshot.image.rocm else ("toolkit", "rocm")),
        ("gaudi", snapshot.image.gaudi or snapshot.toolkit.gaudi, ("image", "gaudi") if snapshot.image.gaudi else ("toolkit", "gaudi")),
    ]
    ours = module.name is None or module.name.startswith("nvidia")
    if ours and whose in ("nvidia", None) and (seen.brand or kind) != "embedded":  # Jetson's driver has numbers of its own
        user = driver.version is not None
        found.append(("driver", driver.version or module.version, ("driver", "version") if user else ("driver", "module", "version")))
        flavor = module.flavor if module.flavor in ("open", "proprietary") else None
        found.append(("driver-flavor", flavor, ("driver", "module", "flavor")))
    elif whose == "amd" and module.flavor != "in-tree":  # the kernel's own has the kernel's version
        found.append(("amdgpu", module.version, ("driver", "module", "version")))
    unsure = product.recalled if product else ()
    return {
        name: Value(text=text, path=path, series=_series(name, text), assumed=path == at and name in unsure)
        for name, text, path in found
        if text is not None
    }


def _series(name: str, text: str) -> bool:
    """Whether a version is only the beginning of one: a driver always has a minor number, a kernel a third."""
    return re.fullmatch({"driver": r"\d+", "kernel": r"\d+\.\d+", "rocm": r"\d+\.\d+"}.get(name, r"(?!)"), text) is not None


def _config(snapshot: Snapshot, option: str) -> str | None:
    """`true` or `false` of a kernel's option, None where it is not known."""
    value = (snapshot.platform.kernel_config or {}).get(option)
    return None if value is None else str(value in ("y", "m")).lower()
