"""What a node does where its own files are damaged, or its tools fail: it goes on, and back, as far as anybody can tell."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from node_samples import MANIFEST
from recorded_node import Bootloader, written
from test_following import BOOTED, OTHER, Engine

from aistack.commands import node_update
from aistack.diagnostics import unable
from aistack.node import agent, second_gate, state
from aistack.node.decide import State
from aistack.node.deployments import Listed

DAMAGED = (b'{"schema": "aistack/node-state/v1"', b"", b"\xff\xfe\x00", b"[" * 100_000)


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_memory_is_reported_and_nothing_is_done(tree: Path, content: bytes) -> None:
    (tree / "proc/sys/kernel/arch").write_text("aarch64\n")
    agent.run_check(tree)
    path = tree / "var/lib/aistack/state.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    bootloader = Bootloader(order=[MANIFEST])
    assert second_gate.run_confirm(tree, bootloader) == 3
    assert bootloader.told == []
    assert "is not a node's state" in json.dumps(written(tree, "confirm"))


@dataclass(slots=True)
class Unlisted(Bootloader):
    """OSTree fails to list what is deployed the first `times`."""

    times: int = 0

    def listed(self) -> tuple[Listed, ...]:
        self.times -= 1
        if self.times >= 0:
            raise unable("OST002", "ostree-failed", "OSTree: interrupted")
        return Bootloader.listed(self)


@pytest.mark.parametrize(("times", "told"), [(2, ["default sha256:old", "stop counting", "reboot"]), (3, [])])
def test_who_cannot_list_what_is_deployed_asks_again_and_then_decides_nothing(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], times: int, told: list[str]
) -> None:
    """A bad first gate is not asked again, but the way back that it needs is."""
    monkeypatch.setattr(second_gate, "RETRY_SECONDS", 0.0)
    (tree / "proc/sys/kernel/arch").write_text("aarch64\n")
    agent.run_check(tree)
    state.save(tree / "var/lib/aistack/state.json", State(confirmed="sha256:old"))
    bootloader = Unlisted(order=[MANIFEST, "sha256:old"], times=times)
    assert second_gate.run_confirm(tree, bootloader) == 1
    assert bootloader.told == told
    if not told:
        assert state.load(tree / "var/lib/aistack/state.json") == State(confirmed="sha256:old"), "the trial goes on counting"
        assert "nobody could list what is deployed" in json.dumps(written(tree, "confirm"))
    assert capsys.readouterr().err.count("cannot be listed: OSTree: interrupted") == min(times, 3)


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_memory_keeps_no_rollback_from_being_made(tree: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    path, engine = tree / "var/lib/aistack/state.json", Engine(order=[], has=(BOOTED, OTHER))
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    node_update.rollback(apply=True, dry_run=False, as_json=False, root=tree, deployments=engine)
    assert engine.told == ["discard", "default o", "stop counting", "reboot"]
    assert "what this node remembered counts for nothing" in capsys.readouterr().err
    assert state.load(path) == State(quarantined=("b",))
