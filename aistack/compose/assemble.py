"""From what was resolved to the stack: the values that pinning and building need, with the story of each choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from aistack.compose import sources
from aistack.compose.memory import in_node, node_memory_mib
from aistack.compose.recipe import Recipe
from aistack.compose.resolve import Candidate, Resolution
from aistack.compose.rules.situation import Part, Situation
from aistack.compose.stack import Choice, Rejection, Stack, StackApp, Wheels
from aistack.facts.catalog import Backend, Catalog, Framework, Model, Release
from aistack.facts.pins import Signing
from aistack.facts.systems import Driver, Kernel


def assemble(resolution: Resolution, catalog: Catalog) -> Stack | None:
    """The stack of a resolution without violations; None where something that it needs is not known (a model, a framework)."""
    situation, recipe = resolution.situation, resolution.situation.wish
    if situation.os is None or situation.kernel is None or (recipe.accelerator and situation.accelerator is None):
        return None
    apps = [_app(part, catalog, situation) for part in situation.parts]
    if any(app is None for app in apps):
        return None
    complete = tuple(app for app in apps if app is not None)
    models: dict[str, Model] = {model.id: model for app in complete for model in app.models}
    frameworks = [(part.framework, app.models) for part, app in zip(situation.parts, complete, strict=True)]
    return Stack(
        name=recipe.name,
        arch=recipe.arch,
        os=situation.os,
        kernel=situation.kernel,
        accelerator=situation.accelerator,
        accelerator_count=recipe.accelerator.count if recipe.accelerator else 0,
        driver=situation.driver,
        apps=complete,
        models=tuple(models[name] for name in sorted(models)),
        node=_node(recipe),
        packages=recipe.node.packages,
        memory_mib=node_memory_mib(tuple(frameworks), on_processor=in_node(situation.accelerator)),
        sources=recipe.sources,
        choices=choices(resolution),
        catalog=catalog.identity,
        signing=_signing(recipe),
    )


def _node(recipe: Recipe) -> tuple[tuple[str, str], ...]:
    """The settings, those left out that are not given; how accelerators are split only where they are."""
    wish, mig = recipe.node, recipe.accelerator.mig if recipe.accelerator else None
    settings = {
        "mig": " ".join(sorted(mig)) if mig else None,
        "ssh": wish.ssh,
        "time-zone": wish.time_zone,
        "follow": wish.follow,
        "window": wish.window,
        "signed-by": wish.signed_by,
        "serial-numbers": None if wish.serial_numbers == "none" else wish.serial_numbers,
    }
    return tuple((name, value) for name, value in settings.items() if value)


def _signing(recipe: Recipe) -> Signing | None:
    wish = recipe.driver.signing if recipe.driver else None
    return Signing(key=wish.key, certificate=wish.certificate) if wish else None


def _app(part: Part, catalog: Catalog, situation: Situation) -> StackApp | None:
    framework, release, root, wish, recipe = part.framework, part.release, part.root, part.wish, situation.wish
    models = tuple(model for _, model in part.models if model is not None)
    if len(models) != len(part.models):
        return None
    if wish.image and not wish.framework:
        return _app_of_an_image(part, models)
    if framework is None or release is None or (root is None and wish.image is None):
        return None
    converted = framework.conversion is not None and any(model.format not in framework.formats for model in models)
    conversion = framework.conversion if converted else None
    if conversion is not None:
        conversion = replace(conversion, argv=tuple(word.replace("{model}", models[0].id) for word in conversion.argv))
    wheels, delivery = None, framework.delivery if root is not None else None
    backend = framework.backends.get(situation.accelerator.vendor) if situation.accelerator and delivery else None
    if delivery is not None and delivery.wheels and root is not None:
        requirements = tuple(requirement.replace("{version}", release.version) for requirement in delivery.wheels)
        python, asked = ".".join(root.python.split(".")[:2]), sources.indexes(recipe.sources, part.name)
        wheels = Wheels(python=python, glibc=root.glibc, requirements=requirements, indexes=asked)
    return StackApp(
        name=part.name,
        framework=framework.id,
        version=release.version,
        image=wish.image,
        os=root,
        packages=(*delivery.packages, *(backend.packages if backend else ())) if delivery else (),
        wheels=wheels,
        command=(*(wish.command or (*_served(framework, models), *_devices(backend, recipe))), *_arguments(part)),
        inherits=False,
        environment=_environment(part, framework.environment),
        port=wish.port or framework.port,
        health=wish.health or framework.health,
        models=models,
        format=None if not models else conversion.format if conversion else models[0].format,
        conversion=conversion,
        conversion_os=catalog.systems[conversion.os] if conversion else None,
        cpu_features=framework.cpu_features.get(recipe.arch, ()),
    )


def _app_of_an_image(part: Part, models: tuple[Model, ...]) -> StackApp:
    """An app of which only its image is named: what the recipe does not say is the image's own."""
    wish = part.wish
    return StackApp(
        name=part.name,
        framework=None,
        version=None,
        image=wish.image,
        os=None,
        packages=(),
        wheels=None,
        command=(*wish.command, *_arguments(part)),
        inherits=not wish.command,
        environment=_environment(part, {}),
        port=wish.port,
        health=wish.health,
        models=models,
        format=models[0].format if models else None,
        conversion=None,
        conversion_os=None,
        cpu_features=(),
    )


def _served(framework: Framework, models: tuple[Model, ...]) -> tuple[str, ...]:
    return (*framework.serve, *(framework.kinds.get(models[0].kind, ()) if models else ()))


def _devices(backend: Backend | None, recipe: Recipe) -> tuple[str, ...]:
    """The backend's arguments, each of the node's accelerators named where one asks for their numbers."""
    numbers = range(recipe.accelerator.count if recipe.accelerator else 0)
    args = backend.args if backend else ()
    return tuple(",".join(word.replace("{n}", str(number)) for number in numbers) if "{n}" in word else word for word in args)


def _environment(part: Part, known: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """In an image that others built the user who runs it has no home that can be written; ours name one themselves."""
    home = {"HOME": "/tmp"} if part.wish.image else {}
    return tuple(sorted({**home, **known, **part.wish.environment}.items()))


def _arguments(part: Part) -> tuple[str, ...]:
    """The recipe's `args` as options: `true` or nothing gives a bare flag, `false` leaves the option out."""
    found: list[str] = []
    for name, value in part.wish.args.items():
        if value != "false":
            found += [f"--{name}"] if value in (None, "", "true") else [f"--{name}", str(value)]
    return tuple(found)


def choices(resolution: Resolution) -> tuple[Choice, ...]:
    """Each component's version with the reason for it, in the order of the search."""
    situation = resolution.situation
    recipe = situation.wish
    found = [Choice(component="os", version=recipe.os, why=("the recipe names it",))]
    if situation.accelerator is not None:
        found.append(Choice(component="accelerator", version=situation.accelerator.id, why=("the recipe names it",)))
    for variable, candidate in resolution.assignment.items():
        if candidate is None:
            continue
        _, *app = variable.split("/")
        component = app[1] if len(app) == 2 else None
        part = next((part for part in situation.parts if app and part.name == app[0]), None)
        name = variable if part is None else component or part.wish.framework_id
        found.append(
            Choice(
                component=name,
                version=candidate.version,
                app=part.name if part else None,
                why=_why(resolution, variable, candidate, part, component),
                rejected=_rejected(resolution, variable),
            )
        )
        if part is not None and isinstance(candidate, Release):
            found += [
                Choice(component=brought, version=text, app=part.name, why=(f"the wheel of {name} {candidate.version} carries it",))
                for brought, text in candidate.brings.items()
            ]
    return tuple(found)


def _why(resolution: Resolution, variable: str, candidate: Candidate, part: Part | None, component: str | None) -> tuple[str, ...]:
    recipe, situation = resolution.situation.wish, resolution.situation
    known, admitted = resolution.considered[variable]
    if component is not None and part is not None:
        return (f"{part.wish.framework_id} {part.release.version if part.release else ''} needs it",)
    if part is not None:
        wanted = f"the recipe asks for `{part.wish.framework_range}`" if part.wish.framework_range else "the recipe leaves the version open"
        return (f"{wanted}: {admitted} of {known} known releases",)
    os_name = situation.os.name if situation.os else recipe.os
    if isinstance(candidate, Kernel):
        version = f" `{recipe.kernel.version}`" if recipe.kernel.version else ""
        return (f"the recipe asks for flavor `{recipe.kernel.flavor}`{version}; {os_name} offers {candidate.version}",)
    if isinstance(candidate, Driver):
        wish = recipe.driver
        asked = [text for text in ((wish.version, wish.flavor) if wish else ()) if text]
        wanted = "the recipe asks for " + " ".join(f"`{text}`" for text in asked) if asked else "the recipe leaves the driver open"
        return (f"{wanted}; {os_name} offers {candidate.version} ({candidate.flavor})",)
    return ()


def _rejected(resolution: Resolution, variable: str) -> tuple[Rejection, ...]:
    return tuple(
        Rejection(version=candidate.version, rule=rule.code, name=rule.name, reason=_sentence(finding.message, finding.label, finding.why))
        for candidate, (rule, finding) in resolution.rejected.get(variable, ())
        if candidate is not None
    )


def _sentence(message: str, label: str | None, why: tuple[str, ...]) -> str:
    return message + (f" ({label})" if label else "") + (f": {why[0]}" if why else "")
