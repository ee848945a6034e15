"""The stack: what resolve chose, complete enough to pin and to build from, with the reason for each choice."""

from __future__ import annotations

from aistack.compose.recipe import SourceWish
from aistack.facts.catalog import Accelerator, Conversion, Model
from aistack.facts.pins import Signing
from aistack.facts.systems import Driver, Kernel, Os
from aistack.values import dataclass

MODELS = "/models"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A newer release that was not chosen, and the rule (code, name) and words that spoke against it."""

    version: str
    rule: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One component's version; `app` names the app that it belongs to (None: the node's), `why` tells the story in sentences."""

    component: str
    version: str
    app: str | None = None
    why: tuple[str, ...] = ()
    rejected: tuple[Rejection, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheels:
    """The Python part of an app: requirements as pip spells them, for the Python (`3.13`) and the glibc (`2.41`) of the app's root.

    `indexes` are asked in their order, before the build host's own.
    """

    python: str
    glibc: str
    requirements: tuple[str, ...]
    indexes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StackApp:
    """One container: its root is `packages` of `os`, plus `wheels` where the framework comes from a Python index; or it is `image`.

    `framework` and `version` are None where only an image is named. `command` may hold `{model}` (the folder of the app's first
    model, see `model_path`), `{id}` (that model's id) and `{port}`; `complete` fills them. With `inherits` it only replaces the
    arguments of the image's own command. `health` is the path that answers 200. `format` is what the framework loads
    (`gguf`, `safetensors`), None without a model; `conversion` (with its root's OS) is set where the models are published in another
    format.
    """

    name: str
    framework: str | None
    version: str | None
    image: str | None
    os: Os | None
    packages: tuple[str, ...]
    wheels: Wheels | None
    command: tuple[str, ...]
    inherits: bool
    environment: tuple[tuple[str, str], ...]
    port: int | None
    health: str | None
    models: tuple[Model, ...]
    format: str | None
    conversion: Conversion | None
    conversion_os: Os | None
    cpu_features: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """What a recipe resolves to; `memory_mib` is the memory that the node must have, `sources` and its `packages` are the recipe's."""

    name: str
    arch: str
    os: Os
    kernel: Kernel
    accelerator: Accelerator | None
    accelerator_count: int
    driver: Driver | None
    apps: tuple[StackApp, ...]
    models: tuple[Model, ...]
    node: tuple[tuple[str, str], ...]
    packages: tuple[str, ...]
    memory_mib: int
    sources: tuple[SourceWish, ...]
    choices: tuple[Choice, ...]
    catalog: str
    signing: Signing | None = None

    def choice(self, component: str, app: str | None = None) -> Choice | None:
        """The choice of a component, of one app where several apps have it."""
        return next((choice for choice in self.choices if choice.component == component and app in (None, choice.app)), None)


def model_path(model: Model) -> str:
    """Where a model is mounted, read-only, in its app."""
    return f"{MODELS}/{model.id}"


def complete(app: StackApp) -> tuple[str, ...]:
    """The app's command with `{model}`, `{id}` and `{port}` filled in."""
    values = {"{port}": "" if app.port is None else str(app.port)}
    if app.models:
        values |= {"{model}": model_path(app.models[0]), "{id}": app.models[0].id}
    return tuple(_filled(word, values) for word in app.command)


def _filled(word: str, values: dict[str, str]) -> str:
    for name, text in values.items():
        word = word.replace(name, text)
    return word
