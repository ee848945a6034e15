"""A report of a node as it comes back from a file: what `node check --json` printed, or a gate wrote (node/gate.py). Pure.

What a later aistack adds is passed over; what is damaged or was written by something else is refused with its place.
"""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import Any, NoReturn

from aistack.facts.device_readings import Device, from_plain
from aistack.node import gate
from aistack.node.results import Cause, Outcome, Result
from aistack.values import dataclass

SCHEMAS = (gate.CHECK_SCHEMA, gate.SCHEMA)
MOST_ACCELERATORS = 1024
"""What a recipe can ask for."""


class ReportError(ValueError):
    """The text is no report of a node; the message says why and where."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReport:
    """What one node said of itself: `name` is its host name, or what its file is called; `level` and `driver` where a driver was asked.

    `unasked` is why the driver told of no device.
    """

    name: str
    file: str
    outcome: Outcome
    cause: Cause | None
    results: tuple[Result, ...]
    devices: tuple[Device, ...] = ()
    unasked: str | None = None
    level: str | None = None
    driver: str | None = None

    def evidence(self, result: str, name: str) -> str | None:
        """One value that a result rests on; None where there is none."""
        return next((value for one in self.results if one.name == result for key, value in one.evidence if key == name), None)

    @property
    def promised(self) -> int:
        """How many accelerators its lock promises; 0 where nothing is known of that."""
        count = (self.evidence("accelerator", "promised") or "").partition(" ")[0]
        return min(int(count), MOST_ACCELERATORS) if count.isdecimal() else 0


def decode(text: str, file: str) -> NodeReport:
    """The report in a file's text; raises ReportError."""
    try:
        document = json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise ReportError("it is nested too deep") from None
    except ValueError as error:
        raise ReportError(f"it is damaged or cut off: {error}" if text.strip() else "it is empty") from None
    schema = document.get("schema") if isinstance(document, dict) else None
    if schema not in SCHEMAS:
        said = f"its `schema` is `{schema}`" if isinstance(schema, str) else "it has no `schema`"
        raise ReportError(f"{said}, not {' or '.join(f'`{known}`' for known in SCHEMAS)}")
    if not isinstance(document.get("results"), list):
        raise ReportError("it holds no `results`: it tells of a boot, not of a check")
    seen = _optional(document, "accelerators", dict, "") or {}
    driver = _readings(_optional(seen, "driver", dict, "accelerators") or {}, "accelerators.driver").get("version")
    devices = _optional(seen, "devices", list, "accelerators") or []
    return NodeReport(
        name=_optional(document, "host", str, "") or _file_name(file),
        file=file,
        outcome=_word(Outcome, document.get("outcome"), "outcome"),
        cause=_word(Cause, document["cause"], "cause") if document.get("cause") is not None else None,
        results=tuple(_result(plain, f"results[{index}]") for index, plain in enumerate(document["results"])),
        devices=tuple(Device(values=_readings(plain, f"accelerators.devices[{index}]")) for index, plain in enumerate(devices)),
        unasked=_optional(seen, "error", str, "accelerators"),
        level=_optional(seen, "level", str, "accelerators"),
        driver=str(driver.value) if driver is not None and driver.value is not None else None,
    )


def _file_name(file: str) -> str:
    """What a file is called; of a gate's own file name, its folder's."""
    path = PurePath(file)
    return path.parent.name if path.stem in ("check", "confirm") and path.parent.name else path.stem


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"`{text}` is no number of JSON")


def _result(plain: Any, where: str) -> Result:
    if not isinstance(plain, dict):
        raise ReportError(f"`{where}` is no object")
    evidence = _optional(plain, "evidence", dict, where) or {}
    return Result(
        name=_text(plain, "name", where),
        outcome=_word(Outcome, plain.get("outcome"), f"{where}.outcome"),
        message=_text(plain, "message", where),
        cause=_word(Cause, plain["cause"], f"{where}.cause") if plain.get("cause") is not None else None,
        evidence=tuple((name, str(value)) for name, value in evidence.items()),
        action=_optional(plain, "action", str, where),
        device=_optional(plain, "device", str, where),
    )


def _readings(plain: Any, where: str) -> Any:
    if not isinstance(plain, dict) or not all(map(_is_reading, plain.values())):
        raise ReportError(f"`{where}` holds no readings")
    return from_plain(plain)


def _is_reading(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and isinstance(item.get("source"), str)
        and isinstance(item.get("value", item.get("error")), (int, float, str))
    )


def _text(plain: dict[str, Any], name: str, where: str) -> str:
    if not isinstance(plain.get(name), str):
        raise ReportError(f"`{where}.{name}` is no text")
    return str(plain[name])


def _optional(plain: dict[str, Any], name: str, kind: type[Any], where: str) -> Any:
    value = plain.get(name)
    if value is not None and not isinstance(value, kind):
        raise ReportError(f"`{f'{where}.{name}'.lstrip('.')}` is no {KINDS[kind]}")
    return value


KINDS: dict[type[Any], str] = {str: "text", dict: "object", list: "list"}


def _word(words: Any, value: Any, where: str) -> Any:
    try:
        return words(value)
    except ValueError:
        raise ReportError(f"`{where}` is `{value}`, none of {', '.join(words)}") from None
