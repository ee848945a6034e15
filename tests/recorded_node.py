"""A node over a recorded tree: its machine's edges are an update engine that remembers what it was told, and a stand-in for `ostree`."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from node_samples import LOCK, MANIFEST, lay

from aistack.compose.lock import identity
from aistack.diagnostics import unable
from aistack.node import agent
from aistack.node.deployments import Advance, Difference, Fetched, Image, Listed


@dataclass(slots=True)
class Bootloader:
    """The edge of the machine: an update engine that remembers what it was told."""

    order: list[str]
    told: list[str] = field(default_factory=list)
    broken: bool = False

    def listed(self) -> tuple[Listed, ...]:
        return tuple(Listed(digest=digest) for digest in self.order)

    def download(self, image: Image, advance: Advance) -> Fetched:
        raise NotImplementedError

    def complete(self, image: Image, advance: Advance) -> Fetched | None:
        return None

    def stage(self, image: Image, keep: Collection[str]) -> None:
        raise NotImplementedError

    def try_staged(self) -> None:
        raise NotImplementedError

    def lock(self, image: Image) -> bytes | None:
        return None

    def difference(self) -> Difference | None:
        return None

    def discard(self) -> None:
        self.told.append("discard")

    def clean(self, keep: Collection[str]) -> tuple[str, ...]:
        raise NotImplementedError

    def make_default(self, digest: str) -> None:
        if self.broken:
            raise unable("TEST", "broken", "no space left on /boot")
        self.told.append(f"default {digest}")

    def stop_counting(self) -> None:
        self.told.append("stop counting")

    def reboot(self) -> None:
        self.told.append("reboot")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A recorded node whose `ostree` answers from a small table: the program is the edge, and a repository takes root to make."""
    program = tmp_path / "bin/ostree"
    program.parent.mkdir()
    answers = f"*=ostree.manifest-digest*) echo \"'{MANIFEST}'\" ;;\n*=aistack.lock*) echo \"'{identity(LOCK)}'\" ;;\n"
    program.write_text(f'#!/bin/sh\ncase "$*" in\n{answers}esac\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(agent, "RETRY_SECONDS", 0.0)
    yield lay(tmp_path / "root")


def written(root: Path, phase: str) -> dict[str, object]:
    document = json.loads((root / f"run/aistack/{phase}.json").read_text())
    assert isinstance(document, dict)
    return document
