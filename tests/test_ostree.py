"""Layers laid over each other (pure), and the import of images into a real OSTree repository inside the tools root."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import oci_samples as samples
import pytest

import aistack
from aistack.compose.render.grub import TRIAL_ARGUMENT
from aistack.diagnostics import DiagnosticError
from aistack.facts import kargs
from aistack.facts.kargs import split
from aistack.host import ostree, rootfs
from aistack.host.blobs import LayoutFolder
from aistack.host.etc_merge import conflicts
from aistack.host.layer_tree import Tree, image_path, kept_xattrs, overlay
from aistack.host.process import Completed
from aistack.host.rootfs import Bind
from aistack.host.store import Store
from aistack.host.sysroot import changed_kargs, deploy, parse_kargs

LOCK = "sha256:" + "a" * 64


def tree(**files: str) -> Tree:
    made = Tree(meta="d")
    for path, name in files.items():
        made.put(path.replace("__", "/"), name)
    return made


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("./etc/passwd", "usr/etc/passwd"),
        ("etc", "usr/etc"),
        (".wh.etc", "usr/.wh.etc"),
        ("./", ""),
        ("dev/null", None),
        ("dev", "dev"),
        ("usr/dev/x", "usr/dev/x"),
        ("a/../../b", None),
        ("/usr//bin/./x", "usr/bin/x"),
    ],
)
def test_where_an_archive_member_goes(name: str, expected: str | None) -> None:
    assert image_path(name) == expected


def test_whiteouts_act_on_lower_layers_only() -> None:
    lower, upper = tree(a__x="1", a__y="2", b="3"), tree(a__y="5")
    upper.put("a/.wh..wh..opq", "w")
    upper.put(".wh.b", "w")
    overlay(lower, upper)
    assert (lower.file("a/x"), lower.file("a/y"), lower.file("b")) == (None, "5", None)


def test_a_whiteout_and_a_new_file_of_that_name_give_the_new_file() -> None:
    lower, upper = tree(a__x="1"), tree(a="2")
    upper.put(".wh.a", "w")
    overlay(lower, upper)
    assert lower.file("a") == "2"
    assert lower.folders == {}


def test_kinds_change_both_ways() -> None:
    lower = tree(home__x="1", link="2")
    overlay(lower, tree(home="3", link__y="4"))
    assert (lower.file("home"), lower.file("home/x"), lower.file("link/y")) == ("3", None, "4")


def test_a_folder_that_a_layer_does_not_describe_keeps_its_metadata() -> None:
    lower, upper = Tree(meta="root"), Tree()
    lower.folder("var").meta = "private"
    upper.put("var/x", "1")
    overlay(lower, upper)
    assert (lower.meta, lower.folders["var"].meta) == ("root", "private")


def test_labels_of_the_build_host_are_dropped() -> None:
    headers = {"SCHILY.xattr.security.selinux": "x", "SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.user.a": "z", "mtime": "1"}
    assert kept_xattrs(headers) == ((b"user.a", b"z"),)


def test_kernel_arguments_of_an_image_and_of_its_update() -> None:
    files = {"20-b.toml": b'kargs = ["b"]\nmatch-architectures = ["aarch64"]\n', "10-a.toml": b'kargs = ["quiet", "a=1"]\n', "readme": b"?"}
    assert parse_kargs(files, "x86_64") == ("quiet", "a=1")
    assert parse_kargs(files, "aarch64") == ("quiet", "a=1", "b")
    assert changed_kargs(("root=X", "quiet", "local", "a=1", "ostree=/y"), ("quiet", "a=1"), ("quiet", "a=2")) == (
        "root=X",
        "quiet",
        "a=2",
        "local",
    )


def test_the_order_of_an_images_kernel_arguments_stays_and_so_do_repeated_ones() -> None:
    """hugepages= is of the size that stands before it."""
    large, small = ("hugepagesz=1G", "hugepages=4"), ("hugepagesz=2M", "hugepages=512")
    changed = (large[0], "hugepages=8", *small)
    assert changed_kargs(("root=X", *large, *small, "local"), (*large, *small), changed) == ("root=X", *changed, "local")
    assert changed_kargs(("root=X", *large, *small, "local"), (*large, *small), (*small, *large)) == ("root=X", *small, *large, "local")
    same = (large[0], "hugepages=4", small[0], "hugepages=4")
    assert changed_kargs(("root=X", *same), same, same) == ("root=X", *same)
    assert changed_kargs(("root=X", "quiet", "quiet"), ("quiet",), ()) == ("root=X", "quiet"), "the second one is the node's own"


def test_spaces_in_quotes_are_of_the_argument() -> None:
    line = 'root=X dyndbg="file a.c +p" "b c"=d  quiet'
    assert split(line) == ("root=X", 'dyndbg="file a.c +p"', '"b c"=d', "quiet")
    assert parse_kargs({"a.toml": b"""kargs = ['dyndbg="file a.c +p" quiet']"""}, "x86_64") == ('dyndbg="file a.c +p"', "quiet")


@pytest.mark.parametrize("argument", [r"foo=\"bar", "foo='bar'", r"a=b\\x2dc", r"a\nb"])
def test_what_no_kernel_would_be_given_as_it_stands_is_refused(argument: str) -> None:
    with pytest.raises(DiagnosticError, match=r"kargs\.d/a\.toml cannot be read") as caught:
        parse_kargs({"a.toml": f'kargs = ["quiet", "{argument}"]'.encode()}, "x86_64")
    assert caught.value.diagnostics[0].rule == "OST010"


@pytest.mark.parametrize(
    "argument",
    ["aistack.trial", "quiet aistack.trial", "aistack.trial=1", '"aistack.trial"', 'a="b aistack.trial"', "ostree=/evil", '"x ostree=/y"'],
)
def test_what_the_menu_alone_says_is_no_images_to_say(argument: str) -> None:
    """By `aistack.trial` a node would not see that the bootloader fell back, by `ostree=` another deployment would run than is chosen."""
    assert TRIAL_ARGUMENT in kargs.RESERVED
    with pytest.raises(DiagnosticError) as caught:
        parse_kargs({"a.toml": f"kargs = ['{argument}']".encode()}, "x86_64")
    assert caught.value.diagnostics[0].rule == "OST010"
    assert "the boot menu's to say" in caught.value.diagnostics[0].why[0]


def test_what_only_resembles_the_menus_own_words_is_handed_on() -> None:
    words = ("ostree.prepare-root.composefs=0", "rd.ostree=1", "aistack.trials", "x=aistack.trial", "x=ostree=1")
    assert parse_kargs({"a.toml": f"kargs = {list(words)}".encode()}, "x86_64") == words


def test_a_quote_too_many_of_the_nodes_own_is_told_before_libostree_aborts() -> None:
    with pytest.raises(DiagnosticError, match='`foo="bar` has a double quote too many'):
        deploy(None, "c", digest="d", reference="r", kernel_arguments=("quiet", 'foo="bar'))


def test_what_ostree_would_not_merge_is_found(tmp_path: Path) -> None:
    """A file as the booted image has it goes with that image; a folder, or a link to one, is merged or replaced."""
    etc, defaults = tmp_path / "etc", tmp_path / "usr/etc"
    for folder in (etc, defaults):
        (folder / "folder").mkdir(parents=True)
        (folder / "same").write_text("a")
        (folder / "link").symlink_to("same")
        (folder / "changed").write_text("a")
    (etc / "changed").write_text("b")
    (etc / "own").write_text("b")
    (etc / "folder/own").symlink_to("/nowhere")
    (etc / "to-a-folder").symlink_to("folder")
    os.mkfifo(etc / "pipe")
    names = ("same", "link", "changed", "own", "folder", "folder/own", "to-a-folder", "new")
    assert sorted(conflicts(etc, defaults, {f"/{name}" for name in names})) == [
        *(f"/etc/{name} is a folder in the image" for name in ("changed", "folder/own", "own")),
        "/etc/pipe is neither file nor link",
        "/etc/to-a-folder is a folder in the image",
    ]


@pytest.mark.parametrize(
    "layer",
    [
        {"digest": "d", "mediaType": "m"},
        {"digest": "d", "mediaType": "m", "size": -5},
        {"digest": "d", "mediaType": "m", "size": "5"},
        {"digest": "d", "mediaType": 5, "size": 5},
        {"digest": "d", "mediaType": "m", "size": 5, "annotations": {"io.aistack.unpacked-size": 5}},
    ],
)
def test_layers_that_a_manifest_does_not_describe_are_refused(tmp_path: Path, layer: dict[str, object]) -> None:
    store = Store(tmp_path / "store")
    manifest = json.loads(samples.blob(store, samples.image(store, [])).read_bytes()) | {"layers": [layer]}
    digest = f"sha256:{store.add(io.BytesIO(json.dumps(manifest).encode()))[0]}"
    with pytest.raises(DiagnosticError, match="is not an image"):
        ostree.read_image(LayoutFolder(store.path), digest)


def test_a_manifest_of_brackets_alone_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    digest = f"sha256:{store.add(io.BytesIO(b'[' * 100_000))[0]}"
    with pytest.raises(DiagnosticError, match="is not an image"):
        ostree.read_image(LayoutFolder(store.path), digest)


# From here on with the real libostree.

LOOK = """
import json, os, sys, subprocess
repo, commit, out = sys.argv[1:]
subprocess.run(["ostree", f"--repo={repo}", "fsck", "-q"], check=True)
subprocess.run(["ostree", f"--repo={repo}", "checkout", commit, out], check=True)
found = {}
for parent, folders, files in os.walk(out):
    for name in [*folders, *files]:
        path = os.path.join(parent, name)
        info = os.lstat(path)
        link = os.readlink(path) if os.path.islink(path) else None
        text = open(path, "rb").read().decode("latin-1") if os.path.isfile(path) and not link else None
        xattrs = {} if link else {key: os.getxattr(path, key).hex() for key in os.listxattr(path)}
        found[os.path.relpath(path, out)] = [oct(info.st_mode), info.st_uid, info.st_gid, link, text, xattrs]
shown = subprocess.run(["ostree", f"--repo={repo}", "show", "--raw", commit], check=True, capture_output=True, text=True).stdout
print(json.dumps({"files": found, "commit": shown}))
"""


def inside(tools: Path, store: Store, work: Path, argv: list[str], *, check: bool = True) -> Completed:
    binds = (
        Bind(source=Path(aistack.__file__).parent, target="/run/python/aistack"),
        Bind(source=store.path, target="/run/layout"),
        Bind(source=work, target="/run/work", writable=True),
    )
    environment = {"PYTHONPATH": "/run/python", "PYTHONDONTWRITEBYTECODE": "1"}
    return rootfs.enter(tools, argv, binds=binds, environment=environment, check=check)


def do_import(tools: Path, store: Store, work: Path, digest: str, repo: str = "repo") -> dict[str, object]:
    argv = ["python3", "-m", "aistack.host.ostree", "import", f"/run/work/{repo}", "/run/layout", digest]
    said = inside(tools, store, work, argv).stdout.splitlines()
    document = json.loads(said[-1])
    assert isinstance(document, dict)
    return document


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.mark.system
def test_a_hard_image_arrives_whole(tools_root: Path, store: Store, work: Path) -> None:
    first = samples.layer(
        [
            samples.folder("etc", mode=0o755),
            samples.file("etc/kept", b"kept"),
            samples.link("etc/also-kept", "etc/kept", hard=True),
            samples.file("etc/gone", b"gone"),
            samples.file("etc/shadow", b"s", mode=0o640, gid=42),
            samples.folder("usr"),
            samples.file("usr/ping", b"ping", mode=0o755, xattrs={"security.capability": samples.CAPABILITY, "user.note": b"n"}),
            samples.file("usr/su", b"su", mode=0o4755),
            samples.folder("home"),
            samples.file("home/x", b"x"),
            samples.folder("usr/opaque"),
            samples.file("usr/opaque/old", b"old"),
            samples.folder("usr/private", mode=0o700, uid=7),
            samples.file("usr/big", bytes(range(256)) * 20000),
            samples.device("usr/device"),
            samples.folder("dev"),
            samples.device("dev/null"),
            samples.file("dev/leak", b"leak"),
        ],
        "zstd",
    )
    second = samples.layer(
        [
            samples.file("etc/.wh.gone"),
            samples.link("home", "var/home"),
            samples.file("usr/opaque/.wh..wh..opq"),
            samples.file("usr/opaque/new", b"new"),
            samples.file("usr/private/more", b"more"),
            samples.folder("usr/ping2"),
        ],
        "gzip",
    )
    third = samples.layer([samples.file("usr/.wh.ping2"), samples.file("usr/ünïcode", b"u")])
    digest = samples.image(store, [first, second, third], {"io.aistack.lock": LOCK})
    done = do_import(tools_root, store, work, digest)
    looked = inside(tools_root, store, work, ["python3", "-c", LOOK, "/run/work/repo", str(done["commit"]), "/run/work/out"])
    document = json.loads(looked.stdout.splitlines()[-1])
    files = document["files"]
    assert files["usr/etc/kept"][4] == files["usr/etc/also-kept"][4] == "kept"
    assert files["usr/etc/shadow"][:3] == ["0o100640", 0, 42]
    assert files["usr/ping"][5] == {"security.capability": samples.CAPABILITY.hex(), "user.note": b"n".hex()}
    assert files["usr/su"][0] == "0o104755"
    assert files["home"][3] == "var/home"
    assert files["usr/private"][:2] == ["0o40700", 7]
    assert files["usr/private/more"][4] == "more"
    assert len(files["usr/big"][4]) == 256 * 20000
    assert files["tmp"][0] == "0o41777"
    assert [path for path in files if path.startswith("usr/opaque/")] == ["usr/opaque/new"]
    assert not [path for path in files if ".wh." in path or path.startswith(("dev/", "etc"))]
    assert not {"usr/etc/gone", "home/x", "usr/device", "usr/ping2"} & set(files)
    assert files["usr/ünïcode"][4] == "u"
    assert not any("aistack" in name for entry in files.values() for name in entry[5])
    assert digest in document["commit"]
    assert LOCK in document["commit"]


@pytest.mark.system
def test_the_commit_depends_on_the_image_alone(tools_root: Path, store: Store, work: Path) -> None:
    base = samples.layer([samples.folder("usr"), samples.file("usr/a", b"a")], "zstd")
    one = samples.image(store, [base, samples.layer([samples.file("usr/b", b"b")])])
    two = samples.image(store, [base, samples.layer([samples.file("usr/c", b"c")])])
    first = do_import(tools_root, store, work, one)
    second = do_import(tools_root, store, work, two)
    assert (first["new_layers"], second["new_layers"]) == (2, 1)
    again = do_import(tools_root, store, work, two)
    assert (again["new_layers"], again["commit"]) == (0, second["commit"])
    alone = do_import(tools_root, store, work, two, "other")
    assert alone["commit"] == second["commit"] != first["commit"]


@pytest.mark.system
def test_a_damaged_blob_leaves_nothing(tools_root: Path, store: Store, work: Path) -> None:
    data, media_type = samples.layer([samples.folder("usr"), samples.file("usr/a", b"harmless")])
    digest = samples.image(store, [(data, media_type)])
    manifest = json.loads(samples.blob(store, digest).read_bytes())
    blob = samples.blob(store, manifest["layers"][0]["digest"])
    blob.write_bytes(data.replace(b"harmless", b"harmful!"))
    argv = ["python3", "-m", "aistack.host.ostree", "import", "/run/work/repo", "/run/layout", digest]
    failed = inside(tools_root, store, work, argv, check=False)
    assert failed.returncode != 0
    assert "damaged" in failed.stderr
    refs = inside(tools_root, store, work, ["ostree", "--repo=/run/work/repo", "refs"]).stdout
    assert refs.strip() == ""


ODD = """
import sys
from pathlib import Path
from aistack.compose.render.grub import TRIAL_ARGUMENT
from aistack.diagnostics import DiagnosticError
from aistack.host import ostree
from aistack.host.blobs import LayoutFolder
for digest in sys.argv[1:]:
    try:
        ostree.import_image(Path("/run/work/repo"), LayoutFolder(Path("/run/layout")), digest)
        print("imported")
    except DiagnosticError as error:
        print(error.diagnostics[0].rule)
"""


@pytest.mark.system
def test_layers_that_no_file_system_can_hold_are_told(tools_root: Path, store: Store, work: Path) -> None:
    """The last one is in order: those before it leave the repository as it was."""
    names = {"latin-1": b"usr/caf\xe9", "deep": b"d/" * 1500 + b"f"}
    odd = [samples.file(name.decode(errors="surrogateescape")) for name in names.values()]
    for uid in (1 << 33, -1):
        odd.append(samples.file("usr/x"))
        odd[-1][0].uid = uid
    layers = [_packed([one]) for one in odd] + [(b"no tar archive" * 999, samples.layer([])[1])]
    layers.append(samples.layer([samples.file("usr/x")]))
    digests = [samples.image(store, [one]) for one in layers]
    said = inside(tools_root, store, work, ["python3", "-c", ODD, *digests])
    assert said.stdout.split() == ["OST008"] * 5 + ["imported"]


def _packed(members: list[tuple[tarfile.TarInfo, bytes]]) -> tuple[bytes, str]:
    """As GNU tar does it, which says bytes and negative numbers."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue(), samples.layer([])[1]
