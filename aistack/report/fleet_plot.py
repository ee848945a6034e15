"""Rates of copies as small plots: for each product and way how many devices are how fast, the floor, and who is slow by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from itertools import groupby

from aistack.node.fleet import COPIES, Spread
from aistack.report.text import printable

WIDTH, HEIGHT, HEAD, BASE, BINS = 340, 90, 14, 74, 44
"""Of a plot, in its own units: the bars stand between HEAD, above which the floor is named, and BASE, below which the axis is."""

NAMED = 12
"""So many slow devices are named below a plot; the others are in the grid."""


def plots(spreads: Iterable[Spread], links: Mapping[str, str]) -> Iterator[str]:
    """A row of plots for each product; `links` lead to the nodes, by the file of their report."""
    for product, group in groupby(spreads, key=lambda spread: spread.product):
        drawn = "".join(_figure(spread, links) for spread in group)
        yield f'<h2>How fast {escape(printable(product))} copies</h2><div class="plots">{drawn}</div>'


def _figure(spread: Spread, links: Mapping[str, str]) -> str:
    rates = spread.rates
    said = f"{COPIES[spread.way]}, GB/s: {len(rates)} devices, {rates[0].gbps:.5g} to {rates[-1].gbps:.5g}, "
    said += f"half of them from {rates[len(rates) // 2].gbps:.5g}" + (f", floor {spread.floor:.5g}" if spread.floor is not None else "")
    named = "".join(
        f"<li>{rate.gbps:.5g} GB/s, {links[rate.file]}, {escape(printable(rate.address))}</li>" for rate in rates[: min(spread.slow, NAMED)]
    )
    more = f"<li>and {spread.slow - NAMED} more</li>" if spread.slow > NAMED else ""
    return f'<figure>{_svg(spread, said)}<figcaption>{said}</figcaption><ul class="slow">{named}{more}</ul></figure>'


def _svg(spread: Spread, said: str) -> str:
    """Bars from the slowest to the fastest and the floor; slow devices have a colour of their own and are the ones on the left."""
    ends = [spread.rates[0].gbps, spread.rates[-1].gbps, *([spread.floor] if spread.floor is not None else [])]
    beyond = (max(ends) - min(ends) or max(ends)) * 0.03 or 1.0  # the smallest numbers have no such part
    low, high = min(ends) - beyond, max(ends) + beyond
    bins = [int((rate.gbps - low) / (high - low) * BINS) for rate in spread.rates]
    counts, late = Counter(bins), Counter(bins[: spread.slow])
    bars = "".join(_bar(index, count, max(counts.values()), is_late=late[index] > 0) for index, count in sorted(counts.items()))
    floor = _floor((spread.floor - low) / (high - low) * WIDTH) if spread.floor is not None else ""
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(said)}">{bars}'
        f'<path class="axis" d="M0 {BASE}H{WIDTH}"/><text x="0" y="{HEIGHT - 3}">{low:.4g}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT - 3}" text-anchor="end">{high:.4g}</text>{floor}</svg>'
    )


def _bar(index: int, count: int, most: int, *, is_late: bool) -> str:
    """One bar; a single device among thousands can still be seen."""
    step, height = WIDTH / BINS, max((BASE - HEAD) * count / most, 3)
    place = f'x="{index * step:.1f}" y="{BASE - height:.1f}" width="{step - 1:.1f}" height="{height:.1f}"'
    return f'<rect class="{"late" if is_late else "bar"}" {place}><title>{count}</title></rect>'


def _floor(x: float) -> str:
    beside, anchor = (3, "start") if x < WIDTH / 2 else (-3, "end")
    return f'<path class="floor" d="M{x:.1f} 2V{BASE}"/><text x="{x + beside:.1f}" y="11" text-anchor="{anchor}">floor</text>'
