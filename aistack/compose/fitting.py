"""Which accelerators hold a model, how many of them it takes, and how long requests may be; the arithmetic is that of memory.py."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from aistack.compose.matrix import serves
from aistack.compose.memory import Fit, fit
from aistack.compose.rules.model import evenly
from aistack.facts.catalog import Accelerator, Catalog, Framework, Model
from aistack.values import dataclass

COUNTS = (1, 2, 4, 8)
USUAL = 0.9
"""The part of the memory that is taken where the catalog has no framework for the model: what servers do unless told otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """`count` accelerators that share the model's tensors; `fit` is for one request of `context` tokens, the longest that finds room.

    `whole` says whether that is the longest that the model was made for.
    """

    accelerator: Accelerator
    count: int
    context: int
    whole: bool
    fit: Fit


def fraction_of(model: Model, catalog: Catalog) -> tuple[float, Framework | None]:
    """The part of the memory that the framework takes which serves the model (the most careful one, if there are several)."""
    found = [(one.memory_fraction, one.id) for one in catalog.frameworks.values() if one.memory_fraction is not None and serves(one, model)]
    fraction, framework = min(found, default=(USUAL, ""))
    return fraction, catalog.frameworks.get(framework)


def holdings(model: Model, accelerators: Iterable[Accelerator], fraction: float) -> Iterator[Holding]:
    """Every accelerator and count that holds the model, in the order of the accelerators; none where facts are missing."""
    for accelerator in accelerators:
        for count in COUNTS:
            found = _holding(model, accelerator, count, fraction)
            if found is not None:
                yield found


def _holding(model: Model, accelerator: Accelerator, count: int, fraction: float) -> Holding | None:
    longest = model.max_context
    if longest is None or not evenly(model, count):
        return None
    found = fit(model, accelerator, context=longest, parallel=count, fraction=fraction)
    context = min(longest, found.longest_context) if found else 0
    found = fit(model, accelerator, context=context, parallel=count, fraction=fraction) if context else None
    return None if found is None else Holding(accelerator=accelerator, count=count, context=context, whole=context == longest, fit=found)
