"""Rules about models: known, reachable, loadable by the framework's release, and small enough for the accelerator."""

from __future__ import annotations

from collections.abc import Iterator

from aistack.compose.rules.data import fits, in_words
from aistack.compose.rules.situation import Finding, Proposal, Situation, code_rule, setting, whole
from aistack.diagnostics import Severity
from aistack.facts.catalog import Model
from aistack.facts.decode import closest

SCALING = frozenset({"rope-scaling", "hf-overrides"})
"""Options by which a server is told to scale a model's positions, so that it serves longer requests than it was made for."""
BLOCK = 128
"""The width of the blocks that share one scale in published FP8 weights (`weight_block_size`)."""


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
    for index, (_, model) in enumerate(part.models if part else ()):
        for framework, wanted in (model.frameworks if model else {}).items():
            value = situation.value(framework)
            if part is None or model is None or value is None or value.text is None:
                continue
            if fits(value, wanted, situation.catalog.scheme(framework)) is False:
                yield Finding(
                    message=f"{framework} {value.text} does not know `{model.id}` ({model.architecture})",
                    path=value.path,
                    label=f"needs {in_words(wanted)}",
                    also=((part.model_paths[index], "named here"),),
                    place=f"models/{model.id}",
                )


def _framework_told(situation: Situation) -> Iterator[Finding]:
    """Whether a framework loads a model is known where a document or the framework's own files say it; elsewhere it is not.

    The format in which a checkpoint's weights are stored must be one that it loads on that platform, too.
    """
    part, product = situation.part, situation.accelerator
    framework = part.framework if part else None
    if part is None or framework is None or framework.models == "none":
        return
    for index, (_, model) in enumerate(part.models):
        if model is None:
            continue
        stored = setting(part, "quantization")
        told = framework.stored.get(product.platform) if product else None
        what = ""
        if framework.id not in model.frameworks:
            what = f"loads `{model.id}` ({model.architecture or 'its architecture is not known'})"
        elif stored is not None and told is not None and stored not in told:
            what = f"loads {stored} weights on {product.name if product else ''}"
        if what:
            yield Finding(
                severity=Severity.UNKNOWN,
                message=f"could not tell whether {framework.name} {what}: no document says so",
                path=part.model_paths[index],
                place=f"models/{model.id}",
            )


def _context(situation: Situation) -> Iterator[Finding]:
    """Requests cannot be longer than what the model was made for.

    Servers refuse a longer limit unless they are told to scale the model's positions (YaRN), which a recipe's `args` may do. A snapshot
    says nothing of it: there it is a warning.
    """
    part = situation.part
    if part is None or SCALING & set(part.wish.args):
        return
    for index, (_, model) in enumerate(part.models):
        wanted = whole(part, "context")
        if model is not None and model.max_context is not None and wanted is not None and wanted > model.max_context:
            path = situation.where("context")
            yield Finding(
                severity=None if situation.recipe else Severity.WARNING,
                message=f"`{path[-1]}: {wanted}` is more than `{model.id}` was made for",
                path=path,
                label=f"at most {model.max_context}",
                also=((part.model_paths[index], "named here"),),
                place=f"models/{model.id}",
                proposals=(Proposal(path=path, value=str(model.max_context)),),
            )


def uneven(model: Model, count: int) -> str | None:
    """Which heads so many accelerators cannot share: `40 attention heads`, `10 KV heads`; None where they can, or nothing is known.

    Where there are more accelerators than KV heads, each head is copied: then the number of accelerators must be a multiple of theirs.
    """
    if model.attention_heads is not None and model.attention_heads % count:
        return f"{model.attention_heads} attention heads"
    if model.kv_heads is not None and model.kv_heads % count and count % model.kv_heads:
        return f"{model.kv_heads} KV heads"
    return None


def shares(model: Model, most: int) -> tuple[int, ...]:
    """The powers of two, up to `most` and the largest first, that can share the model's tensors."""
    return tuple(by for by in (1 << power for power in range(most.bit_length() - 1, -1, -1)) if uneven(model, by) is None)


def _parallel(situation: Situation) -> Iterator[Finding]:
    """Tensor parallelism splits attention heads over accelerators: there must be enough of them, and the split must come out even.

    Several machines may share the work; a snapshot is about one of them, so a multiple of what it has is a warning there.
    """
    part = situation.part
    wanted = whole(part, "tensor-parallel") if part else None
    if part is None or wanted is None or wanted < 1:
        return
    path = situation.where("tensor-parallel")
    count = int(situation.text("accelerator-count") or 0)
    if count and wanted > count:
        yield Finding(
            severity=Severity.WARNING if situation.snapshot is not None and wanted % count == 0 else None,
            message=f"`{path[-1]}: {wanted}`, but the node has {count} accelerator{'' if count == 1 else 's'}",
            path=path,
            also=((("accelerator", "count"), "given here"),),
            proposals=(Proposal(path=path, value=str(count)), Proposal(path=("accelerator", "count"), value=str(wanted))),
        )
        return
    for index, (_, model) in enumerate(part.models):
        if model is None:
            continue
        heads = uneven(model, wanted)
        if heads is not None:
            yield Finding(
                message=f"`{model.id}` has {heads}, which {wanted} accelerators cannot share evenly",
                path=path,
                also=((part.model_paths[index], "named here"),),
                place=f"models/{model.id}",
                proposals=tuple(
                    Proposal(path=path, value=str(number))
                    for number in range(min(wanted, count or wanted), 0, -1)
                    if uneven(model, number) is None
                ),
            )


def _expert_blocks(situation: Situation) -> Iterator[Finding]:
    """Weights with one scale for each block of 128 x 128 can only be split where a block ends.

    Tensor parallelism splits each expert of a mixture of experts: its width, divided by the accelerators, must be a multiple of 128, or
    the server stops while it loads. Sharing out whole experts (expert parallelism) avoids the split.
    """
    part = situation.part
    parallel = whole(part, "tensor-parallel") if part else None
    for index, (_, model) in enumerate(part.models if part else ()):
        if part is None or model is None or not parallel or model.expert_size is None or model.quantization != "fp8-block":
            continue
        if model.expert_size % (parallel * BLOCK):
            possible = [number for number in range(1, parallel) if model.expert_size % (number * BLOCK) == 0]
            yield Finding(
                message=f"each expert of `{model.id}` is {model.expert_size} wide: a split by {parallel} cuts its blocks of {BLOCK}",
                path=situation.where("tensor-parallel"),
                label=f"at most {possible[-1]}, or experts that are not split" if possible else None,
                also=((part.model_paths[index], "named here"),),
                place=f"models/{model.id}",
                hints=("share out whole experts: `--enable-expert-parallel`",),
            )


RULES = (
    code_rule(_known, "MD101", "model-unknown", "app"),
    code_rule(_gated, "MD102", "model-gated", "app", severity=Severity.WARNING),
    code_rule(
        _framework, "MD103", "model-framework", "app", "framework", of="both", topics=("framework-pins", "precision-or-quantization")
    ),
    code_rule(_framework_told, "MD107", "model-framework-unknown", "app", of="snapshot", topics=("framework-pins",)),
    code_rule(_context, "MD104", "model-context", "app", of="both", topics=("memory-fit",)),
    code_rule(_parallel, "MD105", "tensor-parallel", "app", of="both", topics=("memory-fit",)),
    code_rule(
        _expert_blocks,
        "MD106",
        "expert-blocks",
        "app",
        severity=Severity.WARNING,
        of="both",
        topics=("precision-or-quantization", "memory-fit"),
    ),
)
