"""An app whose framework is delivered as wheels, with the real tools: locked, built twice, verified, run by podman, and asked."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_wheels import make_wheel
from tools_needed import needs

from aistack.compose import verify as checks
from aistack.compose.findings import Finding, Outcome
from aistack.compose.lock import Lock, decode
from aistack.host import inspect, layers, oci, podman
from aistack.host.catalog_files import FOLDERS
from aistack.host.store import Store, default_path

pytestmark = pytest.mark.system

ROOT = Path(__file__).resolve().parent.parent
FRAMEWORK = """\
schema: aistack/framework/v1
id: sums
name: Sums
models: none
versions: pep440
vendors: [cpu]
delivery:
  os: debian-13
  packages: [python3, libstdc++6]
  wheels: ["sums=={version}"]
serve: [sums, "{port}"]
health: /health
memory-mib: 64
source: [here]
checked: 2026-11-22
releases:
  - {version: "1.0"}
"""
RECIPE = """\
schema: aistack/recipe/v1
name: sums
arch: amd64
os: debian-13
kernel: {flavor: cloud}
apps:
  sums:
    framework: {sums: "1.0"}
    port: 8000
"""
SERVER = """\
import http.server
import json
import sys

import numpy


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        said = {"sum": int(numpy.arange(10).sum()), "prefix": sys.prefix, "cached": numpy.__spec__.cached, "path": sys.path}
        body = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main():
    http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """A copy of this source tree with one framework more, a recipe that uses it, and a shelf with the framework's own wheel."""

    folder: Path

    def aistack(self, *words: str, prefix: tuple[str, ...] = (), **environment: str) -> subprocess.CompletedProcess[str]:
        settings = {**os.environ, "PYTHONPATH": str(self.folder), "PIP_FIND_LINKS": str(self.folder / "shelf"), **environment}
        argv = [*prefix, sys.executable, "-m", "aistack", *words]
        return subprocess.run(argv, cwd=self.folder, env=settings, capture_output=True, text=True, timeout=1800, check=False)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("aistack", *FOLDERS):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    (folder / "recipes/frameworks/sums.yaml").write_text(FRAMEWORK)
    (folder / "sums.yaml").write_text(RECIPE)
    about = {"sums/server.py": SERVER, "sums-1.0.dist-info/entry_points.txt": "[console_scripts]\nsums = sums.server:main\n"}
    make_wheel(folder / "shelf", "sums", "1.0", "py3-none-any", ("numpy",), more=about)
    return Checkout(folder=folder)


@pytest.fixture(scope="module")
def built(checkout: Checkout) -> dict[str, Any]:
    needs("mmdebstrap", "bwrap")
    done = checkout.aistack("build", "sums.yaml", "--only", "app-image", "--json")
    assert done.returncode == 0, done.stderr[-4000:]
    return {row["title"]: row for row in json.loads(done.stdout)["artifacts"]}


@pytest.fixture(scope="module")
def lock(checkout: Checkout, built: dict[str, Any]) -> Lock:
    return decode((checkout.folder / "sums.lock.json").read_bytes())


@pytest.fixture(scope="module")
def store() -> Store:
    return Store(default_path(os.environ))


def findings(store: Store, lock: Lock, image: str, folder: Path) -> dict[str, Finding]:
    blobs = [store.blob(layer.digest.removeprefix("sha256:")) for layer in oci.read_image(store, image).layers]
    read = inspect.filesystem(blobs, checks.wanted, folder)
    return {finding.name: finding for finding in checks.verify_app(read, lock, lock.apps[0])}


def test_large_wheels_have_layers_of_their_own_above_the_packages(built: dict[str, Any], lock: Lock, store: Store) -> None:
    (app,) = lock.apps
    assert [wheel.name for wheel in app.wheels] == ["numpy", "sums"]
    groups = [dict(layer.annotations)[layers.GROUP] for layer in oci.read_image(store, built["app-image sums"]["where"]).layers]
    (shared,) = [group for group, names in app.wheel_layers if names == ("sums",)]
    assert groups[-3:] == ["python", "wheel-numpy", shared]


def test_every_wheel_is_there_and_nothing_else(built: dict[str, Any], lock: Lock, store: Store, tmp_path: Path) -> None:
    image = built["app-image sums"]["where"]
    found = findings(store, lock, image, tmp_path)
    assert {finding.outcome for finding in found.values()} == {Outcome.YES}, found
    whole = oci.read_image(store, image)
    without = oci.write_image(store, whole.layers[:-1], arch=whole.arch)
    assert "sums 1.0 is in the lock only" in findings(store, lock, without, tmp_path)["wheels"].message
    more = layers.write_layer(store, [layers.file_entry("/opt/app/lib/python3.13/site-packages/left.py", b"")])
    assert (
        "left.py is of no wheel"
        in findings(store, lock, oci.write_image(store, [*whole.layers, more], arch=whole.arch), tmp_path)["wheels"].message
    )


@pytest.fixture
def address(built: dict[str, Any], lock: Lock, store: Store) -> Iterator[str]:
    """The app's container, started as on a node: nobody, a read-only root, no rights; its port is on loopback."""
    needs("podman", "runc")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    name = f"aistack-sums-{os.getpid()}"
    with podman.connect() as service:
        podman.load_image(service, store, built["app-image sums"]["where"], "localhost/aistack/app-sums")
        argv = [
            "podman", "run", "--detach", f"--name={name}", "--runtime=runc", "--network=host", "--pull=never", "--read-only",
            "--cap-drop=all", "--security-opt=no-new-privileges", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024",
            "localhost/aistack/app-sums:latest", "sums", str(port),
        ]  # fmt: skip
        try:
            started = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
            assert started.returncode == 0, started.stderr
            yield f"http://127.0.0.1:{port}/health"
        finally:
            subprocess.run(["podman", "rm", "--force", "--time=2", name], capture_output=True, timeout=60, check=False)
            service.remove("localhost/aistack/app-sums:latest")


def test_the_app_runs_from_its_wheels_and_answers(address: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                said = json.loads(answer.read())
            break
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.2)
    assert (said["sum"], said["prefix"]) == (45, "/opt/app")
    assert said["cached"] == "/opt/app/lib/python3.13/site-packages/numpy/__pycache__/__init__.cpython-313.pyc"
    assert not [folder for folder in said["path"] if "dist-packages" in folder]


def test_the_same_bytes_elsewhere(checkout: Checkout, built: dict[str, Any], lock: Lock, store: Store) -> None:
    """Another path, clock, time zone and umask, one processor, no network; packages, wheels and the unpacked roots are shared."""
    needs("faketime", "unshare", "taskset")
    with tempfile.TemporaryDirectory(prefix="aistack other ") as elsewhere:
        other = Store(Path(elsewhere) / "a store")
        other.blobs.mkdir(parents=True)
        (other.path / "roots").symlink_to(store.path / "roots")
        wanted = [package.sha256 for name in ("tools", "app-sums") for package in lock.root(name).packages]
        for sha256 in (*wanted, *(wheel.sha256 for wheel in lock.apps[0].wheels)):
            shutil.copyfile(store.blob(sha256), other.blob(sha256))
        script = 'umask 077; exec taskset -c 0 faketime "2031-02-03 04:05:06" "$@"'
        words = ("build", "sums.yaml", "--only", "app-image", "--offline", "--json")
        prefix = ("unshare", "--net", "sh", "-c", script, "sh")
        done = checkout.aistack(*words, prefix=prefix, TZ="Pacific/Chatham", AISTACK_STORE=str(other.path), HOME=elsewhere)
        assert done.returncode == 0, done.stderr[-4000:]
        again = {row["title"]: row for row in json.loads(done.stdout)["artifacts"]}
    assert again["app-image sums"]["seconds"] is not None
    assert again["app-image sums"]["where"] == built["app-image sums"]["where"]


def test_another_machine_takes_what_was_pushed(checkout: Checkout, built: dict[str, Any], tmp_path: Path) -> None:
    """An empty store, no network, and the artifact in an OCI layout: the image comes whole, and nothing is made."""
    needs("skopeo", "unshare")
    reference = f"oci:{tmp_path / 'shared'}:sums"
    done = checkout.aistack("store", "push", "sums.yaml", "--to", reference, "--json")
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout)["digest"].startswith("sha256:")
    words = ("build", "sums.yaml", "--only", "app-image", "--offline", "--json")
    settings = {"AISTACK_STORE": str(tmp_path / "store"), "AISTACK_STORE_FROM": reference}
    done = checkout.aistack(*words, prefix=("unshare", "--net"), **settings)
    assert done.returncode == 0, done.stderr[-4000:]
    rows = {row["title"]: row for row in json.loads(done.stdout)["artifacts"]}
    assert (rows["app-image sums"]["where"], rows["app-image sums"]["seconds"]) == (built["app-image sums"]["where"], None)


def test_a_new_release_of_one_wheel_changes_one_layer(checkout: Checkout, built: dict[str, Any], store: Store) -> None:
    """The framework's own wheel, and its byte code, in a lock made anew; numpy's layer and the packages' stay."""
    newer = checkout.folder / "newer.yaml"
    newer.write_text(RECIPE.replace("1.0", "1.1"))
    framework = checkout.folder / "recipes/frameworks/sums.yaml"
    framework.write_text(FRAMEWORK.replace('"1.0"}', '"1.0"}\n  - {version: "1.1"}'))
    about = {"sums/server.py": SERVER + "# 1.1\n", "sums-1.1.dist-info/entry_points.txt": "[console_scripts]\nsums = sums.server:main\n"}
    make_wheel(checkout.folder / "shelf", "sums", "1.1", "py3-none-any", ("numpy",), more=about)
    done = checkout.aistack("build", newer.name, "--only", "app-image", "--json")
    assert done.returncode == 0, done.stderr[-4000:]
    (image,) = [row["where"] for row in json.loads(done.stdout)["artifacts"] if row["title"] == "app-image sums"]
    old, new = (oci.read_image(store, one).layers for one in (built["app-image sums"]["where"], image))
    assert [dict(layer.annotations)[layers.GROUP] for layer in set(new) - set(old)] == [dict(old[-1].annotations)[layers.GROUP]]
