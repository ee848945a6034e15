"""How much memory a model needs, by arithmetic: all sizes in bytes, for one accelerator.

Serving a text model fills an accelerator's memory with three things:

- the **weights**, split over the accelerators that share the work (`tensor-parallel`);
- the **KV cache**: keys and values of every token that is being worked on, in every layer. One token takes
  2 x layers x KV heads x head size x 2 bytes in 16 bit; it is split over at most as many accelerators as there are KV heads.
  Layers that look back only so far keep, where the framework's release makes use of that, the tokens of their window and those that are
  being computed (`BATCH`). Latent attention (MLA) has one head for all, which every accelerator keeps a copy of. Layers of Mamba or linear
  attention keep a fixed state, some tens of MiB for a request, which is not counted.
  A server refuses to start when not even one request of the longest allowed length fits, so that length is counted once;
- what a forward pass needs beside them (activations, CUDA graphs, fragments): taken as `RESERVE` of weights and cache.

The framework takes only a part of the memory (vLLM: 0.92). An accelerator shows programs less than it is sold with
(`Accelerator.visible_bytes`).

Of a machine that already has a model the weights and the peak of the forward pass may have been measured. Beside them a process
needs memory that torch does not count: CUDA's context, and the buffers of the collective operations where several share the work.
"""

from __future__ import annotations

import re

from aistack.facts.catalog import GIB, Accelerator, Framework, Model
from aistack.facts.checkpoint import BYTES
from aistack.facts.version import VersionFormatError, parse_range
from aistack.values import dataclass

MIB = 1 << 20
RESERVE = 0.10
ENDLESS = 1 << 40
"""The longest request where its length does not count."""
OUTSIDE = GIB // 4
"""What a process takes beside what torch counts, and once more where several accelerators share the work."""
BATCH = 2048
"""Tokens that are computed at once and lie in the cache beside a window: vLLM's default on small accelerators, more on large ones."""
SURE = 0.8
"""The part of the memory that a server takes at least, where nobody says how large it is."""
SHORTEST = 4096
"""Tokens of a request below which nobody serves a model."""
NODE_MIB = 768
"""What the node itself needs: kernel, services, container engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Bytes on one accelerator, for requests of up to `context` tokens; `available` is what the framework may take."""

    weights: int
    cache: int
    available: int
    context: int
    longest_context: int
    """How many tokens fit beside the weights, reserve included; 0 when not even the weights do."""

    @property
    def least(self) -> int:
        """Weights and the cache of one longest request."""
        return self.weights + self.cache

    @property
    def comfortable(self) -> int:
        """The same with room for the forward pass."""
        return int(self.least * (1 + RESERVE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cache:
    """What a request keeps: `token` bytes for each of its tokens and `window_token` more for at most `held`, split into `shares`."""

    token: int
    window_token: int = 0
    held: int = 0
    shares: int = 1

    def size(self, context: int) -> int:
        """The bytes on each accelerator of a request of so many tokens."""
        return -(-(self.token * context + self.window_token * min(context, self.held)) // self.shares)

    def longest(self, room: float) -> int:
        """The tokens of the longest request that finds room on each accelerator."""
        whole = int(room) * self.shares
        beyond = whole - self.window_token * self.held
        if beyond < self.token * self.held:
            return max(0, whole // (self.token + self.window_token))
        return beyond // self.token if self.token else ENDLESS


def visible(accelerator: Accelerator) -> int | None:
    """The memory that programs see on one accelerator, None where it is not known."""
    return accelerator.visible_bytes


def fraction(framework: Framework, version: str | None = None) -> float | None:
    """The part of the memory that a release takes by itself, the least of any where none is named; None where that is not known."""
    if version is None:
        return min(framework.memory_fraction.values(), default=None)
    for wanted, part in framework.memory_fraction.items():
        try:
            if parse_range(wanted, framework.versions).admits(version):
                return part
        except VersionFormatError:
            continue
    return fraction(framework) if framework.memory_fraction else None


def weights(model: Model) -> int | None:
    """The weights' bytes, or at least how many they are by the number of parameters and their format; None where that is not known."""
    if model.weights_bytes is not None:
        return model.weights_bytes
    least = BYTES.get(model.quantization or "")
    if least is None or model.parameters is None or "parameters" in model.recalled:
        return None
    return int(model.parameters * least)


def cache(model: Model, parallel: int, *, windowed: bool = True, smaller: int = 1) -> Cache | None:
    """What a request keeps on each accelerator, None where the geometry is not known; `smaller` than in 16 bit so many times.

    Without `windowed`, layers that look back only so far keep everything nevertheless.
    """
    if model.kv_bytes_per_token is None:
        return None
    token, window_token = model.kv_bytes_per_token, model.window_kv_bytes_per_token or 0
    shares = min(parallel, model.kv_heads or 1) * smaller
    if not window_token or not windowed:
        return Cache(token=token + window_token, shares=shares)
    return Cache(token=token, window_token=window_token, held=(model.window or 0) - 1 + BATCH, shares=shares)


def windowed(framework: Framework | None, version: str | None, model: Model) -> bool:
    """Whether layers that look back only so far keep only so much, by the framework's release; taken for granted where it is not known."""
    wanted = framework.window_cache.get(model.window_kind) if framework and model.window_kind else None
    try:
        return wanted is None or framework is None or version is None or parse_range(wanted, framework.versions).admits(version)
    except VersionFormatError:
        return True


def smaller(number_format: str | None) -> int:
    """How many times smaller than in 16 bit a cache in that format is; the most that it may be, where its name has two numbers."""
    if number_format is None:
        return 1
    if re.search(r"fp4|int4|4bit", number_format):
        return 4
    return 2 if re.search(r"fp8|int8|8bit", number_format) else 1


def outside(parallel: int) -> int:
    """What a process takes on one accelerator beside what was measured of weights and forward pass."""
    return OUTSIDE * (1 if parallel == 1 else 2)


def fit(
    model: Model,
    accelerator: Accelerator,
    *,
    context: int,
    parallel: int,
    fraction: float,
    windowed: bool = True,
    smaller: int = 1,
) -> Fit | None:
    """The arithmetic for one model on `parallel` accelerators with requests of up to `context` tokens; None where facts are missing."""
    memory, whole, cached = visible(accelerator), weights(model), cache(model, parallel, windowed=windowed, smaller=smaller)
    if memory is None or whole is None or cached is None:
        return None
    share, available = -(-whole // parallel), int(memory * fraction)
    return Fit(
        weights=share,
        cache=cached.size(context),
        available=available,
        context=context,
        longest_context=cached.longest(available / (1 + RESERVE) - share),
    )


def in_node(accelerator: Accelerator | None) -> bool:
    """Whether models stay in the node's own memory: they run on its processor, or on an accelerator that has no memory of its own."""
    return accelerator is None or accelerator.is_processor or accelerator.shared_memory


def node_memory_mib(apps: tuple[tuple[Framework | None, tuple[Model, ...]], ...], *, on_processor: bool) -> int:
    """The memory that a node must have, in MiB, in steps of 256.

    In the node's own memory the weights are counted 1.3 times (the framework's copy and its buffers); to that of an accelerator they only
    pass through.
    """
    total = float(NODE_MIB)
    for framework, models in apps:
        total += (framework.memory_mib if framework else None) or 512
        if on_processor:
            total += sum(1.3 * (model.weights_bytes or 0) for model in models) / MIB
    return -(-int(total) // 256) * 256


def in_gib(size: int) -> str:
    """A size in bytes as people read it: `15.3 GiB`."""
    return f"{size / GIB:.1f} GiB"
