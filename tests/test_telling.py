"""What a node tells: status, metrics as Prometheus reads them, journal entries as they arrive, the catalog as journalctl compiles it."""

from __future__ import annotations

import dataclasses
import json
import re
import socket
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from node_samples import COMMIT, MANIFEST, lay
from prometheus_client.parser import text_string_to_metric_families
from tools_needed import needs

from aistack.facts import events
from aistack.facts.device_readings import Device
from aistack.facts.readings import Reading
from aistack.host import grub, journal
from aistack.node import agent, metrics, state, status, telling, update
from aistack.node.decide import Action, Decision, State
from aistack.node.deployments import Listed
from aistack.node.fleet_reading import NodeReport
from aistack.node.results import Cause, Outcome, Result, Verdict, verdict
from aistack.node.status import Status

OLD, NEW = "sha256:" + "1" * 64, "sha256:" + "2" * 64
FOLLOWED = "registry.example/nodes/l4:stable"
HERE = (
    Listed(digest=NEW, reference=FOLLOWED, version="3", staged=True),
    Listed(digest=MANIFEST, reference=FOLLOWED, version="2", booted=True, default=True),
    Listed(digest=OLD, reference=FOLLOWED, version="1", pinned=True),
)


def gave(*results: Result, time: str | None = None, devices: tuple[Device, ...] = ()) -> NodeReport:
    """What a gate, or the watch, wrote."""
    judged = verdict(results) if results else Verdict(outcome=Outcome.HEALTHY, cause=None, failed=())
    return NodeReport(file="x.json", outcome=judged.outcome, cause=judged.cause, results=results, time=time, devices=devices)


STATUS = Status(
    lock_name="l4",
    lock="sha256:" + "3" * 64,
    booted=MANIFEST,
    live=None,
    commit=COMMIT,
    deployment=f"{COMMIT}.0",
    deployments=Reading(source="deployments", value=HERE),
    state=State(confirmed=OLD, quarantined=(NEW,)),
    trial=grub.Trial(deployment=f"{COMMIT}.0", tries=2),
    follows=FOLLOWED,
    window="Sun 02:00..04:00",
    gates={"check": gave()},
    last_update={"outcome": "staged", "because": "the tag names another image", "time": "2026-11-26T20:00:00Z"},
    last_change=None,
)


def samples(told: Status) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Every metric of the text, by its name and labels, as Prometheus's own client reads them."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(metrics.text(told)):
        assert family.type == "gauge" and family.documentation
        for sample in family.samples:
            found.setdefault(sample.name.removeprefix("aistack_node_"), {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_the_metrics_are_read_by_prometheus_itself() -> None:
    told = samples(STATUS)
    assert told["info"] == {(("digest", MANIFEST), ("lock", STATUS.lock), ("name", "l4"), ("version", "2")): 1}
    plain = {name: values[()] for name, values in told.items() if () in values}
    wanted = {
        "state_readable": 1,
        "confirmed": 0,
        "unfit": 0,
        "on_trial": 1,
        "quarantined_images": 1,
        "update_staged": 1,
        "rollback_possible": 1,
    }
    assert plain == wanted
    assert {labels[1][1]: value for labels, value in told["gate_outcome"].items()} == {
        "healthy": 1, "degraded": 0, "unknown": 0, "unhealthy": 0,
    }  # fmt: skip
    assert told["last_update_timestamp_seconds"] == {(("outcome", "staged"),): 1795723200}


def test_a_name_with_every_awkward_character_is_read_back() -> None:
    name = 'a"b\\c\nd{}=,é'
    ((labels, _),) = samples(dataclasses.replace(STATUS, lock_name=name))["info"].items()
    assert dict(labels)["name"] == name


def read(**values: float | str) -> Device:
    return Device(values={name.replace("_", "."): Reading(source="NVML", value=value) for name, value in values.items()})


DEVICE = "0000:18:00.0"
HOT = gave(
    Result(name="lock", outcome=Outcome.HEALTHY, message="the lock is l4"),
    *(Result(name="accelerator-log", outcome=Outcome.DEGRADED, device=DEVICE, message=f"Xid {code}") for code in (1, 2)),
    time="2026-11-26T20:00:00Z",
    devices=(
        read(pci_address=DEVICE, power_watts=71.787, temperature_celsius="hot", links_up=4),
        Device(values={"device": Reading(source="NVML", error="lost")}),
    ),
)


def test_checks_numbers_and_times_of_the_last_look_are_told() -> None:
    watched = dataclasses.replace(STATUS, gates={**STATUS.gates, "watch": HOT})
    told = samples(watched)
    assert [dict(labels) for labels in told["check"]] == [
        {"check": "accelerator-log", "device": "0000:18:00.0", "outcome": "degraded"},
        {"check": "lock", "device": "", "outcome": "healthy"},
    ]
    assert told["device_power_watts"] == {(("device", DEVICE),): 71.787} and told["device_links_up"] == {(("device", DEVICE),): 4}
    assert "device_temperature_celsius" not in told, "it is no number"
    assert told["gate_timestamp_seconds"] == {(("gate", "watch"),): 1795723200}
    assert list(status.lines(watched))[-2:] == ["degraded     accelerator-log: Xid 1", "degraded     accelerator-log: Xid 2"]
    assert [found["message"] for found in status.document(watched)["findings"]] == ["Xid 1", "Xid 2"]
    lock, app = (Result(name=name, outcome=Outcome.UNHEALTHY, message=f"{name} was bad") for name in ("lock", "app x"))
    confirmed = dataclasses.replace(watched, gates={**watched.gates, "confirm": gave(lock, app)})
    assert [found.message for found in confirmed.findings] == ["Xid 1", "Xid 2", "app x was bad"]


def test_what_is_not_known_is_left_out() -> None:
    told = samples(dataclasses.replace(STATUS, deployments=Reading(source="deployments", error="no libostree"), gates={}, last_update=None))
    assert not {"update_staged", "rollback_possible", "gate_outcome", "last_update_timestamp_seconds"} & set(told)
    said = status.document(dataclasses.replace(STATUS, deployments=Reading(source="deployments", error="no libostree")))
    assert (said["deployments"], said["deployments_error"], said["staged"]) == (None, "no libostree", None)


def test_the_document_says_each_thing_that_a_node_knows() -> None:
    said = status.document(STATUS)
    assert said["schema"] == "aistack/node-status/v1"
    assert (said["booted"], said["staged"], said["rollback"], said["confirmed"]) == (MANIFEST, NEW, OLD, OLD)
    assert (said["quarantined"], said["unfit"], said["trial"]) == ([NEW], None, {"tries": 2, "booted": True})
    assert (said["follows"], said["window"], said["check"], said["confirm"]) == (FOLLOWED, "Sun 02:00..04:00", "healthy", None)
    assert json.loads(json.dumps(said))["deployments"][1]["default"] is True


@pytest.mark.parametrize(
    ("change", "first", "second"),
    [
        ({}, "healthy, on trial, 2 more tries", f"staged: {NEW}"),
        ({"trial": None}, "healthy, not confirmed", "staged"),
        ({"state": State(confirmed=MANIFEST)}, "healthy, confirmed", "staged"),
        ({"state": State(confirmed=OLD, unfit=MANIFEST)}, "UNFIT", "staged"),
        ({"state": State(quarantined=(MANIFEST,)), "trial": None}, "quarantined", "staged"),
        ({"deployments": Reading(source="x", value=HERE[1:])}, "on trial", "last update: staged at 2026-11-26T20:00:00Z"),
        ({"deployments": Reading(source="x", value=()), "last_update": None}, "l4  (sha256:999999999999)", f"follows {FOLLOWED}"),
        ({"deployments": Reading(source="x", value=()), "last_update": None, "follows": None}, "l4", "--to HOST/REPOSITORY:TAG"),
    ],
)
def test_the_banner_says_what_matters_in_two_lines(change: dict[str, Any], first: str, second: str) -> None:
    lines = status.banner(dataclasses.replace(STATUS, **change))
    assert first in lines[0] and second in lines[1]


def test_a_failure_comes_first_on_the_banner() -> None:
    failed = gave(Result(name="app chat", outcome=Outcome.UNHEALTHY, message="app chat answers 500"))
    assert status.banner(dataclasses.replace(STATUS, gates={**STATUS.gates, "confirm": failed})) == (
        "l4 2 (sha256:999999999999): unhealthy, on trial, 2 more tries",
        "app chat answers 500",
    )


def test_lines_for_a_person_name_every_key() -> None:
    lines = {line[:12].strip(): line[13:] for line in status.lines(STATUS)}
    assert lines["booted"] == f"{MANIFEST}, version 2, on trial, 2 more tries"
    assert lines["last update"] == "staged at 2026-11-26T20:00:00Z: the tag names another image"
    assert (lines["staged"], lines["last change"], lines["confirm"]) == (f"{NEW}, version 3", "none", "has not run")


@pytest.mark.parametrize(
    ("listed", "tries", "starts"),
    [
        (HERE, 2, NEW),
        (HERE[1:], 2, MANIFEST),
        (HERE[1:], 0, OLD),
        ((HERE[2], HERE[1]), -1, MANIFEST),
        ((HERE[1],), 0, MANIFEST),
        ((dataclasses.replace(HERE[2], default=True), dataclasses.replace(HERE[1], default=False)), None, OLD),
        ((), None, None),
    ],
)
def test_what_the_next_boot_starts_is_said(listed: tuple[Listed, ...], tries: int | None, starts: str | None) -> None:
    trial = None if tries is None else grub.Trial(deployment=f"{COMMIT}.0", tries=tries)
    told = dataclasses.replace(STATUS, deployments=Reading(source="deployments", value=listed), trial=trial)
    assert status.document(told)["next_boot"] == starts
    (line,) = (line[13:] for line in status.lines(told) if line.startswith("next boot"))
    assert line.startswith(starts or "nobody can tell")


@dataclasses.dataclass(frozen=True)
class Journal:
    """The journal's end of its socket."""

    socket: socket.socket

    def entry(self) -> dict[str, str]:
        data, fields = self.socket.recv(1 << 16), {}
        while data:
            name, _, rest = data.partition(b"\n")
            (length,) = struct.unpack("<Q", rest[:8])
            assert rest[8 + length : 9 + length] == b"\n" and re.fullmatch(rb"[A-Z][A-Z_]*", name)
            fields[name.decode()], data = rest[8 : 8 + length].decode(), rest[9 + length :]
        return fields


@pytest.fixture
def listening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Journal:
    """A socket in the journal's place."""
    ours = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.bind(str(tmp_path / "journal"))
    ours.settimeout(5)
    monkeypatch.setattr(journal.send, "__defaults__", (tmp_path / "journal",))
    return Journal(ours)


def test_an_entry_keeps_line_breaks_and_has_its_id(listening: Journal) -> None:
    journal.send(events.CONFIRMED, "two\nlines", {"digest": MANIFEST})
    entry = listening.entry()
    assert (entry["MESSAGE"], entry["MESSAGE_ID"], entry["PRIORITY"]) == ("two\nlines", events.CONFIRMED.id, "5")
    assert (entry["AISTACK_DIGEST"], entry["SYSLOG_IDENTIFIER"]) == (MANIFEST, "aistack")


def test_without_a_journal_nothing_happens(tmp_path: Path) -> None:
    journal.send(events.CONFIRMED, "said", {}, tmp_path / "nobody")


@pytest.mark.parametrize(("action", "event"), telling.EVENTS.items())
def test_a_decision_is_told_and_remembered(tmp_path: Path, listening: Journal, action: Action, event: events.Event) -> None:
    judged = Verdict(outcome=Outcome.UNHEALTHY, cause=Cause.SOFTWARE, failed=("app chat",))
    decision = Decision(action=action, because="so it is", state=State(confirmed=OLD))
    telling.decided(tmp_path, decision, judged, MANIFEST, changes=True)
    entry = listening.entry()
    fields = {name: value for name, value in entry.items() if name.startswith("AISTACK_")}
    assert entry["MESSAGE_ID"] == event.id and entry["MESSAGE"] == f"{action.value}: so it is"
    assert fields == {"AISTACK_DIGEST": MANIFEST, "AISTACK_CONFIRMED": OLD, "AISTACK_FAILED": "app chat"}
    assert {f"AISTACK_{name}" for name in re.findall(r"@AISTACK_([A-Z]+)@", event.text)} <= set(fields)
    kept = json.loads((tmp_path / "var/lib/aistack/change.json").read_text())
    assert (kept["schema"], kept["action"], kept["failed"]) == ("aistack/node-change/v1", action.value, "app chat")


def test_a_boot_that_changes_nothing_keeps_the_last_reason(tmp_path: Path) -> None:
    good = Verdict(outcome=Outcome.HEALTHY, cause=None, failed=())
    telling.decided(tmp_path, Decision(action=Action.MAKE_DEFAULT, because="it fell back", state=State()), good, OLD, changes=True)
    telling.decided(tmp_path, Decision(action=Action.NOTHING, because="healthy", state=State()), good, OLD, changes=False)
    assert json.loads((tmp_path / "var/lib/aistack/change.json").read_text())["because"] == "it fell back"


@pytest.mark.parametrize(("outcome", "event"), [("staged", events.STAGED), ("failed", events.NOT_UPDATED)])
def test_an_update_is_told(tmp_path: Path, listening: Journal, outcome: str, event: events.Event) -> None:
    update.remember(tmp_path, {"outcome": outcome, "because": "x", "digest": NEW, "rule": "REG009"})
    entry = listening.entry()
    assert entry["MESSAGE_ID"] == event.id
    assert {f"AISTACK_{name}" for name in re.findall(r"@AISTACK_([A-Z]+)@", event.text)} <= set(entry)


@dataclasses.dataclass
class Engine:
    """An update engine that lists what it is given."""

    here: tuple[Listed, ...]

    def listed(self) -> tuple[Listed, ...]:
        return self.here


def test_a_node_writes_metrics_and_banner(tmp_path: Path) -> None:
    root = lay(tmp_path)
    state.save(root / "var/lib/aistack/state.json", State(confirmed=MANIFEST))
    (root / "boot/grub").mkdir()
    (root / "boot/grub/grubenv").write_bytes(grub.write_environment({}))
    (root / "run/aistack").mkdir(parents=True)
    telling.tell(root, Engine(HERE))  # type: ignore[arg-type]
    told = (root / "run/aistack/metrics.prom").read_text()
    assert 'aistack_node_info{name="example"' in told and "aistack_node_update_staged 1\n" in told
    assert len((root / "run/issue.d/50-aistack.issue").read_text().splitlines()) == 2
    assert [path.name for path in (root / "run/aistack").iterdir()] == ["metrics.prom"]


NUMBERS = {"pci.address": {"source": "x", "value": DEVICE}, "power.watts": {"source": "x", "value": 71.5}}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"time": None}, False),
        ({"accelerators": None}, False),
        ({"accelerators": {"devices": None}}, False),
        ({"accelerators": {"devices": [{**NUMBERS, "links.up": {"source": "x", "value": "many"}}]}}, True),
        ({"results": [{"name": "kernel", "outcome": "healthy", "message": "m"}], "outcome": "healthy"}, False),
    ],
)
def test_whatever_counts_as_a_report_is_told(tree: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], told: bool) -> None:
    agent.run_check(tree)
    written = tree / "run/aistack/check.json"
    written.write_text(json.dumps({**json.loads(written.read_text()), **change}))
    capsys.readouterr()
    telling.tell(tree, Engine(HERE))  # type: ignore[arg-type]
    assert capsys.readouterr().err == ""
    found = (tree / "run/aistack/metrics.prom").read_text()
    assert 'gate_outcome{gate="check",outcome="healthy"} 1' in found and ("device_power_watts{" in found) == told
    assert "healthy" in (tree / "run/issue.d/50-aistack.issue").read_text()


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_report_that_goes_while_it_is_read_is_told_once_or_is_none(tree: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """As the watch takes it away when it cannot write a newer one."""
    agent.run_check(tree)
    read_text = Path.read_text

    def gone(self: Path, *options: Any) -> str:
        if self.name == "check.json" and when == "before":
            self.unlink()
        text = read_text(self, *options)
        if self.name == "check.json":
            self.unlink()
        return text

    monkeypatch.setattr(Path, "read_text", gone)
    looked = telling.look(tree, Engine(HERE))  # type: ignore[arg-type]
    assert (looked.outcome("check"), looked.findings) == (None if when == "before" else "healthy", ())


def test_ids_are_as_systemd_wants_them_and_each_has_one_kind() -> None:
    assert len({one.id for one in events.EVENTS}) == len(events.EVENTS)
    assert all(re.fullmatch(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}", one.id) for one in events.EVENTS)
    documented = (Path(__file__).parent.parent / "docs/updates.md").read_text()
    assert [one.name for one in events.EVENTS if f"| `{one.name}` | `{one.id}` |" not in documented] == []


@pytest.mark.system
def test_journalctl_compiles_the_catalog_and_shows_each_entry(tmp_path: Path) -> None:
    needs("journalctl")
    (tmp_path / "usr/lib/systemd/catalog").mkdir(parents=True)
    (tmp_path / "usr/lib/systemd/catalog/aistack.catalog").write_text(events.catalog())
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    subprocess.run(["journalctl", f"--root={tmp_path}", "--update-catalog"], check=True, timeout=60)
    for one in events.EVENTS:
        argv = ["journalctl", f"--root={tmp_path}", "--dump-catalog", one.id]
        said = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout
        assert f"Subject: {one.subject}" in said and one.text.splitlines()[-1] in said
