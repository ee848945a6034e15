"""A disk image from an OCI layout: made inside the tools root, by our own code there, without loop devices or mounts."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import aistack
from aistack.diagnostics import Diagnostic, DiagnosticError, ExitCode, Severity
from aistack.host import process, rootfs
from aistack.host.disk_fill import PROGRESS, Filled, Order
from aistack.host.rootfs import Bind
from aistack.host.store import Store
from aistack.values import dataclass

PYTHON_PATH = "/usr/lib/aistack/python"
HEADROOM_MIB = 2048
KERNEL_ARCH = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A finished disk: `raw` is sparse, `qcow2` its smaller twin; both boot by UEFI, and on amd64 by BIOS."""

    raw: Path
    qcow2: Path | None
    filled: Filled


def make(
    store: Store,
    tools: Path,
    output: Path,
    *,
    seed: str,
    digest: str,
    reference: str,
    bound: Mapping[str, str],
    arch: str = "amd64",
    headroom_mib: int = HEADROOM_MIB,
    qcow2: bool = True,
    progress: Callable[[str], None] = lambda _: None,
) -> Disk:
    """Make OUTPUT/disk.raw (and disk.qcow2) from the system image `digest` of the store.

    `tools` is the unpacked tools root, `seed` (a plan step's id) gives every id on the disk, `reference` is the name that the node
    follows, `bound` maps image names to manifest digests of the app and model images that must be there at the first boot.
    `headroom_mib` MiB stay free in the root file system. Raises DiagnosticError (exit 3) with the tool's last lines.
    """
    order = Order(
        seed=seed,
        work="/work",
        layout="/layout",
        digest=digest,
        reference=reference,
        bound=tuple(sorted(bound.items())),
        headroom_mib=headroom_mib,
        arch=KERNEL_ARCH[arch],
        qcow2=qcow2,
    )
    package = Path(aistack.__file__).parent
    with store.scratch() as scratch:
        # The tools root is read-only, so what is bound into it must have a place there: all of it lies under /run, which is in memory.
        work = scratch / "work"
        work.mkdir()
        binds = (
            Bind(source=package, target=f"/run{PYTHON_PATH}/aistack"),
            Bind(source=store.path / "blobs", target="/run/layout/blobs"),
            Bind(source=work, target="/run/work", writable=True),
        )
        order = dataclasses.replace(order, work="/run/work", layout="/run/layout")
        (work / "order.json").write_text(json.dumps(dataclasses.asdict(order)))
        argv = rootfs.entering(
            tools,
            ["python3", "-m", "aistack.host.disk_fill", f"{order.work}/order.json"],
            binds=binds,
            environment={"PYTHONPATH": f"/run{PYTHON_PATH}", "PYTHONDONTWRITEBYTECODE": "1"},
        )
        last = ""
        with process.stream(argv, log=scratch / "log") as running:
            assert running.stdout is not None
            for line in running.stdout:
                last = line.decode(errors="replace").strip()
                if last.startswith(PROGRESS):
                    progress(last.removeprefix(PROGRESS))
        filled = _result(last)
        output.mkdir(parents=True, exist_ok=True)
        found = {}
        for name in ("disk.raw", "disk.qcow2") if qcow2 else ("disk.raw",):
            found[name] = Path(shutil.move(work / name, output / name))
    return Disk(raw=found["disk.raw"], qcow2=found.get("disk.qcow2"), filled=filled)


def _result(line: str) -> Filled:
    document = json.loads(line)
    if "errors" in document:
        found = tuple(
            Diagnostic(
                rule=one["rule"],
                name=one["name"],
                severity=Severity(one["severity"]),
                message=one["message"],
                why=tuple(one["why"]),
                hints=tuple(one["hints"]),
            )
            for one in document["errors"]
        )
        raise DiagnosticError(found, ExitCode(document["exit_code"]))
    document["kernel_arguments"] = tuple(document["kernel_arguments"])
    return Filled(**document)
