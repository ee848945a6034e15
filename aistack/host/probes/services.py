"""What systemd says of units, and whether an app answers."""

from __future__ import annotations

import http.client
from collections.abc import Sequence

from aistack.facts.readings import Reading, UnitState
from aistack.host.probes.reading import read
from aistack.host.process import run


def units(names: Sequence[str]) -> dict[str, Reading[UnitState]]:
    """The states of units by name, asked in one call."""
    source = "systemctl show"
    answer = read(source, lambda: _show(names))
    if answer.value is None:
        return {name: Reading(source=source, error=answer.error) for name in names}
    states = answer.value
    return {
        name: Reading(source=source, value=states[name]) if name in states else Reading(source=source, error=f"no answer about {name}")
        for name in names
    }


def failed_units() -> Reading[tuple[str, ...]]:
    """The names of all units that failed."""
    return read("systemctl list-units --failed", _failed)


def answer(port: int, path: str, *, timeout: float) -> Reading[int]:
    """The HTTP status that the app on this machine's `port` gives for `path`."""

    def ask() -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except http.client.HTTPException as error:
            raise ValueError(f"no HTTP: {error!r}") from error
        finally:
            connection.close()

    return read(f"GET http://127.0.0.1:{port}{path}", ask)


def _show(names: Sequence[str]) -> dict[str, UnitState]:
    if not names:
        return {}
    properties = "Id,LoadState,ActiveState,SubState,Result,NRestarts,ActiveEnterTimestampMonotonic"
    shown = run(["systemctl", "show", f"--property={properties}", "--", *names], timeout=60)
    states = {}
    for block in shown.stdout.strip().split("\n\n"):
        fields = dict(line.partition("=")[::2] for line in block.splitlines())
        states[fields["Id"]] = UnitState(
            unit=fields["Id"],
            load=fields["LoadState"],
            active=fields["ActiveState"],
            sub=fields["SubState"],
            result=fields.get("Result", ""),
            restarts=int(fields.get("NRestarts") or 0),
            started=int(fields.get("ActiveEnterTimestampMonotonic") or 0) > 0,
        )
    return states


def _failed() -> tuple[str, ...]:
    listed = run(["systemctl", "list-units", "--failed", "--plain", "--no-legend", "--full", "--no-pager"], timeout=60)
    return tuple(sorted(line.split()[0] for line in listed.stdout.splitlines() if line.strip()))
