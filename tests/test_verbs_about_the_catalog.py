"""why, list and show, as a person and as a program read them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aistack.commands.explain import explain
from aistack.commands.judging import judge_source
from aistack.commands.list import list_kind
from aistack.commands.reading import read_recipe
from aistack.commands.show import show
from aistack.commands.why import why
from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.host.catalog_files import example_recipes, load_catalog

ROOT = Path(__file__).resolve().parent.parent
DAY = {"SOURCE_DATE_EPOCH": "1795305600"}

STORY = """\
vllm 0.19.1 (app `chat`)
  because the recipe asks for `>=0.11`: 26 of 49 known releases
  not 0.33.0 to 0.20.0 (15 releases): NV101 `cuda-driver-minimum`
    0.33.0: driver 550.163.01 is too old for CUDA 13.0 (needs 580.65.06 or newer): \
app `chat`: vllm 0.33.0 needs torch 2.14.0, whose wheel carries CUDA 13.0
  so 0.19.1 is the newest that fits; `aistack explain NV101` tells about the rule
  it brings torch 2.10.0
"""


def tell(component: str, *, as_json: bool = False, recipe: str = "l4-vllm-qwen3-8b") -> ExitCode:
    source = read_recipe(ROOT / f"recipes/{recipe}.yaml")
    return why(component, judge_source(source.recipe, source.root, DAY), as_json=as_json)


def test_a_check_of_images_is_explained_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    catalog = load_catalog()
    for name, words in (("driver-versions", "A no condemns the image."), ("Set-ID", "A no is a warning"), ("gates", "condemns the image.")):
        assert explain(name, catalog=catalog, as_json=False, environment={}) is ExitCode.OK
        shown = capsys.readouterr().out
        assert words in shown and "allow:" not in shown
    with pytest.raises(DiagnosticError):
        explain("driver-versionz", catalog=catalog, as_json=False, environment={})


def test_why_tells_the_story(capsys: pytest.CaptureFixture[str]) -> None:
    assert tell("vllm") is ExitCode.OK
    assert capsys.readouterr().out == STORY


def test_why_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    tell("chat/cuda", as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "aistack/why/v1"
    assert [choice["version"] for choice in document["choices"]] == ["12.8"]


def test_why_of_nothing() -> None:
    with pytest.raises(DiagnosticError) as stopped:
        tell("vlm")
    assert stopped.value.exit_code is ExitCode.NO
    assert "did you mean `vllm`?" in stopped.value.diagnostics[0].hints


@pytest.mark.parametrize(
    "kind", ["accelerators", "branches", "kernels", "models", "frameworks", "components", "faults", "os", "rules", "recipes"]
)
def test_lists(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    catalog = load_catalog()
    assert list_kind(kind, catalog=catalog, recipes=example_recipes(), as_json=True) is ExitCode.OK
    document = json.loads(capsys.readouterr().out)
    list_kind(kind, catalog=catalog, recipes=example_recipes(), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(document["items"]) >= 3
    for line, item in zip(lines, document["items"], strict=True):
        assert next(iter(item.values())) in line


@pytest.mark.parametrize(
    "wanted",
    [
        "nvidia/l4",
        "nvidia/b200",
        "550",
        "6.12",
        "qwen/qwen3-8b",
        "vllm",
        "torch",
        "onnxruntime",
        "text-generation-inference",
        "debian-13.1",
        "ubuntu-22.04.5",
        "NV101",
        "cuda-driver-minimum",
    ],
)
def test_show(wanted: str, capsys: pytest.CaptureFixture[str]) -> None:
    catalog = load_catalog()
    assert show(wanted, catalog=catalog, as_json=False) is ExitCode.OK
    text = capsys.readouterr().out
    assert "source:" in text and "checked: 20" in text and "written in: " in text
    show(wanted, catalog=catalog, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["facts"]["checked"][:2]) == ("aistack/show/v1", "20")


def test_show_of_nothing() -> None:
    with pytest.raises(DiagnosticError) as stopped:
        show("nvidia/l44", catalog=load_catalog(), as_json=False)
    assert "did you mean `nvidia/l4`?" in stopped.value.diagnostics[0].hints


def test_show_of_a_name_that_several_products_share() -> None:
    with pytest.raises(DiagnosticError) as stopped:
        show("nvidia/a100-40gb", catalog=load_catalog(), as_json=False)
    assert stopped.value.diagnostics[0].hints == ("it may be `nvidia/a100-pcie-40gb` or `nvidia/a100-sxm-40gb`",)
