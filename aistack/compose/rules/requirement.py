"""The rule about what an image asks of the machine's driver and product."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aistack.compose import requirement
from aistack.compose.requirement import Group, Machine
from aistack.compose.rules.situation import Finding, Situation, code_rule
from aistack.diagnostics import Severity
from aistack.facts.snapshot import SeenPart

SOURCE = "https://github.com/NVIDIA/nvidia-container-toolkit/blob/d34b3046758cb1a5db606b2a39519c731bbf9f56/internal/requirements/constraints/factory.go"
PATH = ("image", "requires")


def _requirement(situation: Situation) -> Iterator[Finding]:
    """What an image asks for in `NVIDIA_REQUIRE_CUDA` must hold on the machine, or its containers do not start.

    Groups separated by spaces are alternatives, conditions separated by commas must all hold. The published CUDA images ask for a driver
    that carries their CUDA (`cuda>=12.6`), and beside that allow certain older driver branches for certain brands
    (`brand=tesla,driver>=535,driver<536`): for those they bring newer driver libraries. The brand is the driver's word for the product:
    `tesla` or `nvidia` for data-centre products, `geforce` and `titan` words for consumer ones, `quadro` and `nvidiartx` words for
    workstations. Only the toolkit's hook asks; an engine that injects devices by a CDI specification starts the container regardless.
    """
    text = situation.seen.image.requires
    if text is None:
        return
    groups = requirement.parse(text)
    asked = requirement.machine(
        situation.catalog.branches,
        driver=situation.text("driver"),
        brand=situation.text("brand"),
        architecture=situation.text("architecture"),
        capability=situation.text("compute-capability"),
    )
    answer = requirement.satisfied(groups, asked)
    if answer is True:
        return
    if answer is None:
        missing = " and ".join(name for name, value in (("driver", asked.driver), ("brand", situation.text("brand"))) if value is None)
        tail = f": {missing} is not known" if missing else ""
        yield Finding(severity=Severity.UNKNOWN, message=f"could not tell whether the machine has what the image asks for{tail}", path=PATH)
        return
    failed = requirement.failing(groups, asked)
    cdi = situation.seen.runtime.get("cdi")
    injected = isinstance(cdi, SeenPart) and cdi.mode in ("cdi", "jit-cdi")
    told = situation.referred.get(PATH)
    yield Finding(
        severity=Severity.WARNING if injected or (told is not None and told.assumed) else None,
        message=_refused(failed, asked, situation),
        path=PATH,
        label=_needs(failed, groups, asked, situation),
        also=((situation.where("driver"), f"driver {asked.driver}"),),
        why=((told.because,) if told is not None else ()) + _why(groups, asked, situation),
        place=f"images/{told.image}" if told is not None else None,
        source=SOURCE,
        checked="2026-11-26",
        hints=(
            "use an image of an older CUDA, or a newer driver",
            "the variable NVIDIA_DISABLE_REQUIRE=1 skips the question; the programs then meet an old driver by themselves",
        ),
    )


def _refused(failed: Group, asked: Machine, situation: Situation) -> str:
    ref = situation.seen.image.ref
    what = ",".join(str(condition) for condition in failed)
    lacking = "the product" if all(condition.name in ("arch", "brand") for condition in failed) else f"driver {asked.driver}"
    return f"{f'image {ref}' if ref else 'the image'} asks for `{what}`, which {lacking} does not offer"


def _needs(failed: Group, groups: Sequence[Group], asked: Machine, situation: Situation) -> str:
    cuda = next((condition.wanted for condition in failed if condition.name == "cuda"), None)
    branch = requirement.first_branch(cuda, situation.catalog.branches) if cuda else None
    if branch is None:
        return "needs " + " and ".join(str(condition) for condition in failed)
    allowed = requirement.exempted(groups, asked)
    among = f", or a driver of branch {' or '.join(allowed)}" if allowed else ""
    return f"needs driver {branch} or newer{among}"


def _why(groups: Sequence[Group], asked: Machine, situation: Situation) -> tuple[str, ...]:
    sentences = []
    if asked.cuda_most is not None:
        sentences.append(f"driver {asked.driver} itself carries CUDA {asked.cuda_most}")
    brand = situation.text("brand")
    if brand is not None and not requirement.exempted(groups, asked) and len(groups) > 1:
        sentences.append(f"the older branches that the image allows are not allowed for a {brand} product")
    return tuple(sentences)


RULES = (
    code_rule(
        _requirement,
        "RQ101",
        "image-cuda-requirement",
        "stack",
        of="snapshot",
        topics=("image-cuda-requirement",),
        source=(SOURCE,),
        checked="2026-11-26",
    ),
)
