"""`aistack sbom`: bills of materials of a recipe's images, from its lock, without building."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from aistack.commands.lock import lock_path, read_lock
from aistack.compose import sbom
from aistack.compose.lock import identity
from aistack.diagnostics import ExitCode
from aistack.host import python_parts

SCHEMA = "aistack/sbom/v1"


def write(path: Path, *, format: str | None, folder: Path, as_json: bool) -> ExitCode:
    """Writes the documents of a lock, or of the lock beside a recipe, into `folder`, and prints where each lies."""
    python_parts.require()
    lock = read_lock(path if path.suffix == ".json" else lock_path(path))
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, text in sbom.documents(lock, (format,) if format else tuple(sbom.FORMATS)).items():
        file = folder / f"{lock.name}.{name}"
        file.write_text(text, encoding="utf-8")
        rows.append({"image": name.partition(".")[0], "path": str(file), "sha256": hashlib.sha256(text.encode()).hexdigest()})
    if as_json:
        print(json.dumps({"schema": SCHEMA, "lock": identity(lock), "documents": rows}, indent=2))
    else:
        print("\n".join(row["path"] for row in rows))
    return ExitCode.OK
