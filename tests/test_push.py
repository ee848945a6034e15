"""What a push refuses before nodes do, and that going back is a later lock."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import oci_samples
import pytest
from node_samples import LOCK
from registry_server import Registry
from tools_needed import needs

from aistack.commands import lock as locking
from aistack.commands import push
from aistack.diagnostics import DiagnosticError
from aistack.facts.following import SEALED_LABEL
from aistack.host.store import Store

NOW, EPOCH = "2026-11-26T00:00:00Z", {"SOURCE_DATE_EPOCH": "1795651200"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("2026-11-01T00:00:00Z", NOW),
        ("2026-11-26T00:10:00Z", "2026-11-26T00:10:01Z"),  # another builder's clock is ten minutes fast
        (NOW, "2026-11-26T00:00:01Z"),
        ("2036-01-01T00:00:00Z", NOW),
    ],
)
def test_a_lock_that_changes_is_later_than_the_one_before(before: str, after: str) -> None:
    older = replace(LOCK, sealed=before)
    assert locking.dated(older, older, EPOCH) is older
    assert locking.dated(replace(older, memory_mib=1), older, EPOCH).sealed == after


def test_a_lock_from_the_future_is_not_pushed() -> None:
    with pytest.raises(DiagnosticError, match="yet to come"):
        push.require_later(Path("x.yaml"), replace(LOCK, sealed="2999-01-01T00:00:00Z"), None)


@pytest.mark.system
def test_nothing_older_takes_the_place_of_a_tag(plain: Registry, tmp_path: Path) -> None:
    needs("skopeo")
    store, reference = Store(tmp_path / "store"), f"{plain.host}/nodes/l4:stable"
    lock = replace(LOCK, sealed=NOW)
    push.require_later(Path("x.yaml"), lock, reference)  # nothing is there yet
    layer = oci_samples.layer([oci_samples.file("usr/x", b"x")])
    plain.push(store, oci_samples.image(store, [layer], {SEALED_LABEL: NOW}), "nodes/l4:stable", tmp_path / "layout")
    push.require_later(Path("x.yaml"), lock, reference)
    with pytest.raises(DiagnosticError, match="names a later image already"):
        push.require_later(Path("x.yaml"), replace(lock, sealed="2026-11-25T00:00:00Z"), reference)
