"""Files that the user names: read them, or say in a diagnostic why not."""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

from aistack.commands import kinds
from aistack.compose.recipe import DriverWish, NodeWish, Recipe, read
from aistack.diagnostics import Diagnostic, DiagnosticError, ExitCode, Place, Severity, refuse
from aistack.facts.document import SIZE_LIMIT, Mapping, Node, Scalar, parse, place_of
from aistack.values import dataclass

BYTES_LIMIT = 4 * SIZE_LIMIT
"""More bytes than a text of the allowed size can have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A recipe with the document that it was read from: `place_of(root, path)` finds the place of each of its values."""

    recipe: Recipe
    root: Node
    file: str


def read_text(path: Path) -> str:
    """The text of a file; raises DiagnosticError: exit 1 when it is no text, or is not there, exit 3 when it may not be read."""
    try:
        with path.open("rb") as stream:
            content = stream.read(BYTES_LIMIT + 1)
    except FileNotFoundError as error:
        hints = _neighbours(path)
        raise refuse(_problem("DOC011", "file-missing", f"`{path}` does not exist", None, hints)) from error
    except IsADirectoryError as error:
        raise refuse(_problem("DOC011", "file-missing", f"`{path}` is a folder, not a file", None, ("name a file in it",))) from error
    except OSError as error:
        problem = _problem("DOC012", "file-denied", f"`{path}` cannot be read: {error.strerror}", None)
        raise DiagnosticError((problem,), ExitCode.UNABLE) from error
    if len(content) > BYTES_LIMIT:
        message = f"the file is too large: more than {BYTES_LIMIT} bytes"
        raise refuse(
            _problem("DOC008", "yaml-size", message, Place(file=str(path), line=1, column=1), ("is this the file that you meant?",))
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8")
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        message = f"not UTF-8 text: byte 0x{content[error.start]:02X}"
        hints = ("save the file as UTF-8",)
        raise refuse(_problem("DOC013", "not-utf8", message, Place(file=str(path), line=line, column=column), hints)) from error


def read_recipe(path: Path) -> Source:
    """The recipe in a file; raises DiagnosticError with every problem in it (exit 1)."""
    root, problems = parse(read_text(path), str(path))
    if root is None:
        raise DiagnosticError(problems, ExitCode.NO)
    schema = root.get("schema") if isinstance(root, Mapping) else None
    said = isinstance(schema, Scalar) and schema.text == kinds.SNAPSHOT
    if said or (isinstance(root, Mapping) and root.key("schema") is None and kinds.is_like_a_snapshot(root)):
        hints = ("`aistack check` judges snapshots; every other verb needs a recipe",)
        place = schema.place if schema is not None else root.place
        raise refuse(_problem("REC013", "not-a-recipe", f"`{path}` is a snapshot, not a recipe", place, hints))
    recipe, more = read(root)
    if recipe is None or problems:
        raise DiagnosticError((*problems, *more), ExitCode.NO)
    return Source(recipe=with_keys(recipe, root, path.parent), root=root, file=str(path))


ARMOUR = "-----BEGIN PGP PUBLIC KEY BLOCK-----"


def with_keys(recipe: Recipe, root: Node, folder: Path) -> Recipe:
    """The recipe with the archives' keys themselves, armoured, where it names files in `folder`; raises DiagnosticError (exit 1)."""
    sources, problems = [], []
    for index, source in enumerate(recipe.sources):
        key = source.signed_by
        if key is not None:
            try:
                key = _armoured(key.encode()) if ARMOUR in key else _key(folder / key, _armoured)
            except ValueError as error:
                hints = ("export it as `gpg --export --armor KEY` does",)
                place = place_of(root, ("sources", index, "signed-by"))
                problems.append(_problem("REC009", "key-unreadable", str(error), place, hints))
        sources.append(dataclasses.replace(source, signed_by=key))
    if problems:
        raise refuse(*problems)
    driver, node = _with_certificate(recipe.driver, root, folder), _with_public_key(recipe.node, root, folder)
    return dataclasses.replace(recipe, sources=tuple(sources), driver=driver, node=node)


def _with_certificate(driver: DriverWish | None, root: Node, folder: Path) -> DriverWish | None:
    """The driver's wish with the certificate itself, as PEM, where it names the file."""
    if driver is None or driver.signing is None:
        return driver
    try:
        text = _key(folder / driver.signing.certificate, _certificate)
    except ValueError as error:
        place = place_of(root, ("driver", "signing", "certificate"))
        hints = ("openssl req -new -x509 -newkey rsa:4096 -nodes -keyout KEY -out CERTIFICATE -addext extendedKeyUsage=codeSigning",)
        raise refuse(_problem("REC015", "certificate-unreadable", str(error), place, hints)) from error
    return dataclasses.replace(driver, signing=dataclasses.replace(driver.signing, certificate=text))


def _with_public_key(node: NodeWish, root: Node, folder: Path) -> NodeWish:
    """The node's settings with the public key itself, as PEM, where they name its file."""
    if node.signed_by is None:
        return node
    try:
        text = _key(folder / node.signed_by, _public_key)
    except ValueError as error:
        hints = (
            "`skopeo generate-sigstore-key --output-prefix release` writes release.pub, and release.private for `aistack push --sign-by`",
        )
        raise refuse(_problem("REC018", "public-key-unreadable", str(error), place_of(root, ("node", "signed-by")), hints)) from error
    return dataclasses.replace(node, signed_by=text)


def _key(file: Path, text: Callable[[bytes], str]) -> str:
    """What a file holds as `text` reads it; ValueError says which file it is and why it does not."""
    try:
        with file.open("rb") as stream:
            return text(stream.read(BYTES_LIMIT))
    except (OSError, ValueError) as error:
        raise ValueError(f"`{file}`: {error.strerror if isinstance(error, OSError) else error}") from error


def _pem(data: bytes, what: str) -> str | None:
    """A text of one kind (RFC 7468), without what may stand around it."""
    match = re.search(f"-----BEGIN {what}-----.+?-----END {what}-----".encode(), data, re.DOTALL)
    return match[0].decode("ascii") + "\n" if match else None


def _certificate(data: bytes) -> str:
    """A certificate (X.509) as PEM, however it is written, and nothing beside it: all of it will stand in the lock."""
    import ssl  # an import that only a recipe with a certificate has to pay for

    try:
        text = _pem(data, "CERTIFICATE")
        der = ssl.PEM_cert_to_DER_cert(text) if text else data
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=der)
    except (ValueError, ssl.SSLError) as error:
        raise ValueError("it holds no certificate") from error
    head = 2 + (der[1] & 0x7F if der[1] > 0x7F else 0)  # X.690, 8.1.3
    if len(der) != head + int.from_bytes(der[2:head]):
        raise ValueError("it holds more than a certificate")
    return ssl.DER_cert_to_PEM_cert(der)


def _public_key(data: bytes) -> str:
    if text := _pem(data, "PUBLIC KEY"):
        return text
    raise ValueError("it holds no public key")


def _armoured(data: bytes) -> str:
    """Public keys as armoured text (RFC 9580, 6.2); a file without armour begins with the packet of a public key (4.2, tag 6)."""
    if b"PGP PRIVATE KEY BLOCK" in data:
        raise ValueError("it holds a private key, which would be published with the lock: export the public one into a file of its own")
    if blocks := re.findall(f"{ARMOUR}.+?{ARMOUR.replace('BEGIN', 'END')}".encode(), data, re.DOTALL):
        return "".join(f"{block.decode('ascii')}\n" for block in blocks)
    if data[:1] not in (b"\x98", b"\x99", b"\xc6"):
        raise ValueError("it holds no public key")
    return f"{ARMOUR}\n\n{base64.encodebytes(data).decode()}{ARMOUR.replace('BEGIN', 'END')}\n"


def written(source: Source) -> dict[str, Place]:
    """Where a recipe's `sources` name archives and indexes, by the names that diagnostics give them, the longest first."""
    found: dict[str, Place] = {}
    for index, wish in enumerate(source.recipe.sources):
        uri, place = (wish.uri or "").rstrip("/"), place_of(source.root, ("sources", index, "uri" if wish.uri else "suites"))
        found = {uri: place} | {f"{uri} {suite}".strip(): place for suite in wish.suites} | found
    return {name: found[name] for name in sorted(found, key=len, reverse=True) if name}


def text_for_snippet(file: str) -> str | None:
    """The text of a file that a diagnostic names, from here or from the source tree that the package lies in; None without it."""
    tree = Path(__file__).resolve().parents[2]
    for path in (Path(file), tree / file):
        try:
            if path.is_file() and path.stat().st_size <= BYTES_LIMIT:
                return path.read_bytes().decode("utf-8", errors="replace")
        except (OSError, ValueError):
            continue
    return None


def _neighbours(path: Path) -> tuple[str, ...]:
    """A hint that names the file that was probably meant."""
    import difflib  # an import that only a mistake has to pay for

    try:
        names = sorted(entry.name for entry in path.parent.iterdir() if entry.suffix in (".yaml", ".yml"))
    except OSError:
        return ()
    guesses = difflib.get_close_matches(path.name, names, n=1)
    return (f"did you mean `{path.with_name(guesses[0])}`?",) if guesses else ()


def _problem(rule: str, name: str, message: str, place: Place | None, hints: tuple[str, ...] = ()) -> Diagnostic:
    return Diagnostic(rule=rule, name=name, severity=Severity.ERROR, message=message, place=place, hints=hints)
