"""OCI images made by hand for tests: archives with everything that is hard to carry over."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from aistack.host.store import Store

CAPABILITY = bytes.fromhex("0100000200200080000000000000000000000000")
"""A `security.capability` value with a byte that is not ASCII."""


OCI = {"manifest": "application/vnd.oci.image.manifest.v1+json", "config": "application/vnd.oci.image.config.v1+json"}
DOCKER = {
    "manifest": "application/vnd.docker.distribution.manifest.v2+json",
    "config": "application/vnd.docker.container.image.v1+json",
    "gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
}


def file(
    name: str, data: bytes = b"", *, mode: int = 0o644, uid: int = 0, gid: int = 0, xattrs: Mapping[str, bytes] | None = None
) -> tuple[tarfile.TarInfo, bytes]:
    """A regular file."""
    info = tarfile.TarInfo(name)
    info.mode, info.uid, info.gid, info.size, info.mtime = mode, uid, gid, len(data), 1_700_000_000
    info.pax_headers = {f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape") for key, value in (xattrs or {}).items()}
    return info, data


def folder(name: str, *, mode: int = 0o755, uid: int = 0) -> tuple[tarfile.TarInfo, bytes]:
    """A folder."""
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.uid = tarfile.DIRTYPE, mode, uid
    return info, b""


def link(name: str, target: str, *, hard: bool = False) -> tuple[tarfile.TarInfo, bytes]:
    """A symbolic or hard link."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = (tarfile.LNKTYPE if hard else tarfile.SYMTYPE), target
    return info, b""


def device(name: str) -> tuple[tarfile.TarInfo, bytes]:
    """A character device, which no image may bring."""
    info = tarfile.TarInfo(name)
    info.type, info.devmajor, info.devminor = tarfile.CHRTYPE, 1, 3
    return info, b""


def layer(members: Sequence[tuple[tarfile.TarInfo, bytes]], compression: str = "") -> tuple[bytes, str]:
    """An archive of those members and its media type; `compression` is empty, `gzip` or `zstd`."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    data = out.getvalue()
    if compression == "gzip":
        data = gzip.compress(data, mtime=0)
    elif compression == "zstd":
        data = subprocess.run(["zstd", "-qc"], input=data, stdout=subprocess.PIPE, check=True).stdout
    return data, "application/vnd.oci.image.layer.v1.tar" + (f"+{compression}" if compression else "")


def image(store: Store, layers: Sequence[tuple[bytes, str]], labels: Mapping[str, str] | None = None, *, docker: bool = False) -> str:
    """Keep an image of those layers in the store, or one in Docker's format (schema 2); returns its manifest's digest."""

    def keep(data: bytes, media_type: str) -> dict[str, object]:
        digest, size = store.add(io.BytesIO(data))
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": size}

    plain = []
    for data, media_type in layers:
        if media_type.endswith("gzip"):
            data = gzip.decompress(data)
        elif media_type.endswith("zstd"):
            data = subprocess.run(["zstd", "-dqc"], input=data, stdout=subprocess.PIPE, check=True).stdout
        plain.append("sha256:" + store.add(io.BytesIO(data))[0])
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Labels": dict(labels or {})},
        "rootfs": {"type": "layers", "diff_ids": plain},
    }
    types = DOCKER if docker else OCI
    manifest = {
        "schemaVersion": 2,
        "mediaType": types["manifest"],
        "config": keep(json.dumps(config).encode(), types["config"]),
        "layers": [keep(data, DOCKER["gzip"] if docker and media_type.endswith("gzip") else media_type) for data, media_type in layers],
    }
    return str(keep(json.dumps(manifest).encode(), "")["digest"])


def blob(store: Store, digest: str) -> Path:
    """Where the store keeps a digest."""
    return store.blob(digest.removeprefix("sha256:"))
