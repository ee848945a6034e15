"""Which accelerators hold a model, how many of them it takes, and how long requests may be; the arithmetic is that of memory.py."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from aistack.compose import memory
from aistack.compose.grid import Question, Reason
from aistack.compose.judge_snapshot import judge_snapshot
from aistack.compose.matrix import matrix
from aistack.compose.memory import Fit, fit
from aistack.compose.rules.model import uneven
from aistack.diagnostics import Severity
from aistack.facts.catalog import Accelerator, Catalog, Framework, Model
from aistack.values import dataclass

COUNTS = (1, 2, 4, 8)
MEMORY = frozenset({"ME102"})
"""The rules about memory, whose question is answered here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What runs the model on an accelerator, and the part of the memory that it takes, None where that is not known.

    `delivered` says whether a recipe can ask for it there; `doubt` is a warning about it.
    """

    framework: Framework
    release: str
    fraction: float | None
    delivered: bool = True
    doubt: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """`count` accelerators that share the model's tensors; `fit` is for one request of `context` tokens, the longest that finds room.

    `whole` says whether that is the longest that the model was made for. `precision` is how the weights are stored, else the number format
    in which they are loaded.
    """

    accelerator: Accelerator
    server: Server
    count: int
    context: int
    whole: bool
    precision: str | None
    fit: Fit


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What holds the model, the least that holds it for all requests first, and why other accelerators are not among that.

    `servers` are all that run the model there, by the rules of `check`. `unknown` are accelerators of which no document states the memory,
    `unserved` those on which none of which it is known what part of the memory it takes; `processors` have no memory of their own.
    """

    holdings: tuple[Holding, ...]
    servers: Mapping[str, tuple[Server, ...]]
    unknown: tuple[Accelerator, ...]
    unserved: tuple[Accelerator, ...]
    processors: tuple[Accelerator, ...]


def answer(model: Model, accelerators: Sequence[Accelerator], catalog: Catalog, today: str) -> Answer:
    """Every accelerator and count that holds the model."""
    others = [product for product in accelerators if not product.is_processor]
    found = servers(model, others, catalog, today)
    filling = {name: server for name, these in found.items() for server in reversed(these) if server.fraction is not None}
    served = [product for product in others if product.id in filling]
    loaded = _loaded(model, [(product, filling[product.id]) for product in served], catalog, today)
    holdings = {
        product.id: [one for count in COUNTS if (one := holding(loaded[product.id], product, count, filling[product.id])) is not None]
        for product in served
    }
    return Answer(
        holdings=tuple(one for these in sorted(filter(None, holdings.values()), key=_effort) for one in these),
        servers=found,
        unknown=tuple(product for product in served if not product.has_known_memory),
        unserved=tuple(product for product in others if product.id not in filling),
        processors=tuple(product for product in accelerators if product.is_processor),
    )


def _loaded(model: Model, served: Iterable[tuple[Accelerator, Server]], catalog: Catalog, today: str) -> Mapping[str, Model]:
    """By accelerator the model in the number format in which it is loaded there: its own unless the rules of `check` refuse that."""
    found: dict[str, Model] = {}
    known: dict[tuple[str | None, str, str], Model] = {}
    for product, server in served:
        alike = (product.compute_capability or product.target or product.id, server.framework.id, server.release)
        if alike not in known:
            usable = (
                dtype
                for dtype in dict.fromkeys((model.dtype, "float16", "float32"))
                if not _refused(model, dtype, product, server, catalog, today)
            )
            known[alike] = _as(model, model.dtype if model.quantization or model.dtype != "bfloat16" else next(usable, model.dtype))
        found[product.id] = known[alike]
    return found


def _refused(model: Model, dtype: str | None, product: Accelerator, server: Server, catalog: Catalog, today: str) -> bool:
    """Whether a rule speaks against a server that is told to load the model in a number format."""
    snapshot = Question().snapshot(product.id, server.framework.id, server.release, model)
    asked = replace(snapshot, model=replace(snapshot.model, dtype=dtype))
    return any(one.severity is Severity.ERROR and one.rule not in MEMORY for one in judge_snapshot(asked, catalog, {}, today))


def _as(model: Model, dtype: str | None) -> Model:
    if dtype == model.dtype or dtype != "float32":
        return replace(model, dtype=dtype)
    twice = {
        name: size * 2
        for name in ("weights_bytes", "kv_bytes_per_token", "window_kv_bytes_per_token")
        if (size := getattr(model, name)) is not None
    }
    return replace(model, dtype=dtype, **twice)


def _effort(holdings: Sequence[Holding]) -> tuple[float, int, str]:
    """How much of an accelerator it takes for all requests: its memory; where no count suffices, after all others the longest request."""
    product = holdings[0].accelerator
    count = next((one.count for one in holdings if one.whole), None)
    if count is None:
        return math.inf, -holdings[-1].context, product.id
    return count * (product.visible_bytes or 0), count, product.id


def servers(model: Model, accelerators: Iterable[Accelerator], catalog: Catalog, today: str) -> Mapping[str, tuple[Server, ...]]:
    """By accelerator every framework that runs the model there, each in its newest release, the best first.

    Those are the best that nothing speaks against, of these those that a recipe can ask for, and those that keep all in the accelerator.
    What is not known does not run.
    """
    alone = replace(catalog, models={model.id: model})
    found: dict[str, list[Server]] = {}
    for grid in matrix(alone, today, tuple(accelerators), Question(), without=MEMORY):
        framework = catalog.frameworks[grid.framework]
        for row in grid.rows:
            cells = list(zip(grid.releases, row.cells, strict=True))
            fine = next((cell for cell in cells if cell[1] is None), None)
            chosen = fine or next((cell for cell in cells if cell[1] is not None and cell[1].severity is Severity.WARNING), None)
            if chosen is not None:
                release, doubt = chosen
                part = memory.fraction(framework, release)
                server = Server(framework=framework, release=release, fraction=part, delivered=row.delivered, doubt=doubt)
                found.setdefault(row.accelerator, []).append(server)
    return {
        name: tuple(sorted(these, key=lambda one: (one.doubt is not None, not one.delivered, one.framework.spills, one.framework.id)))
        for name, these in found.items()
    }


def holding(model: Model, accelerator: Accelerator, count: int, server: Server) -> Holding | None:
    """Whether so many of the accelerator hold the model, and how long requests may be; None where they do not or facts are missing."""
    longest, fraction = model.max_context, server.fraction
    if longest is None or fraction is None or uneven(model, count) is not None:
        return None
    windowed = memory.windowed(server.framework, server.release, model)
    found = fit(model, accelerator, context=longest, parallel=count, fraction=fraction, windowed=windowed)
    context = min(longest, found.longest_context) if found else 0
    found = fit(model, accelerator, context=context, parallel=count, fraction=fraction, windowed=windowed) if context else None
    if found is None:
        return None
    return Holding(
        accelerator=accelerator,
        server=server,
        count=count,
        context=context,
        whole=context == longest,
        precision=model.quantization or model.dtype,
        fit=found,
    )
