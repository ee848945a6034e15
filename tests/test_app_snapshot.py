"""A lock's apps in the words of the judge, and what the judge then says of a machine that is not the promised one."""

from __future__ import annotations

import json
from dataclasses import replace

import node_samples
import pytest

from aistack.compose.app_snapshot import snapshots
from aistack.compose.judge_snapshot import judge_snapshot
from aistack.compose.lock import LockedModel
from aistack.diagnostics import Severity
from aistack.facts.decode import decode
from aistack.facts.document import parse
from aistack.facts.pins import LockedWheel
from aistack.facts.snapshot import Snapshot
from aistack.host.catalog_files import load_catalog

CATALOG = load_catalog()
QWEN = "Qwen/Qwen3-8B"
WHEELS = tuple(
    LockedWheel(name=name, version=version, filename=f"{name}.whl", sha256="0" * 64, size=1)
    for name, version in (("vllm", "0.19.1"), ("torch", "2.10.0"), ("flashinfer-python", "0.6.6"), ("idna", "3.10"))
)
COMMAND = ("vllm", "serve", f"/models/{QWEN}", "--max-model-len", "16384", "--gpu-memory-utilization=0.9", "--dtype", "auto")
LOCK = replace(
    node_samples.LOCK,
    components=(("driver", "550.163.01"), ("kernel", node_samples.KERNEL)),
    apps=(replace(node_samples.APP, name="chat", framework="vllm", version="0.19.1", wheels=WHEELS, models=(QWEN,), command=COMMAND),),
    models=(LockedModel(id=QWEN, revision="1", licence="Apache-2.0", sources=("hub",), files=()),),
)


def test_what_an_app_consists_of() -> None:
    ((name, document),) = snapshots(LOCK, CATALOG, {"product": "nvidia/l4", "count": 1})
    assert name == "chat"
    assert document["frameworks"] == {
        "vllm": {"version": "0.19.1"},
        "torch": {"version": "2.10.0"},
        "flashinfer-python": {"version": "0.6.6"},
    }
    assert document["model"] == {"id": QWEN, "max_model_len": 16384, "gpu_memory_utilization": 0.9, "dtype": "auto"}
    assert document["driver"]["version"] == "550.163.01"


@pytest.mark.parametrize(
    ("accelerator", "rules"),
    [
        ({"product": "nvidia/l4", "count": 1}, set[str]()),
        ({"product": "nvidia/t4", "count": 1}, {"ME102"}),
        ({"product": "nvidia/rtx-5090", "count": 1}, {"AC103"}),
        ({"product": "nvidia/v100-sxm2-16gb", "count": 1}, {"BD108", "ME102"}),
        ({}, set[str]()),
    ],
    ids=lambda value: value.get("product", "none") if isinstance(value, dict) else "",
)
def test_the_judge_holds_them_against_the_machine(accelerator: dict[str, object], rules: set[str]) -> None:
    ((_, document),) = snapshots(LOCK, CATALOG, accelerator)
    root, problems = parse(json.dumps(document), "chat")
    assert root is not None, problems
    seen, more = decode(Snapshot, root)
    assert seen is not None, more
    said = judge_snapshot(seen, CATALOG, {}, "2026-11-26")
    assert {one.rule for one in said if one.severity is Severity.ERROR} == rules
