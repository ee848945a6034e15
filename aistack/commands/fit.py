"""`aistack fit`: which accelerators hold a model, how many it takes, and how long requests may be."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from aistack.commands import naming
from aistack.commands.list import Row, table
from aistack.compose.fitting import COUNTS, Holding, fraction_of, holdings
from aistack.compose.memory import RESERVE, in_gib
from aistack.diagnostics import ExitCode, unable
from aistack.facts.catalog import Catalog, Framework, Model

SCHEMA = "aistack/fit/v1"


def fit(wanted: str, accelerator: str | None, *, catalog: Catalog, as_json: bool) -> ExitCode:
    """Prints what holds the model; exit 1 where nothing that was asked about does, 3 where its geometry is not known."""
    model = naming.model(wanted, catalog)
    if model.weights_bytes is None or model.kv_bytes_per_token is None or model.max_context is None:
        message = f"could not tell what holds `{model.id}`: its size or its attention geometry is not in the catalog"
        raise unable("CLI006", "fit-unknown", message, hints=(f"`aistack show {model.id}` shows what is known",))
    products = naming.accelerators(accelerator, catalog) if accelerator else tuple(catalog.accelerators.values())
    fraction, framework = fraction_of(model, catalog)
    found = list(holdings(model, sorted(products, key=lambda product: product.id), fraction))
    if as_json:
        print(json.dumps(document(model, fraction, found), indent=2, ensure_ascii=False))
    else:
        sys.stdout.write(_head(model, fraction, framework) + (_arithmetic(found) if accelerator else _grid(found)))
        if not found:
            print(f"nothing that was asked about holds it, up to {COUNTS[-1]} accelerators")
    return ExitCode.OK if found else ExitCode.NO


def document(model: Model, fraction: float, found: Iterable[Holding]) -> dict[str, Any]:
    """The document of `--json`; sizes are bytes on one accelerator."""
    return {
        "schema": SCHEMA,
        "model": model.id,
        "precision": precision(model),
        "weights_bytes": model.weights_bytes,
        "kv_bytes_per_token": model.kv_bytes_per_token,
        "max_context": model.max_context,
        "memory_fraction": fraction,
        "reserve": RESERVE,
        "fits": [
            {
                "accelerator": one.accelerator.id,
                "count": one.count,
                "tensor_parallel": one.count,
                "longest_context": one.context,
                "whole_context": one.whole,
                "weights": one.fit.weights,
                "cache": one.fit.cache,
                "with_reserve": one.fit.comfortable,
                "available": one.fit.available,
            }
            for one in found
        ],
    }


def precision(model: Model) -> str | None:
    """What the checkpoint's weights are: its quantization, else its type."""
    return model.quantization or model.dtype


def _head(model: Model, fraction: float, framework: Framework | None) -> str:
    assert model.weights_bytes is not None and model.kv_bytes_per_token is not None
    who = f"{framework.name} takes" if framework else "servers usually take"
    return (
        f"{model.id}: {precision(model) or 'precision unknown'}, weights {in_gib(model.weights_bytes)}, "
        f"{model.kv_bytes_per_token} bytes of cache for each token, requests up to {model.max_context} tokens\n"
        f"{who} {fraction:g} of the memory that programs see; {RESERVE:.0%} of weights and cache is kept for the forward pass\n\n"
    )


def _grid(found: Sequence[Holding]) -> str:
    """One line for each accelerator: the longest request with 1, 2, 4 and 8 of them."""
    rows: dict[str, Row] = {"": {"id": "longest request with", **{str(count): f"{count} of them" for count in COUNTS}}}
    for one in found:
        row = rows.setdefault(one.accelerator.id, {"id": one.accelerator.id, **{str(count): "-" for count in COUNTS}})
        row[str(one.count)] = f"{one.context} (all)" if one.whole else str(one.context)
    return table(list(rows.values()))


def _arithmetic(found: Sequence[Holding]) -> str:
    """Each count of the accelerator with the sum that decides."""
    lines = []
    for one in found:
        each = "" if one.count == 1 else f" on each of {one.count}, tensor parallel {one.count}"
        whole = ", all that the model was made for" if one.whole else ""
        lines.append(f"{one.count} x {one.accelerator.id}: requests up to {one.context} tokens{whole}\n")
        lines.append(
            f"    weights {in_gib(one.fit.weights)} + cache {in_gib(one.fit.cache)}{each} = {in_gib(one.fit.least)}, "
            f"with {RESERVE:.0%} more {in_gib(one.fit.comfortable)}, of {in_gib(one.fit.available)}\n"
        )
    return "".join(lines)
