"""What a snapshot says of programs: which there are, how they were built, and the model with its settings.

What a program pins exactly is there too, where the snapshot does not speak of it: its value is `assumed`. A release that the catalog
does not list has the facts in which the listed ones before and after it agree.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from aistack.compose import serving
from aistack.compose.rules.situation import IMAGE, Part, Path, Value
from aistack.facts import checkpoint, model_names
from aistack.facts.capability import covers, normal
from aistack.facts.catalog import Catalog, Component, Framework, Model, Release
from aistack.facts.snapshot import SeenFramework, Snapshot, listed
from aistack.facts.version import Scheme, VersionFormatError, key
from aistack.values import dataclass

PER_CUDA = frozenset({"torch", "torchvision", "torchaudio", "xformers"})
"""Programs that PyTorch's indexes have for every CUDA: another build than the usual one is one of theirs too."""


OTHERS = re.compile(r"rocm|cpu|xpu|hpu|gaudi|musa")
"""How builds begin that are for something else than CUDA; a commit or a vendor's month says nothing of it."""


NAMED = re.compile(r"[-_]cu(?:da)?(1[0-9])[\dx]?(?=$|-)")
"""How the names of packages say for which CUDA they are: `cupy-cuda13x`, `cudf-cu12`, `nvidia-dali-cuda120`."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program of the snapshot: `path` is where it stands, `owner` what the catalog knows of it."""

    name: str
    path: Path
    seen: SeenFramework
    owner: Framework | Component | None

    @property
    def build(self) -> str:
        """How it says that it was built, in its own field or at the end of its version; empty where it does not say."""
        return (self.seen.build or (self.seen.version or "").partition("+")[2]).strip()

    @property
    def released(self) -> bool:
        """Whether the version is one that its project released; a vendor's container has others."""
        return re.search(r"\d(a|b|\.?dev)\d*", (self.seen.version or "").partition("+")[0]) is None


def programs(snapshot: Snapshot, catalog: Catalog) -> dict[str, Program]:
    """The snapshot's programs by the catalog's names."""
    found = {}
    for called, said in snapshot.frameworks.items():
        plain = called.lower().replace("_", "-")
        owner = catalog.framework(plain) or catalog.component(plain)
        name = owner.id if owner else plain
        seen = SeenFramework(version=said) if isinstance(said, str) else said
        found[name] = Program(name, ("frameworks", called), seen, owner)
    return found


def cuda_of_build(build: str) -> str | None:
    """`12.8` of `cu128`, `12` of `cu12torch2.7`; None where a build does not say."""
    found = re.match(r"cu(?:da)?(\d{2})\.?(\d)?(?!\d)", build)
    return f"{found[1]}.{found[2]}" if found and found[2] else found[1] if found else None


def part(snapshot: Snapshot, catalog: Catalog, vendor: str | None, node: Mapping[str, Value]) -> Part:
    """All that is said of programs, as one app without a name; `node` are the values of the machine."""
    found = programs(snapshot, catalog)
    framework = next((one.owner for one in found.values() if isinstance(one.owner, Framework)), None)
    values = {name: replace(_version(one), compiled=_compiled(one, catalog)) for name, one in found.items()}
    releases = {name: _release(one, vendor, node.get("arch")) for name, one in found.items()}
    for name in list(found):
        _pull(found[name], releases[name], catalog, values, releases, arm64=_is_arm64(node.get("arch")))
    for name in found:
        base = NAMED.sub("", name)
        if base not in values and base not in catalog.wheels:  # rules ask for the project, whatever CUDA its package is for
            values[base] = values[name]
    image = _image(snapshot)
    if image is not None:
        releases[IMAGE] = image
        values[IMAGE] = Value(text=snapshot.image.ref, path=("image", "arch_list"))
    capability = node.get("compute-capability")
    values |= _cuda(snapshot, found, values, releases, vendor, capability)
    values |= _ptx(releases, values, capability)
    model = served(snapshot, catalog)
    if framework is not None:
        own = values[framework.id]
        values |= serving.usual_fraction(framework, own.text, own.path)
    values |= _settings(snapshot, model)
    called = snapshot.model.id
    return Part(
        name="",
        framework=framework,
        root=None,
        models=((called, model),) if called else (),
        model_paths=(("model", "id"),) if called else (),
        values=values,
        release=releases.get(framework.id) if framework else None,
        pulled={name: release for name, release in releases.items() if framework is None or name != framework.id},
    )


# Releases.


def _version(one: Program) -> Value:
    version = one.seen.version
    if not version:
        known = _around(one.owner.releases, one.seen.as_of) if one.owner is not None else ()
        return Value(text=None, path=one.path, because=f"the version of {one.name} is not said", among=known)
    if one.owner is not None and one.owner.versions is Scheme.RELEASE:
        version = re.sub(r"^[vb](?=\d)", "", version)  # as tags are written: `b4589`, `v0.5.7`
    series = re.fullmatch(r"\d+(\.\d+)?", version) is not None and (one.owner is None or one.owner.versions is Scheme.PEP440)
    return Value(text=version, path=(*one.path, "version"), series=series)


def _around(releases: Sequence[Release], day: str | None) -> tuple[str, ...]:
    """The releases, the newest first, that a program without a version may be: all, or those next to the day of its build."""
    first, last = 0, len(releases)
    for place, release in enumerate(releases):
        if day and release.date and release.date > day:
            first = place
        elif day and release.date:
            last = place + 1
            break
    return tuple(release.version for release in releases[first:last])


def _compiled(one: Program, catalog: Catalog) -> Literal["somehow", "listed"] | None:
    """Whether somebody compiled the program, so that what its project's builds hold and pin says little of it."""
    if one.seen.arch_list is not None:
        return "listed"
    build = re.fullmatch(r"(?:cu|rocm)[\d.]+(?:torch.*)?|cpu|", one.build)
    if not one.released or build is None:
        return "somehow"
    cuda, usual = cuda_of_build(one.build), _usual_cuda(one, catalog)
    return "somehow" if one.name not in PER_CUDA and cuda and usual and cuda != usual else None


def _usual_cuda(one: Program, catalog: Catalog) -> str | None:
    """The CUDA of the torch for which a program's release was made."""
    torch = catalog.components.get("torch")
    needs = release_of(one.owner, one.seen.version).needs.get("torch", "") if one.owner and one.seen.version else ""
    exact = re.fullmatch(r"(?:==)?([0-9][0-9A-Za-z.]*)", needs)
    return release_of(torch, exact[1]).brings.get("cuda") if torch and exact else None


def _release(one: Program, vendor: str | None, arch: Value | None) -> Release | None:
    """The release with what is known of the build that is there; what the report says outweighs what the catalog knows.

    What a release needs, pins and brings is that of its builds for NVIDIA's accelerators.
    """
    version = one.seen.version
    known = one.owner is not None and version is not None and one.released
    release = release_of(one.owner, version) if one.owner and version and known else Release(version=version or "")
    if re.fullmatch(r"cu(da)?\d.*", one.build) is None and (one.build or vendor not in ("nvidia", None)):
        release, known = Release(version=release.version, architectures=release.builds.get(one.build, ())), False
    if isinstance(one.seen.arch_list, tuple):
        said = tuple(built for word in one.seen.arch_list if (built := normal(word)))
        return replace(release, architectures=said, builds={}, arm64={}, brings=_carried(one.build, release))
    if not known:
        return release if version else None
    return _built(release, one.build, arm64=_is_arm64(arch))


def _is_arm64(arch: Value | None) -> bool:
    return arch is not None and arch.text == "arm64"


def _built(release: Release, build: str, *, arm64: bool) -> Release:
    """The release as that build; where none is named, as its index serves it, with the others in `builds`."""
    default = "cu" + release.brings.get("cuda", "").replace(".", "")
    published = dict(release.arm64) if arm64 else {default: release.architectures, **release.builds}
    if not build:
        return replace(release, architectures=published.pop(default, ()), builds=published, arm64={})
    local = re.match(r"cu\d+", build)
    chosen = published.get(local[0] if local else build, ())
    return replace(release, architectures=chosen, builds={}, arm64={}, brings=_carried(build, release))


def _carried(build: str, release: Release) -> Mapping[str, str]:
    cuda = cuda_of_build(build)
    return {"cuda": cuda} if cuda else release.brings


def release_of(owner: Framework | Component, version: str) -> Release:
    """The catalog's release of that version, or of a series (`2.7`) or gap what the releases in or around it have in common."""
    public = version.partition("+")[0]
    listed = next((release for release in owner.releases if release.version == public), None)
    if listed is not None:
        return listed
    try:
        wanted = key(public, owner.versions)
        for release in owner.releases:
            if key(release.version, owner.versions) == wanted and public.count(".") >= min(release.version.count("."), 2):
                return release
        inside = [release for release in owner.releases if release.version.startswith(f"{public}.")]
        if inside and public.count(".") < 2:
            return _common(version, inside)
        newer = [release for release in owner.releases if key(release.version, owner.versions) > wanted]
        older = [release for release in owner.releases if key(release.version, owner.versions) < wanted]
    except VersionFormatError:
        return Release(version=version)
    return _common(version, (newer[-1], older[0])) if newer and older else Release(version=version)


def _common(version: str, releases: Sequence[Release]) -> Release:
    first, *others = releases

    def same(get: str) -> dict[str, Any]:
        return {
            name: known for name, known in getattr(first, get).items() if all(getattr(other, get).get(name) == known for other in others)
        }

    return Release(
        version=version,
        needs=same("needs"),
        pins=same("pins"),
        brings=same("brings"),
        architectures=first.architectures if all(other.architectures == first.architectures for other in others) else (),
        builds=same("builds"),
        arm64=same("arm64"),
    )


def _pull(
    one: Program,
    release: Release | None,
    catalog: Catalog,
    values: dict[str, Value],
    releases: dict[str, Release | None],
    *,
    arm64: bool,
) -> None:
    """Enter the components that a program needs in exactly one version, where nothing is said of them.

    A program that says for which CUDA it is built stands beside a torch that is built for the same one.
    """
    build = re.match(r"cu\d{3}(?!\d)", one.build)
    for name, wanted in (release.needs if release else {}).items():
        owner = catalog.components.get(name)
        exact = re.fullmatch(r"(?:==)?([0-9][0-9A-Za-z.+]*)", wanted)
        if owner is None or exact is None or name in values:
            continue
        because = f"{one.name} {one.seen.version} needs {name} {exact[1]}"
        values[name] = Value(text=exact[1], path=(*one.path, "version"), because=because, assumed=True)
        same = build[0] if build and name in PER_CUDA else ""
        releases[name] = _built(release_of(owner, exact[1]), same, arm64=arm64 and bool(same))


def _image(snapshot: Snapshot) -> Release | None:
    built = tuple(found for word in listed(snapshot.image.arch_list) or () if (found := normal(word)))
    if not built:
        return None
    cuda = {"cuda": snapshot.image.cuda} if snapshot.image.cuda else {}
    return Release(version=snapshot.image.ref if isinstance(snapshot.image.ref, str) else "", architectures=built, brings=cuda)


# What the builds carry.


def _cuda(
    snapshot: Snapshot,
    found: Mapping[str, Program],
    values: Mapping[str, Value],
    releases: Mapping[str, Release | None],
    vendor: str | None,
    capability: Value | None,
) -> dict[str, Value]:
    """The CUDA that the programs were built with: what their build says, else the image's, else the toolkit's, else the usual wheel's.

    A server that pins torch may carry another build than the usual one, and does where only another one has code for the accelerator.
    """
    for name, one in found.items():
        cuda = cuda_of_build(one.build)
        if cuda:
            path: Path = (*one.path, "build" if one.seen.build else "version")
            return {"cuda": Value(text=cuda, path=path, because=f"{name} is built for CUDA {cuda}", series="." not in cuda)}
    for name, one in found.items():
        if (told := NAMED.search(str(one.path[1]))) is not None:
            return {"cuda": Value(text=told[1], path=one.path, because=f"{name} is built for CUDA {told[1]}", series=True)}
    if any(OTHERS.match(one.build) for one in found.values()):
        return {}
    for text, path in ((snapshot.image.cuda, ("image", "cuda")), (snapshot.toolkit.cuda, ("toolkit", "cuda"))):
        if text:
            return {"cuda": Value(text=text, path=path, series=re.fullmatch(r"\d+", text) is not None)}
    for name, release in releases.items():
        if name in found and isinstance(found[name].owner, Framework) and release is not None and "cuda" in release.brings:
            because = f"{name} {release.version} is built with CUDA {release.brings['cuda']}"
            return {"cuda": Value(text=release.brings["cuda"], path=values[name].path, because=because, assumed=True)}
    torch = releases.get("torch")
    if torch is None or "cuda" not in torch.brings or vendor not in ("nvidia", None):
        return {}
    if values["torch"].assumed and capability is not None and capability.text and covers(torch.architectures, capability.text) is False:
        return {}
    came = values["torch"].because or f"this is torch {values['torch'].text}"
    because = f"{came}, whose wheel on PyPI carries CUDA {torch.brings['cuda']}"
    return {"cuda": Value(text=torch.brings["cuda"], path=values["torch"].path, because=because, assumed=True)}


def _ptx(releases: Mapping[str, Release | None], values: Mapping[str, Value], capability: Value | None) -> dict[str, Value]:
    """The CUDA whose PTX the driver must compile, where a program has nothing else for the accelerator."""
    for name, release in releases.items():
        if release is None or capability is None or capability.text is None or "cuda" not in release.brings:
            continue
        if covers(release.architectures, capability.text) is None:
            cuda = release.brings["cuda"]
            because = f"{name} has only PTX for compute capability {capability.text}, made by CUDA {cuda}"
            return {"ptx": Value(text=cuda, path=values[name].path, because=because, assumed=values[name].assumed)}
    return {}


# The model.


def served(snapshot: Snapshot, catalog: Catalog) -> Model | None:
    """The model's facts; of one that is not in the catalog what follows from its name.

    Another format, date or training of a known model has that model's geometry, and so has one whose name has that model's in it.
    Of its next minor version only the architecture is taken, where all known versions have the same.
    """
    name = snapshot.model.id
    known = catalog.model(name) if name else None
    if name is None or known is not None:
        return known
    base, form = checkpoint.in_name(name)
    by_name = {model.id.rpartition("/")[2].lower(): model for model in catalog.models.values()}
    origin = next((by_name[other] for other in checkpoint.origins(base) if other in by_name), None)
    retrained = model_names.contained(base, by_name) if origin is None else None
    origin = by_name[retrained] if retrained is not None else origin
    if origin is not None:
        context = origin.max_context if base.lower() in by_name else None
        stored = {"weights_bytes": origin.weights_bytes, "quantization": origin.quantization}
        if form:
            stored = {"weights_bytes": None, "quantization": form}
        return replace(origin, id=name, max_context=context, **stored)  # type: ignore[arg-type]  # each of its own field's type
    relatives = [model for other, model in by_name.items() if checkpoint.family(other) == checkpoint.family(base)]
    if not relatives or len({(model.architecture, model.experts) for model in relatives}) != 1:
        return None
    first = relatives[0]
    return Model(
        id=name,
        name=name,
        kind=first.kind,
        architecture=first.architecture,
        experts=first.experts,
        quantization=form,
        format=first.format,
        licence=first.licence,
        gated=first.gated,
        source=first.source,
        checked=first.checked,
    )


def _settings(snapshot: Snapshot, model: Model | None) -> dict[str, Value]:
    seen = snapshot.model
    numbers = (
        ("context", seen.max_model_len, "max_model_len"),
        ("tensor-parallel", seen.tensor_parallel, "tensor_parallel"),
        ("memory-fraction", seen.gpu_memory_utilization, "gpu_memory_utilization"),
    )
    values = {name: Value(text=str(number), path=("model", own)) for name, number, own in numbers if number is not None}
    said = {"dtype": seen.dtype, "quantization": seen.quantization, "kv-cache-dtype": seen.kv_cache_dtype}
    paths: dict[str, Path] = {name: ("model", name.replace("-", "_")) for name in said}
    return values | serving.values(seen.id, model, said, paths, ("model", "id"))
