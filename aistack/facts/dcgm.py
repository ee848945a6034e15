"""What NVIDIA's own diagnosis says (`dcgmi diag --run LEVEL --json`), result by result: DCGM 3's and 4's documents.

The forms are those of https://github.com/NVIDIA/DCGM: testing/python3/dcgm_diag_schema.json (4), nvvs/include/NvvsCommon.h (3).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from aistack.facts.unique import hidden
from aistack.values import dataclass

LEVELS = {"data-centre": 2}
"""By the kind of product: the highest level that NVIDIA supports and that ends within minutes; other kinds have level 1 alone.

https://docs.nvidia.com/datacenter/dcgm/latest/reference/command-line-reference/dcgmi/dcgmi-diag.html, read 2026-11-26.
"""

SEVERITIES = {1: "monitor", 2: "isolate", 4: "triage", 5: "config", 6: "reset"}
"""dcgmErrorSeverity_enum of dcgmlib/dcgm_errors.h: `monitor` and `config` let a device work."""


MOST_DIGITS = 4
"""Of a device's index."""

STATUSES = ("pass", "fail", "warn", "skip")
SKIPPED = ("skipped", "not run")
"""What a test came to, in small letters; and older or other words for `skip`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosed:
    """One test on one device: `device` is its index, None for a test of the whole machine; `status` is one of STATUSES, or a new one.

    `warnings` are DCGM's sentences, without UUIDs and serial numbers; `severities` what it says of each, where it does.
    """

    test: str
    device: int | None
    status: str
    warnings: tuple[str, ...] = ()
    severities: frozenset[str] = frozenset()


def diagnosed(text: str) -> tuple[Diagnosed, ...]:
    """Every result of the document in what dcgmi printed, whatever it said before it.

    Raises ValueError with what it said instead where there is no document, or where the run itself failed.
    """
    try:
        found, _ = json.JSONDecoder().raw_decode(text, max(text.find("{"), 0))
        body = next(found[name] for name in ("DCGM Diagnostic", "DCGM GPU Diagnostic") if name in found)
    except (ValueError, StopIteration):
        raise ValueError(hidden(" ".join(text.split()))[:300] or "dcgmi said nothing") from None
    if "test_categories" not in body:
        raise ValueError(hidden(str(body.get("runtime_error") or "dcgmi ran no test")))
    tests = [test for category in body["test_categories"] for test in category["tests"] if test]
    return tuple(result for test in tests for result in _results(test))


def _results(test: Mapping[str, Any]) -> Iterator[Diagnosed]:
    for result in test["results"]:
        told = result.get("warnings") or ()
        warnings = [one if isinstance(one, dict) else {"warning": one} for one in ([told] if isinstance(told, str) else told)]
        severities = [one.get("error_severity") for one in warnings]
        status = str(result.get("status")).lower()
        for device in _devices(result):
            yield Diagnosed(
                test=hidden(str(test["name"])),
                device=device,
                status="skip" if status in SKIPPED else hidden(status),
                warnings=tuple(hidden(str(one["warning"])) for one in warnings if one.get("warning")),
                severities=frozenset(SEVERITIES[one] for one in severities if isinstance(one, int) and one in SEVERITIES),
            )


def _devices(result: Mapping[str, Any]) -> tuple[int | None, ...]:
    """The devices of a result: one entity of DCGM 4's, the list of DCGM 3's (`0,1,2`); what names none is about the machine."""
    if "gpu_ids" in result:
        return tuple(_index(number) for number in str(result["gpu_ids"]).split(",") if number) or (None,)
    return (_index(result.get("entity_id")) if result.get("entity_group", "GPU") == "GPU" else None,)


def _index(number: object) -> int | None:
    said = str(number).strip()
    return int(said) if said.isdecimal() and len(said) <= MOST_DIGITS else None
