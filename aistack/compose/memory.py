"""How much memory a model needs, by arithmetic: all sizes in bytes, for one accelerator.

Serving a text model fills an accelerator's memory with three things:

- the **weights**, split over the accelerators that share the work (`tensor-parallel`);
- the **KV cache**: keys and values of every token that is being worked on, in every layer. One token takes
  2 x layers x KV heads x head size x 2 bytes in 16 bit; it is split over at most as many accelerators as there are KV heads.
  A server refuses to start when not even one request of the longest allowed length fits, so that length is counted once;
- what a forward pass needs beside them (activations, CUDA graphs, fragments): taken as `RESERVE` of weights and cache.

The framework takes only a part of the memory (vLLM: 0.9). An accelerator shows programs less than it is sold with: where no
document states how much, `VISIBLE` of the marketed size is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

from aistack.facts.catalog import Accelerator, Framework, Model

GIB = 1 << 30
MIB = 1 << 20
RESERVE = 0.10
VISIBLE = 0.97
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
    if accelerator.memory_bytes is not None:
        return accelerator.memory_bytes
    return None if accelerator.memory_gib is None else int(accelerator.memory_gib * GIB * VISIBLE)


def fit(model: Model, accelerator: Accelerator, *, context: int, parallel: int, fraction: float) -> Fit | None:
    """The arithmetic for one model on `parallel` accelerators with requests of up to `context` tokens; None where facts are missing."""
    memory = visible(accelerator)
    if memory is None or model.weights_bytes is None or model.kv_bytes_per_token is None:
        return None
    shares = min(parallel, model.kv_heads or 1)
    return Fit(
        weights=-(-model.weights_bytes // parallel),
        cache=-(-model.kv_bytes_per_token * context // shares),
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
