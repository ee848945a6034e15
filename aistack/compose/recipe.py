"""The recipe: what is wanted, as its author wrote it. Ranges and versions are text here; the catalog says what they mean.

A recipe is understood alone: no inheritance, anchors, templates, includes or environment.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from typing import Annotated, ClassVar, Literal

from aistack.diagnostics import Diagnostic, Label, Severity
from aistack.facts import following
from aistack.facts.decode import Number, Text, decode
from aistack.facts.document import Node, place_of
from aistack.facts.version import Scheme, VersionFormatError, parse_range
from aistack.values import dataclass

SCHEMA = "aistack/recipe/v1"

_VERSION = r"[0-9][0-9A-Za-z+~:_-]*(?:\.[0-9A-Za-z+~:_-]+)*"
_PART = rf"(?:(?:>=|<=|==|!=|>|<)\s*)?{_VERSION}(?:\.\*)?"
RANGE = rf"{_PART}(?:\s*,\s*{_PART})*"
"""One version, a series (`6.12.*`), or bounds that must all hold (`>=0.11,<0.20`)."""

DRIVER_RANGE = RANGE.replace(_VERSION, r"[0-9]+(?:\.[0-9]+)*")
"""The same of versions that are numbers and dots only."""


def range_problem(scheme: Scheme | None = None) -> Callable[[str], str | None]:
    """A check for `Text`: what is wrong with a range, or None; with a scheme its versions are read too."""

    def check(text: str) -> str | None:
        for part in text.split(","):
            if not re.fullmatch(_PART, part.strip()):
                return _part_problem(part.strip())
        if scheme is not None:
            try:
                parse_range(text, scheme)
            except VersionFormatError as error:
                return str(error)
        return None

    return check


def _part_problem(part: str) -> str:
    if not part:
        return "there is an empty part beside a comma"
    sign = re.match(r"[^0-9A-Za-z\s]+", part)
    if sign and sign[0] not in (">=", "<=", "==", "!=", ">", "<"):
        return f"`{sign[0]}` is not used here: write `>=`, `<=`, `>`, `<`, `==`, `!=`, or a series like `6.12.*`"
    if "*" in part:
        return f"`{part}`: a `*` stands only at the end, after a dot"
    return f"`{part}` is not a version: it begins with a digit and holds no spaces"


Name = Annotated[
    str,
    Text(pattern=r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?", what="a name of lower case letters, digits and dashes", example="chat"),
]
OsId = Annotated[str, Text(pattern=r"[a-z][a-z0-9.-]*", what="the id of an OS", example="debian-13")]
ProductId = Annotated[str, Text(pattern=r"[a-z0-9-]+/[a-z0-9.-]+", what="an accelerator's id, vendor/product", example="nvidia/l4")]
MigProfile = Annotated[
    str, Text(pattern=r"(?:[1-9]c\.)?[1-9]g\.[1-9][0-9]*gb(?:\+[a-z]+(?:\.[a-z]+)*|-me)?", what="a profile of MIG", example="1g.10gb")
]
FrameworkId = Annotated[str, Text(pattern=r"[a-z0-9][a-z0-9.+-]*", what="the id of a framework", example="vllm")]
ModelId = Annotated[
    str, Text(pattern=r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*", what="a model's id, owner/name", example="Qwen/Qwen3-8B")
]
Range = Annotated[str, Text(pattern=RANGE, what="a version or a range", example=">=0.11", check=range_problem())]
KernelRange = Annotated[str, Text(pattern=RANGE, what="a version or a range", example="6.12.*", check=range_problem(Scheme.KERNEL))]
DriverRange = Annotated[str, Text(pattern=DRIVER_RANGE, what="a version or a range", example="550.*", check=range_problem(Scheme.RELEASE))]
Argument = Annotated[str, Text(pattern=r"[A-Za-z][A-Za-z0-9._-]*", what="an option's name without its dashes", example="max-model-len")]
Variable = Annotated[str, Text(pattern=r"[A-Za-z_][A-Za-z0-9_]*", what="the name of an environment variable", example="OMP_NUM_THREADS")]
Setting = Annotated[str, Text(pattern=r"[^\x00-\x1f\x7f]*", what="text on one line", loose=True)]
Reason = Annotated[str, Text(pattern=r"\s*\S[\s\S]*", what="a reason in words", example="lab node, replaced in spring")]
HealthPath = Annotated[str, Text(pattern=r"/[^\s]*", what="a path that begins with a slash", example="/health")]
ImageName = Annotated[
    str,
    Text(
        pattern=rf"{following.HOST}{following.REPOSITORY}(?:{following.TAG})?(?:{following.DIGEST})?",
        what="an image's name that begins with its registry",
        example="registry.example/team/app:1.2",
    ),
]
Followed = Annotated[str, Text(pattern=following.REFERENCE, what="HOST/REPOSITORY:TAG", example="registry.example/nodes/l4:stable")]
Window = Annotated[
    str,
    Text(pattern=following.WINDOW, what="days and hours", example="Sat,Sun 02:00..04:00", check=following.window_problem),
]
Uri = Annotated[str, Text(pattern=r"(?:https?|file|copy)://?[^\s@]+", what="an address without user name or password")]
SuiteName = Annotated[
    str, Text(pattern=r"[A-Za-z0-9][A-Za-z0-9._+/-]*|\.?/", what="a suite, or `./` of a flat archive", example="trixie-backports")
]
ComponentName = Annotated[str, Text(pattern=r"[A-Za-z0-9][A-Za-z0-9._+/-]*", what="a component of an archive", example="contrib")]
OwnPackage = Annotated[str, Text(pattern=r"[a-z0-9][a-z0-9+.-]+", what="the name of a package", example="rdma-core")]
PackageName = Annotated[
    str, Text(pattern=r"[a-z0-9][a-z0-9+.-]+(?:=[0-9A-Za-z.+:~-]+)?", what="a package, NAME or NAME=VERSION", example="podman")
]
SigningKey = Annotated[
    str, Text(pattern=r"[^\x00]*\S[^\x00]*", what="a file that holds a public key, or the armoured key", example="vendor.asc")
]
KeyName = Annotated[
    str,
    Text(
        pattern=r"(?!pkcs11:.*pin-value)[^\s\x00]+",
        what="a file beside the recipe, or a PKCS#11 URI without its PIN",
        example="keys/modules.pem",
    ),
]
PublicKey = Annotated[str, Text(pattern=r"[^\x00]*\S[^\x00]*", what="a file beside the recipe with a public key", example="release.pub")]

SSH_PORT = 22


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelWish:
    """Which of the OS's kernels."""

    flavor: Annotated[Name, "the OS's name for a kernel build: `generic`, or `cloud` (smaller, without graphics support)"]
    version: Annotated[KernelRange | None, "version or range of the upstream kernel; the newest that fits is taken"] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceleratorWish:
    """The accelerators of each node."""

    product: Annotated[ProductId, "id in the catalog; `aistack list accelerators` shows all"]
    count: Annotated[int, Number(minimum=1, maximum=1024), "how many of them each node has"] = 1
    mig: Annotated[
        tuple[MigProfile, ...], "the parts into which each of NVIDIA's is split by whoever runs the node; without it, none is split"
    ] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningWish:
    """What the kernel modules that are compiled are signed with, so that a kernel with Secure Boot takes them."""

    key: Annotated[KeyName, "the private key: a file beside the recipe (PEM), or a PKCS#11 URI; it is used, and copied nowhere"]
    certificate: Annotated[KeyName, "the key's certificate (PEM or DER), a file beside the recipe; nodes have to trust it"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverWish:
    """The accelerator's driver."""

    version: Annotated[DriverRange | None, "version or range; the newest that fits is taken"] = None
    flavor: Annotated[
        Literal["open", "proprietary", "in-tree"] | None, "which kernel modules; chosen by the accelerator where not given"
    ] = None
    signing: Annotated[SigningWish | None, "signs the modules that are compiled; without it they are unsigned"] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AppWish:
    """One container: a framework, its models, its settings; or an image that somebody else built."""

    framework: Annotated[Mapping[FrameworkId, Range | None], "one framework and its version or range, like `{vllm: '>=0.11'}`"] = field(
        default_factory=dict
    )
    image: Annotated[ImageName | None, "an image of a registry that delivers the framework, or the whole app; its digest is locked"] = None
    models: Annotated[tuple[ModelId, ...], "models by the hub's ids; each is mounted read-only under /models"] = ()
    command: Annotated[
        tuple[Setting, ...],
        "the whole command, instead of the framework's or the image's own; `{model}`, `{id}` and `{port}` are filled in",
    ] = ()
    args: Annotated[Mapping[Argument, Setting | None], "options of the command; `true` or nothing gives a bare flag"] = field(
        default_factory=dict
    )
    environment: Annotated[Mapping[Variable, Setting], "environment variables of the app; never a secret"] = field(default_factory=dict)
    port: Annotated[int | None, Number(minimum=1, maximum=65535), "TCP port on the node"] = None
    health: Annotated[HealthPath | None, "the path that answers 200 once the app serves, where it is not the framework's own"] = None

    @property
    def framework_id(self) -> str:
        """The framework's id, empty where only an image is named (a recipe that was read has at most one)."""
        return next(iter(self.framework), "")

    @property
    def framework_range(self) -> str | None:
        """The framework's version or range as written; None: any."""
        return next(iter(self.framework.values()), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeWish:
    """Settings of the node that are no secrets; keys, host name and network come as credentials when it boots."""

    ssh: Annotated[Literal["credential", "none"], "`credential`: the public keys come as a credential at boot; `none`: no ssh"] = (
        "credential"
    )
    time_zone: Annotated[
        str, Text(pattern=r"[A-Za-z]+(?:[/_+-][A-Za-z0-9]+)*", what="a time zone", example="Europe/Berlin"), "the node's time zone"
    ] = "UTC"
    packages: Annotated[tuple[OwnPackage, ...], "packages of the OS beside those that every node has"] = ()
    follow: Annotated[Followed | None, "the image in a registry that the nodes update to; the credential `aistack.follow` overrides it"] = (
        None
    )
    window: Annotated[
        Window | None,
        "when a node may reboot into an update by itself, local time; never where not given; the credential `aistack.window` overrides it",
    ] = None
    signed_by: Annotated[
        PublicKey | None, "the public sigstore key, a file beside the recipe, that must have signed what the node takes from registries"
    ] = None
    serial_numbers: Annotated[
        Literal["none", "reported"], "`reported`: the node's reports name its accelerators by serial number and UUID too"
    ] = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceWish:
    """An archive of packages (`apt`) or an index of wheels (`pip`) to fetch from; credentials stay in the tools' own files."""

    kind: Annotated[Literal["apt", "pip"], "what is fetched from it"]
    uri: Annotated[Uri | None, "its address; for `apt`, the build host's own mirror where not given"] = None
    os: Annotated[OsId | None, "for `apt`: the OS whose packages it holds; the recipe's own where not given"] = None
    suites: Annotated[tuple[SuiteName, ...], "for `apt`: suites, `./` of a flat archive; without them it is a mirror of the whole OS"] = ()
    components: Annotated[tuple[ComponentName, ...], "for `apt`: components beside those of the OS; `main` where there are none"] = ()
    signed_by: Annotated[SigningKey | None, "for `apt`: the key of an archive not the OS's own, or a file beside the recipe with it"] = None
    packages: Annotated[tuple[PackageName, ...], "for `apt`: packages to take from it, NAME or NAME=VERSION"] = ()
    apps: Annotated[tuple[Name, ...], "the apps that take from it; without them, the node's system from `apt`, every app from `pip`"] = ()

    @property
    def for_node(self) -> tuple[str, ...]:
        """The packages, NAME or NAME=VERSION, that become part of the node's system."""
        return self.packages if self.kind == "apt" and not self.apps else ()

    @property
    def further(self) -> bool:
        """Whether it is an archive beside the OS's own, not one in the place of their mirror."""
        return self.signed_by is not None and bool(self.suites)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """A finding that is known and accepted, for a reason and for a time."""

    OTHER_WORDS: ClassVar[Mapping[str, str]] = {"reason": "because", "expires": "until"}
    rule: Annotated[str, Text(pattern=r"[A-Z]{2,6}[0-9]{3}|[a-z][a-z0-9-]+", what="a rule's code or name", example="NV140"), "code or name"]
    because: Annotated[Reason, "why it is acceptable here"]
    until: Annotated[datetime.date, "the last day on which it is accepted"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What is wanted on a node: an OS, a kernel, an accelerator and its driver, apps with frameworks and models."""

    schema: Annotated[Literal["aistack/recipe/v1"], "the kind of this file and its version"]
    name: Annotated[Name, "names the images, the lock file and the disk"]
    arch: Annotated[Literal["amd64", "arm64"], "the nodes' CPU architecture, in Debian's spelling"]
    os: Annotated[OsId, "the distribution to start from; `aistack list os` shows all"]
    kernel: Annotated[KernelWish, "which of the OS's kernels"]
    accelerator: Annotated[AcceleratorWish | None, "the accelerators of each node; leave it out where there are none"] = None
    driver: Annotated[DriverWish | None, "the accelerator's driver; chosen where not given"] = None
    apps: Annotated[Mapping[Name, AppWish], "what runs on the node, by name"] = field(default_factory=dict)
    node: Annotated[NodeWish, "settings of the node"] = field(default_factory=NodeWish)
    sources: Annotated[tuple[SourceWish, ...], "where packages and wheels come from, beside or instead of the build host's own places"] = ()
    allow: Annotated[tuple[Allowance, ...], "findings that are accepted, each with its reason and its end"] = ()


def read(root: Node) -> tuple[Recipe | None, tuple[Diagnostic, ...]]:
    """A recipe from its document: (recipe, ()) or (None, every problem). Places stay with the document: `place_of(root, path)`."""
    recipe, problems = decode(Recipe, root)
    if recipe is None:
        return None, problems
    found = tuple(_contradictions(recipe, root))
    return (None, found) if found else (recipe, ())


def _contradictions(recipe: Recipe, root: Node) -> list[Diagnostic]:
    found: list[Diagnostic] = []
    ports: dict[int, str] = {}
    for name, app in recipe.apps.items():
        where = ("apps", name)
        if len(app.framework) > 1 or not (app.framework or app.image):
            message = f"`{'.'.join(where)}.framework` must name one framework, not {len(app.framework)}"
            hint = "give each framework an app of its own" if app.framework else "write `framework: {NAME: RANGE}`, `image:` or both"
            found.append(_problem("REC001", "one-framework", message, root, (*where, "framework"), hints=(hint,)))
        for index, model in enumerate(app.models):
            if any(model.lower() == earlier.lower() for earlier in app.models[:index]):
                message = f"model `{model}` is listed twice in app `{name}`"
                found.append(_problem("REC002", "model-twice", message, root, (*where, "models", index), hints=("remove one of the two",)))
        if app.port is not None and app.port in ports:
            other = ports[app.port]
            label = Label(place=place_of(root, ("apps", other, "port")), text=f"app `{other}` has it already")
            message = f"port {app.port} is taken by two apps, `{other}` and `{name}`"
            problem = _problem(
                "REC003", "port-twice", message, root, (*where, "port"), labels=(label,), hints=("give one of them another port",)
            )
            found.append(problem)
        elif app.port is not None:
            ports[app.port] = name
        if app.port == SSH_PORT and recipe.node.ssh != "none":
            ways = ("give the app another port", "or leave ssh out of the node: `node: {ssh: none}`")
            found.append(_problem("REC005", "port-of-ssh", f"port {SSH_PORT} is the node's own ssh", root, (*where, "port"), hints=ways))
    if recipe.driver is not None and recipe.accelerator is None:
        why = ("without an accelerator there is nothing that a driver would drive",)
        hints = ("add `accelerator:` or remove `driver:`",)
        found.append(
            _problem("REC004", "driver-without-accelerator", "a driver but no accelerator", root, ("driver",), why=why, hints=hints)
        )
    if recipe.accelerator is not None and recipe.accelerator.mig:
        found += _split(recipe, root)
    found += _sources(recipe, root)
    return sorted(found, key=lambda problem: problem.place or root.place)


def _split(recipe: Recipe, root: Node) -> Iterator[Diagnostic]:
    """Why accelerators cannot be split as the recipe says."""
    assert recipe.accelerator is not None
    where = ("accelerator", "mig")
    if not recipe.accelerator.product.startswith("nvidia/"):
        message = f"`{recipe.accelerator.product}` knows no MIG"
        yield _problem("REC010", "split-unknown", message, root, where, hints=("leave `mig` out",))
    elif recipe.apps:
        why = ("what fits is judged for whole accelerators, and every app is given all of them",)
        ways = ("leave `mig` out", "or leave the apps out: whoever splits the accelerators, such as Kubernetes, gives the parts to its own")
        yield _problem("REC010", "split-unknown", "apps on parts of accelerators are not composed", root, where, why=why, hints=ways)


APT_ONLY = ("os", "suites", "components", "signed-by", "packages")


def _sources(recipe: Recipe, root: Node) -> Iterator[Diagnostic]:
    """What a source lacks, and what it says that would count for nothing."""
    for index, source in enumerate(recipe.sources):
        where = ("sources", index)
        flat = any(suite.endswith("/") for suite in source.suites)
        lacking = ""
        if (source.kind == "pip" or source.signed_by or flat) and source.uri is None:
            lacking = "uri"
        elif flat and source.signed_by is None:
            lacking = "signed-by"
        elif source.os not in (None, recipe.os) and (source.packages or source.further) and not source.apps:
            lacking = "apps"
        if lacking:
            message = f"`sources[{index}]` lacks the key `{lacking}`"
            yield _problem("REC006", "source-incomplete", message, root, where, why=(LACKING[lacking],))
        unused = [(key, "an index of wheels") for key in APT_ONLY if source.kind == "pip" and getattr(source, key.replace("-", "_"))]
        unused += [("components", "a flat archive")] if flat and source.components else []
        unused += [("os", "a source of named apps")] if source.kind == "apt" and source.os and source.apps else []
        for key, what in unused:
            hints = (f"remove `{key}`",)
            yield _problem("REC007", "source-key-unused", f"`{key}` says nothing of {what}", root, (*where, key), hints=hints)
        for number, app in enumerate(source.apps):
            if app not in recipe.apps:
                hints = ("its apps: " + (", ".join(f"`{name}`" for name in recipe.apps) or "none"),)
                message = f"`{app}` is no app of this recipe"
                yield _problem("REC008", "source-app-unknown", message, root, (*where, "apps", number), hints=hints)


LACKING = {
    "uri": "the build host's own places are Debian's mirror and no flat archive, vendor's archive or index",
    "signed-by": "a flat archive is not the OS's own, so its key must be named: a file beside the recipe, or the armoured key",
    "apps": "the node's system is of another OS, so only apps can take packages from it",
}


def _problem(
    rule: str,
    name: str,
    message: str,
    root: Node,
    path: tuple[str | int, ...],
    *,
    why: tuple[str, ...] = (),
    labels: tuple[Label, ...] = (),
    hints: tuple[str, ...] = (),
) -> Diagnostic:
    place = place_of(root, path)
    return Diagnostic(rule=rule, name=name, severity=Severity.ERROR, message=message, place=place, labels=labels, why=why, hints=hints)
