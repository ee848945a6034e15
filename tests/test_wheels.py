"""Wheels: uv resolving for another Python and platform, over wheels made here and a loopback index that asks for a password."""

from __future__ import annotations

import base64
import functools
import hashlib
import io
import os
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from debian_archive import Quiet, serving

from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.facts.pins import LockedWheel
from aistack.host import wheel_layers, wheels
from aistack.host.store import Store

pytestmark = pytest.mark.slow

CANARY = "CanaryPasswordOfAnIndex0123456789"


def make_wheel(
    folder: Path, name: str, version: str, tag: str, requires: tuple[str, ...] = (), more: Mapping[str, str | bytes] | None = None
) -> Path:
    """A wheel with one module, and the files `more`; `tag` is python-abi-platform."""
    path = folder / f"{name}-{version}-{tag}.whl"
    folder.mkdir(parents=True, exist_ok=True)
    about = "".join(f"Requires-Dist: {one}\n" for one in requires)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}/__init__.py", f"TAG = {tag!r}\n")
        archive.writestr(f"{name}-{version}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{about}")
        archive.writestr(f"{name}-{version}.dist-info/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{name}-{version}.dist-info/RECORD", "")
        for member, content in (more or {}).items():
            archive.writestr(member, content)
    return path


def locked_wheels(requirements: Sequence[str], **how: Any) -> list[LockedWheel]:
    return [found.wheel for found in wheels.find(requirements, **how)]


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """`pure` needs `built`, which has a wheel for each of two Pythons and another platform."""
    folder = tmp_path / "shelf"
    make_wheel(folder, "pure", "1.0", "py3-none-any", ("built>=2",))
    make_wheel(folder, "built", "1.0", "cp313-cp313-manylinux_2_17_x86_64")
    make_wheel(folder, "built", "2.1", "cp312-cp312-manylinux_2_17_x86_64")
    make_wheel(folder, "built", "2.1", "cp313-cp313-manylinux_2_17_x86_64")
    make_wheel(folder, "built", "2.1", "cp313-cp313-manylinux_2_17_aarch64")
    make_wheel(folder, "built", "2.1", "cp313-cp313-win_amd64")
    return folder


def settings(home: Path, text: str) -> dict[str, str]:
    """This process's environment, with an empty home, no index of its own, and `text` as pip's configuration."""
    (home / "pip.conf").write_text(text)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_"))}
    return clean | {"HOME": str(home), "PIP_CONFIG_FILE": str(home / "pip.conf"), "UV_CACHE_DIR": str(home / "uv-cache")}


def from_shelf(shelf: Path) -> dict[str, str]:
    """uv told of a folder and no index."""
    (shelf.parent / "uv.toml").write_text(f"no-index = true\nfind-links = ['{shelf}']\n")
    return settings(shelf.parent, "") | {"UV_CONFIG_FILE": str(shelf.parent / "uv.toml")}


@pytest.mark.parametrize(
    ("arch", "python", "tag"),
    [
        ("amd64", "3.13", "cp313-cp313-manylinux_2_17_x86_64"),
        ("arm64", "3.13", "cp313-cp313-manylinux_2_17_aarch64"),
        ("amd64", "3.12", "cp312-cp312-manylinux_2_17_x86_64"),
    ],
)
def test_wheels_are_those_of_the_target_not_of_this_machine(shelf: Path, arch: str, python: str, tag: str) -> None:
    locked = tuple(locked_wheels(["pure"], python=python, arch=arch, environment=from_shelf(shelf)))
    assert [wheel.filename for wheel in locked] == [f"built-2.1-{tag}.whl", "pure-1.0-py3-none-any.whl"]
    for wheel in locked:
        data = (shelf / wheel.filename).read_bytes()
        assert (wheel.sha256, wheel.size) == (hashlib.sha256(data).hexdigest(), len(data))


def test_locked_wheels_are_fetched_and_installed_without_an_index(shelf: Path, tmp_path: Path) -> None:
    environment, store = from_shelf(shelf), Store(tmp_path / "store")
    locked = locked_wheels(["pure"], python="3.13", arch="amd64", environment=environment)
    told: list[tuple[int, int | None]] = []
    wheels.fetch(
        store, locked, python="3.13", arch="amd64", environment=environment, advance=lambda label, done, total: told.append((done, total))
    )
    assert told[-1][0] == told[-1][1] == sum(wheel.size for wheel in locked)
    for path in shelf.iterdir():
        path.unlink()
    wheels.fetch(store, locked, python="3.13", arch="amd64", environment=environment, offline=True)
    for wheel in locked:
        wheel_layers.install(store, wheel, tmp_path / "root", "3.13")
    site = tmp_path / "root/opt/app/lib/python3.13/site-packages"
    assert (site / "built" / "__init__.py").read_text() == "TAG = 'cp313-cp313-manylinux_2_17_x86_64'\n"
    assert (site / "pure-1.0.dist-info").is_dir()


def test_a_wheel_is_laid_out_the_same_everywhere(tmp_path: Path) -> None:
    """Its program starts the app's Python, and neither this machine's paths nor its umask nor a wheel's own byte code are in it."""
    more: dict[str, str | bytes] = {
        "one-1.0.dist-info/entry_points.txt": "[console_scripts]\none = one:main\n",
        "one-1.0.data/scripts/two": "#!python\nprint(2)\n",
        "one-1.0.data/data/share/three": "3",
        "one/__pycache__/__init__.cpython-313.pyc": b"made elsewhere",
    }
    path = make_wheel(tmp_path, "one", "1.0", "py3-none-any", more=more)
    laid = []
    for mask, name in ((0o022, "a"), (0o077, "another place")):
        store = Store(tmp_path / name / "store")
        with path.open("rb") as stream:
            sha256, size = store.add(stream)
        wheel = LockedWheel(name="one", version="1.0", filename=path.name, sha256=sha256, size=size)
        before = os.umask(mask)
        try:
            wheel_layers.install(store, wheel, tmp_path / name / "root", "3.13")
        finally:
            os.umask(before)
        laid.append({entry.path: (entry.mode, file.read_bytes()) for entry, file in wheel_layers.entries(tmp_path / name / "root")})
    assert laid[0] == laid[1]
    site = "opt/app/lib/python3.13/site-packages"
    assert {name for name, (mode, _) in laid[0].items() if mode == 0o755} == {"opt/app/bin/one", "opt/app/bin/two"}
    assert all(laid[0][f"opt/app/bin/{name}"][1].startswith(b"#!/opt/app/bin/python\n") for name in ("one", "two"))
    assert laid[0]["opt/app/share/three"][1] == b"3" and f"{site}/one/__pycache__/__init__.cpython-313.pyc" not in laid[0]
    record = laid[0][f"{site}/one-1.0.dist-info/RECORD"][1].decode()
    assert "../../../bin/one,sha256=" in record and str(tmp_path) not in record


def test_a_wheel_that_is_damaged_or_none_is_told(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    sha256, size = store.add(io.BytesIO(b"no archive"))
    wheel = LockedWheel(name="one", version="1.0", filename="one-1.0-py3-none-any.whl", sha256=sha256, size=size)
    with pytest.raises(DiagnosticError) as caught:
        wheel_layers.install(store, wheel, tmp_path / "root", "3.13")
    assert caught.value.diagnostics[0].rule == "WHL008"
    store.blob(sha256).write_bytes(b"no archive.")
    with pytest.raises(DiagnosticError) as caught:
        wheel_layers.install(store, wheel, tmp_path / "root", "3.13")
    assert caught.value.diagnostics[0].rule == "STO002"


def test_the_glibc_of_the_app_decides(shelf: Path) -> None:
    make_wheel(shelf, "new", "1.0", "py3-none-manylinux_2_17_x86_64")
    make_wheel(shelf, "new", "1.1", "py3-none-manylinux_2_34_x86_64")
    environment = from_shelf(shelf)
    found = {
        glibc: locked_wheels(["new"], python="3.13", arch="amd64", glibc=glibc, environment=environment)[0].version
        for glibc in ("2.28", "2.36", "2.41")
    }
    assert found == {"2.28": "1.0", "2.36": "1.1", "2.41": "1.1"}


def test_what_cannot_be_resolved_says_why(shelf: Path) -> None:
    with pytest.raises(DiagnosticError) as caught:
        locked_wheels(["pure", "built<2"], python="3.13", arch="amd64", environment=from_shelf(shelf))
    assert caught.value.exit_code == ExitCode.UNABLE
    assert "built" in " ".join(caught.value.diagnostics[0].why)


def test_a_wheel_that_changed_or_went_is_refused(shelf: Path, tmp_path: Path) -> None:
    environment, store = from_shelf(shelf), Store(tmp_path / "store")
    locked = locked_wheels(["pure"], python="3.13", arch="amd64", environment=environment, only=True)
    make_wheel(shelf, "pure", "1.0", "py3-none-any", ("another",))
    with pytest.raises(DiagnosticError):
        wheels.fetch(store, locked, python="3.13", arch="amd64", environment=environment)
    assert not store.has(locked[0].sha256)
    with pytest.raises(DiagnosticError, match="not in the store"):
        wheels.fetch(store, locked, python="3.13", arch="amd64", environment=environment, offline=True)


def index_of(shelf: Path) -> Path:
    """The folder of a simple index of the wheels on a shelf, `simple/` in it."""
    root = shelf.with_name(f"{shelf.name}-index")
    for path in shelf.iterdir():
        folder = root / "simple" / path.name.split("-")[0]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.name).write_bytes(path.read_bytes())
    for folder in (root / "simple").iterdir():
        lines = [
            f'<a href="{quote(path.name)}#sha256={hashlib.sha256(path.read_bytes()).hexdigest()}">{path.name}</a>'
            for path in folder.iterdir()
        ]
        (folder / "index.html").write_text("<!DOCTYPE html><html><body>" + "\n".join(lines) + "</body></html>")
    return root


@pytest.mark.slow
@contextmanager
def guarded_index(shelf: Path, user: str, password: str) -> Iterator[tuple[str, list[str]]]:
    """A simple index on loopback that answers only to a password; what was asked without it is listed."""
    root = index_of(shelf)
    wanted = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
    refused: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(root))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            if self.headers.get("Authorization") == wanted:
                return super().do_GET()
            refused.append(self.path)
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="index"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return None

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with serving(Handler) as address:
        yield f"{address.removeprefix('http://')}/simple", refused


@pytest.mark.slow
def test_a_named_index_serves_its_variant_and_what_it_lacks_comes_from_the_next(tmp_path: Path) -> None:
    """Two variants' indexes and the machine's own: the first has `maths` too old for `frame`."""
    own, cpu, gpu = (tmp_path / name for name in ("own", "cpu", "gpu"))
    for shelf, version in ((own, "1.1"), (cpu, "1.0+cpu"), (gpu, "1.0+gpu")):
        make_wheel(shelf, "frame", version, "py3-none-any", ("maths>=2",))
    make_wheel(own, "maths", "2.0", "py3-none-any")
    make_wheel(cpu, "maths", "1.0", "py3-none-any")
    handlers = [functools.partial(Quiet, directory=str(index_of(shelf) / "simple")) for shelf in (own, cpu, gpu)]
    with serving(handlers[0]) as mine, serving(handlers[1]) as first, serving(handlers[2]) as second:
        environment = settings(tmp_path, f"[global]\nindex-url = {mine}\n")

        def lock(*named: str) -> list[tuple[str, str, str]]:
            found = locked_wheels(["frame<2"], python="3.13", arch="arm64", environment=environment, named=named)
            return [(wheel.name, wheel.version, wheel.index) for wheel in found]

        assert lock() == [("frame", "1.1", ""), ("maths", "2.0", "")]
        assert lock(first, second) == [("frame", "1.0+cpu", first), ("maths", "2.0", "")]
        assert lock(f"{second}/", first) == [("frame", "1.0+gpu", f"{second}/"), ("maths", "2.0", "")]
        locked = locked_wheels(["frame<2"], python="3.13", arch="arm64", environment=environment, named=(first,))
        store = Store(tmp_path / "store")
        wheels.fetch(store, locked, python="3.13", arch="arm64", environment=environment)
        assert all(store.has(wheel.sha256) for wheel in locked)
        assert locked[0].sha256 == hashlib.sha256((cpu / "frame-1.0+cpu-py3-none-any.whl").read_bytes()).hexdigest()
    environment |= {"UV_CACHE_DIR": str(tmp_path / "empty"), "UV_HTTP_RETRIES": "0"}
    with pytest.raises(DiagnosticError) as caught:
        lock(first)
    assert first in " ".join(caught.value.diagnostics[0].why)


@pytest.mark.slow
def test_pips_own_index_and_its_password_are_used_and_never_told(shelf: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with guarded_index(shelf, "user", CANARY) as (place, _):
        environment = settings(tmp_path, f"[global]\nindex-url = http://user:{CANARY}@{place}\n")
        store = Store(tmp_path / "store")
        locked = locked_wheels(["pure"], python="3.13", arch="amd64", environment=environment)
        wheels.fetch(store, locked, python="3.13", arch="amd64", environment=environment)
        assert all(store.has(wheel.sha256) for wheel in locked)
        assert CANARY not in repr(locked)
        wrong = settings(tmp_path, f"[global]\nindex-url = http://user:{CANARY}x@{place}\n")
        with pytest.raises(DiagnosticError) as caught:
            locked_wheels(["pure"], python="3.13", arch="amd64", environment=wrong | {"UV_CACHE_DIR": str(tmp_path / "empty")})
    assert CANARY not in repr(caught.value.diagnostics)
    assert CANARY not in "".join(capfd.readouterr())


def test_pips_configuration_becomes_uvs_settings(tmp_path: Path) -> None:
    text = (
        "[global]\nindex-url = http://127.0.0.1:1/a\n"
        "extra-index-url =\n    http://127.0.0.1:1/b\n    http://127.0.0.1:1/c\nfind-links = /shelf\n"
    )
    told = wheels.indexes(settings(tmp_path, text))
    assert told["UV_DEFAULT_INDEX"].startswith("http://127.0.0.1:1/a")
    assert told["UV_INDEX"].split()[-2:] == ["http://127.0.0.1:1/b", "http://127.0.0.1:1/c"]
    assert "/shelf" in told["UV_FIND_LINKS"]
    assert wheels.indexes(settings(tmp_path, text) | {"UV_DEFAULT_INDEX": "http://127.0.0.1:1/mine"}) == {}
    assert wheels.indexes(settings(tmp_path, text) | {"PIP_FIND_LINKS": "/other"})["UV_FIND_LINKS"] == "/other"
