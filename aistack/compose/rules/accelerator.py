"""Rules about accelerators and their drivers, where a product's own facts or arithmetic decide."""

from __future__ import annotations

from collections.abc import Iterator

from aistack.compose.rules.data import fits, story
from aistack.compose.rules.situation import Finding, Proposal, Situation, Value, code_rule
from aistack.diagnostics import Severity
from aistack.facts.catalog import Accelerator
from aistack.facts.decode import closest
from aistack.facts.version import Scheme, key

PRODUCT = ("accelerator", "product")


def _known(situation: Situation) -> Iterator[Finding]:
    """The recipe's accelerator must be in the catalog.

    Its memory, its architecture and the drivers that know it stand there, each with a source. `aistack list accelerators` shows all.
    """
    wish = situation.wish.accelerator
    if wish is not None and situation.accelerator is None:
        guess = closest(wish.product, situation.catalog.accelerators)
        yield Finding(
            message=f"accelerator `{wish.product}` is not in the catalog",
            path=PRODUCT,
            hints=(f"did you mean `{guess}`?",) if guess else ("`aistack list accelerators` shows what is known",),
            proposals=(Proposal(path=PRODUCT, value=guess),) if guess else (),
        )


def _host(situation: Situation) -> Iterator[Finding]:
    """An accelerator that is soldered to its own processor fixes the node's architecture.

    Grace Hopper and Grace Blackwell boards have arm64 processors, so a recipe for them says `arch: arm64`.
    """
    product, arch = situation.accelerator, situation.text("arch")
    if product is not None and product.host is not None and arch is not None and product.host != arch:
        path = situation.where("arch")
        yield Finding(
            message=f"{product.name} has an {product.host} processor, the {'recipe' if situation.recipe else 'system'} is for {arch}",
            path=path,
            label=f"needs `{product.host}`",
            also=((PRODUCT, "named here"),),
            source=product.source[0],
            checked=product.checked,
            place=f"accelerators/{product.id}",
            proposals=(Proposal(path=path, value=product.host),),
        )


def _driver_minimum(situation: Situation) -> Iterator[Finding]:
    """A driver must be at least the first one that lists the product.

    An older driver loads but finds no device. Where the catalog's minimum is not confirmed by a document, an older driver
    gives `unknown` instead of an error. A branch that was begun before the product may list it later than the first driver does: an
    older release of that branch gives a warning.
    """
    product, driver = situation.accelerator, situation.value("driver")
    if product is None or driver is None or driver.text is None or product.driver_minimum is None:
        return
    answer = fits(driver, f">={product.driver_minimum}", Scheme.RELEASE)
    if answer is True:
        yield from _driver_branch(product, driver)
    if answer is True or (answer is None and not driver.series):
        return
    path = driver.path
    if answer is None:
        yield Finding(
            severity=Severity.UNKNOWN,
            message=f"could not tell whether driver {driver.text} knows {product.name}: it must be {product.driver_minimum} or newer",
            path=path,
            place=f"accelerators/{product.id}",
        )
        return
    if "driver-minimum" in product.recalled:
        yield Finding(
            severity=Severity.UNKNOWN,
            message=f"could not tell whether driver {driver.text} knows {product.name}: its first driver, "
            f"{product.driver_minimum}, is not confirmed by a document",
            path=path,
            place=f"accelerators/{product.id}",
        )
        return
    yield Finding(
        message=f"driver {driver.text} is too old for {product.name}",
        path=path,
        label=f"needs {product.driver_minimum} or newer",
        also=((PRODUCT, "named here"),),
        why=story(situation, ("driver",)),
        source=product.source[0],
        checked=product.checked,
        place=f"accelerators/{product.id}",
    )


def _driver_branch(product: Accelerator, driver: Value) -> Iterator[Finding]:
    branch = (driver.text or "").partition(".")[0]
    first = product.driver_branches.get(branch)
    if first is not None and fits(driver, f">={first}", Scheme.RELEASE) is False:
        yield Finding(
            severity=Severity.WARNING,
            message=f"driver {driver.text} does not list {product.name}",
            path=driver.path,
            label=f"of branch {branch}, {first} is the first that does",
            also=((PRODUCT, "named here"),),
            place=f"accelerators/{product.id}",
        )


def _open_modules(situation: Situation) -> Iterator[Finding]:
    """The driver's kernel modules come in two flavors, `open` and `proprietary`, and not every product works with both.

    Grace Hopper and every Blackwell product need the open modules; products older than Turing have no GSP and need the proprietary ones.
    """
    product, flavor = situation.accelerator, situation.value("driver-flavor")
    if product is None or flavor is None or flavor.text is None or product.open_modules in (None, "supported"):
        return
    wanted = "open" if product.open_modules == "required" else "proprietary"
    if flavor.text != wanted:
        path = ("driver", "flavor") if situation.recipe else flavor.path
        yield Finding(
            severity=Severity.WARNING if "open-modules" in product.recalled else None,
            message=f"{product.name} works with the {wanted} kernel modules only, not with the {flavor.text} ones",
            path=path,
            label=f"needs `{wanted}`",
            also=((PRODUCT, "named here"),),
            source="https://docs.nvidia.com/datacenter/tesla/driver-installation-guide/610/kernel-modules.html",
            checked=product.checked,
            place=f"accelerators/{product.id}",
            proposals=(Proposal(path=path, value=wanted),),
        )


def _kernel_newer_than_driver(situation: Situation) -> Iterator[Finding]:
    """A kernel that is newer than anything the driver's package was fixed for may not compile its modules.

    The package's changelog and its configuration tests say which kernels it handles. A newer kernel is a risk, not a proven failure.
    """
    driver, kernel = situation.driver, situation.kernel
    if driver is None or kernel is None or driver.newest_kernel is None:
        return
    series = kernel.version.split(".")[:2]
    if key(".".join(series), Scheme.KERNEL) > key(driver.newest_kernel, Scheme.KERNEL):
        yield Finding(
            message=f"driver {driver.version} is known to build for kernels up to {driver.newest_kernel}, not for {kernel.version}",
            path=("kernel", "version"),
            place=f"systems/{situation.os.id}" if situation.os else None,
        )


RULES = (
    code_rule(_known, "AC101", "accelerator-unknown", "node", "accelerator"),
    code_rule(_host, "AC102", "accelerator-host", "node", "accelerator", of="both", topics=("recipe-arch-agreement", "package-arch")),
    code_rule(
        _driver_minimum,
        "AC103",
        "accelerator-driver-minimum",
        "node",
        "accelerator",
        "driver",
        of="both",
        topics=("accelerator-driver-support-window",),
    ),
    code_rule(_open_modules, "AC104", "accelerator-open-modules", "node", "accelerator", "driver", of="both", topics=("module-flavor",)),
    code_rule(_kernel_newer_than_driver, "KR102", "kernel-newer-than-driver", "node", "kernel", "driver", severity=Severity.WARNING),
)
