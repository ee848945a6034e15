"""Debian packages and their control text: reading stanzas, and the control file inside a .deb.

Formats: deb(5), deb-control(5), deb822(5).
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

from aistack.diagnostics import DiagnosticError, unable
from aistack.host import process

AR_MAGIC = b"!<arch>\n"
AR_HEADER = 60


def stanzas(text: str) -> Iterator[dict[str, str]]:
    """The stanzas of a control text as {field: value}; continuation lines keep their line breaks, comment lines are dropped."""
    fields: dict[str, str] = {}
    name = ""
    for line in text.split("\n"):
        if line.startswith("#"):
            continue
        if not line.strip():
            if fields:
                yield fields
            fields, name = {}, ""
        elif line[0] in " \t":
            if name:
                fields[name] += "\n" + line.strip()
        else:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    if fields:
        yield fields


def control(deb: Path) -> str:
    """The text of a package's control file; raises DiagnosticError when the file is no Debian package."""
    try:
        with deb.open("rb") as stream:
            if stream.read(len(AR_MAGIC)) != AR_MAGIC:
                raise _broken(deb, "it is not an ar archive")
            while head := stream.read(AR_HEADER):
                name = head[:16].decode("ascii", "replace").strip().rstrip("/")
                size = int(head[48:58])
                if name in ("control.tar", "control.tar.gz", "control.tar.xz"):
                    return _control_text(stream.read(size))
                if name.startswith("control.tar"):  # a compression that this Python does not know
                    return process.run(["dpkg-deb", "--field", str(deb)]).stdout
                stream.seek(size + size % 2, io.SEEK_CUR)
    except (OSError, ValueError, KeyError, tarfile.TarError) as error:
        raise _broken(deb, f"{type(error).__name__}: {error}") from error
    raise _broken(deb, "it has no control file")


def _control_text(data: bytes) -> str:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:*") as archive:
        for member in archive:
            if member.name.removeprefix("./") == "control":
                stream = archive.extractfile(member)
                if stream is not None:
                    return stream.read().decode("utf-8", "replace")
    raise KeyError("control")


def _broken(deb: Path, reason: str) -> DiagnosticError:
    return unable("PKG007", "package-broken", f"`{deb.name}` cannot be read as a Debian package", why=(reason,))
