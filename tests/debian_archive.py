"""A small, signed Debian archive on disk, made with the real tools, for tests without a network."""

from __future__ import annotations

import functools
import hashlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from aistack.facts.pins import Archive

SUITE = "trixie"


@dataclass(slots=True)
class DebianArchive:
    """An archive below `folder`; `publish` writes its signed index after packages were added."""

    folder: Path
    packages: dict[str, Path] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """Its address for apt."""
        return f"file:{self.folder}"

    @property
    def keyring(self) -> Path:
        """The public half of the key that signs it."""
        return self.folder / "keyring.gpg"

    @property
    def key(self) -> str:
        """The same, armoured."""
        done = subprocess.run(["gpg", "--export", "--armor"], env=self._environment, capture_output=True, text=True, check=True)
        return done.stdout

    def archive(self, suite: str = SUITE) -> Archive:
        """As the program under test wants it."""
        return Archive(uri=self.uri, suite=suite, components=("main",), signed_by=str(self.keyring))

    def add(self, name: str, version: str, *, fields: str = "", files: dict[str, str] | None = None) -> Path:
        """Build a package and put it into the pool; an older version of the same name leaves the index and the pool."""
        tree = self.folder / "trees" / name
        (tree / "DEBIAN").mkdir(parents=True, exist_ok=True)
        who = "Maintainer: Nobody <nobody@example.org>"
        control = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\n{who}\n{fields}Description: test\n"
        (tree / "DEBIAN/control").write_text(control)
        for path, text in (files or {}).items():
            target = tree / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        pool = self.folder / "pool"
        pool.mkdir(exist_ok=True)
        deb = pool / f"{name}_{version}_amd64.deb"
        _run("dpkg-deb", "--root-owner-group", "--build", str(tree), str(deb))
        old = self.packages.get(name)
        if old is not None and old != deb:
            old.unlink()
        self.packages[name] = deb
        return deb

    def publish(self, *, suite: str = SUITE, sign: bool = True, fields: str = "") -> None:
        """Write Packages and Release, signed with a key of this archive's own; `fields` are more lines of Release.

        A suite `./` makes the archive flat.
        """
        flat = suite == "./"
        index = []
        for deb in self.packages.values():
            control = _run("dpkg-deb", "--field", str(deb)).strip()
            data = deb.read_bytes()
            index.append(f"{control}\nFilename: pool/{deb.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n")
        folder = self.folder if flat else self.folder / "dists" / suite
        listing = "Packages" if flat else "main/binary-amd64/Packages"
        (folder / listing).parent.mkdir(parents=True, exist_ok=True)
        packages = "\n".join(index).encode()
        (folder / listing).write_bytes(packages)
        names = "" if flat else f"Suite: {suite}\nCodename: {suite}\nComponents: main\nArchitectures: amd64\n"
        digest = f" {hashlib.sha256(packages).hexdigest()} {len(packages)} {listing}"
        release = f"Origin: Debian\n{names}{fields}Date: Sat, 01 Nov 2025 00:00:00 UTC\nSHA256:\n{digest}\n"
        for name in ("Release", "Release.gpg", "InRelease"):
            (folder / name).unlink(missing_ok=True)
        (folder / "Release").write_text(release)
        home = self.folder / "gnupg"
        if not home.is_dir():
            home.mkdir(mode=0o700)
            self._gpg("--quick-generate-key", "--passphrase", "", "archive@example.org", "ed25519", "sign", "never")
            self.keyring.write_bytes(subprocess.run(["gpg", "--export"], env=self._environment, capture_output=True, check=True).stdout)
        if sign:
            self._gpg("--clearsign", "--output", str(folder / "InRelease"), str(folder / "Release"))

    def mend(self, name: str, *, suite: str = SUITE) -> None:
        """Publish once more, with one package more, in files that are newer than those that were fetched a moment ago."""
        self.add(name, "1.0")
        self.publish(suite=suite)
        for path in (*self.folder.glob("dists/**/*"), *self.folder.glob("*")):
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime + 10))

    @contextmanager
    def served(self) -> Iterator[str]:
        """The archive on loopback, by HTTP; gives its address."""
        with serving(functools.partial(Quiet, directory=str(self.folder))) as address:
            yield address

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "GNUPGHOME": str(self.folder / "gnupg")}

    def _gpg(self, *arguments: str) -> None:
        subprocess.run(["gpg", "--batch", "--quiet", *arguments], env=self._environment, capture_output=True, check=True)


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing about it."""

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def serving(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """A server on loopback while the block runs; gives its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _run(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
