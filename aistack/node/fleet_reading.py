"""A report of a node as it comes back from a file: what `node check --json` printed, or a gate wrote (node/gate.py). Pure.

What a later aistack adds is passed over; what is damaged or was written by something else is refused with its place. Whoever reads a
`NodeReport` may count on its types: numbers are finite and have 64 bits at most, texts and lists an end.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, NoReturn

from aistack.facts.device_readings import Device, Plain, Values
from aistack.facts.following import SEALED_FORM
from aistack.facts.readings import Reading
from aistack.node import gate
from aistack.node.results import Cause, Outcome, Result, verdict
from aistack.values import dataclass

SCHEMAS = (gate.CHECK_SCHEMA, gate.SCHEMA)
MOST_ACCELERATORS = 1024
"""What a recipe can ask for."""
MOST_RESULTS = 32 * MOST_ACCELERATORS
"""More than there are checks of each of them."""
BEYOND = 2**64
"""No number of a driver reaches it."""
LONGEST_TEXT, LONGEST_HOST, LONGEST_QUOTE = 10_000, 253, 80
"""Characters of a text, which is cut there; of a host's name (RFC 1123, 2.1, with RFC 1035, 2.3.4); of what a message repeats."""
NAMELESS = ("localhost", "localhost.localdomain", "(none)")
"""What machines are called that nobody gave a name (hostname(5); `(none)` is the kernel's own word)."""


class ReportError(ValueError):
    """The text is no report of a node; the message says why and where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """What one node said of itself: `host` is its name, `level` and `driver` are told where a driver was asked.

    `outcome` and `cause` are what the results come to. `unasked` is why the driver told of no device, `promised` how many accelerators the
    lock promises (0 where nothing is known of that), `time` (UTC, SEALED_FORM) and `version` when and by which aistack it was written.
    """

    file: str
    outcome: Outcome
    cause: Cause | None
    results: tuple[Result, ...]
    host: str | None = None
    time: str | None = None
    version: str | None = None
    devices: tuple[Device, ...] = ()
    promised: int = 0
    unasked: str | None = None
    level: str | None = None
    driver: str | None = None

    @property
    def name(self) -> str:
        """Its host name, or what its file is called; of a gate's own file name, its folder's."""
        path = PurePath(self.file)
        return self.host or (path.parent.name if path.stem in ("check", "confirm") and path.parent.name else path.stem)

    def evidence(self, result: str, name: str) -> str | None:
        """One value that a result rests on; None where there is none."""
        return _evidence(self.results, result, name)


def decode(text: str, file: str) -> NodeReport:
    """The report in a file's text; raises ReportError."""
    document = _parsed(text)
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema not in SCHEMAS:
        said = f"its `schema` is `{_quote(schema)}`" if isinstance(schema, str) else "it has no `schema`"
        raise ReportError(f"{said}, not {' or '.join(f'`{known}`' for known in SCHEMAS)}")
    if not isinstance(document.get("results"), list):
        raise ReportError("it holds no `results`: it tells of a boot, not of a check")
    seen = _optional(document, "accelerators", dict, "") or {}
    results = _results(document)
    judged = verdict(results)
    driver = _readings(_optional(seen, "driver", dict, "accelerators") or {}, "accelerators.driver").get("version")
    devices = _list(_optional(seen, "devices", list, "accelerators") or [], MOST_ACCELERATORS, "accelerators.devices")
    return NodeReport(
        file=file,
        outcome=judged.outcome,
        cause=judged.cause,
        results=results,
        host=_host(document),
        time=_time(document),
        version=_optional(document, "aistack", str, ""),
        devices=tuple(Device(values=_readings(plain, f"accelerators.devices[{index}]")) for index, plain in enumerate(devices)),
        promised=_promised(results),
        unasked=_optional(seen, "error", str, "accelerators"),
        level=_optional(seen, "level", str, "accelerators"),
        driver=str(driver.value) if driver is not None and driver.value is not None else None,
    )


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise ReportError("it is nested too deep") from None
    except json.JSONDecodeError as error:
        raise ReportError(f"it is damaged or cut off: {error}" if text.strip() else "it is empty") from None
    except ReportError:
        raise
    except ValueError:  # Python's limit of digits (https://docs.python.org/3.11/library/stdtypes.html#int-max-str-digits)
        raise ReportError("it holds a number of more digits than anything has") from None


def _no_number(text: str) -> NoReturn:
    raise ReportError(f"it is damaged: `{text}` is no number of JSON")


def _host(document: Mapping[str, Any]) -> str | None:
    host: str = (_optional(document, "host", str, "") or "").strip()
    if len(host) > LONGEST_HOST:
        raise ReportError(f"`host` is longer than the {LONGEST_HOST} characters of a host's name")
    return host if host and host not in NAMELESS else None


def _time(document: Mapping[str, Any]) -> str | None:
    said: str | None = _optional(document, "time", str, "")
    try:
        if said is None or datetime.datetime.strptime(said, SEALED_FORM).strftime(SEALED_FORM) == said:
            return said
    except ValueError:
        pass
    raise ReportError(f"`time` is `{_quote(said)}`, no time like 2026-11-26T20:00:00Z")


def _results(document: Mapping[str, Any]) -> tuple[Result, ...]:
    """Every result, and one more where the report calls the node something else than they come to."""
    listed = _list(document["results"], MOST_RESULTS, "results")
    results = tuple(_result(plain, f"results[{index}]") for index, plain in enumerate(listed))
    said, found = _word(Outcome, document.get("outcome"), "outcome"), verdict(results).outcome
    if said is found:
        return results
    message = f"the report calls the node {said}, though its results come to {found}"
    action = "check the node again; a report is to be kept as it was written"
    return (*results, Result(name="report", outcome=Outcome.UNKNOWN, message=message, action=action))


def _result(plain: Any, where: str) -> Result:
    if not isinstance(plain, dict):
        raise ReportError(f"`{where}` is no object")
    evidence = _optional(plain, "evidence", dict, where) or {}
    return Result(
        name=_text(plain, "name", where),
        outcome=_word(Outcome, plain.get("outcome"), f"{where}.outcome"),
        message=_text(plain, "message", where),
        cause=_word(Cause, plain["cause"], f"{where}.cause") if plain.get("cause") is not None else None,
        evidence=tuple((_cut(name), _text(evidence, name, f"{where}.evidence")) for name in evidence),
        action=_optional(plain, "action", str, where),
        device=_optional(plain, "device", str, where),
    )


def _evidence(results: tuple[Result, ...], result: str, name: str) -> str | None:
    return next((value for one in results if one.name == result for key, value in one.evidence if key == name), None)


def _promised(results: tuple[Result, ...]) -> int:
    """Out of node/health.py's `8 x nvidia/h100-sxm-80gb`."""
    found = re.match("([0-9]+) x ", _evidence(results, "accelerator", "promised") or "")
    if found is None:
        return 0
    if len(found[1]) > len(str(MOST_ACCELERATORS)) or int(found[1]) > MOST_ACCELERATORS:
        raise ReportError(f"its lock promises {_quote(found[1])} accelerators, more than the {MOST_ACCELERATORS} of a recipe")
    return int(found[1])


def _readings(plain: Any, where: str) -> Values:
    if not isinstance(plain, dict):
        raise ReportError(f"`{where}` is no object")
    return {name: _reading(item, name, where) for name, item in plain.items()}


def _reading(item: Any, name: str, where: str) -> Reading[Plain]:
    where = f"{where}.{_quote(name)}"
    if not isinstance(item, dict):
        raise ReportError(f"`{where}` is no reading")
    value, error = item.get("value"), _optional(item, "error", str, where)
    if isinstance(value, (int, float)):
        if not abs(value) < BEYOND:
            raise ReportError(f"`{where}` is {_quote(value)}, which no device has")
    elif isinstance(value, str):
        value = _cut(value)
    elif value is not None or error is None:
        raise ReportError(f"`{where}` has no value and no error")
    return Reading(source=_text(item, "source", where), value=value, error=error)


def _list(plain: list[Any], most: int, where: str) -> list[Any]:
    if len(plain) > most:
        raise ReportError(f"`{where}` has {len(plain)} parts, more than {most}")
    return plain


def _text(plain: Mapping[str, Any], name: str, where: str) -> str:
    if not isinstance(plain.get(name), str):
        raise ReportError(f"`{where}.{_quote(name)}` is no text")
    return _cut(plain[name])


def _optional(plain: Mapping[str, Any], name: str, kind: type[Any], where: str) -> Any:
    value = plain.get(name)
    if value is not None and not isinstance(value, kind):
        raise ReportError(f"`{f'{where}.{name}'.lstrip('.')}` is no {KINDS[kind]}")
    return _cut(value) if kind is str and value is not None else value


KINDS: dict[type[Any], str] = {str: "text", dict: "object", list: "list"}


def _word(words: Any, value: Any, where: str) -> Any:
    try:
        return words(value)
    except ValueError:
        raise ReportError(f"`{where}` is `{_quote(value)}`, none of {', '.join(words)}") from None


def _cut(text: str, most: int = LONGEST_TEXT) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most} characters more)"


def _quote(value: object) -> str:
    """What a report said, as short as a message wants it."""
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    return _cut(value if isinstance(value, str) else json.dumps(value), LONGEST_QUOTE)
