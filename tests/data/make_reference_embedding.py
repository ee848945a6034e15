"""Makes models/ORG/NAME.embedding.json: what a model's own weights give for one sentence, computed by torch alone.

Usage: python3 make_reference_embedding.py MODEL_FOLDER OUTPUT.json, where MODEL_FOLDER holds the model's files as the hub has them.
The recorded vector was made with Debian forky's python3-torch 2.14.1, python3-transformers 5.12.1 and Python 3.14 on one CPU
thread; the versions that were really used are written into the output. It shares no code with the server that it judges: the
tokens come from the model's own tokenizer, the steps after the network (mean over the tokens, then length 1) are those that the
model's `modules.json` names.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from pathlib import Path

import torch
import transformers
from transformers import AutoModel, AutoTokenizer

SENTENCE = "A node that answers is a node that works."


def main(folder: Path, output: Path) -> None:
    """Compute the vector and write it with what it was made from."""
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        tokens = tokenizer(SENTENCE, return_tensors="pt", truncation=True, max_length=256)
        states = model(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1).float()
        vector = torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=1)[0]
    document = {
        "schema": "aistack/reference-embedding/v1",
        "model": "sentence-transformers/all-MiniLM-L6-v2",
        "input": SENTENCE,
        "tokens": int(tokens["input_ids"].shape[1]),
        "weights": {"file": "model.safetensors", "sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()},
        "made-with": {
            "script": "tests/data/make_reference_embedding.py",
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        },
        "embedding": [round(number, 7) for number in vector.tolist()],
    }
    output.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
