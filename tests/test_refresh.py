"""`facts refresh`: what is read of wheels, and how it comes into a catalog file's own text."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet
from test_licence_reading import index
from test_wheels import index_of, make_wheel

from aistack.commands.refresh import refresh
from aistack.compose.refresh import Read as OneRead
from aistack.compose.refresh import entered, range_of, read_metadata, updated
from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.facts import fatbin
from aistack.facts.catalog import Component
from aistack.facts.decode import decode
from aistack.facts.document import parse
from aistack.host import wheel_index, wheels
from aistack.host.catalog_files import FOLDERS

RECORDED = {name: found for name, found in json.loads((Path(__file__).parent / "data/fatbins.json").read_text()).items() if name != "about"}


def binary(recorded: dict[str, Any]) -> bytes:
    """The container again, with nothing for its code."""
    return bytes.fromhex(recorded["container"]) + b"".join(bytes.fromhex(head) + bytes(size) for head, size in recorded["entries"])


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("name", RECORDED)
def test_the_targets_of_real_binaries(name: str) -> None:
    whole = b"\x7fELF" + b"\x50\xed\x55\xba" * 3 + binary(RECORDED[name]) * 2 + b"the end"
    wanted = tuple(RECORDED[name]["architectures"])
    for size in (1 << 20, len(whole)):
        assert fatbin.architectures(pieces(whole, size)) == wanted


def test_no_more_is_read_than_tells() -> None:
    """Containers as they repeat; after enough of them nothing is asked for any more."""
    one = binary(RECORDED["PyPI: torch 2.5.1 (torch/lib/libtorch_cuda.so)"])

    def endless() -> Iterator[bytes]:
        for _ in range(8):
            yield one
        raise AssertionError("read on")

    assert fatbin.read(endless(), enough=4).usual == ("5.0", "6.0", "7.0", "7.5", "8.0", "8.6", "9.0")


def test_what_single_kernels_have_beside_does_not_count() -> None:
    usual, odd = (binary(RECORDED[name]) for name in list(RECORDED)[1::-1])
    assert fatbin.architectures([usual * 5 + odd]) == ("5.0", "6.0", "7.0", "7.5", "8.0", "8.6", "9.0")


@pytest.mark.parametrize("data", [b"", b"\x7fELF" + bytes(100), fatbin.START, fatbin.START + bytes(64), fatbin.START + b"\xff" * 64])
def test_a_file_without_such_code_has_no_targets(data: bytes) -> None:
    assert fatbin.architectures(pieces(data, 5)) == ()


def test_what_metadata_says() -> None:
    text = """Metadata-Version: 2.1
Name: engine
Version: 1.0
Requires-Python: <3.15,>=3.11
Requires-Dist: torch==2.14.0
Requires-Dist: Flash_Attn>=2.8,!=2.8.2,<3
Requires-Dist: torch==2.9.0; platform_machine == "s390x"
Requires-Dist: xformers==0.0.34; extra == "old"
Requires-Dist: unknown==1
Requires-Dist: cuda-toolkit[cublas]==13.2.2; platform_system == "Linux"
Requires-Dist: not a requirement at all
"""
    known = {name: name for name in ("torch", "flash-attn", "xformers")}
    needs, pins, brings = read_metadata(text, "engine-1.0-cp38-abi3-manylinux_2_31_x86_64.whl", known, frozenset({"torch"}))
    assert needs == {"torch": "2.14.0", "python": ">=3.11,<3.15", "glibc": ">=2.31"}
    assert pins == {"flash-attn": ">=2.8,!=2.8.2,<3"}
    assert brings == {"cuda": "13.2"}


def test_what_extras_ask_for_and_what_those_ask_for() -> None:
    """Servers have what they need in extras, which name each other; components are called by the names of their packages."""
    text = """Name: engine
Requires-Dist: torchvision==0.22.1
Requires-Dist: engine[srt]; extra == "all"
Requires-Dist: engine[test]; extra == "dev"
Requires-Dist: engine[common]; extra == "srt"
Requires-Dist: torch==2.7.1; extra == "srt"
Requires-Dist: flashinfer_python==0.2.9; extra == "common"
Requires-Dist: torch==2.0; extra == "test"
"""
    known = {"torch": "torch", "torchvision": "torchvision", "flashinfer-python": "flashinfer"}
    file = "engine-1.0-py3-none-any.whl"
    needs, pins, _ = read_metadata(text, file, known, frozenset({"torch"}), {"all"})
    assert needs == {"torch": "2.7.1"} and pins == {"torchvision": "0.22.1", "flashinfer": "0.2.9"}
    assert read_metadata(text, file, known, frozenset({"torch"})) == ({}, {"torchvision": "0.22.1"}, {})


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("==2.1", "2.1"),
        ("==2.*", "==2.*"),
        ("<3,>=2", ">=2,<3"),
        ("~=9.0", ">=9.0,<10"),
        ("~=2.1.3", ">=2.1.3,<2.2"),
        (">=1,!=1.5", ">=1,!=1.5"),
    ],
)
def test_ranges(written: str, kept: str) -> None:
    assert range_of(SpecifierSet(written)) == kept


COMPONENT = """# What an engine is.
schema: aistack/component/v1
id: engine
name: Engine
versions: pep440
project: engine
binary: "engine/*.so"
source: ["PyPI: engine"]
checked: 2026-01-01
releases:
# The first that knew Python 3.13.
  - {version: "2.0", date: 2026-01-01, needs: {python: ">=3.11"}}  # read by hand
  - version: "1.0"
    needs: {python: ">=3.9"}
    arm64: {cu126: ["9.0"]}
"""


def component(text: str) -> tuple[Any, Component]:
    root, problems = parse(text, "engine.yaml")
    assert root is not None and not problems
    found, more = decode(Component, root)
    assert found is not None, more
    return root, found


def test_new_releases_come_where_they_belong_and_old_lines_stay() -> None:
    root, owner = component(COMPONENT)
    read = [
        OneRead(version="1.5", date=None, needs={"python": ">=3.9"}),
        OneRead(version="2.1", date="2026-02-02", brings={"cuda": "13.0"}, architectures=("9.0", "12.0+PTX")),
        OneRead(version="2.0", date="2026-01-01", needs={"python": ">=3.11"}),
    ]
    after = entered(COMPONENT, root, owner, read, "2026-11-26")
    lines = after.split("\n")
    assert lines[8] == "checked: 2026-11-26"
    assert lines[9:] == [
        "releases:",
        '  - {version: "2.1", date: 2026-02-02, brings: {cuda: "13.0"}, architectures: ["9.0", "12.0+PTX"]}',
        "# The first that knew Python 3.13.",
        '  - {version: "2.0", date: 2026-01-01, needs: {python: ">=3.11"}}  # read by hand',
        '  - {version: "1.5", needs: {python: ">=3.9"}}',
        '  - version: "1.0"',
        '    needs: {python: ">=3.9"}',
        '    arm64: {cu126: ["9.0"]}',
        "",
    ]
    again, refreshed = component(after)
    assert entered(after, again, refreshed, read, "2026-11-27") == after, "nothing new, nothing changed"


def test_what_changed_is_written_over_and_what_was_not_read_stays() -> None:
    root, owner = component(COMPONENT)
    after = entered(COMPONENT, root, owner, [OneRead(version="1.0", date="2025-01-01", needs={"glibc": ">=2.28"})], "2026-11-26")
    _, refreshed = component(after)
    assert refreshed.releases[1].needs == {"python": ">=3.9", "glibc": ">=2.28"} and refreshed.releases[1].date == "2025-01-01"
    assert refreshed.releases[1].arm64 == {"cu126": ("9.0",)}
    assert "# The first that knew" in after and "# read by hand" in after


def test_a_new_release_between_two_keeps_what_no_wheel_tells() -> None:
    """Where both neighbours agree: what reports of it were judged by while it was not listed."""
    text = COMPONENT.replace(
        'needs: {python: ">=3.11"}}  # read by hand',
        'needs: {python: ">=3.11", compute-capability: ">=7.0"}, pins: {torch: "2.0"}, brings: {cuda: "12.4"}}',
    ).replace('needs: {python: ">=3.9"}\n', 'needs: {python: ">=3.9", compute-capability: ">=7.0"}\n    brings: {cuda: "12.4"}\n')
    root, owner = component(text)
    _, refreshed = component(entered(text, root, owner, [OneRead(version="1.5", date=None, needs={"python": ">=3.10"})], "2026-11-26"))
    middle = refreshed.releases[1]
    assert (middle.needs, middle.pins, middle.brings) == (
        {"compute-capability": ">=7.0", "python": ">=3.10"},
        {},
        {"cuda": "12.4"},
    )


def test_an_os_gets_the_versions_that_its_archives_offer() -> None:
    text = 'checked: 2026-01-01\nkernels:\n  - {flavor: generic, version: "6.12.1"}  # stable\n  - version: "6.18.2"\n'
    root, _ = parse(text, "os.yaml")
    assert root is not None
    after = updated(text, root, {("kernels", 0, "version"): "6.12.118-1", ("kernels", 1, "version"): "6.18.2"}, "2026-11-26")
    assert after == text.replace("6.12.1", "6.12.118").replace("2026-01-01", "2026-11-26")
    assert updated(text, root, {("kernels", 0, "version"): "6.12.1-1"}, "2026-11-26") == text


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
    (root / "pyproject.toml").touch()
    (root / "recipes/frameworks/engine.yaml").write_text(COMPONENT)
    return root


def test_an_index_is_read_by_parts_of_its_wheels(checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A real index on loopback: the newest Python's wheel of each final release, its metadata, and the code in its library."""
    recorded = next(iter(RECORDED.values()))
    library = {"engine/small.so": b"\x7fELF", "engine/core.so": binary(recorded), "engine/weights.bin": os.urandom(3 << 20)}
    shelf = tmp_path / "shelf"
    for version, tag in (
        ("2.1", "cp313-cp313"),
        ("2.1", "cp39-cp39"),
        ("2.2rc1", "cp313-cp313"),
        ("0.9", "cp313-cp313"),
        ("2.0", "cp313-cp313"),
    ):
        make_wheel(shelf, "engine", version, f"{tag}-manylinux_2_28_x86_64", ("engine-parts>=1",), library)
    make_wheel(shelf, "engine", "2.3", "cp313-cp313-win_amd64")
    file = checkout / "recipes/frameworks/engine.yaml"
    with index(index_of(shelf), apart=False, ranges=True) as (address, asked):
        environment = {**os.environ, "UV_DEFAULT_INDEX": f"{address}/simple", "no_proxy": "127.0.0.1"}
        for dry_run in (True, False):
            assert refresh([], root=checkout, dry_run=dry_run, everything=False, environment=environment, today="2026-11-26") is ExitCode.OK
            assert ("2.1" in file.read_text()) is not dry_run
    said = capsys.readouterr()
    assert '{version: "2.1", needs: {glibc: ">=2.28"}, architectures: ["8.0+PTX", "9.0a"]}' in said.out
    assert said.err.splitlines() == ["reading engine 2.1"] * 2, "known, older, other platforms' and unfinished releases are not read"
    assert "whole" in asked and asked.count("whole") == 2, "only the lists were fetched whole"


def test_a_run_that_was_stopped_goes_on_where_it_was(
    checkout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read before an error is written, and not read again; what can be read of others is."""
    shelf = tmp_path / "shelf"
    for version in ("2.1", "2.2", "2.3"):
        make_wheel(shelf, "engine", version, "cp313-cp313-manylinux_2_28_x86_64")
    make_wheel(shelf, "other", "1.1", "py3-none-any")
    (checkout / "recipes/frameworks/other.yaml").write_text(
        COMPONENT.replace("id: engine", "id: other").replace("project: engine", "project: other")
    )
    opened, broken = wheel_index.opened, ["2.2"]

    def opening(release: wheel_index.Release, environment: Any) -> Any:
        if release.version in broken:
            raise wheels.unreachable("http://127.0.0.1/", OSError("gone"))
        return opened(release, environment)

    monkeypatch.setattr(wheel_index, "opened", opening)
    with index(index_of(shelf), apart=False, ranges=True) as (address, _):
        environment = {**os.environ, "UV_DEFAULT_INDEX": f"{address}/simple", "no_proxy": "127.0.0.1"}
        order = [release.version for release in wheel_index.releases("engine", environment)]
        again = {"root": checkout, "dry_run": False, "everything": False, "environment": environment, "today": "2026-11-26"}
        with pytest.raises(DiagnosticError) as stopped:
            refresh(["engine", "other"], **again)  # type: ignore[arg-type]
        assert [one.rule for one in stopped.value.diagnostics] == ["WHL007"]
        written = (checkout / "recipes/frameworks/engine.yaml").read_text()
        first = order[: order.index("2.2")]
        assert [version for version in order if f'"{version}"' in written] == first
        assert '"1.1"' in (checkout / "recipes/frameworks/other.yaml").read_text()
        broken.clear()
        capsys.readouterr()
        assert refresh(["engine"], **again) is ExitCode.OK  # type: ignore[arg-type]
    assert capsys.readouterr().err.splitlines() == [f"reading engine {version}" for version in order if version not in first]


def test_of_sources_only_the_list_is_read() -> None:
    rank = wheel_index._rank
    wheel, sources = rank("engine-1.0-py3-none-any.whl"), rank("engine-1.0.tar.gz")
    assert wheel is not None and sources is not None and sources < wheel
    assert rank("engine-1.0rc1.tar.gz") is None and rank("engine-1.0.exe") is None


def test_what_cannot_be_read_is_told_and_nothing_is_written(checkout: Path, tmp_path: Path) -> None:
    before = (checkout / "recipes/frameworks/engine.yaml").read_text()
    make_wheel(tmp_path / "shelf", "other", "1.0", "py3-none-any")

    def failing(root: Path, *ids: str, index: str = "http://127.0.0.1:1/") -> str:
        environment = {**os.environ, "UV_DEFAULT_INDEX": index, "no_proxy": "127.0.0.1"}
        with pytest.raises(DiagnosticError) as caught:
            refresh(ids, root=root, dry_run=False, everything=False, environment=environment, today="2026-11-26")
        assert caught.value.exit_code is ExitCode.UNABLE
        return caught.value.diagnostics[0].rule

    assert failing(tmp_path) == "FCT001"
    assert failing(checkout, "nothing") == "FCT002"
    assert failing(checkout) == "WHL007"
    with index(index_of(tmp_path / "shelf"), apart=False, ranges=True) as (address, _):
        assert failing(checkout, index=f"{address}/simple") == "WHL009"
    assert (checkout / "recipes/frameworks/engine.yaml").read_text() == before


def test_a_server_of_whole_files_is_told(tmp_path: Path) -> None:
    make_wheel(tmp_path / "shelf", "engine", "1.0", "py3-none-any")
    with index(index_of(tmp_path / "shelf"), apart=False, ranges=False) as (address, _):
        environment = {**os.environ, "UV_DEFAULT_INDEX": f"{address}/simple", "no_proxy": "127.0.0.1"}
        (release,) = wheel_index.releases("engine", environment)
        with pytest.raises(DiagnosticError) as caught, wheel_index.opened(release, environment):
            pass
    assert caught.value.diagnostics[0].rule == "WHL010"
