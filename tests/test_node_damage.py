"""What a node does where its own files are damaged, or its tools fail: it goes on, and back, as far as anybody can tell."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import oci_samples
import pytest
from node_samples import MANIFEST
from recorded_node import Bootloader, written
from test_following import BOOTED, OTHER, STAGED, Engine
from tools_needed import needs

from aistack.commands import node_update
from aistack.commands.node import node_status
from aistack.diagnostics import DiagnosticError, unable
from aistack.facts.following import SEALED_LABEL
from aistack.facts.readings import PromisedImage, Reading
from aistack.host import oci, ostree, registry, remote_image, room
from aistack.host.blobs import UNPACKED_SIZE, LayoutFolder
from aistack.host.ostree import VERSION_LABEL, Layer
from aistack.host.probes import services
from aistack.host.store import Store
from aistack.node import agent, second_gate, state, telling, update, watch
from aistack.node.cleaning import with_room
from aistack.node.decide import State
from aistack.node.deployments import Listed
from aistack.node.deployments.ostree import unpacked

MISSHAPEN: tuple[dict[str, object], ...] = (
    {"reboots": {"digest": MANIFEST, "times": float("inf")}},
    {"reboots": {"digest": MANIFEST, "times": "3"}},
    {"quarantined": [["x"]]},
    {"quarantined": MANIFEST},
    {"confirmed": 5},
    {"confirmed": "\ud800"},
    {"experiment": {"digest": MANIFEST, "failed": "kernel"}},
)
"""What is JSON, and still nothing that a node remembers."""
WHOLE: dict[str, object] = {
    "schema": state.SCHEMA,
    "confirmed": None,
    "quarantined": [],
    "experiment": None,
    "unfit": None,
    "reboots": None,
}
DAMAGED = (
    *(b'{"schema": "aistack/node-state/v1"', b"", b"\xff\xfe\x00", b"[" * 100_000),
    *(json.dumps({**WHOLE, **wrong}).encode() for wrong in MISSHAPEN),
)


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


def full(tree: Path, *files: str) -> None:
    """No file below /run can be written any more."""
    for file in files:
        (tree / "run" / file).parent.mkdir(parents=True, exist_ok=True)
        (tree / "run" / Path(file).with_name(f".{Path(file).name}.{os.getpid()}.new")).symlink_to("/dev/full")


def test_a_first_gate_that_cannot_write_its_answer_says_it_and_lets_the_apps_start(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    full(tree, "aistack/check.json", "issue.d/50-aistack.issue")
    assert agent.run_check(tree) == 0
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "aistack: check: healthy"
    assert said.err.splitlines() == [
        "aistack: what this node tells could not be written: [Errno 28] No space left on device:"
        " /run/aistack/check.json, /run/issue.d/50-aistack.issue"
    ]


def says(tmp_path: Path, **units: str) -> None:
    """A stand-in for `systemctl`: in which state each unit is."""
    shown = "; echo; ".join(
        f"printf 'Id={name}.service\\nLoadState=loaded\\nActiveState={state}\\nSubState=x\\n'" for name, state in units.items()
    )
    program = tmp_path / "bin/systemctl"
    program.write_text(f"#!/bin/sh\ncase $1 in show) {shown.replace('_', '-')} ;; esac\n")
    program.chmod(0o755)


@pytest.mark.parametrize(("gate", "code", "told"), [("active", 0, []), ("failed", 3, ["default sha256:old"])])
def test_a_first_gate_that_passed_and_could_not_write_it_undoes_nothing(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: str, code: int, told: list[str]
) -> None:
    """One that failed has held the apps back, however good the machine looks to another look."""
    says(tmp_path, aistack_check=gate, app_embed="active")
    monkeypatch.setattr(services, "answer", lambda port, path, timeout: Reading(source="HTTP", value=200))
    state.save(tree / "var/lib/aistack/state.json", State(confirmed="sha256:old"))
    full(tree, "aistack/check.json")
    assert agent.run_check(tree) == 0
    bootloader = Bootloader(order=[MANIFEST, "sha256:old"])
    assert second_gate.run_confirm(tree, bootloader) == code
    assert [one for one in bootloader.told if one.startswith("default")] == (told or [f"default {MANIFEST}"])
    assert state.load(tree / "var/lib/aistack/state.json").confirmed == ("sha256:old" if told else MANIFEST)
    assert ("left no answer" in json.dumps(written(tree, "confirm"))) == bool(told)


def test_a_first_gate_that_failed_and_could_not_write_why_is_acted_on(tree: Path, tmp_path: Path) -> None:
    says(tmp_path, aistack_check="failed", app_embed="inactive")
    (tree / "proc/sys/kernel/osrelease").write_text("6.1.0-other\n")
    modules = tree / "usr/lib/modules"
    (modules / "6.1.0-other").symlink_to(next(modules.iterdir()).name)
    state.save(tree / "var/lib/aistack/state.json", State(confirmed="sha256:old"))
    full(tree, "aistack/check.json")
    assert agent.run_check(tree) == 1
    assert second_gate.run_confirm(tree, Bootloader(order=[MANIFEST, "sha256:old"])) == 1
    assert written(tree, "confirm")["cause"] == "software"
    assert state.load(tree / "var/lib/aistack/state.json").quarantined == (MANIFEST,)


def test_an_answer_that_cannot_be_written_leaves_no_older_one(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agent.run_check(tree)
    (tree / "proc/sys/kernel/arch").write_text("aarch64\n")
    full(tree, "aistack/check.json")
    assert agent.run_check(tree) == 1
    assert not (tree / "run/aistack/check.json").exists(), "it said healthy"
    assert "check: unhealthy" in (tree / "run/issue.d/50-aistack.issue").read_text()
    assert capsys.readouterr().err.count("could not be written") == 1
    assert not any(path.name.endswith(".new") for path in (tree / "run").rglob("*"))


def test_a_watch_that_cannot_write_what_it_found_says_it(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bootloader = Bootloader(order=[MANIFEST])
    agent.run_check(tree)
    (tree / "proc/sys/kernel/arch").write_text("aarch64\n")
    for _ in range(2):
        capsys.readouterr()
        full(tree, "aistack/watch.json", "aistack/metrics.prom")
        assert watch.run_watch(tree, bootloader) == 1
        said = capsys.readouterr()
        assert said.out.splitlines()[-1].startswith("aistack: watch: unhealthy"), "nobody remembers that it was said"
        assert len(said.err.splitlines()) == 1 and "/run/aistack/watch.json, /run/aistack/metrics.prom" in said.err


RESULT: dict[str, Any] = {
    "name": "kernel",
    "outcome": "unhealthy",
    "cause": None,
    "message": "m",
    "evidence": {},
    "action": None,
    "device": None,
}
NO_REPORTS = (
    [],
    {},
    {"results": [{}]},
    {"results": None},
    {"results": []},
    {"results": ["x"]},
    *({"results": [{**RESULT, name: 7}]} for name in RESULT if name != "action"),
)


@pytest.mark.parametrize("content", [*map(json.dumps, NO_REPORTS), "", "[" * 100_000])
def test_a_damaged_report_of_the_watch_is_none(tree: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    bootloader = Bootloader(order=[MANIFEST])
    agent.run_check(tree)
    (tree / "run/aistack/watch.json").write_text(content)
    assert node_status(as_json=False, root=tree, deployments=bootloader) == 0
    capsys.readouterr()
    assert watch.run_watch(tree, bootloader) == 0
    assert capsys.readouterr() == ("", ""), "as the first gate found it"
    assert written(tree, "watch")["outcome"] == "healthy"
    (tree / "run/aistack/check.json").write_text(content)
    assert watch.run_watch(tree, bootloader) == 0
    assert 'gate="watch"' in (tree / "run/aistack/metrics.prom").read_text() and capsys.readouterr().err == ""


WRONG = ('{"a": 1}', "[1]", '"x"', "5", "[" * 100_000, '{"outcome": "healthy", "time": "2026-11-26T00:00:00Z", "results": [{}]}')


@pytest.mark.parametrize("text", (*WRONG, '{"outcome": 1, "action": [], "time": "yesterday", "because": "x", "results": 5}'))
@pytest.mark.parametrize(
    "file", ["run/aistack/check", "run/aistack/confirm", "run/aistack/watch", "var/lib/aistack/update", "var/lib/aistack/change"]
)
def test_what_a_node_told_earlier_and_is_damaged_stops_nothing(
    tree: Path, capsys: pytest.CaptureFixture[str], file: str, text: str
) -> None:
    (tree / file).parent.mkdir(parents=True, exist_ok=True)
    (tree / f"{file}.json").write_text(text)
    engine = Bootloader(order=[MANIFEST])
    assert node_status(root=tree, deployments=engine) == 0 and node_status(as_json=True, root=tree, deployments=engine) == 0
    said = capsys.readouterr().out
    phase = file.rpartition("/")[2]
    assert ("unknown" in said and f"{phase}.json` is damaged" in said) == file.startswith("run/")
    telling.tell(tree, engine)
    told = (tree / "run/aistack/metrics.prom").read_text()
    assert (f'gate_outcome{{gate="{phase}",outcome="unknown"}} 1' in told) == file.startswith("run/")
    assert watch.run_watch(tree, engine) == 0
    assert capsys.readouterr().err == ""


def test_a_node_that_remembers_nothing_readable_still_tells(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = Bootloader(order=[MANIFEST])
    path = tree / state.PATH.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{")
    agent.run_check(tree)
    assert second_gate.run_confirm(tree, engine) == 3, "nothing is decided on a guess"
    metrics = (tree / "run/aistack/metrics.prom").read_text()
    assert "aistack_node_state_readable 0\n" in metrics and "aistack_node_confirmed" not in metrics and "aistack_node_info{" in metrics
    assert "is not a node's state" in (tree / "run/issue.d/50-aistack.issue").read_text()
    capsys.readouterr()
    assert node_status(root=tree, deployments=engine) == 3
    said = capsys.readouterr().out
    assert f"booted       {MANIFEST}" in said and "confirmed    nobody can tell" in said and "is not a node's state" in said
    assert node_status(as_json=True, root=tree, deployments=engine) == 3
    told = json.loads(capsys.readouterr().out)
    assert told["state_error"].startswith("`") and {told[name] for name in ("confirmed", "quarantined", "experiment", "unfit")} == {None}
    path.unlink()
    telling.tell(tree, engine)
    assert "aistack_node_state_readable 1\n" in (tree / "run/aistack/metrics.prom").read_text()


def test_a_first_gate_whose_answer_is_damaged_could_not_tell(tree: Path) -> None:
    (tree / "run/aistack").mkdir(parents=True)
    for text in WRONG:
        (tree / "run/aistack/check.json").write_text(text)
        assert second_gate.run_confirm(tree, Bootloader(order=[MANIFEST])) == 3
        assert "the first gate left no answer" in json.dumps(written(tree, "confirm"))


MANIFEST_TEXT = json.dumps({"config": {"digest": "sha256:c"}}).encode()


@pytest.mark.parametrize(
    ("manifest", "config"),
    [
        (b"[" * 100_000, b""),
        (b"[]", b""),
        (MANIFEST_TEXT, b"[" * 100_000),
        (MANIFEST_TEXT, b"[]"),
        (MANIFEST_TEXT, json.dumps({"config": {"Labels": {SEALED_LABEL: 5}}}).encode()),
    ],
)
def test_what_a_registry_says_and_no_image_has_is_told(monkeypatch: pytest.MonkeyPatch, manifest: bytes, config: bytes) -> None:
    monkeypatch.setattr(registry, "inspected", lambda reference, name, digest, *options: config if options else manifest)
    with pytest.raises(DiagnosticError) as caught:
        registry.labels("r.example/n:stable", "amd64")
    assert caught.value.diagnostics[0].rule == "OCI003"


@pytest.mark.parametrize("said", ["\ud800", "1\nFAKE line", "\x1b[31mRED\x1b[0m", "a\x00b", "9" * 100_000])
@pytest.mark.parametrize("label", [VERSION_LABEL, SEALED_LABEL])
def test_a_label_that_would_write_on_a_terminal_is_refused(monkeypatch: pytest.MonkeyPatch, label: str, said: str) -> None:
    labels = {label: said, "org.opencontainers.image.description": "of two\nlines"}
    monkeypatch.setattr(registry, "labels", lambda reference, arch: ("sha256:d", labels))
    with pytest.raises(DiagnosticError) as caught:
        update.offered("r.example/n:stable")
    (found,) = caught.value.diagnostics
    assert found.rule == "OCI003" and " ".join(found.why).isprintable() and label in found.why[0] and len(found.why[0]) < 400
    labels[label] = "2026.11-é"
    assert update.offered("r.example/n:stable").image.digest == "sha256:d"


def test_a_label_that_is_no_text_makes_no_commit(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    digest = oci_samples.image(store, [oci_samples.layer([oci_samples.file("usr/x")])], labels={VERSION_LABEL: "\ud800"})
    with pytest.raises(DiagnosticError, match="is not an image") as caught:
        ostree.read_image(LayoutFolder(oci.export_layout(store, {"x": digest}, tmp_path / "layout")), digest)
    assert caught.value.diagnostics[0].rule == "OST008"


@pytest.mark.parametrize(
    ("said", "rule"),
    [
        ("Running image docker://r.example/n:stable is rejected by policy.", "REG010"),
        ("Source image rejected: Running image docker://r.example/n:stable is rejected by policy.", "REG010"),
        ('Error loading trust policy: invalid policy in "/x": List of verification policy requirements must not be empty', "REG010"),
        ("Source image rejected: A signature was required, but no signature exists", "REG009"),
        ("Error parsing manifest for image: invalid character 'ï' looking for beginning of value", "OCI003"),
        ("Error parsing manifest for image: unsupported schema version 2", "OCI003"),
        ("initializing image from source docker://r.example/n:stable: json: cannot unmarshal number into Go struct field", "OCI003"),
        ("json: cannot unmarshal number into Go struct field OCI1.mediaType of type string", "OCI003"),
        ("pinging container registry r.example: Get https://r.example/v2/: dial tcp 192.0.2.1:443: connect: no route to host", "REG001"),
        ("invalid status code from registry 500 (Internal Server Error)", "REG001"),
        (f"Digest did not match, expected sha256:{'4041' * 16}, got sha256:{'8' * 64}", "REG006"),
    ],
)
def test_what_skopeo_says_is_told_for_what_it_is(said: str, rule: str) -> None:
    (found,) = registry.refused("r.example/n:stable", said).diagnostics
    assert found.rule == rule and said in " ".join(found.why)
    assert ("network" in " ".join(found.hints)) == (rule == "REG001")


@pytest.mark.parametrize("said", [b'{"manifests": []}', b"[" * 100_000, b'{"layers": [5]}'])
def test_a_bound_image_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, said: bytes) -> None:
    monkeypatch.setattr(registry, "inspected", lambda reference, name, digest, *options: said)
    with pytest.raises(DiagnosticError) as caught:
        remote_image.missing_layers("r.example/n", PromisedImage(name="x", digest="sha256:d"), ())
    assert caught.value.diagnostics[0].rule == "OCI003"


def test_a_size_that_nobody_means_is_guessed() -> None:
    def size(said: str) -> int:
        return unpacked([Layer(digest="d", size=10, media_type="tar+zstd", annotations=((UNPACKED_SIZE, said),))])

    assert (size("77"), size("9" * 5000), size("x")) == (77, 30, 30)


def test_what_nobody_thought_of_is_remembered_and_what_is_staged_starts(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offered(reference: str) -> None:
        raise IndexError("a bug")

    monkeypatch.setattr(update, "offered", offered)
    (tree / "run/credentials/@system").mkdir(parents=True)
    (tree / "run/credentials/@system/aistack.window").write_text("00:00..00:00")
    booted, staged = (replace(one, reference="r.example/n:stable") for one in (BOOTED, STAGED))
    for has, outcome in (((booted,), "failed"), ((staged, booted), "reboots")):
        engine = Engine(order=[], has=has)
        with pytest.raises(IndexError):
            node_update.update(node_update.Extent(in_window=True), root=tree, deployments=engine)
        remembered = update.remembered(tree)
        assert (remembered["outcome"], engine.told) == (outcome, ["reboot"] if outcome == "reboots" else [])
        assert outcome == "reboots" or remembered["because"] == "aistack has a bug: IndexError: a bug"


@dataclass(slots=True)
class Dropping(Engine):
    """An engine that drops what is staged."""

    def discard(self) -> None:
        self.told.append("discard")
        self.has = tuple(one for one in self.has if not one.staged)


@pytest.mark.parametrize(("quarantined", "told"), [(("s",), ["discard"]), ((), ["reboot"])])
def test_what_a_killed_rollback_left_staged_is_not_started(tree: Path, quarantined: tuple[str, ...], told: list[str]) -> None:
    """The registry, which is asked afterwards, does not even answer."""
    needs("skopeo")
    (tree / "run/credentials/@system").mkdir(parents=True)
    (tree / "run/credentials/@system/aistack.window").write_text("00:00..00:00")
    state.save(tree / "var/lib/aistack/state.json", State(confirmed="b", quarantined=quarantined))
    engine = Dropping(order=[], has=tuple(replace(one, reference="localhost:9/n:stable") for one in (STAGED, BOOTED)))
    with pytest.raises(DiagnosticError, match="did not answer"):
        node_update.update(node_update.Extent(in_window=True), root=tree, deployments=engine)
    assert engine.told == told


@dataclass(slots=True)
class Small(Engine):
    """An engine on a small disk: nothing fits until it was cleaned `lacks` times."""

    lacks: int = 0
    refused: Exception | None = None

    def fetch(self) -> str:
        if self.lacks and self.refused:
            raise self.refused
        room.require(Path("/"), 1 << 62 if self.lacks else 1, "the update")
        return "fetched"

    def fail(self) -> str:
        raise unable("TEST", "test", "another reason")

    def clean(self, keep: Collection[str]) -> tuple[str, ...]:
        self.told.append(f"clean, keep {' '.join(sorted(keep))}")
        self.lacks -= 1
        return ("q",)


NO_ROOM = (
    None,
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "arriving"),
    unable("OST002", "ostree-failed", "OSTree: min-free-space-size 64MB would be exceeded, at least 4.0 kB requested"),
    unable("HOST002", "tool-failed", "`skopeo` ended with exit code 1", why=("write /x/layer.tar: no space left on device",)),
)


@pytest.mark.parametrize("refused", NO_ROOM)
def test_what_failed_makes_room_for_what_mends_it(tree: Path, refused: Exception | None) -> None:
    engine = Small(order=[], has=(Listed(digest="q"), BOOTED, OTHER), lacks=1, refused=refused)
    state.save(tree / "var/lib/aistack/state.json", State(confirmed="o", quarantined=("q",)))
    said: list[str] = []
    assert with_room(tree, engine, "n", said.append, engine.fetch) == "fetched"
    assert engine.told == ["clean, keep n o"] and said == ["removed q, to make room"]
    engine.lacks = 2
    with pytest.raises(DiagnosticError, match=r"needs|a disk of this node is full") as caught:
        with_room(tree, engine, "n", said.append, engine.fetch)
    assert caught.value.diagnostics[0].rule == "UPD001" and "enlarge the disk" in caught.value.diagnostics[0].hints[1]
    with pytest.raises(DiagnosticError, match="another reason") as caught:
        with_room(tree, engine, "n", said.append, engine.fail)
    assert caught.value.diagnostics[0].rule == "TEST" and len(engine.told) == 2
