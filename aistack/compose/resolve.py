"""From a recipe to a stack: the newest combination that no rule forbids, or the least bad one and what forbids it.

Order of the components: kernel, driver, then for each app its framework and what the framework pulls in (torch, …); the newest
candidate first. The OS, the accelerator and the models are given by the recipe. Offline and deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field, replace
from functools import cached_property

from aistack.compose import serving, sources
from aistack.compose.node_values import node_values
from aistack.compose.recipe import AppWish, Recipe
from aistack.compose.rules import rules
from aistack.compose.rules.data import SEEN, UPPER, fits
from aistack.compose.rules.situation import Finding, Part, Path, Proposal, Rule, Situation, Value
from aistack.compose.rules.wish import NO_RELEASE
from aistack.compose.search import Assignment, Conflict, Domain, least_bad, search
from aistack.compose.search import Outcome as SearchOutcome
from aistack.diagnostics import Severity
from aistack.facts.catalog import Catalog, Framework, Model, Release
from aistack.facts.systems import Driver, Kernel, Os
from aistack.facts.version import Scheme, closest_version, key
from aistack.values import dataclass

Candidate = Kernel | Driver | Release | None
Verdict = tuple[Rule, Finding]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """What was chosen. `rejected` is by variable, as `search` gives it.

    `violations` is empty when a choice fits; `given` is wrong whatever is chosen (an unknown OS, a port that is taken, …).
    """

    situation: Situation
    assignment: Mapping[str, Candidate]
    violations: tuple[Verdict, ...]
    given: tuple[Verdict, ...] = ()
    rejected: Mapping[str, tuple[tuple[Candidate, Verdict], ...]] = field(default_factory=dict)
    considered: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """By variable: how many releases are known, and how many of them the recipe admits."""


def resolve(
    recipe: Recipe, catalog: Catalog, today: str, *, without: frozenset[Path] = frozenset(), allowed: frozenset[str] = frozenset()
) -> Resolution:
    """The stack of a recipe on the day `today` (`2026-11-22`).

    `without` are ranges and choices of the recipe to disregard (to find which of them conflict); `allowed` are codes of rules
    that the recipe accepts, which then do not constrain.
    """
    problem = _Problem(recipe, catalog, today, without, allowed)
    variables = problem.variables()
    outcome: SearchOutcome[Candidate, Verdict] = search(variables, problem.domain, problem.conflicts)
    assignment = outcome.assignment
    violations: tuple[Verdict, ...] = ()
    if assignment is None:
        assignment, violations = least_bad(variables, problem.domain, problem.conflicts)
    situation = problem.situation(assignment)
    missing = tuple(problem.missing(assignment))
    considered = {variable: problem.counts(assignment, variable) for variable in variables}
    return Resolution(
        situation=situation,
        assignment=assignment,
        violations=(*missing, *violations),
        given=tuple(problem.given()),
        rejected=outcome.rejected,
        considered=considered,
    )


def conflicting(
    recipe: Recipe, catalog: Catalog, today: str, *, without: frozenset[Path] = frozenset(), allowed: frozenset[str] = frozenset()
) -> bool:
    """Whether `resolve` would find `violations`, without looking for the least bad choice."""
    problem = _Problem(recipe, catalog, today, without, allowed)
    assignment = search(problem.variables(), problem.domain, problem.conflicts).assignment
    return assignment is None or any(problem.missing(assignment))


def findings(situation: Situation, catalog: Catalog) -> Iterator[Verdict]:
    """Everything that any rule says about a complete situation."""
    apps = _apps(situation)
    for rule in rules(catalog, "snapshot" if situation.recipe is None else "recipe"):
        for view in apps if rule.about == "app" else (situation,):
            for finding in rule.judge(view):
                yield rule, finding


def severity(rule: Rule, finding: Finding) -> Severity:
    """How much a finding matters."""
    return finding.severity or rule.severity


def _apps(situation: Situation) -> tuple[Situation, ...]:
    """The situation as the rules about an app see it, for each of its apps."""
    return tuple(replace(situation, part=part) for part in situation.parts)


class _Problem:
    """The recipe as variables, candidates and conflicts; holds what the search asks again and again."""

    def __init__(self, recipe: Recipe, catalog: Catalog, today: str, without: frozenset[Path], allowed: frozenset[str]) -> None:
        self.recipe, self.catalog, self.today, self.without = recipe, catalog, today, without
        self.os = catalog.systems.get(recipe.os)
        self.kernels = sources.kernels(recipe, self.os) if self.os else ()
        self.accelerator = catalog.accelerator(recipe.accelerator.product) if recipe.accelerator else None
        self.rules = tuple(
            rule
            for rule in rules(catalog, "recipe")
            if rule.severity is Severity.ERROR and rule.about != "stack" and rule.code not in allowed
        )
        self.reads = {rule.code: frozenset(name for name in rule.reads if name not in SEEN and "." not in name) for rule in self.rules}
        self.admitted: dict[str, tuple[Candidate, ...]] = {}
        self.asked: dict[tuple[str, ...], tuple[Rule, ...]] = {}
        self.judged: dict[tuple[int, ...], tuple[tuple[Candidate, ...], list[Conflict[Verdict]]]] = {}
        self.pulled = {name: self._pulled(self._framework(app)) for name, app in recipe.apps.items()}

    def variables(self) -> tuple[str, ...]:
        """In the order of the search: `kernel`, `driver`, `app/NAME`, `app/NAME/COMPONENT`."""
        found = ["kernel"] if self.os else []
        if self.os and self.accelerator and self.accelerator.vendor != "cpu":
            found.append("driver")
        for name, app in self.recipe.apps.items():
            if app.framework:
                found += [f"app/{name}", *(f"app/{name}/{component}" for component in self.pulled[name])]
        return tuple(found)

    def domain(self, assignment: Assignment[Candidate], variable: str) -> Domain[Candidate]:
        """The candidates that the recipe admits, newest first; one None where there is none."""
        if variable in self.admitted:
            return Domain(candidates=self.admitted[variable])
        known, shaped_by = self._known(assignment, variable)
        admitted = tuple(candidate for candidate in known if self._admits(variable, candidate)) or (None,)
        if variable.count("/") < 2:  # what a component offers depends on its app's framework, all else on nothing
            self.admitted[variable] = admitted
        return Domain(candidates=admitted, shaped_by=shaped_by)

    def counts(self, assignment: Assignment[Candidate], variable: str) -> tuple[int, int]:
        """How many candidates are known, and how many of them the recipe admits."""
        known, _ = self._known(assignment, variable)
        return len(known), sum(1 for candidate in known if self._admits(variable, candidate))

    def conflicts(self, assignment: Assignment[Candidate], variable: str) -> list[Conflict[Verdict]]:
        """What the rules say that could not judge before this variable, the last one, was chosen; each combination is judged once."""
        candidates = tuple(assignment.values())
        known = tuple(map(id, candidates))
        if known not in self.judged:
            self.judged[known] = candidates, self._conflicts(assignment, variable)  # who is kept keeps its id
        return self.judged[known][1]

    def _conflicts(self, assignment: Assignment[Candidate], variable: str) -> list[Conflict[Verdict]]:
        situation = self.situation(assignment)
        name = variable.split("/")[1] if variable.startswith("app/") else None
        view = next((view for view in _apps(situation) if view.part and view.part.name == name), situation)
        return [
            Conflict((rule, finding), self._culprits(rule, assignment, name))
            for rule in self._ripe(assignment, variable)
            for finding in rule.judge(view)
            if severity(rule, finding) is Severity.ERROR
        ]

    def _ripe(self, assignment: Assignment[Candidate], variable: str) -> tuple[Rule, ...]:
        """The rules that could not judge before this variable was chosen, whatever it is."""
        chosen = tuple(assignment)
        if chosen not in self.asked:
            before, after = self._decided(assignment, without=variable), self._decided(assignment)
            of_apps = variable.startswith("app/")
            self.asked[chosen] = tuple(
                rule
                for rule in self.rules
                if (rule.about == "app") is of_apps and self.reads[rule.code] <= after and not self.reads[rule.code] <= before
            )
        return self.asked[chosen]

    def given(self) -> Iterator[Verdict]:
        """What the rules say about that which is not chosen but given."""
        situation = self.situation({})
        apps = _apps(situation)
        for rule in self.rules:
            if self.reads[rule.code] <= self.sure:
                for view in apps if rule.about == "app" else (situation,):
                    yield from ((rule, finding) for finding in rule.judge(view) if severity(rule, finding) is Severity.ERROR)

    def missing(self, assignment: Assignment[Candidate]) -> Iterator[Verdict]:
        """Where the recipe admits nothing that is known."""
        for variable, candidate in assignment.items():
            known, _ = self._known(assignment, variable)
            if candidate is not None or (variable == "kernel" and not self._flavored()):
                continue  # an unknown flavor is told by itself
            if known or variable == "kernel":
                yield NO_RELEASE, self._no_release(variable, known)

    def _flavored(self) -> list[Kernel]:
        """The OS's kernels of the flavor that the recipe asks for, whatever suite has them."""
        return [kernel for kernel in (self.os.kernels if self.os else ()) if kernel.flavor == self.recipe.kernel.flavor]

    def situation(self, assignment: Assignment[Candidate]) -> Situation:
        """What the rules see under an assignment."""
        kernel, driver = assignment.get("kernel"), assignment.get("driver")
        assert kernel is None or isinstance(kernel, Kernel)
        assert driver is None or isinstance(driver, Driver)
        return Situation(
            recipe=self.recipe,
            catalog=self.catalog,
            today=self.today,
            os=self.os,
            system=self.os,
            accelerator=self.accelerator,
            kernel=kernel,
            driver=driver,
            values=node_values(self.recipe, self.os, self.accelerator, kernel, driver),
            parts=tuple(self._part(name, app, assignment) for name, app in self.recipe.apps.items()),
        )

    def _root(self, framework: Framework) -> Os | None:
        return self.catalog.systems.get(framework.delivery.os) if framework.delivery else None

    def _framework(self, app: AppWish) -> Framework | None:
        return self.catalog.frameworks.get(app.framework_id)

    def _pulled(self, framework: Framework | None) -> tuple[str, ...]:
        """The components that any release of a framework pulls in, and what those pull in, in a fixed order."""
        found: list[str] = []
        waiting = list(framework.releases) if framework else []
        while waiting:
            release = waiting.pop(0)
            for name in sorted(release.needs):
                if name in self.catalog.components and name not in found:
                    found.append(name)
                    waiting += self.catalog.components[name].releases
        return tuple(found)

    def _known(self, assignment: Assignment[Candidate], variable: str) -> tuple[tuple[Candidate, ...], frozenset[str]]:
        """Every candidate that the catalog knows, newest first, and the variables on which the list depends."""
        if variable == "kernel":
            return _newest(self.kernels, Scheme.KERNEL), frozenset()
        if variable == "driver":
            vendor = self.accelerator.vendor if self.accelerator else None
            return _newest(
                (driver for driver in self.os.drivers if driver.vendor == vendor) if self.os else (), Scheme.RELEASE
            ), frozenset()
        _, app, *component = variable.split("/")
        if not component:
            framework = self._framework(self.recipe.apps[app])
            return (_newest(framework.releases, framework.versions) if framework else ()), frozenset()
        owner = self.catalog.components[component[0]]
        pullers = [name for name in assignment if name == f"app/{app}" or name.startswith(f"app/{app}/")]
        wanted = {
            puller: release.needs[owner.id]
            for puller in pullers
            if puller != variable and isinstance(release := assignment[puller], Release) and owner.id in release.needs
        }
        if not wanted:
            return (), frozenset(pullers) - {variable}
        fitting = tuple(
            release
            for release in owner.releases
            if all(fits(Value(text=release.version, path=()), text, owner.versions) for text in wanted.values())
        )
        if not fitting and len(wanted) == 1 and _is_exact(text := next(iter(wanted.values()))):
            fitting = (Release(version=text.removeprefix("==")),)  # pinned to a release that the catalog does not know: all else is unknown
        return _newest(fitting, owner.versions), frozenset(pullers) - {variable}

    def _admits(self, variable: str, candidate: Candidate) -> bool:
        """Whether the recipe admits the candidate."""
        recipe = self.recipe
        if isinstance(candidate, Kernel):
            return self._wants(("kernel", "flavor"), recipe.kernel.flavor, candidate.flavor, Scheme.WORD) and self._wants(
                ("kernel", "version"), recipe.kernel.version, candidate.version, Scheme.KERNEL
            )
        if isinstance(candidate, Driver):
            wish = recipe.driver
            return wish is None or (
                self._wants(("driver", "version"), wish.version, candidate.version, Scheme.RELEASE)
                and self._wants(("driver", "flavor"), wish.flavor, candidate.flavor, Scheme.WORD)
            )
        if candidate is None or variable.count("/") > 1:
            return True
        name = variable.split("/")[1]
        app = recipe.apps[name]
        path = ("apps", name, "framework", app.framework_id)
        return self._wants(path, app.framework_range, candidate.version, self.catalog.scheme(app.framework_id))

    def _wants(self, path: Path, wanted: str | None, text: str, scheme: Scheme) -> bool:
        return wanted is None or path in self.without or fits(Value(text=text, path=path), wanted, scheme) is True

    def _decided(self, assignment: Assignment[Candidate], without: str | None = None) -> frozenset[str]:
        """The components that have been decided (some of them: that there is none)."""
        found = {"os", "os-family", "os-release", "arch", "accelerator", "accelerator-count", "vendor", "architecture"}
        found |= {"compute-capability", "interconnect", "nvlink-generation"}
        chosen = {variable for variable in assignment if variable != without}
        if "kernel" in chosen:
            found |= {"kernel", "kernel-flavor", "kernel-drm", "kernel-realtime"}
        if "driver" in chosen or "driver" not in self.variables():
            found |= {"driver", "driver-flavor"}
        app = (without or next(reversed(list(assignment)), "")).split("/")
        if app[0] == "app":
            name = app[1]
            if f"app/{name}" in chosen:
                found |= {"framework", "python", "glibc", *serving.COMPONENTS, *self.catalog.frameworks}
                found |= {component for component in self.catalog.components if component not in self.pulled[name]}
            found |= {component for component in self.pulled[name] if f"app/{name}/{component}" in chosen}
            if f"app/{name}" in chosen and all(f"app/{name}/{component}" in chosen for component in self.pulled[name]):
                found |= {"brought", *self.brought}
        return frozenset(found)

    @cached_property
    def sure(self) -> frozenset[str]:
        """What is decided before anything is chosen."""
        return self._decided({})

    @cached_property
    def brought(self) -> frozenset[str]:
        """What any release brings along."""
        releases = [release for owner in self.catalog.components.values() for release in owner.releases]
        releases += [release for framework in self.catalog.frameworks.values() for release in framework.releases]
        return frozenset(name for release in releases for name in release.brings)

    def _culprits(self, rule: Rule, assignment: Assignment[Candidate], app: str | None) -> frozenset[str]:
        """The variables that a rule's verdict depends on."""
        found = set()
        for component in rule.reads:
            if component.startswith("kernel"):
                found.add("kernel")
            elif component.startswith("driver"):
                found.add("driver")
            elif app is not None and component not in self.sure:
                found |= {f"app/{app}", *(f"app/{app}/{name}" for name in self.pulled[app])}
        return frozenset(found & set(assignment))

    def _part(self, name: str, app: AppWish, assignment: Assignment[Candidate]) -> Part:
        framework = self._framework(app)
        models: tuple[tuple[str, Model | None], ...] = tuple((model, self.catalog.model(model)) for model in app.models)
        root = self._root(framework) if framework and not app.image else None
        settings = {}
        for setting, own in framework.options.items() if framework else ():
            text = app.args.get(own)
            if text is not None:
                settings[str(setting)] = Value(text=text, path=("apps", name, "args", own))
        paths = tuple(("apps", name, "models", index) for index in range(len(models)))
        if len(models) == 1:
            said = {setting: value.text for setting, value in settings.items()}
            places = {setting: value.path for setting, value in settings.items()}
            settings |= serving.values(models[0][0], models[0][1], said, places, paths[0])
        part = Part(name=name, wish=app, framework=framework, root=root, models=models, model_paths=paths, values=settings)
        release = assignment.get(f"app/{name}")
        if framework is None or not isinstance(release, Release):
            return part
        path: Path = ("apps", name, "framework", app.framework_id)
        told = f"{framework.id} {release.version}"
        values = serving.usual_fraction(framework, release.version, path) | settings
        values[framework.id] = Value(text=release.version, path=path, because=told)
        if root is not None:
            values["python"] = Value(text=root.python, path=path, because=f"its root is {root.name} with Python {root.python}")
            values["glibc"] = Value(text=root.glibc, path=path, because=f"its root is {root.name} with glibc {root.glibc}")
        pulled: dict[str, Release | None] = {}
        _bring(values, release, framework.id, path, told)
        for component in self.pulled[name]:
            found = assignment.get(f"app/{name}/{component}")
            pulled[component] = found if isinstance(found, Release) else None
            if isinstance(found, Release):
                chain = f"{told} needs {component} {found.version}"
                values[component] = Value(text=found.version, path=path, because=chain)
                _bring(values, found, component, path, chain)
                if not found.brings:
                    for brought in self._brings_of(component):
                        values.setdefault(brought, Value(text=None, path=path, because=chain))
        return replace(part, release=release, pulled=pulled, values=values)

    def _brings_of(self, component: str) -> frozenset[str]:
        return frozenset(name for release in self.catalog.components[component].releases for name in release.brings)

    def _no_release(self, variable: str, known: tuple[Candidate, ...]) -> Finding:
        texts = list(dict.fromkeys(_described(candidate) for candidate in known if candidate is not None))
        listed = ", ".join(texts[:6]) + (f" and {len(texts) - 6} more" if len(texts) > 6 else "")
        recipe = self.recipe
        os_name = self.os.name if self.os else recipe.os
        if variable == "kernel":
            wanted = (
                f"`{recipe.kernel.version}` of flavor `{recipe.kernel.flavor}`" if recipe.kernel.version else f"`{recipe.kernel.flavor}`"
            )
            path: Path = ("kernel", "version") if recipe.kernel.version else ("kernel", "flavor")
            listed = ", ".join(
                kernel.version if kernel in self.kernels else f"{kernel.version} (from {kernel.suite})" for kernel in self._flavored()
            )
            return Finding(
                message=f"{os_name} offers no kernel {wanted}", path=path, label=f"known: {listed}", place=f"systems/{recipe.os}"
            )
        if variable == "driver":
            vendor = self.accelerator.vendor if self.accelerator else ""
            wish = recipe.driver
            wanted = " ".join(word for word in (wish.version, wish.flavor) if word) if wish else ""
            path = ("driver", "version") if wish and wish.version else ("driver",) if wish else ("accelerator", "product")
            label = f"known: {listed}" if listed else None
            message = f"{os_name} offers no {vendor} driver{f' `{wanted}`' if wanted else ''}"
            return Finding(message=message, path=path, label=label, place=f"systems/{recipe.os}")
        name = variable.split("/")[1]
        app = recipe.apps[name]
        path = ("apps", name, "framework", app.framework_id)
        meant = closest_version(app.framework_range or "", texts)
        return Finding(
            message=f"app `{name}`: the catalog lists no release `{app.framework_range}` of {app.framework_id}",
            path=path,
            label=f"listed: {listed}",
            place=f"frameworks/{app.framework_id}",
            proposals=(Proposal(path=path, value=meant),) if meant else (),
            hints=(f"did you mean `{meant}`?",) if meant else (),
        )


def _bring(values: dict[str, Value], release: Release, owner: str, path: Path, told: str) -> None:
    """Enter what a release brings along, with the sentence that tells it."""
    for name, text in release.brings.items():
        carried = f"{name.upper() if name in UPPER else name} {text}"
        values[name] = Value(text=text, path=path, because=f"{told}, whose wheel carries {carried}")


def _is_exact(text: str) -> bool:
    return not text.startswith((">", "<", "!")) and "*" not in text and "," not in text


def _described(candidate: Candidate) -> str:
    if isinstance(candidate, Kernel | Driver):
        return f"{candidate.version} ({candidate.flavor})"
    return candidate.version if candidate is not None else ""


def _newest(candidates: Iterable[Kernel] | Iterable[Driver] | Iterable[Release], scheme: Scheme) -> tuple[Candidate, ...]:
    """Newest first; equal versions keep the order of the catalog."""
    order: Callable[[Kernel | Driver | Release], object] = lambda candidate: key(candidate.version, scheme)  # noqa: E731
    return tuple(sorted(candidates, key=order, reverse=True))  # type: ignore[arg-type]
