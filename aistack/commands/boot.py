"""`aistack boot`: a built disk in QEMU, through both gates, with a question to each app; what was seen is kept as evidence."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from aistack.commands.build import Built
from aistack.compose.lock import Lock, LockedApp
from aistack.diagnostics import Diagnostic, Severity, refuse, unable
from aistack.host import machine, request
from aistack.host.machine import Boot, End, Running
from aistack.host.qemu import Firmware, Hardware
from aistack.host.store import Store
from aistack.report.progress import Progress
from aistack.values import dataclass

SCHEMA = "aistack/boot/v1"
LEAST_MEMORY_MIB = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an app said from inside the booted node: `cosine` beside the recorded vector where its model has one."""

    app: str
    asked: str
    status: int
    seconds: float
    cosine: float | None = None


def evidence_id(disk: str, firmware: Firmware) -> str:
    """The id under which the store keeps that a disk (a step's id) has booted by that firmware."""
    return hashlib.sha256(f"boot {disk} {firmware}".encode()).hexdigest()


def evidence(store: Store, disk: str, firmware: Firmware) -> Mapping[str, Any] | None:
    """What an earlier good boot of that disk showed, None when there was none."""
    folder = store.output(evidence_id(disk, firmware))
    if folder is None:
        return None
    document: dict[str, Any] = json.loads((folder / "output.json").read_text())
    return document


def boot(
    built: Built, lock: Lock, store: Store, firmware: Firmware, progress: Progress, *, credentials: Sequence[tuple[str, bytes]] = ()
) -> Mapping[str, Any]:
    """Boots the disk of a plan and asks its apps; returns the evidence. Raises DiagnosticError (exit 1) when the node is not good."""
    found = built.find("disk")
    if found is None:
        raise refuse(_problem("there is no disk to boot", ("its models are not built",), ("build with its models",)))
    if lock.arch != "amd64":
        hints = ("write the disk to a machine of that architecture: it boots by UEFI",)
        raise unable("QEM002", "architecture-not-booted", f"boot tests are for amd64; `{lock.name}` is for {lock.arch}", hints=hints)
    step, output = found
    disk = store.path / "outputs" / step.id / output["files"]["raw"]
    answers: list[Answer] = []
    hardware = Hardware(
        disk=disk,
        firmware=firmware,
        memory_mib=max(LEAST_MEMORY_MIB, lock.memory_mib),
        forwards=(22, *(app.port for app in lock.apps if app.port is not None)),
        credentials=tuple(credentials),
        trusted=(lock.signing.certificate,) if lock.signing else (),
    )

    def ask_all(running: Running) -> None:
        answers.extend(ask(app, running) for app in lock.apps if app.port is not None and app.health is not None)

    logs = store.path / "logs" / f"{lock.name}-{firmware}"
    logs.mkdir(parents=True, exist_ok=True)
    result = machine.boot(hardware, logs, on_gates_passed=ask_all, progress=lambda text: progress.say(f"    {text}"))
    document = describe(result, answers, firmware)
    if result.end is not End.FINISHED:
        why = (*result.lines, f"console: {result.console}")
        raise refuse(_problem(f"boot by {firmware}: {result.message}", why, ()))
    with store.produce(evidence_id(step.id, firmware)) as folder:
        (folder / "output.json").write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")
        (folder / "console.log").write_bytes(result.console.read_bytes())
    return document


def ask(app: LockedApp, running: Running) -> Answer:
    """One question to an app on the booted node: for an embedding model its recorded sentence, else the app's health path."""
    assert app.port is not None and app.health is not None
    address = f"http://127.0.0.1:{running.ports[app.port]}"
    started = time.monotonic()
    for model in app.models:
        reference = request.reference_of(model)
        if reference is not None:
            compared = request.compare(request.embed(address, model, reference.input), reference)
            return Answer(app=app.name, asked=reference.input, status=200, seconds=time.monotonic() - started, cosine=compared.cosine)
    status, _ = request.get(address, app.health)
    if status != 200:
        raise refuse(_problem(f"app `{app.name}` answered {status} at {app.health}", (), ()))
    return Answer(app=app.name, asked=f"GET {app.health}", status=status, seconds=time.monotonic() - started)


def describe(result: Boot, answers: Sequence[Answer], firmware: Firmware) -> dict[str, Any]:
    """A boot as a document: times in seconds from power on."""
    return {
        "schema": SCHEMA,
        "end": result.end,
        "message": result.message,
        "firmware": firmware,
        "accelerator": result.accelerator,
        "seconds": round(result.seconds, 1),
        "phases": [dataclasses.asdict(phase) for phase in result.phases],
        "answers": [dataclasses.asdict(answer) for answer in answers],
        "reports": list(result.reports),
    }


def sentences(document: Mapping[str, Any]) -> list[str]:
    """The evidence in lines for people."""
    times = ", ".join(f"{phase['name']} {phase['seconds']:.0f} s" for phase in document["phases"])
    lines = [f"booted by {document['firmware']} with {document['accelerator']}: {times}"]
    for answer in document["answers"]:
        likeness = "" if answer["cosine"] is None else f", cosine {answer['cosine']:.6f} with the recorded vector"
        lines.append(f"app `{answer['app']}` answered {answer['asked']!r} in {answer['seconds']:.1f} s: {answer['status']}{likeness}")
    return lines


def _problem(message: str, why: tuple[str, ...], hints: tuple[str, ...]) -> Diagnostic:
    return Diagnostic(rule="BOOT001", name="node-not-good", severity=Severity.ERROR, message=message, why=why, hints=hints)
