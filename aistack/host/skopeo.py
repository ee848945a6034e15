"""Images from anywhere, brought into the store by skopeo: layouts, archives, a registry, a user's own containers."""

from __future__ import annotations

import json
import re
from pathlib import Path

from aistack.diagnostics import unable
from aistack.host import process
from aistack.host.store import Store, digest

TRANSPORTS = ("containers-storage:", "dir:", "docker://", "docker-archive:", "docker-daemon:", "oci:", "oci-archive:")
"""How skopeo's names of images begin (skopeo(1), IMAGE NAMES)."""

STORAGE = "containers-storage:"
"""podman's store keeps layers unpacked: what they were compressed to, and so the manifest's digest, is gone."""


def names_image(text: str) -> bool:
    """Whether a word of the command line is an image as skopeo names it, rather than a file."""
    return text.startswith(TRANSPORTS)


def bring(store: Store, name: str) -> str:
    """Bring an image into the store and return its manifest's digest; each part is held against the digest that names it.

    Manifest and parts stay as they are, save where the place that they come from does not keep them. The machine's own policy and
    credentials for images count. Raises DiagnosticError (exit 3) with skopeo's words, or with the part that is not what its name says.
    """
    with store.scratch() as scratch:
        folder = scratch / "image"
        keeping = () if name.startswith(STORAGE) else ("--preserve-digests",)
        argv = [process.require("skopeo", "skopeo"), "copy", "--quiet", *keeping, name, f"dir:{folder}"]
        done = process.run(argv, check=False)
        if done.returncode != 0:
            why = tuple(line.partition("msg=")[2] or line for line in done.stderr.splitlines())[-process.LINES_THAT_MATTER :]
            raise unable(
                "OCI007", "image-not-brought", f"`{name}` cannot be read as an image", why=why, hints=(f"try `skopeo inspect {name}`",)
            )
        manifest = digest(folder / "manifest.json")
        if (named := _named(name)) and manifest not in named:
            why = (f"its index names {', '.join(sorted(named))}, the manifest has {manifest}",)
            raise unable("OCI006", "part-damaged", f"`{name}`: the manifest is not the one that the layout's index names", why=why)
        (folder / "manifest.json").rename(folder / manifest)
        for part in folder.iterdir():
            if re.fullmatch(r"[0-9a-f]{64}", part.name):
                if (found := digest(part)) != part.name:
                    why = (f"its digest is sha256:{found}",)
                    raise unable("OCI006", "part-damaged", f"`{name}`: the part sha256:{part.name} is not what its name says", why=why)
                store.adopt(part, part.name)
    return f"sha256:{manifest}"


def _named(name: str) -> set[str]:
    """The manifests (sha256) that the index of a layout folder names; none where an index names indexes, or for other transports.

    skopeo checks every link but this one.
    """
    transport, _, rest = name.partition(":")
    file = Path(rest.partition(":")[0]) / "index.json"
    if transport != "oci" or not file.is_file():
        return set()
    named = json.loads(file.read_bytes()).get("manifests", [])
    if any("index" in one.get("mediaType", "") or "list" in one.get("mediaType", "") for one in named):
        return set()
    return {str(one["digest"]).removeprefix("sha256:") for one in named}
