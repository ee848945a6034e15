"""What a lock keeps, what `--upgrade` names, and when a lock is not the one that would be made."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from test_lock import PACKAGE

from aistack.commands.judging import stack_of
from aistack.compose import relock, seal
from aistack.compose.lock import Lock
from aistack.compose.stack import Stack
from aistack.facts.pins import LockedFile, LockedPackage, LockedRoot

RECIPES = Path(__file__).parent.parent / "recipes"
MODEL = "sentence-transformers/all-MiniLM-L6-v2"


def package(name: str, source: str | None = None) -> LockedPackage:
    return dataclasses.replace(PACKAGE, name=name, source=f"{source or name} 1", sha256=name.encode().hex().ljust(64, "0")[:64])


@pytest.fixture(scope="module")
def stack() -> Stack:
    return stack_of(RECIPES / "cpu-embeddings.yaml", {})[1]


@pytest.fixture(scope="module")
def lock(stack: Stack) -> Lock:
    """A lock of the recipe in the shape that pinning gives, its packages those that the recipe names and two more."""
    roots = {}
    for wish in seal.roots(stack):
        names = {*wish.packages, *(["linux-image-6.12.117+deb13-cloud-amd64", "libssl3t64"] if wish.name == "base" else [])}
        packages = tuple(package(name, "openssl" if name == "libssl3t64" else None) for name in sorted(names))
        roots[wish.name] = LockedRoot(arch=wish.arch, os=wish.os.id, packages=packages, wanted=wish.packages, archives=wish.archives)
    files = (LockedFile(path="model.safetensors", sha256="e" * 64, size=9),)
    pins = seal.Pins(roots=roots, models={MODEL: seal.ModelPins(revision="r", files=files)}, wheels={})
    return seal.seal(stack, pins)[0]


def test_a_lock_sealed_again_is_the_same(stack: Stack, lock: Lock) -> None:
    assert seal.seal(stack, seal.pins_of(lock), older=lock)[0] == lock
    assert relock.differences(stack, lock) == ()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"memory_mib": 1}, ("`memory_mib`: is 1, would be",)),
        ({"name": "other"}, ('`name`: is "other", would be "cpu-embeddings"',)),
        ({"wish": "sha256:0"}, ("the facts that it was resolved from have changed",)),
        ({"models": ()}, (f"no model {MODEL}",)),
        (
            {"roots": ()},
            ("no root `base` for what the recipe asks", "no root `tools`", "no root `app-embeddings`", "no root `converter-gguf`"),
        ),
    ],
)
def test_a_changed_lock_is_told_with_the_place(stack: Stack, lock: Lock, change: dict[str, Any], told: tuple[str, ...]) -> None:
    found = relock.differences(stack, dataclasses.replace(lock, **change))
    assert len(found) >= len(told)
    assert all(line.startswith(start) for line, start in zip(found, told, strict=False)), found


def test_a_command_that_was_edited_by_hand_is_told(stack: Stack, lock: Lock) -> None:
    app = dataclasses.replace(lock.apps[0], command=("sh",))
    (found,) = relock.differences(stack, dataclasses.replace(lock, apps=(app,)))
    assert found.startswith('`apps.embeddings.command`: lacks ["llama-server", ') and found.endswith('and has ["sh"] too much')


def test_a_wish_that_the_lock_was_not_asked_for_is_told(stack: Stack, lock: Lock) -> None:
    base = dataclasses.replace(lock.root("base"), wanted=("bash",))
    roots = tuple((name, base if name == "base" else root) for name, root in lock.roots)
    (found,) = relock.differences(stack, dataclasses.replace(lock, roots=roots))
    assert found.startswith('`roots.base.wanted`: lacks ["ca-certificates", ') and found.endswith('and has ["bash"] too much')


@pytest.mark.parametrize(
    ("name", "packages"),
    [
        ("kernel", {"base": {"linux-image-cloud-amd64"}}),
        ("openssl", {"base": {"libssl3t64"}}),
        ("zstd", {"base": {"zstd"}, "tools": {"zstd"}}),
        ("llama.cpp", {"app-embeddings": {"llama.cpp-tools"}}),
        ("embeddings", {"app-embeddings": {"llama.cpp-tools"}}),
        ("app-embeddings", {"app-embeddings": {"ca-certificates", "llama.cpp-tools"}}),
    ],
)
def test_names_mean_packages(stack: Stack, lock: Lock, name: str, packages: dict[str, set[str]]) -> None:
    found = relock.moves(stack, lock, [name])
    assert {root: set(names) for root, names in found.packages.items() if names} == packages
    assert found.unknown == ()


def test_a_model_is_named_without_regard_to_case_and_what_means_nothing_is_told(stack: Stack, lock: Lock) -> None:
    found = relock.moves(stack, lock, [MODEL.upper(), "opensll", "driver"])
    assert found.models == {MODEL}
    assert found.unknown == ("opensll", "driver")
    assert {"kernel", "openssl", "libssl3t64", "llama.cpp", "embeddings", MODEL} <= set(relock.known_names(stack, lock))


def test_a_root_of_another_os_or_architecture_is_no_beginning(stack: Stack, lock: Lock) -> None:
    wish = seal.roots(stack)[0]
    assert relock.kept_root(lock, wish) == lock.root("base")
    assert relock.kept_root(lock, dataclasses.replace(wish, arch="arm64")) is None
    assert relock.kept_root(None, wish) is None
