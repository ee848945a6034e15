"""Rules about memory: whether a model fits the accelerators."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from aistack.compose import memory
from aistack.compose.memory import Cache, Fit, fit, in_gib
from aistack.compose.rules.model import GENERATING, shares
from aistack.compose.rules.situation import Finding, Part, Proposal, Situation, code_rule, setting, whole
from aistack.diagnostics import Severity
from aistack.facts.catalog import GIB, VISIBLE, Accelerator, Model
from aistack.facts.model_names import told
from aistack.values import dataclass

ON_ACCELERATORS = frozenset(
    {
        "vllm",
        "sglang",
        "tensorrt-llm",
        "tgi",
        "lmdeploy",
        "lightllm",
        "aphrodite-engine",
        "exllamav2",
        "exllamav3",
        "tabbyapi",
        "mlc-llm",
        "nim",
    }
)
"""Servers that keep the whole model in the accelerators' memory, those too of which the catalog knows nothing else."""
REFUSING = frozenset({"vllm"})
"""Servers that start only where the longest request fits, which is by default the one that the model was made for."""
MOST = 16
"""The most accelerators of one machine that are looked at."""


def _fits(situation: Situation) -> Iterator[Finding]:
    """A model's weights and the cache of one longest request must fit into the accelerator's memory.

    The arithmetic: weights / tensor-parallel + KV bytes per token x longest request / min(tensor-parallel, KV heads), against the
    memory that programs see x the part of it that the framework takes. Layers that look back only so far keep no more than that, where the
    framework's release makes use of it. Above that the server does not start (error); with less
    than 10 % to spare for the forward pass it may not (warning). A shorter longest request, more accelerators, a quantized model
    or an 8-bit cache make room.
    """
    product = situation.accelerator
    if product is None or product.is_processor:
        return
    for part in situation.parts:
        framework = part.framework
        if situation.recipe is None or framework is None or _fraction(part) is None or not framework.runs_on(product):
            continue
        for index, (_, model) in enumerate(part.models):
            if model is not None and model.kind in GENERATING:
                yield from _judge_fit(situation, part, model, index)


def _judge_fit(situation: Situation, part: Part, model: Model, index: int) -> Iterator[Finding]:
    product, framework, fraction = situation.accelerator, part.framework, _fraction(part)
    assert product is not None and framework is not None and fraction is not None
    path = part.model_paths[index]
    parallel = whole(part, "tensor-parallel") or 1
    context = whole(part, "context") or model.max_context
    windowed, smaller = _windowed(part, model), memory.smaller(setting(part, "kv-cache-dtype"))

    def shared(by: int) -> Fit | None:
        if not context:
            return None
        return fit(model, product, context=context, parallel=by, fraction=fraction, windowed=windowed, smaller=smaller)

    found = shared(parallel)
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
    own = framework.options.get("tensor-parallel")
    hints: tuple[str, ...] = ()
    if own is not None:
        count = int(situation.text("accelerator-count") or 1)
        place = part.values["tensor-parallel"].path if "tensor-parallel" in part.values else (*part.path, "args", own)
        proposals += [Proposal(path=place, value=str(by)) for by in shares(model, count) if by > parallel]
        more = [by for by in reversed(shares(model, MOST)) if by > parallel]
        enough = next(((by, room) for by in more if (room := shared(by)) and room.comfortable <= room.available), None)
        if enough is None:
            hints = (f"up to {MOST} of them do not hold it for such requests",)
        elif enough[0] > count:
            by, room = enough
            hints = (
                f"{by} of them hold it: `accelerator.count: {by}` with `{own}: {by}` needs {in_gib(room.comfortable)} of the "
                f"{in_gib(room.available)} that can be used on each",
            )
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
        hints=hints,
    )


def _fraction(part: Part) -> float | None:
    """The part of the memory that the server takes; None where that is not known, or what is said is no number."""
    try:
        return float(setting(part, "memory-fraction") or "")
    except ValueError:
        return memory.fraction(part.framework) if part.framework else None


def _idle(situation: Situation) -> Iterator[Finding]:
    """A server uses one accelerator unless it is told to share the work among several: the others have nothing to do.

    What it is told to share by are its options for parallelism (tensors, layers, requests), multiplied. Several apps may each have
    accelerators of their own, so what they use is added up. Apps whose framework has no such option are not judged.
    """
    product, count = situation.accelerator, int(situation.text("accelerator-count") or 0)
    parts = [part for part in situation.parts if part.framework and product and part.framework.runs_on(product) and part.models]
    if count < 2 or not parts or any(part.framework is None or "tensor-parallel" not in part.framework.options for part in parts):
        return
    degrees = [_degree(part) for part in parts]
    used = sum(degree for degree in degrees if degree)
    if None in degrees or used >= count:
        return
    part, proposals = parts[0], [Proposal(path=("accelerator", "count"), value=str(used))]
    assert part.framework is not None
    own = part.framework.options["tensor-parallel"]
    place = part.values["tensor-parallel"].path if "tensor-parallel" in part.values else (*part.path, "args", own)
    model = part.models[0][1]
    if len(parts) == 1 and model is not None:
        several = used // (whole(part, "tensor-parallel") or 1)
        proposals = [Proposal(path=place, value=str(by)) for by in shares(model, count // several) if by * several > used] + proposals
    yield Finding(
        message=f"{count - used} of {count} accelerators have nothing to do",
        path=("accelerator", "count"),
        label=f"the apps use {used}",
        why=(f"{part.framework.name} shares the work among several only where `{own}` says so",),
        proposals=tuple(proposals),
    )


def _degree(part: Part) -> int | None:
    """How many accelerators an app uses, by its options for parallelism; None where one of them is no number."""
    degree = whole(part, "tensor-parallel") or 1
    own = part.framework.options.get("tensor-parallel") if part.framework else None
    for option, text in part.wish.args.items():
        if option != own and option.endswith("-parallel-size"):
            if text is None or not text.isdigit():
                return None
            degree *= int(text)
    return degree


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a snapshot says of the memory of one accelerator, and the part of it that the server takes, None where that is not known.

    `parallel` says how many accelerators share the work; `certain` is false where their number is not said.
    """

    accelerator: Accelerator
    fraction: float | None
    parallel: int
    certain: bool

    @property
    def visible(self) -> int:
        """The bytes that programs see."""
        return self.accelerator.visible_bytes or 0

    @property
    def available(self) -> int:
        """The bytes that the server may take."""
        return int(self.visible * (self.fraction or 1))

    @property
    def fills(self) -> bool:
        """Whether it is known what part of the memory the server takes."""
        return self.fraction is not None

    def holds(self, size: int) -> bool:
        """Whether so many bytes fit into what the server may take."""
        return self.accelerator.holds(size, self.fraction or 1)


def _fits_there(situation: Situation) -> Iterator[Finding]:
    """On a machine that serves a model, weights, forward pass and the cache of a request must fit into each accelerator's memory.

    What was measured (`weights_gib_per_gpu`, `activation_peak_gib`) is taken as it is; else the weights are those of the catalog, or at
    least the number of parameters times the bytes that the format needs, shared by all accelerators that may share the work. The
    cache is counted for the longest request that the snapshot states; where it states none, for a very short one. vLLM takes then what
    the model was made for and does not start where one such request does not fit, which is a warning: the limit may be set, unsaid.
    Where the number of accelerators is not said, one is assumed, and where there are more than share the tensors they may share the
    layers: then the finding is a warning. Of programs that can keep a part of the model in the machine's own memory, and of those whose
    part of the accelerator's memory is not known, it can only be told that all fits easily.
    """
    part, room = situation.part, room_of(situation)
    name, model = part.models[0] if part and part.models else (None, None)
    if part is not None and room is None and _unmeasured(situation) and model is not None and model.kind == "text":
        assert situation.accelerator is not None
        message = f"could not tell whether `{name}` fits {situation.accelerator.name}: the memory is not known"
        yield Finding(severity=Severity.UNKNOWN, message=message, path=("accelerator", "product"), place=f"models/{name}")
    if part is None or room is None:
        return
    seen = situation.seen.model
    weights = _weights(part, model, seen.weights_gib_per_gpu, room.parallel)
    if weights is None:
        if model is not None and model.kind == "text":
            yield from _unsized(part, model, room)
        return
    activations = int((seen.activation_peak_gib or 0) * GIB)
    context = whole(part, "context") or memory.SHORTEST
    counted = [(weights, "weights")]
    if seen.weights_gib_per_gpu is not None:
        counted += [(activations, "forward pass"), (memory.outside(room.parallel), "what torch does not count")]
    beside = sum(size for size, _ in counted)
    kept = _kept(part, model, room, beside) if model and room.fills else None
    if kept is not None:
        counted.append((kept.size(context), f"cache for one request of {context} tokens"))
    total = sum(size for size, _ in counted)
    if room.holds(total):
        if model is not None and kept is not None and room.certain and "context" not in part.values:
            yield from _default_context(part, model, room, kept, beside)
        if model is not None and not room.fills and seen.weights_gib_per_gpu is None and "context" in part.values:
            yield from _unsure(part, model, room, weights, context)
        return
    each = "" if room.parallel == 1 else f" on each of {room.parallel} accelerators"
    shorter = kept is not None and room.holds(beside + kept.size(memory.SHORTEST)) and not _refuses(part)
    longest = kept.longest(room.available - beside) if kept else 0
    unsure = shorter or not (room.certain or seen.weights_gib_per_gpu is not None)
    yield Finding(
        severity=Severity.WARNING if unsure else None,
        message=f"`{name or 'the model'}` does not fit{f' with requests of {context} tokens' if shorter else ''}: "
        f"needs {in_gib(total)}{each}, {in_gib(room.available)} can be used",
        path=("model", "id") if name else ("model",),
        also=((("accelerator",), f"programs see {in_gib(room.visible)}"),),
        why=(
            " + ".join(f"{what} {in_gib(size)}" for size, what in counted if size),
            *((f"the server starts, and refuses requests longer than {longest} tokens",) if shorter else ()),
            *(() if room.certain else ("how many accelerators share the work is not said for sure",)),
        ),
        source=model.source[0] if model else None,
        checked=model.checked if model else None,
        place=f"models/{name}",
        hints=("share the work among more accelerators, shorten the longest request, or take weights in a smaller format",),
    )


def _kept(part: Part, model: Model, room: Room, beside: int) -> Cache | None:
    """What a request keeps on each accelerator; which release serves it is asked only where that decides whether it fits."""
    smaller = memory.smaller(setting(part, "kv-cache-dtype"))
    least = memory.cache(model, room.parallel, smaller=smaller)
    most = memory.cache(model, room.parallel, smaller=smaller, windowed=False)
    if least is None or most is None or least == most:
        return least
    longest = whole(part, "context") or model.max_context or memory.SHORTEST
    if not room.holds(beside + least.size(memory.SHORTEST)) or room.holds(beside + most.size(longest)):
        return least
    return least if _windowed(part, model) else most


def _windowed(part: Part, model: Model) -> bool:
    """Whether the release of the app's framework keeps of layers with a window only what that needs."""
    if model.window_kind is None:
        return True
    value = part.values.get(part.framework.id) if part.framework else None
    return memory.windowed(part.framework, None if value is None or value.series else value.text, model)


def _refuses(part: Part) -> bool:
    return any(server in part.values for server in REFUSING)


def resident(part: Part) -> bool:
    """Whether the whole model has to be in the accelerators' memory, for all that is known of what serves it."""
    framework = part.framework
    if framework is not None and framework.models != "none" and not framework.spills:
        return True
    return any(server in part.values for server in ON_ACCELERATORS)


def _unsized(part: Part, model: Model, room: Room) -> Iterator[Finding]:
    """Of a model whose size is not known, or that need not be in the accelerators' memory as a whole, what that leaves open."""
    framework, size = part.framework, memory.weights(_as_loaded(model, setting(part, "quantization")))
    if size is None and told(model.id).parameters is None and (room.fills or (framework is not None and framework.models != "none")):
        open_question = "the size of its weights is not known"
    elif size is not None and framework is not None and framework.spills and not room.accelerator.holds(size, room.parallel):
        beside = in_gib(size - room.visible * room.parallel)
        open_question = f"its weights take {in_gib(size)}, of which {beside} must be in the machine's own memory"
    else:
        return
    yield Finding(
        severity=Severity.UNKNOWN,
        message=f"could not tell whether `{model.id}` fits: {open_question}",
        path=("model", "id"),
        place=f"models/{model.id}",
    )


def _unsure(part: Part, model: Model, room: Room, weights: int, context: int) -> Iterator[Finding]:
    """Where the server's part of the memory is not known, only what every server takes is sure to be there for the longest request."""
    smaller = memory.smaller(setting(part, "kv-cache-dtype"))
    kept = memory.cache(model, room.parallel, smaller=smaller, windowed=_windowed(part, model))
    if kept is None or room.accelerator.holds(int((weights + kept.size(context)) * (1 + memory.RESERVE)), memory.SURE):
        return
    cached = kept.size(context)
    yield Finding(
        severity=Severity.UNKNOWN,
        message=f"could not tell whether a request of {context} tokens fits beside the weights of `{model.id}`: together they take "
        f"{in_gib(weights + cached)}, and how much of {in_gib(room.visible)} the server takes is not known",
        path=("model", "id"),
        why=(f"weights {in_gib(weights)} + cache {in_gib(cached)}",),
        place=f"models/{model.id}",
    )


def _unmeasured(situation: Situation) -> bool:
    """Whether one product is meant that has memory of its own, of which neither the catalog nor the snapshot says how much."""
    product, part = situation.accelerator, situation.part
    if product is None or product.is_processor or part is None or _fraction(part) is None:
        return False
    return not product.has_known_memory and product.id in situation.catalog.accelerators


def _default_context(part: Part, model: Model, room: Room, kept: Cache, beside: int) -> Iterator[Finding]:
    """Where no longest request is said, the server may take the model's own, for which there may be no room beside the weights."""
    longest = None if "max-context" in model.recalled else model.max_context
    if not longest or room.holds(beside + kept.size(longest)) or not _refuses(part):
        return
    name, spare = model.id, room.available - beside
    yield Finding(
        severity=Severity.WARNING,
        message=f"`{name}` does not fit with requests of {longest} tokens, which are the default where no limit is set",
        path=("model", "id"),
        label=f"one such request needs {in_gib(kept.size(longest))} beside the weights, there are {in_gib(spare)}",
        also=((("accelerator",), f"programs see {in_gib(room.visible)}"),),
        why=("the snapshot says no `max_model_len`: the model's own length is assumed",),
        source="https://github.com/vllm-project/vllm/issues/10517",
        checked="2026-11-26",
        place=f"models/{name}",
        hints=(f"`--max-model-len {kept.longest(spare) // 1024 * 1024}` or less leaves room for one request",),
    )


def _weights(part: Part, model: Model | None, measured: float | None, parallel: int) -> int | None:
    """The bytes of weights on one accelerator; None where they are not known, or need not be there."""
    if measured is not None:
        return int(measured * GIB)
    if model is None or not resident(part):
        return None
    found = memory.weights(_as_loaded(model, setting(part, "quantization")))
    return None if found is None else -(-found // parallel)


def room_of(situation: Situation) -> Room | None:
    """What a snapshot says of memory; None where it says nothing of it."""
    part, product, seen = situation.part, situation.accelerator, situation.seen.accelerator
    if product is None and seen.memory_gib:
        size = int(seen.memory_gib * GIB * VISIBLE)
        product = Accelerator(id="", name="", vendor="", kind="", memory_bytes=size, source=(), checked="")
    if part is None or product is None or not product.has_known_memory or product.is_processor:
        return None
    stated = whole(part, "tensor-parallel")
    return Room(
        accelerator=product,
        fraction=_fraction(part),
        parallel=stated or seen.count or 1,
        certain=bool(stated or seen.count) and (stated is None or (seen.count or 0) <= stated),
    )


def _as_loaded(model: Model, stored: str | None) -> Model:
    """The model in the format that the server is told to load it in; servers halve the numbers of 32 bit."""
    if stored is not None and stored != model.quantization:
        return replace(model, quantization=stored, weights_bytes=None)
    if model.dtype == "float32" and model.weights_bytes is not None:
        return replace(model, weights_bytes=model.weights_bytes // 2)
    return model


RULES = (
    code_rule(_fits, "ME101", "model-fits", "stack", topics=("memory-fit",)),
    code_rule(_fits_there, "ME102", "model-fits-there", "app", of="snapshot", topics=("memory-fit",)),
    code_rule(_idle, "ME103", "accelerators-idle", "stack", severity=Severity.WARNING),
)
