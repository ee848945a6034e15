"""Where licences are read: copyright files in real packages, METADATA from an index by each of its ways; and each only once."""

from __future__ import annotations

import hashlib
import re
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from debian_archive import DebianArchive
from test_licences import copyright_file
from test_wheels import make_wheel
from tools_needed import needs

from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.facts.pins import LockedPackage, LockedWheel
from aistack.host import copyright_files, wheel_metadata
from aistack.host.store import Store
from aistack.host.wheels import Found


def package(store: Store, deb: Path) -> LockedPackage:
    """The package in the store, as a lock names it."""
    with deb.open("rb") as stream:
        sha256, size = store.add(stream)
    return LockedPackage(
        name=deb.name.partition("_")[0],
        version="1",
        arch="amd64",
        sha256=sha256,
        size=size,
        origin="trixie/main",
        filename=deb.name,
        source="tool 1",
    )


def test_copyright_files_and_links_to_them(tmp_path: Path) -> None:
    needs("dpkg-deb")
    archive, store = DebianArchive(tmp_path / "archive"), Store(tmp_path / "store")
    text = copyright_file("Expat")
    doc = archive.folder / "trees"
    for name, target in {"tool-doc": "tool", "tool-more": "tool-doc", "round": "about", "about": "round", "away": "gone"}.items():
        (doc / name / "usr/share/doc").mkdir(parents=True)
        (doc / name / "usr/share/doc" / name).symlink_to(target)
    (doc / "tool-file/usr/share/doc/tool-file").mkdir(parents=True)
    (doc / "tool-file/usr/share/doc/tool-file/copyright").symlink_to("../tool/copyright")
    archive.add("tool", "1", files={"usr/share/doc/tool/copyright": text, "usr/share/doc/tool/other/copyright": "another", "usr/z": "z"})
    archive.add("bare", "1", files={"usr/share/doc/tool/copyright": "of another package"})
    for name in ("tool-doc", "tool-more", "tool-file", "round", "about", "away"):
        archive.add(name, "1")
    packages = [package(store, deb) for deb in archive.packages.values()]
    found = copyright_files.read(store, packages)
    same = dict.fromkeys(("tool", "tool-doc", "tool-more", "tool-file"), text)
    assert found == {**same, **dict.fromkeys(("bare", "round", "about", "away"))}
    shutil.rmtree(store.blobs)
    assert copyright_files.read(store, packages) == found, "nothing is read twice"


@pytest.mark.slow
def test_a_package_is_read_only_as_far_as_needed(tmp_path: Path) -> None:
    """What comes after the copyright file may be missing altogether."""
    needs("dpkg-deb", "ar")
    archive, store = DebianArchive(tmp_path / "archive"), Store(tmp_path / "store")
    noise = "".join(hashlib.sha256(str(number).encode()).hexdigest() for number in range(20_000))
    deb = archive.add("tool", "1", files={"usr/share/doc/tool/copyright": "the text", "usr/zz/noise": noise})
    whole = deb.read_bytes()
    deb.write_bytes(whole[: len(whole) * 3 // 4])
    assert copyright_files.read(store, [package(store, deb)]) == {"tool": "the text"}
    deb.write_bytes(whole[:200])
    with pytest.raises(DiagnosticError, match="cannot be read as a Debian package") as caught:
        copyright_files.read(store, [package(store, deb)])
    assert caught.value.exit_code is ExitCode.UNABLE


@contextmanager
def index(folder: Path, *, apart: bool, ranges: bool) -> Iterator[tuple[str, list[str]]]:
    """A server of wheels that serves METADATA apart, parts of files, both or neither; the requests that it answered are listed."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(folder))  # type: ignore[arg-type]

        def do_GET(self) -> None:
            part = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
            if self.path.endswith(".metadata") and not apart:
                return self.send_error(404)
            asked.append("metadata" if self.path.endswith(".metadata") else "part" if part and ranges else "whole")
            if not (part and ranges):
                return super().do_GET()
            data = (folder / self.path.strip("/")).read_bytes()[int(part[1]) : int(part[2]) + 1]
            self.send_response(206)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            return None

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("apart", "ranges", "asked"),
    [(True, True, {"metadata"}), (False, True, {"part"}), (False, False, {"whole"})],
    ids=["metadata apart", "byte ranges", "whole files only"],
)
def test_metadata_without_the_wheel(apart: bool, ranges: bool, asked: set[str], tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "shelf", "tool", "1.0", "py3-none-any")
    data = wheel.read_bytes()
    (tmp_path / "shelf" / f"{wheel.name}.metadata").write_text("Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n")
    store, sha256 = Store(tmp_path / "store"), hashlib.sha256(data).hexdigest()
    locked = LockedWheel(name="tool", version="1.0", filename=wheel.name, sha256=sha256, size=len(data))
    environment: Mapping[str, str] = {"UV_DEFAULT_INDEX": "http://127.0.0.1:1/", "no_proxy": "127.0.0.1"}
    with index(wheel.parent, apart=apart, ranges=ranges) as (address, seen):
        found = [Found(wheel=locked, url=f"{address}/{wheel.name}")]
        (text,) = wheel_metadata.read(store, found, environment)
        assert text == "Metadata-Version: 2.1\nName: tool\nVersion: 1.0\n"
        assert set(seen) == asked
        assert store.has(sha256) is (asked == {"whole"})
        seen.clear()
        assert wheel_metadata.read(store, found, environment) == (text,)
        assert seen == [], "nothing is read twice"
    with pytest.raises(DiagnosticError, match="cannot be read"):
        wheel_metadata.read(Store(tmp_path / "other"), found, environment)
