"""What the names of models tell of models that nobody looked up: how many parameters, stored in how many bits, and of which family.

Publishers write the number of parameters into the name (`-7B`, `8x7B`, `30B-A3B`), and the format where it is not that of training
(`-AWQ`, `-GPTQ-Int4`, `-FP8`, `Q4_K_M`). Numbers in names are rounded, so what is told here is at least and at most.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from aistack.values import dataclass

ROUNDED = 0.9
"""What is left of a number in a name, at least: 6.74 billion are called 7B, 2.8 billion 3B."""
SHARED = 0.65
"""What experts have of their own, at least: Mixtral 8x7B is 46.7 of 56 billion, Phi-3.5-MoE 16x3.8B 41.9 of 60.8."""
UNTOLD = 2.0
"""Bits of formats that exist in several widths, where the name does not say which."""

_EXPERTS = re.compile(r"(?i)(?<![a-z0-9.])(\d+)x(\d+(?:\.\d+)?)b(?![a-z0-9])")
_SIZE = re.compile(r"(?i)(?<![a-z0-9.])e?(\d+(?:\.\d+)?)b(?![a-z0-9])")
_BITS: tuple[tuple[str, float | None], ...] = (
    (r"i?q(\d)_[a-z0-9_]+|(\d(?:\.\d+)?)[-_ ]?bits?|(\d(?:\.\d+)?)[-_ ]?bpw|(?:u?int|nf|mxfp|nvfp|fp|w)([48])(?:a\d+)?", None),
    (r"awq|gptq|bnb|qlora", 4.0),
    (r"gguf|ggml|exl[23]|hqq|aqlm|quip|autoround|mlx|quantized", UNTOLD),
    (r"bitnet|b1\.58", 1.0),
)
_NATIVE: tuple[tuple[str, float], ...] = ((r"gpt-oss|kimi|deepseek-(?!.*distill)(v[3-9]|r\d)|minimax|ling-|ring-", 4.0),)
"""Families that are trained or published in fewer bits than 16, without saying so in their names."""
KIN = (
    (r"(?i)\bdistill-qwen(?=-\d)", "Qwen2.5"),
    (r"(?i)\bdistill-llama(?=-\d)", "Llama-3.1"),
    (r"(?i)\bqwen2(?=-(0\.5|1\.5|7|72)b)", "Qwen2.5"),
    (r"(?i)\bllama-?3(?=-(8|70)b)", "Llama-3.1"),
)
"""Families that are built as another one, size by size: what DeepSeek taught Qwen2.5 and Llama 3.1, Qwen2 and Llama 3."""
_PARTS = re.compile(r"(?i)(?:^|[-_.])(eagle\d?|medusa|draft|speculator|mtp|lora|adapter|peft|controlnet|vae|tokenizer)(?=$|[-_.\d])")
"""Words of names that belong to something that goes with a model, and is smaller than what its name says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a name tells: `parameters` as written, `bits` of one of them; None where the name does not say."""

    parameters: float | None
    least: float | None
    bits: float | None

    def bytes(self, bits: float) -> tuple[int, int] | None:
        """(at least, about) what the weights take in so many bits; None where the name tells no number of parameters."""
        if self.parameters is None or self.least is None:
            return None
        return int(self.least * bits / 8), int(self.parameters * bits / 8)


def told(name: str) -> Told:
    """What the hub's name of a model tells, or a tag of Ollama's (`llama3.1:70b-instruct-q4_0`)."""
    plain = name.rpartition("/")[2]
    if _PARTS.search(plain):
        return Told(parameters=None, least=None, bits=None)
    mixtures = [int(number) * float(size) * 1e9 for number, size in _EXPERTS.findall(plain)]
    sizes = [float(size) * 1e9 for size in _SIZE.findall(plain)]
    if mixtures:
        parameters, least = min(mixtures), min(mixtures) * SHARED
    elif sizes:
        parameters, least = min(sizes), min(sizes) * ROUNDED
    else:
        return Told(parameters=None, least=None, bits=_bits(plain))
    return Told(parameters=parameters, least=least, bits=_bits(plain))


def _bits(name: str) -> float | None:
    """The least that the words of a name say; a word that is used for several widths counts only where none says one."""
    found: list[float] = []
    untold = False
    for pattern, bits in _BITS:
        for match in re.finditer(rf"(?i)(?:^|[-_.:])(?:{pattern})(?=$|[-_.:a])", name):
            own = next((group for group in match.groups() if group), None)
            found += [float(own)] if own else [bits] if bits not in (None, UNTOLD) else []
            untold = untold or (own is None and bits == UNTOLD)
    if not found and untold:
        return UNTOLD
    found += [bits for pattern, bits in _NATIVE if re.search(pattern, name.lower())] if not found else []
    return min(found, default=None)


def contained(name: str, known: Iterable[str]) -> str | None:
    """The known model of which that one is another training, by its name: `Hermes-3-Llama-3.1-8B` is built as `Llama-3.1-8B-Instruct`.

    The longest name that stands in it word by word is taken, where it tells a number of parameters and nothing else does.
    """
    if _PARTS.search(name):
        return None
    candidates = tuple(known)
    alike = (re.sub(pattern, other, name) for pattern, other in KIN if re.search(pattern, name))
    return next((found for one in (name, *alike) if (found := _contained(one, candidates))), None)


def _contained(name: str, known: Iterable[str]) -> str | None:
    words = _words(name)
    sizes = set(_SIZE.findall(name)) | {"x".join(pair) for pair in _EXPERTS.findall(name)}
    best: tuple[int, str] | None = None
    for other in known:
        stem = _words(re.sub(r"(?i)-(instruct|thinking|chat|it|base|v\d[\d.]*)(?=$|-).*$", "", other))
        told_sizes = set(_SIZE.findall(other)) | {"x".join(pair) for pair in _EXPERTS.findall(other)}
        inside = any(words[start : start + len(stem)] == stem for start in range(len(words) - len(stem) + 1))
        if len(stem) >= 2 and told_sizes and told_sizes == sizes and inside and (best is None or len(stem) > best[0]):
            best = (len(stem), other)
    return best[1] if best else None


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[-_]", name.lower().replace("meta-llama", "llama")) if word]
