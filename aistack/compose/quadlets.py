"""Quadlets in an image: which images they run, and which of them an update engine binds to the system.

podman-systemd.unit(5); what is bound, as bootc 1.16 reads it:
https://github.com/bootc-dev/bootc/blob/v1.16.9/crates/lib/src/boundimage.rs. It reads nothing where one of them cannot be read.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping

from aistack.compose.findings import Check, Finding, answer, some
from aistack.compose.render.system import BOUND_IMAGES
from aistack.facts.filesystem import Filesystem

PLACES = re.compile(r"(?:/usr/share|/etc|/.*/\.config)/containers/systemd/.+")
"""Where podman looks for quadlets, and for drop-ins to them."""
KINDS = (".container", ".image", ".volume", ".conf")
MADE_THERE = (".build", ".kube")
"""Quadlets that name no image, though they run what is in one."""
BOUND_KINDS = (".container", ".image")
MASK = "/dev/null"
GENERATOR = "podman-system-generator"
PROGRAMS = (GENERATOR, "quadlet")
GENERATORS = tuple(f"{root}/systemd/system-generators" for root in ("/etc", "/usr/local/lib", "/usr/lib"))
"""What makes units of quadlets, what podman's program for it is called, and where systemd looks for it, the first counting:
systemd.generator(7)."""

IMAGE = re.compile(r"^[ \t]*Image[ \t]*=[ \t]*(.*?)[ \t]*$", re.MULTILINE)
BY_DIGEST = re.compile(r"(\S+)@(sha256:[0-9a-f]{64})")


def wanted(path: str) -> bool:
    """The files whose contents these checks read."""
    return bool(PLACES.fullmatch(path))


def _images(text: str) -> list[str]:
    return [image for image in IMAGE.findall(text.replace("\\\n", " ")) if image]


def _bound(filesystem: Filesystem) -> Iterator[tuple[str, str]]:
    """The images that are bound, and the links that bind them."""
    for path in filesystem.below(BOUND_IMAGES):
        images = _images(filesystem.text(path) or "")
        if images:
            yield path, images[-1]


def _links(filesystem: Filesystem) -> list[str] | str:
    wrong, unread, named = [], [], dict(_bound(filesystem))
    for path in filesystem.below(BOUND_IMAGES):
        end = filesystem.resolved(path)
        if filesystem.kind(path) != "link" or not path.endswith(BOUND_KINDS):
            wrong.append(f"{path} is no link to a .container or an .image")
        elif not filesystem.kind(end):
            wrong.append(f"{path} leads to nothing ({filesystem.entries[path].target})")
        elif filesystem.text(path) is None:
            unread.append(f"{path} leads to {end}, which is in no folder of quadlets")
        elif path not in named:
            wrong.append(f"{path} leads to {end}, which names no image")
        elif "%" in named[path].replace("%%", ""):
            wrong.append(f"{path} names the image `{named[path]}`, and specifiers are not replaced there")
    return some(unread) if unread and not wrong else wrong


def _tags(filesystem: Filesystem) -> list[str]:
    return [f"{path} binds {image}, which may be another tomorrow" for path, image in _bound(filesystem) if not BY_DIGEST.fullmatch(image)]


def held(filesystem: Filesystem, bound: Mapping[str, str | None]) -> Finding:
    """Whether what runs and what is bound are the images of a lock: `bound` gives their digests, by name, None for any."""
    named: dict[str, str] = {}
    problems = []
    for path in filesystem.below(BOUND_IMAGES):
        matches = [BY_DIGEST.fullmatch(image) for image in _images(filesystem.text(path) or "")]
        if matches and (match := matches[-1]):
            named[_short(match[1])] = match[2]
        else:
            problems.append(f"{path} leads to nothing that names an image by digest ({filesystem.entries[path].target})")
    for name, digest in sorted(bound.items()):
        if name not in named:
            problems.append(f"{name} is not bound")
        elif digest not in (None, named[name]):
            problems.append(f"{name} is bound as {named[name]}, built as {digest}")
    problems += [f"{name} is bound but not in the lock" for name in sorted(named.keys() - bound.keys())]
    problems += [*_strange(filesystem, named), *_not_made(filesystem)]
    return answer("bound-images", not problems, f"{len(bound)} images bound by digest", some(problems))


def _strange(filesystem: Filesystem, named: Mapping[str, str]) -> Iterator[str]:
    """What quadlets run that is not bound; `named` gives the digests of what is, by name."""
    for path in sorted(path for path in filesystem.entries if PLACES.fullmatch(path) and filesystem.kind(path) != "directory"):
        text, end = filesystem.text(path), filesystem.resolved(path)
        if path.endswith(MADE_THERE):
            yield f"{path} runs what the lock does not bind"
        elif text is None and path.endswith(KINDS) and filesystem.kind(end) and end != MASK:
            yield f"{path} leads to {end}, which is in no folder of quadlets"
        for image in _images(text or "") if path.endswith(KINDS) else ():
            match = BY_DIGEST.fullmatch(image)
            ours = match[2] == named.get(_short(match[1])) if match else image.endswith(KINDS[1])  # the name of another quadlet
            if not ours:
                yield f"{path} runs {image}, which the lock does not bind"


def _not_made(filesystem: Filesystem) -> Iterator[str]:
    """Why no quadlet becomes a unit: those that an image has to run, and any that somebody adds where the generator is no program."""
    any_to_run = any(PLACES.fullmatch(path) and path.endswith(".container") for path in filesystem.entries)
    path = next((path for folder in GENERATORS if filesystem.kind(path := f"{folder}/{GENERATOR}")), "")
    end = filesystem.resolved(path) if path else ""
    if any_to_run and not path:
        yield f"no quadlet is started: there is no {GENERATOR}"
    elif any_to_run and end == MASK:
        yield f"no quadlet is started: {path} is masked"
    elif end not in ("", MASK) and (posixpath.basename(end) not in PROGRAMS or not _is_program(filesystem, end)):
        yield f"no quadlet is started: {path} leads to {end}, which is no program of podman's"


def _is_program(filesystem: Filesystem, path: str) -> bool:
    """Whether a file may be executed, and can be: an ELF file that was read, or a script whose interpreter is there."""
    entry = filesystem.entries.get(path)
    if entry is None or entry.kind != "file" or not entry.mode & 0o111:
        return False
    return path in filesystem.binaries or (bool(entry.interpreter) and filesystem.kind(filesystem.resolved(entry.interpreter)) == "file")


def _short(name: str) -> str:
    return name.rsplit("/", 1)[-1]


CHECKS = (
    Check(
        name="bound-links", description="everything in bound-images.d leads to a quadlet that names an image", look=_links, bootable=True
    ),
    Check(name="bound-by-digest", description="what is bound is bound by digest", look=_tags, fatal=False, bootable=True),
)
"""Asked of every bootable image, whoever built it."""
