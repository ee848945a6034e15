"""From a stack and its pins to a lock: what an app of an image starts is in the lock, whoever said it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aistack.compose.judge import judge
from aistack.compose.lock import Lock
from aistack.compose.recipe import read
from aistack.compose.seal import Pins, roots, roots_for, seal, wish
from aistack.compose.stack import Stack
from aistack.diagnostics import DiagnosticError
from aistack.facts.document import parse, places
from aistack.facts.pins import LockedBlob, LockedImage, LockedPackage, LockedRoot
from aistack.host.catalog_files import load_catalog

RECIPE = """\
schema: aistack/recipe/v1
name: web
arch: amd64
os: debian-13
kernel: {flavor: cloud}
apps:
  web: {image: "registry.example/web:1", port: 8000, SAID}
"""
KERNEL = LockedPackage(
    name="linux-image-6.12.1-cloud-amd64",
    version="1",
    arch="amd64",
    sha256="a" * 64,
    size=1,
    origin="s/main",
    filename="k.deb",
    source="k 1",
)
BLOB = LockedBlob(sha256="e" * 64, size=1, media_type="m")
IMAGE = LockedImage(reference="registry.example/web:1", manifest=BLOB, config=BLOB, layers=(BLOB,), licence="MIT")


def stack_of(said: str) -> Stack:
    root, _ = parse(RECIPE.replace(", SAID", f", {said}" if said else ""), "web.yaml")
    assert root is not None
    recipe, problems = read(root)
    assert recipe is not None, problems
    stack = judge(recipe, load_catalog(), places(root), "2026-11-22").stack
    assert stack is not None
    return stack


def sealed(said: str, entrypoint: tuple[str, ...], command: tuple[str, ...]) -> tuple[Lock, list[str]]:
    stack = stack_of(said)
    assert [root.name for root in roots(stack)] == ["base", "tools"]
    pinned = {name: LockedRoot(arch="amd64", os="debian-13", packages=(KERNEL,)) for name in ("base", "tools")}
    images = {"web": replace(IMAGE, entrypoint=entrypoint, command=command)}
    lock, diagnostics = seal(stack, Pins(roots=pinned, models={}, wheels={}, images=images))
    return lock, [diagnostic.rule for diagnostic in diagnostics]


@pytest.mark.parametrize(
    ("said", "entrypoint", "command", "expected"),
    [
        ("", ("serve",), ("--now",), ("serve", "--now")),
        ("", (), ("serve", "--now"), ("serve", "--now")),
        ("args: {port: 1}", ("serve",), ("--now",), ("serve", "--port", "1")),
        ("command: [run, -p, '{port}'], args: {a: b}", ("serve",), ("--now",), ("run", "-p", "8000", "--a", "b")),
        ("command: [run]", (), (), ("run",)),
    ],
)
def test_what_runs_is_in_the_lock(said: str, entrypoint: tuple[str, ...], command: tuple[str, ...], expected: tuple[str, ...]) -> None:
    lock, problems = sealed(said, entrypoint, command)
    (app,) = lock.apps
    assert app.image is not None
    assert (app.command, app.image.digest, app.root, problems) == (expected, IMAGE.digest, None, [])


@pytest.mark.parametrize(("said", "command"), [("", ()), ("args: {a: b}", ("serve",))])
def test_an_image_that_starts_nothing_needs_a_command(said: str, command: tuple[str, ...]) -> None:
    assert sealed(said, (), command)[1] == ["LOCK010"]


def test_another_name_is_another_wish() -> None:
    assert wish(stack_of("")) != wish(stack_of("health: /up"))


def test_a_base_that_would_compile_modules_is_refused() -> None:
    """As it does where a package of the driver's user space brings the sources; what the recipe names so goes where it is compiled."""
    stack = replace(stack_of("command: [run]"), packages=("zfs-dkms", "zfsutils-linux"))
    base, modules = roots(stack)[0], roots_for(stack, "6.12.1-cloud-amd64")[0]
    assert "zfsutils-linux" in base.packages and "zfs-dkms" not in base.packages
    assert modules.packages == ("linux-headers-6.12.1-cloud-amd64", "zfs-dkms")
    assert wish(stack) != wish(replace(stack, packages=("zfsutils-linux",)))
    sources = replace(KERNEL, name="nvidia-kernel-dkms")
    pinned = {
        "base": LockedRoot(arch="amd64", os="debian-13", packages=(KERNEL, sources)),
        "tools": LockedRoot(arch="amd64", os="debian-13", packages=()),
    }
    with pytest.raises(DiagnosticError) as caught:
        seal(stack, Pins(roots=pinned, models={}, wheels={}, images={"web": IMAGE}))
    (found,) = caught.value.diagnostics
    assert (found.rule, found.message) == ("LOCK011", "the base would hold what compiles modules on a node: `nvidia-kernel-dkms`")
