"""Files that do not say what they are: a snapshot is known by its keys, a recipe by its own, anything else is told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from aistack.commands.check import check_text
from aistack.commands.reading import read_recipe
from aistack.diagnostics import Diagnostic, DiagnosticError, Severity
from aistack.facts.document import Node


def found(text: str) -> tuple[list[str], list[str]]:
    """(the codes of what is said, `snapshot` or `recipe` for each time that the rules were asked)."""
    asked: list[str] = []

    def judge(kind: str) -> tuple[Diagnostic, ...]:
        asked.append(kind)
        return ()

    def recipe(_: object, root: Node) -> tuple[Diagnostic, ...]:
        return judge("recipe")

    def snapshot(_: object, root: Node) -> tuple[Diagnostic, ...]:
        return judge("snapshot")

    said = check_text(text, "file.yaml", recipe, snapshot)
    assert all(one.severity is Severity.INFO for one in said if one.rule == "REC014")
    return [one.rule for one in said], asked


@pytest.mark.parametrize(
    ("text", "codes", "asked"),
    [
        ("accelerator: {product: nvidia/l4}\nplatform: {os: debian-13}\n", ["REC014"], ["snapshot"]),
        ("driver: {version: 550.163.01}\n", ["REC014"], ["snapshot"]),
        ("image: {ref: 'nvidia/cuda:12.4.1-base-ubuntu22.04'}\nnotes: x\n", ["REC014", "DOC025"], ["snapshot"]),
        ("accelerator: {count: many}\nplatform: {}\n", ["REC014", "DOC023"], []),
        ("schema: aistack/snapshot/v1\ndriver: {version: 550.163.01}\n", [], ["snapshot"]),
        ("services: {a: {image: b}}\nvolumes: {}\n", ["REC011"], []),
        ("- a list\n", ["DOC023"], []),
    ],
)
def test_what_a_file_is(text: str, codes: list[str], asked: list[str]) -> None:
    assert found(text) == (codes, asked)


def test_a_recipe_without_its_first_line_is_read_as_a_recipe() -> None:
    codes, asked = found("name: a\narch: amd64\nos: debian-13\nkernel: {flavor: generic}\ndriver: {version: '550.*'}\n")
    assert (codes, asked) == (["DOC022"], [])


def test_verbs_about_recipes_know_a_snapshot_by_its_keys(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("platform: {os: debian-13}\n")
    with pytest.raises(DiagnosticError) as caught:
        read_recipe(file)
    assert [one.rule for one in caught.value.diagnostics] == ["REC013"]
