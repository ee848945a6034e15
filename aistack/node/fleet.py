"""Many nodes' reports held side by side: which to look at first, what they suffer from, and who is slow beside its equals. Pure.

A node's own check knows only the floor below which its product is wrong; a device that keeps above the floor and still lags behind a
thousand others of its kind shows only here. That is told, never a state of the node: nothing was promised about it.
"""

from __future__ import annotations

import datetime
import math
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from aistack.facts.catalog import Accelerator, Catalog
from aistack.facts.device_readings import Device
from aistack.facts.following import latest
from aistack.node.device_checks import link_floor
from aistack.node.fleet_reading import NodeReport
from aistack.node.results import Cause, Outcome
from aistack.values import dataclass

COPIES = {"to-device": "from host to device", "from-device": "from device to host", "inside": "inside the device"}
"""The ways of copies that are compared, by the middle of their readings' names."""

FEWEST = 8
"""So many equal devices have to be known before one of them can be called slow."""

SCORE = 3.5
"""Modified z-score from which a value is an outlier: Iglewicz and Hoaglin, <https://www.itl.nist.gov/div898/handbook/eda/section3/eda35h.htm>,
checked 2026-11-26."""

DEVIATIONS = 0.6745
"""The median of absolute deviations of a normal distribution, in standard deviations; the same source."""

NOTICED = 0.05
"""What lies less than this part below the median is no finding, however alike the others are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One accelerator: its state, and `slow` the ways in which it is slow beside its equals; no `device`: promised, not seen."""

    outcome: Outcome
    device: Device | None = None
    slow: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node with a cell for each of its accelerators."""

    report: NodeReport
    cells: tuple[Cell, ...]

    @property
    def is_slow(self) -> bool:
        """Whether nothing is wrong with it but that a device lags behind its equals."""
        return self.report.outcome is Outcome.HEALTHY and any(cell.slow for cell in self.cells)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """How fast a device copies, in GB/s, of the node whose report is `file`."""

    gbps: float
    file: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """One product's rates one way, the slowest first; `slow` of them are outliers. `floor` is what most of them are held to."""

    product: str
    way: str
    rates: tuple[Rate, ...]
    slow: int
    floor: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Older:
    """A report that does not count, since its host told `newer` too."""

    report: NodeReport
    newer: NodeReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """All nodes, those to look at first in front; `checks` has for each check how many nodes it found in which state.

    `ahead` are the reports whose time is more than a day ahead of now, and counts among them alone.
    """

    nodes: tuple[Node, ...]
    older: tuple[Older, ...]
    ahead: tuple[NodeReport, ...]
    spreads: tuple[Spread, ...]
    causes: Mapping[Cause, int]
    checks: Mapping[str, Mapping[Outcome, int]]


def survey(given: Sequence[NodeReport], catalog: Catalog, now: datetime.datetime) -> Fleet:
    """What the reports, each of a file of its own, come to together; the catalog tells the products, and what each is held against.

    `now` (UTC) is when they are held side by side.
    """
    limit = latest(now)
    reports, older = _newest(given, limit)
    known = {number: product for product in catalog.accelerators.values() for number in product.pci_ids}
    spreads = tuple(_spreads(reports, known, catalog))
    slow: dict[tuple[str, str], tuple[str, ...]] = {}
    for spread in spreads:
        for rate in spread.rates[: spread.slow]:
            slow[rate.file, rate.address] = (*slow.get((rate.file, rate.address), ()), spread.way)
    nodes = (Node(report=report, cells=tuple(_cells(report, slow))) for report in reports)
    return Fleet(
        nodes=tuple(sorted(nodes, key=_rank)),
        older=older,
        ahead=tuple(sorted((report for report in given if _is_ahead(report, limit)), key=lambda report: report.file)),
        spreads=spreads,
        causes=Counter(report.cause for report in reports if report.cause is not None),
        checks=_checks(reports),
    )


def _is_ahead(report: NodeReport, limit: str) -> bool:
    """Whether its time, of a clock that was wrong, would outrank every later report of its host."""
    return report.time is not None and report.time > limit


def _newest(given: Iterable[NodeReport], limit: str) -> tuple[tuple[NodeReport, ...], tuple[Older, ...]]:
    """Each host's newest report, of equally old ones the worst, and the others; one without a time is the oldest.

    Those after `limit` tell their own order alone: of the newest of them and the newest of the others the worse one counts.
    """

    def rank(report: NodeReport) -> tuple[bool, str, int, str]:
        return _is_ahead(report, limit), report.time or "", STATES.index(report.outcome), report.file

    ordered = sorted(given, key=rank)
    dated, ahead = ({_of(report): report for report in ordered if _is_ahead(report, limit) is which} for which in (False, True))
    newest = {of: max(filter(None, (dated.get(of), ahead.get(of))), key=lambda one: STATES.index(one.outcome)) for of in dated | ahead}
    older = (Older(report=report, newer=newest[_of(report)]) for report in ordered)
    return tuple(newest.values()), tuple(pair for pair in older if pair.report is not pair.newer)


def _of(report: NodeReport) -> tuple[str | None, str | None]:
    """What the report is about: its host, or where nobody gave that a name, what its file is of."""
    return report.host, None if report.host else report.file


def _rank(node: Node) -> tuple[object, ...]:
    """Unhealthy, unknown, degraded, slow, healthy; in each, the more devices are concerned the earlier, then by name as people count."""
    report = node.report
    concerned = sum(cell.outcome is not Outcome.HEALTHY or bool(cell.slow) for cell in node.cells)
    return (
        -STATES.index(report.outcome),
        not node.is_slow,
        -concerned,
        [_counted(word) for word in re.split("([0-9]+)", report.name)],
        report.file,
    )


def _counted(word: str) -> tuple[float, str]:
    """Numbers by their value, however many digits they have, and before words."""
    digits = word.lstrip("0")
    return (len(digits), digits) if word.isdecimal() else (math.inf, word)


STATES = tuple(Outcome)
"""The better the earlier."""


def _cells(report: NodeReport, slow: Mapping[tuple[str, str], tuple[str, ...]]) -> Iterator[Cell]:
    worst: dict[str, Outcome] = {}
    for result in report.results:
        if result.device is not None:
            worst[result.device] = max(worst.get(result.device, Outcome.HEALTHY), result.outcome, key=STATES.index)
    for device in report.devices:
        outcome = Outcome.UNHEALTHY if device.lost else worst.get(device.address, Outcome.HEALTHY)
        yield Cell(outcome=outcome, device=device, slow=slow.get((report.file, device.address), ()))
    unseen = Outcome.UNKNOWN if report.unasked else Outcome.UNHEALTHY
    yield from [Cell(outcome=unseen)] * (report.promised - len(report.devices))


def _product(device: Device, known: Mapping[str, Accelerator]) -> str:
    product = known.get(str(device.get("pci.id")))
    return product.id if product else str(device.get("name") or "unknown")


def _spreads(reports: Sequence[NodeReport], known: Mapping[str, Accelerator], catalog: Catalog) -> Iterator[Spread]:
    """Every product's rates; devices that programs work on, or of which a part was tried, are left out, since nothing holds for them."""
    rates: dict[tuple[str, str], list[Rate]] = {}
    floors: dict[tuple[str, str], list[float | None]] = {}
    for report in reports:
        for device in report.devices:
            if any(device.get(name) for name in ("programs", "compute.programs", "compute.unlisted", "compute.part")):
                continue
            product = known.get(str(device.get("pci.id")))
            for way in COPIES:
                gbps = device.number(f"copies.{way}-gbps")
                if gbps is None or gbps <= 0:
                    continue
                key = (_product(device, known), way)
                rates.setdefault(key, []).append(Rate(gbps=gbps, file=report.file, address=device.address))
                floors.setdefault(key, []).append(_floor(way, device, product, catalog))
    for (name, way), found in sorted(rates.items(), key=lambda item: (item[0][0], list(COPIES).index(item[0][1]))):
        limit = least(found)
        found.sort(key=lambda rate: (rate.gbps, rate.file, rate.address))
        slow = sum(rate.gbps < limit for rate in found)
        yield Spread(product=name, way=way, rates=tuple(found), slow=slow, floor=statistics.mode(floors[name, way]))


def _floor(way: str, device: Device, product: Accelerator | None, catalog: Catalog) -> float | None:
    """What a device's copies are held against; nothing for a product that nobody knows."""
    if product is None:
        return None
    return product.memory_bandwidth_minimum if way == "inside" else link_floor(catalog.limits_of(product.vendor), device)[0]


def least(rates: Sequence[Rate]) -> float:
    """Below this a device is slow beside its equals; 0 where they are too few to tell."""
    if len(rates) < FEWEST:
        return 0.0
    middle = statistics.median(rate.gbps for rate in rates)
    deviation = statistics.median(abs(rate.gbps - middle) for rate in rates)
    return middle - max(SCORE / DEVIATIONS * deviation, NOTICED * middle)


def _checks(reports: Iterable[NodeReport]) -> Mapping[str, Mapping[Outcome, int]]:
    """By check, the worst first: in how many nodes it found which state; those that found nothing anywhere are left out."""
    found: dict[str, Counter[Outcome]] = {}
    for report in reports:
        for name, outcome in {(result.name, result.outcome) for result in report.results if result.outcome is not Outcome.HEALTHY}:
            found.setdefault(name, Counter())[outcome] += 1
    return dict(sorted(found.items(), key=lambda item: (*(-item[1][outcome] for outcome in reversed(STATES)), item[0])))
