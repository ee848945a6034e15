"""Rules about models: known, reachable, loadable by the framework's release, and small enough for the accelerator."""

from __future__ import annotations

from collections.abc import Iterator

from aistack.compose.memory import fit, in_gib
from aistack.compose.rules.data import fits, in_words
from aistack.compose.rules.situation import Finding, Part, Proposal, Situation, code_rule
from aistack.diagnostics import Severity
from aistack.facts.catalog import Model
from aistack.facts.decode import closest


def _known(situation: Situation) -> Iterator[Finding]:
    """A model outside the catalog can be built, but nothing is known about its size, its format and its licence.

    Nothing can be checked for it until the hub is asked, which `aistack lock` does.
    """
    part = situation.part
    for index, (name, model) in enumerate(part.models if part else ()):
        if part is not None and model is None:
            guess = closest(name, situation.catalog.models)
            yield Finding(
                severity=Severity.UNKNOWN,
                message=f"model `{name}` is not in the catalog: its memory, format and licence are not known",
                path=part.model_paths[index],
                hints=(f"did you mean `{guess}`?",) if guess else ("`aistack list models` shows what is known",),
            )


def _gated(situation: Situation) -> Iterator[Finding]:
    """The hub hands a gated model only to accounts that accepted its licence.

    Accept it on the model's page, then give `aistack lock` and `aistack build` a token, as `HF_TOKEN` or by the hub's own login.
    """
    part = situation.part
    for index, (_, model) in enumerate(part.models if part else ()):
        if part is not None and model is not None and model.gated:
            terms = situation.catalog.terms.get(model.licence)
            licence = terms.name if terms else model.licence
            yield Finding(
                message=f"`{model.id}` is gated: fetching it needs an account that accepted its licence ({licence})",
                path=part.model_paths[index],
                place=f"models/{model.id}",
                hints=("accept the licence on the model's page and set HF_TOKEN before `aistack lock`",),
            )


def _framework(situation: Situation) -> Iterator[Finding]:
    """A framework's release must know the model's architecture.

    vLLM, for example, keeps a registry of architectures in each release; an older release refuses to load the model.
    """
    part = situation.part
    if part is None or part.framework is None or part.release is None:
        return
    for index, (_, model) in enumerate(part.models):
        wanted = model.frameworks.get(part.framework.id) if model else None
        value = situation.value(part.framework.id)
        if model is None or wanted is None or value is None:
            continue
        if fits(value, wanted, part.framework.versions) is False:
            yield Finding(
                message=f"{part.framework.id} {part.release.version} does not know `{model.id}` ({model.architecture})",
                path=value.path,
                label=f"needs {in_words(wanted)}",
                also=((part.model_paths[index], "named here"),),
                place=f"models/{model.id}",
            )


def _whole(part: Part, name: str) -> int | None:
    text = part.values[name].text if name in part.values else None
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def _context(situation: Situation) -> Iterator[Finding]:
    """Requests cannot be longer than what the model was made for."""
    part = situation.part
    if part is None:
        return
    for index, (_, model) in enumerate(part.models):
        wanted = _whole(part, "context")
        if model is not None and model.max_context is not None and wanted is not None and wanted > model.max_context:
            path = situation.where("context")
            yield Finding(
                message=f"`{path[-1]}: {wanted}` is more than `{model.id}` was made for",
                path=path,
                label=f"at most {model.max_context}",
                also=((part.model_paths[index], "named here"),),
                place=f"models/{model.id}",
                proposals=(Proposal(path=path, value=str(model.max_context)),),
            )


def evenly(model: Model, count: int) -> bool:
    """Whether so many accelerators can share the model's attention heads, as far as its geometry is known."""
    if model.attention_heads is None:
        return True
    whole = model.attention_heads % count == 0
    return whole and (model.kv_heads is None or model.kv_heads % count == 0 or count % model.kv_heads == 0)


def _parallel(situation: Situation) -> Iterator[Finding]:
    """Tensor parallelism splits attention heads over accelerators: there must be enough of them, and the split must come out even."""
    part = situation.part
    wanted = _whole(part, "tensor-parallel") if part else None
    if part is None or wanted is None or wanted < 1:
        return
    path = situation.where("tensor-parallel")
    count = int(situation.text("accelerator-count") or 0)
    if count and wanted > count:
        yield Finding(
            message=f"`{path[-1]}: {wanted}`, but the node has {count} accelerator{'' if count == 1 else 's'}",
            path=path,
            also=((("accelerator", "count"), "given here"),),
            proposals=(Proposal(path=path, value=str(count)), Proposal(path=("accelerator", "count"), value=str(wanted))),
        )
        return
    for index, (_, model) in enumerate(part.models):
        if model is None or model.attention_heads is None:
            continue
        if not evenly(model, wanted):
            yield Finding(
                message=f"`{model.id}` has {model.attention_heads} attention heads, which {wanted} accelerators cannot share evenly",
                path=path,
                also=((part.model_paths[index], "named here"),),
                place=f"models/{model.id}",
                proposals=tuple(
                    Proposal(path=path, value=str(number))
                    for number in range(min(wanted, count or wanted), 0, -1)
                    if model.attention_heads % number == 0
                ),
            )


def _fits(situation: Situation) -> Iterator[Finding]:
    """A model's weights and the cache of one longest request must fit into the accelerator's memory.

    The arithmetic: weights / tensor-parallel + KV bytes per token x longest request / min(tensor-parallel, KV heads), against the
    memory that programs see x the part of it that the framework takes. Above that the server does not start (error); with less
    than 10 % to spare for the forward pass it may not (warning). A shorter longest request, more accelerators, a quantized model
    or an 8-bit cache make room.
    """
    product = situation.accelerator
    if product is None or product.vendor == "cpu":
        return
    for part in situation.parts:
        framework = part.framework
        if framework is None or framework.memory_fraction is None or product.vendor not in framework.vendors:
            continue
        for index, (_, model) in enumerate(part.models):
            if model is not None and model.kind == "text":
                yield from _judge_fit(situation, part, model, index)


def _judge_fit(situation: Situation, part: Part, model: Model, index: int) -> Iterator[Finding]:
    product, framework = situation.accelerator, part.framework
    assert product is not None and framework is not None and framework.memory_fraction is not None
    path = part.model_paths[index]
    asked = part.values.get("memory-fraction")
    try:
        fraction = float(asked.text) if asked and asked.text else framework.memory_fraction
    except ValueError:
        fraction = framework.memory_fraction
    parallel = _whole(part, "tensor-parallel") or 1
    context = _whole(part, "context") or model.max_context
    found = fit(model, product, context=context, parallel=parallel, fraction=fraction) if context else None
    if found is None:
        yield Finding(
            severity=Severity.UNKNOWN,
            message=f"could not tell whether `{model.id}` fits {product.name}: its geometry or the memory is not known",
            path=path,
            place=f"models/{model.id}",
        )
        return
    if found.comfortable <= found.available:
        return
    tight = found.least <= found.available
    own = framework.options.get("context")
    proposals = []
    if own is not None and found.longest_context >= 1024:
        place = part.values["context"].path if "context" in part.values else (*part.path, "args", own)
        proposals.append(Proposal(path=place, value=str(found.longest_context // 1024 * 1024)))
    per_accelerator = "" if parallel == 1 else f" on each of {parallel}"
    yield Finding(
        severity=Severity.WARNING if tight else Severity.ERROR,
        message=f"`{model.id}` {'barely fits' if tight else 'does not fit'} {product.name}",
        path=path,
        label=f"needs {in_gib(found.least)}{per_accelerator}, {in_gib(found.available)} can be used",
        also=((("accelerator", "product"), "named here"),),
        why=(
            f"weights {in_gib(found.weights)} + cache for one request of {context} tokens {in_gib(found.cache)} = {in_gib(found.least)}; "
            f"with {10} % for the forward pass {in_gib(found.comfortable)}",
            f"{framework.name} takes {fraction:g} of the memory that programs see",
        ),
        place=f"models/{model.id}",
        proposals=tuple(proposals),
    )


RULES = (
    code_rule(_known, "MD101", "model-unknown", "app"),
    code_rule(_gated, "MD102", "model-gated", "app", severity=Severity.WARNING),
    code_rule(
        _framework, "MD103", "model-framework", "app", "framework", of="both", topics=("framework-pins", "precision-or-quantization")
    ),
    code_rule(_context, "MD104", "model-context", "app", of="both", topics=("memory-fit",)),
    code_rule(_parallel, "MD105", "tensor-parallel", "app", of="both", topics=("memory-fit",)),
    code_rule(_fits, "ME101", "model-fits", "stack", of="both", topics=("memory-fit",)),
)
