"""Whether an app's libraries hold code for the accelerator: what compilers put into them, read from the libraries themselves.

Not every library has to. A framework's own, which runs whatever is asked of it, is useless without (`no kernel image is available for
execution on the device`). Others bring kernels for single products, of which the framework takes what the accelerator can run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from aistack.compose.findings import Finding, Outcome, some
from aistack.compose.lock import LockedAccelerator, LockedApp
from aistack.facts import capability, gfx
from aistack.facts.catalog import Catalog, Component, Framework, targets
from aistack.facts.fatbin import DeviceCode
from aistack.facts.filesystem import Filesystem
from aistack.values import dataclass

NAME, BESIDE = "accelerator-code", "accelerator-code-beside"
CUDA = "sm_"
VENDORS = {"nvidia": CUDA, "amd": "gfx"}
"""How the names of the architectures begin of those vendors whose code is compiled into libraries."""
CHOSEN = "kernels for single products: the framework takes those that the accelerator can run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an app's code is for: the accelerator's architecture (`sm_89`, `gfx942`; empty: not known), and the `main` files that must
    hold code for it, as ends of paths with `*` for any characters. Those that are `required` must be there.
    """

    product: str
    target: str
    main: tuple[str, ...] = ()
    required: tuple[str, ...] = ()


def wanted(catalog: Catalog, accelerator: LockedAccelerator | None, app: LockedApp) -> Wanted | None:
    """What the catalog says that an app's libraries must hold; None where no code is compiled into libraries for the accelerator."""
    if accelerator is None or accelerator.vendor not in VENDORS:
        return None
    product = catalog.accelerators.get(accelerator.product)
    prefix = VENDORS[accelerator.vendor]
    target = next((name for name in targets(product) if name.startswith(prefix)), "") if product else ""
    wheels = {canonicalize_name(wheel.name) for wheel in app.wheels}
    owners: list[Component | Framework] = [*catalog.components.values(), *catalog.frameworks.values()] if prefix == CUDA else []
    known = {
        owner.binary: canonicalize_name(Requirement(owner.project).name) in wheels for owner in owners if owner.binary and owner.project
    }
    framework = catalog.frameworks.get(app.framework or "")
    backend = framework.backends.get(accelerator.vendor) if framework else None
    packaged = backend.binaries if backend and app.image is None else ()
    return Wanted(
        product=accelerator.product,
        target=target,
        main=(*known, *packaged),
        required=(*(binary for binary, locked in known.items() if locked), *packaged),
    )


def judge(filesystem: Filesystem, wanted: Wanted) -> Iterator[Finding]:
    """Nothing where no library holds code for accelerators, and none has to."""
    prefix = VENDORS[wanted.product.partition("/")[0]]
    held = {path: code for path, code in sorted(filesystem.code.items()) if _is_for(code, prefix)}
    if not held and not wanted.required:
        return
    if not wanted.target:
        message = f"it is not known what compilers call {wanted.product}"
        yield Finding(name=NAME, outcome=Outcome.UNKNOWN, message=message)
        return
    main = {path: code for path, code in held.items() if any(fnmatchcase(path, f"*/{end}") for end in wanted.main)}
    wrong = [
        f"no {end} holds any code for accelerators" for end in wanted.required if not any(fnmatchcase(path, f"*/{end}") for path in held)
    ]
    lacking = {path: code for path, code in main.items() if not _covers(code.usual, wanted.target)}
    wrong += [f"{path} is for {', '.join(code.usual)}, not for {wanted.target}" for path, code in lacking.items() if not code.packed]
    unread = [path for path, code in lacking.items() if code.packed]
    if wrong:
        yield Finding(name=NAME, outcome=Outcome.NO, message=some(wrong))
    elif not main and not any(_covers(code.usual, wanted.target) for code in held.values()):
        yield _nothing(held, wanted)
        return
    elif unread:
        message = f"the code is compressed as a whole in {some(unread)}"
        yield Finding(name=NAME, outcome=Outcome.UNKNOWN, message=message)
    else:
        yield Finding(name=NAME, outcome=Outcome.YES, message=_told(held, main, wanted))
    beside = [
        f"{path} is for {', '.join((*code.usual, *code.rare))}"
        for path, code in held.items()
        if path not in main and not code.packed and not _covers((*code.usual, *code.rare), wanted.target)
    ]
    if beside:
        message = f"nothing for {wanted.target} in {len(beside)} of {len(held)} libraries: {some(beside)}"
        yield Finding(name=BESIDE, outcome=Outcome.NO, message=message, fatal=False, accepted=CHOSEN)


def _nothing(held: Mapping[str, DeviceCode], wanted: Wanted) -> Finding:
    """What it means that no library has code for the target, where none is a known framework's: nothing runs, unless more is in them."""
    message = f"none of {len(held)} libraries with code for accelerators is for {wanted.target}"
    if packed := [path for path, code in held.items() if code.packed]:
        return Finding(name=NAME, outcome=Outcome.UNKNOWN, message=f"{message}; the code is compressed as a whole in {some(packed)}")
    if single := [path for path, code in held.items() if _covers((*code.usual, *code.rare), wanted.target)]:
        return Finding(name=NAME, outcome=Outcome.UNKNOWN, message=f"{message}, save for single kernels in {some(single)}")
    told = [f"{path} is for {', '.join((*code.usual, *code.rare))}" for path, code in held.items()]
    return Finding(name=NAME, outcome=Outcome.NO, message=f"{message}: {some(told)}")


def _is_for(code: DeviceCode, prefix: str) -> bool:
    """Whether a library holds code for a vendor's accelerators, or (AMD's) may."""
    names = (*code.usual, *code.rare)
    return any(name.startswith("gfx") is (prefix == "gfx") for name in names) or (code.packed and prefix == "gfx")


def _covers(held: tuple[str, ...], target: str) -> bool:
    """Whether code for those runs on the target, or can be compiled for it when the program starts."""
    number = capability.capability(target)
    if number is None:
        return gfx.covers(held, target)
    return capability.covers((name for name in held if not name.startswith("gfx")), number) is not False


def _told(held: Mapping[str, DeviceCode], main: Mapping[str, DeviceCode], wanted: Wanted) -> str:
    told = (
        f"{len(held)} libraries hold code for accelerators, {some(list(main)) if main else 'none of a known framework'} for {wanted.target}"
    )
    number = capability.capability(wanted.target)
    late = [path for path, code in main.items() if number and capability.covers(code.usual, number) is None]
    return f"{told}; only PTX, which the driver compiles when the program starts, in {some(late)}" if late else told
