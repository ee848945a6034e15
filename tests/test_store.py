"""The store: whole or not at all, by digest, and never in the way of a second builder."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from aistack.diagnostics import DiagnosticError
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


def test_a_folder_with_other_things_in_it_never_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp/thesis").touch()
    with pytest.raises(DiagnosticError, match="no store"), Store(tmp_path).scratch():
        pass
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["thesis", "tmp"]


def test_a_store_says_so_to_backup_programs(tmp_path: Path) -> None:
    store = Store(tmp_path / "new" / "store")
    store.prepare()
    assert (store.path / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f06886806bc55")


@pytest.mark.parametrize("harm", [lambda data: data[:-1], lambda data: bytes([data[0] ^ 1]) + data[1:], lambda data: b""])
def test_what_was_changed_is_named_and_gone(tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    store = Store(tmp_path)
    good, bad = (store.add(io.BytesIO(text * 5000))[0] for text in (b"good", b"bad!"))
    store.blob(bad).write_bytes(harm(store.blob(bad).read_bytes()))
    assert store.damaged([good, bad, "0" * 64, bad]) == (bad,)
    assert store.has(good) and not store.has(bad)


def test_cleaning_waits_for_those_who_use_the_store_and_not_for_the_dead(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from aistack.host.store import Store\n"
        "with Store(pathlib.Path(sys.argv[1])).in_use(lambda: print('waiting', flush=True)):\n"
        "    print('inside', flush=True); sys.stdin.read()"
    )
    store = Store(tmp_path / "store")
    users = [
        subprocess.Popen([sys.executable, "-c", code, str(store.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)
    ]
    for user in users:
        assert user.stdout is not None and user.stdout.readline() == b"inside\n"
    half = store.path / "tmp" / "half"
    half.mkdir(parents=True)
    argv = [sys.executable, "-m", "aistack", "store", "prune", "--json"]
    pruning = subprocess.Popen(argv, env={**os.environ, "AISTACK_STORE": str(store.path)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert pruning.stderr is not None and pruning.stderr.readline() == b"another aistack uses the store; waiting\n"
    users[0].communicate(b"")
    assert half.is_dir()
    users[1].kill()
    users[1].communicate()
    said, _ = pruning.communicate(timeout=60)
    assert json.loads(said)["parts"]["tmp"]["files"] == 0
    assert not half.exists()


def test_many_may_begin_a_store_at_once(tmp_path: Path) -> None:
    often = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            for number in range(40):
                store, together = Store(tmp_path / str(number)), Barrier(8)

                def use(store: Store = store, together: Barrier = together) -> None:
                    together.wait()
                    with store.in_use(lambda: None):
                        pass

                for done in [pool.submit(use) for _ in range(8)]:
                    done.result()
    finally:
        sys.setswitchinterval(often)


def test_where_the_store_lies() -> None:
    assert default_path({"AISTACK_STORE": "/big/disk"}) == Path("/big/disk")
    assert default_path({"XDG_CACHE_HOME": "/cache"}) == Path("/cache/aistack")
    assert default_path({}) == Path.home() / ".cache/aistack"
