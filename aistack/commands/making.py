"""How each kind of step is carried out: the plan's words on one side, the tools of `host` on the other."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, field
from pathlib import Path
from types import ModuleType
from typing import Any

from aistack.commands import compiling, fetching, verifying
from aistack.commands.pinning import Places
from aistack.compose import checks, credentials, findings, lint, quadlets, render, sbom, statement, tidy, verify
from aistack.compose import modules as module_text
from aistack.compose.distros import debian as debian_text
from aistack.compose.lock import Lock, LockedApp, LockedModel, identity
from aistack.compose.plan import Step, Surroundings
from aistack.facts import efi, fatbin
from aistack.facts.files import Rendered, RenderedFile
from aistack.facts.following import SEALED_LABEL
from aistack.facts.pins import LockedFile, LockedRoot
from aistack.host import (
    accounts,
    binaries,
    blobs,
    bound_images,
    bound_store,
    deb,
    debian,
    disk,
    disk_fill,
    disk_layout,
    gguf,
    grub,
    hub,
    inspect,
    layer_tree,
    layers,
    models,
    modules,
    oci,
    ostree,
    ostree_commit,
    own_files,
    process,
    python_parts,
    registry,
    rootfs,
    sharing,
    signing,
    sysroot,
    uses,
    wheel_layers,
    wheels,
)
from aistack.report.progress import Progress
from aistack.values import dataclass

STATEMENT = "verify.intoto.json"
SBOM_WRITERS = ("cyclonedx-python-lib", "license-expression", "packageurl-python", "spdx-tools")
"""Python packages that shape a bill of materials."""


def _parts(package: ModuleType) -> Iterator[ModuleType]:
    """The modules of a package that are loaded."""
    return (part for name, part in sorted(vars(package).items()) if getattr(part, "__name__", "") == f"{package.__name__}.{name}")


VERSIONS = {"mmdebstrap": "--version", "bwrap": "--version"}
CODE: Mapping[str, tuple[ModuleType, ...]] = {
    "modules": (modules,),
    "base-image": (accounts, deb, debian, layers, oci, rootfs, signing),
    "app-root": (accounts, deb, debian, layers, rootfs),
    "app-wheels": (layers, wheel_layers),
    "app-image": (oci, models),
    "converted-model": (gguf, models),
    "model-image": (models, layers, oci),
    "system-image": (render.system, layers, oci),
    "verify": (
        credentials,
        fatbin,
        findings,
        inspect,
        lint,
        quadlets,
        signing,
        statement,
        tidy,
        verify,
        *_parts(checks),
        *_parts(binaries),
    ),
    "sbom": (sbom.cyclonedx, sbom.inventory, sbom.spdx),
    "disk": (blobs, bound_images, bound_store, disk, disk_fill, disk_layout, grub, layer_tree, ostree, ostree_commit, sysroot),
}
"""Modules of ours whose text shapes a step's output."""


@functools.cache
def surroundings() -> Surroundings:
    """What this machine's tools and this aistack add to a plan."""
    tools = {tool: _version(tool, option) for tool, option in VERSIONS.items()} | {"installer": python_parts.version("installer")}
    ours = {kind: _digest([Path(str(module.__file__)).read_bytes() for module in modules]) for kind, modules in CODE.items()}
    every = (*base_files(), *(file for vendor in render.VENDORS for file in render.render_driver(vendor)))
    files = [part for file in every for part in (file.path.encode(), _content(file))]
    code = [part for file in own_files.node_part() for part in (file.path.encode(), file.content)]
    ours["base-image"] = _digest([ours["base-image"].encode(), *files, debian_text.base_script().encode()])
    ours["modules"] = _digest([ours["modules"].encode(), debian_text.module_script().encode(), repr(debian_text.module_files()).encode()])
    ours["app-root"] = _digest([ours["app-root"].encode(), debian_text.app_script().encode()])
    ours["app-wheels"] = _digest([ours["app-wheels"].encode(), repr(debian_text.app_python("3")).encode()])
    ours["node-part"] = _digest(code)
    ours["sbom"] = _digest([ours["sbom"].encode(), *map(str.encode, python_parts.versions(SBOM_WRITERS))])
    return Surroundings(tools=tools, ours=ours)


def base_files(vendor: str = "") -> tuple[Rendered, ...]:
    """Every file of a base that no package brings: the OS's settings, the node's units, and those for a vendor's driver."""
    files = (*debian_text.base_files(), *render.render_node(), *render.render_driver(vendor))
    return tuple(sorted(files, key=lambda file: file.path))


@dataclass(slots=True)
class Maker:
    """Carries out the steps of a plan; `outputs` grows with each, by the step's id. What the store lacks may lie in a `shared` one."""

    steps: Sequence[Step]
    lock: Lock
    places: Places
    shared: Sequence[sharing.Source]
    progress: Progress
    outputs: dict[str, Mapping[str, Any]]
    known: verifying.Known = field(default_factory=dict)

    def make(self, step: Step, folder: Path) -> dict[str, Any]:
        """The document of the step's output; files that it names lie in `folder`."""
        log = folder / "log"
        match step.kind:
            case "tools-root":
                return self._root(self.lock.root("tools"), log)
            case "converter-root":
                return self._root(self.lock.root(f"converter-{step.name}"), log)
            case "node-part":
                return {"layers": [asdict(layer) for layer in self._node_part(step)]}
            case "modules":
                return self._modules(step, log)
            case "base-image":
                return {"image": self._base(step, log), "files": self._certificate(folder)}
            case "app-root":
                return {"layers": [asdict(layer) for layer in self._app_root(self._locked_app(step), step, log)]}
            case "app-wheels":
                return {"layers": [asdict(layer) for layer in self._wheels(self._locked_app(step), step, log)]}
            case "app-image":
                return {"image": self._app(self._locked_app(step), step)}
            case "converted-model":
                return self._converted(self.lock.model(step.name), step, log)
            case "model-image":
                return {"image": self._model(self.lock.model(step.name), step)}
            case "system-image":
                return {"image": self._system(step)}
            case "sbom":
                return self._sbom(folder)
            case "verify":
                return self._verify(folder, self.places.store.path / "outputs" / step.inputs[-1])
            case "disk":
                return self._disk(step, folder)
        raise ValueError(f"no way to make `{step.kind}`")

    def fetched(self, root: LockedRoot) -> LockedRoot:
        """The root, with all of its packages in the store."""
        return fetching.fetched(root, self.places, self.shared, self.progress)

    def _root(self, root: LockedRoot, log: Path) -> dict[str, Any]:
        return {"root": rootfs.make_root(self.places.store, self.fetched(root), log=log).name}

    def _tools(self, step: Step) -> Path:
        """The unpacked tools root, a step's first input."""
        return self.places.store.path / "roots" / str(self.outputs[step.inputs[0]]["root"])

    def _compressor(self, step: Step) -> tuple[str, ...]:
        return rootfs.foreign(self._tools(step), self.lock.compressor)

    def _modules(self, step: Step, log: Path) -> dict[str, Any]:
        root = self.lock.root(module_text.ROOT)
        return compiling.compiled(root, self.lock.component("kernel"), self.places, self.shared, self.progress, log)

    def _compiled(self, step: Step) -> list[Rendered]:
        """The modules that the base carries; raises DiagnosticError (exit 1) when they do not compile."""
        store, kernel = self.places.store, self.lock.component("kernel")
        made: list[Rendered] = []
        for one in step.inputs:
            compiling.require(store, one, self.outputs[one])
            if "modules" in self.outputs[one]:
                made += compiling.files(store, self.outputs[one], kernel, self.lock.signing, self.places.folder)
        return made

    def _certificate(self, folder: Path) -> dict[str, str]:
        """What a node's firmware has to trust before its kernel takes the modules (`mokutil --import`), where they are signed."""
        if self.lock.signing is None or module_text.ROOT not in dict(self.lock.roots):
            return {}
        name = Path(module_text.CERTIFICATE).name
        (folder / name).write_bytes(signing.der(self.lock.signing.certificate))
        return {"certificate": name}

    def _base(self, step: Step, log: Path) -> str:
        store = self.places.store
        root = self.fetched(self.lock.root("base"))
        compressor = self._compressor(step)
        vendor = self.lock.accelerator.vendor if self.lock.accelerator and "driver" in dict(self.lock.components) else ""
        files = (*base_files(vendor), *self._compiled(step))
        image = debian.build_base(store, root, files=files, script=debian_text.base_script(), compressor=compressor, log=log)
        filesystem = verifying.read(store, image, self.known)
        found = verify.verify_base(filesystem, self.lock, verifying.signed(filesystem, self.lock))
        verifying.require({"base": found})  # what boots nowhere is told before apps are built
        return image

    def _locked_app(self, step: Step) -> LockedApp:
        return next(app for app in self.lock.apps if app.name == step.name)

    def _wheels(self, app: LockedApp, step: Step, log: Path) -> tuple[layers.Layer, ...]:
        store, compressor, python = self.places.store, self._compressor(step), str(app.python)
        sharing.take(store, (wheel.sha256 for wheel in app.wheels), self.shared)
        wheels.fetch(
            store,
            app.wheels,
            python=python,
            arch=self.lock.arch,
            environment=self.places.environment,
            offline=self.places.offline,
            advance=self.progress.advance,
        )
        assert app.root is not None
        root = rootfs.make_root(store, self.fetched(self.lock.root(app.root)), log=log)
        environment = layers.write_layer(
            store, _entries(debian_text.app_python(python)), compressor=compressor, annotations=((layers.GROUP, "python"),)
        )
        made = wheel_layers.write(
            store, root, app.wheels, app.wheel_layers, python=python, compressor=compressor, advance=self.progress.advance
        )
        return (environment, *made)

    def _app_root(self, app: LockedApp, step: Step, log: Path) -> tuple[layers.Layer, ...]:
        assert app.root is not None
        root = self.fetched(self.lock.root(app.root))
        compressor = self._compressor(step)
        return debian.build_layers(self.places.store, root, script=debian_text.app_script(), compressor=compressor, log=log)

    def _app(self, app: LockedApp, step: Step) -> str:
        store = self.places.store
        if app.image:
            sharing.take(store, (blob.sha256 for blob in app.image.parts().values()), self.shared)
            registry.fetch(store, app.image, offline=self.places.offline, advance=self.progress.advance)
            return oci.read_image(store, app.image.digest).digest
        assert app.framework and app.version
        return oci.write_image(
            store,
            [layer for one in step.inputs for layer in uses.layers_of(self.outputs[one])],
            arch=self.lock.arch,
            settings=models.app_settings(command=app.command, environment=app.environment, port=app.port, wheels=bool(app.wheels)),
            labels=models.app_labels(name=app.name, framework=app.framework, version=app.version),
        )

    def _converted(self, model: LockedModel, step: Step, log: Path) -> dict[str, Any]:
        assert model.conversion is not None
        (root,) = (self.outputs[one]["root"] for one in step.inputs)
        self._fetch_model(model)
        files = models.convert(
            self.places.store, self.places.store.path / "roots" / root, files=model.files, argv=model.conversion.argv, log=log
        )
        return {"model": [{"path": file.path, "sha256": file.sha256, "size": file.size} for file in files]}

    def _model(self, model: LockedModel, step: Step) -> str:
        if step.inputs:
            files = tuple(LockedFile(**file) for file in self.outputs[step.inputs[0]]["model"])
        else:
            self._fetch_model(model)
            files = model.files
        return models.model_image(
            self.places.store, id=model.id, revision=model.revision, licence=model.licence, files=files, arch=self.lock.arch
        )

    def _fetch_model(self, model: LockedModel) -> None:
        sharing.take(self.places.store, (file.sha256 for file in model.files), self.shared)
        hub.fetch(
            self.places.store,
            model.id,
            model.revision,
            model.files,
            sources=model.sources,
            folder=self.places.models_from,
            offline=self.places.offline,
            advance=self.progress.advance,
        )

    @property
    def images(self) -> dict[str, str]:
        """Manifest digests of the images that are there, by their steps' titles."""
        return {step.title: self.outputs[step.id]["image"] for step in self.steps if "image" in self.outputs.get(step.id, {})}

    def _node_part(self, step: Step) -> tuple[layers.Layer, ...]:
        store, tools, compressor, arch = self.places.store, self._tools(step), self._compressor(step), self.lock.arch
        versions = {package.name: package.version for package in self.lock.root("tools").packages if package.name in efi.packages(arch)}
        return (
            own_files.esp_layer(store, tools, disk.KERNEL_ARCH[arch], versions, compressor=compressor),
            own_files.node_layer(store, tools, compressor=compressor),
        )

    def _system(self, step: Step) -> str:
        store = self.places.store
        node_part = [layer for one in step.inputs for layer in uses.layers_of(self.outputs[one])]
        base = oci.read_image(store, self.images[f"base-image {self.lock.os}"])
        entries = _entries(render.render_system(self.lock, bound(self.lock, self.images)))
        top = layers.write_layer(store, entries, compressor=self._compressor(step), annotations=((layers.GROUP, "lock"),))
        labels = {**dict(base.labels), verify.LOCK_LABEL: identity(self.lock), "org.opencontainers.image.title": self.lock.name}
        labels |= {SEALED_LABEL: self.lock.sealed} if self.lock.sealed else {}
        return oci.write_image(store, (*base.layers, *node_part, top), arch=base.arch, settings=base.settings, labels=labels)

    def _disk(self, step: Step, folder: Path) -> dict[str, Any]:
        made = disk.make(
            self.places.store,
            self._tools(step),
            folder,
            seed=step.id,
            digest=self.images[f"system-image {self.lock.name}"],
            reference=dict(self.lock.node).get("follow", f"localhost/aistack/{self.lock.name}:latest"),
            bound=bound(self.lock, self.images),
            arch=self.lock.arch,
            progress=lambda text: self.progress.say(f"    {text}"),
        )
        files = {"raw": made.raw.name} | ({"qcow2": made.qcow2.name} if made.qcow2 else {})
        return {"files": files, "commit": made.filled.commit, "bytes": made.filled.size, "seconds": made.filled.seconds}

    def _sbom(self, folder: Path) -> dict[str, Any]:
        python_parts.require()
        documents = sbom.documents(self.lock)
        for name, text in documents.items():
            (folder / name).write_text(text, encoding="utf-8")
        return {"files": {name: name for name in documents}}

    def _verify(self, folder: Path, documents: Path) -> dict[str, Any]:
        names = {f"app-{app.name}": self.images[f"app-image {app.name}"] for app in self.lock.apps}
        system = self.images[f"system-image {self.lock.name}"]
        found = verifying.verify(self.places.store, self.lock, system, names, bound(self.lock, self.images), documents, self.known)
        verifying.require(found)
        (folder / STATEMENT).write_text(verifying.statement({"image": system}, found, self.lock), encoding="utf-8")
        return {"findings": verifying.documents(found), "files": {"statement": STATEMENT}}


def bound(lock: Lock, images: Mapping[str, str]) -> dict[str, str]:
    """The images that a system binds: their names in the bound store, and manifest digests; `images` are by their steps' titles."""
    titles = {f"app-image {app.name}": render.app_image(app.name) for app in lock.apps}
    titles |= {f"model-image {model.id}": render.model_image(model.id) for model in lock.models}
    return {titles[title]: digest for title, digest in images.items() if title in titles}


def _entries(files: Sequence[Rendered]) -> list[tuple[layers.Entry, layers.Content]]:
    return [
        layers.file_entry(file.path, file.content, mode=file.mode)
        if isinstance(file, RenderedFile)
        else layers.link_entry(file.path, file.target)
        for file in files
    ]


def _content(file: Rendered) -> bytes:
    return file.content if isinstance(file, RenderedFile) else file.target.encode()


def _version(tool: str, option: str) -> str:
    said = process.run([process.require(tool, tool), option], timeout=30)
    return (said.stdout or said.stderr).strip().splitlines()[0]


def _digest(parts: list[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
