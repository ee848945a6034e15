"""Where the files of layers land when links are on the way: what programs that unpack one layer after the other do with the same layers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import process_time

import elf_samples
import pytest
from images_read import healthy, written
from kernel_samples import FOLDER, KERNEL, NVIDIA, driver, driver_module
from test_checks import EXPECTED
from tools_needed import needs

from aistack.commands.verifying import wanted
from aistack.compose.checks.layers import CHECKS
from aistack.compose.findings import Finding, Outcome, ask
from aistack.compose.verify import verify_image
from aistack.diagnostics import DiagnosticError
from aistack.facts.filesystem import Entry as Known
from aistack.facts.filesystem import Filesystem
from aistack.host import inspect, oci
from aistack.host.inspect import filesystem
from aistack.host.layers import DIRECTORY, HARD_LINK, SYMBOLIC_LINK, Entry, Layer, writing
from aistack.host.store import Store

MERGED = ("usr/", "usr/lib/", "usr/lib/a=old", "usr/lib/c=1", "lib -> usr/lib")
"""A layer: folders end in `/`, `=` is before a file's content, ` -> ` before a link's target, ` == ` before a hard link's."""

Layers = Sequence[Sequence[str]]
CASES: dict[str, tuple[Layers, str]] = {
    "a file": ([MERGED, ["lib/a=new"]], "/lib -> usr/lib, /usr/lib/a=new, /usr/lib/c=1"),
    "a file and an absolute link": ([["v/", "v/a=old", "l -> /v"], ["l/a=new"]], "/l -> /v, /v/a=new"),
    "a folder below": ([MERGED, ["lib/d/", "lib/d/b=1"]], "/lib -> usr/lib, /usr/lib/a=old, /usr/lib/c=1, /usr/lib/d/b=1"),
    "several links": ([["z/", "m -> z", "k -> m"], ["k/x=1"]], "/k -> m, /m -> z, /z/x=1"),
    "a link that leads up": ([["a/", "a/b/", "c/", "a/b/l -> ../../c"], ["a/b/l/x=1"]], "/a/b/l -> ../../c, /c/x=1"),
    "a whiteout": ([MERGED, ["lib/.wh.a="]], "/lib -> usr/lib, /usr/lib/c=1"),
    "a whiteout of the link": ([MERGED, [".wh.lib="]], "/usr/lib/a=old, /usr/lib/c=1"),
    "a whiteout under another name": ([MERGED, ["usr/lib/.wh.a=", "lib/a=new"]], "/lib -> usr/lib, /usr/lib/a=new, /usr/lib/c=1"),
    "a folder for a link": ([MERGED, ["lib/", "lib/b=1"]], "/lib/b=1, /usr/lib/a=old, /usr/lib/c=1"),
    "a folder for a link that leads nowhere": ([["l -> gone"], ["l/", "l/x=1"]], "/l/x=1"),
    "a link for a folder": ([["lib/", "lib/a=1", "usr/", "usr/lib/"], ["lib -> usr/lib", "lib/b=1"]], "/lib -> usr/lib, /usr/lib/b=1"),
    "a link after what it replaces": ([["lib/", "lib/a=1", "usr/", "usr/lib/"], ["lib/b=1", "lib -> usr/lib"]], "/lib -> usr/lib"),
    "a file for a link": ([["t=old", "a -> t"], ["a=new"]], "/a=new, /t=old"),
    "a hard link": ([MERGED, ["h == lib/a"]], "/h=old, /lib -> usr/lib, /usr/lib/a=old, /usr/lib/c=1"),
    "a whiteout of a folder that no archive holds": ([["a/b/c=1", "d=1"], [".wh.a="]], "/d=1"),
}
"""As podman 4.3 (`vfs`) and umoci 0.4.7 unpack them."""

DIFFERENT: dict[str, tuple[Layers, str]] = {
    "an opaque folder": ([MERGED, ["lib/.wh..wh..opq=", "lib/n=1"]], "/lib -> usr/lib, /usr/lib/n=1"),
    "an opaque folder after its file": ([MERGED, ["lib/n=1", "usr/lib/.wh..wh..opq="]], "/lib -> usr/lib, /usr/lib/n=1"),
    "a link that leads nowhere": ([["l -> gone/there"], ["l/x=1"]], "/gone/there/x=1, /l -> gone/there"),
    "a link that leads outside": ([["o -> ../../etc", "p -> /etc"], ["o/x=1", "p/y=1"]], "/etc/x=1, /etc/y=1, /o -> ../../etc, /p -> /etc"),
}
"""As umoci unpacks them. podman refuses links that lead nowhere, and does not look for a whiteout's folder behind a link."""


def layer(store: Store, lines: Sequence[str]) -> Layer:
    """A layer of entries in the order in which they are given, without the folders above them."""
    with writing(store, compress=False) as made:
        for line in lines:
            for mark, kind in ((" -> ", SYMBOLIC_LINK), (" == ", HARD_LINK)):
                if mark in line:
                    path, _, target = line.partition(mark)
                    made.writer.add(Entry(path=path, kind=kind, mode=0o777, target=target))
                    break
            else:
                path, _, content = line.partition("=")
                folder = path.endswith("/")
                data = content.encode()
                entry = Entry(path=path.rstrip("/"), kind=DIRECTORY, mode=0o755) if folder else Entry(path=path, size=len(data))
                made.writer.add(entry, data)
    return made.result()


def merged(tmp_path: Path, layers: Layers) -> Filesystem:
    store = Store(tmp_path / "store")
    blobs = [store.blob(layer(store, lines).digest.removeprefix("sha256:")) for lines in layers]
    return filesystem(blobs, lambda path: True, tmp_path)


def shown(found: Filesystem) -> str:
    entries = sorted(found.entries.items())
    return ", ".join(_line(found, path, entry.target) for path, entry in entries if entry.kind != "directory")


def _line(found: Filesystem, path: str, target: str) -> str:
    return f"{path} -> {target}" if target else f"{path}={found.texts[path].decode()}"


@pytest.mark.parametrize("case", [*CASES, *DIFFERENT])
def test_what_lies_behind_a_link_lands_where_the_link_leads(case: str, tmp_path: Path) -> None:
    layers, expected = {**CASES, **DIFFERENT}[case]
    found = merged(tmp_path, layers)
    assert shown(found) == expected
    assert all(found.kind(path.rpartition("/")[0]) in ("", "directory") for path in found.entries)


def test_links_in_a_circle_lead_nowhere(tmp_path: Path) -> None:
    assert shown(merged(tmp_path, [["a -> b", "b -> a"], ["a/x=1"]])) == "/a -> b, /a/x=1, /b -> a"


@pytest.mark.system
def test_podman_unpacks_them_so(tmp_path: Path) -> None:
    needs("podman")
    store = Store(tmp_path / "store")
    images = {
        f"case-{number}": oci.write_image(store, [layer(store, lines) for lines in layers], arch="amd64")
        for number, (layers, _) in enumerate(CASES.values())
    }
    folder = oci.layout(store, images, tmp_path / "layout")
    with TemporaryDirectory() as run:  # podman wants a short path
        podman = ("podman", f"--root={tmp_path}/root", f"--runroot={run}", "--storage-driver=vfs")
        for tag, (_, expected) in zip(images, CASES.values(), strict=True):
            image = said(*podman, "pull", "--quiet", f"oci:{folder}:{tag}")
            root = Path(said(*podman, "image", "mount", image))
            assert ", ".join(_on_disk(root)) == expected
            said(*podman, "image", "unmount", "--force", image)


def said(*argv: str | Path) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=300).stdout.strip()


def _on_disk(root: Path) -> Iterator[str]:
    for path in sorted(root.rglob("*")):
        name = f"/{path.relative_to(root)}"
        if path.is_symlink():
            yield f"{name} -> {path.readlink()}"
        elif path.is_file():
            yield f"{name}={path.read_text()}"


def test_a_link_that_a_layer_writes_through_is_told(tmp_path: Path) -> None:
    def told(*layers: Sequence[str]) -> Finding:
        return next(ask(merged(tmp_path, layers), CHECKS))

    finding = told(MERGED, ["lib/x=1", "lib/y=1", "usr/z=1"])
    assert finding.outcome is Outcome.NO and not finding.condemns()
    assert finding.message.startswith("a layer writes /lib/x, and /lib is a link of a lower layer") and "/y" not in finding.message
    assert told(MERGED, ["lib/.wh.a="]).outcome is Outcome.NO
    for harmless in ([*MERGED, "lib/x=1"], MERGED):  # within one layer all do the same
        assert told(harmless).outcome is Outcome.YES
    assert told(MERGED, ["lib/", "lib/x=1"]).outcome is told(MERGED, [".wh.lib=", "lib/x=1"]).outcome is Outcome.YES
    assert told(MERGED, ["lib -> usr/lib", "lib/x=1"]).outcome is Outcome.YES


def test_a_module_behind_a_link_is_judged(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    lower = written(store, {**healthy(), **driver(), "/lib": "usr/lib"}, compress=False)
    wrong = driver_module(vermagic="6.1 SMP", needs={"gone": 1})
    with writing(store, compress=False) as made:
        path = f"lib/modules/{KERNEL}/{NVIDIA}"
        made.writer.add(Entry(path=path, size=len(wrong)), wrong)
    blobs = [store.blob(one.digest.removeprefix("sha256:")) for one in (lower, made.result())]
    found = filesystem(blobs, wanted, tmp_path)
    assert not found.kind(f"/{path}") and found.kind(f"{FOLDER}/{NVIDIA}") == "file"
    no = {finding.name for finding in verify_image(found, bootable=True, expected=EXPECTED) if finding.outcome is Outcome.NO}
    assert {"vermagic", "module-symbols", "layer-links"} <= no


def test_an_initramfs_is_unpacked_so_as_well(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    archives = elf_samples.initramfs({"usr/lib/a": b"old"}, packed=False) + elf_samples.initramfs({"lib/a": b"new"})
    linked = archives.replace(b"070701", elf_samples.link("lib", "usr/lib") + b"070701", 1)
    image = f"{FOLDER}/initramfs.img"
    layers = [written(store, {image: linked}, compress=False)]
    found = filesystem([store.blob(one.digest.removeprefix("sha256:")) for one in layers], lambda path: True, tmp_path)
    assert found.initramfs[image].texts["/usr/lib/a"] == b"new"


def test_a_layer_that_its_program_refuses_is_told_in_the_programs_words(tmp_path: Path) -> None:
    """Of which its reader sees the end alone: such a layer unpacks with `zstd --long=31`, and takes 2 GiB of memory for it."""
    needs("zstd")
    blob = tmp_path / "blob"
    with blob.open("wb") as file:
        subprocess.run(["zstd", "-q", "-c", "-1", "--long=31"], input=bytes(1 << 20), stdout=file, check=True)
    with pytest.raises(DiagnosticError, match="layer blob cannot be read as a tar archive") as caught:
        filesystem([blob], lambda path: True, tmp_path)
    assert "Use --long=31" in "".join(caught.value.diagnostics[0].why)


@pytest.mark.slow
def test_an_image_with_many_entries_takes_no_longer_for_it(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with writing(store, compress=False) as made:
        made.writer.add(Entry(path="lib", kind=SYMBOLIC_LINK, mode=0o777, target="usr/lib"))
        for number in range(20_000):
            made.writer.add(Entry(path=f"lib/python3/dist-packages/part{number % 100}/tests/data/{number}", size=0), b"")
    blob = store.blob(made.result().digest.removeprefix("sha256:"))
    start = process_time()
    found = filesystem([blob], wanted, tmp_path)
    assert found.kind("/usr/lib/python3/dist-packages/part7/tests/data/7") == "file"
    assert process_time() - start < 10


@pytest.mark.parametrize("seed", range(20))
def test_what_is_below_a_folder_is_known_whatever_came_and_went(seed: int) -> None:
    """Folders between that have no entry are passed through, as where a whiteout took a folder and left what its own layer put there."""
    random, names, known = Random(seed), inspect._Names({"/a/b/c": Known(kind="file", mode=0, uid=0, gid=0)}), {"/a/b/c"}
    for _ in range(300):
        path = "".join(f"/{random.choice('abc')}" for _ in range(random.randrange(1, 5)))
        if path in known and random.random() < 0.6:
            del names[path]
            known.remove(path)
        else:
            names[path] = Known(kind="directory", mode=0, uid=0, gid=0)
            known.add(path)
        folder = random.choice(["/a", "/a/b", "/c/c", path])
        assert sorted(names.below(folder)) == sorted(one for one in known if one.startswith(f"{folder}/"))


def test_a_whiteout_asks_for_its_own_folder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are: each that went through all names would take as long as the image is large."""
    store, passes = Store(tmp_path / "store"), list[int]()
    lower = written(store, {f"/opt/{number}/cache/{name}": b"" for number in range(30) for name in "abc"})
    upper = written(
        store, {**{f"/opt/{number}/.wh.cache": b"" for number in range(20)}, "/opt/21/cache": b"", "/opt/22/cache/.wh..wh..opq": b""}
    )

    def counted(names: inspect._Names) -> Iterator[str]:
        passes.append(len(names))
        return iter([*names.keys()])

    monkeypatch.setattr(inspect._Names, "__iter__", counted)
    found = filesystem([store.blob(layer.digest.removeprefix("sha256:")) for layer in (lower, upper)], wanted, tmp_path)
    assert len(found.below("/opt")) == 30 + 8 * 4 + 2
    assert len(passes) <= 1
