"""Which models run on which accelerators with which release of a framework: the rules of `check`, asked of every combination.

A cell is the snapshot of a machine of which only these three are known, so it is judged by every rule that judges snapshots. The rules
are not asked cell by cell: what a rule says without looking at one of the three holds for all of them (compose/partial.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from aistack.compose.judge import sourced
from aistack.compose.observe import observe
from aistack.compose.partial import Known, Open, OpenMapping, explore
from aistack.compose.resolve import severity
from aistack.compose.rules import rules
from aistack.compose.rules.situation import Finding, Part, Rule, Situation, Value
from aistack.diagnostics import Severity
from aistack.facts.catalog import Accelerator, Catalog, Framework, Model
from aistack.facts.snapshot import SeenAccelerator, SeenFramework, SeenModel, Snapshot
from aistack.facts.version import newest_first

WEIGHTS = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.UNKNOWN: 2}
"""What decides a cell, the heaviest first; a note decides nothing."""

ACCELERATOR, RELEASE, MODEL = "accelerator", "release", "model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """What decides a cell."""

    rule: str
    name: str
    severity: Severity
    message: str
    label: str | None = None
    why: tuple[str, ...] = ()
    source: str | None = None
    checked: str | None = None

    @property
    def rank(self) -> tuple[int, str, str]:
        """The lower one decides."""
        return WEIGHTS[self.severity], self.rule, self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model on one accelerator: what decides for each of the grid's releases, None where no rule has anything against it."""

    accelerator: str
    model: str
    cells: tuple[Reason | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """One framework: its releases, newest first, and a row for each model on each accelerator that its builds are for."""

    framework: str
    name: str
    releases: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def size(self) -> int:
        """How many cells there are."""
        return len(self.rows) * len(self.releases)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What all cells have in common: how many accelerators share the model, and the longest request (the model's own unless given)."""

    count: int = 1
    context: int | None = None

    def snapshot(
        self, accelerator: str | None = None, framework: str = "", release: str | None = None, model: str | None = None
    ) -> Snapshot:
        """The machine that a cell stands for, as far as it is given."""
        shared = self.count if self.count > 1 else None
        return Snapshot(
            schema="aistack/snapshot/v1",
            accelerator=SeenAccelerator(product=accelerator, count=shared if accelerator else None),
            frameworks={framework: SeenFramework(version=release)} if framework else {},
            model=SeenModel(id=model, tensor_parallel=shared, max_model_len=self.context),
        )


def matrix(catalog: Catalog, today: str, accelerators: Sequence[Accelerator], question: Question) -> Iterator[Grid]:
    """The grids of all frameworks that serve models on any of these accelerators, by their ids."""
    for framework in sorted(catalog.frameworks.values(), key=lambda framework: framework.id):
        products = [product for product in accelerators if product.vendor in framework.vendors]
        models = [model for model in catalog.models.values() if serves(framework, model)]
        if framework.models != "none" and products and models:
            yield _Cells(catalog, today, framework, products, sorted(models, key=lambda model: model.id.lower()), question).grid()


def serves(framework: Framework, model: Model) -> bool:
    """Whether the framework loads the model's format, or has it converted, and serves its kind."""
    converted = framework.conversion is not None and framework.conversion.format in framework.formats
    return (model.format in framework.formats or converted) and (not framework.kinds or model.kind in framework.kinds)


def deciding(reasons: Iterable[Reason]) -> Reason | None:
    """The reason that decides a cell; None where nothing is against it."""
    return min(reasons, key=lambda reason: reason.rank, default=None)


class _Cells:
    """One framework's cells: what each of the three axes alone says of a situation, and what the rules say of all of them."""

    def __init__(
        self,
        catalog: Catalog,
        today: str,
        framework: Framework,
        products: Sequence[Accelerator],
        models: Sequence[Model],
        question: Question,
    ) -> None:
        self.catalog, self.today, self.framework, self.question = catalog, today, framework, question
        releases = newest_first((release.version for release in framework.releases), framework.versions)
        self.axes: dict[str, Sequence[Any]] = {ACCELERATOR: products, RELEASE: releases, MODEL: models}
        name = framework.id
        self.alone = {
            ACCELERATOR: [self._observed(accelerator=product.id) for product in products],
            RELEASE: [self._observed(framework=name, release=release) for release in releases],
            MODEL: [self._observed(model=model.id) for model in models],
        }
        self.kinds = [_kind(product) for product in products]
        known = list(dict.fromkeys(self.kinds))
        typical = [products[self.kinds.index(kind)].id for kind in known]
        self.parts = {
            kind: [self._observed(accelerator=product, framework=name, release=release).parts[0] for release in releases]
            for kind, product in zip(known, typical, strict=True)
        }
        self.node_axes = self._node_axes()
        self.part_axes = self._part_axes()
        self.views: dict[tuple[tuple[str, int], ...], Situation] = {}

    def grid(self) -> Grid:
        """Every cell."""
        reasons = self._reasons()
        order = sorted(set(reasons.values()), key=lambda reason: reason.rank)
        number = {reason: index for index, reason in enumerate(order)}
        fine = len(order)
        table = {place: number[reason] for place, reason in reasons.items()}
        products, releases, models = (self.axes[axis] for axis in (ACCELERATOR, RELEASE, MODEL))
        spread = range(len(releases))
        always = [min(table.get((None, r, None), fine), table.get((None, None, None), fine)) for r in spread]
        of_model = [[table.get((None, r, m), fine) for r in spread] for m in range(len(models))]
        triple = {place for place in table if None not in place}
        shown = [*order, None]
        rows = []
        for a, product in enumerate(products):
            here = table.get((a, None, None), fine)
            of_product = [min(table.get((a, r, None), fine), always[r], here) for r in spread]
            for m, model in enumerate(models):
                both = min(table.get((a, None, m), fine), table.get((None, None, m), fine))
                cells = [min(one, other, both) for one, other in zip(of_product, of_model[m], strict=True)]
                if triple:
                    cells = [min(cell, table.get((a, r, m), fine)) for r, cell in enumerate(cells)]
                rows.append(Row(accelerator=product.id, model=model.id, cells=tuple(shown[cell] for cell in cells)))
        return Grid(framework=self.framework.id, name=self.framework.name, releases=tuple(releases), rows=tuple(rows))

    def _reasons(self) -> dict[tuple[int | None, int | None, int | None], Reason]:
        """By the axes on which it depends (None: on this one not): what decides there."""
        found: dict[tuple[int | None, int | None, int | None], Reason] = {}
        for rule in rules(self.catalog):
            if rule.of == "recipe":
                continue
            for known, findings in explore(rule, self._situation, self.axes):
                place = (known.get(ACCELERATOR), known.get(RELEASE), known.get(MODEL))
                reasons = [*_judged(rule, findings, self.catalog), *([found[place]] if place in found else [])]
                decided = deciding(reasons)
                if decided is not None:
                    found[place] = decided
        return found

    def _observed(self, **given: str) -> Situation:
        return observe(self.question.snapshot(**given), self.catalog, self.today)

    def _node_axes(self) -> dict[str, str]:
        """By component of the node: the axis that decides its value; those that none decides are left out."""
        axes = {name: axis for axis, seen in self.alone.items() for one in seen for name in one.values}
        return {name: axis for name, axis in axes.items() if not self._same(one.values.get(name) for one in self._every())}

    def _part_axes(self) -> dict[str, str | None]:
        """By component of the program: the same; None where accelerator and release decide together."""
        alone = [one.parts[0] for one in self.alone[RELEASE]]
        found: dict[str, str | None] = {name: MODEL for one in self.alone[MODEL] for name in one.parts[0].values}
        for name in {name for parts in (alone, *self.parts.values()) for part in parts for name in part.values}:
            pairs = [(own, part) for parts in self.parts.values() for own, part in zip(alone, parts, strict=True)]
            alike = all(own.values.get(name) == part.values.get(name) for own, part in pairs)
            found[name] = RELEASE if alike else None
        return {name: axis for name, axis in found.items() if not self._same(one.parts[0].values.get(name) for one in self._every())}

    def _every(self) -> Iterator[Situation]:
        return (one for seen in self.alone.values() for one in seen)

    def _same(self, values: Iterable[Value | None]) -> bool:
        return len(set(values)) == 1

    def _situation(self, known: Known) -> Situation:
        """What a rule sees where only some axes are decided."""
        key = tuple(sorted(known.items()))
        if key not in self.views:
            self.views[key] = self._built(known)
        return self.views[key]

    def _built(self, known: Known) -> Situation:
        seen = {axis: self.alone[axis][number] for axis, number in known.items()}
        values = {name: value for name, value in next(self._every()).values.items() if name not in self.node_axes}
        for one in seen.values():
            values |= one.values
        open_values = {name: axis for name, axis in self.node_axes.items() if axis not in known}
        product: Any = seen[ACCELERATOR].accelerator if ACCELERATOR in known else Open(ACCELERATOR)
        return Situation(
            catalog=self.catalog,
            today=self.today,
            snapshot=self._snapshot(known),
            os=None,
            accelerator=product,
            values=OpenMapping(values, open_values) if open_values else values,
            parts=(self._part(known),),
        )

    def _snapshot(self, known: Known) -> Snapshot:
        names = {axis: self.axes[axis][number] for axis, number in known.items()}
        product, model = names.get(ACCELERATOR), names.get(MODEL)
        whole = self.question.snapshot(
            product.id if product else None, self.framework.id, names.get(RELEASE, ""), model.id if model else None
        )
        opened: dict[str, Any] = {
            "accelerator": (ACCELERATOR, Open(ACCELERATOR)),
            "frameworks": (RELEASE, Open(RELEASE)),
            "model": (MODEL, Open(MODEL)),
        }
        return replace(whole, **{block: stand_in for block, (axis, stand_in) in opened.items() if axis not in known})

    def _part(self, known: Known) -> Part:
        a, r, m = known.get(ACCELERATOR), known.get(RELEASE), known.get(MODEL)
        part = self.alone[RELEASE][r].parts[0] if r is not None else self.alone[RELEASE][0].parts[0]
        if r is not None and a is not None:
            part = self.parts[self.kinds[a]][r]
        undecided = {
            name: axis or (ACCELERATOR if a is None else RELEASE)
            for name, axis in self.part_axes.items()
            if (axis not in known if axis else a is None or r is None)
        }
        values = {name: value for name, value in part.values.items() if name not in undecided}
        if m is not None:
            values = {**self.alone[MODEL][m].parts[0].values, **values}
        opened: dict[str, Any] = {}
        if r is None:
            opened = {"release": Open(RELEASE), "pulled": Open(RELEASE)}
        elif a is None and any(parts[r].pulled != part.pulled or parts[r].release != part.release for parts in self.parts.values()):
            opened = {"release": Open(ACCELERATOR), "pulled": Open(ACCELERATOR)}
        served = self.alone[MODEL][m].parts[0] if m is not None else None
        opened["models"] = served.models if served else Open(MODEL)
        opened["model_paths"] = served.model_paths if served else Open(MODEL)
        return replace(part, framework=self.framework, values=OpenMapping(values, undecided) if undecided else values, **opened)


def _kind(product: Accelerator) -> tuple[Any, ...]:
    """What of a product can matter to how programs are built for it; products of one kind share what is concluded of programs."""
    return product.vendor, product.kind, product.architecture, product.compute_capability, product.target, product.host


def _judged(rule: Rule, findings: Iterable[Finding], catalog: Catalog) -> Iterator[Reason]:
    for finding in findings:
        weight = severity(rule, finding)
        if weight in WEIGHTS:
            source, checked = sourced(rule, finding, catalog)
            yield Reason(
                rule=rule.code,
                name=rule.name,
                severity=weight,
                message=finding.message,
                label=finding.label,
                why=finding.why,
                source=source,
                checked=checked,
            )


def runs(cells: Sequence[Reason | None]) -> Iterator[tuple[int, int, Reason | None]]:
    """(first, last, what decides the first) of neighbours with the same verdict by the same rule."""
    first = 0
    for index in range(1, len(cells) + 1):
        if index == len(cells) or _alike(cells[index]) != _alike(cells[first]):
            yield first, index - 1, cells[first]
            first = index


def _alike(reason: Reason | None) -> tuple[str, str]:
    return (reason.severity.value, reason.rule) if reason else ("ok", "")
