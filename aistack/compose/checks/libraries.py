"""Every library that a program or a library needs is where the loader looks, and offers the versions of symbols that are asked of it:
ld.so(8), https://man7.org/linux/man-pages/man8/ld.so.8.html.

What lies in a folder of its own, such as a plugin, is loaded by a program that has loaded others before: there it is enough that the image
has such a library at all. Where it has none, a distribution's plugin is not broken for that: packages only recommend what few of their
plugins need, and whether anybody asks for one, files do not say. A program in a folder of its own may be started by a script that says
where its libraries are: there it is enough that they lie in that folder, or beside it where it is called `bin`.
"""

from __future__ import annotations

import fnmatch
import itertools
import posixpath
import re
from collections.abc import Iterable, Iterator

from aistack.compose.checks.tree import boots
from aistack.compose.findings import Check, some
from aistack.facts import loader_cache
from aistack.facts.binary import Binary
from aistack.facts.filesystem import Filesystem

CONFIGURATION, CACHE = "/etc/ld.so.conf", "/etc/ld.so.cache"
DEFAULT = ("/lib", "/usr/lib", "/lib64", "/usr/lib64", "/lib32", "/usr/lib32", "/usr/local/lib")
"""Where loaders look of themselves, in one distribution or another; `/usr/local/lib` is musl's."""
HWCAPS = re.compile(r".*/glibc-hwcaps/[^/]+")
MULTIARCH = re.compile(r"(?:/usr)?/lib/\w+-linux-(?:gnu|musl)\w*|" + HWCAPS.pattern)
GLIBC, MUSL = "libc.so.6", re.compile(r"/ld-musl-|-linux-musl")
MUSL_FOLDERS = re.compile(r"/etc/ld-musl-\w+\.path")
"""Where musl's loader is told its folders: https://git.musl-libc.org/cgit/musl/tree/ldso/dynlink.c."""
HOME = re.compile(r"(?:/usr)?/(?P<name>lib(?:64|32|x32)?(?:/\w+-linux-gnu\w*)?)")
"""Where a distribution has glibc."""
LDCONFIG, UNITS = "ldconfig.service", ("/etc/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system")
SYSTEM = re.compile(r"(?:/usr(?:/local)?)?/s?bin")
"""Folders of everybody's programs."""
PROCESSORS = {"EM_X86_64": "x86_64", "EM_AARCH64": "aarch64"}
DISTRIBUTED = re.compile(r"(?:/usr)?/lib(?:32|64|x32)?/.+")
"""Where distributions have their plugins, in folders of their own."""
INJECTED = re.compile(r"lib(?:cuda|cudadebugger|nvcuvid|nvoptix|nvidia-[\w-]+)\.so\.1")
"""What a node's driver lends to containers: an image that does not boot need not have it."""


def _needs(filesystem: Filesystem) -> list[str] | str:
    searched = {filesystem.resolved(folder) for folder in searched_folders(filesystem)}
    anywhere, loaders, cached = _names(filesystem), dict[tuple[str, int], set[str]](), _cached(filesystem)
    booted = boots(filesystem)
    told = () if booted else re.split("[:;]", filesystem.environment.get("LD_LIBRARY_PATH", ""))  # a booted system does not read it

    def found(paths: Iterable[str], binary: Binary) -> Iterator[str]:
        for path in paths:
            place = filesystem.resolved(path)
            there = filesystem.binaries.get(place)
            if there is not None and (there.machine, there.bits) == (binary.machine, binary.bits):
                yield place

    links = (path for path, entry in filesystem.entries.items() if entry.kind == "link" and posixpath.dirname(path) in searched)
    linked = {filesystem.resolved(path) for path in links}
    wrong, untold = list[str](), list[str]()
    for path, binary in sorted(filesystem.binaries.items()):
        here = posixpath.dirname(path)
        own = [folder for said in binary.runpath or binary.rpath for folder in sorted(_own(said, here, binary))]
        kind = (binary.machine, binary.bits)
        if kind not in loaders:
            loaders[kind] = {filesystem.resolved(folder) for folder in _built_in(filesystem, *kind)}
        builtin = searched if MUSL.search(binary.interpreter or here) else loaders[kind]
        strict, may_be_told = bool(binary.interpreter) or here in searched, bool(binary.interpreter) and here not in searched
        if binary.interpreter and not filesystem.kind(filesystem.resolved(binary.interpreter)):
            wrong.append(f"{path} asks for the loader {binary.interpreter}, which is not there")
        for name in binary.needed:
            places = sorted(anywhere.get((name, *kind), ()))
            beside = [place for place in places if _beside(here, place) and posixpath.basename(place) == name] if may_be_told else []
            # A name with a slash is a path, and is sought nowhere else.
            named = (f"{folder}/{name}" for folder in (*own, *filter(None, told)))
            usual = (f"{folder}/{name}" for folder in builtin)
            paths = sorted(_own(name, here, binary)) if "/" in name else itertools.chain(named, cached.get(name, ()), usual)
            answers = itertools.chain(found(paths, binary), beside if strict else places)
            first = next(answers, None)
            if first is not None:
                wrong += _unmet(filesystem, path, name, itertools.chain((first,), answers))
            elif strict and (booted or not INJECTED.fullmatch(name)):
                lost = next((f": {CACHE} does not name {place}" for place in places if posixpath.dirname(place) in searched), "")
                wrong.append(f"{path} needs {name}, which is not where it is looked for{lost}")
            elif booted or not INJECTED.fullmatch(name):
                plugin = path not in linked and DISTRIBUTED.fullmatch(path) is not None
                (untold if plugin else wrong).append(f"{path} needs {name}, which is nowhere")
    return wrong or (f"whether a program asks for what cannot be loaded: {some(untold)}" if untold else [])


def lacking(filesystem: Filesystem, program: str) -> Iterator[str]:
    """What a program, or a library that it loads, needs and a file system has nowhere.

    It is asked of an initramfs: what makes one takes libraries along by their names, and not always all that these need in turn.
    """
    anywhere, seen, left = _names(filesystem), set[str](), [program]
    while left:
        path = left.pop(0)
        binary = filesystem.binaries.get(path)
        if binary is None or path in seen:
            continue
        seen.add(path)
        if binary.interpreter and not filesystem.kind(filesystem.resolved(binary.interpreter)):
            yield f"{path} asks for the loader {binary.interpreter}, which is not there"
        for name in binary.needed:
            places = sorted(anywhere.get((posixpath.basename(name), binary.machine, binary.bits), ()))
            if places:
                yield from _unmet(filesystem, path, name, places)
            else:
                yield f"{path} needs {name}, which is nowhere"
            left += places[:1]


def _unmet(filesystem: Filesystem, path: str, name: str, answers: Iterable[str]) -> Iterator[str]:
    """The first version of symbols that a binary asks of a library and no file offers that may answer to its name.

    The loader takes one of these files; a script may say which. What offers no versions at all it takes with a warning.
    """
    wanted = dict(filesystem.binaries[path].asked).get(name, ())
    for place in answers if wanted else ():
        offered = filesystem.binaries[filesystem.resolved(place)].offered
        missing = [version for version in wanted if offered and version not in offered]
        if not missing:
            return
        wanted, last = tuple(missing), place
    if wanted:
        yield f"{path} needs {wanted[0]} of {name}, which {last} does not offer"


def _own(folder: str, here: str, binary: Binary) -> set[str]:
    """The folders that a binary may mean itself, with what stands for its own folder, for the processor and for libraries' folder."""
    words = {"ORIGIN": here, "PLATFORM": PROCESSORS.get(binary.machine, "")}
    folder = re.sub(r"\$(?:(ORIGIN|PLATFORM)\b|\{(ORIGIN|PLATFORM)\})", lambda found: words[found[1] or found[2]], folder)
    names = ("lib", "lib64", f"lib/{words['PLATFORM']}-linux-gnu")
    return {re.sub(r"\$(?:LIB\b|\{LIB\})", name, folder) for name in names}


def _beside(here: str, path: str) -> bool:
    """Whether a library lies with the programs of a folder: below it or, where it is one of programs alone, beside it."""
    whole = posixpath.dirname(here) if posixpath.basename(here) in ("bin", "sbin") else here
    return not SYSTEM.fullmatch(here) and path.startswith(whole + "/")


def searched_folders(filesystem: Filesystem) -> Iterator[str]:
    """The folders in which loaders look for everybody, or of which they are told."""
    yield from DEFAULT
    yield from (path for path in filesystem.entries if MULTIARCH.fullmatch(path))
    yield from _configured(filesystem)
    for path in (path for path in filesystem.texts if MUSL_FOLDERS.fullmatch(path)):
        yield from filter(None, re.split(r"[:\n]", filesystem.text(path) or ""))


def _configured(filesystem: Filesystem) -> Iterator[str]:
    """The folders that ldconfig(8) is told to look through."""
    files, seen = [CONFIGURATION], set[str]()
    while files:
        file = files.pop()
        for line in (filesystem.text(file) or "").splitlines() if file not in seen else ():
            word = line.partition("#")[0].strip()
            if word.startswith("include "):
                pattern = posixpath.join("/etc", word.removeprefix("include ").strip())
                files += fnmatch.filter(filesystem.below(posixpath.dirname(pattern)), pattern)
            elif word.startswith("/"):
                yield word.partition("=")[0].rstrip()
        seen.add(file)


def _built_in(filesystem: Filesystem, machine: str, bits: int) -> set[str]:
    """The folders in which the loader for a processor looks of itself: glibc's where glibc lies, and every usual one where none does.

    A distribution builds glibc for one folder of libraries (`/lib64` and `/usr/lib64`), Debian's for the processor's own and the plain one.
    What `ld.so.conf` names, the loader knows from its cache alone.
    """
    own = (path for path, one in filesystem.binaries.items() if one.soname == GLIBC and (one.machine, one.bits) == (machine, bits))
    usual = [match for path in own if (match := HOME.fullmatch(posixpath.dirname(path)))]
    if not usual:
        return {*searched_folders(filesystem)}
    names = {match["name"] for match in usual} | {"lib" for match in usual if "/" in match["name"]}
    folders = {f"{top}/{name}" for top in ("", "/usr") for name in names}
    folders |= {path for path in filesystem.entries if HWCAPS.fullmatch(path) and path.partition("/glibc-hwcaps/")[0] in folders}
    return folders | ({*_configured(filesystem)} if _cached_at_boot(filesystem) else set())


def _cached(filesystem: Filesystem) -> dict[str, tuple[str, ...]]:
    return loader_cache.places(filesystem.texts.get(filesystem.resolved(CACHE), b""))


def _cached_at_boot(filesystem: Filesystem) -> bool:
    """Whether systemd has ldconfig make the cache anew when an image starts for the first time."""
    starts = any(filesystem.kind(f"{folder}/sysinit.target.wants/{LDCONFIG}") for folder in UNITS)
    return starts and boots(filesystem) and filesystem.resolved(f"/etc/systemd/system/{LDCONFIG}") != "/dev/null"


def _names(filesystem: Filesystem) -> dict[tuple[str, str, int], set[str]]:
    """Where libraries lie by their names, their links' too, and the processor that each is for."""
    found: dict[tuple[str, str, int], set[str]] = {}
    for path, binary in filesystem.binaries.items():
        for name in (posixpath.basename(path), binary.soname):
            found.setdefault((name, binary.machine, binary.bits), set()).add(path)
    for path, entry in filesystem.entries.items():
        if entry.kind == "link" and ".so" in path and (target := filesystem.binaries.get(filesystem.resolved(path))):
            found.setdefault((posixpath.basename(path), target.machine, target.bits), set()).add(path)
    return found


CHECKS = (
    Check(
        name="library-needs",
        description="every library that a program or a library needs is found, with the versions of symbols that it asks for",
        look=_needs,
    ),
)
