"""A lock's apps as snapshots: each with the base that it would run on, in the words in which machines are judged (facts/snapshot.py).

So the node that is to run them asks the same rules again, about itself: what was composed knew the promised accelerator, not this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from aistack.compose.lock import Lock, LockedApp
from aistack.facts.catalog import Catalog

SCHEMA = "aistack/snapshot/v1"
OPTIONS = {
    "dtype": "dtype",
    "quantization": "quantization",
    "kv-cache-dtype": "kv_cache_dtype",
    "max-model-len": "max_model_len",
    "gpu-memory-utilization": "gpu_memory_utilization",
    "tensor-parallel-size": "tensor_parallel",
}
"""By the option of a server's command line: what a snapshot calls it."""


def snapshots(lock: Lock, catalog: Catalog, accelerator: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each app's name and the document; `accelerator` is that block of the machine's own snapshot, empty where it has none."""
    components = dict(lock.components)
    base: dict[str, Any] = {"schema": SCHEMA}
    if accelerator:
        base["accelerator"] = dict(accelerator)
    kernel, driver = components.get("kernel"), components.get("driver")
    base["platform"] = {"os": lock.os, "arch": lock.arch} | ({"kernel": kernel} if kernel else {})
    if driver:
        base["driver"] = {"version": driver, "module": {"version": driver} | ({"built_for": kernel} if kernel else {})}
    for app in lock.apps:
        yield app.name, base | {"frameworks": _frameworks(app, catalog)} | ({"model": _model(app)} if app.models else {})


def _frameworks(app: LockedApp, catalog: Catalog) -> dict[str, Any]:
    """What serves, and the Python distributions that the catalog knows."""
    found = {app.framework: {"version": app.version}} if app.framework and app.version else {}
    for wheel in app.wheels:
        if catalog.component(wheel.name) or catalog.framework(wheel.name) or wheel.name in catalog.wheels:
            version, _, build = wheel.version.partition("+")
            found[wheel.name] = {"version": version} | ({"build": build} if build else {})
    return found


def _model(app: LockedApp) -> dict[str, Any]:
    said: dict[str, Any] = {"id": app.models[0]}
    words = iter(app.command)
    for word in words:
        option, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and option in OPTIONS:
            said[OPTIONS[option]] = _plain(value if equals else next(words, ""))
    return said


def _plain(text: str) -> Any:
    """A number as a number."""
    try:
        return int(text) if text.lstrip("-").isdecimal() else float(text)
    except ValueError:
        return text
