"""`aistack node check` and `aistack node status`: the node's own view of itself, on a node or on any other machine."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from aistack.compose.lock import LockFormatError, decode, identity
from aistack.diagnostics import Diagnostic, ExitCode, Severity, refuse
from aistack.facts.readings import Deployment, Reading
from aistack.host.probes.deployment import deployment
from aistack.host.probes.reading import inside
from aistack.node import gate, state
from aistack.node.agent import EXIT_CODES, RUN, host_name
from aistack.node.first_gate import lock_text, look
from aistack.node.results import verdict
from aistack.node.second_gate import second_gate

STATUS_SCHEMA = "aistack/node-status/v1"


def node_check(*, as_json: bool = False, level: str = "quick", apps: bool = False, root: Path = Path("/")) -> ExitCode:
    """Judge this machine now, its accelerators as deep as `level` says, and where `apps` is set whether they answer; remembers nothing.

    Exit 0 healthy or degraded, 1 unhealthy, 3 could not tell (every machine that is no aistack node, since nothing was promised there).
    """
    looked = look(root, level)
    results = looked.results
    text = lock_text(root)
    if apps and text.value is not None:
        # A damaged lock is already what the first gate's result `lock` says.
        with contextlib.suppress(LockFormatError):
            results = (*results, *second_gate(decode(text.value), seconds=0.0))
    judged = verdict(results)
    if as_json:
        report = gate.document("check", results, looked.seen, host=host_name(root), uptime_seconds=0.0)
        ok = EXIT_CODES[judged.outcome] is ExitCode.OK
        said = {key: report[key] for key in report if key not in ("schema", "phase", "uptime_seconds")}
        print(json.dumps({"schema": gate.CHECK_SCHEMA, "ok": ok, **said}, indent=2, ensure_ascii=False))
    else:
        for line in gate.lines("check", results):
            print(line)
    return EXIT_CODES[judged.outcome]


def node_status(*, as_json: bool = False, root: Path = Path("/")) -> ExitCode:
    """Say which system image is booted, which is confirmed, which are quarantined, and what the gates found at this boot.

    Exit 0 on an aistack node; 1 on any other machine, with that said plainly.
    """
    text = lock_text(root)
    if text.value is None:
        if as_json:
            print(json.dumps({"schema": STATUS_SCHEMA, "is_node": False, "why": text.error}, indent=2))
            return ExitCode.NO
        raise refuse(
            Diagnostic(
                rule="NODE010",
                name="not-a-node",
                severity=Severity.ERROR,
                message="this machine is no aistack node",
                why=(text.error or "",),
                hints=("`aistack up RECIPE` makes one", "`aistack node check` reads this machine all the same"),
            )
        )
    document = _status(text.value, deployment(root), root)
    if as_json:
        print(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        for key, value in document.items():
            if key not in ("schema", "is_node"):
                print(f"{key:<12} {_words(value)}")
    return ExitCode.OK


def _status(text: bytes, booted: Reading[Deployment], root: Path) -> dict[str, Any]:
    try:
        lock = decode(text)
        name, lock_identity = lock.name, identity(lock)
    except LockFormatError as error:
        name, lock_identity = f"damaged: {error}", None
    remembered = state.load(inside(root, state.PATH))
    return {
        "schema": STATUS_SCHEMA,
        "is_node": True,
        "name": name,
        "lock": lock_identity,
        "booted": booted.value.manifest if booted.value else None,
        "commit": booted.value.commit if booted.value else None,
        "confirmed": remembered.confirmed,
        "quarantined": list(remembered.quarantined),
        "unfit": remembered.unfit,
        "check": _outcome(root, "check"),
        "confirm": _outcome(root, "confirm"),
    }


def _outcome(root: Path, phase: str) -> str | None:
    try:
        outcome = json.loads(inside(root, f"{RUN}/{phase}.json").read_text())["outcome"]
    except (OSError, ValueError, KeyError):
        return None
    return str(outcome)


def _words(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "none"
    return "none" if value is None else str(value)
