"""Apps replaced on a recorded node: what is in force, remembered and staged however the switch goes.

mount and systemctl are small programs here, since both are the edge of the machine: what they really do, test_live_switch.py sees.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from node_samples import APP, LOCK, MANIFEST, lay
from test_following import Engine, fill

from aistack.commands import node_update
from aistack.compose.lock import identity
from aistack.compose.render.system import QUADLETS
from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.facts.readings import Deployment
from aistack.host.probes.deployment import LIVE, LOCK_KEY
from aistack.node import agent, live, second_gate, state, update
from aistack.node.decide import State
from aistack.node.deployments import Difference, Image, Listed
from aistack.node.following import Offer, judge

pytestmark = pytest.mark.slow

OURS = replace(LOCK, apps=(replace(APP, port=None, health=None),))
NEW, NEWER = "sha256:" + "6" * 64, "sha256:" + "5" * 64
BOOTED, STAGED = Listed(digest=MANIFEST, booted=True, default=True), Listed(digest=NEW, staged=True)
FOLLOWED = "r.example/n:new"

SYSTEMCTL = """\
#!/bin/sh
echo "$*" >> {folder}/asked
case "$1" in
list-units) [ ! -s {folder}/silent ] || {{ sed -i 1d {folder}/silent; exit 1; }} ;;
show)
    state=active
    [ ! -s {folder}/failing ] || {{ sed -i 1d {folder}/failing; state=failed; }}
    while [ "$1" != -- ]; do shift; done; shift
    for name; do printf 'Id=%s\\nLoadState=loaded\\nActiveState=%s\\nSubState=x\\nResult=x\\nNRestarts=0\\n\\n' "$name" $state; done ;;
esac
"""


class CutError(BaseException):
    """The end of a process that nothing announces."""


def cut(text: str) -> None:
    """Hears that apps are stopped, and ends."""
    raise CutError


@dataclass(slots=True)
class Node:
    """A node that runs `root`, an image whose app alone is new, and what its systemctl will say."""

    root: Path
    programs: Path
    engine: Replacing

    def switch(self) -> ExitCode:
        """What the timer does."""
        return node_update.update(node_update.Extent(in_window=True), root=self.root, deployments=self.engine)

    def tells_nothing(self, times: int) -> None:
        (self.programs / "silent").write_text("x\n" * times)

    def fails(self, times: int) -> None:
        (self.programs / "failing").write_text("x\n" * times)

    def opens_its_window(self) -> None:
        (self.root / "run/credentials/@system").mkdir(parents=True)
        (self.root / "run/credentials/@system/aistack.window").write_text("00:00..00:00")

    def starts_again(self) -> None:
        """What lies below /run is gone."""
        shutil.rmtree(self.root / "run/aistack", ignore_errors=True)

    @property
    def live(self) -> str | None:
        over = live.in_force(self.root)
        return over.promised_manifest if over else None

    @property
    def quarantined(self) -> tuple[str, ...]:
        return state.load(self.root / "var/lib/aistack/state.json").quarantined


@dataclass(slots=True)
class Replacing(Engine):
    """An engine that says what the staged image has otherwise, and stages."""

    new: dict[str, Difference] = field(default_factory=dict)
    refuses: int = 0

    def listed(self) -> tuple[Listed, ...]:
        if self.refuses:
            self.refuses -= 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.has

    def difference(self) -> Difference | None:
        return next((self.new[one.digest] for one in self.has if one.staged), None)

    def discard(self) -> None:
        self.told.append("discard")
        self.has = tuple(one for one in self.has if not one.staged)

    def stage(self, image: Image, keep: Collection[str]) -> None:
        self.told.append(f"stage {image.reference} {image.digest}, keep {', '.join(keep)}")
        self.has = (Listed(digest=image.digest, reference=image.reference, staged=True), BOOTED)

    def clean(self, keep: Collection[str]) -> tuple[str, ...]:
        return ()


def difference(root: Path, digest: str) -> Difference:
    """What is staged: the same lock and image, another quadlet."""
    commit = digest.removeprefix("sha256:")
    tree = Path(f"/ostree/deploy/aistack/deploy/{commit}.0")
    quadlet = lay(root / str(tree)[1:], OURS) / f"{QUADLETS[1:]}/app-{APP.name}.container"
    quadlet.write_text(f"{quadlet.read_text()}# {digest}\n")
    new = Deployment(
        stateroot="aistack",
        commit=commit,
        serial=0,
        promised_manifest=digest,
        manifest=digest,
        lock_identity=identity(OURS),
        reference=FOLLOWED,
    )
    return Difference(deployment=new, tree=tree, paths=(f"{QUADLETS}/{quadlet.name}",), arguments=())


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    programs, root = tmp_path / "bin", lay(tmp_path / "root", OURS)
    programs.mkdir()
    (root / "run/aistack").mkdir(parents=True)
    said = f"*{LOCK_KEY}*) echo \"'{identity(OURS)}'\" ;;\n*) echo \"'{MANIFEST}'\" ;;"
    texts = {
        "ostree": f'#!/bin/sh\ncase "$*" in\n{said}\nesac\n',
        "systemctl": SYSTEMCTL.format(folder=programs),
        "mount": "#!/bin/sh\n",
        "umount": "#!/bin/sh\n",
    }
    for name, text in texts.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(live, "RETRY_SECONDS", 0.0)
    state.save(root / "var/lib/aistack/state.json", State(confirmed=MANIFEST))
    staged = {one: difference(root, one) for one in (NEW, NEWER)}
    yield Node(root=root, programs=programs, engine=Replacing(order=[], has=(STAGED, BOOTED), new=staged))


def test_the_new_apps_come_into_force_and_stay_staged(node: Node) -> None:
    assert node.switch() is ExitCode.OK
    assert (node.live, node.quarantined, node.engine.told) == (NEW, (), [])
    assert not (node.root / live.ATTEMPTED[1:]).exists()


def test_apps_that_fail_are_undone_and_not_taken_again(node: Node) -> None:
    node.fails(1)
    node.switch()
    assert (node.live, node.quarantined, node.engine.told) == (None, (NEW,), ["discard"])
    assert not (node.root / live.ATTEMPTED[1:]).exists()


def test_a_switch_that_takes_the_machine_down_is_not_made_twice(node: Node) -> None:
    with pytest.raises(CutError):
        live.go(node.root, node.engine.new[NEW], cut)
    node.starts_again()
    for _ in range(2):
        assert node.switch() is ExitCode.OK
    assert (node.live, node.quarantined, node.engine.told) == (None, (), []), "a boot that is counted decides"
    assert not (node.programs / "asked").exists()
    node.opens_its_window()
    node.switch()
    assert node.engine.told == ["reboot"]


def test_a_switch_that_was_killed_while_the_machine_stays_up_is_made_again(node: Node) -> None:
    with pytest.raises(CutError):
        live.go(node.root, node.engine.new[NEW], cut)
    node.switch()
    assert node.live == NEW


def test_who_cannot_tell_is_asked_again(node: Node) -> None:
    node.tells_nothing(2)
    node.switch()
    assert (node.live, node.quarantined) == (NEW, ())


def test_what_nobody_could_judge_is_left_to_a_counted_boot(node: Node) -> None:
    node.tells_nothing(3)
    for _ in range(2):
        node.switch()
        assert (node.live, node.quarantined, node.engine.told) == (None, (), [])
        assert live.needs_reboot(node.root, node.engine.new[NEW])


def test_after_a_second_image_failed_the_first_one_is_in_force_and_starts_next(node: Node) -> None:
    node.switch()
    node.engine.has = (Listed(digest=NEWER, staged=True), BOOTED)
    node.fails(1)
    node.switch()
    assert (node.live, node.quarantined) == (NEW, (NEWER,))
    assert node.engine.told == ["discard", f"stage {FOLLOWED} {NEW}, keep {MANIFEST}"]


@pytest.mark.parametrize("has", [(STAGED, BOOTED), (BOOTED,)])
def test_a_tag_that_names_the_booted_image_again_brings_its_apps_back(node: Node, has: tuple[Listed, ...]) -> None:
    node.switch()
    node.engine.has = tuple(replace(one, reference=FOLLOWED) for one in has)
    offer = Offer(image=Image(reference=FOLLOWED, digest=MANIFEST), version=None, sealed="")
    judged = judge(offer, node.engine.has, State(confirmed=MANIFEST), "", named=False, allow_downgrade=False)
    node_update._drop_withdrawn(node.root, node.engine, judged, offer, node.engine.has)
    assert (node.live, node.engine.told) == (None, ["discard"] if len(has) > 1 else [])


def test_apps_that_fail_are_undone_on_a_full_disk_too(node: Node) -> None:
    fill(node.root / state.PATH[1:])
    fill(node.root / update.LAST[1:])
    node.fails(1)
    node.switch()
    assert (node.live, node.quarantined, node.engine.told) == (None, (), ["discard"])


def test_what_is_staged_waits_for_no_disk_that_is_full(node: Node) -> None:
    node.engine.refuses = 1
    with pytest.raises(DiagnosticError, match="No space left"):
        node.switch()
    assert (node.live, update.remembered(node.root)["outcome"]) == (NEW, "live")


def test_a_rollback_from_new_apps_quarantines_no_other_image_that_is_staged(node: Node) -> None:
    node.switch()
    node.engine.has = (Listed(digest=NEWER, staged=True), BOOTED)
    node_update.rollback(apply=False, dry_run=False, as_json=False, root=node.root, deployments=node.engine)
    assert (node.live, node.quarantined, node.engine.told) == (None, (NEW,), [])


def test_what_the_bootloader_fell_back_from_may_go(node: Node) -> None:
    """The cleaning that follows needs systemd; that it is asked for is seen here."""
    node.engine.has = (Listed(digest=NEW, default=True), replace(BOOTED, default=False))
    assert agent.run_check(node.root) == 0
    assert second_gate.run_confirm(node.root, node.engine) == 0
    assert (node.quarantined, node.engine.told) == ((NEW,), [f"default {MANIFEST}", "stop counting"])
    assert (node.root / second_gate.CONFIRMED[1:]).exists()


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"commit": "c"}', b"\xff"])
def test_a_rollback_takes_away_what_nobody_can_name_any_more(node: Node, content: bytes) -> None:
    node.switch()
    path = node.root / LIVE[1:]
    path.write_bytes(content)
    with pytest.raises(DiagnosticError, match="does not say whose apps are in force"):
        node.switch()
    node_update.rollback(apply=False, dry_run=False, as_json=False, root=node.root, deployments=node.engine)
    assert (path.exists(), node.quarantined) == (False, ())
