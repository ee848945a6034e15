"""`aistack node check` and `aistack node status`: the node's own view of itself, on a node or on any other machine."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

from aistack.compose.lock import LockFormatError, decode
from aistack.diagnostics import Diagnostic, DiagnosticError, ExitCode, Severity, refuse
from aistack.host.process import within
from aistack.node import gate, telling
from aistack.node import status as words
from aistack.node.agent import EXIT_CODES, host_name, now
from aistack.node.deployments import Deployments
from aistack.node.deployments.choice import chosen
from aistack.node.first_gate import lock_text, look
from aistack.node.results import verdict
from aistack.node.second_gate import second_gate


def node_check(
    *, as_json: bool = False, level: str = "quick", apps: bool = False, timeout: float | None = None, root: Path = Path("/")
) -> ExitCode:
    """Judge this machine now, its accelerators as deep as `level` says, and where `apps` is set whether they answer; remembers nothing.

    After `timeout` seconds, or on SIGTERM, it tells what is known by then; a driver that was given too little time to answer is unknown.

    Exit 0 healthy or degraded, 1 unhealthy, 3 could not tell. Of a machine that is no aistack node only the accelerators are judged, by
    what the catalog knows of their products.
    """
    with within(timeout):
        looked = look(root, level)
        results = looked.results
        text = lock_text(root)
        if apps and text.value is not None:
            # A damaged lock is already what the first gate's result `lock` says.
            with contextlib.suppress(LockFormatError):
                results = (*results, *second_gate(decode(text.value), seconds=0.0))
    judged = verdict(results)
    if as_json:
        report = gate.document("check", results, looked.seen, host=host_name(root), time=now(), uptime_seconds=0.0)
        ok = EXIT_CODES[judged.outcome] is ExitCode.OK
        said = {key: report[key] for key in report if key not in ("schema", "phase", "uptime_seconds")}
        print(json.dumps({"schema": gate.CHECK_SCHEMA, "ok": ok, **said}, indent=2, ensure_ascii=False))
    else:
        for line in gate.lines("check", results):
            print(line)
    return EXIT_CODES[judged.outcome]


def node_status(*, as_json: bool = False, root: Path = Path("/"), deployments: Deployments | None = None) -> ExitCode:
    """Say what is booted, staged, confirmed, quarantined, what the gates found at this boot, and what the last update came to.

    Exit 0 on an aistack node, 3 where nobody can tell what it remembers; 1 on any other machine, with that said plainly.
    """
    text = lock_text(root)
    if text.value is None:
        if as_json:
            print(json.dumps({"schema": words.SCHEMA, "is_node": False, "why": text.error}, indent=2))
            return ExitCode.NO
        raise not_a_node(text.error)
    status = telling.look(root, deployments or chosen(root))
    if as_json:
        print(json.dumps(words.document(status), indent=2, ensure_ascii=False))
    else:
        for line in words.lines(status):
            print(line)
    return ExitCode.UNABLE if status.state_error else ExitCode.OK


def not_a_node(why: str | None) -> DiagnosticError:
    """The error on any other machine: `why` its lock cannot be read."""
    return refuse(
        Diagnostic(
            rule="NODE010",
            name="not-a-node",
            severity=Severity.ERROR,
            message="this machine is no aistack node",
            why=(why or "its lock is damaged",),
            hints=("`aistack up RECIPE` makes one", "`aistack node check` reads this machine all the same"),
        )
    )
