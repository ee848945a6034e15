"""Which models run on which accelerators with which release of a framework: the rules of `check`, asked of every combination.

A cell is the snapshot of a machine of which only these three are known, so it is judged by every rule that judges snapshots. The rules
are not asked cell by cell: what a rule says without looking at one of the three holds for all of them (compose/partial.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from aistack.compose.grid import WEIGHTS, Grid, Question, Reason, Row, deciding
from aistack.compose.judge import sourced
from aistack.compose.observe import observe
from aistack.compose.partial import Columns, Left, Open, OpenValues, UndecidedError, explore
from aistack.compose.resolve import severity
from aistack.compose.rules import rules
from aistack.compose.rules.situation import Finding, Part, Rule, Situation, Value
from aistack.diagnostics import Severity
from aistack.facts.catalog import Accelerator, Catalog, Framework, Model
from aistack.facts.snapshot import Snapshot
from aistack.facts.version import newest_first

ACCELERATOR, RELEASE, MODEL = "accelerator", "release", "model"

FEW = 256
"""So many cells are looked through to save a rule the question about them."""

Kind = tuple[str | None, ...]
"""What of an accelerator decides how programs are built for it."""


def matrix(
    catalog: Catalog, today: str, accelerators: Sequence[Accelerator], question: Question, *, without: Set[str] = frozenset()
) -> Iterator[Grid]:
    """The grids of all frameworks that serve models on any of these accelerators, by their ids; rules `without` are not asked."""
    for framework in sorted(catalog.frameworks.values(), key=lambda framework: framework.id):
        products = [product for product in accelerators if framework.runs_on(product)]
        models = [model for model in catalog.models.values() if serves(framework, model)]
        if framework.models != "none" and products and models:
            yield _Cells(catalog, today, framework, products, sorted(models, key=lambda model: model.id.lower()), question, without).grid()


def serves(framework: Framework, model: Model) -> bool:
    """Whether the framework loads the model's format, or has it converted, and serves its kind."""
    converted = framework.conversion is not None and framework.conversion.format in framework.formats
    return (model.format in framework.formats or converted) and (not framework.kinds or model.kind in framework.kinds)


class _Cells:
    """One framework's cells: what the rules see of any part of them, and what they say."""

    def __init__(
        self,
        catalog: Catalog,
        today: str,
        framework: Framework,
        products: Sequence[Accelerator],
        models: Sequence[Model],
        question: Question,
        without: Set[str],
    ) -> None:
        self.catalog, self.today, self.framework, self.question, self.without = catalog, today, framework, question, without
        self.products, self.models = products, models
        self.releases = newest_first((release.version for release in framework.releases), framework.versions)
        name = framework.id
        self.alone = {
            ACCELERATOR: [self._observed(accelerator=product.id) for product in products],
            RELEASE: [self._observed(framework=name, release=release) for release in self.releases],
            MODEL: [self._observed(model=model) for model in models],
        }
        self.kinds = [_kind(product) for product in products]
        typical = {kind: product.id for kind, product in zip(self.kinds, products, strict=True)}
        self.parts = {
            kind: [self._observed(accelerator=product, framework=name, release=release).parts[0] for release in self.releases]
            for kind, product in typical.items()
        }
        self.node_columns = self._columns(lambda seen: seen.values)
        self.part_columns = self._columns(lambda seen: seen.parts[0].values)
        self.joint = self._joint()
        self.node_constants = {name: value for name, value in self.alone[MODEL][0].values.items() if name not in self.node_columns}
        self.views: dict[tuple[tuple[int, ...], ...], Situation] = {}
        self.app_views: dict[tuple[tuple[int, ...], ...], Situation] = {}
        self.snapshots: dict[tuple[int | None, int | None, int | None], Snapshot] = {}
        self.programs: dict[tuple[tuple[Kind, ...], int | None, int | None], tuple[Part, Columns, Mapping[str, UndecidedError]]] = {}

    def grid(self) -> Grid:
        """Every cell."""
        found = list(self._reasons())
        order = sorted({reason for _, reason in found}, key=lambda reason: reason.rank)
        number = {reason: index for index, reason in enumerate(order)}
        fine = len(order)
        table = [[[fine] * len(self.releases) for _ in self.models] for _ in self.products]
        for left, reason in found:
            mine = number[reason]
            for a in left[ACCELERATOR]:
                for m in left[MODEL]:
                    row = table[a][m]
                    for r in left[RELEASE]:
                        if mine < row[r]:
                            row[r] = mine
        shown = [*order, None]
        rows = tuple(
            Row(accelerator=product.id, model=model.id, cells=tuple(shown[cell] for cell in table[a][m]))
            for a, product in enumerate(self.products)
            for m, model in enumerate(self.models)
        )
        return Grid(framework=self.framework.id, name=self.framework.name, releases=tuple(self.releases), rows=rows)

    def _reasons(self) -> Iterator[tuple[Left, Reason]]:
        """What speaks against which cells, the most that any rule has for them.

        Of errors the one with the lowest code decides, so what has one need not be asked of the rules that come after it.
        """
        everything = {axis: tuple(range(len(seen))) for axis, seen in self.alone.items()}
        settled = [[bytearray(len(self.releases)) for _ in self.models] for _ in self.products]

        def wanted(left: Left) -> bool:
            products, releases, models = left[ACCELERATOR], left[RELEASE], left[MODEL]
            if len(products) * len(releases) * len(models) > FEW:
                return True
            return not all(settled[a][m][r] for a in products for m in models for r in releases)

        for rule in rules(self.catalog):
            if rule.of == "recipe" or rule.code in self.without:
                continue
            views = self._app_views if rule.about == "app" else self._node_views
            for left, findings in explore(rule, views, everything, wanted):
                decided = deciding(_judged(rule, findings, self.catalog))
                if decided is None:
                    continue
                yield left, decided
                for a in left[ACCELERATOR] if decided.severity is Severity.ERROR else ():
                    for m in left[MODEL]:
                        for r in left[RELEASE]:
                            settled[a][m][r] = True

    def _observed(self, **given: Any) -> Situation:
        return observe(self.question.snapshot(**given), self.catalog, self.today)

    def _columns(self, values: Callable[[Situation], Mapping[str, Value]]) -> Columns:
        """By component: the axis that decides its value, and the value for each number; what no axis decides is left out."""
        found: dict[str, tuple[str, Sequence[Value | None]]] = {}
        names = {name: axis for axis, seen in self.alone.items() for one in seen for name in values(one)}
        for name, axis in names.items():
            columns = {other: [values(one).get(name) for one in seen] for other, seen in self.alone.items()}
            if len({value for column in columns.values() for value in column}) > 1:
                found[name] = (axis, columns[axis])
        return found

    def _joint(self) -> frozenset[str]:
        """The components of the program that accelerator and release decide together."""
        alone = [one.parts[0].values for one in self.alone[RELEASE]]
        names = {name for values in alone for name in values} | {
            name for parts in self.parts.values() for one in parts for name in one.values
        }
        together = [(own, part.values) for parts in self.parts.values() for own, part in zip(alone, parts, strict=True)]
        return frozenset(name for name in names if any(own.get(name) != values.get(name) for own, values in together))

    def _node_views(self, left: Left) -> tuple[Situation]:
        """What rules about the node see of the cells that are left."""
        key = (left[ACCELERATOR], left[RELEASE], left[MODEL])
        if key not in self.views:
            self.views[key] = self._situation(left)
        return (self.views[key],)

    def _app_views(self, left: Left) -> tuple[Situation]:
        """What rules about the program see of them."""
        key = (left[ACCELERATOR], left[RELEASE], left[MODEL])
        if key not in self.app_views:
            (node,) = self._node_views(left)
            self.app_views[key] = replace(node, part=node.parts[0])
        return (self.app_views[key],)

    def _situation(self, left: Left) -> Situation:
        a, r, m = (numbers[0] if len(numbers) == 1 else None for numbers in (left[ACCELERATOR], left[RELEASE], left[MODEL]))
        product: Any = Open(ACCELERATOR) if a is None else self.alone[ACCELERATOR][a].accelerator
        return Situation(
            catalog=self.catalog,
            today=self.today,
            snapshot=self._snapshot(a, r, m),
            os=None,
            accelerator=product,
            values=OpenValues(self.node_constants, self.node_columns, left),
            parts=(self._part(left, r, m),),
        )

    def _snapshot(self, a: int | None, r: int | None, m: int | None) -> Snapshot:
        """The snapshot of the cells that are left: blocks of which several are left are open."""
        if (a, r, m) not in self.snapshots:
            whole = self.question.snapshot(
                None if a is None else self.products[a].id,
                self.framework.id,
                None if r is None else self.releases[r],
                None if m is None else self.models[m],
            )
            axes = {"accelerator": (a, ACCELERATOR), "frameworks": (r, RELEASE), "model": (m, MODEL)}
            opened: dict[str, Any] = {block: Open(axis) for block, (one, axis) in axes.items() if one is None}
            self.snapshots[a, r, m] = replace(whole, **opened)
        return self.snapshots[a, r, m]

    def _part(self, left: Left, r: int | None, m: int | None) -> Part:
        """The program, where it is open in the same way."""
        kinds = tuple(dict.fromkeys(self.kinds[a] for a in left[ACCELERATOR]))
        if (kinds, r, m) not in self.programs:
            self.programs[kinds, r, m] = self._program(kinds, r, m)
        program, columns, asked = self.programs[kinds, r, m]
        return replace(program, values=OpenValues(program.values, columns, left, asked))

    def _program(self, kinds: Sequence[Kind], r: int | None, m: int | None) -> tuple[Part, Columns, Mapping[str, UndecidedError]]:
        """The program with the values that no axis decides; those that one decides, and those that the kind of accelerator does."""
        parts = self.parts[kinds[0]]
        part = parts[r or 0]
        one_kind = Open(ACCELERATOR, self.kinds.__getitem__)
        opened: dict[str, Any] = {"models": Open(MODEL), "model_paths": Open(MODEL)}
        if m is not None:
            served = self.alone[MODEL][m].parts[0]
            opened = {"models": served.models, "model_paths": served.model_paths}
        if r is None:
            opened |= {"release": Open(RELEASE), "pulled": Open(RELEASE)}
        elif any((other[r].release, other[r].pulled) != (part.release, part.pulled) for other in map(self.parts.__getitem__, kinds)):
            opened |= {"release": one_kind, "pulled": one_kind}
        constants = {name: value for name, value in part.values.items() if name not in self.part_columns and name not in self.joint}
        together: Columns = {name: (RELEASE, [own.values.get(name) for own in parts]) for name in self.joint}
        asked = dict.fromkeys(self.joint, UndecidedError(ACCELERATOR, self.kinds.__getitem__)) if len(kinds) > 1 else {}
        program = replace(part, framework=self.framework, values=constants, **opened)
        return program, {**self.part_columns, **together}, asked


def _kind(product: Accelerator) -> Kind:
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
