"""Images of the store in a registry: byte by byte as they are, without what the registry has already, by skopeo; signed where asked for."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from aistack.diagnostics import DiagnosticError, unable
from aistack.host import image_proxy, oci, process, registry
from aistack.host.store import Store
from aistack.values import dataclass

Advance = Callable[[int, int], None]

PAUSES = (1.0, 4.0, 15.0, None)
"""Seconds before each further try where the registry stopped in the middle, which is what skopeo's own retries leave out; then none."""

SILENCE = 300.0
"""Seconds after which a push that moves nothing is given up: longer than for what comes, since some registries read a large blob once more
before they answer its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """Who signs: the program of a skopeo that can (Debian 12's own says that sigstore is disabled), and a private sigstore key.

    `attachments` are the words of registries.d that lay signatures beside their images.
    """

    skopeo: tuple[str, ...]
    key: Path
    passphrase: str
    attachments: str


def publish(store: Store, digest: str, name: str, advance: Advance = lambda done, total: None, *, signers: Sequence[Signer] = ()) -> None:
    """Put an image of the store there as HOST/REPOSITORY:TAG; parts that an earlier, broken attempt left there are not sent again.

    Signed, it is there by its digest and with a signature of each signer before the tag names it, so that nobody finds it unsigned.
    `advance` is told how many bytes, of how many, skopeo has taken up or passed over. Raises DiagnosticError (exit 3): not reached, not
    trusted, not allowed, cut off, a key that does not sign, or a registry that has other bytes afterwards than it was given.
    """
    sizes = {layer.digest: layer.size for layer in oci.read_image(store, digest, whole=False).layers}
    by_digest = f"{name.rpartition(':')[0]}@{digest}"
    with store.scratch() as scratch:
        source = f"oci:{oci.layout(store, {'image': digest}, scratch / 'layout')}:image"
        for target, signs in (*((by_digest, signer) for signer in signers), (name, None)):
            for pause in PAUSES:
                try:
                    done = 0
                    for line in _copy(source, target, scratch, signs):
                        done += sizes.get(line.removeprefix("Copying blob ").strip(), 0)
                        advance(done, sum(sizes.values()))
                    break
                except DiagnosticError as error:
                    if pause is None or error.diagnostics[0].rule != "REG007":
                        raise
                    time.sleep(pause)
    registry.inspected(name, name, digest)


def _copy(source: str, target: str, scratch: Path, signer: Signer | None) -> Iterator[str]:
    """The lines that skopeo says while it copies; it names each blob as it takes it up."""
    log, copy = scratch / "log", ("copy", "--preserve-digests", "--retry-times=3", source, f"docker://{target}")
    argv = _signing(copy, scratch / "registries.d", signer) if signer else image_proxy.skopeo(*copy)
    try:
        with (
            _pipe(f"{signer.passphrase}\n" if signer else "") as stdin,
            process.stream(argv, log=log, stdin=stdin, silence=SILENCE) as running,
        ):
            for line in running.stdout or ():
                yield line.decode(errors="replace")
    except DiagnosticError as error:
        if error.diagnostics[0].rule == "HOST003":
            raise registry.refused(target, image_proxy.silent(SILENCE), taking=True) from error
        said = log.read_text(errors="replace")
        if not said:
            raise
        words = registry.words(said)
        if signer and re.search("private key|passphrase", words):
            hints = (
                "`skopeo generate-sigstore-key` or `cosign generate-key-pair` make one",
                "`--passphrase-file` names its passphrase's file",
            )
            raise unable("PUSH003", "key-does-not-sign", f"`{signer.key}` signs nothing", why=(words,), hints=hints) from error
        raise registry.refused(target, words, taking=True) from error


def _signing(copy: Sequence[str], settings: Path, signer: Signer) -> list[str]:
    """The command line that also signs; the passphrase comes by standard input, so that it is in no list of processes and on no disk."""
    settings.mkdir(exist_ok=True)
    (settings / "signatures.yaml").write_text(signer.attachments)
    by = ("--sign-by-sigstore-private-key", str(signer.key), "--sign-passphrase-file", "/dev/stdin")
    return image_proxy.skopeo("--registries.d", str(settings), *copy, *by, program=signer.skopeo)


@contextmanager
def _pipe(text: str) -> Iterator[int]:
    """A descriptor from which a few words can be read, and then their end."""
    reading, writing = os.pipe()
    try:
        with os.fdopen(writing, "w") as stream:
            stream.write(text)
        yield reading
    finally:
        os.close(reading)
