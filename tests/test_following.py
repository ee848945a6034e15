"""What a node follows and does about it, as pure functions: the window, the judgement of an offer, the way back, what is kept."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import subprocess
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import oci_samples
import pytest
from hypothesis import given
from hypothesis import strategies as st
from node_samples import LOCK, lay
from recorded_node import Bootloader
from tools_needed import needs

from aistack.commands import node_update
from aistack.commands.node import node_status
from aistack.diagnostics import DiagnosticError, ExitCode, unable
from aistack.facts.following import is_open, latest, window_problem
from aistack.facts.readings import Deployment
from aistack.host import clock, oci, room
from aistack.host.store import Store
from aistack.node import state, update
from aistack.node.cleaning import kept
from aistack.node.decide import Reboots, State
from aistack.node.deployments import Advance, Fetched, Image, Listed
from aistack.node.following import MOST_REBOOTS, Offer, Step, judge, named, rebooting, staged, to_go_back_to

MONDAY = datetime.datetime(2026, 11, 23)  # a node's local time
OLD, NEW = "2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z"


def at(days: int, hours: int, minutes: int = 0) -> datetime.datetime:
    return MONDAY + datetime.timedelta(days=days, hours=hours, minutes=minutes)


@pytest.mark.parametrize(
    ("window", "when", "open_"),
    [
        ("Sun 02:00..04:00", at(6, 2), True),
        ("Sun 02:00..04:00", at(6, 3, 59), True),
        ("Sun 02:00..04:00", at(6, 4), False),
        ("Sun 02:00..04:00", at(5, 3), False),
        ("01:00..05:00", at(2, 4), True),
        ("Sat,Sun 22:00..06:00", at(5, 23), True),
        ("Sat,Sun 22:00..06:00", at(0, 5), True),  # the night that began on Sunday
        ("Sat,Sun 22:00..06:00", at(0, 23), False),
        ("Sat,Sun 22:00..06:00", at(5, 5), False),  # the night that began on Friday
        ("00:00..00:00", at(3, 12), True),
    ],
)
def test_a_window_is_open_or_not(window: str, when: datetime.datetime, open_: bool) -> None:
    assert window_problem(window) is None
    assert is_open(window, when) is open_


def test_a_clock_that_nobody_sets_opens_only_what_is_always_open() -> None:
    assert not is_open("Sun 02:00..04:00", at(6, 2), sure=False) and not is_open("01:00..05:00", at(2, 4), sure=False)
    assert is_open("00:00..00:00", at(2, 4), sure=False)


def test_the_kernel_says_whether_its_clock_was_set() -> None:
    assert clock.synchronized() in (True, False)


@pytest.mark.parametrize("window", ["Sun", "02:00", "Sun 02:00-04:00", "sun 02:00..04:00", "24:00..25:00", "02:00..02:30"])
def test_what_is_no_window_is_told(window: str) -> None:
    assert window_problem(window)


def offer(digest: str, sealed: str = NEW) -> Offer:
    return Offer(image=Image(reference="r.example/n:stable", digest=digest), version=None, sealed=sealed)


BOOTED, STAGED, OTHER = Listed(digest="b", booted=True, default=True), Listed(digest="s", staged=True), Listed(digest="o")


@pytest.mark.parametrize(
    ("given_", "named", "allow", "step"),
    [
        (offer("b"), False, False, Step.CURRENT),
        (offer("s"), False, False, Step.STAGED),
        (offer("n"), False, False, Step.AVAILABLE),
        (offer("o"), False, False, Step.AVAILABLE),
        (offer("q"), False, False, Step.QUARANTINED),
        (offer("q"), True, False, Step.AVAILABLE),
        (offer("n", OLD), False, False, Step.OLDER),
        (offer("n", ""), False, False, Step.OLDER),
        (offer("n", OLD), True, False, Step.OLDER),
        (offer("n", OLD), False, True, Step.AVAILABLE),
        (offer("q", OLD), False, True, Step.QUARANTINED),
        (offer("g"), False, False, Step.GIVEN_UP),
        (offer("g"), True, False, Step.AVAILABLE),
    ],
)
def test_what_an_image_is_to_a_node(given_: Offer, named: bool, allow: bool, step: Step) -> None:
    here = "2026-11-01T12:00:00Z"
    remembered = State(quarantined=("q",), reboots=Reboots(digest="g", times=MOST_REBOOTS))
    assert judge(given_, (STAGED, BOOTED, OTHER), remembered, here, named=named, allow_downgrade=allow).step is step


@pytest.mark.parametrize(
    ("named", "left", "confirmed", "step", "said"),
    [
        (True, False, "b", Step.CURRENT, "the one that is booted"),
        (False, True, "b", Step.CURRENT, "until the reboot of a rollback"),
        (True, True, "b", Step.CURRENT, "starts next again"),
        (True, True, "o", Step.AVAILABLE, "before it was confirmed"),
    ],
)
def test_what_the_booted_image_is_after_somebody_went_back_from_it(named: bool, left: bool, confirmed: str, step: Step, said: str) -> None:
    judged = judge(offer("b"), (BOOTED, OTHER), State(confirmed=confirmed), NEW, named=named, allow_downgrade=False, left=left)
    assert judged.step is step and said in judged.because


def test_a_node_whose_own_image_has_no_time_takes_any() -> None:
    assert judge(offer("n", ""), (BOOTED,), State(), "", named=False, allow_downgrade=False).step is Step.AVAILABLE


def test_reboots_that_start_nothing_have_an_end_and_a_way_out() -> None:
    remembered = rebooting(State(confirmed="b"), "m")
    for times in range(1, MOST_REBOOTS + 1):
        assert judge(offer("n"), (BOOTED,), remembered, OLD, named=False, allow_downgrade=False).step is Step.AVAILABLE
        remembered = rebooting(staged(remembered, "n"), "n")
        assert remembered.reboots == Reboots(digest="n", times=times)
    judged = judge(offer("n"), (BOOTED,), remembered, OLD, named=False, allow_downgrade=False)
    assert judged.step is Step.GIVEN_UP and "by its digest" in judged.because
    assert judge(offer("m"), (BOOTED,), remembered, OLD, named=False, allow_downgrade=False).step is Step.AVAILABLE
    assert judge(offer("n"), (BOOTED,), remembered, OLD, named=True, allow_downgrade=False).step is Step.AVAILABLE
    assert staged(remembered, "n") == State(confirmed="b")


def test_an_image_from_the_future_is_refused_and_forbids_none() -> None:
    latest_ = latest(datetime.datetime(2026, 11, 2, tzinfo=datetime.UTC))
    for here, there, believed, step in (
        (OLD, "2036-01-01T00:00:00Z", latest_, Step.AHEAD),
        (OLD, "2036-01-01T00:00:00Z", None, Step.AVAILABLE),  # nobody sets this machine's clock
        ("2036-01-01T00:00:00Z", NEW, latest_, Step.AVAILABLE),
        ("2036-01-01T00:00:00Z", NEW, None, Step.OLDER),
    ):
        judged = judge(offer("n", there), (BOOTED,), State(), here, named=True, allow_downgrade=False, latest=believed)
        assert judged.step is step


def test_the_way_back() -> None:
    third = Listed(digest="t")
    assert to_go_back_to((STAGED, BOOTED), None, ()) is None
    assert to_go_back_to((STAGED, BOOTED, OTHER, third), "b", ()) == OTHER
    assert to_go_back_to((BOOTED, OTHER, third), "t", ()) == third
    assert to_go_back_to((BOOTED, OTHER, third), "b", ("o",)) == third
    assert to_go_back_to((BOOTED, OTHER), "o", ("o",)) == OTHER
    twice = replace(BOOTED, booted=False, default=False)
    assert to_go_back_to((BOOTED, twice, OTHER), "b", ()) == OTHER
    assert to_go_back_to((BOOTED, twice), "b", ()) is None


@given(
    st.lists(st.sampled_from("abcdef"), unique=True, min_size=1),
    st.sampled_from("abcdef"),
    st.sets(st.sampled_from("abcdef")),
)
def test_the_confirmed_one_is_always_kept(digests: list[str], confirmed: str, quarantined: set[str]) -> None:
    listed = [Listed(digest=digest, booted=number == 0) for number, digest in enumerate(digests)]
    keep = kept(listed, State(confirmed=confirmed, quarantined=tuple(quarantined)), "live")
    assert {confirmed, "live"} <= keep and len(keep) <= 3


def test_what_a_node_follows(tmp_path: Path) -> None:
    booted = Listed(digest="b", booted=True, reference="r.example/n:stable")
    assert update.followed(tmp_path, (booted,)) == "r.example/n:stable"
    assert update.followed(tmp_path, (Listed(digest="b", booted=True, reference="localhost/aistack/x:latest"),)) is None
    credential = tmp_path / "run/credentials/@system/aistack.follow"
    credential.parent.mkdir(parents=True)
    credential.write_text("other.example/n:beta\n")
    assert update.followed(tmp_path, (booted,)) == "other.example/n:beta"


DIGEST = f"@sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("to", "means"),
    [
        ("r.example/n:beta", "r.example/n:beta"),
        (f"r.example/n{DIGEST}", f"r.example/n:stable{DIGEST}"),
        (f"other.example/n:beta{DIGEST}", f"other.example/n:beta{DIGEST}"),
        (f"other.example/n{DIGEST}", None),
        ("r.example/n", None),
        ("r.example/n:stable@sha256:0", None),
    ],
)
def test_what_is_named_by_hand(to: str, means: str | None) -> None:
    assert named(to, "r.example/n:stable") == means


def test_a_node_is_held_to_what_was_named_by_its_digest_while_it_has_it(tmp_path: Path) -> None:
    booted, image = Listed(digest="b", booted=True, reference="r.example/n:stable"), f"other.example/n:beta{DIGEST}"
    update.hold(tmp_path, image, (booted,))
    assert update.followed(tmp_path, (booted,)) == "r.example/n:stable"
    for one in (Listed(digest=DIGEST[1:], staged=True), Listed(digest=DIGEST[1:], booted=True)):
        assert update.asked(tmp_path, None, (one, booted)) == image
    update.hold(tmp_path, "r.example/n:stable", (booted,))
    assert update.followed(tmp_path, (replace(booted, digest=DIGEST[1:]),)) == "r.example/n:stable"


@pytest.mark.parametrize("damage", [b"\xff\xfe", b"\0" * 80, b"r.example/n:stable"])
def test_a_hold_that_cannot_be_read_is_told_and_nothing_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: bytes) -> None:
    image, root = f"r.example/n:beta{DIGEST}", node(tmp_path)
    engine = Engine(order=[], has=(replace(BOOTED, digest=DIGEST[1:], reference="r.example/n:stable"),))
    update.hold(root, image, engine.has)
    file = root / "var/lib/aistack/held"
    assert update.asked(root, None, engine.has) == image
    file.write_bytes(damage + file.read_bytes()[len(damage) :])
    for extent in (node_update.Extent(), node_update.Extent(check=True)):
        with pytest.raises(DiagnosticError, match="nobody can tell which image this node is held to") as caught:
            node_update.update(extent, root=root, deployments=engine)
        assert caught.value.diagnostics[0].rule == "UPD014"
    assert engine.told == [] and update.remembered(root)["rule"] == "UPD014"
    assert node_status(root=root, deployments=engine) is ExitCode.OK
    assert "follows      nobody can tell which image this node is held to" in capsys.readouterr().out
    file.unlink()
    assert update.asked(root, None, engine.has) == "r.example/n:stable"


def test_an_order_that_comes_to_nothing_does_not_end_what_the_node_is_held_to(tmp_path: Path) -> None:
    first, second = (f"r.example/n:stable@sha256:{digit * 64}" for digit in "12")
    booted, staged = (Listed(digest=one.partition("@")[2], reference="r.example/n:stable") for one in (first, second))
    booted, staged = replace(booted, booted=True), replace(staged, staged=True)
    update.hold(tmp_path, first, (booted,))
    update.hold(tmp_path, second, (booted,))
    assert update.followed(tmp_path, (booted,)) == first  # the second one could not be had, or was undone
    assert update.followed(tmp_path, (staged, booted)) == second
    update.hold(tmp_path, first, (replace(staged, staged=False, booted=True), replace(booted, booted=False)))
    update.hold(tmp_path, "r.example/n:stable", (booted,))
    assert update.held(tmp_path) == ()


@pytest.mark.parametrize("given", [f"r.example/n:stable{DIGEST}", "r.example/n", "stable", "r.example/n:\udcff\udcfe"])
def test_a_credential_that_names_no_tag_is_refused(tmp_path: Path, given: str) -> None:
    credential = tmp_path / "run/credentials/@system/aistack.follow"
    credential.parent.mkdir(parents=True)
    credential.write_bytes(os.fsencode(given))
    with pytest.raises(DiagnosticError, match=r"the credential aistack\.follow"):
        update.asked(tmp_path, None, (BOOTED,))


def test_a_second_update_waits_for_the_first_and_not_for_ever(tmp_path: Path) -> None:
    said: list[str] = []
    with update.alone(tmp_path, said.append):
        assert said == []
        with pytest.raises(DiagnosticError, match="another update"), update.alone(tmp_path, said.append, seconds=0.1):
            pass
        assert len(said) == 1 and "waiting for it, 0 s at most" in said[0]
    holder = subprocess.Popen(
        ["flock", str(tmp_path / "run/aistack/update.lock"), "sh", "-c", "echo held; sleep 0.5"], stdout=subprocess.PIPE
    )
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    with update.alone(tmp_path, said.append):
        assert len(said) == 2 and holder.wait(10) == 0


def test_room_is_asked_for_before_it_is_used(tmp_path: Path) -> None:
    room.require(tmp_path, 1, "nothing")
    free = os.statvfs(tmp_path)
    with pytest.raises(DiagnosticError, match="the update needs"):
        room.require(tmp_path, free.f_blocks * free.f_frsize + 1, "the update")


@dataclass(slots=True)
class Engine(Bootloader):
    """An update engine with what it lists; nothing is fetched by these tests."""

    has: tuple[Listed, ...] = ()

    def listed(self) -> tuple[Listed, ...]:
        return self.has


def fill(path: Path) -> None:
    """The disk is full for a new version of this file."""
    path.with_name(f".{path.name}.new").symlink_to("/dev/full")


def node(root: Path, **settings: str) -> Path:
    return lay(root, replace(LOCK, node=(*LOCK.node, *settings.items())))


@pytest.mark.parametrize(
    ("window", "credential", "has", "told"),
    [
        ("00:00..00:00", None, (STAGED, BOOTED), ["reboot"]),
        ("00:00..00:00", None, (BOOTED,), []),
        (None, None, (STAGED, BOOTED), []),
        (None, "00:00..00:00", (STAGED, BOOTED), ["reboot"]),
    ],
)
def test_it_reboots_by_itself_only_in_its_window_and_into_something(
    tmp_path: Path, window: str | None, credential: str | None, has: tuple[Listed, ...], told: list[str]
) -> None:
    root = node(tmp_path, **({"window": window} if window else {}))
    if credential:
        (root / "run/credentials/@system").mkdir(parents=True)
        (root / "run/credentials/@system/aistack.window").write_text(credential)
    engine = Engine(order=[], has=has)
    assert node_update.update(node_update.Extent(in_window=True), root=root, deployments=engine) is ExitCode.OK
    assert engine.told == told
    assert state.load(root / "var/lib/aistack/state.json").reboots == (Reboots(digest="s", times=1) if told else None)


def test_a_rollback_remembers_before_it_tells_the_bootloader(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, engine = node(tmp_path), Engine(order=[], has=(BOOTED, OTHER), broken=True)
    with pytest.raises(DiagnosticError, match="no space left"):
        node_update.rollback(apply=True, dry_run=False, as_json=False, root=root, deployments=engine)
    assert state.load(root / "var/lib/aistack/state.json").quarantined == ("b",)
    assert not (root / state.LEFT.lstrip("/")).exists()
    engine.broken = False
    node_update.rollback(apply=True, dry_run=False, as_json=False, root=root, deployments=engine)
    assert engine.told == ["discard", "discard", "default o", "stop counting", "reboot"]
    assert (root / state.LEFT.lstrip("/")).exists()
    assert "o starts next" in capsys.readouterr().out


@pytest.mark.parametrize("staged", ["s", "l"])
def test_a_rollback_of_apps_that_were_replaced_is_about_their_image_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], staged: str
) -> None:
    root, engine = node(tmp_path), Engine(order=[], has=(replace(STAGED, digest=staged), BOOTED, OTHER))
    over = Deployment(stateroot="aistack", commit="c", serial=0, promised_manifest="l", manifest="l", lock_identity="i")
    (root / "run/aistack").mkdir(parents=True)
    (root / "run/aistack/live.json").write_text(json.dumps(asdict(over)))
    node_update.rollback(apply=False, dry_run=True, as_json=False, root=root, deployments=engine)
    said = capsys.readouterr().out
    assert "the apps and models of the booted b would be in force again" in said
    assert "those of l are taken again only by its digest" in said
    assert ("l, which was staged, would be dropped" if staged == "l" else "s stays staged: the next orderly reboot starts it") in said
    assert engine.told == [] and not (root / "var/lib/aistack/state.json").exists()


def test_a_full_disk_keeps_no_rollback_from_being_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, engine = node(tmp_path), Engine(order=[], has=(BOOTED, OTHER))
    state.save(root / "var/lib/aistack/state.json", State(confirmed="b"))
    fill(root / "var/lib/aistack/state.json")
    node_update.rollback(apply=True, dry_run=False, as_json=False, root=root, deployments=engine)
    assert engine.told == ["discard", "default o", "stop counting", "reboot"]
    assert "No space left" in capsys.readouterr().err


def test_a_rollback_without_another_deployment_is_refused(tmp_path: Path) -> None:
    engine = Engine(order=[], has=(STAGED, BOOTED))
    with pytest.raises(DiagnosticError, match="no other deployment"):
        node_update.rollback(apply=False, dry_run=False, as_json=False, root=node(tmp_path), deployments=engine)
    assert engine.told == []


def test_a_rollback_to_what_was_undone_is_refused_and_says_so(tmp_path: Path) -> None:
    root, engine = node(tmp_path), Engine(order=[], has=(STAGED, BOOTED, OTHER))
    state.save(root / "var/lib/aistack/state.json", State(quarantined=("b", "o")))
    with pytest.raises(DiagnosticError, match="every other deployment of this node was undone") as caught:
        node_update.rollback(apply=False, dry_run=False, as_json=False, root=root, deployments=engine)
    assert caught.value.diagnostics[0].why == ("undone: o, version unknown",) and engine.told == []


def test_what_went_wrong_is_remembered(tmp_path: Path) -> None:
    needs("skopeo")
    root = node(tmp_path)
    engine = Engine(order=[], has=(replace(BOOTED, reference="localhost:9/n:stable"),))
    with pytest.raises(DiagnosticError):
        node_update.update(node_update.Extent(), root=root, deployments=engine)
    kept_ = json.loads((root / "var/lib/aistack/update.json").read_text())
    assert (kept_["outcome"], kept_["rule"][:3]) == ("failed", "REG")


@dataclass(slots=True)
class Taking(Engine):
    """An engine that ends where it is to stage, and says what was quarantined until then."""

    root: Path = Path("/")

    def download(self, image: Image, advance: Advance) -> Fetched:
        return Fetched(layers=1, new_layers=1, bound=0, new_bound=0, bytes=None)

    def stage(self, image: Image, keep: Collection[str]) -> None:
        self.told.append(f"stage, quarantined: {' '.join(state.load(self.root / 'var/lib/aistack/state.json').quarantined)}")
        raise unable("TEST", "test", "nothing is staged")

    def try_staged(self) -> None:
        self.told.append("try staged")


def test_what_is_wanted_is_remembered_before_it_is_staged(tmp_path: Path) -> None:
    """A power cut, or a failure, in between leaves nothing that its first boot undoes because nobody chose it."""
    needs("skopeo")
    store, root, reference = Store(tmp_path / "store"), node(tmp_path / "root"), "r.example/n:stable"
    digest = oci_samples.image(store, [oci_samples.layer([oci_samples.file("usr/x", b"x")])])
    layout = oci.export_layout(store, {"stable": digest}, tmp_path / "layout")
    booted = replace(BOOTED, reference=reference)

    def take(engine: Engine, to: str | None) -> tuple[list[str], tuple[str, ...]]:
        state.save(root / "var/lib/aistack/state.json", State(quarantined=(digest,)))
        with contextlib.suppress(DiagnosticError):
            node_update.update(node_update.Extent(), layout=layout, to=to, root=root, deployments=engine)
        return engine.told, state.load(root / "var/lib/aistack/state.json").quarantined

    assert take(Taking(order=[], root=root, has=(booted,)), None) == ([], (digest,))
    assert take(Taking(order=[], root=root, has=(booted,)), f"{reference}@{digest}") == (["stage, quarantined: "], ())
    assert update.remembered(root)["because"] == "nothing is staged"
    staged = Listed(digest=digest, reference=reference, staged=True)  # by a rollback that was killed before it was dropped
    assert take(Taking(order=[], root=root, has=(staged, booted)), reference) == (["discard"], (digest,))
    assert take(Taking(order=[], root=root, has=(staged, booted)), f"{reference}@{digest}") == (["discard", "try staged"], ())


def test_what_cannot_be_told_stops_no_rollback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    needs("skopeo")
    root, engine = node(tmp_path), Engine(order=[], has=(BOOTED, OTHER))
    (root / "run").mkdir(exist_ok=True)
    (root / "run/issue.d").write_text("no folder")
    node_update.rollback(apply=True, dry_run=False, as_json=False, root=root, deployments=engine)
    assert engine.told == ["discard", "default o", "stop counting", "reboot"]
    assert "what this node tells could not be written" in capsys.readouterr().err
    with pytest.raises(DiagnosticError, match="did not answer"):  # and not the other failure
        node_update.update(node_update.Extent(), to="localhost:9/n:stable", root=root, deployments=engine)


def test_what_a_window_brought_is_remembered_though_the_registry_does_not_answer(tmp_path: Path) -> None:
    needs("skopeo")
    staged = replace(STAGED, reference="localhost:9/n:stable", version="2")
    root, engine = node(tmp_path, window="00:00..00:00"), Engine(order=[], has=(staged, BOOTED))
    with pytest.raises(DiagnosticError, match="did not answer"):
        node_update.update(node_update.Extent(in_window=True), root=root, deployments=engine)
    assert engine.told == ["reboot"]
    remembered = update.remembered(root)
    assert remembered.pop("time") and remembered == {
        "schema": "aistack/node-update/v1",
        "outcome": "reboots",
        "because": "the window 00:00..00:00 is open",
        "reference": "localhost:9/n:stable",
        "digest": "s",
        "version": "2",
    }
