"""Asking an app: real HTTP servers on loopback, good and bad answers, and the recorded vectors that travel in the package."""

from __future__ import annotations

import json
import math
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from aistack.diagnostics import DiagnosticError, ExitCode
from aistack.host import request

MODEL = "sentence-transformers/all-MiniLM-L6-v2"


@contextmanager
def answering(body: bytes, status: int = 200) -> Iterator[str]:
    """A server that gives the same answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reference() -> request.Reference:
    found = request.reference_of(MODEL)
    assert found is not None
    return found


def test_the_recorded_vector_is_a_unit_vector_of_the_models_size() -> None:
    found = reference()
    assert found.model == MODEL
    assert len(found.vector) == 384
    assert math.hypot(*found.vector) == pytest.approx(1, abs=1e-5)
    assert request.reference_of("example/none") is None


def test_every_recorded_vector_can_be_read_and_lies_under_its_models_name() -> None:
    recorded = sorted((Path(__file__).parent.parent / "models").rglob("*.embedding.json"))
    assert recorded
    for path in recorded:
        assert request.reference_of(request.read_reference(path).model) == request.read_reference(path)
        assert "made-with" in json.loads(path.read_text())


def test_the_same_vector_passes_and_a_scaled_one_too() -> None:
    found = reference()
    body = json.dumps({"data": [{"embedding": [3 * number for number in found.vector]}]}).encode()
    with answering(body) as address:
        compared = request.compare(request.embed(address, MODEL, found.input), found)
    assert compared.cosine == pytest.approx(1)
    assert compared.length == 384


@pytest.mark.parametrize("change", ["reversed", "zero", "opposite", "short", "one model dimension dominates"])
def test_another_vector_is_refused(change: str) -> None:
    vector = reference().vector
    answer = {
        "reversed": vector[::-1],
        "zero": (0.0,) * 384,
        "opposite": tuple(-number for number in vector),
        "short": vector[:-1],
        "one model dimension dominates": (0.2, *vector[1:]),
    }[change]
    with pytest.raises(DiagnosticError) as caught:
        request.compare(answer, reference())
    assert caught.value.exit_code == ExitCode.NO


def test_nothing_listening_is_could_not_tell() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    for ask in (lambda: request.embed(address, MODEL, "x"), lambda: request.get(address)):
        with pytest.raises(DiagnosticError) as caught:
            ask()
        assert caught.value.exit_code == ExitCode.UNABLE


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"data": [{"embedding": ["a"]}]}', b'{"data": [{"embedding": []}]}', b'{"data": [{"embedding": [NaN]}]}']
)
def test_an_answer_that_is_no_vector_is_a_no(body: bytes) -> None:
    with answering(body) as address, pytest.raises(DiagnosticError) as caught:
        request.embed(address, MODEL, "x")
    assert caught.value.exit_code == ExitCode.NO


def test_an_error_of_the_app_is_shown() -> None:
    with answering(b'{"error": "no such model"}', 500) as address:
        with pytest.raises(DiagnosticError) as caught:
            request.embed(address, MODEL, "x")
        assert request.get(address) == (500, b'{"error": "no such model"}')
    assert caught.value.exit_code == ExitCode.NO
    assert "no such model" in " ".join(caught.value.diagnostics[0].why)


def test_a_proxy_is_not_asked_for_an_app_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with answering(b"hello") as address:
        assert request.get(address) == (200, b"hello")


def test_a_file_that_is_no_recorded_vector(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"schema": "another"}')
    with pytest.raises(DiagnosticError, match="not a recorded vector"):
        request.read_reference(tmp_path / "x.json")
