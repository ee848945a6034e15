"""Asking a running app, and comparing what it answers with what was recorded.

Plain HTTP from the machine itself: no proxy is used, because an app is asked where it runs.
"""

from __future__ import annotations

import http.client
import json
import math
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from aistack.diagnostics import Diagnostic, DiagnosticError, Severity, refuse, unable
from aistack.host import catalog_files
from aistack.values import dataclass

SCHEMA = "aistack/reference-embedding/v1"
COSINE = 0.99
"""The least cosine similarity that counts as the same answer; another CPU or another rounding stays above 0.999."""

SECONDS = 120.0
"""Recorded vectors, one file for each model: its id in lower case, `/` as `--`; they travel in the package."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What a model gives for `input`; `vector` was made from the weights by another program."""

    model: str
    input: str
    vector: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """An app's answer beside the reference: cosine similarity, and the largest difference of one number."""

    cosine: float
    largest_difference: float
    length: int


def read_reference(path: Path) -> Reference:
    """A recorded vector; raises DiagnosticError (exit 3) when the file is none."""
    try:
        document = json.loads(path.read_bytes())
        if document["schema"] != SCHEMA:
            raise ValueError(f"`schema` is not `{SCHEMA}`")
        vector = tuple(float(number) for number in document["embedding"])
        return Reference(model=str(document["model"]), input=str(document["input"]), vector=vector)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise unable(
            "REQ003", "reference-unreadable", f"{path} is not a recorded vector", why=(f"{type(error).__name__}: {error}",)
        ) from error


def reference_of(model: str) -> Reference | None:
    """The recorded vector of a model of the catalog, None when there is none."""
    path = catalog_files.reference(model)
    return None if path is None else read_reference(path)


def embed(address: str, model: str, text: str, *, timeout: float = SECONDS) -> tuple[float, ...]:
    """Ask `address` (`http://127.0.0.1:8000`) for the vector of a text, by the OpenAI-compatible /v1/embeddings.

    Raises DiagnosticError: exit 3 when nothing answers, exit 1 when the answer is not a vector.
    """
    body = json.dumps({"model": model, "input": text, "encoding_format": "float"}).encode()
    said = _ask(f"{address}/v1/embeddings", body, timeout)
    try:
        numbers = json.loads(said)["data"][0]["embedding"]
        vector = tuple(float(number) for number in numbers)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise _wrong(f"{address} answered something that is no embedding", f"{type(error).__name__}: {said[:200]!r}") from error
    if not vector or not all(math.isfinite(number) for number in vector):
        raise _wrong(f"{address} answered a vector that is empty or holds numbers that are not finite")
    return vector


def get(address: str, path: str = "/", *, timeout: float = SECONDS) -> tuple[int, bytes]:
    """GET a path of an app: status and body (its first MiB). Raises DiagnosticError (exit 3) when nothing answers."""
    try:
        with _opener().open(f"{address}{path}", timeout=timeout) as answer:
            return int(answer.status), bytes(answer.read(1 << 20))
    except urllib.error.HTTPError as error:
        return error.code, error.read(1 << 20)
    except (OSError, http.client.HTTPException) as error:
        raise _no_answer(f"{address}{path}", error) from error


def compare(answer: Sequence[float], reference: Reference) -> Compared:
    """Judge an answer; raises DiagnosticError (exit 1) when its length differs or its cosine is below COSINE."""
    if len(answer) != len(reference.vector):
        raise _wrong(f"the answer has {len(answer)} numbers, {reference.model} gives {len(reference.vector)}")
    lengths = math.hypot(*answer) * math.hypot(*reference.vector)
    cosine = math.fsum(one * other for one, other in zip(answer, reference.vector, strict=True)) / lengths if lengths else 0.0
    if not cosine >= COSINE:
        message = f"the answer is not {reference.model}'s: cosine {cosine:.4f} where at least {COSINE} is needed"
        raise _wrong(message, f"asked: {reference.input}")
    largest = max(abs(one - other) for one, other in zip(answer, reference.vector, strict=True))
    return Compared(cosine=cosine, largest_difference=largest, length=len(answer))


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(urllib.request.ProxyHandler({}))


def _ask(url: str, body: bytes, timeout: float) -> bytes:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    try:
        with _opener().open(request, timeout=timeout) as answer:
            return bytes(answer.read(1 << 24))
    except urllib.error.HTTPError as error:
        raise _wrong(f"{url} answered {error.code}", error.read(400).decode(errors="replace")) from error
    except (OSError, http.client.HTTPException) as error:
        raise _no_answer(url, error) from error


def _no_answer(url: str, error: Exception) -> DiagnosticError:
    reason = getattr(error, "reason", None) or error
    return unable("REQ001", "app-not-reached", f"nothing answers at {url}", why=(f"{type(error).__name__}: {reason}",))


def _wrong(message: str, *why: str) -> DiagnosticError:
    return refuse(Diagnostic(rule="REQ002", name="answer-wrong", severity=Severity.ERROR, message=message, why=why))
