"""The node's switch between deployments, over a real OSTree sysroot, with the OS's own libostree and GRUB tools in a locked root."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import aistack
from aistack.facts.pins import Archive
from aistack.host import apt, rootfs
from aistack.host.store import Store, default_path

INSIDE = r"""
import json, os, re, subprocess, sys
from pathlib import Path
sys.path.insert(0, "/mnt")
from aistack.compose.render import grub as menu
from aistack.diagnostics import DiagnosticError
from aistack.host import grub, sysroot
from aistack.host.probes.deployment import deployment
from aistack.node.deployments.ostree import OstreeDeployments

program = Path("/tmp/grub-config")
program.write_text(menu.SCRIPT)
program.chmod(0o755)
os.environ["OSTREE_GRUB2_EXEC"] = str(program)
said = {}
root = Path("/tmp/sysroot")
root.mkdir()
sysroot.init_sysroot(root)
for name in "ab":
    tree = Path(f"/tmp/tree-{name}")
    kernel = tree / "usr/lib/modules/6.1"
    kernel.mkdir(parents=True)
    (kernel / "vmlinuz").write_text(name)
    (kernel / "initramfs.img").write_text(name)
    (tree / "usr/etc").mkdir()
    (tree / "usr/lib/os-release").write_text("ID=x\nPRETTY_NAME=x\n")
    digest = "sha256:" + name * 64
    metadata = [f"--add-metadata-string=ostree.manifest-digest={digest}", f"--add-metadata-string=aistack.lock={digest}"]
    argv = ["ostree", f"--repo={root}/ostree/repo", "commit", "-b", name, "--owner-uid=0", "--owner-gid=0", *metadata, str(tree)]
    commit = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
    with sysroot.opened(root, writable=True) as opened:
        said["foreseen " + name] = sysroot.next_name(opened, commit)
        said[name] = sysroot.deploy(opened, commit, digest=digest, reference="x", kernel_arguments=["quiet"])
deployments = OstreeDeployments(root=root)
said["counted"] = re.findall(r'"\${trial}" = "(.*)"', (root / "boot/grub/grub.cfg").read_text())
said["parsed"] = subprocess.run(["grub-script-check", str(root / "boot/grub/grub.cfg")]).returncode
said["before"] = [one.digest for one in deployments.listed()]
deployments.make_default("sha256:" + "a" * 64)
said["after"] = [one.digest for one in deployments.listed()]
environment = root / "boot/grub/grubenv"
deployments.stop_counting()
subprocess.run(["grub-editenv", str(environment), "set", "other=x"], check=True)
grub.set_trial(grub.Trial(deployment=said["b"], tries=2), environment)
listing = ["grub-editenv", str(environment), "list"]
said["trial"] = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split()
deployments.stop_counting()
said["after trial"] = subprocess.run(listing, capture_output=True, text=True, check=True).stdout.split()
try:
    deployments.make_default("sha256:none")
except DiagnosticError as error:
    said["refused"] = error.diagnostics[0].name
(root / "proc/cmdline").write_text("x " + re.search(r"ostree=\S+", (root / "boot/grub/grub.cfg").read_text())[0])
booted = deployment(root)
said["booted"] = (booted.error, booted.value and booted.value.manifest, booted.value and booted.value.promised_manifest)
with sysroot.opened(root, writable=True) as opened:
    said["foreseen"] = sysroot.next_name(opened, commit)
    said["again"] = sysroot.deploy(opened, commit, digest=digest, reference="x", kernel_arguments=["quiet"])
environment.write_bytes(b"x" * 100)
deployments.stop_counting()
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def node() -> Iterator[Path]:
    """A Debian 13 root with the packages that a node switches deployments with."""
    store = Store(default_path(os.environ))
    archives = [Archive(suite=suite) for suite in ["trixie", "trixie-updates", "trixie-security"]]
    wanted = ["ostree", "python3", "python3-gi", "gir1.2-ostree-1.0", "grub-common"]
    root = apt.resolve(store, archives, wanted, "amd64", "debian-13", environment=os.environ)
    apt.fetch(store, root, environment=os.environ)
    folder = rootfs.make_root(store, root, f"test-deployments-{os.getpid()}")
    try:
        yield folder
    finally:
        rootfs.remove_root(folder)


@pytest.mark.system
def test_the_default_is_switched_and_the_trial_ended(node: Path) -> None:
    binds = [rootfs.Bind(source=Path(aistack.__file__).parent.parent, target="/mnt")]
    said = json.loads(rootfs.enter(node, ["python3", "-c", INSIDE], binds=binds, environment={"PYTHONDONTWRITEBYTECODE": "1"}).stdout)
    older, newer = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    assert (said["a"], said["b"]) == (said["foreseen a"], said["foreseen b"])
    assert said["again"] == said["foreseen"] == said["b"].replace(".0", ".1")
    assert said["before"] == [newer, older]
    assert said["after"] == [older, newer]
    assert (said["counted"], said["parsed"]) == ([said["b"]], 0)
    assert said["trial"] == ["boot_counter=2", "other=x", f"trial={said['b']}"]
    assert said["after trial"] == ["other=x"]
    assert said["refused"] == "deployment-missing"
    assert said["booted"] == [None, older, older]
