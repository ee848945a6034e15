"""Which models run on which accelerators with which release of a framework: the rules of `check`, asked of every combination.

A cell is the snapshot of a machine of which only these three are known, so it is judged by every rule that judges snapshots. The rules
are not asked cell by cell: what a rule says without looking at one of the three holds for all of them (compose/partial.py). The releases
of all frameworks are one axis, so what has nothing to do with the framework is asked once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

from aistack.compose.decided import ACCELERATOR, MODEL, RELEASE, Found, bits, decided, spread
from aistack.compose.grid import WEIGHTS, Grid, Question, Reason, Row, deciding
from aistack.compose.judge import sourced
from aistack.compose.observe import observe, observed_programs
from aistack.compose.partial import Column, Columns, Left, Open, OpenValues, UndecidedError, explore, rest
from aistack.compose.referred import refer
from aistack.compose.resolve import severity
from aistack.compose.rules import rules
from aistack.compose.rules.situation import Finding, Part, Rule, Situation, Value
from aistack.diagnostics import Severity
from aistack.facts.catalog import Accelerator, Catalog, Framework, Model
from aistack.facts.snapshot import Snapshot
from aistack.facts.version import newest_first
from aistack.values import dataclass

FEW = 1024
"""So many pairs of accelerators and models are looked through to save a rule the question about them."""

OPEN_RELEASE: Any = Open(RELEASE)
OPEN_MODEL: Any = Open(MODEL)

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
        yield from _Cells(
            catalog, today, frameworks, accelerators, sorted(models, key=lambda model: model.id.lower()), question, without
        ).grids()


def serves(framework: Framework, model: Model) -> bool:
    """Whether the framework loads the model's format, or has it converted, and serves its kind."""
    converted = framework.conversion is not None and framework.conversion.format in framework.formats
    return (model.format in framework.formats or converted) and (not framework.kinds or model.kind in framework.kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Programs:
    """What is concluded of the programs on accelerators of some kinds.

    `shapes` numbers by kind, for each release, what it is there; `asked` are the components in which the kinds may differ.
    """

    columns: Columns
    constants: Mapping[str, Value]
    asked: Mapping[str, UndecidedError]
    parts: Sequence[Part]
    shapes: Sequence[Sequence[int]]


class _Cells:
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
        self.parts = {kind: self._built_for(self.kinds.index(kind)) for kind in dict.fromkeys(self.kinds)}
        self.shapes = _numbered(self.parts)
        self.node_columns = self._columns(lambda seen: seen.values)
        self.node_constants = {name: value for name, value in self.alone[MODEL][0].values.items() if name not in self.node_columns}
        self.part_columns = self._columns(lambda seen: seen.parts[0].values)
        self.joint = self._joint()
        self.asked = {name: UndecidedError(ACCELERATOR, self._alike(name)) for name in self.joint}
        known = self.part_columns.keys() | self.joint
        self.part_constants = {name: value for name, value in self.alone[RELEASE][0].parts[0].values.items() if name not in known}
        self.seen_products = Column(ACCELERATOR, [one.accelerator for one in self.alone[ACCELERATOR]])
        self.seen_frameworks = Column(RELEASE, [framework for framework, _ in self.releases])
        self.blocks = {
            "accelerator": Column(ACCELERATOR, [one.seen.accelerator for one in self.alone[ACCELERATOR]]),
            "model": Column(MODEL, [one.seen.model for one in self.alone[MODEL]]),
        }
        self.programs: dict[tuple[int, ...], _Programs] = {}

    # The answers.

    def grids(self) -> Iterator[Grid]:
        """The grid of each framework, with the models that it serves and the accelerators that it has builds for."""
        served = [self._served(model) for model in self.models]
        built = {product.platform: self._mask(framework.runs_on(product) for framework, _ in self.releases) for product in self.products}
        undecided = [[built[product.platform] & mask for mask in served] for product in self.products]
        found = self._reasons([list(row) for row in undecided])
        reasons: tuple[Reason, ...] = tuple(sorted({reason for _, reason in found}, key=lambda reason: reason.rank))
        cells = spread(decided(found, reasons, undecided), len(self.releases), len(reasons))
        shown, first = (*reasons, None), 0
        for framework in self.frameworks:
            last = first + len(framework.releases)
            rows = tuple(
                Row(
                    accelerator=product.id,
                    model=model.id,
                    delivered=framework.delivered_on(product),
                    reasons=shown,
                    numbers=cells[a][m][first:last],
                )
                for a, product in enumerate(self.products)
                if framework.runs_on(product)
                for m, model in enumerate(self.models)
                if serves(framework, model)
            )
            releases = tuple(release for _, release in self.releases[first:last])
            first = last
            yield Grid(framework=framework.id, name=framework.name, releases=releases, rows=rows)

    def _served(self, model: Model) -> int:
        return self._mask(serves(framework, model) for framework, _ in self.releases)

    def _mask(self, flags: Iterable[bool]) -> int:
        """The numbers of the releases for which the flag is set, as bits."""
        return sum(1 << number for number, flag in enumerate(flags) if flag)

    def _reasons(self, undecided: list[list[int]]) -> Found:
        """What speaks against which cells, the most that any rule has for them.

        Of errors the one with the lowest code decides, so what has one need not be asked of the rules that come after it: `undecided` has
        the releases for which nothing has one, by accelerator and model.
        """
        found: Found = []

        def wanted(left: Left) -> bool:
            mask, models = bits(left[RELEASE]), left[MODEL]
            many = len(left[ACCELERATOR]) * len(models) > FEW
            return many or any(undecided[a][m] & mask for a in left[ACCELERATOR] for m in models)

        everything = {axis: tuple(range(len(seen))) for axis, seen in self.alone.items()}
        for rule in rules(self.catalog):
            if rule.of == "recipe" or rule.code in self.without:
                continue
            view = self._app_view if rule.about == "app" else self._node_view
            for left, findings in explore(rule, view, everything, wanted):
                reason = deciding(_judged(rule, findings, self.catalog))
                if reason is None:
                    continue
                found.append((left, reason))
                if reason.severity is Severity.ERROR:
                    others = ~bits(left[RELEASE])
                    for a in left[ACCELERATOR]:
                        for m in left[MODEL]:
                            undecided[a][m] &= others
        return found

    # What the rules see.

    def _observed(self, **given: Any) -> Situation:
        return observe(self.question.snapshot(**given), self.catalog, self.today)

    def _built_for(self, number: int) -> list[Part]:
        """The programs of each release on accelerators of the kind of that one."""
        product, node = self.products[number].id, self.alone[ACCELERATOR][number].values
        snapshots = (self.question.snapshot(product, framework.id, release) for framework, release in self.releases)
        return [observed_programs(refer(snapshot, self.catalog), self.catalog, node) for snapshot in snapshots]

    def _columns(self, values: Callable[[Situation], Mapping[str, Value]]) -> Columns:
        """By component: what the axis decides that has it; what no axis decides is left out."""
        found: dict[str, Column] = {}
        names = {name: axis for axis, seen in self.alone.items() for one in seen for name in values(one)}
        for name, axis in names.items():
            columns = {other: [values(one).get(name) for one in seen] for other, seen in self.alone.items()}
            if len({value for column in columns.values() for value in column}) > 1:
                found[name] = Column(axis, columns[axis])
        return found

    def _joint(self) -> frozenset[str]:
        """The components of the program that accelerator and release decide together."""
        alone = [one.parts[0].values for one in self.alone[RELEASE]]
        together = [(own, part.values) for parts in self.parts.values() for own, part in zip(alone, parts, strict=True)]
        names = {name for own, values in together for name in (*own, *values)}
        return frozenset(name for name in names if any(own.get(name) != values.get(name) for own, values in together))

    def _alike(self, name: str) -> Callable[[int], Hashable]:
        """A number for each accelerator, the same where the component has the same values with all releases."""
        columns: dict[tuple[Value | None, ...], int] = {}
        kinds = {
            kind: columns.setdefault(tuple(part.values.get(name) for part in parts), len(columns)) for kind, parts in self.parts.items()
        }
        return lambda number: kinds[self.kinds[number]]

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
            accelerator=rest(self.seen_products, left),
            values=OpenValues(self.node_constants, self.node_columns, left),
            parts=(part,),
            part=judged,
        )

    def _snapshot(self, left: Left) -> Snapshot:
        """The snapshot of the cells that are left."""
        releases = left[RELEASE]
        return Snapshot(
            schema="aistack/snapshot/v1",
            frameworks=self.alone[RELEASE][releases[0]].seen.frameworks if len(releases) == 1 else OPEN_RELEASE,
            **{name: rest(column, left) for name, column in self.blocks.items()},
        )

    def _part(self, left: Left) -> Part:
        """The program of the cells that are left."""
        known = self._programs(left[ACCELERATOR])
        models = paths = OPEN_MODEL
        release = pulled = OPEN_RELEASE
        if len(left[MODEL]) == 1:
            served = self.alone[MODEL][left[MODEL][0]].parts[0]
            models, paths = served.models, served.model_paths
        if len(left[RELEASE]) == 1:
            (number,) = left[RELEASE]
            release, pulled = known.parts[number].release, known.parts[number].pulled
            if len({shapes[number] for shapes in known.shapes}) > 1:
                release = pulled = Open(ACCELERATOR, lambda a: self.shapes[self.kinds[a]][number])
        return Part(
            name="",
            framework=rest(self.seen_frameworks, left),
            root=None,
            models=models,
            model_paths=paths,
            values=OpenValues(known.constants, known.columns, left, known.asked),
            release=release,
            pulled=pulled,
        )

    def _programs(self, products: tuple[int, ...]) -> _Programs:
        if products not in self.programs:
            kinds = dict.fromkeys(self.kinds[a] for a in products)
            parts = self.parts[self.kinds[products[0]]]
            together = {name: Column(RELEASE, [own.values.get(name) for own in parts]) for name in self.joint}
            self.programs[products] = _Programs(
                columns={**self.part_columns, **together},
                constants=self.part_constants,
                asked={name: error for name, error in self.asked.items() if len({error.key(a) for a in products}) > 1},
                parts=parts,
                shapes=[self.shapes[kind] for kind in kinds],
            )
        return self.programs[products]


def _kind(product: Accelerator) -> Kind:
    """What of a product can matter to how programs are built for it; products of one kind share what is concluded of programs."""
    return product.vendor, product.compute_capability, product.host


def _numbered(parts: Mapping[Kind, Sequence[Part]]) -> dict[Kind, list[int]]:
    """For each kind and release a number that is the same where release and what it pulls in are."""
    shapes: list[tuple[Any, Any]] = []

    def number(part: Part) -> int:
        shape = (part.release, part.pulled)
        if shape not in shapes:
            shapes.append(shape)
        return shapes.index(shape)

    found: dict[Kind, list[int]] = {kind: [] for kind in parts}
    for same in zip(*parts.values(), strict=True):
        shapes.clear()
        for kind, part in zip(parts, same, strict=True):
            found[kind].append(number(part))
    return found


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
