"""A recipe's node as the rules read it: OS, kernel, accelerator and driver as values, with the wish that each comes from."""

from __future__ import annotations

from aistack.compose.recipe import Recipe
from aistack.compose.rules.situation import Path, Value
from aistack.facts.catalog import Accelerator
from aistack.facts.systems import Driver, Kernel, Os


def node_values(
    recipe: Recipe, os: Os | None, product: Accelerator | None, kernel: Kernel | None, driver: Driver | None
) -> dict[str, Value]:
    """By component: what is known of the node when the kernel and the driver are chosen, each None as long as it is not."""
    found = {"os": Value(text=recipe.os, path=("os",)), "arch": Value(text=recipe.arch, path=("arch",))}
    if os is not None:
        found["os-family"] = Value(text=os.family, path=("os",))
        found["os-release"] = Value(text=os.id, path=("os",))
    if kernel is not None:
        at: Path = ("kernel", "version") if recipe.kernel.version else ("kernel", "flavor")
        found["kernel"] = Value(text=kernel.version, path=at)
        found["kernel-flavor"] = Value(text=kernel.flavor, path=("kernel", "flavor"))
        found["kernel-drm"] = Value(text=str(kernel.drm).lower(), path=("kernel", "flavor"))
        found["kernel-realtime"] = Value(text=str(kernel.realtime).lower(), path=("kernel", "flavor"))
    if product is not None:
        at = ("accelerator", "product")
        found["accelerator"] = Value(text=product.id, path=at)
        found["vendor"] = Value(text=product.vendor, path=at)
        if recipe.accelerator is not None and product.vendor != "cpu":
            found["accelerator-count"] = Value(text=str(recipe.accelerator.count), path=("accelerator", "count"))
        for name, text in (
            ("architecture", product.architecture),
            ("compute-capability", product.compute_capability),
            ("interconnect", product.interconnect),
        ):
            if product.vendor != "cpu":
                found[name] = Value(text=text, path=at, because=f"{product.name} has {name.replace('-', ' ')} {text}" if text else "")
        if product.nvlink is not None:
            found["nvlink-generation"] = Value(text=str(product.nvlink), path=at)
    if driver is not None:
        asked = recipe.driver is not None and recipe.driver.version is not None
        offered = f"{os.name} offers driver {driver.version}" if os else ""
        at = ("driver", "version") if asked else ("driver",) if recipe.driver else ("accelerator", "product")
        exact = asked and recipe.driver is not None and recipe.driver.version == driver.version
        found["driver"] = Value(text=driver.version, path=at, because="" if exact else offered)
        flavored = recipe.driver is not None and recipe.driver.flavor is not None
        found["driver-flavor"] = Value(text=driver.flavor, path=("driver", "flavor") if flavored else at)
    return found
