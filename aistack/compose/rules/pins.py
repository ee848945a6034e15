"""Rules about programs that stand in one environment: what their packages pin, and what their compiled parts were built against."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from aistack.compose.programs import cuda_of_build
from aistack.compose.rules.data import fits, in_words
from aistack.compose.rules.situation import IMAGE, Finding, Situation, Value, code_rule
from aistack.diagnostics import Severity
from aistack.facts.catalog import Release
from aistack.facts.snapshot import SeenFramework, stated
from aistack.facts.version import parse_range

EXTENSIONS = frozenset(
    {
        *("torchvision", "torchaudio", "xformers", "flash-attn", "vllm-flash-attn", "vllm", "sglang", "sgl-kernel"),
        *("causal-conv1d", "mamba-ssm"),
    }
)
"""Programs with compiled parts that load into torch."""

LOADING = ("ctranslate2", "llama-cpp-python", "onnxruntime-gpu")
"""Programs that load CUDA's libraries from where they find them, and whose builds say for which CUDA they are."""

REFUSING = frozenset({("jax", "jaxlib")})
"""Programs that look at another's version when they are imported, and stop where it is not one that they pin."""

STABLE = (2, 10)
"""From this torch on, wheels that were built for one release were found to load into the next ones."""


def _pins(situation: Situation) -> Iterator[Finding]:
    """A package states which versions of others it works with; what else is in its environment must keep to that.

    A package manager sees to it as long as everything is installed in one step. Later installations, images that are built in
    layers and `--no-deps` break it. Where compiled parts are bound to a release of torch, another minor version of it means
    undefined symbols when they are loaded, which is an error; all else is a warning, because what a package states is
    narrower than what works; of an exact version another patch of it is no matter. What somebody compiled is bound to the torch that
    it was compiled with, which may be another one.
    """
    part = situation.part
    if part is None:
        return
    releases: Mapping[str, Release | None] = {**part.pulled, **({part.framework.id: part.release} if part.framework else {})}
    for owner, release in releases.items():
        value = situation.value(owner)
        if release is None or value is None or value.assumed:
            continue
        for component, wanted in {**release.pins, **_programs(situation, release)}.items():
            yield from _judge_pin(situation, owner, release, component, wanted)


def _programs(situation: Situation, release: Release) -> dict[str, str]:
    """Those needs of a release that are programs too; all others are judged elsewhere."""
    return {name: wanted for name, wanted in release.needs.items() if name in situation.catalog.components}


def _judge_pin(situation: Situation, owner: str, release: Release, component: str, wanted: str) -> Iterator[Finding]:
    value = situation.value(component)
    if value is None or value.assumed or value.text is None or not _is_released(value.text):
        return
    scheme = situation.catalog.scheme(component)
    if fits(_public(value), wanted, scheme) is not False:
        return
    parts = parse_range(wanted, scheme).parts
    exact = parts[0][1] if len(parts) == 1 and parts[0][0] == "==" else None
    refused = (owner, component) in REFUSING
    bound = refused or (component == "torch" and owner in EXTENSIONS and exact is not None)
    near = exact is not None and minor(exact) == minor(value.text)
    if near and not bound:
        return
    own = situation.value(owner)
    apart = refused or (bound and not near and (own is None or own.compiled is None))
    told = (
        f"{owner} looks for it when it is imported, and stops"
        if refused
        else f"the compiled parts of {owner} are bound to that release of torch: in another they miss symbols"
    )
    kind = "frameworks" if owner in situation.catalog.frameworks else "components"
    yield Finding(
        severity=None if apart else Severity.WARNING,
        message=f"{owner} {release.version} is made for {component} {in_words(wanted)}, the environment has {value.text}",
        path=value.path,
        label=f"needs {in_words(wanted)}",
        also=((situation.where(owner), "named here"),),
        why=(told,) if apart else (),
        place=f"{kind}/{owner}/{release.version}",
        hints=(f"install {component} {exact}, or the release of {owner} that is made for {component} {value.text}",) if exact else (),
    )


def _public(value: Value) -> Value:
    assert value.text is not None
    return Value(text=value.text.partition("+")[0], path=value.path, series=value.series)


def _is_released(version: str) -> bool:
    """Whether a version is one that a project released: a vendor's container has others, of which no package speaks."""
    return re.fullmatch(r"\d+(\.\d+)*(\.post\d+)?(\+.*)?", version) is not None


def minor(version: str) -> tuple[int, ...]:
    """The first two numbers of a version."""
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:2])


def _built_for_torch(situation: Situation) -> Iterator[Finding]:
    """A wheel that says for which torch it was built (`cu12torch2.7`) loads into that minor version only.

    torch has no stable interface for its C++ extensions: with another minor version the extension misses symbols when it is imported.
    Of wheels for torch 2.10 it is known that they load into the next releases too, which therefore is a warning.
    """
    for name, one in situation.seen.frameworks.items():
        build = _build(one)
        found = re.search(r"torch(\d+)\.(\d+)", build)
        torch = situation.value("torch")
        if found is None or torch is None or torch.text is None or not _is_released(torch.text):
            continue
        built, have = (int(found[1]), int(found[2])), minor(torch.text)
        if len(have) < 2 or built == have:
            continue
        yield Finding(
            severity=Severity.WARNING if STABLE <= built < have or torch.assumed else None,
            message=f"this build of {name} is for torch {built[0]}.{built[1]}, the environment has torch {torch.text}",
            path=("frameworks", name, "build" if isinstance(one, SeenFramework) and one.build else "version"),
            label=f"needs a build for torch {have[0]}.{have[1]}",
            also=((torch.path, "named here"),),
            why=(torch.because,) if torch.assumed else (),
            hints=(f"take the wheel for torch {have[0]}.{have[1]}, or compile {name} in this environment",),
        )


def _build(one: str | SeenFramework) -> str:
    seen = SeenFramework(version=one) if isinstance(one, str) else one
    return (seen.build or (seen.version or "").partition("+")[2]).strip()


def _abi(situation: Situation) -> Iterator[Finding]:
    """torch and its extensions must be compiled with the same C++ ABI, or the extension misses symbols when it is imported.

    PyTorch's wheels for x86-64 used the old ABI up to 2.5, and in 2.6 except those for CUDA 12.6; from 2.7 on all use the new one
    (`torch._C._GLIBCXX_USE_CXX11_ABI`). Wheels of extensions say theirs at the end of their version: `cxx11abiTRUE`.
    """
    torch = situation.value("torch")
    seen = {name: SeenFramework(version=one) if isinstance(one, str) else one for name, one in situation.seen.frameworks.items()}
    own = stated(seen["torch"].cxx11_abi) if "torch" in seen else None
    certain = own is not None or bool(torch is not None and not torch.assumed and ("+" in (torch.text or "") or _build(seen["torch"])))
    if own is None and torch is not None and torch.text is not None and _is_released(torch.text) and situation.text("arch") != "arm64":
        build = torch.text.partition("+")[2] or (_build(seen["torch"]) if "torch" in seen else "")
        own = _usual_abi(minor(torch.text), build)
    for name, one in seen.items():
        told = re.search(r"cxx11abi(true|false)", _build(one), re.IGNORECASE)
        theirs = told[1].lower() == "true" if told else stated(one.cxx11_abi)
        if name == "torch" or own is None or theirs is None or theirs == own:
            continue
        spoken = {True: "new", False: "old"}
        yield Finding(
            severity=None if certain else Severity.WARNING,
            message=f"{name} is built with the {spoken[theirs]} C++ ABI, torch {torch.text if torch else ''} with the {spoken[own]} one",
            path=("frameworks", name, "build" if told and one.build else "cxx11_abi"),
            label=f"needs cxx11abi{str(own).upper()}",
            why=() if certain else ("which build of torch this is, is not said: that of PyPI is taken",),
            also=((situation.where("torch"), "named here"),),
        )


def _usual_abi(torch: tuple[int, ...], build: str) -> bool | None:
    """Whether PyTorch's own wheel has the new ABI; None where that is not known."""
    if torch == (2, 6):
        return {"cu118": False, "cu124": False, "cu126": True}.get(build)
    return None if len(torch) < 2 else torch >= (2, 7)


def _one_cuda(situation: Situation) -> Iterator[Finding]:
    """What loads into one torch must be built for the same major version of CUDA.

    Each major version has its own libraries (`libcudart.so.12`, `libcudart.so.13`): an extension for another one does not find them.
    Minor versions of one major version get along.
    """
    part, torch = situation.part, situation.value("torch")
    if part is None or torch is None:
        return
    mine = _cuda(situation, "torch", part.pulled.get("torch"))
    if mine is None:
        return
    for name in sorted(EXTENSIONS | {"onnxruntime-gpu", "flashinfer"}):
        value = situation.value(name)
        theirs = _cuda(situation, name, part.pulled.get(name)) if value is not None else None
        if value is None or theirs is None or theirs.text == mine.text or theirs.text is None or mine.text is None:
            continue
        certain = not (mine.assumed or theirs.assumed)
        yield Finding(
            severity=None if certain else Severity.WARNING,
            message=f"{name} is built for CUDA {theirs.text}, torch {torch.text or ''} for CUDA {mine.text}",
            path=theirs.path,
            label=f"needs a build for CUDA {mine.text}",
            also=((mine.path, f"for CUDA {mine.text}"),),
            why=() if certain else ("the build is not said: that of PyPI's wheel is taken",),
        )


def _environment_cuda(situation: Situation) -> Iterator[Finding]:
    """A program that brings no CUDA libraries along must find those of the major version for which it was built.

    It loads them by name: a build for CUDA 11 looks for `libcublasLt.so.11`, and where only CUDA 12 is installed it stops, or computes on
    the processor. Minor versions of one major version get along. Programs that bring the libraries (torch, JAX, NVIDIA's own packages)
    lend them to others in their environment, so where one of these is, nothing is said.
    """
    part, environment = situation.part, situation.value("environment-cuda")
    if part is None or environment is None or environment.text is None:
        return
    have = environment.text.partition(".")[0]
    for name in LOADING:
        mine = _cuda(situation, name, part.pulled.get(name))
        if mine is None or mine.assumed or mine.text is None or mine.text == have:
            continue
        yield Finding(
            message=f"{name} is built for CUDA {mine.text} and loads its libraries, but those of CUDA {environment.text} are there",
            path=mine.path,
            label=f"needs a build for CUDA {have}",
            also=((environment.path, f"CUDA {environment.text}"),),
            hints=(f"install its build for CUDA {have}, or the libraries of CUDA {mine.text} beside it",),
        )


def _cuda(situation: Situation, name: str, release: Release | None) -> Value | None:
    """The major version of the CUDA that a program is built for; assumed where only PyPI's usual wheel tells."""
    value = situation.value(name)
    if value is None or name == IMAGE:
        return None
    written = value.path[1] if len(value.path) > 1 else name
    build = _build(situation.seen.frameworks.get(str(written), "")) if not value.assumed else ""
    found = cuda_of_build(build) if build else (release.brings.get("cuda") if release else None)
    return Value(text=found.partition(".")[0], path=value.path, assumed=not build) if found else None


def _installed_toolkit(situation: Situation) -> Iterator[Finding]:
    """What compiles its kernels on the machine needs a compiler of the CUDA that its torch was built with.

    DeepSpeed compares both when it builds its operations and refuses a toolkit of another major version.
    """
    torch = situation.part.pulled.get("torch") if situation.part else None
    toolkit = situation.value("toolkit.cuda")
    mine = _cuda(situation, "torch", torch)
    if situation.value("deepspeed") is None or toolkit is None or toolkit.text is None or mine is None or mine.text is None:
        return
    major = toolkit.text.partition(".")[0]
    if major != mine.text:
        yield Finding(
            severity=Severity.WARNING if mine.assumed else None,
            message=f"DeepSpeed cannot compile its operations: the toolkit is CUDA {toolkit.text}, torch is built with CUDA {mine.text}",
            path=toolkit.path,
            label=f"needs CUDA {mine.text}",
            also=((mine.path, f"for CUDA {mine.text}"),),
        )


PINS = ("framework-pins",)

RULES = (
    code_rule(_pins, "PN101", "environment-pins", "app", of="snapshot", topics=PINS),
    code_rule(
        _built_for_torch,
        "PN102",
        "built-for-other-torch",
        "app",
        of="snapshot",
        topics=PINS,
        source=("https://github.com/Dao-AILab/flash-attention/issues/1696", "https://github.com/unslothai/unsloth/pull/7495"),
        checked="2026-11-26",
    ),
    code_rule(
        _abi,
        "PN103",
        "cxx11-abi",
        "app",
        of="snapshot",
        topics=PINS,
        source=(
            "https://github.com/pytorch/pytorch/pull/142064",
            "https://github.com/Dao-AILab/flash-attention/issues/1644",
            "https://github.com/Dao-AILab/flash-attention/issues/457",
        ),
        checked="2026-11-26",
    ),
    code_rule(_one_cuda, "PN104", "one-cuda-major", "app", of="snapshot", topics=PINS),
    code_rule(
        _environment_cuda,
        "PN107",
        "environment-cuda",
        "app",
        of="snapshot",
        topics=PINS,
        source=(
            "https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider",
            "https://github.com/microsoft/onnxruntime/issues/20944",
            "https://github.com/abetlen/llama-cpp-python",
        ),
        checked="2026-11-26",
    ),
    code_rule(
        _installed_toolkit,
        "PN105",
        "toolkit-for-extensions",
        "app",
        of="snapshot",
        topics=PINS,
        source=("https://github.com/deepspeedai/DeepSpeed/blob/master/op_builder/builder.py",),
        checked="2026-11-26",
    ),
)
