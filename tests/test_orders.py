"""What an order by hand, `aistack node update --to`, leaves of what was ordered before, where it comes to nothing and where it does not."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from node_samples import LOCK, lay
from test_following import BOOTED, NEW, OLD, Engine, offer

from aistack.commands import node_update
from aistack.diagnostics import DiagnosticError, unable
from aistack.node import update
from aistack.node.deployments import Advance, Fetched, Image
from aistack.node.following import Offer

FIRST, SECOND = (f"sha256:{digit * 64}" for digit in "12")
TAG = "r.example/n:stable"


@dataclass(slots=True)
class Failing(Engine):
    """An engine that cannot do one thing, `download` or `stage`."""

    fails: str = ""

    def do(self, what: str) -> None:
        self.told.append(what)
        if what == self.fails:
            raise unable("TEST", "test", f"cannot {what}")

    def download(self, image: Image, advance: Advance) -> Fetched:
        self.do("download")
        return Fetched(layers=1, new_layers=1, bound=0, new_bound=0, bytes=None)

    def stage(self, image: Image, keep: object) -> None:
        self.do("stage")

    def clean(self, keep: object) -> tuple[str, ...]:
        return ()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A node that is held to the first image."""
    root = lay(tmp_path, replace(LOCK, sealed="2026-11-01T12:00:00Z"))
    update.hold(root, f"{TAG}@{FIRST}", (replace(BOOTED, digest=FIRST),))
    return root


@pytest.mark.parametrize(
    ("sealed", "fails", "told"),
    [(OLD, "", []), (NEW, "download", ["download"]), (NEW, "stage", ["download", "stage"])],
)
def test_an_order_that_comes_to_nothing_ends_no_hold(
    root: Path, monkeypatch: pytest.MonkeyPatch, sealed: str, fails: str, told: list[str]
) -> None:
    engine = order(root, monkeypatch, offer(SECOND, sealed), TAG, fails)
    assert (engine.told, update.held(root)) == (told, (f"{TAG}@{FIRST}",))


def test_an_order_that_is_carried_out_ends_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order(root, monkeypatch, offer(SECOND, NEW), TAG)
    assert update.held(root) == ()


def test_an_order_for_what_is_booted_ends_it(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert order(root, monkeypatch, offer(FIRST), TAG).told == [] and update.held(root) == ()


def test_an_older_image_that_was_refused_by_its_digest_is_no_hold(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order(root, monkeypatch, offer(SECOND, OLD), f"{TAG}@{SECOND}")
    assert update.held(root) == (f"{TAG}@{FIRST}",)


def test_what_is_named_by_its_digest_is_held_before_it_is_staged(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order(root, monkeypatch, offer(SECOND, NEW), f"{TAG}@{SECOND}", "stage")
    assert update.held(root) == (f"{TAG}@{SECOND}", f"{TAG}@{FIRST}")


def order(root: Path, monkeypatch: pytest.MonkeyPatch, offered: Offer, to: str, fails: str = "") -> Failing:
    """`--to` on a node that runs the first image, where the registry has `offered`."""
    monkeypatch.setattr(update, "offered", lambda reference: offered)
    engine = Failing(order=[], has=(replace(BOOTED, digest=FIRST, reference=TAG),), fails=fails)
    with contextlib.suppress(DiagnosticError):
        node_update.update(node_update.Extent(), to=to, root=root, deployments=engine)
    return engine
