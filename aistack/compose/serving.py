"""How a model is served, as components for the rules: number format, format of the weights and of the cache, what it is built like."""

from __future__ import annotations

from collections.abc import Mapping

from aistack.compose import memory
from aistack.compose.rules.situation import Path, Value
from aistack.facts import checkpoint
from aistack.facts.catalog import Framework, Model

COMPONENTS = frozenset({"dtype", "asked-dtype", "quantization", "asked-quantization", "kv-cache-dtype", "moe", "model-architecture"})
"""The components that `values` knows."""


def values(name: str | None, model: Model | None, said: Mapping[str, str | None], paths: Mapping[str, Path], at: Path) -> dict[str, Value]:
    """Values by component: what is said of `dtype`, `quantization` and `kv-cache-dtype`, else what the model's own files or name say.

    `asked-dtype` and `asked-quantization` are there only where a setting asks for them. `paths` are where settings stand, `at` where the
    model is named.
    """
    found: dict[str, Value] = {}
    number = checkpoint.dtype(said.get("dtype"))
    own = checkpoint.dtype(model.dtype) if model else None
    stored = _stored(name, model)
    if number:
        found["dtype"] = found["asked-dtype"] = Value(text=number, path=paths["dtype"])
    elif own and stored is None:
        because = f"the weights of {name} are {own}"
        found["dtype"] = Value(text=own, path=at, because=because, assumed=True)
    chosen = checkpoint.quantization(said.get("quantization")) or checkpoint.quantization(said.get("dtype"))
    if chosen:
        found["asked-quantization"] = Value(text=chosen, path=paths["quantization" if said.get("quantization") else "dtype"])
    if chosen and not (stored or "").startswith(chosen) and not (stored and chosen in checkpoint.CONTAINERS):
        found["quantization"] = found["asked-quantization"]
    elif stored:
        found["quantization"] = Value(text=stored, path=at, because=f"the weights of {name} are stored as {stored}")
    cache = said.get("kv-cache-dtype")
    if cache and cache != "auto":
        found["kv-cache-dtype"] = Value(text=cache.lower(), path=paths["kv-cache-dtype"])
    if model is not None and model.architecture is not None:
        found["model-architecture"] = Value(text=model.architecture, path=at, because=f"{name} is a {model.architecture}")
    experts = model.experts is not None if model is not None and model.architecture else checkpoint.has_experts(name or "") or None
    if experts is not None:
        found["moe"] = Value(text=str(experts).lower(), path=at)
    return found


def usual_fraction(framework: Framework | None, version: str | None, path: Path) -> dict[str, Value]:
    """The part of the memory that the framework's release takes unless it is told otherwise, as the component `memory-fraction`."""
    found = memory.fraction(framework, version) if framework else None
    if framework is None or found is None:
        return {}
    told = " ".join(filter(None, (framework.name, version)))
    return {"memory-fraction": Value(text=f"{found:g}", path=path, because=f"{told} takes {found:g} by itself", assumed=True)}


def _stored(name: str | None, model: Model | None) -> str | None:
    if model is not None and model.quantization is not None:
        return model.quantization
    return checkpoint.in_name(name or "")[1]
