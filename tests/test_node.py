"""The node's programs over recorded trees: the first gate, the second gate's decision, the verbs, the report over a real port."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from node_samples import COMMIT, LOCK, MANIFEST, digests
from recorded_node import Bootloader, written

from aistack import __version__
from aistack.commands.node import node_check, node_status
from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.host.probes import machine
from aistack.host.probes.deployment import deployment
from aistack.host.probes.images import bound_images
from aistack.node import agent, esp, models, report, repository, second_gate, state, watch
from aistack.node.decide import Action, Decision, Experiment, Reboots, State
from aistack.node.first_gate import Looked
from aistack.node.fleet_reading import decode
from aistack.node.results import Outcome, Result


def test_the_first_gate_of_a_healthy_node(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert agent.run_check(tree) == 0
    document = written(tree, "check")
    assert (document["schema"], document["phase"], document["outcome"]) == ("aistack/boot-report/v1", "check", "healthy")
    assert document["uptime_seconds"] == 41.52 and document["aistack"] == __version__
    assert capsys.readouterr().out.splitlines()[-1] == "aistack: check: healthy"
    assert (tree / "run/issue.d/50-aistack.issue").read_text() == "aistack: check: healthy\n"


def test_who_joins_a_fabric_is_waited_for_and_not_for_ever(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    joining = Result(name="accelerator-fabric", outcome=Outcome.UNKNOWN, message="", evidence=(("fabric.state", "in progress"),))
    untold = Result(name="accelerator-fabric", outcome=Outcome.UNKNOWN, message="")
    joined = Result(name="accelerator-fabric", outcome=Outcome.HEALTHY, message="")
    for answers, looks, code in (([joining] * 7 + [joined], 8, 0), ([untold] * 7 + [joined], 3, 3), ([joining] * 7 + [untold] * 3, 8, 3)):
        left = list(answers)
        monkeypatch.setattr(agent, "look", lambda root, level, left=left: Looked(results=(left.pop(0),), seen=None))
        assert agent.run_check(tree) == code
        assert len(answers) - len(left) == looks
    monkeypatch.setattr(agent, "JOINING_SECONDS", 0.0)
    monkeypatch.setattr(agent, "look", lambda root, level: Looked(results=(joining,), seen=None))
    assert agent.run_check(tree) == 3


def test_a_bad_first_gate_stops_the_apps_and_is_acted_on(tree: Path) -> None:
    (tree / "proc/sys/kernel/osrelease").write_text("6.1.0-other\n")
    modules = tree / "usr/lib/modules"
    (modules / "6.1.0-other").symlink_to(next(modules.iterdir()).name)
    assert agent.run_check(tree) == 1
    state.save(tree / "var/lib/aistack/state.json", State(confirmed="sha256:old"))
    bootloader = Bootloader(order=[MANIFEST, "sha256:old"])
    assert second_gate.run_confirm(tree, bootloader) == 1
    assert bootloader.told == ["default sha256:old", "stop counting", "reboot"]
    assert state.load(tree / "var/lib/aistack/state.json") == State(confirmed="sha256:old", quarantined=(MANIFEST,))
    assert written(tree, "confirm")["cause"] == "software"


def test_a_gate_waits_for_a_rollback_by_hand_and_then_decides_nothing(tree: Path) -> None:
    """Not even about what the bootloader seems to have fallen back from: the first entry is the one that was chosen."""
    (tree / "proc/sys/kernel/arch").write_text("aarch64\n")
    assert agent.run_check(tree) == 1
    remembered = State(confirmed=MANIFEST, quarantined=(MANIFEST,))
    bootloader = Bootloader(order=["sha256:other", MANIFEST])
    with ThreadPoolExecutor(1) as pool:
        with state.alone(tree):
            gate_ended = pool.submit(second_gate.run_confirm, tree, bootloader)
            assert not wait([gate_ended], timeout=0.5).done
            state.save(tree / "var/lib/aistack/state.json", remembered)
            state.leave(tree)
        assert gate_ended.result(timeout=30) == 1
    assert bootloader.told == [] and state.load(tree / "var/lib/aistack/state.json") == remembered
    assert "somebody went back from it by hand" in json.dumps(written(tree, "confirm"))


@dataclass(slots=True)
class ReadOnly(Bootloader):
    """A /boot that became read-only: nothing has to be written but GRUB's environment."""

    def stop_counting(self) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_a_confirmation_that_cannot_end_the_count_is_reported_and_not_remembered() -> None:
    remembered: list[State] = []
    decision = Decision(action=Action.CONFIRM, because="both gates are healthy", state=State(confirmed="n"), first="n")
    said = second_gate.act(decision, ReadOnly(order=["n"]), remembered.append)
    assert said.outcome is Outcome.DEGRADED and "could not be told: [Errno 30]" in said.message
    assert remembered == [], "the bootloader would go back from what is confirmed"


def test_a_gate_that_cannot_be_told_acts_all_the_same(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "proc/sys/kernel/arch").write_text("aarch64\n")
    agent.run_check(tree)
    state.save(tree / "var/lib/aistack/state.json", State(confirmed="sha256:old"))
    for file in (f"run/aistack/.confirm.json.{os.getpid()}", f"run/aistack/.metrics.prom.{os.getpid()}", "var/lib/aistack/.change.json"):
        (tree / f"{file}.new").symlink_to("/dev/full")
    bootloader = Bootloader(order=[MANIFEST, "sha256:old"])
    second_gate.run_confirm(tree, bootloader)
    assert bootloader.told == ["default sha256:old", "stop counting", "reboot"]
    assert capsys.readouterr().err.count("could not be written: [Errno 28]") == 3


def test_who_writes_a_file_beside_another_takes_it_nothing_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The watch, and an update by hand; and one that was killed at it leaves nothing for ever."""
    replace, path = Path.replace, "/run/aistack/metrics.prom"
    killed = tmp_path / f"run/aistack/.metrics.prom.{2**22 + 1}.new"  # beyond every process's number
    killed.parent.mkdir(parents=True)
    killed.touch()

    def late(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "replace", replace)
        other = multiprocessing.get_context("fork").Process(target=agent.put, args=(tmp_path, {path: "other's"}))
        other.start()
        other.join(timeout=30)
        assert (tmp_path / path.lstrip("/")).read_text() == "other's"
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", late)
    agent.put(tmp_path, {path: "own"})
    assert capfd.readouterr().err == ""
    assert {one.name: one.read_text() for one in killed.parent.iterdir()} == {"metrics.prom": "own"}


def test_a_bootloader_that_cannot_be_told_is_reported_and_nothing_reboots(tree: Path) -> None:
    (tree / "proc/sys/kernel/arch").write_text("aarch64\n")
    agent.run_check(tree)
    state.save(tree / "var/lib/aistack/state.json", State(confirmed="sha256:old"))
    bootloader = Bootloader(order=[MANIFEST, "sha256:old"], broken=True)
    assert second_gate.run_confirm(tree, bootloader) == 1
    assert bootloader.told == []
    assert "no space left" in json.dumps(written(tree, "confirm"))
    assert state.load(tree / "var/lib/aistack/state.json").experiment == Experiment(digest=MANIFEST, failed=("architecture",))


def test_a_damaged_file_of_the_os_is_told_until_it_is_mended(tree: Path, tmp_path: Path) -> None:
    """OSTree's own words: `ostree fsck` is the edge here, and real in a booted node's test."""
    program = tmp_path / "bin/ostree"
    whole = program.read_text()
    program.write_text(whole.replace("esac", "fsck*) echo 'error: ab/cd.file: Corrupted file object' >&2; exit 1 ;;\nesac"))
    assert repository.main(tree) == 1
    (told,) = repository.judge(tree)
    assert (told.name, told.outcome) == ("repository", "degraded")
    assert "ab/cd.file" in told.message
    assert agent.run_check(tree) == 0
    program.write_text(whole.replace("esac", "fsck*) exit 1 ;;\nesac"))
    assert (repository.main(tree), len(repository.judge(tree))) == (3, 1)
    program.write_text(whole)
    assert (repository.main(tree), repository.judge(tree)) == (0, ())


def test_what_is_removed_while_the_os_is_looked_at_is_no_damage(tree: Path, tmp_path: Path) -> None:
    program, looks = tmp_path / "bin/ostree", tmp_path / "looks"
    once = (
        f"fsck*) echo look >> {looks}; [ $(wc -l < {looks}) = 1 ] || exit 0; echo 'error: Missing object: ab/cd.file' >&2; exit 1 ;;\nesac"
    )
    program.write_text(program.read_text().replace("esac", once))
    assert (repository.main(tree), repository.judge(tree)) == (0, ())
    assert looks.read_text() == "look\nlook\n"


def test_the_esp_is_left_alone_by_what_was_undone(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its gates pass, and so it reaches what is ordered after boot-complete.target."""
    state.save(tree / "var/lib/aistack/state.json", State(confirmed="sha256:old", quarantined=(MANIFEST,)))
    assert esp.main(tree) == 0
    assert "not known to be the confirmed system" in capsys.readouterr().out
    state.save(tree / "var/lib/aistack/state.json", State(confirmed=MANIFEST))
    assert esp.is_confirmed(tree)


def test_no_answer_of_the_first_gate_is_never_confirmed(tree: Path) -> None:
    bootloader = Bootloader(order=[MANIFEST])
    assert second_gate.run_confirm(tree, bootloader) == 3
    assert bootloader.told == ["stop counting"], "there is nothing to go back to, so nothing is counted"
    assert written(tree, "confirm")["outcome"] == "unknown"


@pytest.mark.parametrize(
    "remembered",
    [
        State(),
        State(
            confirmed="a",
            quarantined=("b", "c"),
            experiment=Experiment(digest="d", failed=("e",)),
            unfit="f",
            reboots=Reboots(digest="g", times=2),
        ),
    ],
)
def test_the_memory_comes_back_as_it_went(tmp_path: Path, remembered: State) -> None:
    state.save(tmp_path / "deep/state.json", remembered)
    assert state.load(tmp_path / "deep/state.json") == remembered
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["state.json"]


def test_the_booted_deployment_is_told_by_kernel_origin_and_commit(tree: Path) -> None:
    read = deployment(tree).value
    assert read is not None
    assert (read.stateroot, read.commit, read.serial) == ("aistack", COMMIT, 0)
    assert read.promised_manifest == read.manifest == MANIFEST
    assert read.reference == "r.example/n:stable"
    (tree / "proc/cmdline").write_text("root=UUID=1 quiet\n")
    assert deployment(tree).error == "no `ostree=` on the kernel command line"


def test_the_booted_deployment_is_the_one_whose_folder_is_the_root(tree: Path, tmp_path: Path) -> None:
    """Once a menu is written anew, what the kernel's command line names is gone, or another deployment's."""
    deploy = tree / "ostree/deploy/aistack/deploy"
    (deploy / f"{COMMIT}.0.origin").rename(deploy / f"{COMMIT}.1.origin")
    root = deploy / f"{COMMIT}.1"
    root.mkdir()
    (root / "ostree").symlink_to(tree / "ostree")
    assert (read := deployment(root).value) is not None and (read.commit, read.serial) == (COMMIT, 1)


def test_an_older_kernel_says_its_architecture_to_programs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.architecture(tmp_path).error
    monkeypatch.setattr(machine, "inside", lambda root, path: tmp_path / path.lstrip("/"))
    assert machine.architecture(Path("/")).value == os.uname().machine


def test_models_are_mounted_from_their_layers_lowest_first(tree: Path) -> None:
    images = bound_images(tree).value
    assert images is not None
    (model,) = (image for image in images if image.digest == digests(LOCK)["localhost/aistack/model-org--model-1"])
    assert [Path(layer).parent.name[-1] for layer in model.layers] == ["a", "b"]
    argv = models.mount_argv(model.layers, "/x")
    assert argv[:4] == ["mount", "-t", "overlay", "-o"]
    assert argv[4] == f"ro,nosuid,nodev,noexec,lowerdir+={model.layers[1]},lowerdir+={model.layers[0]}"
    assert models.mount_argv(["/one"], "/x") == ["mount", "-o", "bind,ro,nosuid,nodev,noexec", "/one", "/x"]


def test_a_model_that_is_not_on_the_node_is_named(tree: Path) -> None:
    (tree / "usr/lib/bootc/storage/overlay-images/images.json").write_text("[]")
    with pytest.raises(DiagnosticError, match="model Org/Model-1 is not on this node"):
        models.mount_models(tree)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"digest": "a", "big-data-names": [5]}]', '[{"digest": ["a"]}]'])
def test_a_damaged_list_of_images_is_data(tree: Path, text: str) -> None:
    (tree / "usr/lib/bootc/storage/overlay-images/images.json").write_text(text)
    assert bound_images(tree).error


def test_the_verbs_on_a_node(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    agent.run_check(tree)
    capsys.readouterr()
    assert node_check(as_json=True, root=tree) is ExitCode.OK
    checked = json.loads(capsys.readouterr().out)
    assert (checked["schema"], checked["ok"], checked["outcome"]) == ("aistack/node-check/v1", True, "healthy")
    report = decode(json.dumps(checked), "a.json")
    assert (report.version, report.time) == (__version__, checked["time"])
    assert abs(datetime.fromisoformat(checked["time"]).timestamp() - time.time()) < 60
    assert node_status(as_json=True, root=tree) is ExitCode.OK
    status = json.loads(capsys.readouterr().out)
    assert (status["is_node"], status["name"], status["booted"], status["check"], status["confirm"]) == (
        True,
        "example",
        MANIFEST,
        "healthy",
        None,
    )
    assert node_status(root=tree) is ExitCode.OK
    assert "confirmed    none" in capsys.readouterr().out


def test_the_verbs_on_any_other_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert node_check(as_json=True, root=tmp_path) is ExitCode.UNABLE
    checked = json.loads(capsys.readouterr().out)
    assert (checked["ok"], checked["outcome"]) == (False, "unknown")
    with pytest.raises(DiagnosticError, match="no aistack node") as caught:
        node_status(root=tmp_path)
    assert caught.value.exit_code is ExitCode.NO
    assert node_status(as_json=True, root=tmp_path) is ExitCode.NO
    assert json.loads(capsys.readouterr().out)["is_node"] is False


def test_the_gates_need_nothing_but_the_standard_library() -> None:
    names = ["agent", "second_gate", "report", "models"]
    script = f"import sys; sys.path.insert(0, {str(Path(__file__).parent.parent)!r})\n"
    script += "".join(f"import aistack.node.{name}\n" for name in names) + "print(*sys.modules)"
    said = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert not {"typer", "yaml", "click", "rich", "gi"} & set(said.stdout.split())


def test_the_report_is_sent_in_order_and_ends_when_the_host_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over a pseudo-terminal in place of the virtio port; `systemctl` and `journalctl` are the machine's edge."""
    import pty
    import tty

    host, guest = pty.openpty()
    tty.setraw(guest)
    (tmp_path / "ports").mkdir()
    (tmp_path / "ports/org.aistack.report").symlink_to(os.ttyname(guest))
    (tmp_path / "aistack.report").write_text("org.aistack.report")
    log = tmp_path / "asked"
    for name, body in (
        (
            "systemctl",
            f'echo "$*" >> {log}; case "$1" in list-units) printf "%s.service loaded failed failed x\\n" aistack-check broken ;; esac',
        ),
        ("journalctl", "echo why it broke"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    monkeypatch.setattr(report, "PORTS", tmp_path / "ports")
    monkeypatch.setattr(report, "RUN", tmp_path / "run")
    monkeypatch.setattr(report, "PAUSE_SECONDS", 0.02)
    ended: list[int] = []
    guest_side = threading.Thread(target=lambda: ended.append(report.main()))
    guest_side.start()
    with os.fdopen(host, "r+b", buffering=0) as stream:

        def hear() -> dict[str, object]:
            line = b""
            while not line.endswith(b"\n"):
                line += stream.read(1)
            document = json.loads(line)
            assert isinstance(document, dict)
            assert document["schema"] == "aistack/boot-report/v1"
            return document

        assert hear()["phase"] == "started"
        (tmp_path / "run").mkdir()
        for phase in ("check", "confirm"):
            (tmp_path / f"run/.{phase}").write_text(json.dumps({"schema": "aistack/boot-report/v1", "phase": phase, "outcome": "healthy"}))
            (tmp_path / f"run/.{phase}").rename(tmp_path / f"run/{phase}.json")
        assert hear()["phase"] == "check"
        failed = hear()
        assert (failed["phase"], failed["unit"], failed["lines"]) == ("failed-unit", "broken.service", ["why it broke"])
        assert hear()["phase"] == "confirm"
        assert not (tmp_path / "run/exit-status").exists()
        stream.write(b"finish\n")
        assert hear()["phase"] == "finished"
        guest_side.join(timeout=10)
    os.close(guest)
    assert ended == [0]
    assert (tmp_path / "run/exit-status").exists()
    assert log.read_text().splitlines()[-1] == "--no-block poweroff"


def test_the_watch_says_what_changed_and_restarts_nothing(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bootloader = Bootloader(order=[MANIFEST])
    agent.run_check(tree)
    capsys.readouterr()
    assert watch.run_watch(tree, bootloader) == 0
    assert capsys.readouterr().out == "", "nothing changed"
    assert written(tree, "watch")["outcome"] == "healthy"
    (tree / "proc/sys/kernel/arch").write_text("aarch64\n")
    assert watch.run_watch(tree, bootloader) == 1
    said = capsys.readouterr().out
    assert said.splitlines()[-1].startswith("aistack: watch: unhealthy")
    assert 'aistack_node_gate_outcome{gate="watch",outcome="unhealthy"} 1' in (tree / "run/aistack/metrics.prom").read_text()
    assert watch.run_watch(tree, bootloader) == 1
    assert capsys.readouterr().out == "", "it was said"
    (tree / "proc/sys/kernel/arch").write_text("x86_64\n")
    assert watch.run_watch(tree, bootloader) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "aistack: watch: healthy"
    assert bootloader.told == []
