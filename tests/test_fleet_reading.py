"""Reports that contradict themselves, that came twice, and hostile ones: what is wrong is named, and the others are on the page."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet_samples import NOW, TIME, Maker, Page
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aistack import __version__
from aistack.commands import fleet as command
from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.facts.catalog import Catalog
from aistack.node import fleet
from aistack.node.fleet_reading import BEYOND, LONGEST_HOST, LONGEST_TEXT, NodeReport, ReportError, decode
from aistack.node.results import Cause, Outcome, Result, verdict
from aistack.report import fleet as shown

SICK = {"rows.failed": True}


@pytest.fixture(scope="module")
def maker(catalog: Catalog) -> Maker:
    return Maker(catalog)


def changed(text: str, **changes: Any) -> NodeReport:
    return decode(json.dumps({**json.loads(text), **changes}), "changed.json")


@pytest.mark.parametrize(
    ("sick", "said", "outcome", "cause"),
    [
        (True, "healthy", Outcome.UNHEALTHY, Cause.HARDWARE),
        (True, "unhealthy", Outcome.UNHEALTHY, Cause.HARDWARE),
        (False, "unhealthy", Outcome.UNKNOWN, None),
        (False, "healthy", Outcome.HEALTHY, None),
    ],
)
def test_a_node_is_what_its_results_come_to(maker: Maker, sick: bool, said: str, outcome: Outcome, cause: Cause | None) -> None:
    report = changed(maker.text("a", SICK if sick else {}), outcome=said, cause=None)
    assert (report.outcome, report.cause) == (outcome, cause)
    told = [result.message for result in report.results if result.name == "report"]
    found = "unhealthy" if sick else "healthy"
    assert told == ([] if said == found else [f"the report calls the node {said}, though its results come to {found}"])


def test_a_report_without_results_is_no_healthy_node(maker: Maker) -> None:
    assert changed(maker.text("a", {}), results=[]).outcome is Outcome.UNKNOWN


def test_of_each_host_the_newest_report_counts(maker: Maker, catalog: Catalog) -> None:
    times = {"old": "2026-11-25T23:59:59Z", "new": "2026-11-26T00:00:00Z"}
    texts = {name: maker.text("a", {} if name == "new" else SICK, time=time) for name, time in times.items()}
    texts["other"] = maker.text("b", {}, time=times["old"])
    texts["timeless"] = json.dumps({name: value for name, value in json.loads(maker.text("a", SICK)).items() if name != "time"})
    texts |= {"same": maker.text("c", {}), "worse": maker.text("c", {"persistence": False})}
    found = fleet.survey([decode(text, f"{name}.json") for name, text in texts.items()], catalog, NOW)
    assert {node.report.file: node.report.outcome.value for node in found.nodes} == {
        "new.json": "healthy",
        "other.json": "healthy",
        "worse.json": "degraded",
    }
    assert {pair.report.file: pair.newer.file for pair in found.older} == {
        "old.json": "new.json",
        "timeless.json": "new.json",
        "same.json": "worse.json",
    }
    assert sum(len(spread.rates) for spread in found.spreads) == 9
    text = "".join(Page(shown.page(found, ())).texts)
    assert "Not counted: 3 older reports" in text and "old.json, a at 2026-11-25T23:59:59Z; counted is new.json" in text
    assert "timeless.json, a at an unknown time" in text


def test_a_report_of_a_clock_that_is_wrong_hides_nothing(maker: Maker, catalog: Catalog) -> None:
    """A day ahead is believed, as clocks and zones differ; what is further ahead is newer than its like alone."""
    times = {
        "before": "2026-11-25T20:00:00Z",
        "now": TIME,
        "day": "2026-11-27T20:00:00Z",
        "far": "2026-11-27T20:00:01Z",
        "century": "2126-01-01T00:00:00Z",
    }

    def counted(**given: tuple[str, dict[str, bool]]) -> tuple[fleet.Fleet, str]:
        reports = [decode(maker.text("a", changes, time=times[time]), f"{name}.json") for name, (time, changes) in given.items()]
        found = fleet.survey(reports, catalog, NOW)
        (node,) = found.nodes
        return found, node.report.file

    found, file = counted(sick=("now", SICK), well=("century", {}))
    assert file == "sick.json" and [report.file for report in found.ahead] == ["well.json"]
    assert [pair.report.file for pair in found.older] == ["well.json"]
    text = "".join(Page(shown.page(found, ())).texts)
    assert "1 report dated more than a day ahead" in text and "well.json, a at 2126-01-01T00:00:00Z" in text
    assert counted(sick=("now", SICK), well=("far", {}))[1] == "sick.json"
    found, file = counted(sick=("now", SICK), well=("day", {}))
    assert file == "well.json" and not found.ahead and "a day ahead" not in shown.page(found, ())
    assert counted(sick=("far", SICK), well=("century", {}))[1] == "well.json"
    assert counted(well=("far", {}), sick=("century", SICK))[1] == "sick.json"
    for well in ("before", "now"):
        found, file = counted(well=(well, {}), sick=("far", SICK))
        assert file == "sick.json" and [pair.report.file for pair in found.older] == ["well.json"], "nobody knows which one is newer"
    assert counted(was=("before", SICK), well=("now", {}), then=("far", SICK), later=("century", {}))[1] == "well.json"


def test_a_clock_that_is_wrong_is_told_on_stderr(
    maker: Maker, tmp_path: Path, catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.json").write_text(maker.text("a", {}, time="2126-01-01T00:00:00Z"))
    assert command.report([tmp_path / "a.json"], tmp_path / "page.html", catalog=catalog, now=NOW) is ExitCode.OK
    assert capsys.readouterr().err.endswith("; dated more than a day ahead, by clocks that are wrong: 1\n")


@pytest.mark.parametrize("host", [None, "", " ", "localhost", "(none)"])
def test_machines_without_a_name_are_not_taken_for_one(maker: Maker, catalog: Catalog, host: str | None) -> None:
    found = fleet.survey([decode(maker.text(host, {}), f"{name}.json") for name in "ab"], catalog, NOW)
    assert [node.report.name for node in found.nodes] == ["a", "b"] and not found.older


def test_older_reports_are_no_fault_and_are_told(
    maker: Maker, tmp_path: Path, catalog: Catalog, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / f"{day}.json" for day in (25, 26)]
    for file in files:
        file.write_text(maker.text("a", {}, time=f"2026-11-{file.stem}T00:00:00Z"))
    assert command.report(files, tmp_path / "page.html", catalog=catalog, now=NOW) is ExitCode.OK
    assert capsys.readouterr().err.endswith("; older reports of the same hosts, not counted: 1\n")


def test_the_page_says_when_and_by_which_aistack_a_node_was_judged(maker: Maker, catalog: Catalog) -> None:
    reports = [decode(maker.text(host, {}, time=f"2026-11-{day}T00:00:00Z"), f"{host}.json") for host, day in (("a", 24), ("b", 26))]
    text = "".join(Page(shown.page(fleet.survey(reports, catalog, NOW), ())).texts)
    assert "2026-11-24" in text and "2026-11-26T00:00:00Z" in text and f"aistack {__version__}" in text
    assert reports[0].version == __version__


@pytest.mark.parametrize(
    "time", ["yesterday", "2026-13-01T00:00:00Z", "2026-1-1T0:0:0Z", "2026-11-26T20:00:00+01:00", 7, "２026-11-26T20:00:00Z"]
)
def test_what_is_no_time_is_refused(maker: Maker, time: object) -> None:
    with pytest.raises(ReportError, match="`time` is"):
        changed(maker.text("a", {}), time=time)


def test_nodes_are_ordered_as_people_count(maker: Maker, catalog: Catalog) -> None:
    hosts = ["9", "10", "n08", "n9", "n010", "n" + "9" * 200, "n1" + "0" * 200, "n²", "n٣"]
    found = fleet.survey([decode(maker.text(host, {}), f"{host[:20]}.json") for host in reversed(hosts)], catalog, NOW)
    assert [node.report.name for node in found.nodes] == hosts


def test_numbers_and_texts_have_an_end(maker: Maker, catalog: Catalog) -> None:
    whole = json.loads(maker.text("a", {}))
    reading = {"source": "a"}

    def refused(text: str) -> str:
        with pytest.raises(ReportError) as error:
            decode(text, "a.json")
        return str(error.value)

    def device(value: str) -> str:
        plain = copy.deepcopy(whole)
        plain["accelerators"]["devices"][0]["pcie.lanes"] = {**reading, "value": "HERE"}
        return json.dumps(plain).replace('"HERE"', value)

    where = "`accelerators.devices[0].pcie.lanes`"
    assert refused(device("1e999")) == f"{where} is Infinity, which no device has"
    assert refused(device(f"-{BEYOND}")) == f"{where} is -{BEYOND}, which no device has"
    assert refused(device("1" + "0" * 400)).startswith(f"{where} is 1000000") and len(refused(device("1" + "0" * 400))) < 200
    assert refused(device("1" * 5000)) == "it holds a number of more digits than anything has"
    assert refused(device("null")) == f"{where} has no value and no error"
    assert refused(device("[1]")) == f"{where} has no value and no error"
    assert refused(device('1, "error": [2]')) == f"{where[:-1]}.error` is no text"
    assert decode(device(str(BEYOND - 1)), "a.json").devices[0].get("pcie.lanes") == BEYOND - 1
    assert refused(json.dumps({**whole, "host": "9" * 5000})) == f"`host` is longer than the {LONGEST_HOST} characters of a host's name"
    assert refused(json.dumps({**whole, "outcome": "x" * 5000})).startswith("`outcome` is `xxx") and "none of healthy" in refused(
        json.dumps({**whole, "outcome": "x" * 5000})
    )
    assert (
        refused(json.dumps({**whole, "accelerators": {"devices": [{}] * 1025}})) == "`accelerators.devices` has 1025 parts, more than 1024"
    )
    for promised in ("9" * 5000, 1025):
        assert "accelerators, more than the 1024 of a recipe" in refused(maker.text("a", {}, promised=promised))
    assert decode(maker.text("a", {}, promised=1024), "a.json").promised == 1024
    long = decode(json.dumps({**whole, "results": [{"name": "a", "outcome": "healthy", "message": "m" * 20_000}]}), "a.json")
    assert long.results[0].message == "m" * LONGEST_TEXT + "… (10000 characters more)"


def test_the_least_of_rates_can_be_drawn(maker: Maker, catalog: Catalog) -> None:
    text = maker.text("a", {"copies.inside-gbps": 5e-324, "pci.id": "10de:ffff"})
    Page(shown.page(fleet.survey([decode(text, "a.json")], catalog, NOW), ()))


RAW = ["1e999", "-1e999", "1" + "0" * 400, "1" * 5000, "NaN", "Infinity", "1e308", "5e-324", "-0.0", f"{2**64 - 1}", "9" * 20]
RAW += ["[" * depth + "]" * depth for depth in (50, 900, 100_000)] + ['{"a":' * 900 + "1" + "}" * 900, '"\\ud800"', '"\\u0000\\u202e"']
"""Values that `json.dumps` does not write; a text stands for each until then."""
values = st.one_of(
    st.sampled_from(RAW).map(lambda raw: f"raw{RAW.index(raw)}"),
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["9" * 5000, "x" * 30_000, "²", "٣" * 300, TIME, "9999-12-31T23:59:59Z", "1" * 300 + " x a", "4 x a"]),
    st.sampled_from([[], {}, [[]], [{}], {"value": 1}, {"source": "a", "value": []}, {"source": "a", "error": "b"}, [{}] * 1100]),
)
LEAVE_OUT = object()


def _places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield from _places(part, (*path, key))


def _spoilt(whole: Any, draw: Any) -> str:
    """A report with a few parts that are something else, or missing, and the text for it."""
    document = copy.deepcopy(whole)
    rates = [path for path in _places(whole) if {"copies.inside-gbps", "pcie.generation", "pcie.lanes", "promised", "host"} & set(path)]
    anywhere = st.sampled_from(sorted(_places(whole), key=str)[1:])
    for path, value in draw(st.lists(st.tuples(anywhere | st.sampled_from(rates), values | st.just(LEAVE_OUT)), min_size=1, max_size=6)):
        parent = document
        try:
            for key in path[:-1]:
                parent = parent[key]
            if value is LEAVE_OUT:
                del parent[path[-1]]
            else:
                parent[path[-1]] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    text = json.dumps(document)
    for index in reversed(range(len(RAW))):
        text = text.replace(f'"raw{index}"', RAW[index])
    return text


@pytest.fixture(scope="module")
def folder(maker: Maker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    for name, changes in (("good-1", {}), ("good-2", SICK)):
        (folder / f"{name}.json").write_text(maker.text(name, *[changes] * 4))
    return folder


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_no_report_keeps_the_others_off_the_page(data: st.DataObject, maker: Maker, folder: Path, catalog: Catalog) -> None:
    text = _spoilt(json.loads(maker.text("fuzzed", {}, SICK)), data.draw)
    (folder / "fuzzed.json").write_text(text)
    try:
        report, exit_code = decode(text, str(folder / "fuzzed.json")), ExitCode.OK
    except ReportError as error:
        assert 0 < len(str(error)) < 600
        report, exit_code = None, ExitCode.NO
    names = ("fuzzed", "good-1", "good-2")
    assert command.report([folder / f"{name}.json" for name in names], folder / "page.html", catalog=catalog, now=NOW) is exit_code
    page = Page((folder / "page.html").read_text())
    said = "".join(page.texts)
    assert page.classes.count("node") == 2 + (report is not None) and "good-1" in said and "good-2" in said
    assert ("fuzzed.json` is no report of a node: " in said) is (report is None)
    assert len(said) < 20 * len(text) + 200_000
    if report is None:
        with pytest.raises(DiagnosticError):
            command.report([folder / "fuzzed.json"], folder / "alone.html", catalog=catalog, now=NOW)
    else:
        Page(shown.page(fleet.survey([report], catalog, NOW), ()))
        assert report.outcome is verdict(report.results).outcome and all(isinstance(result, Result) for result in report.results)
        numbers = [value for device in report.devices for name in device.values if (value := device.number(name)) is not None]
        assert all(math.isfinite(number) and abs(number) < BEYOND for number in numbers)
