"""Many nodes' reports: read, ranked, drawn; reports are those that the real checks make of a real H100's readings."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fleet_samples
import pytest
from fleet_samples import H100, NOW, TIME, Changes, Maker, Page

from aistack.commands import fleet as command
from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.facts.catalog import Catalog
from aistack.node import fleet, gate
from aistack.node.fleet_reading import NodeReport, ReportError, decode
from aistack.node.results import Cause, Outcome, Result
from aistack.report import fleet as shown

SLOW = "copies.inside-gbps"


@pytest.fixture(scope="module")
def maker(catalog: Catalog) -> Maker:
    return Maker(catalog)


def states(node: fleet.Node) -> str:
    return "".join(shown.SIGNS["slow" if cell.slow else cell.outcome.value] for cell in node.cells)


def test_a_report_comes_back_as_it_was_written(maker: Maker) -> None:
    text = maker.text("a", {}, {"ecc.uncorrected": 2})
    report, document = decode(text, "x/other.json"), json.loads(text)
    assert (report.name, report.outcome, report.cause, report.level, report.driver) == (
        "a",
        Outcome.UNHEALTHY,
        Cause.HARDWARE,
        "standard",
        "580.159.04",
    )
    again = gate.document("check", report.results, None, host="a", time=TIME, uptime_seconds=1.0)
    assert again["results"] == document["results"]
    checked = {"schema": "aistack/node-check/v1", "ok": False, **{name: document[name] for name in ("outcome", "cause", "results")}}
    assert decode(json.dumps({**checked, "later": [1]}), "x.json").results == report.results


@pytest.mark.parametrize(("file", "name"), [("r/node7.json", "node7"), ("node7/check.json", "node7"), ("check.json", "check")])
def test_a_report_without_a_host_is_called_as_its_file(maker: Maker, file: str, name: str) -> None:
    assert decode(maker.text(None, {}), file).name == name


def test_a_report_that_is_cut_off_anywhere_is_refused(maker: Maker) -> None:
    text = maker.text("a", {})
    for end in random.Random(1).sample(range(len(text)), 200):
        with pytest.raises(ReportError, match="cut off" if end else "empty"):
            decode(text[:end], "a.json")


def test_what_is_no_report_says_why(maker: Maker) -> None:
    whole = json.loads(maker.text("a", {}))

    def refused(text: str) -> str:
        with pytest.raises(ReportError) as error:
            decode(text, "a.json")
        return str(error.value)

    def but(**changes: Any) -> str:
        return refused(json.dumps({**whole, **changes}))

    assert refused("[1]") == "it has no `schema`, not `aistack/node-check/v1` or `aistack/boot-report/v1`"
    assert but(schema="aistack/node-check/v2").startswith("its `schema` is `aistack/node-check/v2`, not ")
    assert but(results=None) == "it holds no `results`: it tells of a boot, not of a check"
    assert but(outcome="fine") == "`outcome` is `fine`, none of healthy, degraded, unknown, unhealthy"
    assert but(results=[{"name": "x", "outcome": "healthy"}]) == "`results[0].message` is no text"
    assert but(results=["x"]) == "`results[0]` is no object"
    assert but(host=7) == "`host` is no text"
    assert but(accelerators={"devices": [{"name": 7}]}) == "`accelerators.devices[0].name` is no reading"
    assert but(accelerators={"devices": {}}) == "`accelerators.devices` is no list"
    assert refused('{"schema": NaN}') == "it is damaged: `NaN` is no number of JSON"
    assert refused("[" * 100_000) == "it is nested too deep"


def test_those_to_look_at_first_come_first(maker: Maker, catalog: Catalog) -> None:
    fast = [maker.report(f"n{number}", {}) for number in (10, 9)]
    hot, split = maker.report("hot", {"clocks.held-by": "hardware-thermal"}), maker.report("split", *[{"persistence": False}] * 2)
    sick = maker.report("sick", {}, {"rows.failed": True}, promised=3)
    slow = maker.report("slow", *[{}] * 8, {SLOW: 2400.0})
    dark = maker.report("dark", {}, extra=(Result(name="images", outcome=Outcome.UNKNOWN, message="nobody knows"),))
    found = fleet.survey([*fast, hot, split, slow, dark, sick], catalog, NOW)
    assert [(node.report.name, states(node)) for node in found.nodes] == [
        ("sick", "✓✗✗"),
        ("dark", "✓"),
        ("split", "!!"),
        ("hot", "!"),
        ("slow", "✓✓✓✓✓✓✓✓↓"),
        ("n9", "✓"),
        ("n10", "✓"),
    ]
    assert found.causes == {Cause.HARDWARE: 1}
    assert list(found.checks) == ["accelerator-rows", "images", "accelerator-clocks", "accelerator-modes"]


def test_a_driver_that_does_not_answer_leaves_its_devices_unknown(maker: Maker, catalog: Catalog) -> None:
    document = json.loads(maker.text("a", *[{}] * 4))
    document["accelerators"] |= {"devices": [], "error": "did not end within 30 s"}
    found = fleet.survey([decode(json.dumps(document), "a.json")], catalog, NOW)
    assert states(found.nodes[0]) == "????"


@pytest.mark.parametrize(
    ("rates", "slow"),
    [
        ([100.0] * 99 + [94.0], 1),
        ([100.0] * 99 + [96.0], 0),
        ([100.0] * 6 + [50.0], 0),
        ([100.0 + index for index in range(40)] + [80.0], 0),
        ([100.0] * 60 + [55.0] * 40, 40),
        ([100.0] * 99 + [140.0], 0),
    ],
    ids=["slower", "within a twentieth", "too few", "scattered anyway", "a slow part of the fleet", "faster"],
)
def test_who_is_slow_beside_its_equals(rates: list[float], slow: int) -> None:
    found = sorted((fleet.Rate(gbps=gbps, file="a", address="b") for gbps in rates), key=lambda rate: rate.gbps)
    assert sum(rate.gbps < fleet.least(found) for rate in found) == slow


def test_busy_devices_and_other_products_are_not_compared(maker: Maker, catalog: Catalog) -> None:
    fast = [maker.report(f"n{number}", {}) for number in range(20)]
    busy, other = maker.report("busy", {"programs": 1, SLOW: 500.0}), maker.report("other", {"pci.id": "10de:20b2", SLOW: 1700.0})
    odd = maker.report("odd", {SLOW: -1, "copies.to-device-gbps": 0.0, "copies.from-device-gbps": "fast"})
    part = maker.report("part", {"compute.part": "0 (7g.80gb)", SLOW: 500.0})
    found = fleet.survey([*fast, busy, part, other, odd], catalog, NOW)
    assert {(spread.product, spread.way, len(spread.rates), spread.slow) for spread in found.spreads} == {
        ("nvidia/a100-sxm-80gb", "to-device", 1, 0),
        ("nvidia/a100-sxm-80gb", "from-device", 1, 0),
        ("nvidia/a100-sxm-80gb", "inside", 1, 0),
        (H100, "to-device", 20, 0),
        (H100, "from-device", 20, 0),
        (H100, "inside", 20, 0),
    }
    assert {spread.way: spread.floor for spread in found.spreads if spread.product == H100} == {
        "to-device": pytest.approx(31.5, abs=0.1),
        "from-device": pytest.approx(31.5, abs=0.1),
        "inside": 1905,
    }


def drawn(reports: list[NodeReport], catalog: Catalog, *problems: str) -> Page:
    return Page(shown.page(fleet.survey(reports, catalog, NOW), problems))


@pytest.fixture(scope="module")
def many(maker: Maker) -> list[NodeReport]:
    chosen = random.Random(3)
    kinds: list[Changes] = [{}, {}, {}, {"rows.failed": True}, {"persistence": False}, {SLOW: 2300.0}, {"memory.total-mib": 40960}]
    return [maker.report(f"n{number}", *chosen.choices(kinds, k=8)) for number in range(12)]


def test_the_page_needs_nothing_beside_itself_and_leads_everywhere(many: list[NodeReport], catalog: Catalog) -> None:
    page = drawn(many, catalog)
    assert all(link.startswith("#") for link in page.links)
    assert {link.removeprefix("#") for link in page.links} <= page.anchors
    assert {f"n{number}" for number in range(1, 13)} <= page.anchors
    assert not {name for name in page.attributes if name.startswith("on")}


def test_the_page_is_the_same_whatever_order_the_files_came_in(many: list[NodeReport], catalog: Catalog) -> None:
    shuffled = random.Random(5).sample(many, len(many))
    assert shown.page(fleet.survey(shuffled, catalog, NOW), ()) == shown.page(fleet.survey(many, catalog, NOW), ())


def test_one_node_has_a_page_of_its_own_with_all_evidence(maker: Maker, catalog: Catalog) -> None:
    page = drawn([maker.report("alone", {"ecc.uncorrected": 2})], catalog)
    text = "".join(page.texts).strip()
    assert text.startswith("alone: unhealthy, cause hardware")
    assert "To mend it: reset the device" in text and "ecc.uncorrected" in text and "PCI Express 5 x16" in text
    assert "2875 GB/s inside" in text and "grid" not in page.classes


HOSTILE = [
    '<script>alert(1)</script>"onload=x',
    "'><img src=x onerror=y>",
    "&lt;b&gt;\u202e\x00\x1b[31m",
    "\ud800",
    "</title></style>",
    "a" * 5000,
]


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_that_a_report_says_becomes_markup(maker: Maker, name: str, tmp_path: Path, catalog: Catalog) -> None:
    result = Result(
        name=name, outcome=Outcome.UNHEALTHY, cause=Cause.UNKNOWN, message=name, evidence=((name, name),), action=name, device=name
    )
    changes: Changes = {"pci.address": name, "name": name, "pci.id": name, "serial": name, "uuid": name, "pcie.lanes": name}
    texts = [maker.text(name[:253], changes, {}, extra=(result,)), maker.text("plain", {})]
    benign = [text.replace(json.dumps(name)[1:-1], "benign") for text in texts]
    pages = [drawn([decode(text, f"{index}.json") for index, text in enumerate(side)], catalog, name) for side in (texts, benign)]
    assert sorted(pages[0].classes) == sorted(pages[1].classes) and pages[0].attributes == pages[1].attributes
    assert not any(sign in "".join(pages[0].texts) for sign in "\u202e\x00\x1b")
    for index, text in enumerate(texts):
        (tmp_path / f"{index}.json").write_text(text)
    assert command.report([tmp_path / "0.json", tmp_path / "1.json"], tmp_path / "page.html", catalog=catalog, now=NOW) is ExitCode.OK
    assert (tmp_path / "page.html").read_bytes().decode("utf-8")


@pytest.fixture
def folder(maker: Maker, tmp_path: Path) -> Path:
    for number in range(3):
        (tmp_path / f"n{number}.json").write_text(maker.text(f"n{number}", {}))
    return tmp_path


def files(folder: Path) -> Iterator[Path]:
    return folder.glob("*.json")


def test_bad_files_are_told_on_the_page_and_on_stderr(folder: Path, catalog: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    page = folder / "page.html"
    assert command.report(sorted(files(folder)), page, catalog=catalog, now=NOW) is ExitCode.OK
    assert "Not counted" not in page.read_text()
    whole = (folder / "n0.json").read_text()
    (folder / "cut.json").write_text(whole[:2000])
    (folder / "bytes.json").write_bytes(b"\xff\xfe")
    assert command.report([*sorted(files(folder)), folder / "gone.json"], page, catalog=catalog, now=NOW) is ExitCode.NO
    said, told = capsys.readouterr().err, page.read_text()
    assert "Not counted: 3 files" in told and "3 nodes (3 healthy)" in told
    for name in ("cut.json", "bytes.json", "gone.json"):
        assert name in said and name in told
    assert "3 nodes (3 healthy), 3 accelerators, written to" in said
    unreadable = [*sorted(files(folder)), Path("/proc/self/mem")]
    assert command.report(unreadable, page, catalog=catalog, now=NOW) is ExitCode.UNABLE


def test_without_any_report_the_old_page_stays(folder: Path, catalog: Catalog) -> None:
    page, bad = folder / "page.html", folder / "bad.json"
    page.write_text("old")
    bad.write_text("{}")
    with pytest.raises(DiagnosticError) as error:
        command.report([bad], page, catalog=catalog, now=NOW)
    assert error.value.exit_code is ExitCode.NO and page.read_text() == "old"


def test_a_page_that_cannot_be_written_leaves_nothing_behind(folder: Path, catalog: Catalog) -> None:
    target = folder / "is-a-folder"
    (target / "x").mkdir(parents=True)
    with pytest.raises(OSError):
        command.report(sorted(files(folder)), target, catalog=catalog, now=NOW)
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []


def test_the_same_file_twice_is_one_node(folder: Path, catalog: Catalog, capsys: pytest.CaptureFixture[str]) -> None:
    command.report([folder / "n0.json", folder / "n0.json"], folder / "page.html", catalog=catalog, now=NOW)
    assert "1 node (1 healthy)" in capsys.readouterr().err


@pytest.mark.system
def test_a_fleet_of_stand_ins_with_seeded_faults(tmp_path: Path, catalog: Catalog) -> None:
    reports = [decode(text, name) for name, text in fleet_samples.reports(tmp_path, 150, catalog, broken=0.3)]
    found = fleet.survey(reports, catalog, NOW)
    outcomes = [node.report.outcome for node in found.nodes]
    assert outcomes == sorted(outcomes, key=fleet.STATES.index, reverse=True)
    assert {Outcome.UNHEALTHY, Outcome.UNKNOWN, Outcome.DEGRADED, Outcome.HEALTHY} == set(outcomes)
    assert set(found.causes) == set(Cause)
    page = Page(shown.page(found, ()))
    assert page.classes.count("node") == 150
