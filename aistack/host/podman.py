"""The user's podman: images loaded into it and looked at, through its API, each call with an exact signature.

podman-py ignores keywords that it does not know, so it is called here only. When no API service answers, one is started on a private
socket for as long as it is needed. The bound images of a node are not this module's: they lie in a store of their own.
"""

from __future__ import annotations

import importlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aistack.diagnostics import DiagnosticError, unable
from aistack.host import oci, process, python_parts
from aistack.host.store import Store
from aistack.values import dataclass

START_SECONDS = 30.0
SECONDS = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """An image as podman has it; `digest` is its manifest's digest there, `size` in bytes."""

    id: str
    digest: str
    names: tuple[str, ...]
    labels: tuple[tuple[str, str], ...]
    size: int


@dataclass(frozen=True, slots=True)
class Podman:
    """An open connection, made by `connect`."""

    _client: Any

    def version(self) -> str:
        """The service's version."""
        return str(self._ask("version", lambda: self._client.version()["Version"]))

    def load(self, archive: Path) -> tuple[str, ...]:
        """Load an image archive (a tar of an OCI layout); returns the names that podman gave."""
        return tuple(self._ask("load", lambda: [str(image.id) for image in self._client.images.load(file_path=archive)]))

    def tag(self, image: str, repository: str, tag: str) -> None:
        """Give an image a name (`localhost/aistack/app-chat`) and tag."""
        self._ask("tag", lambda: self._client.images.get(image).tag(repository, tag))

    def inspect(self, name: str) -> Seen | None:
        """The image of that name, None when podman has none."""
        if not self._ask("exists", lambda: self._client.images.exists(name)):
            return None
        found = self._ask("inspect", lambda: self._client.images.get(name).attrs)
        return Seen(
            id=str(found["Id"]),
            digest=str(found.get("Digest", "")),
            names=tuple(found.get("RepoTags") or ()),
            labels=tuple(sorted((found.get("Labels") or {}).items())),
            size=int(found.get("Size", 0)),
        )

    def remove(self, name: str) -> None:
        """Remove an image's name, and the image with its last one."""
        self._ask("remove", lambda: self._client.images.remove(name))

    def _ask(self, what: str, call: Any) -> Any:
        errors = importlib.import_module("podman.errors")
        requests: Any = importlib.import_module("requests")
        try:
            return call()
        except (errors.PodmanError, requests.RequestException, OSError) as error:
            raise unable("POD003", "podman-refused", f"podman could not {what}", why=(f"{type(error).__name__}: {error}",)) from error


@contextmanager
def connect(environment: Mapping[str, str] = os.environ) -> Iterator[Podman]:
    """The service on CONTAINER_HOST or the usual socket if one answers, else one of our own; raises DiagnosticError (exit 3)."""
    library = _library()
    for url in _usual(environment):
        client = library.PodmanClient(base_url=url, timeout=SECONDS)
        try:
            if client.ping():
                yield Podman(client)
                return
        except (library.errors.PodmanError, OSError):
            continue
        finally:
            client.close()
    with _service(environment) as url:
        client = library.PodmanClient(base_url=url, timeout=SECONDS)
        try:
            yield Podman(client)
        finally:
            client.close()


def load_image(podman: Podman, store: Store, digest: str, repository: str, tag: str = "latest") -> Seen:
    """Load an image of the store as `repository:tag`; returns it as podman has it."""
    with store.scratch() as scratch:
        folder = oci.export_layout(store, {f"{repository}:{tag}": digest}, scratch / "layout")
        archive = scratch / "image.tar"
        process.run(["tar", "--create", f"--file={archive}", f"--directory={folder}", "oci-layout", "index.json", "blobs"], timeout=SECONDS)
        loaded = podman.load(archive)
    name = f"{repository}:{tag}"
    seen = podman.inspect(name)
    if seen is None and loaded:
        podman.tag(loaded[0], repository, tag)
        seen = podman.inspect(name)
    if seen is None:
        raise unable("POD004", "image-not-loaded", f"podman took the image but does not know `{name}`", why=(f"loaded: {loaded}",))
    return seen


def _library() -> Any:
    try:
        importlib.import_module("podman.errors")
        return importlib.import_module("podman")
    except ImportError as error:
        raise unable(
            "POD001", "podman-client-missing", "podman-py is not installed", why=(str(error),), hints=(python_parts.mend(),)
        ) from error


def _usual(environment: Mapping[str, str]) -> list[str]:
    if host := environment.get("CONTAINER_HOST"):
        return [host]
    folder = Path("/run") if os.geteuid() == 0 else Path(environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}")
    socket = folder / "podman" / "podman.sock"
    return [f"unix://{socket}"] if socket.exists() else []


@contextmanager
def _service(environment: Mapping[str, str]) -> Iterator[str]:
    program = process.require("podman", "podman")
    with tempfile.TemporaryDirectory(prefix="aistack-podman-") as folder:
        socket, log = Path(folder) / "podman.sock", Path(folder) / "log"
        url = f"unix://{socket}"
        # Where containers may not be nested, builds work in a chroot only.
        settings = {"BUILDAH_ISOLATION": "chroot", **environment}
        with process.stream([program, "system", "service", "--time=0", url], log=log, env=settings) as running:
            _wait(running.poll, socket, log)
            try:
                yield url
            finally:
                running.terminate()  # podman ends with exit code 0 then


def _wait(ended: Callable[[], int | None], socket: Path, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not socket.exists():
        if (code := ended()) is not None:
            raise _no_service(f"it ended with exit code {code}", log)
        if time.monotonic() > deadline:
            raise _no_service(f"no socket after {START_SECONDS:.0f} s", log)
        time.sleep(0.1)


def _no_service(reason: str, log: Path) -> DiagnosticError:
    said = tuple(line for line in log.read_text(errors="replace").splitlines() if line.strip())[-process.LINES_THAT_MATTER :]
    return unable("POD002", "podman-no-service", "podman's API service does not start", why=(reason, *said), hints=("try `podman info`",))
