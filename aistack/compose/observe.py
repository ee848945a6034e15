"""From a snapshot to the situation that the rules judge: its keys as components, with the catalog's facts about them.

Every value of a snapshot is a component under its dotted path (`fabric.manager.state`), so that data rules can ask for it. Those that a
stack has too are there under the stack's names: `driver`, `kernel`, `compute-capability`, … The C library is the machine's, so where an
image is spoken of it is not that of the programs, and only known under its path.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from aistack.compose import programs
from aistack.compose.between import node_values, program_values
from aistack.compose.building import build_values
from aistack.compose.rules.situation import Path, Situation, Value
from aistack.facts.capability import capability
from aistack.facts.catalog import Accelerator, Catalog
from aistack.facts.snapshot import SeenImage, Snapshot

ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
"""Other names of what recipes call `amd64` and `arm64`."""

BRANDS = {"data-centre": "datacenter", "workstation": "workstation", "consumer": "consumer", "embedded": "embedded"}
"""By a product's kind: the brand that programs are told."""


def observe(snapshot: Snapshot, catalog: Catalog, today: str) -> Situation:
    """What the rules see of a snapshot on the day `today` (`2026-11-22`)."""
    product = accelerator(snapshot, catalog)
    values = {**dict(_leaves(snapshot, ())), **_values(snapshot, product)}
    values |= build_values(snapshot, catalog, values)
    values |= node_values(snapshot, values.get("driver"))
    situation = Situation(catalog=catalog, today=today, snapshot=snapshot, os=None, accelerator=product, values=values)
    part = programs.part(snapshot, catalog, vendor(snapshot), values)
    return replace(situation, parts=(replace(part, values={**part.values, **program_values(snapshot, catalog, values)}),))


def accelerator(snapshot: Snapshot, catalog: Catalog) -> Accelerator | None:
    """The product; of a less exact name, or where only its architecture is known, what all products that it may be have in common."""
    seen = snapshot.accelerator
    found = catalog.accelerator(seen.product) if seen.product else None
    if found is None:
        target = seen.arch or ""
        products = [product for product in catalog.accelerators.values() if product.vendor != "cpu"]
        words = set((seen.product or "").replace("/", "-").split("-"))
        candidates = [product for product in products if seen.product and words <= set(product.id.replace("/", "-").split("-"))]
        candidates = candidates or [product for product in products if target and target in targets(product)]
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
    missing = {"vendor": first.vendor, "kind": ""}
    return Accelerator(id=name, name=name, source=first.source, checked=first.checked, recalled=recalled, **{**missing, **known})


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
    if dataclasses.is_dataclass(value):
        below: Iterable[tuple[str, Any]] = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    elif isinstance(value, Mapping):
        below = value.items()
    else:
        if value is not None and not isinstance(value, tuple):
            text = str(value).lower() if isinstance(value, bool) else str(value)
            yield ".".join(str(part) for part in path), Value(text=text, path=path)
        return
    for name, inner in below:
        yield from _leaves(inner, (*path, name))


def _values(snapshot: Snapshot, product: Accelerator | None) -> dict[str, Value]:
    seen, platform, driver = snapshot.accelerator, snapshot.platform, snapshot.driver
    at: Path = ("accelerator", "product") if seen.product else ("accelerator", "arch")
    whose = product.vendor if product else vendor(snapshot)
    arch = ARCHITECTURES.get(platform.arch or "", platform.arch)
    kind = BRANDS.get(product.kind) if product else None
    kernel, module = platform.kernel, driver.module
    found: list[tuple[str, str | None, Path]] = [
        ("accelerator", product.id if product else seen.product, at),
        ("vendor", whose, at),
        ("architecture", product.architecture if product else None, at),
        ("compute-capability", capability(seen.arch) or (product.compute_capability if product else None), at),
        ("gfx", seen.arch if (seen.arch or "").startswith("gfx") else product.target if product and whose == "amd" else None, at),
        ("interconnect", product.interconnect if product else seen.interconnect, ("accelerator", "interconnect")),
        ("brand", seen.brand or kind, ("accelerator", "brand") if seen.brand else at),
        ("accelerator-count", str(seen.count) if seen.count else None, ("accelerator", "count")),
        ("os", platform.os, ("platform", "os")),
        ("arch", arch, ("platform", "arch")),
        ("kernel", kernel, ("platform", "kernel")),
        ("kernel-flavor", platform.kernel_flavor, ("platform", "kernel_flavor")),
        ("kernel-realtime", _config(snapshot, "CONFIG_PREEMPT_RT"), ("platform", "kernel_config", "CONFIG_PREEMPT_RT")),
        ("kernel-drm", _config(snapshot, "CONFIG_DRM"), ("platform", "kernel_config", "CONFIG_DRM")),
        ("glibc", platform.glibc if snapshot.image == SeenImage() else None, ("platform", "glibc")),
        ("rocm", snapshot.image.rocm or snapshot.toolkit.rocm, ("image", "rocm") if snapshot.image.rocm else ("toolkit", "rocm")),
        ("gaudi", snapshot.image.gaudi or snapshot.toolkit.gaudi, ("image", "gaudi") if snapshot.image.gaudi else ("toolkit", "gaudi")),
    ]
    ours = module.name is None or module.name.startswith("nvidia")
    if ours and whose in ("nvidia", None):
        user = driver.version is not None
        found.append(("driver", driver.version or module.version, ("driver", "version") if user else ("driver", "module", "version")))
        flavor = module.flavor if module.flavor in ("open", "proprietary") else None
        found.append(("driver-flavor", flavor, ("driver", "module", "flavor")))
    elif whose == "amd" and module.flavor != "in-tree":  # the kernel's own has the kernel's version
        found.append(("amdgpu", module.version, ("driver", "module", "version")))
    return {name: Value(text=text, path=path, series=_series(name, text)) for name, text, path in found if text is not None}


def _series(name: str, text: str) -> bool:
    """Whether a version is only the beginning of one: a driver always has a minor number, a kernel a third."""
    return re.fullmatch({"driver": r"\d+", "kernel": r"\d+\.\d+", "rocm": r"\d+\.\d+"}.get(name, r"(?!)"), text) is not None


def _config(snapshot: Snapshot, option: str) -> str | None:
    """`true` or `false` of a kernel's option, None where it is not known."""
    value = (snapshot.platform.kernel_config or {}).get(option)
    return None if value is None else str(value in ("y", "m")).lower()
