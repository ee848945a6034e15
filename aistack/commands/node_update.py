"""`aistack node update` and `aistack node rollback`: another system image beside the one that runs, and the way back."""

from __future__ import annotations

import contextlib
import datetime
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from aistack.commands.node import not_a_node
from aistack.compose.lock import Lock
from aistack.diagnostics import Diagnostic, DiagnosticError, ExitCode, Severity, refuse
from aistack.facts import following as words
from aistack.host.probes.reading import inside
from aistack.node import following, state
from aistack.node import update as node
from aistack.node.deployments import Deployments, Fetched, Listed
from aistack.node.deployments.ostree import OstreeDeployments
from aistack.node.first_gate import lock_text, read_lock
from aistack.node.following import Judged, Offer, Step
from aistack.report.progress import Progress
from aistack.values import dataclass

SCHEMA = "aistack/node-update/v1"
ROLLBACK_SCHEMA = "aistack/node-rollback/v1"
ROOT = Path("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How far an update goes; with none of these it stages and leaves the reboot to others."""

    check: bool = False
    download: bool = False
    apply: bool = False
    in_window: bool = False


def update(
    extent: Extent,
    *,
    layout: Path | None = None,
    to: str | None = None,
    allow_downgrade: bool = False,
    as_json: bool = False,
    root: Path = ROOT,
    deployments: Deployments | None = None,
) -> ExitCode:
    """Looks, fetches, stages, reboots, as far as `extent` goes, and says what is done.

    Exit 0 also where there is nothing to do; 1 where the image is refused or this is no node; 3 where it could not be had.
    """
    engine, lock = deployments or OstreeDeployments(root=root), _lock(root)
    with contextlib.ExitStack() as stack:
        if not extent.check:
            stack.enter_context(node.alone(root))
            stack.enter_context(_failures_kept(root))
        if extent.in_window:
            stack.callback(_reboot_in_window, root, lock, engine)
        listed = engine.listed()
        current = node.followed(root, listed)
        reference = to or current
        if reference is None:
            return _said(
                {"outcome": "nothing-followed"}, ("this node follows no image: name one with `--to HOST/REPOSITORY:TAG`",), as_json
            )
        if layout is not None:
            from aistack.host import layout_server

            stack.enter_context(layout_server.serving(layout, reference))
        offer = node.offered(reference, current)
        remembered = state.load(inside(root, state.PATH))
        judged = following.judge(
            offer, listed, remembered.quarantined, lock.sealed, named="@" in reference, allow_downgrade=allow_downgrade
        )
        if judged.step is Step.OLDER:
            raise _older(offer, judged)
        outcome, fetched = judged.step.value, None
        if judged.step is Step.AVAILABLE and not extent.check:
            fetched, outcome = engine.download(offer.image, Progress(stream=sys.stderr, terminal=sys.stderr.isatty()).advance), "downloaded"
            if not extent.download:
                engine.stage(offer.image, [remembered.confirmed] if remembered.confirmed else [])
                outcome = "staged"
        document = _document(outcome, judged.because, offer, listed, fetched)
        if not extent.check:
            node.remember(root, document)
        reboots = extent.apply and outcome == "staged"
        code = _said({**document, "reboots": reboots}, _lines(document, reboots=reboots), as_json)
        if reboots:
            engine.reboot()
        return code


def rollback(*, apply: bool, dry_run: bool, as_json: bool, root: Path = ROOT, deployments: Deployments | None = None) -> ExitCode:
    """Makes the earlier deployment the default, and remembers not to take the one that runs again.

    Exit 1 where there is no other deployment, or this is no node; 3 where it could not be done.
    """
    engine, _ = deployments or OstreeDeployments(root=root), _lock(root)
    with node.alone(root):
        listed, remembered = engine.listed(), state.load(inside(root, state.PATH))
        target = following.to_go_back_to(listed, remembered.confirmed, remembered.quarantined)
        if target is None:
            raise refuse(_problem("UPD005", "nothing-to-go-back-to", "this node has no other deployment", "aistack node update"))
        left = [one.digest for one in listed if one.booted]
        dropped = [one.digest for one in listed if one.staged]
        if not dry_run:
            # Before the bootloader is told: a power cut between the two boots what is remembered as undone, and nobody takes it twice.
            undone = tuple(dict.fromkeys((*remembered.quarantined, *left)))
            state.save(inside(root, state.PATH), replace(remembered, quarantined=undone))
            engine.discard()
            engine.make_default(target.digest)
            engine.stop_counting()
        would = "would start" if dry_run else "starts"
        lines = [f"{target.digest} {would} next: {target.version or 'no version'}, {target.reference or 'followed nothing'}"]
        lines += [f"{one}, which was staged, {'would be' if dry_run else 'is'} dropped" for one in dropped]
        lines += [f"{one} runs until then, and is taken again only by its digest" for one in left]
        lines += ["rebooting"] if apply and not dry_run else []
        document = {
            "schema": ROLLBACK_SCHEMA,
            "digest": target.digest,
            "left": left,
            "dropped": dropped,
            "done": not dry_run,
            "reboots": apply,
        }
        code = _said(document, lines, as_json)
        if apply and not dry_run:
            engine.reboot()
        return code


def _lock(root: Path) -> Lock:
    text = lock_text(root)
    lock = read_lock(text)
    if lock is None:
        raise not_a_node(text.error)
    return lock


@contextlib.contextmanager
def _failures_kept(root: Path) -> Iterator[None]:
    """What went wrong is remembered too: `node status` tells it."""
    try:
        yield
    except DiagnosticError as error:
        first = error.diagnostics[0]
        node.remember(root, {"schema": SCHEMA, "outcome": "failed", "rule": first.rule, "because": "; ".join((first.message, *first.why))})
        raise


def _reboot_in_window(root: Path, lock: Lock, engine: Deployments) -> None:
    window = node.credential(root, "aistack.window") or dict(lock.node).get("window")
    if window and any(one.staged for one in engine.listed()) and words.is_open(window, datetime.datetime.now()):  # local
        print(f"rebooting: something is staged, and the window {window} is open")
        engine.reboot()


def _document(outcome: str, because: str, offer: Offer, listed: Sequence[Listed], fetched: Fetched | None) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "outcome": outcome,
        "because": because,
        "reference": offer.image.reference,
        "digest": offer.image.digest,
        "version": offer.version,
        "sealed": offer.sealed or None,
        "booted": next((one.digest for one in listed if one.booted), None),
        "fetched": asdict(fetched) if fetched else None,
    }


def _lines(document: dict[str, Any], *, reboots: bool) -> Iterator[str]:
    """The document in words."""
    yield f"{document['reference']} is {document['digest']}, version {document['version'] or 'unknown'}"
    if fetched := document["fetched"]:
        size = f", {fetched['bytes'] / 1e6:.1f} MB" if fetched["bytes"] is not None else ""
        new, bound = f"{fetched['new_layers']} of {fetched['layers']} layers", f"{fetched['new_bound']} of {fetched['bound']} bound images"
        yield f"fetched {new}, {bound}{size}"
    match document["outcome"]:
        case "downloaded":
            yield "it is on this node whole; `aistack node update` stages it"
        case "staged":
            yield "rebooting into it" if reboots else "staged: the next orderly reboot starts it, on trial"
        case outcome:
            yield f"{outcome}: {document['because']}"


def _said(document: dict[str, Any], lines: Iterable[str], as_json: bool) -> ExitCode:
    if as_json:
        print(json.dumps({"schema": SCHEMA, **document}, indent=2))
    else:
        for line in lines:
            print(line)
    return ExitCode.OK


def _older(offer: Offer, judged: Judged) -> DiagnosticError:
    message = f"{offer.image.reference} names an older image than the one that is booted"
    problem = _problem("UPD004", "image-older", message, "`--allow-downgrade` takes it all the same")
    return refuse(replace(problem, why=(judged.because, f"its digest: {offer.image.digest}")))


def _problem(rule: str, name: str, message: str, hint: str) -> Diagnostic:
    return Diagnostic(rule=rule, name=name, severity=Severity.ERROR, message=message, hints=(hint,))
