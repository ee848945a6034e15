"""Which accelerators hold a model, how many of them it takes, and how long requests may be; the arithmetic is that of memory.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from aistack.compose import memory
from aistack.compose.grid import Question
from aistack.compose.matrix import matrix
from aistack.compose.memory import Fit, fit, visible
from aistack.compose.rules.model import uneven
from aistack.diagnostics import Severity
from aistack.facts.catalog import Accelerator, Catalog, Framework, Model
from aistack.values import dataclass

COUNTS = (1, 2, 4, 8)
MEMORY = frozenset({"ME102"})
"""The rules about memory, whose question is answered here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What runs the model on an accelerator, and the part of the memory that it takes; releases before and after may take another."""

    framework: Framework
    release: str
    fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """`count` accelerators that share the model's tensors; `fit` is for one request of `context` tokens, the longest that finds room.

    `whole` says whether that is the longest that the model was made for.
    """

    accelerator: Accelerator
    server: Server
    count: int
    context: int
    whole: bool
    fit: Fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What holds the model, and why other accelerators are not among that.

    `unknown` are those of which no document states the memory, `unserved` those on which no framework that fills an accelerator's
    memory runs the model, by the rules of `check`; `processors` have no memory of their own.
    """

    holdings: tuple[Holding, ...]
    unknown: tuple[Accelerator, ...]
    unserved: tuple[Accelerator, ...]
    processors: tuple[Accelerator, ...]


def answer(model: Model, accelerators: Sequence[Accelerator], catalog: Catalog, today: str) -> Answer:
    """Every accelerator and count that holds the model, in the order of the accelerators."""
    processors = [product for product in accelerators if product.vendor == "cpu"]
    others = [product for product in accelerators if product.vendor != "cpu"]
    server = servers(model, others, catalog, today)
    served = [product for product in others if product.id in server]
    return Answer(
        holdings=tuple(
            found for product in served for count in COUNTS if (found := holding(model, product, count, server[product.id])) is not None
        ),
        unknown=tuple(product for product in served if visible(product) is None),
        unserved=tuple(product for product in others if product.id not in server),
        processors=tuple(processors),
    )


def servers(model: Model, accelerators: Iterable[Accelerator], catalog: Catalog, today: str) -> Mapping[str, Server]:
    """By accelerator: the first framework that takes a part of the memory, in the newest release against which no rule has an error."""
    alone = replace(catalog, models={model.id: model})
    found: dict[str, Server] = {}
    for grid in matrix(alone, today, tuple(accelerators), Question(), without=MEMORY):
        framework = catalog.frameworks[grid.framework]
        for row in grid.rows:
            runs = (reason is None or reason.severity is not Severity.ERROR for reason in row.cells)
            release = next((release for release, good in zip(grid.releases, runs, strict=True) if good), None)
            fraction = memory.fraction(framework, release)
            if release is not None and fraction is not None:
                found.setdefault(row.accelerator, Server(framework=framework, release=release, fraction=fraction))
    return found


def holding(model: Model, accelerator: Accelerator, count: int, server: Server) -> Holding | None:
    """Whether so many of the accelerator hold the model, and how long requests may be; None where they do not or facts are missing."""
    longest, fraction = model.max_context, server.fraction
    if longest is None or uneven(model, count) is not None:
        return None
    windowed = memory.windowed(server.framework, server.release, model)
    found = fit(model, accelerator, context=longest, parallel=count, fraction=fraction, windowed=windowed)
    context = min(longest, found.longest_context) if found else 0
    found = fit(model, accelerator, context=context, parallel=count, fraction=fraction, windowed=windowed) if context else None
    if found is None:
        return None
    return Holding(accelerator=accelerator, server=server, count=count, context=context, whole=context == longest, fit=found)
