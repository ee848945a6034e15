"""Turns a model in safetensors into one GGUF file: a small driver for the conversion code that llama.cpp's Debian package ships.

Runs inside a throw-away root (`python3 -m aistack.host.gguf MODEL_FOLDER OUTPUT TYPE`) that holds python3-torch,
python3-transformers, python3-gguf and llama.cpp-tools. The package carries the conversion library without the script that
upstream puts before it, so this module calls the library itself. It can go away once the package ships that script.
The result depends on the model's files, TYPE and the root's packages alone: the name inside is always `model`, nothing is looked up
in a hub, and nothing that is written holds a time or a path. A model card among the files would be read into the metadata.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from pathlib import Path
from typing import Any

LIBRARY = Path("/usr/share/llama.cpp/llama.cpp-tools")
TYPES = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "bf16": "MOSTLY_BF16"}


def convert(model: Path, output: Path, type: str) -> None:
    """Write the model in folder `model` as one GGUF file whose tensors are of `type` (`f32`, `f16`, `bf16`).

    Raises what the library raises (an architecture that it does not know is a NotImplementedError); the caller sees it as
    the exit code of this program.
    """
    os.environ["NO_LOCAL_GGUF"] = "1"  # the library's own copy of python3-gguf is not packaged
    sys.path.insert(1, str(LIBRARY))
    torch: Any = importlib.import_module("torch")
    gguf: Any = importlib.import_module("gguf")
    conversion: Any = importlib.import_module("conversion")
    with torch.inference_mode():
        parameters = conversion.ModelBase.load_hparams(model, False, guess=False)
        architecture = conversion.get_model_architecture(parameters, conversion.ModelType.TEXT)
        build = conversion.get_model_class(architecture)
        kind = getattr(gguf.LlamaFileType, TYPES[type])
        build(model, kind, output, model_name="model", hparams=parameters).write()


def main(arguments: list[str]) -> int:
    """The program: three arguments as in the module's first lines; exit code 2 when they do not fit."""
    if len(arguments) != 3 or arguments[2] not in TYPES:
        print("usage: python3 -m aistack.host.gguf MODEL_FOLDER OUTPUT f32|f16|bf16", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    convert(Path(arguments[0]), Path(arguments[1]), arguments[2])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
