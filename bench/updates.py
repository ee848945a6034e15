"""What a node must fetch for an update, in aistack's layers and in those of a plain Containerfile, with versions that the archives offer.

python bench/updates.py [RECIPE]

The older side is the recipe's lock with one kernel, library and app set back to the archive's older version. aistack's bytes are what
`aistack diff` counts, the initramfs apart; the Containerfile installs the same packages in one RUN, and its bytes are the compressed
layers that differ. The changed packages' own size, compressed as they are served, is what an update cannot be smaller than.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packing import weights
from sides import Podman, Row, aistack, run, scratch, store, table

from aistack.commands.lock import lock_path, read_lock, write
from aistack.compose import grouping, seal
from aistack.compose.lock import Lock
from aistack.facts.pins import Archive, LockedRoot
from aistack.host import apt, apt_sources, models, oci, rootfs

SUITES = ("trixie", "trixie-updates", "trixie-security")
BACKPORTS = "sources: [{{kind: apt, suites: [trixie-backports], packages: [{}], apps: [{}]}}]\n"
NOTHING = "nothing"
LIBRARY = "openssl"
KERNEL = "linux-image-"
INSTALL = """\
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d
echo 'deb [trusted=yes] copy:/repository ./' >/etc/apt/sources.list
trap 'apt-get clean; rm -rf /etc/apt/sources.list /var/lib/apt/lists' EXIT
apt-get -q update
export DEBIAN_FRONTEND=noninteractive INITRD=No
apt-get install -q -y --allow-downgrades --no-install-recommends \\
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """An update: the lock before it and the lock after, the root that it is about, and what the newer recipe has `more`."""

    what: str
    older: Lock
    newer: Lock
    root: str
    more: str = ""

    def place(self, recipe: Path, folder: Path, *, newer: bool) -> Path:
        """One side's recipe and lock in a folder of their own."""
        own = folder / ("newer" if newer else "older") / recipe.name
        own.parent.mkdir(parents=True)
        own.write_text(recipe.read_text() + (self.more if newer else ""))
        write(self.newer if newer else self.older, lock_path(own))
        return own


def suites(names: Sequence[str], root: LockedRoot) -> list[Archive]:
    """The host's archives of those suites, trusted by the key by which the root's own are."""
    return [Archive(suite=name, signed_by=root.archives[0].signed_by) for name in names]


def older_root(root: LockedRoot, names: Collection[str]) -> LockedRoot | None:
    """The root with those packages at the oldest version that its suites offer; None where there is only one."""
    archives = suites(SUITES, root)
    offered = apt.versions(store(), archives, sorted(names), root.arch, environment=os.environ)
    locked = {package.name: package.version for package in root.packages}
    pins = {name: versions[0] for name, versions in offered.items() if versions[0] != locked[name]}
    if not pins:
        return None
    follow = KERNEL if any(name.startswith(KERNEL) for name in names) else ()  # a kernel's package has its version in its name
    stay = {name: version for name, version in locked.items() if not (follow and name.startswith(follow))}
    wanted = [f"{name}={version}" for name, version in (stay | pins).items()]
    found = apt.resolve(store(), archives, wanted, root.arch, root.os, environment=os.environ)
    return replace(found, wanted=root.wanted, archives=root.archives)


def with_root(lock: Lock, name: str, root: LockedRoot) -> Lock:
    """The lock with another root of that name, its packages kept in the layers where they were."""
    grouped = replace(root, layers=grouping.group(root.packages, lock.root(name).layers))
    components = dict(lock.components) | ({"kernel": seal.kernel_version_string(root)} if name == "base" else {})
    roots = tuple((one, grouped if one == name else kept) for one, kept in lock.roots)
    return replace(lock, roots=roots, components=tuple(sorted(components.items())))


def backported(lock: Lock, recipe: Path) -> Case | None:
    """The app's release of the backports instead of its suite's own; None where they have no other."""
    app = lock.apps[0]
    more = BACKPORTS.format(app.framework, app.name)
    with scratch() as folder:
        newer = folder / recipe.name
        newer.write_text(recipe.read_text() + more)
        shutil.copy(lock_path(recipe), lock_path(newer))
        aistack("lock", newer)
        found = read_lock(lock_path(newer))
    same = found.apps[0].version == app.version
    return None if same else Case(what=str(app.framework), older=lock, newer=found, root=str(app.root), more=more)


def cases(lock: Lock, recipe: Path) -> Iterator[Case]:
    """Every update that the archives have the two versions for."""
    base = lock.root("base")
    members = {
        "kernel": {package.name for package in base.packages if package.name in base.wanted and package.name.startswith(KERNEL)},
        LIBRARY: {package.name for package in base.packages if package.source.partition(" ")[0] == LIBRARY},
    }
    yield Case(what=NOTHING, older=lock, newer=lock, root="base")
    for what, names in members.items():
        if older := older_root(base, names):
            yield Case(what=what, older=with_root(lock, "base", older), newer=lock, root="base")
    if case := backported(lock, recipe):
        yield case


class Containerfile:
    """An OS or app as a plain Containerfile makes it: FROM the distribution with its apt, then one RUN of apt-get install."""

    def __init__(self, podman: Podman, folder: Path, root: LockedRoot) -> None:
        self.folder, self.podman = folder, podman
        folder.mkdir()
        sources, tar = folder / "start.sources", folder / "start.tar"
        here = apt_sources.locate(suites(SUITES[:1], root), environment=os.environ)
        sources.write_text("\n".join(map(apt_sources.stanza, here)))
        run(["mmdebstrap", "--mode=root", "--variant=apt", SUITES[0], tar, sources])
        self.podman("import", tar, "start")

    def layers(self, root: LockedRoot, turn: str) -> Mapping[str, int]:
        """The layers of an image with those packages as they are pushed, digest → compressed bytes; each `turn` builds anew."""
        name = f"{turn}-{abs(hash(root))}"
        repository = rootfs.repository(store(), root.packages, self.folder / name)
        (repository / "blobs").unlink()  # a link out of the repository leads nowhere inside
        (repository / "blobs").mkdir()
        (repository / "install").write_text(INSTALL + " ".join(f"{package.name}={package.version}" for package in root.packages))
        volumes = (f"--volume={repository}:/repository:ro", f"--volume={store().blobs.resolve()}:/repository/blobs:ro")
        self.podman.build("FROM start\nRUN sh -e /repository/install\n", name, "--no-cache", *volumes)
        out = self.folder / f"{name}.oci"
        self.podman("push", "--quiet", name, f"oci:{out}:{name}")
        index = json.loads((out / "index.json").read_text())
        manifest = json.loads((out / "blobs/sha256" / index["manifests"][0]["digest"].partition(":")[2]).read_text())
        shutil.rmtree(out)
        return {layer["digest"]: layer["size"] for layer in manifest["layers"]}


def fetched(case: Case, recipe: Path, folder: Path) -> tuple[float, float]:
    """MB that a node fetches, the initramfs apart, and MB of the packages that changed; both systems are built first."""
    sides = [case.place(recipe, folder, newer=newer) for newer in (False, True)]
    for own in sides:
        aistack("build", own, "--only", "system-image")
    said = json.loads(aistack("diff", *map(lock_path, sides), "--json"))
    return sum(layer["size"] for layer in said["fetched"] if layer["group"] != "initramfs") / 1e6, said["changed_bytes"] / 1e6


def one_file(podman: Podman, folder: Path, megabytes: int = 128) -> Row:
    """One of three files of weights changed."""
    files = weights(store(), 4, megabytes << 20)
    sides = []
    for number, chosen in enumerate((files[:3], (*files[:2], replace(files[3], path=files[2].path)))):
        digest = models.model_image(store(), id="bench", revision=str(number), licence="none", files=chosen, arch="amd64")
        sides.append({layer.digest: layer.size for layer in oci.read_image(store(), digest).layers})
        context = folder / f"weights-{number}"
        context.mkdir()
        for file in chosen:
            (context / file.path).hardlink_to(store().blob(file.sha256))
        podman.build("FROM scratch\nCOPY --from=files . /model/\n", f"weights-{number}", "--no-cache", f"--build-context=files={context}")
        podman("push", "--quiet", f"weights-{number}", f"oci:{folder / f'weights-{number}.oci'}")
    pushed = []
    for number in range(2):
        blobs = {path.name: path.stat().st_size for path in (folder / f"weights-{number}.oci/blobs/sha256").iterdir()}
        pushed.append(blobs)
    ours, theirs = (sum(size for name, size in new.items() if name not in old) / 1e6 for old, new in (sides, pushed))
    for name in {*sides[0], *sides[1]} | {f"sha256:{file.sha256}" for file in files}:
        store().blob(name.removeprefix("sha256:")).unlink()
    note = f"{ours * 1e6 / files[0].size:.2f} x the changed file; aim 1.25 x"
    return Row(what="update: one file of weights", ours=ours, theirs=theirs, unit="MB", opponent="Containerfile", note=note)


def rows(recipe: Path) -> Iterator[Row]:
    """The table's rows."""
    aistack("lock", recipe)
    lock = read_lock(lock_path(recipe))
    with scratch() as folder, Podman(folder) as podman:
        containerfile = Containerfile(podman, folder / "containerfile", lock.root("base"))
        layers = functools.cache(containerfile.layers)
        for case in cases(lock, recipe):
            ours, changed = fetched(case, recipe, folder / case.what)
            sides = case.older.root(case.root), case.newer.root(case.root)
            before, after = layers(sides[0], "first"), layers(sides[1], "second" if case.what == NOTHING else "first")
            theirs = sum(size for digest, size in after.items() if digest not in before) / 1e6
            note = f"{ours / changed:.2f} x the {changed:.2f} MB of packages that changed; aim 1.25 x" if changed else "aim 0"
            yield Row(what=f"update: {case.what}", ours=ours, theirs=theirs, unit="MB", opponent="Containerfile", note=note)
        yield one_file(podman, folder)


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe", nargs="?", type=Path, default=Path("recipes/web-appliance.yaml"))
    print(table(rows(parser.parse_args().recipe)))


if __name__ == "__main__":
    main()
