"""The store of bound images on a disk, made the same bytes every time.

skopeo lays images into a containers-storage folder with random short names for layers, the time of day, and tokens of the last writer.
Nothing reads these as facts, so they are set to what follows from the content.
Format: https://github.com/containers/storage, overlay driver and `overlay-layers/layers.json`; seen with skopeo 1.18 and podman 5.4.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from pathlib import Path

NEVER = "1970-01-01T00:00:00Z"
RAW = 2


def normalise(storage: Path) -> None:
    """Rewrite a finished store in place: short link names by layer id, no times, no tokens, tar-split records compressed one way."""
    _rename_links(storage / "overlay")
    layers = storage / "overlay-layers" / "layers.json"
    if layers.exists():
        documents = json.loads(layers.read_text())
        for document in documents:
            document["created"] = NEVER
        layers.write_text(json.dumps(documents, separators=(",", ":")))
    for record in sorted(storage.glob("overlay-layers/*.tar-split.gz")):
        record.write_bytes(gzip.compress(_merged(gzip.decompress(record.read_bytes())), compresslevel=9, mtime=0))
    for lock in storage.rglob("*.lock"):
        if not re.search(r"/overlay/[^/]+/(diff|merged|work)/", str(lock)) and lock.is_file() and not lock.is_symlink():
            lock.write_bytes(b"")


def _merged(record: bytes) -> bytes:
    """A tar-split record whose runs of raw bytes are one segment each: how they were cut depends on how fast a pipe was read.

    Lines of JSON, type 1 a file, type 2 raw bytes (base64), `position` counting from 0: https://github.com/vbatts/tar-split.
    """
    entries: list[dict[str, object]] = []
    for line in record.splitlines():
        entry = json.loads(line)
        last = entries[-1] if entries else {}
        if entry["type"] == RAW == last.get("type"):
            joined = base64.b64decode(str(last["payload"])) + base64.b64decode(entry["payload"])
            last["payload"] = base64.b64encode(joined).decode()
        else:
            entries.append(entry | {"position": len(entries)})
    return b"".join(json.dumps(entry, separators=(",", ":")).encode() + b"\n" for entry in entries)


def _rename_links(overlay: Path) -> None:
    """Each layer's short name (`overlay/l/NAME`, its `link` file, the `lower` files of layers above it) follows from its id."""
    names = {}
    for link in sorted(overlay.glob("*/link")):
        names[link.read_text()] = base64.b32encode(hashlib.sha256(link.parent.name.encode()).digest())[:26].decode()
    for old, new in names.items():
        (overlay / "l" / old).rename(overlay / "l" / new)
    for link in overlay.glob("*/link"):
        link.write_text(names[link.read_text()])
    for lower in overlay.glob("*/lower"):
        lower.write_text(re.sub(r"l/([A-Z2-7]{26})", lambda match: f"l/{names[match[1]]}", lower.read_text()))
