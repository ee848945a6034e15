"""Rules about apps: the framework, what its release needs, its models and its port."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from aistack.compose.rules.data import fits, in_words, story
from aistack.compose.rules.situation import Finding, Part, Path, Proposal, Situation, code_rule
from aistack.diagnostics import Severity
from aistack.facts.catalog import Accelerator, Framework, Release
from aistack.facts.decode import closest


def _path(part: Part) -> Path:
    return (*part.path, "framework", part.wish.framework_id)


def _framework_known(situation: Situation) -> Iterator[Finding]:
    """An app's framework must be in the catalog: its command, its packages or wheels, and its releases stand there.

    `aistack list frameworks` shows what is known.
    """
    part = situation.part
    if part is not None and part.framework is None and part.wish.framework:
        name = part.wish.framework_id
        guess = closest(name, situation.catalog.frameworks)
        yield Finding(
            message=f"app `{part.name}`: framework `{name}` is not in the catalog",
            path=_path(part),
            hints=(f"did you mean `{guess}`?",) if guess else ("known: " + ", ".join(sorted(situation.catalog.frameworks)),),
        )


def _framework_delivered(situation: Situation) -> Iterator[Finding]:
    """A recipe can ask for a framework that aistack installs, or for one that an image brings along.

    Others are in the catalog so that machines and images that others built can be judged, and for `aistack matrix` and `aistack fit`.
    """
    part = situation.part
    if part is not None and part.framework is not None and part.framework.delivery is None and not part.wish.image:
        yield Finding(
            message=f"app `{part.name}`: {part.framework.name} is known, but aistack does not install it",
            path=_path(part),
            place=f"frameworks/{part.framework.id}",
            hints=("name an image that holds it: `image: REGISTRY/NAME:TAG`",),
        )


def _framework_accelerator(situation: Situation) -> Iterator[Finding]:
    """A framework, as it is delivered here, must be able to use the node's accelerator.

    A wheel that is built for CUDA does nothing for a CPU, and a distribution's CPU build leaves an expensive accelerator idle. Code for
    AMD's accelerators is machine code of one architecture: what was compiled for `gfx90a` does not run on `gfx942`.
    For what an image that somebody else built is made is not known.
    """
    part = situation.part
    if part is None or part.framework is None:
        return
    product = situation.accelerator
    if situation.wish.accelerator is not None and product is None:
        return  # an unknown accelerator is reported by itself
    vendor = product.vendor if product else "cpu"
    if part.wish.image:
        if not (part.framework.runs_on(product) if product else vendor in (part.framework.platforms or part.framework.vendors)):
            message = f"could not tell whether the image of app `{part.name}` can use {product.id if product else 'a processor'}"
            yield Finding(severity=Severity.UNKNOWN, message=message, path=(*part.path, "image"))
    elif part.framework.delivery is not None and vendor not in part.framework.vendors:
        usable = " or ".join(part.framework.vendors)
        have = f"the accelerator is {product.id}" if product else "the recipe has no accelerator"
        yield Finding(
            message=f"app `{part.name}`: {part.framework.name}, as it is delivered, runs on {usable}; {have}",
            path=_path(part),
            also=((("accelerator", "product"), "asked here"),) if product else (),
            place=f"frameworks/{part.framework.id}",
        )
    elif part.framework.delivery is not None and product is not None and not part.framework.delivered_on(product):
        yield _without_code(situation, part, part.framework, product)


def _without_code(situation: Situation, part: Part, framework: Framework, product: Accelerator) -> Finding:
    others = sorted(other.id for other in situation.catalog.frameworks.values() if other.models != "none" and other.delivered_on(product))
    return Finding(
        message=f"app `{part.name}`: {framework.name}, as it is delivered, has no code for {product.target}, what {product.id} is",
        path=_path(part),
        label=f"has code for {', '.join(framework.backends[product.vendor].targets)}",
        also=((("accelerator", "product"), "asked here"),),
        place=f"frameworks/{framework.id}",
        hints=(f"frameworks whose delivery has it: {', '.join(others) or 'none'}; or name an `image:` that holds it",),
    )


def _unmet(situation: Situation, owner: str, release: Release, needs: Mapping[str, str], place: str) -> Iterator[Finding]:
    part = situation.part
    assert part is not None
    for component, wanted in needs.items():
        value = situation.value(component)
        if value is None:
            continue
        if fits(value, wanted, situation.catalog.scheme(component)) is False:
            has = "the app has" if part.name else "it is"
            yield Finding(
                severity=Severity.WARNING if value.assumed else None,
                message=f"{owner} {release.version} needs {component} {in_words(wanted)}, {has} {value.text}",
                path=situation.where(owner),
                label=f"{component} is {value.text}",
                why=(
                    *(story(situation, (owner,)) if part.framework is None or owner != part.framework.id else ()),
                    *((value.because,) if value.because else ()),
                ),
                place=place,
            )


def _release_needs(situation: Situation) -> Iterator[Finding]:
    """What a framework's release says about Python, the C library and the accelerator must hold in the app.

    The catalog takes it from the release's own metadata.
    """
    part = situation.part
    if part is not None and part.framework is not None and part.release is not None:
        needs = {name: wanted for name, wanted in part.release.needs.items() if name not in situation.catalog.components}
        place = f"frameworks/{part.framework.id}/{part.release.version}"
        yield from _unmet(situation, part.framework.id, part.release, needs, place)


def _component_needs(situation: Situation) -> Iterator[Finding]:
    """What a component's release (torch, …) says about Python and the C library must hold in the app that pulls it in."""
    part = situation.part
    if part is None:
        return
    for name, release in part.pulled.items():
        if release is not None:
            needs = release.needs
            if situation.snapshot is not None:  # what stands beside a program there is another rule's question
                needs = {component: wanted for component, wanted in needs.items() if component not in situation.catalog.components}
            yield from _unmet(situation, name, release, needs, f"components/{name}/{release.version}")


def _models(situation: Situation) -> Iterator[Finding]:
    """An app must have as many models as its framework serves: none, exactly one, or at least one."""
    part = situation.part
    if part is None or part.framework is None:
        return
    count, wanted = len(part.models), part.framework.models
    wrong = {"none": count > 0, "one": count != 1, "many": count == 0}[wanted]
    if wrong:
        serves = {"none": "no model", "one": "exactly one model", "many": "at least one model"}[wanted]
        yield Finding(
            message=f"app `{part.name}` has {count} models, but {part.framework.name} serves {serves}",
            path=(*part.path, "models") if count else part.path,
            place=f"frameworks/{part.framework.id}",
            hints=("give each model an app of its own",) if count > 1 and wanted == "one" else (),
        )


def _format(situation: Situation) -> Iterator[Finding]:
    """The framework must load the model's format, or the catalog must know how to convert to one that it loads."""
    part = situation.part
    if part is None or part.framework is None:
        return
    for index, (_, model) in enumerate(part.models):
        if model is None or model.format in part.framework.formats:
            continue
        if part.framework.conversion is not None and part.framework.conversion.format in part.framework.formats:
            continue
        formats = " or ".join(part.framework.formats) or "no model"
        yield Finding(
            message=f"`{model.id}` is published as {model.format}, but {part.framework.name} loads {formats}",
            path=(*part.path, "models", index),
            place=f"frameworks/{part.framework.id}",
        )


def _kind(situation: Situation) -> Iterator[Finding]:
    """The framework, as it is known here, must serve models of that kind (text, embedding, …)."""
    part = situation.part
    if part is None or part.framework is None or not part.framework.kinds:
        return
    for index, (_, model) in enumerate(part.models):
        if model is not None and model.kind not in part.framework.kinds:
            serves = " or ".join(part.framework.kinds)
            yield Finding(
                message=f"`{model.id}` is a model for {model.kind}, but {part.framework.name} serves {serves} here",
                path=(*part.path, "models", index),
                place=f"frameworks/{part.framework.id}",
            )


def _port(situation: Situation) -> Iterator[Finding]:
    """An app that listens needs a port, and a program whose port is fixed by its configuration keeps that one."""
    part = situation.part
    if part is None or part.framework is None:
        return
    settable = any("{port}" in word for word in part.framework.serve)
    if part.wish.port is None and part.framework.port is None and settable:
        yield Finding(
            message=f"app `{part.name}` has no port, and {part.framework.name} has none of its own",
            path=part.path,
            hints=("add `port: 8000`",),
        )
    if part.framework.port is not None and not settable and part.wish.port not in (None, part.framework.port):
        yield Finding(
            message=f"{part.framework.name} listens on port {part.framework.port} here, not on {part.wish.port}",
            path=(*part.path, "port"),
            place=f"frameworks/{part.framework.id}",
            proposals=(Proposal(path=(*part.path, "port"), value=str(part.framework.port)),),
        )


def _image(situation: Situation) -> Iterator[Finding]:
    """What an image holds that somebody else built is not known before it runs.

    Beside `framework:` the rules judge the release that was chosen, so the recipe should name the one release that the image
    holds. An image alone is locked, bound and started like any other app; only its port and its models are judged.
    """
    part = situation.part
    if part is None or part.wish.image is None:
        return
    path = (*part.path, "image")
    if not part.wish.framework:
        message = f"app `{part.name}`: what its image holds is not known, so only its port and models are judged"
        hints = ("add `framework:` where the catalog knows what it holds: `aistack list frameworks`",)
        yield Finding(severity=Severity.UNKNOWN, message=message, path=path, hints=hints)
    elif part.release is not None and part.wish.framework_range not in (part.release.version, f"=={part.release.version}"):
        name, version = part.wish.framework_id, part.release.version
        message = f"could not tell which release of {name} the image of app `{part.name}` holds: {version} is judged"
        hints = (f"write the release that the image holds, like `framework: {{{name}: {version}}}`",)
        yield Finding(severity=Severity.UNKNOWN, message=message, path=path, also=((_path(part), "admits several"),), hints=hints)


NEEDS = ("framework-pins", "glibc-floor", "architecture-not-in-build")

RULES = (
    code_rule(_framework_known, "AP101", "framework-unknown", "app"),
    code_rule(_framework_accelerator, "AP102", "framework-accelerator", "app"),
    code_rule(_release_needs, "AP103", "release-needs", "app", "framework", of="both", topics=NEEDS),
    code_rule(_component_needs, "AP104", "component-needs", "app", "brought", of="both", topics=NEEDS),
    code_rule(_models, "AP105", "app-models", "app"),
    code_rule(_format, "AP106", "model-format", "app"),
    code_rule(_kind, "AP108", "model-kind", "app"),
    code_rule(_port, "AP107", "app-port", "app"),
    code_rule(_image, "AP109", "image-contents", "app", "framework"),
    code_rule(_framework_delivered, "AP110", "framework-not-delivered", "app"),
)
