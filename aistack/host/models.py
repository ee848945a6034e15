"""Model images and app images: how weights become layers, how they change format, and how an app's container starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import aistack
from aistack.diagnostics import unable
from aistack.facts.files import APP
from aistack.facts.pins import LockedFile
from aistack.host import layers, oci, process, rootfs
from aistack.host.layers import Layer
from aistack.host.store import Store, digest

LARGE = 4 << 20
"""Bytes from which a file has a layer of its own; smaller ones share the first layer."""

NOBODY = "65534:65534"
PACKAGE = "/run/aistack/python"
INPUT, OUTPUT = "/in", "/out"
ENVIRONMENT = {
    "PYTHONPATH": PACKAGE,
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
}
"""What a converter sees beside what every program in a throw-away root sees: fixed, and nothing of this machine's own."""


def convert(
    store: Store, root: Path, *, files: Sequence[LockedFile], argv: Sequence[str], log: Path | None = None, timeout: float = 3600
) -> tuple[LockedFile, ...]:
    """Run `argv` in the unpacked root `root`, the model's `files` at /in and an empty /out, without a network; keep what it leaves there.

    The files must be in the store. Returns the files of the new format, sorted by path, kept in the store.
    Raises DiagnosticError (exit 3) when the program fails or leaves nothing.
    """
    with store.scratch() as scratch:
        model, out = scratch / "in", scratch / "out"
        out.mkdir()
        _lay_out(store, files, model)
        # The root is read-only while it is used, so its mount points are made before; a second conversion finds them there.
        process.run([*rootfs.privileges(), "mkdir", "-p", *(str(root / name.strip("/")) for name in (INPUT, OUTPUT))])
        binds = (
            rootfs.Bind(source=model, target=INPUT),
            rootfs.Bind(source=out, target=OUTPUT, writable=True),
            rootfs.Bind(source=Path(aistack.__file__).resolve().parent, target=f"{PACKAGE}/aistack"),
        )
        rootfs.enter(root, argv, binds=binds, environment=ENVIRONMENT, timeout=timeout, log=log)
        made = []
        for path in sorted(out.rglob("*")):
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as stream:
                    sha256, size = store.add(stream)
                made.append(LockedFile(path=path.relative_to(out).as_posix(), sha256=sha256, size=size))
    if not made:
        raise unable("MDL002", "conversion-empty", "the conversion left no file", why=(f"command: {' '.join(argv)}",))
    return tuple(made)


def _lay_out(store: Store, files: Sequence[LockedFile], folder: Path) -> None:
    for file in files:
        if not store.has(file.sha256):
            raise unable("MDL001", "model-file-not-stored", f"`{file.path}` is not in the store", hints=("build once without `--offline`",))
        if digest(store.blob(file.sha256)) != file.sha256:
            raise unable("STO002", "store-damaged", f"the store's `{file.path}` is not what it was", hints=("build again",))
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.hardlink_to(store.blob(file.sha256))
        except OSError:  # a file system without hard links, or a file that belongs to someone else
            target.write_bytes(store.blob(file.sha256).read_bytes())


def model_image(
    store: Store, *, id: str, revision: str, licence: str, files: Sequence[LockedFile], arch: str, labels: Mapping[str, str] | None = None
) -> str:
    """Write a model's image: whole files at their paths, not compressed, each large one in its own layer; returns the manifest's digest.

    The same files give the same image; a large file that two revisions share is one blob. The files must be in the store.
    """
    for file in files:
        if not store.has(file.sha256):
            raise unable("MDL001", "model-file-not-stored", f"`{file.path}` is not in the store", hints=("build once without `--offline`",))
    small = sorted((file for file in files if file.size < LARGE), key=lambda file: file.path)
    large = sorted((file for file in files if file.size >= LARGE), key=lambda file: file.path)
    written: list[Layer] = []
    if small:
        written.append(_shared_layer(store, small))
    written += [layers.file_layer(store, file.path, file.sha256, annotations=((layers.GROUP, file.path),)) for file in large]
    told = {
        "org.opencontainers.image.title": id,
        "org.opencontainers.image.licenses": licence,
        "org.opencontainers.image.revision": revision,
        "io.aistack.kind": "model",
        **(labels or {}),
    }
    return oci.write_image(store, written, arch=arch, labels=told)


def _shared_layer(store: Store, files: Sequence[LockedFile]) -> Layer:
    entries = [(layers.Entry(path=file.path, size=file.size), layers.Stored(file.sha256)) for file in files]
    return layers.write_layer(store, entries, compress=False, annotations=((layers.GROUP, "small files"),))


def app_settings(*, command: Sequence[str], environment: Sequence[tuple[str, str]], port: int | None, wheels: bool = False) -> oci.Settings:
    """How an app's container starts: its command as nobody, with only the environment that the lock names.

    With `wheels`, programs and the Python of the app's own wheels come first; their byte code lies beside them, none is written.
    """
    settings = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "LC_ALL": "C.UTF-8"}
    if wheels:
        settings |= {"PATH": f"{APP}/bin:{settings['PATH']}", "VIRTUAL_ENV": APP}
        settings |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONNOUSERSITE": "1", "PYTHONUNBUFFERED": "1"}
    settings |= dict(environment)
    return oci.Settings(
        command=tuple(command),
        environment=tuple(sorted(settings.items())),
        user=NOBODY,
        folder="/",
        ports=(f"{port}/tcp",) if port is not None else (),
    )


def app_labels(*, name: str, framework: str, version: str) -> dict[str, str]:
    """What an app's image says about itself."""
    return {
        "org.opencontainers.image.title": name,
        "io.aistack.kind": "app",
        "io.aistack.framework": framework,
        "io.aistack.framework.version": version,
    }
