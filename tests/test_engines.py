"""Two update engines, one protocol: OSTree really, inside a deployment that it laid down; bootc from documents of its own form."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import engine_conformance as conformance
import pytest
from booted_node import Images, Node, root_of_the_os
from node_samples import LOCK
from registry_server import Registry
from tools_needed import needs

from aistack.compose.lock import encode
from aistack.compose.render.grub import PROGRAM
from aistack.diagnostics import DiagnosticError
from aistack.host import grub
from aistack.host.store import Store
from aistack.node.deployments import Image
from aistack.node.deployments.bootc import BootcDeployments
from aistack.node.deployments.choice import chosen
from aistack.node.deployments.ostree import OstreeDeployments

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
FOLLOWED = "registry.example/nodes/edge:stable"
FIRST, SECOND = (Image(reference=FOLLOWED, digest=f"sha256:{name * 64}") for name in "12")


@pytest.mark.system
def test_ostree_does_what_an_engine_has_to(plain: Registry, tmp_path: Path) -> None:
    needs("bwrap")
    store = Store(tmp_path / "store")
    store.prepare()
    root, reference = root_of_the_os(), f"{plain.host}/nodes/test:stable"
    images = Images.over(root, store)
    first, second = images.system("1"), images.system("2")
    node = Node(root=root, work=tmp_path / "node", store=store, environment={"OSTREE_GRUB2_EXEC": PROGRAM})
    node.install(first, reference)
    node.trust(plain.host)
    plain.push(store, second, "nodes/test:stable", tmp_path / "layout")
    begin = "import sys\nsys.path.append('/tmp/code/tests')\nimport engine_conformance as conformance\n"
    begin += "from aistack.node.deployments import Image\n"
    pair = f"Image(reference={reference!r}, digest={first!r}), Image(reference={reference!r}, digest={second!r})"
    assert node.python(f"{begin}conformance.before_the_reboot(deployments, {pair})\nprint('done')") == "done\n"
    assert node.reboot() == "2"
    assert node.python(f"{begin}conformance.after_the_reboot(deployments, {pair})\nprint('done')") == "done\n"


@dataclass(frozen=True)
class Replay:
    """A node of bootc's whose programs replay what is recorded."""

    folder: Path
    root: Path

    @property
    def engine(self) -> BootcDeployments:
        return BootcDeployments(root=self.root)

    def begin(self, state: str) -> BootcDeployments:
        (self.folder / "state").write_text(state)
        (self.folder / "argv").write_text("")
        return self.engine

    def state(self) -> str:
        return (self.folder / "state").read_text()

    def asked(self) -> list[str]:
        """What was asked for since the beginning, the looks at the status left out."""
        return [line for line in (self.folder / "argv").read_text().splitlines() if not line.startswith("bootc status ")]

    def bind(self, number: int, digest: str) -> None:
        """The recorded deployment of that number binds an image."""
        tree = self.tree(number)
        link = tree / "usr/lib/bootc/bound-images.d/app-chat.image"
        link.parent.mkdir(parents=True)
        link.symlink_to("/usr/share/app-chat.image")
        (tree / "usr/share").mkdir()
        (tree / "usr/share/app-chat.image").write_text(f"[Image]\nImage=localhost/app-chat@{digest}\n")

    def tree(self, number: int) -> Path:
        return self.root / f"ostree/deploy/default/deploy/{f'{number}abc' * 16}.0"


@pytest.fixture
def replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Replay:
    folder = tmp_path / "replay"
    shutil.copytree(HERE / "data/bootc", folder)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/bootc").write_text(f"#!{sys.executable} -IS\n{(HERE / 'stand_ins/bootc').read_text()}")
    (tmp_path / "bin/bootc").chmod(0o755)
    for name in ("ostree", "systemctl"):
        (tmp_path / "bin" / name).symlink_to("bootc")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("REPLAY", str(folder))
    root = tmp_path / "root"
    (root / "boot/grub2").mkdir(parents=True)
    (root / "boot/grub2/grubenv").write_bytes(grub.write_environment({"saved_entry": "x"}))
    found = Replay(folder=folder, root=root)
    for number in range(5):
        (found.tree(number) / "usr/lib/bootc").mkdir(parents=True)
    return found


def rule(caught: pytest.ExceptionInfo[DiagnosticError]) -> str:
    return caught.value.diagnostics[0].rule


def test_bootc_does_what_an_engine_has_to(replay: Replay) -> None:
    engine = replay.begin("fresh")
    conformance.before_the_reboot(engine, FIRST, SECOND)
    fetch, let_go, drop = "bootc upgrade --download-only --quiet", "bootc upgrade --from-downloaded --quiet", "ostree admin undeploy 0"
    assert replay.asked() == [fetch, let_go, drop, fetch, let_go]
    assert grub.trial(replay.root / "boot/grub2/grubenv") == grub.Trial(deployment=replay.tree(2).name, tries=2)
    moves = json.loads((replay.folder / "moves.json").read_text())
    engine = replay.begin(moves[f"{replay.state()}: reboot"])
    conformance.after_the_reboot(engine, FIRST, SECOND)
    assert replay.asked() == ["bootc rollback", "bootc rollback"]
    assert grub.trial(replay.root / "boot/grub2/grubenv") is None


def test_what_was_downloaded_only_is_not_staged(replay: Replay) -> None:
    assert [one.digest for one in replay.begin("held").listed()] == [FIRST.digest]
    assert [one.staged for one in replay.begin("staged").listed()] == [True, False]


def test_a_tag_that_moved_meanwhile_is_not_taken(replay: Replay) -> None:
    engine = replay.begin("moved")
    with pytest.raises(DiagnosticError) as caught:
        engine.stage(SECOND, ())
    assert rule(caught) == "BTC002" and replay.state() == "fresh"
    assert caught.value.diagnostics[0].hints[1].endswith(" --to registry.example/nodes/edge:NAME-222222222222@" + SECOND.digest)
    assert replay.asked() == ["ostree admin undeploy 0"]


@pytest.mark.parametrize("state", ["fresh", "held"])
def test_an_image_whose_app_is_not_here_is_dropped(replay: Replay, state: str) -> None:
    """bootc would start it at the next boot all the same."""
    replay.bind(2, "sha256:" + "9" * 64)
    engine = replay.begin(state)
    with pytest.raises(DiagnosticError) as caught:
        engine.download(SECOND, lambda *_: None) if state == "fresh" else engine.stage(SECOND, ())
    assert rule(caught) == "UPD002" and replay.state() == "fresh"
    assert "bootc upgrade --from-downloaded --quiet" not in replay.asked()


def test_another_reference_is_switched_to(replay: Replay) -> None:
    other = Image(reference="registry.example/nodes/core:stable", digest="sha256:" + "4" * 64)
    engine = replay.begin("fresh")
    engine.download(other, lambda *_: None)
    assert replay.asked() == []
    engine.stage(other, ())
    assert replay.asked() == [f"bootc switch --quiet {other.reference}"]
    assert engine.listed()[0].reference == other.reference
    replay.bind(4, "sha256:" + "9" * 64)
    engine = replay.begin("fresh")
    with pytest.raises(DiagnosticError):
        engine.stage(other, ())
    assert replay.state() == "fresh"


def test_what_is_to_be_kept_is_pinned_and_can_be_started(replay: Replay) -> None:
    """bootc itself keeps the booted one and its rollback alone."""
    replay.begin("three-held").stage(SECOND, [FIRST.digest])
    assert replay.asked() == ["ostree admin pin 2", "bootc upgrade --from-downloaded --quiet"]
    replay.begin("three").make_default(FIRST.digest)
    assert replay.asked() == ["ostree admin set-default 2"]


@pytest.mark.parametrize("said", ["not JSON", '{"apiVersion": "org.containers.bootc/v2", "kind": "BootcHost"}', "[]", None])
def test_an_answer_that_is_not_understood_is_told(replay: Replay, said: str | None) -> None:
    engine = replay.begin("no-bootc-host")
    if said is not None:
        (replay.folder / "no-bootc-host.json").write_text(said)
    with pytest.raises(DiagnosticError) as caught:
        engine.listed()
    assert rule(caught) == "BTC001" and "org.containers.bootc/v1" in caught.value.diagnostics[0].why[0]


def test_the_engine_is_chosen_by_what_the_node_has(replay: Replay) -> None:
    def engine(os_id: str, *, booted: bool) -> type:
        root = replay.root
        (root / "usr/lib/aistack").mkdir(parents=True, exist_ok=True)
        (root / "usr/lib/aistack/lock.json").write_bytes(encode(replace(LOCK, os=os_id)))
        (root / "run").mkdir(exist_ok=True)
        (root / "run/ostree-booted").unlink(missing_ok=True)
        if booted:
            (root / "run/ostree-booted").touch()
        return type(chosen(root))

    assert engine("centos-stream-10", booted=True) is BootcDeployments
    assert engine("centos-stream-10", booted=False) is OstreeDeployments
    assert engine("debian-13", booted=True) is OstreeDeployments
