"""Rules about models: known, reachable, loadable by the framework's release, and small enough for the accelerator."""

from __future__ import annotations

import re
from collections.abc import Iterator

from aistack.compose.rules.data import fits, in_words
from aistack.compose.rules.situation import Finding, Proposal, Situation, code_rule, setting, whole
from aistack.diagnostics import Severity
from aistack.facts.catalog import Model
from aistack.facts.decode import closest
from aistack.facts.snapshot import stated
from aistack.values import dataclass

CHECKED = "2026-11-26"
"""When the sources of the rules were read."""
GENERATING = frozenset({"text", "vision-text"})
"""Kinds of models that keep a cache of each request."""

SCALING = frozenset({"rope-scaling", "hf-overrides"})
"""Options by which a server is told to scale a model's positions, so that it serves longer requests than it was made for."""
LONGER = re.compile(r"rope|max_position_embeddings|max_model_len|model_max_length")
"""What a changed configuration speaks of that allows longer requests."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Of a server that refuses a longer limit than the model's configuration allows: its releases that do (None: all of them).

    `variable` is the one that makes it take any limit.
    """

    releases: str | None = None
    variable: str
    source: str


REFUSALS = {
    "vllm": Refusal(
        variable="VLLM_ALLOW_LONG_MAX_MODEL_LEN",
        source="PyPI: vllm 0.2.7 (vllm/config.py) and 0.33.0 (vllm/config/model.py)",
    ),
    "sglang": Refusal(
        releases=">=0.5.1",
        variable="SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN",
        source="PyPI: sglang 0.5.1.post3 and 0.5.23 (sglang/srt/configs/model_config.py)",
    ),
}
"""By server; SGLang took longer limits, with a warning, before."""
BLOCK = 128
"""How many neighbours share one scale in published FP8 weights (`weight_block_size`), and nearly always in those of AWQ and GPTQ."""
CUTTING, FINER = "<0.29", ">=0.29"
"""The releases of vLLM that refuse to cut the blocks of experts, and those that make their scales finer for it."""
EXPERTS = "https://github.com/vllm-project/vllm/issues/17569"
"""What happens where the blocks of experts are cut; read beside it: vLLM's and SGLang's own code, which the rule names."""
EXPERT_ARGS = frozenset({"enable-expert-parallel", "expert-parallel-size", "ep-size", "ep"})
"""Options by which servers share out whole experts."""
GROUPED = frozenset({"awq", "awq-marlin", "gptq", "gptq-marlin"})
"""Formats in which neighbours share a scale along what tensor parallelism splits; servers split such experts into smaller groups."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugin:
    """What reads a format of weights since these releases of vLLM do not."""

    name: str
    releases: str
    source: str


PLUGINS = {
    "gguf": Plugin(name="vllm-gguf-plugin", releases=">=0.24", source="PyPI: vllm-gguf-plugin"),
    "bitsandbytes": Plugin(name="vllm-bnb-plugin", releases=">=0.28", source="https://github.com/vllm-project/vllm/pull/43529"),
}
"""By the format of the weights."""


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
                    source=next((source for source in model.source if framework in source.lower()), None),
                    checked=model.checked,
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
    """Requests cannot be longer than what the model's configuration allows.

    Servers refuse a longer limit ("User-specified max_model_len is greater than the derived max_model_len") unless they are told to scale
    the model's positions (YaRN), by a recipe's `args`, or in a snapshot by `rope_scaling` or `hf_overrides`. A variable of the environment
    makes them take it as it is; what is computed beyond the model's positions is worth nothing then.

    A snapshot that says neither is taken at its word: such a server does not start. Of a server of which it is not known that it refuses,
    and of a model whose length no document confirms, it is a warning.
    """
    part = situation.part
    if part is None or SCALING & set(part.wish.args):
        return
    for index, (_, model) in enumerate(part.models):
        wanted = whole(part, "context")
        if model is None or model.max_context is None or wanted is None or wanted <= model.max_context or _scaled(situation):
            continue
        path, server = situation.where("context"), _refusing(situation, model)
        severity, why = _judge_context(situation, model, server)
        yield Finding(
            severity=severity,
            message=f"`{path[-1]}: {wanted}` is more than `{model.id}` was made for",
            path=path,
            label=f"at most {model.max_context}",
            also=((part.model_paths[index], "named here"),),
            why=why,
            source=REFUSALS[server].source if server else model.source[0],
            checked=CHECKED if server else model.checked,
            place=f"models/{model.id}",
            proposals=(Proposal(path=path, value=str(model.max_context)),),
            hints=tuple(_scaling_hints(situation, model, wanted)),
        )


def _judge_context(situation: Situation, model: Model, server: str | None) -> tuple[Severity | None, tuple[str, ...]]:
    """(the severity where it is not the rule's own, what speaks for it) of a limit that is too long."""
    told = f"the model's configuration allows {model.max_context} tokens"
    if situation.recipe is not None:
        return (Severity.WARNING if "max-context" in model.recalled else None), (told,)
    if server is None:
        return Severity.WARNING, (told,)
    if (variable := _allowed(situation, server)) is not None:
        return Severity.WARNING, (f"{told}; with {variable} the server starts, and positions beyond them give nonsense or stop it",)
    return None, (f"{told}; {server} refuses to start with more, unless positions are scaled, of which nothing is said",)


def _refusing(situation: Situation, model: Model) -> str | None:
    """The server that is known to refuse a longer limit than the model's, whose own is known for sure."""
    if model.kind not in GENERATING or "max-context" in model.recalled:
        return None
    return next(
        (
            name
            for name, refusal in REFUSALS.items()
            if (value := situation.value(name)) is not None
            and (refusal.releases is None or fits(value, refusal.releases, situation.catalog.scheme(name)))
        ),
        None,
    )


def _allowed(situation: Situation, server: str) -> str | None:
    """The variable that makes the server take any limit, where it is set."""
    variable = REFUSALS[server].variable
    said = situation.text(f"frameworks.{server}.env.{variable}")
    return variable if stated(said) or said == "1" else None


def _scaled(situation: Situation) -> bool:
    """Whether a snapshot says that positions are scaled, or that the configuration is changed so that it allows longer requests."""
    if situation.snapshot is None:
        return False
    seen = situation.seen.model
    return seen.rope_scaling not in (None, "none") or LONGER.search(str(seen.hf_overrides or "")) is not None


def _scaling_hints(situation: Situation, model: Model, wanted: int) -> Iterator[str]:
    if model.scaled_context is not None and wanted <= model.scaled_context:
        yield f"up to {model.scaled_context} tokens its makers scale its positions with YaRN: `--hf-overrides` with `rope_parameters`"
    if situation.snapshot is not None:
        yield "where positions are scaled already, say so in the snapshot: `model.rope_scaling` or `model.hf_overrides`"


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
                source=model.source[0],
                checked=model.checked,
                place=f"models/{model.id}",
                proposals=tuple(
                    Proposal(path=path, value=str(number))
                    for number in range(min(wanted, count or wanted), 0, -1)
                    if uneven(model, number) is None
                ),
            )


def _blocks(situation: Situation) -> Iterator[Finding]:
    """Weights that share a scale can only be split where a group of them ends.

    Tensor parallelism splits each layer's perceptron, or each expert of a mixture of experts: its width, divided by the accelerators,
    must be a multiple of 128 for FP8 with one scale for each block of 128 x 128, and where there are no experts of the group's size for AWQ
    and GPTQ, which is nearly always 128. Else the server stops while it loads ("is not divisible by weight quantization block_n", "not
    aligned with the quantized weight shape"). vLLM splits the blocks of experts since 0.29, and makes their scales finer for that.

    Sharing out whole experts (expert parallelism) avoids the split. A server does that only where it is told to: a recipe says so by its
    `args`, a snapshot by `expert_parallel`, and where that says nothing it is a warning.
    """
    part = situation.part
    parallel = whole(part, "tensor-parallel") if part else None
    stored = setting(part, "quantization") if part and parallel else None
    for index, (_, model) in enumerate(part.models if part and stored else ()):
        width = (model.expert_size or model.intermediate_size) if model else None
        shared = stored == "fp8-block" or (stored in GROUPED and model is not None and model.experts is None)
        if part is None or model is None or not parallel or not width or not shared:
            continue
        whole_experts = _shares_experts(situation) if model.expert_size else None
        if whole_experts or (model.expert_size and fits(situation.value("vllm"), FINER, situation.catalog.scheme("vllm"))):
            continue
        if width % BLOCK == 0 and width % (parallel * BLOCK):
            possible = [number for number in range(1, parallel) if width % (number * BLOCK) == 0 and uneven(model, number) is None]
            split = "each expert" if model.expert_size else "the perceptron"
            yield Finding(
                severity=Severity.ERROR if whole_experts is False and _refuses_parts(situation) else None,
                message=f"{split} of `{model.id}` is {width} wide: a split by {parallel} cuts the groups of {BLOCK} that share a scale",
                path=situation.where("tensor-parallel"),
                label=f"at most {possible[-1]}{', or experts that are not split' if model.expert_size else ''}" if possible else None,
                also=((part.model_paths[index], "named here"),),
                why=(f"the weights are stored as {stored}",),
                source=EXPERTS if model.expert_size else None,
                checked=CHECKED if model.expert_size else None,
                place=f"models/{model.id}",
                hints=("share out whole experts: `--enable-expert-parallel`",) if model.expert_size else (),
            )


def _refuses_parts(situation: Situation) -> bool:
    """Whether the server is known to stop where a block is cut; SGLang may pad experts on AMD's accelerators."""
    before = fits(situation.value("vllm"), CUTTING, situation.catalog.scheme("vllm"))
    return before is True or (situation.value("sglang") is not None and situation.text("vendor") == "nvidia")


def _shares_experts(situation: Situation) -> bool | None:
    """Whether whole experts are shared out; None where a snapshot does not say."""
    if situation.snapshot is not None:
        return situation.snapshot.model.expert_parallel
    return situation.part is not None and not EXPERT_ARGS.isdisjoint(situation.part.wish.args)


def _plugin(situation: Situation) -> Iterator[Finding]:
    """Some formats of weights have left vLLM: since then a plugin of its own reads them, which has to be installed beside it.

    An app that a recipe builds holds what its framework brings, which such a plugin is not. An image that somebody else built may hold it,
    and a snapshot may leave it out.
    """
    part, stored = situation.part, situation.value("quantization")
    plugin = PLUGINS.get(stored.text or "") if stored else None
    value = situation.value("vllm") if plugin else None
    if part is None or stored is None or plugin is None or value is None:
        return
    if fits(value, plugin.releases, situation.catalog.scheme("vllm")) is not True or plugin.name in part.values:
        return
    yield Finding(
        severity=None if situation.recipe and not part.wish.image else Severity.WARNING,
        message=f"vLLM {value.text} reads {stored.text} weights only with the plugin `{plugin.name}`",
        path=stored.path,
        label="not read by vLLM alone",
        also=((value.path, "named here"),),
        why=(stored.because,) if stored.because else (),
        source=plugin.source,
        checked=CHECKED,
        hints=(f"install `{plugin.name}`, or take weights in another format",),
    )


RULES = (
    code_rule(_known, "MD101", "model-unknown", "app"),
    code_rule(_gated, "MD102", "model-gated", "app", severity=Severity.WARNING),
    code_rule(
        _framework, "MD103", "model-framework", "app", "framework", of="both", topics=("framework-pins", "precision-or-quantization")
    ),
    code_rule(_framework_told, "MD109", "model-framework-unknown", "app", of="snapshot", topics=("framework-pins",)),
    code_rule(_context, "MD104", "model-context", "app", of="both", topics=("memory-fit",)),
    code_rule(_parallel, "MD105", "tensor-parallel", "app", of="both", topics=("memory-fit",)),
    code_rule(
        _blocks,
        "MD106",
        "quantization-blocks",
        "app",
        severity=Severity.WARNING,
        of="both",
        topics=("precision-or-quantization", "memory-fit"),
        source=(
            "PyPI: vllm 0.8.5 to 0.28.0 (vllm/model_executor/layers/quantization/fp8.py)",
            "PyPI: vllm 0.29.0 and 0.33.0 (vllm/model_executor/layers/fused_moe/oracle/fp8.py and layers/quantization/utils/fp8_utils.py)",
            "PyPI: sglang 0.5.23 (sglang/srt/layers/quantization/fp8.py)",
            "PyPI: vllm 0.20.2 (vllm/model_executor/layers/quantization/awq.py, gptq.py)",
        ),
        checked=CHECKED,
    ),
    code_rule(_plugin, "MD107", "quantization-plugin", "app", "framework", of="both", topics=("precision-or-quantization",)),
)
