"""What every update engine has to do, told as steps over the Protocol; runs beside the engine, inside a node too, so it needs no pytest."""

from __future__ import annotations

from collections.abc import Callable

from aistack.diagnostics import DiagnosticError
from aistack.node.deployments import Deployments, Image, Listed

NOBODY = "sha256:" + "0" * 64


def before_the_reboot(engine: Deployments, first: Image, second: Image) -> None:
    """On a node that runs `first` and has nothing else; at the end `second` is staged."""
    (runs,) = engine.listed()
    assert runs == Listed(digest=first.digest, reference=first.reference, version=runs.version, booted=True, default=True), runs
    assert runs.version
    engine.discard()
    refused(lambda: engine.stage(second, ()))
    for _ in range(2):
        fetched = engine.download(second, lambda what, came, total: None)
    assert fetched.new_layers == fetched.new_bound == 0, fetched
    assert engine.listed() == (runs,)
    engine.stage(second, [first.digest])
    staged, still = engine.listed()
    assert still == runs, still
    assert staged == Listed(digest=second.digest, reference=second.reference, version=staged.version, staged=True), staged
    for _ in range(2):
        engine.discard()
        assert engine.listed() == (runs,)
    engine.download(second, lambda what, came, total: None)
    engine.stage(second, [first.digest])


def after_the_reboot(engine: Deployments, first: Image, second: Image) -> None:
    """The same node, which runs `second` now and can go back to `first`."""

    def seen() -> list[tuple[str, bool, bool]]:
        return [(one.digest, one.booted, one.default) for one in engine.listed() if not one.staged]

    forward = [(second.digest, True, True), (first.digest, False, False)]
    back = [(first.digest, False, True), (second.digest, True, False)]
    assert seen() == forward, seen()
    for _ in range(2):
        engine.stop_counting()
    refused(lambda: engine.make_default(NOBODY))
    for _ in range(2):
        engine.make_default(second.digest)
        assert seen() == forward, seen()
    for _ in range(2):
        engine.make_default(first.digest)
        assert seen() == back, seen()
    assert engine.clean([first.digest]) == ()
    assert seen() == back, seen()
    engine.make_default(second.digest)
    assert seen() == forward, seen()


def refused(step: Callable[[], object]) -> None:
    """The step says that it could not, and what was there is still there."""
    try:
        step()
    except DiagnosticError as error:
        assert error.diagnostics[0].message
        return
    raise AssertionError("it should have been refused")
