"""Which models run on which accelerators with which release of a framework: the rules of `check`, asked of every combination.

A cell is the snapshot of a machine of which only these three are known, so it is judged by every rule that judges snapshots. The rules
are not asked cell by cell: what a rule says without looking at one of the three holds for all of them (compose/partial.py). The releases
of all frameworks are one axis, so what has nothing to do with the framework is asked once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import fields
from typing import Any

from aistack.compose.decided import ACCELERATOR, MODEL, RELEASE, Cells
from aistack.compose.grid import WEIGHTS, Grid, Question, Reason, Row, deciding
from aistack.compose.judge import sourced
from aistack.compose.observe import observe, observed_programs
from aistack.compose.partial import Alike, Column, Columns, Left, Open, OpenValues, Table, bits, explore, lowest, only
from aistack.compose.recipe import AppWish
from aistack.compose.referred import refer
from aistack.compose.resolve import severity
from aistack.compose.rules import rules
from aistack.compose.rules.situation import Finding, Part, Rule, Situation, Value
from aistack.diagnostics import Severity
from aistack.facts.catalog import Accelerator, Catalog, Framework, Model
from aistack.facts.snapshot import Snapshot
from aistack.facts.version import newest_first

OPEN_RELEASE: Any = Open(RELEASE)
OPEN_MODEL: Any = Open(MODEL)
NO_WISH = AppWish()

Kind = tuple[str | None, ...]
"""What of an accelerator decides how programs are built for it."""


def matrix(
    catalog: Catalog, today: str, accelerators: Sequence[Accelerator], question: Question, *, without: Set[str] = frozenset()
) -> Iterator[Grid]:
    """The grids of all frameworks that serve models on any of these accelerators, by their ids; rules `without` are not asked."""
    frameworks = [
        framework
        for _, framework in sorted(catalog.frameworks.items())
        if framework.models != "none"
        and any(framework.runs_on(product) for product in accelerators)
        and any(serves(framework, model) for model in catalog.models.values())
    ]
    models = [model for model in catalog.models.values() if any(serves(framework, model) for framework in frameworks)]
    if frameworks:
        yield from _Matrix(
            catalog, today, frameworks, accelerators, sorted(models, key=lambda model: model.id.lower()), question, without
        ).grids()


def serves(framework: Framework, model: Model) -> bool:
    """Whether the framework loads the model's format, or has it converted, and serves its kind."""
    converted = framework.conversion is not None and framework.conversion.format in framework.formats
    return (model.format in framework.formats or converted) and (not framework.kinds or model.kind in framework.kinds)


class _Matrix:
    """All cells: what the rules see of any part of them, and what they say."""

    def __init__(
        self,
        catalog: Catalog,
        today: str,
        frameworks: Sequence[Framework],
        products: Sequence[Accelerator],
        models: Sequence[Model],
        question: Question,
        without: Set[str],
    ) -> None:
        self.catalog, self.today, self.question, self.without = catalog, today, question, without
        self.frameworks, self.products, self.models = frameworks, products, models
        self.releases = [
            (framework, release)
            for framework in frameworks
            for release in newest_first((release.version for release in framework.releases), framework.versions)
        ]
        self.alone = {
            ACCELERATOR: [self._observed(accelerator=product.id) for product in products],
            RELEASE: [self._observed(framework=framework.id, release=release) for framework, release in self.releases],
            MODEL: [self._observed(model=model) for model in models],
        }
        self.kinds = [_kind(product) for product in products]
        self.programs = {kind: self._built_for(self.kinds.index(kind)) for kind in dict.fromkeys(self.kinds)}
        self.shapes = self._shapes()
        self.node_columns = self._columns(lambda seen: seen.values)
        self.node_constants = {name: value for name, value in self.alone[MODEL][0].values.items() if name not in self.node_columns}
        self.part_columns = {**self._columns(lambda seen: seen.parts[0].values), **self._joint()}
        programs = self.alone[RELEASE][0].parts[0].values
        self.part_constants = {name: value for name, value in programs.items() if name not in self.part_columns}
        self.seen_products = Column(ACCELERATOR, [one.accelerator for one in self.alone[ACCELERATOR]])
        self.seen_frameworks = Column(RELEASE, [framework for framework, _ in self.releases])
        nothing = Snapshot(schema="aistack/snapshot/v1")
        self.unsaid: dict[str, Any] = {field.name: getattr(nothing, field.name) for field in fields(nothing)}
        self.blocks = {
            "accelerator": Column(ACCELERATOR, [one.seen.accelerator for one in self.alone[ACCELERATOR]]),
            "model": Column(MODEL, [one.seen.model for one in self.alone[MODEL]]),
        }

    # The answers.

    def grids(self) -> Iterator[Grid]:
        """The grid of each framework, with the models that it serves and the accelerators that it has builds for."""
        reasons, numbers = self._decided().numbered(len(self.products))
        shown, first = (*reasons, None), 0
        for framework in self.frameworks:
            last = first + len(framework.releases)
            served = [number for number, model in enumerate(self.models) if serves(framework, model)]
            cells = {m: list(zip(*(numbers[release][m] for release in range(first, last)), strict=True)) for m in served}
            rows = tuple(
                Row(
                    accelerator=product.id,
                    model=self.models[m].id,
                    delivered=framework.delivered_on(product),
                    reasons=shown,
                    numbers=cells[m][a],
                )
                for a, product in enumerate(self.products)
                if framework.runs_on(product)
                for m in served
            )
            releases = tuple(release for _, release in self.releases[first:last])
            first = last
            yield Grid(framework=framework.id, name=framework.name, releases=releases, rows=rows)

    def _decided(self) -> Cells:
        """What decides each cell: the heaviest that any rule has against it.

        Of errors the one with the lowest code decides, so what has one is not asked of the rules that come after it.
        """
        built = {
            framework.id: bits(a for a, product in enumerate(self.products) if framework.runs_on(product)) for framework in self.frameworks
        }
        cells = Cells([[built[framework.id] * serves(framework, model) for model in self.models] for framework, _ in self.releases])
        everything = {axis: (1 << len(seen)) - 1 for axis, seen in self.alone.items()}
        lighter: list[tuple[Left, Reason]] = []
        for rule in rules(self.catalog):
            if rule.of == "recipe" or rule.code in self.without:
                continue
            view = self._app_view if rule.about == "app" else self._node_view
            for left, findings in explore(rule, view, everything, cells.are_open):
                reason = deciding(_judged(rule, findings, self.catalog))
                if reason is None:
                    continue
                if reason.severity is Severity.ERROR:
                    cells.decide(left, reason)
                else:
                    lighter.append((left, reason))
        for left, reason in sorted(lighter, key=lambda one: WEIGHTS[one[1].severity]):
            cells.decide(left, reason)
        return cells

    # What the rules see.

    def _observed(self, **given: Any) -> Situation:
        return observe(self.question.snapshot(**given), self.catalog, self.today)

    def _built_for(self, number: int) -> list[Part]:
        """The programs of each release on accelerators of the kind of that one."""
        product, node = self.products[number].id, self.alone[ACCELERATOR][number].values
        snapshots = (self.question.snapshot(product, framework.id, release) for framework, release in self.releases)
        return [observed_programs(refer(snapshot, self.catalog), self.catalog, node) for snapshot in snapshots]

    def _shapes(self) -> list[Alike]:
        """By release: on which accelerators it is the same, and pulls in the same."""
        found = []
        for parts in zip(*self.programs.values(), strict=True):
            shapes = [(part.release, part.pulled) for part in parts]
            first = {kind: shapes.index(shape) for kind, shape in zip(self.programs, shapes, strict=True)}
            found.append(Alike(ACCELERATOR, [first[kind] for kind in self.kinds]))
        return found

    def _columns(self, values: Callable[[Situation], Mapping[str, Value]]) -> Columns:
        """By component: what the axis decides that has it; what no axis decides is left out."""
        found: dict[str, Column] = {}
        names = {name: axis for axis, seen in self.alone.items() for one in seen for name in values(one)}
        for name, axis in names.items():
            columns = {other: [values(one).get(name) for one in seen] for other, seen in self.alone.items()}
            if len({value for column in columns.values() for value in column}) > 1:
                found[name] = Column(axis, columns[axis])
        return found

    def _joint(self) -> dict[str, Table]:
        """The components of the program that accelerator and release decide together."""
        alone = [one.parts[0].values for one in self.alone[RELEASE]]
        together = [(own, part.values) for parts in self.programs.values() for own, part in zip(alone, parts, strict=True)]
        names = {name for own, values in together for name in (*own, *values) if own.get(name) != values.get(name)}
        return {name: self._table(name) for name in sorted(names)}

    def _table(self, name: str) -> Table:
        seen: dict[tuple[Value | None, ...], Column] = {}
        columns = {}
        for kind, parts in self.programs.items():
            values = tuple(part.values.get(name) for part in parts)
            columns[kind] = seen.setdefault(values, Column(RELEASE, values))
        return Table(ACCELERATOR, [columns[kind] for kind in self.kinds])

    def _node_view(self, left: Left) -> Situation:
        """What rules about the node see of the cells that are left."""
        return self._situation(left, self._part(left), None)

    def _app_view(self, left: Left) -> Situation:
        """What rules about the program see of them."""
        part = self._part(left)
        return self._situation(left, part, part)

    def _situation(self, left: Left, part: Part, judged: Part | None) -> Situation:
        return Situation(
            catalog=self.catalog,
            today=self.today,
            snapshot=self._snapshot(left),
            os=None,
            accelerator=self.seen_products.rest(left),
            values=OpenValues(self.node_constants, self.node_columns, left),
            parts=(part,),
            part=judged,
        )

    def _snapshot(self, left: Left) -> Snapshot:
        """The snapshot of the cells that are left."""
        release = only(left[RELEASE])
        frameworks: Any = OPEN_RELEASE if release is None else self.alone[RELEASE][release].seen.frameworks
        blocks = {name: column.rest(left) for name, column in self.blocks.items()}
        return Snapshot(**{**self.unsaid, **blocks, "frameworks": frameworks})

    def _part(self, left: Left) -> Part:
        """The program of the cells that are left."""
        model, number = only(left[MODEL]), only(left[RELEASE])
        models = paths = OPEN_MODEL
        release = pulled = OPEN_RELEASE
        if model is not None:
            served = self.alone[MODEL][model].parts[0]
            models, paths = served.models, served.model_paths
        if number is not None:
            shape, own = self.shapes[number], self.programs[self.kinds[lowest(left[ACCELERATOR])]][number]
            release, pulled = (own.release, own.pulled) if shape.agree(left) else (Open(ACCELERATOR, shape.parts),) * 2
        return Part(
            name="",
            wish=NO_WISH,
            framework=self.seen_frameworks.rest(left),
            root=None,
            models=models,
            model_paths=paths,
            values=OpenValues(self.part_constants, self.part_columns, left),
            release=release,
            pulled=pulled,
        )


def _kind(product: Accelerator) -> Kind:
    """What of a product can matter to how programs are built for it; products of one kind share what is concluded of programs."""
    return product.vendor, product.compute_capability, product.host


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
