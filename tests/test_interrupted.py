"""A real build killed at moments of its life, two at once, and a disk that runs full: what comes afterwards is what would have come."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from lent_store import lend
from tools_needed import needs

from aistack.host.store import Store, default_path

pytestmark = pytest.mark.system

RECIPE = Path(__file__).parent.parent / "recipes" / "web-appliance.yaml"
KILLS = int(os.environ.get("AISTACK_TEST_KILLS", "1"))
"""How many builds are killed; `make endurance` kills more."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A build that nothing disturbed: its folder, its store, the digest of its image, and how many seconds it took."""

    folder: Path
    store: Store
    image: str
    seconds: float


def start(folder: Path, store: Store) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "aistack", "build", RECIPE.name, "--only", "app-image", "--offline", "--json"]
    environment = {**os.environ, "AISTACK_STORE": str(store.path), "NO_COLOR": "1"}
    return subprocess.Popen(argv, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def image(said: str) -> str:
    (where,) = [str(row["where"]) for row in json.loads(said)["artifacts"] if row["title"].startswith("app-image")]
    return where


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """The web appliance's app built once, its packages and tools root in the usual store."""
    needs("mmdebstrap", "bwrap")
    folder, store = tmp_path_factory.mktemp("recipes"), Store(default_path(os.environ))
    shutil.copy(RECIPE, folder)
    argv = [sys.executable, "-m", "aistack", "build", RECIPE.name, "--only", "app-image"]
    subprocess.run(argv, cwd=folder, check=True, timeout=1800, capture_output=True)
    with tempfile.TemporaryDirectory(prefix="aistack-whole-", dir=store.path.parent) as place:
        started = time.monotonic()
        building = start(folder, lend(store, Path(place) / "store"))
        said, complained = building.communicate(timeout=900)
        assert building.returncode == 0, complained
        return Whole(folder, store, image(said), time.monotonic() - started)


@pytest.fixture
def lent(whole: Whole) -> Iterator[Store]:
    with tempfile.TemporaryDirectory(prefix="aistack-lent-", dir=whole.store.path.parent) as place:
        yield lend(whole.store, Path(place) / "store")


@pytest.mark.parametrize("number", range(KILLS))
def test_a_build_that_was_killed_is_finished_by_the_next(whole: Whole, lent: Store, number: int) -> None:
    """Killed without warning at a random moment: nothing of it runs on, and the next build makes the same image."""
    building = start(whole.folder, lent)
    time.sleep(random.Random(number).uniform(0.1, 1) * whole.seconds)
    building.send_signal(signal.SIGKILL)
    building.communicate()
    deadline = time.monotonic() + 20
    while (left := running_in(lent.path)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == []
    again = start(whole.folder, lent)
    said, complained = again.communicate(timeout=900)
    assert again.returncode == 0, complained
    assert image(said) == whole.image
    assert not [line for line in complained.splitlines() if "damaged" in line]


def running_in(store: Path) -> list[str]:
    """The command lines of processes that name the store, or work for a build in it."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            said = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if str(store).encode() in said and entry.name != str(os.getpid()):
            found.append(said[:200].replace(b"\0", b" ").decode(errors="replace"))
    return found


def test_two_at_once_make_one_image(whole: Whole, lent: Store) -> None:
    both = [start(whole.folder, lent) for _ in range(2)]
    ended = [building.communicate(timeout=900) for building in both]
    assert [building.returncode for building in both] == [0, 0], ended
    assert {image(said) for said, _ in ended} == {whole.image}
    built = [[row["seconds"] for row in json.loads(said)["artifacts"] if row["title"].startswith("app-image")] for said, _ in ended]
    assert sorted(seconds == [None] for seconds in built) == [False, True], "one builds, the other finds it built"


def test_a_full_disk_is_told_and_what_is_there_stays_good(whole: Whole, lent: Store, tmp_path: Path) -> None:
    """A small disk: first the packages do not fit, then they fit and the build does not; on a larger one the same store is finished."""
    needs("mount", "umount")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", disk], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a disk")
    argv = [sys.executable, "-m", "aistack", "build", RECIPE.name, "--only", "app-image", "--json"]
    environment = {**os.environ, "AISTACK_STORE": str(disk / "store"), "AISTACK_STORE_FROM": str(lent.path)}

    def tried() -> subprocess.CompletedProcess[str]:
        return subprocess.run(argv, cwd=whole.folder, env=environment, capture_output=True, text=True, timeout=900, check=False)

    try:
        for larger in ("150m", "4g"):
            refused = tried()
            assert refused.returncode == 3, refused.stderr
            assert "No space left on device" in refused.stderr and "AISTACK_STORE" in refused.stderr, refused.stderr
            assert "Traceback" not in refused.stderr
            subprocess.run(["mount", "-o", f"remount,size={larger}", disk], check=True)
        again = tried()
        assert again.returncode == 0, again.stderr
        assert image(again.stdout) == whole.image
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)
