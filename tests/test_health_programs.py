"""What docs/fleet.md gives for Kubernetes and Slurm, as it stands there: run over a node's tree, held against what reads it."""

from __future__ import annotations

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from node_samples import KERNEL, LOCK, MANIFEST, lay

from aistack.compose.lock import identity

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = (ROOT / "docs/fleet.md").read_text()
CHECK = """#!{python}
import sys
from pathlib import Path
from aistack.commands.node import node_check
sys.exit(int(node_check(level="none", root=Path({root!r}))))
"""
SCONTROL = """#!/bin/sh
case "$*" in *show*) cat {state} ;; *) echo "$*" >>{told} ;; esac
"""


def block(file: str) -> str:
    """The text that docs/fleet.md gives for a file."""
    found = re.search(rf"^`{re.escape(file)}`[^\n]*:\n```\w+\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert found, file
    return found[1]


class Bench:
    """A node's tree, `aistack` that checks it, and programs of docs/fleet.md that find that `aistack`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin, self.root = folder, folder / "bin", lay(folder / "root")
        self.bin.mkdir()
        answers = f"*=ostree.manifest-digest*) echo \"'{MANIFEST}'\" ;;\n*=aistack.lock*) echo \"'{identity(LOCK)}'\" ;;\n"
        self.program("ostree", f'#!/bin/sh\ncase "$*" in\n{answers}esac\n')
        self.program("aistack", CHECK.format(python=sys.executable, root=str(self.root)))
        self.state, self.told = folder / "state", folder / "told"
        self.state.write_text("NodeName=n1 State=IDLE Partitions=p\n")
        self.program("scontrol", SCONTROL.format(state=self.state, told=self.told))

    def program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def run(self, file: str) -> subprocess.CompletedProcess[str]:
        text = block(file).replace("export PATH=", f"export PATH={self.bin}:")
        self.program("program", text)
        path = f"{self.bin}:{os.environ['PATH']}"
        environment = {"PATH": path, "PYTHONPATH": str(ROOT), "SLURMD_NODENAME": "n1"}
        return subprocess.run([self.bin / "program"], env=environment, capture_output=True, text=True, timeout=60, check=False)

    def damage(self, kernel: str = "6.1.0-other") -> None:
        (self.root / "proc/sys/kernel/osrelease").write_text(f"{kernel}\n")

    def forget(self) -> None:
        (self.root / "usr/lib/aistack/lock.json").unlink()

    def leave(self) -> None:
        """What is no node of ours."""
        shutil.rmtree(self.root / "usr/lib/aistack")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


DETECTOR = "/etc/node-problem-detector/aistack"


def test_the_detector_is_told_the_worst_result_in_one_line(bench: Bench) -> None:
    healthy = bench.run(f"{DETECTOR}.sh")
    assert (healthy.returncode, healthy.stdout) == (0, "check: healthy\n")
    bench.damage()
    sick = bench.run(f"{DETECTOR}.sh")
    assert sick.returncode == 1 and re.fullmatch(r"unhealthy (kernel|modules): .*\n", sick.stdout)
    bench.damage(KERNEL)
    bench.forget()
    assert (untold := bench.run(f"{DETECTOR}.sh")).returncode == 3 and untold.stdout.startswith("unknown ")
    (bench.bin / "aistack").unlink()
    assert bench.run(f"{DETECTOR}.sh").returncode not in (0, 1), "a node without aistack is unknown, not sick"


def test_this_machine_is_no_node_which_is_no_fault_of_it(bench: Bench) -> None:
    """Exit 3 only where nobody can tell whether it has accelerators, or what the kernel said of them."""
    bench.program("aistack", f"#!{sys.executable}\nfrom aistack.cli import main\nmain()\n")
    ended = bench.run(f"{DETECTOR}.sh")
    assert ended.returncode == 0 or "unknown accelerator" in ended.stdout, ended


def test_any_other_machine_is_labelled_by_its_accelerators(bench: Bench) -> None:
    bench.leave()
    assert (told := bench.run(f"{DETECTOR}.sh")).returncode == 0 and told.stdout == "check: healthy\n"
    shutil.rmtree(bench.root / "sys/bus/pci")
    assert (told := bench.run(f"{DETECTOR}.sh")).returncode == 3 and told.stdout.startswith("unknown accelerator: ")


def seconds(text: str) -> int:
    number, unit = re.fullmatch(r"(\d+)([sm])", text).groups()  # type: ignore[union-attr]
    return int(number) * {"s": 1, "m": 60}[unit]


def test_the_detector_takes_its_configuration() -> None:
    """What pkg/custompluginmonitor/types/config.go of <https://github.com/kubernetes/node-problem-detector> decodes and refuses."""
    given = json.loads(block(f"{DETECTOR}.json"))
    assert set(given) == {"plugin", "pluginConfig", "source", "metricsReporting", "conditions", "rules"}
    own = given["pluginConfig"]
    known = {"invoke_interval", "timeout", "max_output_length", "concurrency", "skip_initial_status"}
    assert set(own) == known | {"enable_message_change_based_condition_update"} and given["plugin"] == "custom"
    (rule,), (condition,) = given["rules"], given["conditions"]
    assert set(condition) == {"type", "reason", "message"} and rule["type"] == "permanent" and rule["condition"] == condition["type"]
    assert seconds(rule["timeout"]) <= seconds(own["timeout"]) < seconds(own["invoke_interval"])
    assert block(rule["path"]).startswith("#!/bin/sh\n") and rule["reason"] != condition["reason"]
    text = re.search(r"^```yaml\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert text is not None
    readiness = yaml.safe_load(text[1])["spec"]
    assert readiness["conditions"] == [{"type": condition["type"], "requiredStatus": "False"}]
    assert set(readiness) == {"conditions", "taint", "enforcementMode", "nodeSelector"} and readiness["enforcementMode"] == "continuous"
    assert readiness["taint"]["key"].startswith("readiness.k8s.io/")


@pytest.mark.parametrize(
    ("trouble", "word"), [(None, "healthy"), (Bench.damage, "unhealthy"), (Bench.forget, "unknown"), (Bench.leave, "healthy")]
)
def test_a_node_is_labelled_by_its_check(bench: Bench, trouble: object, word: str) -> None:
    bench.program("kubectl", '#!/bin/sh\necho "$*"\n')
    if callable(trouble):
        trouble(bench)
    assert bench.run("/etc/aistack/label.sh").stdout.endswith(f"--overwrite aistack/check={word}\n")
    for unit in ("service", "timer"):
        parser = configparser.ConfigParser(strict=True)
        parser.read_string(block(f"/etc/systemd/system/aistack-label.{unit}"))


@pytest.mark.parametrize(
    ("reason", "trouble", "told"),
    [
        ("", None, ""),
        ("", Bench.damage, "update NodeName=n1 State=DRAIN Reason=aistack: unhealthy modules: "),
        ("", Bench.forget, "update NodeName=n1 State=DRAIN Reason=aistack: unknown "),
        ("", Bench.leave, ""),
        (" Reason=aistack: unhealthy modules: x [root@2026-11-26T21:07:40]", None, "update NodeName=n1 State=RESUME\n"),
        (" Reason=aistack: unhealthy modules: x [root@2026-11-26T21:07:40]", Bench.damage, ""),
        (" Reason=operator: fan [root@2026-11-26T21:07:40]", None, ""),
        (" Reason=operator: fan [root@2026-11-26T21:07:40]", Bench.damage, ""),
    ],
)
def test_slurm_is_told_to_drain_and_to_resume(bench: Bench, reason: str, trouble: object, told: str) -> None:
    bench.state.write_text(f"NodeName=n1 State=IDLE Partitions=p {reason}\n")
    if callable(trouble):
        trouble(bench)
    assert bench.run("/etc/slurm/aistack.sh").returncode == 0
    said = bench.told.read_text() if bench.told.exists() else ""
    assert said.startswith(told) and bool(said) is bool(told)
