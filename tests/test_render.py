"""The text that goes into images: units, quadlets, settings; judged by the real systemd and podman where they are at hand."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from node_samples import APP, LOCK, MODEL, digests

from aistack.compose.lock import Lock, LockedAccelerator, decode
from aistack.compose.render import Rendered, RenderedFile, RenderedLink, image_names, render_node, render_system, slug
from aistack.compose.render.node import UNITS
from aistack.facts.pins import Archive
from aistack.host import apt, rootfs
from aistack.host.store import Store, default_path

CONTAINER = "/usr/share/containers/systemd/app-embed.container"
AWKWARD = ("", "plain", "a b", "100%", "%h", "$HOME", "${HOME}", 'say "hi"', "it's", "back\\slash", "semi;colon", "#hash", "ü")


def by_path(files: tuple[Rendered, ...]) -> dict[str, Rendered]:
    named = {file.path: file for file in files}
    assert len(named) == len(files), "a path is written twice"
    return named


def text(files: tuple[Rendered, ...], path: str) -> str:
    file = by_path(files)[path]
    assert isinstance(file, RenderedFile)
    return file.content.decode()


def test_a_quadlet_says_the_whole_app() -> None:
    images = digests(LOCK)
    assert text(render_system(LOCK, images), CONTAINER) == (
        "[Unit]\n"
        "Description=app embed: llama.cpp 1.0\n"
        "Requires=aistack-check.service aistack-models.service\n"
        "After=aistack-check.service aistack-models.service network.target\n"
        "Before=aistack-confirm.service\n"
        "\n"
        "[Quadlet]\n"
        "DefaultDependencies=false\n"
        "\n"
        "[Container]\n"
        "ContainerName=embed\n"
        f"Image=localhost/aistack/app-embed@sha256:{1:064x}\n"
        "Pull=never\n"
        "GlobalArgs=--storage-opt=additionalimagestore=/usr/lib/bootc/storage\n"
        "Volume=/run/aistack/models/Org/Model-1:/models/Org/Model-1:ro\n"
        "Environment=LANG=C.UTF-8\n"
        "Entrypoint=llama-server\n"
        "Exec=--model /models/Org/Model-1/model.gguf --port 8080\n"
        "Network=host\n"
        "User=65534\n"
        "Group=65534\n"
        "ReadOnly=true\n"
        "NoNewPrivileges=true\n"
        "DropCapability=all\n"
        "LogDriver=journald\n"
        "\n"
        "[Service]\n"
        "Restart=on-failure\n"
        "RestartSec=5\n"
        "TimeoutStartSec=300\n"
        "\n"
        "[Install]\n"
        "WantedBy=multi-user.target\n"
    )


def test_every_image_is_bound_by_digest_where_an_update_engine_looks() -> None:
    images = digests(LOCK)
    files = render_system(LOCK, images)
    bound = [file for file in files if file.path.startswith("/usr/lib/bootc/bound-images.d/")]
    said = {re.search(r"^Image=(\S+)$", text(files, file.target), re.MULTILINE)[1] for file in bound if isinstance(file, RenderedLink)}  # type: ignore[index]
    assert said == {f"{name}@{digest}" for name, digest in images.items()}
    assert image_names(LOCK) == ("localhost/aistack/app-embed", "localhost/aistack/model-org--model-1")
    assert slug("Qwen/Qwen3-8B") == "qwen--qwen3-8b"


def test_the_lock_travels_unchanged() -> None:
    assert decode(text(render_system(LOCK, digests(LOCK)), "/usr/lib/aistack/lock.json").encode()) == LOCK


def test_an_image_that_was_not_built_is_an_error() -> None:
    with pytest.raises(KeyError, match="model-org--model-1"):
        render_system(LOCK, {"localhost/aistack/app-embed": "sha256:" + "1" * 64})


@pytest.mark.parametrize(
    ("settings", "path", "target"),
    [
        ((("time-zone", "Europe/Berlin"),), "/etc/localtime", "../usr/share/zoneinfo/Europe/Berlin"),
        ((("time-zone", "credential"),), "/etc/localtime", None),
        ((), "/etc/localtime", None),
        ((("ssh", "none"),), "/etc/systemd/system/ssh.service", "/dev/null"),
        ((("ssh", "credential"),), "/etc/systemd/system/ssh.service", None),
    ],
)
def test_the_recipes_node_settings(settings: tuple[tuple[str, str], ...], path: str, target: str | None) -> None:
    file = by_path(render_system(replace(LOCK, node=settings), digests(LOCK))).get(path)
    assert (file.target if isinstance(file, RenderedLink) else None) == target


def test_an_app_without_a_model_waits_for_none() -> None:
    lock = replace(LOCK, apps=(replace(APP, models=()),), models=())
    assert "aistack-models" not in text(render_system(lock, digests(lock)), CONTAINER)


def test_an_emergency_ends_without_hands() -> None:
    """At once where GRUB counts the start; else after a while, unless the second gate has spoken: then somebody asked for it."""
    files = render_node()
    for unit in ("aistack-deadline.service", "aistack-emergency.timer"):
        assert by_path(files)[f"{UNITS}/emergency.target.wants/{unit}"] == RenderedLink(
            path=f"{UNITS}/emergency.target.wants/{unit}", target=f"../{unit}"
        )
    deadline, timer = (text(files, f"{UNITS}/{unit}").splitlines() for unit in ("aistack-deadline.service", "aistack-emergency.timer"))
    assert {"ConditionKernelCommandLine=aistack.trial", "SuccessAction=reboot-force"} <= set(deadline)
    assert {"Unit=reboot.target", "PartOf=emergency.target"} <= set(timer) and not any("aistack.trial" in line for line in timer)
    for lines in (deadline, timer):
        assert {"DefaultDependencies=no", "ConditionPathExists=!/run/aistack/confirm.json"} <= set(lines)


def test_both_layers_share_no_path_and_are_sorted() -> None:
    files = (*render_node(), *render_system(LOCK, digests(LOCK)))
    by_path(files)
    for part in (render_node(), render_system(LOCK, digests(LOCK))):
        assert [file.path for file in part] == sorted(file.path for file in part)


def test_the_shell_scripts_parse() -> None:
    scripts = [file for file in render_node() if isinstance(file, RenderedFile) and file.content.startswith(b"#!/bin/sh")]
    assert len(scripts) >= 3
    for script in scripts:
        subprocess.run(["sh", "-n"], input=script.content, check=True)
        assert script.mode == 0o755


def test_the_exit_code_is_written_by_the_instruction_that_it_says() -> None:
    """0x3d to port 0xf4, as bytes: `mov dx, imm16`, `mov al, imm8`, `out dx, al`, `ret`."""
    said = re.search(r'fromhex\("([0-9a-f]+)"\)', text(render_node(), "/usr/lib/systemd/system-shutdown/50-aistack"))
    assert said is not None
    assert bytes.fromhex(said[1]) == b"\x66\xba\xf4\x00" + b"\xb0\x3d" + b"\xee" + b"\xc3"
    assert (0x3D << 1) | 1 == 123


def test_the_proxy_generator_says_what_the_credentials_hold(tmp_path: Path) -> None:
    script = text(render_node(), "/usr/lib/systemd/system-environment-generators/50-aistack-proxy")
    (tmp_path / "aistack.https_proxy").write_text("http://proxy.example:3128\n")
    said = subprocess.run(
        ["sh", "-c", script.replace("/run/credentials/@system", str(tmp_path))], capture_output=True, text=True, check=True
    )
    assert said.stdout == "https_proxy=http://proxy.example:3128\nHTTPS_PROXY=http://proxy.example:3128\n"


def test_how_a_start_began_is_told_by_what_the_last_one_left(tmp_path: Path) -> None:
    script = text(render_node(), "/usr/libexec/aistack/start")
    for name in ("var/lib", "run"):
        (tmp_path / name / "aistack").mkdir(parents=True)
        script = script.replace(f"/{name}/aistack", f"{tmp_path}/{name}/aistack")

    def begin() -> str:
        subprocess.run(["sh", "-c", script, "start", "began"], check=True)
        return (tmp_path / "run/aistack/start").read_text().strip()

    assert [begin(), begin()] == ["first", "restart"]
    (tmp_path / "var/lib/aistack/switched-off").touch()
    assert [begin(), begin()] == ["power-on", "restart"]


@pytest.fixture(scope="module")
def node() -> Iterator[Path]:
    """A Debian 13 root with systemd and podman, in which the rendered files lie."""
    store = Store(default_path(os.environ))
    archives = [Archive(suite=suite) for suite in ["trixie", "trixie-updates", "trixie-security"]]
    root = apt.resolve(
        store,
        archives,
        ["podman", "systemd", "systemd-resolved", "openssh-server", "python3-minimal"],
        "amd64",
        "debian-13",
        environment=os.environ,
    )
    apt.fetch(store, root, environment=os.environ)
    words = replace(APP, name="words", models=(), command=AWKWARD[1:], environment=tuple((f"V{i}", word) for i, word in enumerate(AWKWARD)))
    accelerator = LockedAccelerator(product="amd/mi300x", count=1)
    lock: Lock = replace(LOCK, apps=(APP, words), models=(MODEL,), accelerator=accelerator)
    files = (*render_node(), *render_system(lock, digests(lock)))
    folder = rootfs.make_root(store, root, f"test-render-{os.getpid()}", files=files)
    try:
        yield folder
    finally:
        rootfs.remove_root(folder)


@pytest.mark.system
def test_podman_reads_every_quadlet_and_keeps_every_word(node: Path) -> None:
    made = rootfs.enter(node, ["/usr/libexec/podman/quadlet", "-dryrun", "-no-kmsg-log"])
    assert "rror" not in made.stderr + made.stdout
    units = dict(re.findall(r"^---(\S+)---$\n(.*?)(?=^---|\Z)", made.stdout, re.MULTILINE | re.DOTALL))
    assert {"app-embed.service", "app-words.service", "app-embed-image.service", "model-org--model-1-image.service"} <= set(units)
    assert "network-online" not in units["app-embed.service"]
    for said in (
        "--pull never",
        "--read-only",
        "--user 65534:65534",
        "--cap-drop all",
        "--network host",
        "--device /dev/kfd",
        "--group-add 895",
    ):
        assert said in units["app-embed.service"]
    (start,) = re.findall(r"^ExecStart=(.*)$", units["app-words.service"], re.MULTILINE)
    unescaped = [word.replace("%%", "%").replace("$$", "$") for word in shlex.split(start)]
    assert tuple(unescaped[-len(AWKWARD) + 2 :]) == AWKWARD[2:]
    assert unescaped[unescaped.index("--entrypoint") + 1] == AWKWARD[1]
    for index, word in enumerate(AWKWARD):
        assert f"V{index}={word}" in unescaped


@pytest.mark.system
def test_systemd_finds_no_fault_with_the_units(node: Path) -> None:
    app = "/run/systemd/generator/app-embed.service"
    own = sorted(Path(file.path).name for file in render_node() if re.search(r"/system/aistack-[^/]+\.service$", file.path))
    script = (
        "mkdir -p /run/systemd/generator && /usr/libexec/podman/quadlet -no-kmsg-log /run/systemd/generator && "
        f"systemd-analyze verify --man=no --recursive-errors=no {' '.join(own)} {app} ssh.service boot-complete.target"
    )
    said = rootfs.enter(node, ["sh", "-c", script], check=False)
    assert said.stdout + said.stderr == ""
    assert said.returncode == 0


@pytest.mark.system
def test_sshd_accepts_its_settings_and_allows_no_password(node: Path) -> None:
    script = "mkdir -p /run/sshd && ssh-keygen -q -t ed25519 -N '' -f /run/key && sshd -T -h /run/key"
    said = rootfs.enter(node, ["sh", "-c", script]).stdout
    for line in ("passwordauthentication no", "kbdinteractiveauthentication no", "permitrootlogin without-password"):
        assert line in said


@pytest.mark.system
def test_a_key_that_comes_as_a_credential_reaches_root_through_its_link(node: Path, tmp_path: Path) -> None:
    (tmp_path / "ssh.authorized_keys.root").write_text("ssh-ed25519 AAAA someone\n")
    (tmp_path / "top/usr").mkdir(parents=True)
    (tmp_path / "top/root").symlink_to("var/roothome")
    binds = [rootfs.Bind(source=tmp_path, target="/mnt", writable=True)]
    configured = "cp -r /usr/lib /mnt/top/usr/ 2>/dev/null; mkdir -p /mnt/top/var /mnt/top/etc; cp /etc/passwd /etc/group /mnt/top/etc/; "
    script = (
        configured
        + "systemd-tmpfiles --root=/mnt/top --create --prefix=/root --prefix=/var/roothome; cat /mnt/top/var/roothome/.ssh/authorized_keys"
    )
    said = rootfs.enter(node, ["sh", "-c", script], binds=binds, environment={"CREDENTIALS_DIRECTORY": "/mnt"}, check=False)
    assert said.stdout == "ssh-ed25519 AAAA someone\n", said.stderr
