"""Whether a model that nobody looked up fits, by what its name tells."""

from __future__ import annotations

from collections.abc import Iterator

from aistack.compose import memory
from aistack.compose.memory import in_gib
from aistack.compose.rules.memory import Room, resident, room_of
from aistack.compose.rules.situation import Finding, Part, Situation, code_rule, setting
from aistack.diagnostics import Severity
from aistack.facts.checkpoint import BYTES
from aistack.facts.model_names import UNTOLD, Told, told

SHRINKING = frozenset(
    {"ollama", "llama.cpp", "llama-cpp-python", "koboldcpp", "lmstudio", "ktransformers", "exllamav2", "exllamav3", "mlx"}
)
"""Programs whose models mostly are quantized ones, in widths that their names often leave out."""


def _fits_by_name(situation: Situation) -> Iterator[Finding]:
    """What a model's name tells of its size must fit into the memory of all accelerators together.

    Names tell the number of parameters (`70B`, `8x7B`) and mostly the format of the weights (`AWQ`, `FP8`, `Q4_K_M`; else 16 bit). From
    that the least that the weights can take is counted: numbers are taken as rounded up, experts as sharing a third. Where even that
    exceeds the memory of all accelerators, a server that keeps the model there cannot load it. Where it fits but what the name says does
    not, with the part of the memory that the server takes, it is doubtful; so it is where the number of accelerators is not said, and for
    programs that can keep a part elsewhere. Models of the catalog are judged by their facts (ME102).
    """
    part, room = situation.part, room_of(situation)
    name, model = part.models[0] if part and part.models else (None, None)
    if part is None or room is None or name is None or situation.seen.model.weights_gib_per_gpu is not None:
        return
    if model is not None and memory.weights(model) is not None:
        return
    found = told(name)
    sizes = found.bytes(_bits(part, found))
    whole = resident(part)
    if sizes is None:
        if room.fills and whole and model is None:
            message = f"could not tell whether `{name}` fits: neither the catalog nor its name tells how large it is"
            yield Finding(severity=Severity.UNKNOWN, message=message, path=("model", "id"))
        return
    yield from _judge(situation, name, room, sizes, _bits(part, found), whole=whole)


def _judge(situation: Situation, name: str, room: Room, sizes: tuple[int, int], bits: float, *, whole: bool) -> Iterator[Finding]:
    (least, about), seen = sizes, situation.seen
    count = max(seen.accelerator.count or 0, room.parallel)
    known = bool(seen.accelerator.count or seen.model.tensor_parallel)
    if about <= count * room.available:
        return
    certain = least > count * room.visible and known and whole
    each = f"{count} x {in_gib(room.visible)}" if count > 1 else in_gib(room.visible)
    yield Finding(
        severity=None if certain else Severity.WARNING,
        message=f"`{name}` {'does not fit' if least > count * room.visible else 'hardly fits'}: by its name the weights take "
        f"about {in_gib(about)}, programs see {each}",
        path=("model", "id"),
        label=f"at least {in_gib(least)} of weights",
        also=((("accelerator",), f"{in_gib(count * room.available)} can be used"),),
        why=(
            f"counted with {bits:g} bits for each parameter that the name tells",
            *(() if known else ("how many accelerators share the work is not said: one is assumed",)),
            *(() if whole else ("the program may keep a part of the model outside of the accelerators",)),
        ),
        hints=("share the model among more accelerators, or take it in a smaller format",),
    )


def _bits(part: Part, found: Told) -> float:
    """In how many bits a parameter is stored at least: by the name, by what is said of the format, else as it is trained."""
    stored = setting(part, "quantization")
    said = BYTES[stored] * 8 if stored in BYTES else UNTOLD if stored is not None else None
    known = [bits for bits in (found.bits, said) if bits is not None]
    if known:
        return min(known)
    return 4.0 if any(program in part.values for program in SHRINKING) else 16.0


RULES = (code_rule(_fits_by_name, "ME104", "model-fits-by-name", "app", of="snapshot", topics=("memory-fit",)),)
