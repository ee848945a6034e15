"""How containers get NVIDIA's accelerators: a CDI specification of the devices and the driver's files that this machine really has.

https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md says how it is read; podman's `--device nvidia.com/gpu=all`
asks for it. No program has to run in the container: each library lies in the folders that the loader searches anyway, under the name
that programs ask for.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

KIND = "nvidia.com/gpu"
VERSION = "0.5.0"
TARGET = "run/cdi/nvidia.json"
COMMON = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
"""Device nodes that every container needs beside those of its accelerators."""

PROGRAMS = ("nvidia-smi", "nvidia-debugdump", "nvidia-cuda-mps-control", "nvidia-cuda-mps-server")
DISPLAY = re.compile(r"lib(EGL|GL|GLES|GLX|OpenGL|nvidia-(egl|gl|glsi|glvk|tls|rtcore|fbc|vulkan|wayland|xlib)|vdpau|nvoptix)")
"""Libraries that draw: what computes does without."""

OPTIONS = ("ro", "nosuid", "nodev", "rbind", "rprivate")
MULTIARCH = {"x86_64": "x86_64-linux-gnu", "aarch64": "aarch64-linux-gnu"}


def specification(
    devices: Sequence[str], common: Sequence[str], libraries: Mapping[str, str], programs: Sequence[str], machine: str
) -> Any:
    """The document. `devices` are nodes such as `/dev/nvidia0`, `libraries` maps a name that programs load to the host's file of it.

    `machine` is the processor as uname calls it: it decides in which of Debian's folders the container's loader looks.
    """
    folders = (f"/usr/lib/{MULTIARCH.get(machine, machine)}", "/usr/lib64")
    mounts = [
        {"hostPath": file, "containerPath": f"{folder}/{name}", "options": OPTIONS}
        for name, file in sorted(libraries.items())
        for folder in folders
    ]
    mounts += [{"hostPath": path, "containerPath": path, "options": OPTIONS} for path in programs]
    names = {re.sub(r"\D", "", path): path for path in devices}
    each = [{"name": name, "containerEdits": {"deviceNodes": [{"path": path}]}} for name, path in sorted(names.items())]
    every = {"name": "all", "containerEdits": {"deviceNodes": [{"path": path} for path in devices]}}
    return {
        "cdiVersion": VERSION,
        "kind": KIND,
        "devices": [*each, every],
        "containerEdits": {
            "env": ["NVIDIA_VISIBLE_DEVICES=void", f"TRITON_LIBCUDA_PATH={folders[0]}"],
            "deviceNodes": [{"path": path} for path in common],
            "mounts": mounts,
        },
    }


def libraries(root: Path, version: str) -> Iterator[tuple[str, str]]:
    """(name that programs load, file) of each of the driver's libraries of that version for computing, below `root`."""
    for file in sorted((root / "usr/lib").glob(f"*-linux-gnu/**/lib*.so.{version}")):
        if DISPLAY.match(file.name):
            continue
        for link in sorted(file.parent.glob(f"{file.name.partition('.so')[0]}.so.*")):
            if link.is_symlink() and link.exists() and link.samefile(file):
                yield link.name, f"/{file.relative_to(root)}"


def installed_version(root: Path) -> str | None:
    """The version of the driver's library that every program needs, None where there is no driver."""
    found = sorted((root / "usr/lib").glob("*-linux-gnu/**/libcuda.so.*.*"))
    return found[0].name.removeprefix("libcuda.so.") if found else None


def main(root: Path = Path("/")) -> int:
    """Writes the specification of this machine, or removes an older one where it has no device; says which."""
    target = root / TARGET
    devices = [f"/dev/{file.name}" for file in sorted((root / "dev").glob("nvidia[0-9]*"))]
    version = installed_version(root)
    if version is None or not devices:
        target.unlink(missing_ok=True)
        print("no accelerator of NVIDIA's that a container could be given", file=sys.stderr)
        return 0
    common = [f"/dev/{name}" for name in COMMON if (root / "dev" / name).exists()]
    programs = [f"/usr/bin/{name}" for name in PROGRAMS if (root / "usr/bin" / name).exists()]
    document = specification(devices, common, dict(libraries(root, version)), programs, os.uname().machine)
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".new")
    unfinished.write_text(json.dumps(document, indent=1) + "\n")
    unfinished.replace(target)
    print(f"/{TARGET}: driver {version}, accelerators: {len(devices)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
