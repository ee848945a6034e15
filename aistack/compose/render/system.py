"""The system layer: the lock, and the quadlets that bind apps and models to it by digest."""

from __future__ import annotations

from collections.abc import Mapping

from aistack.compose.lock import Lock, LockedApp, encode
from aistack.compose.render.policy import render_policy
from aistack.facts.files import RENDER, VIDEO, Rendered, RenderedFile, RenderedLink

LOCK_PATH = "/usr/lib/aistack/lock.json"
QUADLETS = "/usr/share/containers/systemd"
BOUND_IMAGES = "/usr/lib/bootc/bound-images.d"
BOUND_STORE = "/usr/lib/bootc/storage"
MOUNTED_MODELS = "/run/aistack/models"
NOBODY = "65534:65534"
START_SECONDS = 300


def slug(model: str) -> str:
    """A model's id as it stands in image and unit names: `Qwen/Qwen3-8B` gives `qwen--qwen3-8b`."""
    return model.lower().replace("/", "--")


def app_image(name: str) -> str:
    """The name under which an app's image lies in the bound store."""
    return f"localhost/aistack/app-{name}"


def model_image(model: str) -> str:
    """The name under which a model's image lies in the bound store."""
    return f"localhost/aistack/model-{slug(model)}"


def app_unit(name: str) -> str:
    """The service that runs an app; the prefix keeps an app called `ssh` from replacing the system's own service."""
    return f"app-{name}.service"


def image_names(lock: Lock) -> tuple[str, ...]:
    """Every image that the lock's node binds, in the lock's order: what `images` of `render_system` must name."""
    return tuple(app_image(app.name) for app in lock.apps) + tuple(model_image(model.id) for model in lock.models)


def render_system(lock: Lock, images: Mapping[str, str]) -> tuple[Rendered, ...]:
    """The files of the system layer, sorted by path.

    `images` gives the manifest digest (`sha256:…`) of each name in `image_names(lock)`; a missing one raises KeyError.
    Each app is a `.container` and each app and model also an `.image`: the second is never started (it would pull), it is what an
    update engine reads to know which images must be on the node before the next boot.
    """
    files: list[Rendered] = [RenderedFile(path=LOCK_PATH, content=encode(lock))]
    for app in lock.apps:
        files += _bound(f"app-{app.name}", app_image(app.name), images)
        files.append(_text(f"{QUADLETS}/app-{app.name}.container", _container(lock, app, images)))
    for model in lock.models:
        files += _bound(f"model-{slug(model.id)}", model_image(model.id), images)
    settings = dict(lock.node)
    time_zone = settings.get("time-zone", "credential")
    if time_zone != "credential":
        files.append(RenderedLink(path="/etc/localtime", target=f"../usr/share/zoneinfo/{time_zone}"))
    if settings.get("ssh", "credential") == "none":
        files += [RenderedLink(path=f"/etc/systemd/system/{unit}", target="/dev/null") for unit in ("ssh.service", "ssh.socket")]
    if key := settings.get("signed-by"):
        files += render_policy(key)
    return tuple(sorted(files, key=lambda file: file.path))


def _bound(name: str, image: str, images: Mapping[str, str]) -> list[Rendered]:
    text = f"[Unit]\nDescription={image}, bound to this system\n\n[Image]\nImage={image}@{images[image]}\n"
    path = f"{QUADLETS}/{name}.image"
    return [_text(path, text), RenderedLink(path=f"{BOUND_IMAGES}/{name}.image", target=path)]


# Host networking: one node serves its apps, so a private network per app would only add a firewall, a bridge and their start time.
# Models come as a bind of what aistack-models.service mounted: podman 5.4 refuses `type=image` mounts from a read-only store
# ("mounting read/only store images is not allowed"); once a podman on every supported OS allows it, `Mount=type=image` replaces both.
def _container(lock: Lock, app: LockedApp, images: Mapping[str, str]) -> str:
    image = app_image(app.name)
    needs = ["aistack-check.service"] + (["aistack-models.service"] if app.models else [])
    lines = [
        "[Unit]",
        f"Description=app {app.name}: {app.contents}",
        f"Requires={' '.join(needs)}",
        f"After={' '.join(needs)} network.target",
        "Before=aistack-confirm.service",
        "",
        "[Quadlet]",
        "DefaultDependencies=false",
        "",
        "[Container]",
        f"ContainerName={app.name}",
        f"Image={image}@{images[image]}",
        "Pull=never",
        f"GlobalArgs=--storage-opt=additionalimagestore={BOUND_STORE}",
    ]
    lines += [f"Volume={MOUNTED_MODELS}/{lock.model(model).id}:/models/{lock.model(model).id}:ro" for model in app.models]
    lines += DEVICES.get(lock.accelerator.vendor, ()) if lock.accelerator else ()
    lines += [f"Environment={_word(f'{name}={value}')}" for name, value in app.environment]
    program, *arguments = app.command
    lines += [
        # The lock's command is the whole of it: an image's own entrypoint, which an empty one would not clear, does not count.
        f"Entrypoint={_literal(program)}",
        f"Exec={' '.join(_word(word) for word in arguments)}",
        "Network=host",
        f"User={NOBODY.partition(':')[0]}",
        f"Group={NOBODY.partition(':')[2]}",
        "ReadOnly=true",
        "NoNewPrivileges=true",
        "DropCapability=all",
        "LogDriver=journald",
        "",
        "[Service]",
        "Restart=on-failure",
        "RestartSec=5",
        f"TimeoutStartSec={START_SECONDS}",
        "",
        "[Install]",
        "WantedBy=multi-user.target",
        "",
    ]
    return "\n".join(lines)


DEVICES: Mapping[str, tuple[str, ...]] = {
    "amd": ("AddDevice=/dev/kfd", "AddDevice=/dev/dri", f"GroupAdd={RENDER}", f"GroupAdd={VIDEO}"),
    "nvidia": ("AddDevice=nvidia.com/gpu=all",),
}
"""By vendor, what gives an app the accelerators: AMD's device nodes, with the node's groups that udev's rules let use them, by number; of
NVIDIA's all that this node's CDI specification names."""


_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:=,+@")


def _word(text: str) -> str:
    """One word of a unit file's command line: quoted, and with nothing left for systemd to expand."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t").replace("%", "%%").replace("$", "$$")
    return text if text and set(text) <= _PLAIN else f'"{escaped}"'


def _literal(text: str) -> str:
    """A value that podman's generator takes as it stands, with nothing left for systemd to expand."""
    return text.replace("%", "%%").replace("$", "$$")


def _text(path: str, text: str) -> RenderedFile:
    return RenderedFile(path=path, content=text.encode())
