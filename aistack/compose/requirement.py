"""What an image asks of a machine in `NVIDIA_REQUIRE_CUDA`, and whether the machine offers it.

Groups that are separated by spaces are alternatives; the conditions of a group, separated by commas, must all hold:
`cuda>=12.6 brand=tesla,driver>=535,driver<536` asks for a driver that carries CUDA 12.6, or for any driver 535 under a product of the
brand `tesla`. The container toolkit reads it in the same way (internal/requirements/constraints in its sources).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from aistack.facts.systems import Branch
from aistack.facts.version import Range, Scheme, VersionFormatError, key, parse_range
from aistack.values import dataclass

BRANDS: Mapping[str, tuple[str, ...]] = {
    "datacenter": ("tesla", "nvidia"),
    "workstation": ("quadro", "quadrortx", "nvidiartx", "nvidia"),
    "consumer": ("geforce", "geforcertx", "titan", "titanrtx"),
}
"""The words by which the driver may call the brand of a product that it runs itself; a virtual machine's share has words of its own."""

TESLA = ("Kepler", "Maxwell", "Pascal", "Volta")
"""Architectures whose data-centre products are all called `tesla`."""

_CONDITION = re.compile(r"(cuda|driver|arch|brand)(>=|<=|!=|=|>|<)(\S+)")
_BRANCHES = re.compile(r"driver>=(\d+),driver<\d+$|driver<\d+,driver>=(\d+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One comparison, like `cuda>=12.6`."""

    name: str
    operator: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.name}{self.operator}{self.wanted}"


Group = tuple[Condition, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What conditions ask about, as far as it is known.

    `driver` may be only a series. The driver's own CUDA lies between `cuda_least` and `cuda_most`. `brands` are the words of which one is
    the product's brand.
    """

    driver: str | None = None
    cuda_least: str | None = None
    cuda_most: str | None = None
    arch: str | None = None
    brands: tuple[str, ...] = ()


def parse(text: str) -> tuple[Group, ...]:
    """The alternatives; what is no condition is left out, as the toolkit does."""
    groups = (tuple(_conditions(group)) for group in text.split())
    return tuple(group for group in groups if group)


def _conditions(group: str) -> Iterable[Condition]:
    for part in group.split(","):
        found = _CONDITION.fullmatch(part)
        if found:
            yield Condition(name=found[1], operator=found[2], wanted=found[3])


def brands(brand: str | None, architecture: str | None) -> tuple[str, ...]:
    """The words that may stand for a product's brand; of an unknown brand all words."""
    if brand == "datacenter" and architecture in TESLA:
        return ("tesla",)
    every = tuple(dict.fromkeys(word for words in BRANDS.values() for word in words))
    return BRANDS.get(brand or "", every)


def machine(
    branches: Mapping[str, Branch], *, driver: str | None, brand: str | None, architecture: str | None, capability: str | None
) -> Machine:
    """The machine as an image's requirement sees it; Jetson's drivers are no branches of the others, and carry a CUDA of their own."""
    known = driver if re.match(r"\d+", driver or "") else None
    least, most = carried(known, branches) if known and brand != "embedded" else (None, None)
    return Machine(driver=known, cuda_least=least, cuda_most=most, arch=capability, brands=brands(brand, architecture))


def carried(driver: str, branches: Mapping[str, Branch]) -> tuple[str | None, str | None]:
    """(the oldest, the newest) CUDA that a driver may carry itself, by its branch or by the branches around it; None without a bound."""
    found = re.match(r"\d+", driver)
    if found is None:
        return None, None
    number = int(found[0])
    known = sorted((int(branch.id), branch.cuda) for branch in branches.values() if branch.cuda is not None)
    least = [cuda for branch, cuda in known if branch <= number]
    most = [cuda for branch, cuda in known if branch >= number]
    return (least[-1] if least else None), (most[0] if most else None)


def first_branch(cuda: str, branches: Mapping[str, Branch]) -> str | None:
    """The oldest branch whose drivers carry that CUDA or a newer one themselves; None where none is known to, or that is no version."""
    found = re.match(r"\d+(\.\d+)?", cuda)
    if found is None:
        return None
    wanted = _key(found[0])
    fitting = [int(branch.id) for branch in branches.values() if branch.cuda and _key(branch.cuda) >= wanted]
    return str(min(fitting)) if fitting else None


def satisfied(groups: Sequence[Group], machine: Machine) -> bool | None:
    """Whether one group holds; None where that depends on what is not known."""
    if not groups:
        return True
    answers = {
        _any(_all(_holds(condition, machine, brand) for condition in group) for group in groups) for brand in machine.brands or ("",)
    }
    return answers.pop() if len(answers) == 1 else None


def failing(groups: Sequence[Group], machine: Machine) -> Group:
    """The conditions that fail in the group that is meant for every brand; in the first group where there is none such."""
    plain = next((group for group in groups if all(condition.name != "brand" for condition in group)), groups[0])
    found = tuple(condition for condition in plain if all(_holds(condition, machine, brand) is False for brand in machine.brands or ("",)))
    return found or plain


def exempted(groups: Sequence[Group], machine: Machine) -> tuple[str, ...]:
    """The driver branches that are allowed for one of the machine's brands without the CUDA that is asked for."""
    found = set()
    for group in groups:
        named = {condition.wanted for condition in group if condition.name == "brand" and condition.operator == "="}
        rest = _BRANCHES.match(",".join(str(condition) for condition in group if condition.name == "driver"))
        if rest and named & set(machine.brands):
            found.add(rest[1] or rest[2])
    return tuple(sorted(found, key=int))


def _any(answers: Iterable[bool | None]) -> bool | None:
    known = list(answers)
    return True if True in known else None if None in known else False


def _all(answers: Iterable[bool | None]) -> bool | None:
    known = list(answers)
    return False if False in known else None if None in known else True


def _holds(condition: Condition, machine: Machine, brand: str) -> bool | None:
    if condition.name == "brand":
        if not brand:
            return None
        return (brand == condition.wanted) is (condition.operator == "=")
    try:
        wanted = parse_range(f"{'==' if condition.operator == '=' else condition.operator}{condition.wanted}", Scheme.RELEASE)
        if condition.name == "cuda":
            return _between(wanted, machine.cuda_least, machine.cuda_most)
        have = machine.driver if condition.name == "driver" else machine.arch
        if have is None:
            return None
        return wanted.admits_all(have) if condition.name == "driver" and "." not in have else wanted.admits(have)
    except VersionFormatError:
        return None


def _between(wanted: Range, least: str | None, most: str | None) -> bool | None:
    """Whether every version between the two is admitted; exact where they are the same."""
    if least is not None and least == most:
        return wanted.admits(least)
    operator = wanted.parts[0][0]
    if operator in (">", ">="):
        return True if least is not None and wanted.admits(least) else False if most is not None and not wanted.admits(most) else None
    if operator in ("<", "<="):
        return True if most is not None and wanted.admits(most) else False if least is not None and not wanted.admits(least) else None
    return None


def _key(text: str) -> tuple[int, ...]:
    numbers: tuple[int, ...] = key(text, Scheme.RELEASE)
    return numbers
