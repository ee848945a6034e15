"""`aistack fit`: which accelerators hold a model, how many it takes, and how long requests may be."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from aistack.commands import naming
from aistack.commands.list import Row, table
from aistack.compose.fitting import COUNTS, Answer, Holding, Server, answer
from aistack.compose.memory import RESERVE, in_gib
from aistack.diagnostics import ExitCode, unable
from aistack.facts.catalog import Accelerator, Catalog, Model
from aistack.facts.version import newest_first
from aistack.report.matrix import NOT_DELIVERED, sentence
from aistack.report.text import printable

SCHEMA = "aistack/fit/v1"


def fit(wanted: str, accelerator: str | None, *, catalog: Catalog, today: str, as_json: bool, kind: str | None = None) -> ExitCode:
    """Prints what holds the model, of accelerators of a `kind` where one is given.

    Exit 1 where nothing that was asked about does, 3 where facts are missing to tell.
    """
    model = naming.model(wanted, catalog)
    if model.weights_bytes is None or model.kv_bytes_per_token is None or model.max_context is None:
        message = f"could not tell what holds `{model.id}`: its size or its attention geometry is not in the catalog"
        raise unable("CLI006", "fit-unknown", message, hints=(f"`aistack show {model.id}` shows what is known",))
    products = naming.accelerators(accelerator, catalog) if accelerator else tuple(catalog.accelerators.values())
    products = tuple(product for product in products if kind in (None, product.kind))
    found = answer(model, sorted(products, key=lambda product: product.id), catalog, today)
    if as_json:
        print(json.dumps(document(model, found), indent=2, ensure_ascii=False))
    else:
        shown = _arithmetic(model, found) if accelerator else _grid(model, found.holdings)
        sys.stdout.write(
            _head(model, found.holdings) + shown + "".join(f"{line}\n" for line in _others(found, asked=accelerator is not None))
        )
    if found.holdings:
        return ExitCode.OK
    return ExitCode.UNABLE if found.unknown or found.processors else ExitCode.NO


def document(model: Model, found: Answer) -> dict[str, Any]:
    """The document of `--json`; sizes are bytes on one accelerator."""
    return {
        "schema": SCHEMA,
        "model": model.id,
        "precision": precision(model),
        "weights_bytes": model.weights_bytes,
        "kv_bytes_per_token": model.kv_bytes_per_token,
        "window": model.window,
        "window_kv_bytes_per_token": model.window_kv_bytes_per_token,
        "max_context": model.max_context,
        "reserve": RESERVE,
        "fits": [
            {
                "accelerator": one.accelerator.id,
                "count": one.count,
                "tensor_parallel": one.count,
                "precision": one.precision,
                "longest_context": one.context,
                "whole_context": one.whole,
                "framework": one.server.framework.id,
                "release": one.server.release,
                "delivered": one.server.delivered,
                "doubt": one.server.doubt.message if one.server.doubt else None,
                "memory_fraction": one.server.fraction,
                "weights": one.fit.weights,
                "cache": one.fit.cache,
                "with_reserve": one.fit.comfortable,
                "available": one.fit.available,
            }
            for one in found.holdings
        ],
        "servers": {
            name: [
                {
                    "framework": one.framework.id,
                    "release": one.release,
                    "delivered": one.delivered,
                    "doubt": one.doubt.message if one.doubt else None,
                }
                for one in these
            ]
            for name, these in found.servers.items()
        },
        "unknown": _ids(found.unknown),
        "unserved": _ids(found.unserved),
        "processors": _ids(found.processors),
    }


def precision(model: Model) -> str | None:
    """What the checkpoint's weights are: its quantization, else its type."""
    return model.quantization or model.dtype


def _ids(products: Sequence[Accelerator]) -> list[str]:
    return [product.id for product in products]


def _head(model: Model, found: Sequence[Holding]) -> str:
    assert model.weights_bytes is not None and model.kv_bytes_per_token is not None
    takes: dict[tuple[str, float | None], list[Server]] = {}
    for one in found:
        takes.setdefault((one.server.framework.name, one.server.fraction), []).append(one.server)
    shares = [
        f"{name} ({', '.join(newest_first({one.release for one in servers}, servers[0].framework.versions))}) takes {part:g}"
        for (name, part), servers in takes.items()
    ]
    memory = f"{'; '.join(shares)} of the memory that programs see; " if shares else ""
    window = f" and {model.window_kv_bytes_per_token} in layers that see {model.window} of them" if model.window_kv_bytes_per_token else ""
    return (
        f"{model.id}: {precision(model) or 'precision unknown'}, weights {in_gib(model.weights_bytes)}, "
        f"{model.kv_bytes_per_token} bytes of cache for each token{window}, requests up to {model.max_context} tokens\n"
        f"{memory}{RESERVE:.0%} of weights and cache is kept for the forward pass\n\n"
    )


def _grid(model: Model, found: Sequence[Holding]) -> str:
    """One line for each accelerator: the longest request with 1, 2, 4 and 8 of them that share the model's tensors."""
    if not found:
        return ""
    counts = {str(count): f"TP {count}" for count in COUNTS}
    rows = {"": {"id": "longest request at", "precision": "precision", **counts, "server": "by"}}
    for one in found:
        empty: Row = {
            "id": one.accelerator.id,
            "precision": one.precision or "?",
            **dict.fromkeys(counts, "-"),
            "server": _by(one.server),
        }
        rows.setdefault(one.accelerator.id, empty)[str(one.count)] = f"{one.context} (all)" if one.whole else str(one.context)
    used = [one.server for one in found]
    notes = f"* {NOT_DELIVERED}: no recipe can ask for it there\n" if any(not server.delivered for server in used) else ""
    doubts = "! with a warning: `aistack matrix ACCELERATOR` says which\n" if any(server.doubt for server in used) else ""
    return table(list(rows.values())) + "\nTP: that many of them, which share the model's tensors (tensor parallelism)\n" + notes + doubts


def _by(server: Server) -> str:
    return f"{server.framework.name} {server.release}{'' if server.delivered else '*'}{'!' if server.doubt else ''}"


def _arithmetic(model: Model, found: Answer) -> str:
    """Each count of the accelerator with the sum that decides, and what else runs the model there."""
    lines = []
    for one in found.holdings:
        each = "" if one.count == 1 else f" on each of {one.count}, tensor parallel {one.count}"
        whole = ", all that the model was made for" if one.whole else ""
        at = f" at {one.precision}" if one.precision else ""
        lines.append(f"{one.count} x {one.accelerator.id}{at}: requests up to {one.context} tokens{whole}\n")
        lines.append(
            f"    weights {in_gib(one.fit.weights)} + cache {in_gib(one.fit.cache)}{each} = {in_gib(one.fit.least)}, "
            f"with {RESERVE:.0%} more {in_gib(one.fit.comfortable)}, of {in_gib(one.fit.available)}\n"
        )
    for name, these in found.servers.items():
        lines.append(f"servers of {name}, the best first\n")
        for server in these:
            limits = [] if server.delivered else [NOT_DELIVERED]
            limits += [] if server.fraction is not None or server.framework.spills else ["what part of the memory it takes is not known"]
            limits += [sentence(server.doubt)] if server.doubt else []
            told = f" ({printable('; '.join(limits))})" if limits else ""
            lines.append(f"    {server.framework.name} {server.release}{told}\n")
    return "".join(lines)


def _others(found: Answer, *, asked: bool) -> Iterator[str]:
    """What is not among those that hold it, as far as there is a reason other than their size."""
    if found.unknown:
        yield f"not known, because no document states the memory: {', '.join(_ids(found.unknown))}"
    if found.unserved and asked:
        yield f"no framework of the catalog that fills an accelerator's memory runs it on: {', '.join(_ids(found.unserved))}"
    elif found.unserved:
        yield f"{len(found.unserved)} accelerators are left out, on which no framework of the catalog that fills their memory runs it"
    if found.processors and asked:
        yield f"{', '.join(_ids(found.processors))}: a processor has no memory of its own; what it holds depends on the machine"
    judged = len(found.unknown) + len(found.unserved) + len(found.processors)
    if not found.holdings and not judged:
        yield f"nothing that was asked about holds it, up to {COUNTS[-1]} accelerators"
