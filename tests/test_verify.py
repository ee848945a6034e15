"""verify: an image read back from its layers, held against its lock; each thing broken in turn is named."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import elf_samples
import pytest
from images_read import DIGEST, LOCK, NODE, QUADLET, STATUS, Files, healthy, owned, read
from images_read import SYSTEMD_UNITS as UNITS
from kernel_samples import KERNEL

from aistack.compose import render
from aistack.compose.findings import Finding, Outcome
from aistack.compose.gates import HELD
from aistack.compose.lock import Lock, LockedAccelerator, LockedApp, encode, identity
from aistack.compose.node_program import PACKAGE, Program
from aistack.compose.quadlets import GENERATOR, GENERATORS
from aistack.compose.render import units
from aistack.compose.render.system import BOUND_IMAGES, QUADLETS
from aistack.compose.verify import (
    LOCK_LABEL,
    LOCK_PATH,
    described,
    verify_app,
    verify_base,
    verify_carried,
    verify_image,
    verify_system,
    verify_upstream,
)
from aistack.facts.files import RenderedFile
from aistack.facts.filesystem import Filesystem
from aistack.facts.pins import LockedBlob, LockedImage, LockedWheel
from aistack.host.layers import Entry

RENDER = f"{PACKAGE}/compose/render"


def verdict(found: Filesystem, lock: Lock = LOCK) -> dict[str, Outcome]:
    return {finding.name: finding.outcome for finding in verify_system(found, lock, {"app-web": DIGEST})}


def test_an_image_that_is_what_its_lock_says(tmp_path: Path) -> None:
    assert set(verdict(read(tmp_path, [healthy()])).values()) == {Outcome.YES}


def with_file(path: str, content: bytes | Entry | str) -> Callable[[Files], None]:
    return lambda files: files.update({path: content})


def without(path: str) -> Callable[[Files], None]:
    return lambda files: files.__delitem__(path)


THEIRS_TOO = b"[Container]\nImage=docker.io/theirs/x:latest\n"
MORE: Files = {
    f"{QUADLETS}/more.container": THEIRS_TOO,
    "/etc/containers/systemd/more.container": THEIRS_TOO.replace(b":latest", f"@{DIGEST}".encode()),
    "/etc/containers/systemd/users/more.image": QUADLET.replace(b"1111", b"2222"),
    "/var/roothome/.config/containers/systemd/more.container": THEIRS_TOO,
    "/etc/containers/systemd/web.container.d/image.conf": THEIRS_TOO,
    "/etc/containers/systemd/more.volume": b"[Volume]\nDriver=image\n Image = \\\n docker.io/theirs/x\n",
    f"{QUADLETS}/more.kube": b"[Kube]\nYaml=more.yaml\n",
    f"{QUADLETS}/more.build": b"[Build]\nImageTag=localhost/more\n",
}
"""Quadlets that run what the lock does not bind."""
SAME: Files = {
    f"{QUADLETS}/again.container": QUADLET + b"Image=\nImage=web.image\n",
    f"{QUADLETS}/web.image": QUADLET,
    f"{QUADLETS}/web.container.d/memory.conf": b"[Container]\nPodmanArgs=--memory 1g\n#Image=docker.io/theirs/x\n",
    f"{QUADLETS}/more.network": b"[Network]\n",
    "/etc/systemd/system-generators/systemd-sysv-generator": "/dev/null",
    f"{QUADLETS}/README": b"Image=docker.io/theirs/x\n",
    "/etc/containers/systemd/gone.container": "/dev/null",
    "/etc/containers/systemd/linked.container": f"{QUADLETS}/web.container",
}
"""Quadlets that run nothing else."""

OFF: Files = {
    "/etc/systemd/system/aistack-check.service": "/dev/null",
    "/usr/local/lib/systemd/system/aistack-confirm.service": b"[Service]\nExecStart=/usr/bin/echo\n",
    f"{UNITS}/aistack-deadline.service": "/dev/null",
    f"{UNITS}/aistack-check.service": b"[Service]\nExecStart=/usr/bin/echo\n",
    **{
        f"{UNITS}/{unit}": b"\0" * 99
        for unit in ("aistack-esp.service", "aistack-update.timer", "aistack-watch.service", "aistack-cdi.service")
    },
    f"{UNITS}/aistack-confirm.service": units.CONFIRM.replace("[Service]", "[Servce]").encode(),
    f"{UNITS}/aistack-deadline.timer": units.DEADLINE_TIMER.replace("30min", "99d").encode(),
    "/usr/libexec/aistack/grub-config": b"#!/bin/sh\n",
    f"{UNITS}/multi-user.target.wants/aistack-check.service": "../multi-user.target",
    "/etc/systemd/system/aistack-check.service.d/x.conf": b"[Service]\nExecStart=\nExecStart=/bin/true\n",
    f"{UNITS}/aistack-.service.d/x.conf": b"[Unit]\nConditionPathExists = /etc/gone\n",
    "/etc/systemd/system/aistack-deadline.timer.d/x.conf": b"[Timer]\nOnBootSec=30d\n",
    "/usr/lib/bootc/kargs.d/90.toml": b'kargs = ["systemd.mask=aistack-check.service"]\n',
    "/usr/lib/bootc/kargs.d/91.toml": b'kargs = ["systemd.mask=aistack-confirm"]\n',
    **{f"/etc/systemd/system/{name}.target": "/dev/null" for name in ("multi-user", "boot-complete", "sysinit", "basic", "emergency")},
    "/etc/systemd/system/default.target": f"{UNITS}/rescue.target",
    "/etc/systemd/system/multi-user.target.wants/aistack-check.service": "/dev/null",
    "/etc/systemd/system/service.d/10.conf": b"[Unit]\nConditionPathExists=/nowhere\n",
    "/usr/lib/systemd/system/timer.d/10.conf": b"[Timer]\nOnBootSec=\n",
    "/etc/systemd/system/service.d/11.conf": b"[Service]\nEnvironment=\n",
    "/etc/systemd/system/service.d/12.conf": b'[Service]\nEnvironment="A=b" "PYTHONPATH=/opt"\n',
    "/usr/lib/bootc/kargs.d/92.toml": b'kargs = ["systemd.unit=emergency.target"]\n',
    "/usr/lib/bootc/kargs.d/93.toml": b'kargs = ["single"]\n',
    "/usr/lib/bootc/kargs.d/94.toml": b'kargs = ["systemd.unit=own.target"]\n',
    "/usr/lib/bootc/kargs.d/95.toml": b'kargs = ["systemd.mask=sysinit.target"]\n',
    f"{NODE}/agent.py": b"",
    f"{NODE}/gate.py": b"def look(: ...\n",
}
"""What switches the gates off."""
STILL_ON: Files = {
    "/etc/systemd/system/aistack-check.service.d/x.conf": b"[Service]\nTimeoutStartSec=1200\n#ExecStart=\n[Unit]\nAfter=a.service\n",
    "/etc/systemd/system/aistack-confirm.service.d/x.conf": "/dev/null",
    "/etc/systemd/system/aistack-update.timer.d/x.conf": b"[Timer]\nOnCalendar=daily\n",
    "/etc/systemd/system/aistack-watch.timer": "/dev/null",
    "/etc/systemd/system/aistack-che.service.d/x.conf": b"[Service]\nExecStart=/bin/true\n",
    "/usr/lib/bootc/kargs.d/90.toml": b'kargs = ["systemd.mask=a.service", "rd.systemd.mask=aistack-check.service"]\n',
    "/usr/lib/bootc/kargs.d/91.toml": b'kargs = ["single", "systemd.unit=kiosk.target", "rd.systemd.unit=emergency.target"]\n',
    "/etc/systemd/system/kiosk.target": b"[Unit]\nBindsTo=kiosk.service\nWants=\\\n masked.service multi-user.target\n",
    "/etc/systemd/system/masked.service": "/dev/null",
    "/etc/systemd/system/service.d/10.conf": b"[Service]\nEnvironment=HTTPS_PROXY=http://proxy:1\nEnvironmentFile=-/etc/proxy\n",
    "/usr/lib/systemd/system/service.d/10-timeout-abort.conf": b"[Service]\nTimeoutStopFailureMode=abort\n",
    "/usr/lib/systemd/system/multi-user.target.wants/masked.service": "../masked.service",
    f"{NODE}/beside.py": b"import aistack.gone\n",
}
"""Settings of the gates, and of other units, that leave them on."""


def test_what_leaves_the_gates_on_is_no_fault(tmp_path: Path) -> None:
    assert verdict(read(tmp_path, [healthy(), STILL_ON]))["gates"] is Outcome.YES


def test_what_switches_the_gates_off_is_named(tmp_path: Path) -> None:
    found = read(tmp_path, [healthy(), {path: content for path, content in OFF.items() if "check" in path}])
    (finding,) = (one for one in verify_system(found, LOCK, {"app-web": DIGEST}) if one.name == "gates")
    assert f"{UNITS}/aistack-check.service is not what aistack makes" in finding.message
    assert "/etc/systemd/system/aistack-check.service takes the place of the unit" in finding.message
    assert "/etc/systemd/system/aistack-check.service.d/x.conf sets ExecStart" in finding.message


def test_units_of_another_version_are_what_that_version_makes(tmp_path: Path) -> None:
    """An image says itself what its aistack makes of the units, and a base says nothing yet."""
    check = units.CHECK.replace("TimeoutStartSec=600", "TimeoutStartSec=700").replace("aistack: is", "aistack 2: is")
    texts = b'from aistack.compose.render.more import SECONDS\nCHECK = f"""' + check.replace("700", "{SECONDS}").encode() + b'"""\n'
    older: Files = {
        f"{RENDER}/more.py": b'SECONDS = "700"\nSELF = SELF\n',
        f"{RENDER}/units.py": texts,
        f"{RENDER}/node.py": b"""from aistack.compose.render import more, units
UNITS = "/usr/lib/systemd/system"
def render_node():
    return [_file(f"{UNITS}/aistack-check.service", units.CHECK), _file(more.SELF, more.GONE), _file(UNITS, 1), _file("/a", len("a"))]
""",
        f"{UNITS}/aistack-check.service": check.encode(),
    }
    found = read(tmp_path, [healthy(), older])
    assert verdict(found)["gates"] is Outcome.YES
    assert Program(found).made() == {f"{UNITS}/aistack-check.service": check.encode()}
    changed = read(tmp_path, [{f"{UNITS}/aistack-check.service": check.replace("700", "701").encode()}], found)
    assert verdict(changed)["gates"] is Outcome.NO
    assert verdict(read(tmp_path, [{f"{RENDER}/.wh.units.py": b""}], found))["gates"] is Outcome.NO


def test_a_program_says_every_file_that_its_gates_are_held_to(tmp_path: Path) -> None:
    sources: Files = {f"{RENDER}/{file.name}": file.read_bytes() for file in Path(render.__file__).parent.glob("*.py")}
    told = Program(read(tmp_path, [sources])).made()
    made = (file for file in (*render.render_node(), *render.render_driver("nvidia")) if isinstance(file, RenderedFile))
    held = {file.path: file.content for file in made if HELD.fullmatch(file.path)}
    assert len(held) > 20 and held.items() <= told.items()


class Counted(list[ast.stmt]):
    """Statements that count how often they are gone through."""

    times = 0

    def __iter__(self) -> Iterator[ast.stmt]:
        self.times += 1
        return super().__iter__()


def test_a_program_is_gone_through_once_for_all_its_names(tmp_path: Path) -> None:
    """Programs have thousands of names, which would take minutes if all of them were looked at for each."""
    text = "".join(f'from aistack.a import b{one}\nc{one} = "/{one}"\nmade(c{one}, c{one})\nmade(b{one}, "")\n' for one in range(20))
    program = Program(read(tmp_path, [{f"{RENDER}/node.py": text.encode(), f"{PACKAGE}/a.py": b'b1 = "/b"\n'}]))
    trees = [tree for name in ("aistack.compose.render.node", "aistack.a") if (tree := program.module(name))]
    for tree in trees:
        tree.body = Counted(tree.body)
    assert program.made() == {"/b": b"", **{f"/{one}": f"/{one}".encode() for one in range(20)}}
    assert len(set(program.imported(trees[0]))) == 20
    assert [tree.body.times for tree in trees if isinstance(tree.body, Counted)] == [3, 2]


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"a{one} = a{one + 1}\n" for one in range(2000)) + 'a2000 = ""\nmade("/far", a0)\n',
        "".join(f"from aistack.compose.render.node import a{one + 1} as a{one}\n" for one in range(2000))
        + 'a2000 = ""\nmade("/far", a0)\n',
        "".join(f'a{one} = f"{{a{one + 1}}}"\n' for one in range(500)) + 'a500 = ""\nmade("/far", a0)\n',
        f'made("/far", ""{".encode()" * 900})\n',
    ],
)
def test_a_text_that_is_too_far_away_is_not_sought(text: str, tmp_path: Path) -> None:
    near = "".join(f"b{one} = b{one + 1}\n" for one in range(9)) + 'b9 = ""\nmade("/near", b0)\n'
    found = read(tmp_path, [{f"{RENDER}/node.py": (text + near).encode()}])
    assert Program(found).made() == {"/near": b""}


def test_a_text_may_be_none_that_a_file_can_hold(tmp_path: Path) -> None:
    found = read(tmp_path, [{f"{RENDER}/node.py": b'made("/a", "\\ud800")\n'}])
    assert Program(found).made() == {"/a": b"\xed\xa0\x80"}


@pytest.mark.parametrize("masked", ["/dev/null", b""])
def test_what_needs_a_masked_unit_is_not_started(masked: bytes | str, tmp_path: Path) -> None:
    needs: Files = {"/usr/lib/systemd/system/multi-.target.d/x.conf": b"[Unit]\nBindsTo=disk.mount\n"}
    assert verdict(read(tmp_path, [healthy(), needs]))["gates"] is Outcome.YES  # what a generator may make
    found = read(tmp_path, [healthy(), needs, {"/etc/systemd/system/disk.mount": masked}])
    (finding,) = (one for one in verify_system(found, LOCK, {"app-web": DIGEST}) if one.name == "gates")
    assert finding.message.endswith("multi-user.target, sysinit.target: /etc/systemd/system/disk.mount masks disk.mount")


def test_a_lost_part_of_the_gates_program_is_named(tmp_path: Path) -> None:
    for lost in ("agent", "gate"):
        found = read(tmp_path / lost, [healthy(), {f"{NODE}/.wh.{lost}.py": b""}])
        (finding,) = (one for one in verify_system(found, LOCK, {"app-web": DIGEST}) if one.name == "gates")
        assert f"aistack.node.{lost} is not there" in finding.message
        assert {one.name: one.outcome for one in verify_base(without_lock(found), LOCK)}["gates"] is Outcome.YES


def without_lock(found: Filesystem) -> Filesystem:
    return dataclasses.replace(found, entries={path: entry for path, entry in found.entries.items() if path != LOCK_PATH})


def test_quadlets_that_run_what_is_bound_are_the_locks(tmp_path: Path) -> None:
    assert verdict(read(tmp_path, [healthy(), SAME]))["bound-images"] is Outcome.YES


@pytest.mark.parametrize("path", [*(f"{folder}/{GENERATOR}" for folder in GENERATORS), "/usr/libexec/podman/quadlet"])
def test_a_program_that_makes_units_of_quadlets_is_one_wherever_it_lies(path: str, tmp_path: Path) -> None:
    assert verdict(read(tmp_path, [healthy(), {path: owned(elf_samples.binary())}]))["bound-images"] is Outcome.YES


def test_what_the_lock_does_not_bind_is_named(tmp_path: Path) -> None:
    linked: Files = {"/etc/containers/systemd/linked.container": "/usr/share/theirs", "/usr/share/theirs": THEIRS_TOO}
    found = read(tmp_path, [healthy(), MORE, linked])
    (finding,) = (one for one in verify_system(found, LOCK, {"app-web": DIGEST}) if one.name == "bound-images")
    assert "/etc/containers/systemd/linked.container leads to /usr/share/theirs, which is in no folder of quadlets" in finding.message
    assert f"/etc/containers/systemd/more.container runs docker.io/theirs/x@{DIGEST}, which the lock does not bind" in finding.message


def test_a_bound_quadlet_that_is_elsewhere_is_told_to_be_unread(tmp_path: Path) -> None:
    found = read(tmp_path, [healthy(), {f"{BOUND_IMAGES}/x.image": "/usr/share/theirs", "/usr/share/theirs": THEIRS_TOO}])
    (finding,) = (one for one in verify_image(found, bootable=True) if one.name == "bound-links")
    assert finding.outcome is Outcome.UNKNOWN and "leads to /usr/share/theirs" in finding.message


@pytest.mark.parametrize(
    ("check", "change"),
    [
        ("packages", with_file("/usr/lib/sysimage/dpkg/status", STATUS.replace(b"0.5.12-12", b"0.5.12-13"))),
        ("packages", with_file("/usr/lib/sysimage/dpkg/status", STATUS + STATUS.replace(b"dash", b"more"))),
        ("lock", with_file(LOCK_PATH, encode(dataclasses.replace(LOCK, memory_mib=1)))),
        ("lock", without(LOCK_PATH)),
        ("locked-kernel", with_file("/usr/lib/modules/6.1.0/vmlinuz", b"older")),
        ("locked-kernel", with_file("/usr/lib/modules/6.1.0/kernel/a.ko", b"older")),
        ("bound-images", with_file(f"{QUADLETS}/web.container", QUADLET.replace(b"111@", b"")[:-10])),
        ("bound-images", with_file(f"{QUADLETS}/web.container", QUADLET.replace(b"1111", b"2222"))),
        ("bound-images", without(f"{BOUND_IMAGES}/web.container")),
        *(("gates", with_file(path, content)) for path, content in OFF.items()),
        *(("bound-images", with_file(f"{folder}/{GENERATOR}", "/dev/null")) for folder in GENERATORS),
        ("bound-images", without(f"/usr/lib/systemd/system-generators/{GENERATOR}")),
        ("bound-images", without("/usr/libexec/podman/quadlet")),
        ("bound-images", with_file(f"/etc/systemd/system-generators/{GENERATOR}", b"")),
        ("bound-images", with_file("/usr/libexec/podman/quadlet", owned(b""))),
        ("bound-images", with_file("/usr/libexec/podman/quadlet", owned(elf_samples.binary()[:-20]))),
        ("bound-images", with_file("/usr/libexec/podman/quadlet", b"#!/usr/bin/gone\n")),
        ("bound-images", with_file("/usr/libexec/podman/quadlet", owned(elf_samples.binary(), mode=0o644))),
        ("bound-images", with_file(f"/usr/lib/systemd/system-generators/{GENERATOR}", "/usr/bin/dash")),
        ("gates", without(f"{UNITS}/aistack-check.service")),
        ("gates", without(f"{UNITS}/multi-user.target.wants/aistack-confirm.service")),
        ("gates", without(f"{UNITS}/boot-complete.target.requires/aistack-confirm.service")),
        ("gates", without(f"{UNITS}/sysinit.target.wants/aistack-deadline.timer")),
        *(("bound-images", with_file(path, content)) for path, content in MORE.items()),
    ],
)
def test_each_thing_broken_is_named(check: str, change: Callable[[Files], None], tmp_path: Path) -> None:
    files = healthy()
    change(files)
    assert verdict(read(tmp_path, [files]))[check] is Outcome.NO


def test_a_base_is_held_to_all_but_what_a_system_image_adds(tmp_path: Path) -> None:
    found = read(tmp_path, [healthy()])
    system = {finding.name for finding in verify_system(found, LOCK, {"app-web": DIGEST})}
    assert {finding.name for finding in verify_base(found, LOCK)} == system - {"lock", "bound-images"}
    other = dataclasses.replace(
        LOCK, components=(("kernel", "6.1.0"),), roots=(("base", dataclasses.replace(LOCK.root("base"), packages=())),)
    )
    said = {finding.name: finding.message for finding in verify_base(found, other) if finding.outcome is Outcome.NO}
    assert said == {"packages": "dash 0.5.12-12 is in the image only", "locked-kernel": f"kernels: {KERNEL}; the lock says 6.1.0"}


def test_every_check_is_described(tmp_path: Path) -> None:
    found = read(tmp_path, [healthy()])
    accelerated = dataclasses.replace(LOCK, accelerator=LockedAccelerator(product="nvidia/l4", count=1, firmware=("a",)))
    said = [*verify_system(found, accelerated, {"app-web": DIGEST}), *verify_app(found, LOCK, APP), *verify_upstream(found, THEIRS, "", "")]
    assert {finding.name for finding in said} <= described().keys()
    assert all(text for text, _ in described().values())


def test_without_a_package_database_it_cannot_tell(tmp_path: Path) -> None:
    files = healthy()
    del files["/usr/lib/sysimage/dpkg/status"]
    assert verdict(read(tmp_path, [files]))["packages"] is Outcome.UNKNOWN


def carried(found: Filesystem, label: str) -> dict[str, Outcome]:
    return {finding.name: finding.outcome for finding in verify_carried(found, {LOCK_LABEL: label})}


def test_an_image_is_held_to_the_lock_that_it_carries(tmp_path: Path) -> None:
    files = healthy()
    assert carried(read(tmp_path, [files]), identity(LOCK))["bound-images"] is Outcome.NO  # LOCK itself has no app
    del files[f"{BOUND_IMAGES}/web.container"], files[f"{QUADLETS}/web.container"]
    found = read(tmp_path, [files])
    assert set(carried(found, identity(LOCK)).values()) == {Outcome.YES}
    for generator in ("/dev/null", b""):  # without a quadlet it may be masked, but not broken
        masked = read(tmp_path, [files, {f"/etc/systemd/system-generators/{GENERATOR}": generator}])
        assert (carried(masked, identity(LOCK))["bound-images"] is Outcome.YES) == (generator == "/dev/null")
    assert carried(found, "sha256:0")["lock"] is Outcome.NO
    assert carried(read(tmp_path, [files, {"/usr/lib/modules/6.1.0/vmlinuz": b"older"}]), identity(LOCK))["locked-kernel"] is Outcome.NO
    assert carried(read(tmp_path, [files, {LOCK_PATH: b"{}"}]), identity(LOCK)) == {"lock": Outcome.NO}
    assert carried(read(tmp_path, [{"/etc/motd": b""}]), "") == {}


def test_whiteouts_and_replaced_folders_are_followed(tmp_path: Path) -> None:
    lower: Files = {"/a/file": b"1", "/b/one": b"1", "/b/two": b"2", "/home/user/file": b"3", "/gone/file": b"5"}
    upper: Files = {"/a/.wh.file": b"", "/b/!new": b"4", "/b/.wh..wh..opq": b"", "/home": "var/home", "/.wh.gone": b""}
    found = read(tmp_path, [lower, upper])
    assert not {"/a/file", "/b/one", "/b/two", "/home/user/file", "/gone/file"} & found.entries.keys()
    assert "/b/!new" in found.entries  # stands before the marker in its layer
    assert found.entries["/home"].target == "var/home"


BLOB = LockedBlob(sha256="1" * 64, size=1, media_type="m")
THEIRS = LockedApp(
    name="web", framework=None, version=None, root=None, python=None, wheels=(), models=(), command=("serve", "--now"), environment=(),
    port=None, health=None, image=LockedImage(reference="registry.example/web:1", manifest=BLOB, config=BLOB, layers=(BLOB,)),
)  # fmt: skip


def test_an_image_that_others_built_is_held_against_its_digest_and_its_program(tmp_path: Path) -> None:
    """What else it holds is theirs: logs and open folders are not ours to mend."""
    lower: Files = {"/opt/v1/bin/serve": b"", "/var/log/dpkg.log": b"x", "/srv": Entry(path="srv", kind=b"5", mode=0o777)}
    links: Files = {"/opt/now": "v1", "/bin": "usr/bin", "/usr/bin/run": "../../opt/now/bin/serve", "/circle": "circle/x"}
    found = read(tmp_path, [lower, links])

    def outcomes(app: LockedApp, digest: str = DIGEST, path: str = "/nowhere:/opt/now/bin") -> list[Outcome]:
        return [finding.outcome for finding in verify_upstream(found, app, digest, path)]

    assert outcomes(THEIRS) == [Outcome.YES, Outcome.YES]
    assert outcomes(THEIRS, digest="sha256:" + "2" * 64) == [Outcome.NO, Outcome.YES]
    assert outcomes(THEIRS, path="/nowhere") == [Outcome.YES, Outcome.NO]
    for program, there in (("/bin/run", Outcome.YES), ("/bin/walk", Outcome.NO), ("/circle/x", Outcome.NO)):
        assert outcomes(dataclasses.replace(THEIRS, command=(program,))) == [Outcome.YES, there]
    assert outcomes(dataclasses.replace(THEIRS, environment=(("PATH", "/bin"),), command=("run",))) == [Outcome.YES, Outcome.YES]


SITE = "/opt/app/lib/python3.13/site-packages"
APP = LockedApp(
    name="app", framework="sums", version="1.0", root="base", python="3.13", models=(), command=("sums",), environment=(), port=None,
    health=None, wheels=(LockedWheel(name="typing-extensions", version="4.16.0", filename="t.whl", sha256="b" * 64, size=1),),
)  # fmt: skip


def with_wheels() -> Files:
    record = "typing_extensions.py,sha256=x,1\ntyping_extensions-4.16.0.dist-info/RECORD,,\n../../../bin/sums,sha256=y,1\n"
    return {
        "/opt/app/pyvenv.cfg": b"",
        "/opt/app/bin/python": "/usr/bin/python3.13",
        "/opt/app/bin/sums": b"#!/opt/app/bin/python",
        f"{SITE}/typing_extensions.py": b"",
        f"{SITE}/__pycache__/typing_extensions.cpython-313.pyc": b"",
        f"{SITE}/typing_extensions-4.16.0.dist-info/RECORD": record.encode(),
    }


def judged(found: Filesystem) -> Finding:
    (finding,) = (finding for finding in verify_app(found, LOCK, APP) if finding.name == "wheels")
    return finding


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (with_file("/opt/app/bin/python", "/usr/bin/python3.13"), None),
        (with_file(f"{SITE}/left_over.py", b""), f"{SITE}/left_over.py is of no wheel"),
        (with_file(f"{SITE}/__pycache__/left_over.cpython-313.pyc", b""), "is of no wheel"),
        (with_file(f"{SITE}/more-1.0.dist-info/RECORD", b"more-1.0.dist-info/RECORD,,"), "more 1.0 is in the image only"),
        (without(f"{SITE}/typing_extensions-4.16.0.dist-info/RECORD"), "typing-extensions 4.16.0 is in the lock only"),
        (with_file(f"{SITE}/typing_extensions-4.15.0.dist-info/RECORD", b""), "typing-extensions 4.15.0 is in the image only"),
        (with_file(f"{SITE}/typing_extensions-4.16.0.dist-info/RECORD", b"x" * 200_000), "typing_extensions.py is of no wheel"),
    ],
)
def test_an_apps_wheels_are_those_of_the_lock(change: Callable[[Files], None], said: str | None, tmp_path: Path) -> None:
    files = with_wheels()
    change(files)
    finding = judged(read(tmp_path, [files]))
    assert finding.outcome is (Outcome.NO if said else Outcome.YES), finding.message
    assert said is None or said in finding.message
