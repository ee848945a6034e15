"""`aistack kernels` over the archives' own lists: what is known of each kernel, with every flavour of modules that a recipe leaves open."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from test_judge import read_text
from tools_needed import needs

from aistack.commands import build as building
from aistack.commands import kernels, making
from aistack.commands.kernels import Question, Tried, Verdict
from aistack.commands.pinning import Places, pinned_root
from aistack.commands.reading import Source
from aistack.compose import plan, seal
from aistack.compose.kernels import Offered
from aistack.compose.stack import Stack
from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.host.catalog_files import load_catalog
from aistack.host.store import Store
from aistack.report.progress import Progress

pytestmark = pytest.mark.system

L4 = """\
schema: aistack/recipe/v1
name: l4-base
arch: amd64
os: debian-13
kernel: {flavor: generic}
accelerator: {product: nvidia/l4}
"""
REFUSED = "nv-mm.h:315: 'struct vm_area_struct' has no member named '__vm_flags'"


@pytest.fixture
def places(tmp_path: Path) -> Places:
    needs("apt-get")
    return Places(store=Store(tmp_path / "store"), environment=os.environ)


def asked(text: str, places: Places) -> Question:
    recipe, root = read_text(text)
    progress = Progress(stream=io.StringIO(), terminal=False)
    return Question(
        source=Source(recipe=recipe, root=root, file="l4.yaml"), catalog=load_catalog(), places=places, progress=progress, prove=False
    )


def refused(question: Question, tried: Tried, monkeypatch: pytest.MonkeyPatch) -> str:
    """Puts into the store what a compiler's refusal leaves there for what was asked about; returns the packages of modules."""
    meant: list[tuple[Stack, Offered]] = []
    compiles = kernels._compiles

    def seen(question: Question, stack: Stack, one: Offered) -> Tried:
        meant.append((stack, one))
        return compiles(question, stack, one)

    with monkeypatch.context() as patch:
        patch.setattr(kernels, "_compiles", seen)
        next(kernels.until_one_works(question))
    stack, one = meant[-1]
    assert stack.driver is not None and one.kernel == tried.kernel
    store = question.places.store
    root = pinned_root(seal.roots_for(stack, one.kernel)[0], None, frozenset(), question.places, question.progress)
    step = plan.compilation(root, one.kernel, making.surroundings())
    with store.produce(step.id) as folder:
        sources = dict.fromkeys(stack.driver.modules, "1")
        building.finish(step, {"kernel": one.kernel, "sources": sources, "modules": [], "errors": [REFUSED]}, folder)
    return " ".join(stack.driver.modules)


def test_a_kernel_breaks_when_it_does_with_every_flavor(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    question = asked(L4, places)
    untried = next(kernels.until_one_works(question))
    assert untried.verdict is Verdict.UNTRIED
    first = refused(question, untried, monkeypatch)
    after = next(kernels.until_one_works(question))
    assert (after.kernel, after.verdict) == (untried.kernel, Verdict.UNTRIED) and after.flavor != untried.flavor
    assert after.why[0].startswith(f"with `driver: {{flavor: {after.flavor}}}`: nobody has compiled ")
    assert any(line.startswith(f"{first} ") and line.endswith(REFUSED) for line in after.why)
    second = refused(question, untried, monkeypatch)
    assert second != first
    assert next(kernels.until_one_works(question)).verdict is Verdict.BREAKS


def test_what_is_wrong_with_the_recipe_is_told_once(tmp_path: Path, places: Places) -> None:
    (tmp_path / "l4.yaml").write_text(L4 + 'driver: {version: "999.*"}\n')
    with pytest.raises(DiagnosticError) as caught:
        kernels.kernels(tmp_path / "l4.yaml", {**os.environ, "AISTACK_STORE": str(places.store.path)}, prove=False, as_json=False)
    assert [found.rule for found in caught.value.diagnostics] == ["RS101"]
    assert caught.value.exit_code is ExitCode.NO
