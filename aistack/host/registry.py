"""Images of registries, through skopeo: pinned by digest, their blobs brought into the store one by one, nothing converted.

Credentials, certificates, mirrors and signature policies are those of the tools: `auth.json`, `certs.d`, `registries.conf`, `policy.json`.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from aistack.diagnostics import DiagnosticError, unable
from aistack.facts.pins import UNREAD, LockedBlob, LockedImage
from aistack.host import image_proxy, oci, process
from aistack.host.store import Store

LICENCES = "org.opencontainers.image.licenses"

_UNREAD = "(?:invalid character|json: |unsupported schema version)"
NO_MANIFEST = rf"parsing manifest for image: {_UNREAD}|image from source \S+: {_UNREAD}|^{_UNREAD}"
"""What skopeo says of a manifest that came and is none, or not of the type that the registry calls it."""

Advance = Callable[[str, int, int | None], None]


def pin(reference: str, *, arch: str, store: Store) -> LockedImage:
    """The image that `HOST/REPOSITORY[:TAG][@DIGEST]` names today for an architecture; its manifest and config enter the store.

    Raises DiagnosticError (exit 3): not reached, not trusted, not allowed, not there, not for this architecture, not an image.
    """
    digest, data = resolve(reference, arch)
    document = _document(reference, data)
    try:
        wanted = document["config"]
        config = inspected(reference, f"{repository(reference)}@{digest}", wanted["digest"], "--config")
        for kept in (data, config):
            store.add(io.BytesIO(kept))
        image = oci.read_image(store, digest, whole=False)
        if image.arch != arch:
            raise _other_arch(reference, arch, [image.arch])
        return LockedImage(
            reference=reference,
            manifest=_blob(digest, len(data), document.get("mediaType", oci.MANIFEST)),
            config=_blob(wanted["digest"], len(config), wanted["mediaType"]),
            layers=tuple(_blob(layer.digest, layer.size, layer.media_type) for layer in image.layers),
            entrypoint=image.settings.entrypoint,
            command=image.settings.command,
            licence=image.label(LICENCES) or UNREAD,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise oci.not_an_image(reference, f"its manifest lacks something: {type(error).__name__}: {error}") from error


def resolve(reference: str, arch: str) -> tuple[str, bytes]:
    """The digest and the manifest of the image that `HOST/REPOSITORY[:TAG][@DIGEST]` names today for an architecture; errors as `pin`'s."""
    data, document = _named(reference)
    if "manifests" in document:
        have = _by_arch(reference, document["manifests"])
        if arch not in have:
            raise _other_arch(reference, arch, sorted(have))
        data = inspected(reference, f"{repository(reference)}@{have[arch]}", have[arch])
    return _digest(data), data


def architectures(reference: str) -> frozenset[str]:
    """Those of the image, or of an index's images, that `HOST/REPOSITORY[:TAG][@DIGEST]` names today; errors as `pin`'s."""
    data, document = _named(reference)
    if "manifests" in document:
        return frozenset(_by_arch(reference, document["manifests"]))
    return frozenset((_config(reference, _digest(data), data)[0],))


def labels(reference: str, arch: str) -> tuple[str, dict[str, str]]:
    """The digest and the labels of the image that `HOST/REPOSITORY[:TAG][@DIGEST]` names today for an architecture; errors as `pin`'s."""
    digest, manifest = resolve(reference, arch)
    built_for, found = _config(reference, digest, manifest)
    if built_for != arch:
        raise _other_arch(reference, arch, [built_for])
    return digest, found


def _config(reference: str, digest: str, manifest: bytes) -> tuple[str, dict[str, str]]:
    """An image's architecture and its labels."""
    try:
        config = json.loads(manifest)["config"]["digest"]
        described = json.loads(inspected(reference, f"{repository(reference)}@{digest}", config, "--config"))
        found = dict((described.get("config") or {}).get("Labels") or {})
        if not all(isinstance(text, str) for text in found.values()):
            raise TypeError("a label is no text")
        return str(described["architecture"]), found
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise oci.not_an_image(reference, f"{type(error).__name__}: {error}") from error


def fetch(store: Store, image: LockedImage, *, offline: bool = False, advance: Advance = lambda *_: None) -> None:
    """Brings every blob that the store lacks into it, each held against its digest; what came before an error stays.

    Raises DiagnosticError (exit 3) when a blob cannot be had, or may not because of `offline`.
    """
    missing = {blob.sha256: (what, blob) for what, blob in image.parts().items() if not store.has(blob.sha256)}
    if not missing:
        return
    if offline:
        parts = ", ".join(what for what, _ in missing.values())
        message = f"{image.reference} is not in the store whole: {len(missing)} of its parts are missing"
        raise unable("REG008", "image-not-fetched", message, why=(f"missing: {parts}",), hints=("build once without `--offline`",))
    name, total = f"{repository(image.reference)}@{image.digest}", sum(blob.size for _, blob in missing.values())
    arrived = 0

    def came(size: int) -> None:
        nonlocal arrived
        arrived += size
        advance(f"fetching {image.reference}", arrived, total)

    if missing.pop(image.manifest.sha256, None):
        store.add(io.BytesIO(inspected(image.reference, name, image.digest)))
    try:
        with image_proxy.opened(f"docker://{name}") as proxy:
            for what, blob in missing.values():
                with proxy.blob(f"sha256:{blob.sha256}", blob.size, came) as stream:
                    found, _ = store.add(stream, only=blob.sha256)
                if found != blob.sha256:
                    raise _wrong(image.reference, what, f"sha256:{blob.sha256}", f"sha256:{found}")
    except image_proxy.ProxyError as error:
        raise refused(image.reference, str(error)) from error


def repository(reference: str) -> str:
    """HOST/REPOSITORY: the name without tag and digest."""
    host, _, path = reference.partition("@")[0].partition("/")
    return f"{host}/{path.partition(':')[0]}"


def inspected(reference: str, name: str, digest: str, *options: str) -> bytes:
    """A manifest, or with `--config` a config, byte by byte as the registry has it; it must have the digest that is given."""
    data = ask(reference, image_proxy.skopeo("inspect", "--raw", *options, f"docker://{name}")).encode()
    if digest not in ("", _digest(data)):
        raise _wrong(reference, "config" if options else "manifest", digest, _digest(data))
    return data


def ask(reference: str, argv: Sequence[str], *, taking: bool = False) -> str:
    """What a skopeo prints that asks the registry for little, or (`taking`) gives it little; errors as `pin`'s."""
    try:
        done = process.run(argv, check=False, timeout=image_proxy.SILENCE)
    except DiagnosticError as error:
        if error.diagnostics[0].rule != "HOST003":
            raise
        raise refused(reference, image_proxy.silent(), taking=taking) from error
    if done.returncode != 0:
        raise refused(reference, words(done.stderr), taking=taking)
    return done.stdout


def _document(reference: str, data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise oci.not_an_image(reference, f"its manifest is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise oci.not_an_image(reference, "its manifest is not a JSON object")
    return document


def _named(reference: str) -> tuple[bytes, dict[str, Any]]:
    """What a reference names: the bytes of a manifest or an index, and what they say."""
    named, _, digest = reference.partition("@")
    data = inspected(reference, f"{repository(reference)}@{digest}" if digest else named, digest)
    return data, _document(reference, data)


def _by_arch(reference: str, manifests: list[dict[str, Any]]) -> dict[str, str]:
    """The digests of the manifests for Linux, by architecture, out of an index's (a list in Docker's words)."""
    try:
        linux = [one for one in reversed(manifests) if one.get("platform", {}).get("os") == "linux"]
        return {str(one["platform"]["architecture"]): str(one["digest"]) for one in linux}
    except (KeyError, TypeError, AttributeError) as error:
        raise oci.not_an_image(reference, f"its index lacks something: {type(error).__name__}: {error}") from error


def _blob(digest: str, size: int, media_type: str) -> LockedBlob:
    return LockedBlob(sha256=digest.removeprefix("sha256:"), size=size, media_type=media_type)


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def words(stderr: str) -> str:
    """What skopeo said last, without time and level."""
    last = (stderr.strip().splitlines() or ["it said nothing"])[-1]
    said = re.search(r'msg="(.*)"', last)
    return said[1].replace('\\"', '"') if said else last


def refused(reference: str, said: str, *, taking: bool = False) -> DiagnosticError:
    """The error for what skopeo says: it has one exit code for everything, so its words decide."""
    host, why = reference.partition("/")[0], (said[: process.MOST_OF_A_LINE],)
    said = re.sub(r"https?://[^\s\"]+|\b[0-9a-f]{12,}\b", "", said)  # an upload's address, or a digest, may hold any number
    if re.search(r"x509|tls:|certificate|HTTP response to HTTPS client", said):
        hints = (
            f"put the registry's CA into /etc/containers/certs.d/{host}/ca.crt; a node has the credential aistack.registry-ca for it",
            "or describe the registry in registries.conf",
        )
        return unable("REG005", "registry-not-trusted", f"{host} does not prove by TLS that it is {host}", why=why, hints=hints)
    if re.search(r"rejected by policy|trust policy|invalid policy", said):
        message, hint = f"this machine's policy.json does not let {reference} in", "on a node it is the one in /usr/lib/aistack"
        return unable("REG010", "image-not-allowed", message, why=why, hints=(hint,))
    if re.search(NO_MANIFEST, said):
        return oci.not_an_image(reference, said[: process.MOST_OF_A_LINE])
    if re.search(r"image rejected|signature", said, re.IGNORECASE):
        hints = (
            "aistack push RECIPE --to REFERENCE --sign-by KEY",
            "policy.json, on a node the one in /usr/lib/aistack, says whose signature is asked for",
        )
        return unable("REG009", "image-not-signed", f"{reference} is not signed by the key that is asked for", why=why, hints=hints)
    if re.search(r"unauthorized|authentication required|denied|40[13] ", said, re.IGNORECASE):
        hints = (f"skopeo login {host}", "`REGISTRY_AUTH_FILE` names another auth.json, and on a node the credential aistack.registry-auth")
        message = f"{host} does not take {reference} from this account" if taking else f"{host} does not show {reference} to this account"
        return unable("REG002", "registry-login-needed", message, why=why, hints=hints)
    if re.search(r"unknown|not known|404", said):
        hints = (f"skopeo list-tags docker://{repository(reference)}", "lock what it has now: `aistack lock RECIPE --anew`")
        return unable("REG003", "image-unknown", f"{host} does not have {reference}", why=why, hints=hints)
    if re.search(r"corrupted|[Dd]igest did not match|digest mismatch|does not match", said):
        return _wrong(reference, "blob", "what the lock says", why[0])
    if re.search(r"EOF|reset by peer|broken pipe|closed network connection|expected \d+ bytes|nothing came", said):
        message = f"{host} stopped while it {'took' if taking else 'sent'} {reference}"
        return unable("REG007", "image-interrupted", message, why=why, hints=("try again: what came whole is kept",))
    hints = ("check the name, the network and the proxy settings", "registries.conf may name a mirror")
    return unable("REG001", "registry-not-reached", f"{host} did not answer for {reference}", why=why, hints=hints)


def _wrong(reference: str, what: str, wanted: str, got: str) -> DiagnosticError:
    message = f"the {what} that came for {reference} is not the one that is named"
    hints = ("a proxy, a mirror or the registry changed it; nothing of it was kept",)
    return unable("REG006", "image-bytes-wrong", message, why=(f"wanted: {wanted}", f"got: {got}"), hints=hints)


def _other_arch(reference: str, arch: str, have: list[str]) -> DiagnosticError:
    message = f"{reference} is not built for {arch}"
    return unable("REG004", "image-architecture", message, why=(f"it is built for: {', '.join(have) or 'nothing that is named'}",))
