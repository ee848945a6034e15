"""How much memory a model needs, by arithmetic: all sizes in bytes, for one accelerator.

Serving a text model fills an accelerator's memory with three things:

- the **weights**, split over the accelerators that share the work (`tensor-parallel`);
- the **KV cache**: keys and values of every token that is being worked on, in every layer. One token takes
  2 x layers x KV heads x head size x 2 bytes in 16 bit; it is split over at most as many accelerators as there are KV heads.
  A server refuses to start when not even one request of the longest allowed length fits, so that length is counted once;
- what a forward pass needs beside them (activations, CUDA graphs, fragments): taken as `RESERVE` of weights and cache.

The framework takes only a part of the memory (vLLM: 0.92). An accelerator shows programs less than it is sold with
(`Accelerator.visible_bytes`).

Of a machine that already has a model the weights and the peak of the forward pass may have been measured. Beside them a process
needs memory that torch does not count: CUDA's context, and the buffers of the collective operations where several share the work.
"""

from __future__ import annotations

from aistack.facts.catalog import GIB, Accelerator, Framework, Model
from aistack.facts.checkpoint import BYTES
from aistack.facts.version import VersionFormatError, parse_range
from aistack.values import dataclass

MIB = 1 << 20
RESERVE = 0.10
OUTSIDE = GIB // 4
"""What a process takes beside what torch counts, and once more where several accelerators share the work."""
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

    @property
    def least(self) -> int:
        """Weights and the cache of one longest request."""
        return self.weights + self.cache

    @property
    def comfortable(self) -> int:
        """The same with room for the forward pass."""
        return int(self.least * (1 + RESERVE))

    @property
    def longest_context(self) -> int:
        """How many tokens fit beside the weights, reserve included; 0 when not even the weights do."""
        room = self.available / (1 + RESERVE) - self.weights
        return max(0, int(room * self.context / self.cache)) if self.cache else 0


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


def cache(model: Model, context: int, parallel: int, *, eight_bit: bool = False) -> int | None:
    """The bytes of one request's cache on each accelerator; None where the geometry is not known."""
    if model.kv_bytes_per_token is None:
        return None
    shares = min(parallel, model.kv_heads or 1)
    return -(-model.kv_bytes_per_token * context // (shares * (2 if eight_bit else 1)))


def outside(parallel: int) -> int:
    """What a process takes on one accelerator beside what was measured of weights and forward pass."""
    return OUTSIDE * (1 if parallel == 1 else 2)


def fit(model: Model, accelerator: Accelerator, *, context: int, parallel: int, fraction: float, eight_bit: bool = False) -> Fit | None:
    """The arithmetic for one model on `parallel` accelerators with requests of up to `context` tokens; None where facts are missing."""
    memory, whole, cached = visible(accelerator), weights(model), cache(model, context, parallel, eight_bit=eight_bit)
    if memory is None or whole is None or cached is None:
        return None
    return Fit(
        weights=-(-whole // parallel),
        cache=cached,
        available=int(memory * fraction),
        context=context,
    )


def node_memory_mib(apps: tuple[tuple[Framework | None, tuple[Model, ...]], ...], *, on_processor: bool) -> int:
    """The memory that a node must have, in MiB, in steps of 256.

    On a processor the weights are counted 1.3 times (the framework's copy and its buffers); with an accelerator they only pass through.
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
