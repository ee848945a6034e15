"""What NVIDIA's own diagnosis says (`dcgmi diag --run LEVEL --json`), result by result: DCGM 3's and 4's documents.

The forms are those of https://github.com/NVIDIA/DCGM: testing/python3/dcgm_diag_schema.json (4), nvvs/include/NvvsCommon.h (3).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from aistack.values import dataclass

LEVELS = {"data-centre": 2}
"""By the kind of product: the highest level that NVIDIA supports and that ends within minutes; other kinds have level 1 alone.

https://docs.nvidia.com/datacenter/dcgm/latest/reference/command-line-reference/dcgmi/dcgmi-diag.html, read 2026-11-26.
"""

SEVERITIES = {1: "monitor", 2: "isolate", 4: "triage", 5: "config", 6: "reset"}
"""dcgmErrorSeverity_enum of dcgmlib/dcgm_errors.h: `monitor` and `config` let a device work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosed:
    """One test on one device: `device` is its index, None for a test of the whole machine; `status` is `pass`, `fail`, `warn` or `skip`.

    `warnings` are DCGM's sentences, `severities` what it says of each, where it does.
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
        raise ValueError(" ".join(text.split())[:300] or "dcgmi said nothing") from None
    if "test_categories" not in body:
        raise ValueError(str(body.get("runtime_error") or "dcgmi ran no test"))
    tests = [test for category in body["test_categories"] for test in category["tests"] if test]
    return tuple(result for test in tests for result in _results(test))


def _results(test: Mapping[str, Any]) -> Iterator[Diagnosed]:
    for result in test["results"]:
        warnings = [one if isinstance(one, dict) else {"warning": one} for one in result.get("warnings") or ()]
        for device in _devices(result):
            yield Diagnosed(
                test=test["name"],
                device=device,
                status={"skipped": "skip", "not run": "skip"}.get(result["status"].lower(), result["status"].lower()),
                warnings=tuple(str(one["warning"]) for one in warnings),
                severities=frozenset(SEVERITIES[one["error_severity"]] for one in warnings if one.get("error_severity") in SEVERITIES),
            )


def _devices(result: Mapping[str, Any]) -> tuple[int | None, ...]:
    """The devices of a result: one entity of DCGM 4's, the list of DCGM 3's (`0,1,2`)."""
    if "gpu_ids" in result:
        return tuple(int(number) for number in str(result["gpu_ids"]).split(",") if number) or (None,)
    return (result["entity_id"] if result.get("entity_group", "GPU") == "GPU" else None,)
