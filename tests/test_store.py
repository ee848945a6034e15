"""The store: whole or not at all, by digest, and never in the way of a second builder."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from pathlib import Path

import pytest

from aistack.host.store import Store, default_path


def test_bytes_are_kept_under_their_digest(tmp_path: Path) -> None:
    store = Store(tmp_path)
    content = b"weights" * 1000
    sha256, size = store.add(io.BytesIO(content))
    assert (sha256, size) == (hashlib.sha256(content).hexdigest(), len(content))
    assert store.blob(sha256).read_bytes() == content
    assert not list((tmp_path / "tmp").iterdir())


def test_an_output_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(RuntimeError), store.produce("step") as folder:
        (folder / "half").write_text("written")
        raise RuntimeError("the tool failed")
    assert store.output("step") is None
    assert not list((tmp_path / "tmp").iterdir())


def test_an_output_that_was_no_longer_good_is_replaced(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for text in ("older", "newer"):
        with store.produce("step") as folder:
            (folder / "file").write_text(text)
    output = store.output("step")
    assert output is not None
    assert (output / "file").read_text() == "newer"


def test_a_builder_that_is_killed_leaves_no_output(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from aistack.host.store import Store\n"
        "with Store(pathlib.Path(sys.argv[1])).produce('step') as folder:\n"
        "    (folder / 'half').write_text('x'); print('ready', flush=True); sys.stdin.read()"
    )
    builder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert builder.stdout is not None
    assert builder.stdout.readline() == b"ready\n"
    builder.kill()
    builder.communicate()
    assert Store(tmp_path).output("step") is None


def test_two_builders_of_one_step_take_turns(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from aistack.host.store import Store\n"
        "with Store(pathlib.Path(sys.argv[1])).alone('step', lambda: print('waiting', flush=True)):\n"
        "    print('inside', flush=True); sys.stdin.read()"
    )
    argv = [sys.executable, "-c", code, str(tmp_path)]
    first = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert first.stdout is not None
    assert first.stdout.readline() == b"inside\n"
    second = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert second.stdout is not None
    assert second.stdout.readline() == b"waiting\n"
    first.kill()
    first.communicate()
    assert second.stdout.readline() == b"inside\n"
    second.communicate(b"")
    assert second.returncode == 0


def test_where_the_store_lies() -> None:
    assert default_path({"AISTACK_STORE": "/big/disk"}) == Path("/big/disk")
    assert default_path({"XDG_CACHE_HOME": "/cache"}) == Path("/cache/aistack")
    assert default_path({}) == Path.home() / ".cache/aistack"
