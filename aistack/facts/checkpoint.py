"""How weights are stored and computed with, in one word each, however a report, a recipe or a hub's name writes it."""

from __future__ import annotations

import re

DTYPES = {
    "bf16": "bfloat16",
    "bfloat16": "bfloat16",
    "fp16": "float16",
    "float16": "float16",
    "half": "float16",
    "fp32": "float32",
    "float": "float32",
    "float32": "float32",
}
"""Number formats to compute with, by their other names."""

_FORMATS = {
    "fp8-block": r"fp8[ _-]?(block\w*|e4m3-block)|block[ _-]?fp8",
    "nvfp4": r"nvfp4|modelopt[_-]fp4|fp4",
    "mxfp4": r"mxfp4",
    "mxfp8": r"mxfp8",
    "fp8-modelopt": r"modelopt([_-]fp8)?",
    "fp8": r"fp8|float8\w*|fbgemm_fp8|w8a8[_-]fp8",
    "awq-marlin": r"awq[_-]marlin",
    "awq": r"(auto[_-]?)?awq",
    "gptq-marlin": r"gptq[_-]marlin",
    "gptq": r"(auto[_-]?)?gptq(-int[48])?",
    "bitsandbytes": r"bitsandbytes|bnb(-[48]bit)?|nf4",
    "int8": r"int8|w8a8([_-]int8)?|smoothquant",
    "int4": r"int4|w4a16",
    "gguf": r"gguf|q\d_\w+",
}
"""Formats of weights, and how they are written; the more special first."""

_IN_NAME = re.compile(
    r"(?i)[-_.](?P<what>nvfp4|fp4|mxfp4|mxfp8|fp8(-block|-dynamic|-static\w*)?|awq|gptq(-int[48])?|bnb-[48]bit|w8a8|w4a16|int[48]|gguf)"
    r"(?=$|[-_.])"
)
CONTAINERS = frozenset({"compressed-tensors", "fp8-modelopt", "quark", "auto-round", "inc", "moe_wna16"})
"""What servers call formats of files in which weights may be stored in several ways: which it is, the files or the name tell."""
PUBLISHERS = {"nvidia": "fp8-modelopt", "qwen": "fp8-block"}
"""What the FP8 weights are at whose name's end these publishers write no more than `FP8`."""
BYTES = {"fp8": 1.0, "fp8-block": 1.0, "fp8-modelopt": 1.0, "mxfp8": 1.0, "int8": 1.0} | dict.fromkeys(
    ("nvfp4", "mxfp4", "awq", "awq-marlin", "gptq", "gptq-marlin", "bitsandbytes", "int4"), 0.5
)
"""The least that one parameter takes."""


def dtype(word: str | None) -> str | None:
    """`bfloat16` of `bf16`; None where nothing is said, or that is left to the program (`auto`)."""
    return DTYPES.get((word or "").lower())


def quantization(word: str | None) -> str | None:
    """`nvfp4` of `modelopt_fp4`; the word itself where it is none of those known, None where nothing is said."""
    if not word or word.lower() in ("none", "auto"):
        return None
    found = next((name for name, pattern in _FORMATS.items() if re.fullmatch(pattern, word.lower())), None)
    return found or (None if dtype(word) else word.lower())


def in_name(model: str) -> tuple[str, str | None]:
    """(the name without its format, the format) of a hub's name: (`Qwen3-32B`, `awq`) of `Qwen/Qwen3-32B-AWQ`.

    That the format stands at the end of the name is a convention that publishers keep.
    """
    owner, _, name = model.rpartition("/")
    found = _IN_NAME.search(name)
    if found is None:
        return name, None
    what = found["what"].lower()
    stored = PUBLISHERS.get(owner.lower(), what) if what == "fp8" else re.sub(r"-(dynamic|static\w*)$", "", what)
    return name[: found.start()], quantization(stored)


def origins(name: str) -> tuple[str, ...]:
    """Names, in small letters, of models that are built as the one of that name (without its format): other dates and trainings of it."""
    plain = re.sub(r"^meta-(?=llama)", "", name.lower())
    undated = re.sub(r"-\d{4}$", "", plain)
    untrained = re.sub(r"-(instruct|thinking|chat|it|base)$", "", undated)
    return tuple(dict.fromkeys((plain, undated, untrained, f"{untrained}-instruct")))


def family(name: str) -> str:
    """What the names of a model's next minor versions have in common: `minimax-m2` of `MiniMax-M2.5`."""
    return re.sub(r"(?<=\d)\.\d+", "", name.lower())


def has_experts(model: str) -> bool:
    """Whether a hub's name says that it is a mixture of experts: `…-30B-A3B`, `…-8x7B`."""
    return re.search(r"(?i)\d+b-a\d+(\.\d+)?b\b|\d+x\d+b\b", model) is not None
