"""The matrix and what fits: every cell is what `check` says of the same machine, and the figures are those of memory.py."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from aistack.commands import fit as fit_verb
from aistack.commands import matrix as matrix_verb
from aistack.compose.decided import Cells
from aistack.compose.fitting import COUNTS, Server, answer, holding
from aistack.compose.grid import WEIGHTS, Grid, Question, Reason, runs
from aistack.compose.judge_snapshot import judge_snapshot
from aistack.compose.matrix import matrix
from aistack.compose.memory import fit, visible
from aistack.compose.partial import Column, Left, Open, OpenValues, Table, UndecidedError, bits, explore, lowest, numbers, only
from aistack.compose.rules.situation import Finding, Situation, Value, code_rule
from aistack.diagnostics import DiagnosticError, ExitCode, Severity
from aistack.facts.catalog import Catalog
from aistack.facts.version import Scheme
from aistack.report import matrix as shown

pytestmark = pytest.mark.slow

TODAY = "2026-11-26"
SEED = 20261126


@pytest.fixture(scope="module")
def everything(catalog: Catalog) -> list[Grid]:
    return list(matrix(catalog, TODAY, list(catalog.accelerators.values()), Question()))


def grid_of(catalog: Catalog, *products: str, framework: str = "vllm", question: Question | None = None) -> Grid:
    """One framework's grid on some accelerators."""
    grids = matrix(catalog, TODAY, [catalog.accelerators[name] for name in products], question or Question())
    return next(grid for grid in grids if grid.framework == framework)


def few(catalog: Catalog, *models: str) -> Catalog:
    """The catalog with these models alone."""
    return replace(catalog, models={name: catalog.models[name] for name in models})


def cells(grids: list[Grid], number: int) -> Iterator[tuple[Grid, str, str, str, Reason | None]]:
    """So many cells at random: grid, accelerator, release, model, what decides."""
    chosen = random.Random(SEED)
    for _ in range(number):
        grid = chosen.choice(grids) if chosen.random() < 0.5 else max(grids, key=lambda grid: grid.size)
        row, index = chosen.choice(grid.rows), chosen.randrange(len(grid.releases))
        yield grid, row.accelerator, grid.releases[index], row.model, row.cells[index]


def disagreements(grids: list[Grid], catalog: Catalog, question: Question, number: int) -> list[str]:
    """Where a cell is not what the ordinary way says of a snapshot of it."""
    wrong = []
    for grid, accelerator, release, model, decided in cells(grids, number):
        snapshot = question.snapshot(accelerator, grid.framework, release, catalog.models[model])
        said = [
            (WEIGHTS[one.severity], one.rule, one.message)
            for one in judge_snapshot(snapshot, catalog, {}, TODAY)
            if one.severity in WEIGHTS
        ]
        if min(said, default=None) != (decided.rank if decided else None):
            wrong.append(f"{accelerator} {grid.framework} {release} {model}: {decided}, but {said}")
    return wrong


@pytest.mark.slow
def test_a_thousand_cells_are_what_check_says(everything: list[Grid], catalog: Catalog) -> None:
    assert sum(grid.size for grid in everything) > 300_000
    assert disagreements(everything, catalog, Question(), 1000) == []


@pytest.mark.slow
def test_and_so_are_those_of_several_accelerators_with_shorter_requests(catalog: Catalog) -> None:
    question = Question(count=4, context=8192)
    some = [product for product in catalog.accelerators.values() if product.id.startswith(("nvidia/h100", "nvidia/t4", "nvidia/jetson"))]
    assert disagreements(list(matrix(catalog, TODAY, some, question)), catalog, question, 300) == []


def test_a_cell_says_what_the_head_says(catalog: Catalog) -> None:
    """One accelerator is said, not assumed, and the model's own longest request: what cannot fit is an error and does not run."""
    small = grid_of(catalog, "nvidia/a2")
    newest = {row.model: row.cells[0] for row in small.rows}
    misfit = newest["deepseek-ai/DeepSeek-R1"]
    assert misfit is not None and (misfit.rule, misfit.severity) == ("ME102", Severity.ERROR)
    assert re.search(r"does not fit: needs \d+\.\d GiB, 1\d\.\d GiB can be used", misfit.message)
    assert "of 163840 tokens" in misfit.why[0]
    assert newest["meta-llama/Llama-3.2-1B-Instruct"] is None
    (line,) = shown.summary([small])
    fits = sum(reason is None or reason.severity is Severity.WARNING for reason in newest.values())
    assert f"{fits} of {len(newest)} models run" in line and fits < len(newest) // 2
    llama = "meta-llama/Llama-3.1-8B-Instruct"
    short = grid_of(replace(catalog, models={llama: catalog.models[llama]}), "nvidia/l4", question=Question(context=8192))
    assert [(row.model, row.cells[0]) for row in short.rows] == [(llama, None)]


def test_what_memory_is_not_known_is_not_said_to_run(catalog: Catalog) -> None:
    grid = grid_of(replace(catalog, models={"openai/gpt-oss-120b": catalog.models["openai/gpt-oss-120b"]}), "nvidia/b100")
    (reason,) = (row.cells[0] for row in grid.rows)
    assert reason is not None and (reason.rule, reason.severity) == ("ME102", Severity.UNKNOWN)


@pytest.mark.slow
def test_all_verdicts_occur(everything: list[Grid]) -> None:
    decided = {row.reasons[number] for grid in everything for row in grid.rows for number in set(row.numbers)}
    assert {shown.verdict(reason) for reason in decided} == set(shown.SIGNS)


def test_a_rule_that_nobody_thought_of_is_asked_too(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks at all three, and at the snapshot itself."""

    def judge(situation: Situation) -> Iterator[Finding]:
        """Nothing of the kind."""
        part = situation.part
        product = situation.accelerator
        if product is not None and part is not None and product.memory_gib == 24 and situation.text("vllm") == "0.19.1":
            for name, _ in part.models:
                yield Finding(message=f"{situation.seen.accelerator.product} dislikes {name}", path=())

    rule = code_rule(judge, "AA001", "dislike", "app", "framework", of="snapshot")
    monkeypatch.setattr("aistack.compose.matrix.rules", lambda catalog: (rule,))
    grid = grid_of(catalog, "nvidia/l4", "nvidia/t4")
    found = [(row.accelerator, grid.releases[i]) for row in grid.rows for i, reason in enumerate(row.cells) if reason]
    assert set(found) == {("nvidia/l4", "0.19.1")} and len(found) == len(grid.rows) // 2
    assert "nvidia/l4 dislikes BAAI/bge-m3" in {reason.message for row in grid.rows for reason in row.cells if reason}


def test_what_is_open_cannot_be_asked() -> None:
    stand_in: Any = Open("model")
    asked: list[Callable[[], object]] = [
        lambda: stand_in.name,
        lambda: bool(stand_in),
        lambda: list(stand_in),
        lambda: stand_in == 1,
        lambda: f"{stand_in}",
        lambda: isinstance(stand_in, dict),
        lambda: {stand_in},
    ]
    for ask in asked:
        with pytest.raises(UndecidedError) as told:
            ask()
        assert told.value.axis == "model"


def value(text: str, because: str = "") -> Value:
    return Value(text=text, path=("there",), because=because)


def test_values_answer_where_what_is_left_agrees() -> None:
    cuda = Column("release", [value("12.8", "torch 2.9"), value("12.8", "torch 2.10"), value("13.0", "torch 2.11"), None])
    ptx = Table("accelerator", [cuda, cuda, Column("release", [None] * 4)])

    def left(*releases: int, accelerators: int = 0b001) -> Left:
        return {"release": bits(releases), "accelerator": accelerators}

    values = OpenValues({"a": value("1")}, {"cuda": cuda, "ptx": ptx}, left(0, 1))
    assert values["a"].text == "1" and "a" in values and "c" not in values and values.get("c") is None
    assert "cuda" in values and (values["cuda"].text, values["cuda"].path) == ("12.8", ("there",))
    with pytest.raises(UndecidedError) as told:
        values["cuda"].because  # noqa: B018
    assert told.value.parts == (0b0001, 0b0010, 0b0100, 0b1000)
    assert list(values) == ["a", "cuda", "ptx"] and len(values) == 3 and values["ptx"].text == "12.8"
    assert "ptx" not in OpenValues({}, {"ptx": ptx}, left(0, 1, accelerators=0b100))
    values = OpenValues({}, {"ptx": ptx}, left(0, 1, accelerators=0b111))
    for ask in (lambda: values["ptx"], lambda: "ptx" in values, lambda: list(values), lambda: len(values)):
        with pytest.raises(UndecidedError) as told:
            ask()
        assert (told.value.axis, told.value.parts) == ("accelerator", (0b011, 0b100))
    assert "cuda" not in OpenValues({}, {"cuda": cuda}, left(3))
    with pytest.raises(UndecidedError) as told:
        OpenValues({}, {"cuda": cuda}, left(2, 3)).get("cuda")
    assert list(told.value.split(left(2, 3))) == [left(2), left(3)]
    some = OpenValues({}, {"cuda": cuda}, left(0, 1, 2))["cuda"]
    assert some.fits(">=12", Scheme.RELEASE) is True
    with pytest.raises(UndecidedError) as told:
        some.fits(">=13", Scheme.RELEASE)
    assert list(told.value.split(left(0, 1, 2))) == [left(0, 1), left(2)], "split by the answer, not by the version"


def test_a_part_of_an_axis_is_the_bits_of_its_numbers() -> None:
    for some in ((0,), (3,), (0, 1, 2), (1, 64, 200)):
        part = bits(some)
        assert (numbers(part), lowest(part), only(part)) == (some, some[0], some[0] if len(some) == 1 else None)
    assert numbers(0) == ()
    assert list(UndecidedError("a").split({"a": 0b1010, "b": 1})) == [{"a": 0b0010, "b": 1}, {"a": 0b1000, "b": 1}]


def test_a_rule_is_run_only_as_often_as_it_must() -> None:
    first = Column("first", [value("1"), value("2"), value("2", "differently told")])
    second = Column("second", [value(str(number)) for number in range(1000)])
    ran = []

    def judge(situation: Any) -> Iterator[Finding]:
        """Only the first axis matters."""
        ran.append(situation)
        if situation["first"].text == "2":
            yield Finding(message="two", path=())

    rule = code_rule(judge, "AA001", "two", "node")
    columns = {"first": first, "second": second}

    def view(left: Left) -> Any:
        return OpenValues({}, columns, left)

    everything = {"first": 0b111, "second": (1 << 1000) - 1}
    found = list(explore(rule, view, everything))
    assert [(left, finding.message) for left, (finding,) in found] == [({**everything, "first": 0b110}, "two")]
    assert len(ran) == 3
    assert list(explore(rule, view, everything, wanted=lambda left: left["first"] == 0b001)) == [] and len(ran) == 5


def test_what_weighs_more_decides_and_each_cell_only_once() -> None:
    """Two releases of one model on three accelerators, the last of which has no builds of the second release."""
    cells = Cells([[0b111], [0b011]])
    error = Reason(rule="B", name="b", severity=Severity.ERROR, message="x")
    warning, never = replace(error, rule="A", severity=Severity.WARNING), replace(error, rule="C")
    some: Left = {"accelerator": 0b101, "release": 0b11, "model": 1}
    assert cells.are_open(some) and not cells.are_open({**some, "accelerator": 0b100, "release": 0b10})
    for reason, accelerators in ((error, 0b101), (never, 0b100), (warning, 0b111)):
        cells.decide({**some, "accelerator": accelerators, "release": 0b01}, reason)
    assert not cells.are_open({**some, "release": 0b01}) and cells.are_open(some)
    assert cells.numbered(3) == ((error, warning), [[[0, 1, 0]], [[2, 2, 2]]])


def test_reasons_of_one_rank_stand_in_the_order_in_which_they_were_found() -> None:
    found = [Reason(rule="A", name="a", severity=Severity.ERROR, message="x", why=(f"because of {number}",)) for number in range(9)]
    cells = Cells([[1] for _ in found])
    for number, reason in enumerate(found):
        cells.decide({"accelerator": 1, "release": 1 << number, "model": 1}, reason)
    assert cells.numbered(1)[0] == tuple(found)


def test_runs_of_releases() -> None:
    one = Reason(rule="A", name="a", severity=Severity.ERROR, message="x")
    same, other = replace(one, message="y"), replace(one, severity=Severity.WARNING)
    assert list(runs([one, same, None, None, other])) == [(0, 1, one), (2, 3, None), (4, 4, other)]


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag != "meta":
            self.open.append(tag)
        assert tag not in ("script", "img", "link", "iframe")
        if tag == "a":
            self.links.append(given["href"] or "")
        if tag == "li":
            self.anchors.add(given["id"] or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_beside_itself_and_every_cell_leads_to_its_reason(catalog: Catalog) -> None:
    some = few(catalog, *list(catalog.models)[:20])
    grids = list(matrix(some, TODAY, [catalog.accelerators["nvidia/l4"]], Question()))
    page = _Page()
    page.feed(shown.page(grids, Question(), TODAY))
    assert page.open == []
    inside = {link.removeprefix("#") for link in page.links if link.startswith("#")}
    assert inside == page.anchors and len(inside) > 20
    assert all(link.startswith(("#", "https://")) for link in page.links)


@pytest.mark.slow
def test_the_verb_matrix(catalog: Catalog, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def ask(wanted: str | None, **how: object) -> str:
        options = {"as_json": False, "output": None} | how
        assert matrix_verb.show(wanted, Question(), catalog=catalog, today=TODAY, **options) is ExitCode.OK  # type: ignore[arg-type]
        return capsys.readouterr().out

    text = ask("nvidia/l4")
    assert f"vLLM on nvidia/l4, {len(catalog.frameworks['vllm'].releases)} releases" in text
    assert re.search(r"error [0-9.]+ to 0.2.7: MD103 vllm [0-9.]+ does not know `Qwen/Qwen3-8B`", text)
    document = json.loads(ask("nvidia/h100-80gb", as_json=True))
    assert document["schema"] == "aistack/matrix/v1"
    grids = {grid["framework"]: grid for grid in document["grids"]}
    assert set(grids) == {"vllm", "sglang", "tensorrt-llm", "tgi", "llama.cpp"}
    assert {row["accelerator"] for row in grids["vllm"]["rows"]} == {"nvidia/h100-pcie-80gb", "nvidia/h100-sxm-80gb"}
    assert {name: row["delivered"] for name, grid in grids.items() for row in grid["rows"]} == {name: name == "vllm" for name in grids}
    assert document["cells"] == sum(len(grid["rows"]) * len(grid["releases"]) for grid in grids.values())
    used = {cell for grid in grids.values() for row in grid["rows"] for cell in row["cells"]} - {None}
    assert used == set(range(len(document["reasons"])))
    assert ask("nvidia/l4", output=tmp_path / "l4.html") == "" and (tmp_path / "l4.html").read_text().startswith("<!doctype html>")


@pytest.mark.parametrize(("wanted", "hint"), [("nvidia/l44", "did you mean `nvidia/l4`?"), ("intel/gaudi3", "`aistack list frameworks`")])
def test_a_matrix_of_nothing(wanted: str, hint: str, catalog: Catalog) -> None:
    without = replace(catalog, frameworks={name: replace(one, platforms={"nvidia": ">=0"}) for name, one in catalog.frameworks.items()})
    with pytest.raises(DiagnosticError) as stopped:
        matrix_verb.show(wanted, Question(), catalog=without, today=TODAY, as_json=False, output=None)
    assert stopped.value.exit_code is ExitCode.NO and hint in stopped.value.diagnostics[0].hints[0]


def test_what_holds_a_model(catalog: Catalog) -> None:
    model = catalog.models["meta-llama/Llama-3.1-70B-Instruct"]
    products = [
        catalog.accelerators[name]
        for name in ("nvidia/l4", "nvidia/h100-sxm-80gb", "nvidia/b200", "nvidia/b100", "amd/mi300x", "amd/rx-vega-64", "cpu/x86-64")
    ]
    told = answer(model, products, catalog, TODAY)
    assert [[one.id for one in those] for those in (told.unknown, told.unserved, told.processors)] == [
        ["nvidia/b100"],
        ["amd/rx-vega-64"],
        ["cpu/x86-64"],
    ]
    found = {(one.accelerator.id, one.count): one for one in told.holdings}
    assert set(found) == {
        ("nvidia/l4", 8),
        *(("nvidia/h100-sxm-80gb", n) for n in (4, 8)),
        *((name, n) for n in COUNTS for name in ("nvidia/b200", "amd/mi300x")),
    }
    least = [one.accelerator.id for one in told.holdings if one.whole]
    assert list(dict.fromkeys(least)) == ["nvidia/h100-sxm-80gb", "nvidia/b200", "amd/mi300x"], "the least hardware that does all first"
    assert told.holdings[-1].accelerator.id == "nvidia/l4" and not told.holdings[-1].whole
    by = {name: [(one.framework.id, one.delivered) for one in these] for name, these in told.servers.items()}
    assert by["nvidia/h100-sxm-80gb"][0] == ("vllm", True) and ("sglang", False) in by["nvidia/h100-sxm-80gb"]
    assert ("vllm", False) in by["amd/mi300x"], "a recipe cannot ask for it there"
    for one in found.values():
        assert one.fit.comfortable <= one.fit.available
        longer = fit(model, one.accelerator, context=one.context + 64, parallel=one.count, fraction=0.92)
        assert one.whole or (longer is not None and longer.comfortable > longer.available)
    eight = replace(model, attention_heads=12, kv_heads=4)
    server = Server(framework=catalog.frameworks["vllm"], release="0.33.0", fraction=0.92)
    assert [count for count in COUNTS if holding(eight, catalog.accelerators["nvidia/b200"], count, server)] == [1, 2, 4]


def test_what_no_framework_runs_on_is_not_offered(catalog: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ("nvidia/gtx-1080-ti", "amd/rx-vega-64")
    for product in ask:
        assert fit_verb.fit("Qwen/Qwen3-8B", product, catalog=catalog, today=TODAY, as_json=False) is ExitCode.NO
        assert f"runs it on: {product}" in capsys.readouterr().out


def test_what_is_not_known_is_not_denied(catalog: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    for product, words in (("nvidia/b100", "no document states the memory: nvidia/b100"), ("cpu/x86-64", "no memory of its own")):
        assert fit_verb.fit("openai/gpt-oss-120b", product, catalog=catalog, today=TODAY, as_json=False) is ExitCode.UNABLE
        assert words in capsys.readouterr().out


@pytest.mark.slow
def test_the_verb_fit(catalog: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    assert fit_verb.fit("qwen/qwen3-8b", None, catalog=catalog, today=TODAY, as_json=False) is ExitCode.OK
    text = capsys.readouterr().out
    assert "Qwen/Qwen3-8B: bfloat16, weights 15.3 GiB" in text and re.search(r"vLLM \(0.33.0, 0.30.0.*\) takes 0.92", text)
    (line,) = [line for line in text.splitlines() if line.startswith("nvidia/l4 ")]
    assert line.split() == ["nvidia/l4", "bfloat16", "21824", *["40960", "(all)"] * 3, "vLLM", "0.33.0"]
    assert re.search(r"^amd/mi300x .*vLLM 0.33.0\*$", text, re.MULTILINE) and "* known, not delivered" in text
    fit_verb.fit("Qwen/Qwen3-8B", "nvidia/l4", catalog=catalog, today=TODAY, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["precision"], [one["count"] for one in document["fits"]]) == (
        "aistack/fit/v1",
        "bfloat16",
        [1, 2, 4, 8],
    )
    assert document["fits"][0]["longest_context"] == 21824
    fit_verb.fit("Qwen/Qwen3-8B", "nvidia/l4", catalog=catalog, today=TODAY, as_json=False)
    text = capsys.readouterr().out
    assert "weights 15.3 GiB + cache 3.0 GiB = 18.3 GiB" in text
    assert "    vLLM 0.33.0\n" in text and re.search(r"SGLang [0-9.]+ \(known, not delivered; what part", text)
    assert fit_verb.fit("deepseek-ai/DeepSeek-R1", "nvidia/t4", catalog=catalog, today=TODAY, as_json=False) is ExitCode.NO


@pytest.mark.slow
def test_the_precision_is_one_that_check_does_not_refuse(catalog: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [catalog.accelerators[name] for name in ("nvidia/t4", "nvidia/l4")]

    def precisions(name: str) -> dict[tuple[str, int], str | None]:
        return {(one.accelerator.id, one.count): one.precision for one in answer(catalog.models[name], asked, catalog, TODAY).holdings}

    assert precisions("Qwen/Qwen3-8B")["nvidia/t4", 4] == "float16" and precisions("Qwen/Qwen3-8B")["nvidia/l4", 1] == "bfloat16"
    gemma = precisions("google/gemma-3-4b-it")
    assert gemma["nvidia/t4", 8] == "float32" and gemma["nvidia/l4", 8] == "bfloat16", "float16 does not hold its numbers"
    assert fit_verb.fit("Qwen/Qwen3-8B", None, catalog=catalog, today=TODAY, as_json=False, kind="data-centre") is ExitCode.OK
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines() if re.match("(nvidia|amd|intel)/", line)]
    assert "nvidia/t4" in rows and {catalog.accelerators[name].kind for name in rows} == {"data-centre"}


def test_what_fits_is_not_told_without_geometry(catalog: Catalog) -> None:
    unknown = next(model for model in catalog.models.values() if model.kv_bytes_per_token is None)
    with pytest.raises(DiagnosticError) as stopped:
        fit_verb.fit(unknown.id, None, catalog=catalog, today=TODAY, as_json=False)
    assert stopped.value.exit_code is ExitCode.UNABLE
    with pytest.raises(DiagnosticError) as stopped:
        fit_verb.fit("Qwen/Qwen3-8", None, catalog=catalog, today=TODAY, as_json=False)
    assert "did you mean `Qwen/Qwen3-8B`?" in stopped.value.diagnostics[0].hints


def test_every_accelerator_but_processors_and_the_unconfirmed_has_memory(catalog: Catalog) -> None:
    without = {product.id for product in catalog.accelerators.values() if visible(product) is None}
    several = {"nvidia/gt-710", "nvidia/gt-720", "nvidia/gt-730-gf108", "nvidia/gt-730-gk208"}  # one name, boards of several sizes
    # Of these AMD's and LLVM's documents say what they compute with; how much memory they have, none that was read.
    by_architecture = {f"amd/{name}" for name in ("pro-w5500", "pro-w6600", "rx-9060", "rx-9060-xt", "rx-9070-gre")}
    processors = {
        f"amd/{name}" for name in ("radeon-780m", "radeon-860m", "ryzen-ai-9-hx-370", "ryzen-ai-max-395")
    }  # memory is the machine's
    assert without == {"cpu/aarch64", "cpu/x86-64", "amd/mi308x", "nvidia/b100", "nvidia/l2", *several, *by_architecture, *processors}


def test_what_is_not_known_of_a_framework_does_not_run(catalog: Catalog) -> None:
    """A model of which no document speaks, a release of which it is not known whether it has builds, weights stored in an unnamed way."""
    told = {
        ("nvidia/h100-sxm-80gb", "tgi", "Qwen/Qwen3-8B", "3.3.7"): "MD109",
        ("intel/gaudi3", "vllm", "Qwen/Qwen3-8B", "0.33.0"): "AC109",
        ("intel/gaudi3", "vllm", "nvidia/Llama-3.1-70B-Instruct-FP8", "0.21.0"): None,
        ("amd/mi355x", "tensorrt-llm", "Qwen/Qwen3-8B", "1.2.0"): "not there",
        ("intel/arc-b580", "sglang", "Qwen/Qwen3-30B-A3B-FP8", "0.5.23"): None,
        ("nvidia/l4", "llama.cpp", "Qwen/Qwen3-32B", "0.7.0"): "ME102",
        ("nvidia/l4", "sglang", "meta-llama/Llama-3.1-8B-Instruct", "0.5.23"): "ME102",
    }
    products = [catalog.accelerators[name] for name in {product for product, *_ in told}]
    grids = matrix(few(catalog, *{model for _, _, model, _ in told}), TODAY, products, Question())
    rows = {(grid.framework, row.accelerator, row.model): (grid.releases, row) for grid in grids for row in grid.rows}
    for (product, framework, model, release), rule in told.items():
        if rule == "not there":
            assert not any(key[:2] == (framework, product) for key in rows)
            continue
        releases, row = rows[framework, product, model]
        cell = row.cells[releases.index(release)]
        if rule is not None:
            assert cell is not None and (cell.rule, cell.severity) == (rule, Severity.UNKNOWN), (product, framework, model, cell)


def test_a_platform_without_builds_is_told(catalog: Catalog) -> None:
    def said(product: str, framework: str, release: str) -> dict[str, Severity]:
        snapshot = Question().snapshot(product, framework, release)
        return {one.rule: one.severity for one in judge_snapshot(snapshot, catalog, {}, TODAY)}

    assert said("amd/mi300x", "tensorrt-llm", "1.2.0")["AC109"] is Severity.ERROR
    assert said("intel/gaudi2", "sglang", "0.5.9")["AC109"] is Severity.ERROR
    assert said("cpu/x86-64", "tensorrt-llm", "1.2.0")["AC109"] is Severity.UNKNOWN
    assert said("amd/mi300x", "sglang", "0.3.0")["AC109"] is Severity.UNKNOWN
    assert "AC109" not in said("amd/mi300x", "sglang", "0.5.9") and "AC109" not in said("nvidia/l4", "tensorrt-llm", "1.2.0")
