"""A real registry on loopback, and a wire to it that can be cut; with TLS by a CA of the test's own and one account, or with neither."""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from aistack.host import image_proxy, oci
from aistack.host.store import Store

ACCOUNT = ("reader", "secret")
HTPASSWD = "reader:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"
CONFIG = """\
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}/data}}}}
http: {{addr: "127.0.0.1:{port}"{tls}}}
{auth}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """A running registry: `host` is `localhost:PORT`, `folder` holds its `data` and, with TLS, the `ca.crt` to trust."""

    host: str
    folder: Path

    @property
    def port(self) -> int:
        """Its TCP port."""
        return int(self.host.rpartition(":")[2])

    def push(self, store: Store, digest: str, name: str, folder: Path, *options: str) -> str:
        """Copies an image of the store there as REPOSITORY:TAG, unchanged unless `options` say so; returns its name."""
        layout = oci.layout(store, {"pushed": digest}, folder)
        target = f"{self.host}/{name}"
        copy = ("copy", "--quiet", *(options or ("--all", "--preserve-digests")), f"oci:{layout}:pushed", f"docker://{target}")
        subprocess.run(image_proxy.skopeo(*copy), check=True, capture_output=True, timeout=120)
        return target

    def blob(self, digest: str) -> Path:
        """Where the registry keeps a blob."""
        hex_digest = digest.removeprefix("sha256:")
        return self.folder / f"data/docker/registry/v2/blobs/sha256/{hex_digest[:2]}/{hex_digest}/data"


def free_port() -> int:
    """A TCP port of loopback that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def running(folder: Path, *, secure: bool) -> Iterator[Registry]:
    """A registry that keeps all it has below `folder`; `secure`: by TLS, for ACCOUNT only."""
    port = free_port()
    tls, auth = "", ""
    if secure:
        _certificates(folder)
        (folder / "htpasswd").write_text(HTPASSWD)
        tls = f", tls: {{certificate: {folder}/server.crt, key: {folder}/server.key}}"
        auth = f"auth: {{htpasswd: {{realm: test, path: {folder}/htpasswd}}}}"
    (folder / "config.yml").write_text(CONFIG.format(folder=folder, port=port, tls=tls, auth=auth))
    # It would take variables like REGISTRY_AUTH_FILE, which are its clients', for settings of its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("REGISTRY_")}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log, env=environment)
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert process.poll() is None and time.monotonic() < deadline, (folder / "log").read_text()
            time.sleep(0.1)
        yield Registry(host=f"localhost:{port}", folder=folder)
    finally:
        process.terminate()
        process.wait(timeout=30)


def admit(home: Path, *hosts: str) -> None:
    """Says in registries.conf that these registries speak plain HTTP."""
    (home / "registries.conf").write_text("".join(f'[[registry]]\nlocation = "{host}"\ninsecure = true\n' for host in hosts))


def trust(home: Path, server: Registry) -> None:
    """Lets a user's skopeo take the registry's certificate."""
    folder = home / ".config/containers/certs.d" / server.host
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes((server.folder / "ca.crt").read_bytes())


def log_in(server: Registry) -> None:
    """Keeps ACCOUNT in the user's auth.json."""
    argv = ["skopeo", "login", "--username", ACCOUNT[0], "--password-stdin", server.host]
    subprocess.run(argv, input=ACCOUNT[1], text=True, check=True, capture_output=True, timeout=60)


def _certificates(folder: Path) -> None:
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    ca = ["-subj", "/CN=test CA", "-keyout", f"{folder}/ca.key", "-out", f"{folder}/ca.crt"]
    subprocess.run([*new, *ca], check=True, capture_output=True, timeout=60)
    server = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=CA:FALSE"]
    server += ["-CA", f"{folder}/ca.crt", "-CAkey", f"{folder}/ca.key", "-keyout", f"{folder}/server.key", "-out", f"{folder}/server.crt"]
    subprocess.run([*new, *server], check=True, capture_output=True, timeout=60)


@dataclass(slots=True)
class Sent:
    """What goes up a wire: bytes so far, and how often it still hangs up once `most` bytes of one connection went up."""

    bytes: int = 0
    most: int = 0
    cuts: int = 0


@contextmanager
def cut_wire(port: int, after: int | None, sent: Sent | None = None, *, quiet: float = 0.0) -> Iterator[str]:
    """A loopback address that leads to `port`, and hangs up once `after` bytes of one answer have come back, or as `sent` says.

    Before it does, it says nothing for `quiet` seconds.
    """
    up = sent or Sent()

    class Wire(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", port)) as there:
                threading.Thread(target=_carry, args=(self.request, there, None, up, quiet), daemon=True).start()
                _carry(there, self.request, after, quiet=quiet)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Wire) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"localhost:{server.server_address[1]}"
        finally:
            server.shutdown()


def _carry(source: socket.socket, target: socket.socket, limit: int | None, sent: Sent | None = None, quiet: float = 0.0) -> None:
    carried = 0
    with contextlib.suppress(OSError):
        while (limit is None or carried < limit) and (data := source.recv(1 << 14)):
            carried += len(data)
            if sent is not None:
                sent.bytes += len(data)
                if sent.cuts and carried > sent.most:
                    sent.cuts -= 1
                    time.sleep(quiet)
                    break
            target.sendall(data)
        if limit is not None and carried >= limit:
            time.sleep(quiet)
        for end in (source, target):
            end.shutdown(socket.SHUT_RDWR)
