"""From `node.signed-by` to the files that a node's skopeo obeys."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from node_samples import LOCK, digests

from aistack.commands.judging import judge_source
from aistack.commands.push import push
from aistack.commands.reading import read_recipe
from aistack.compose.render import RenderedFile, RenderedLink, render_system
from aistack.compose.render.policy import ATTACHMENTS, KEY, LINK, POLICY
from aistack.diagnostics import DiagnosticError

PEM = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAECeIi0kG5sht5\n-----END PUBLIC KEY-----\n"
RECIPE = "schema: aistack/recipe/v1\nname: one\narch: amd64\nos: debian-13\nkernel: {flavor: cloud}\nnode: {signed-by: release.pub}\n"


def test_the_key_itself_is_locked(tmp_path: Path) -> None:
    recipe = tmp_path / "one.yaml"
    recipe.write_text(RECIPE)
    (tmp_path / "release.pub").write_text(f"made today\n{PEM}")
    source = read_recipe(recipe)
    stack = judge_source(source.recipe, source.root, os.environ).stack
    assert stack is not None and dict(stack.node)["signed-by"] == PEM


def test_what_its_nodes_would_refuse_is_not_pushed(tmp_path: Path) -> None:
    recipe = tmp_path / "one.yaml"
    recipe.write_text(RECIPE)
    (tmp_path / "release.pub").write_text(PEM)
    for keys, rule in (((), "PUSH004"), ((tmp_path / "release.private",), "LOCK003")):
        with pytest.raises(DiagnosticError) as caught:
            push(recipe, "registry.example/nodes/l4:stable", keys=keys, dry_run=True, as_json=False)
        assert caught.value.diagnostics[0].rule == rule


@pytest.mark.parametrize("content", [None, b"", b"\x00\xff", b"-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----"])
def test_a_file_without_a_public_key_is_told_at_its_place(tmp_path: Path, content: bytes | None) -> None:
    recipe = tmp_path / "one.yaml"
    recipe.write_text(RECIPE)
    if content is not None:
        (tmp_path / "release.pub").write_bytes(content)
    with pytest.raises(DiagnosticError) as caught:
        read_recipe(recipe)
    (found,) = caught.value.diagnostics
    assert found.rule == "REC018" and found.place is not None and (found.place.line, found.place.column) == (6, 19)


def test_the_system_image_carries_policy_and_key() -> None:
    lock = replace(LOCK, node=(*LOCK.node, ("signed-by", PEM)))
    rendered = render_system(lock, digests(lock))
    files = {file.path: file.content for file in rendered if isinstance(file, RenderedFile)}
    (asked,) = json.loads(files[POLICY])["transports"]["docker"][""]
    assert (asked["type"], asked["keyPath"], files[KEY].decode()) == ("sigstoreSigned", KEY, PEM)
    assert b"use-sigstore-attachments: true" in files[ATTACHMENTS]
    assert RenderedLink(path=LINK, target="../../usr/lib/aistack/policy.json") in rendered
    assert not {POLICY, KEY, LINK, ATTACHMENTS} & {file.path for file in render_system(LOCK, digests(LOCK))}
