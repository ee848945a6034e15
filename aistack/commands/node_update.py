"""`aistack node update` and `aistack node rollback`: another system image beside the one that runs, and the way back."""

from __future__ import annotations

import contextlib
import datetime
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from aistack.commands.node import not_a_node
from aistack.compose.lock import Lock
from aistack.diagnostics import Diagnostic, DiagnosticError, ExitCode, Severity, refuse
from aistack.facts import following as words
from aistack.host import clock, room
from aistack.host.probes.deployment import LIVE
from aistack.host.probes.reading import inside, read
from aistack.node import admission, applying, cleaning, following, live, state, telling
from aistack.node import update as node
from aistack.node.decide import State
from aistack.node.deployments import Deployments, Fetched, Listed
from aistack.node.deployments.choice import chosen
from aistack.node.first_gate import lock_text, read_lock
from aistack.node.following import Judged, Offer, Step
from aistack.report import trouble
from aistack.report.output import OutputError
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
    engine, lock = deployments or chosen(root), _lock(root)

    def take() -> ExitCode:
        with contextlib.ExitStack() as carried:  # left before a failure is remembered: a layout tells it in its own name
            return _taken(carried, extent, engine, lock, layout=layout, to=to, allow_downgrade=allow_downgrade, as_json=as_json, root=root)

    with contextlib.ExitStack() as stack:
        if extent.check:
            return take()
        stack.enter_context(node.alone(root, _say))
        stack.callback(telling.tell, root, engine)
        with _failures_kept(root):
            live.finish_interrupted(root, _say)
        try:
            with _failures_kept(root):
                _drop_undone(root, engine)
                code = take()
        except Exception:
            if extent.in_window:  # what was staged earlier waits for no registry, and what comes of it is what is remembered
                _apply_in_window(root, lock, engine)
            raise
        if extent.in_window:
            _apply_in_window(root, lock, engine)
        return code


def _taken(
    stack: contextlib.ExitStack,
    extent: Extent,
    engine: Deployments,
    lock: Lock,
    *,
    layout: Path | None,
    to: str | None,
    allow_downgrade: bool,
    as_json: bool,
    root: Path,
) -> ExitCode:
    """The update itself, by one who may."""
    node.use_credentials(root)
    listed = engine.listed()
    reference = node.asked(root, to, listed)
    if reference is None:
        return _said({"outcome": "nothing-followed"}, ("this node follows no image: name one with `--to HOST/REPOSITORY:TAG`",), as_json)
    if layout is not None:
        from aistack.host import layout_server

        served = stack.enter_context(layout_server.serving(layout, reference))
    offer, exactly, left = node.offered(reference), to is not None and "@" in reference, inside(root, state.LEFT).exists()
    if layout is not None:
        served.require_asked()
    if exactly:
        reference = f"{offer.image.reference}@{offer.image.digest}"  # that of the image, where the one that was given is of an index
    judged = following.judge(
        offer,
        listed,
        state.load(inside(root, state.PATH)),
        lock.sealed,
        named=exactly,
        allow_downgrade=allow_downgrade,
        latest=words.latest(datetime.datetime.now(datetime.UTC)) if clock.synchronized() else None,
        left=left,
    )
    if judged.step in (Step.OLDER, Step.AHEAD, Step.GIVEN_UP):
        raise _refused(offer, judged)

    if judged.step is Step.AVAILABLE and extent.check:
        node.require_allowed(root, offer.image)  # a download does that itself

    def hold() -> None:
        if to is not None:
            node.hold(root, reference, listed)

    if judged.step is not Step.AVAILABLE and not (extent.check or extent.download):
        hold()
    current = node.followed(root, listed)
    if to is not None and "@" not in reference and judged.step in (Step.CURRENT, Step.STAGED) and reference != current:
        _say(f"the node goes on following {current or 'nothing'}: only a new deployment changes that")
    outcome, fetched = judged.step.value, None
    if not extent.check and not extent.download:
        _drop_withdrawn(root, engine, judged, offer, listed)
        if judged.step is Step.CURRENT and exactly and left:
            _take_back(root, engine, offer.image.digest)
        if judged.step is Step.STAGED:
            if exactly:
                _wanted(root, offer.image.digest)
            engine.try_staged()
    advance = Progress(stream=sys.stderr, terminal=sys.stderr.isatty()).advance
    if judged.step is Step.CURRENT and not extent.check:
        fetched = cleaning.with_room(root, engine, offer.image.digest, _say, lambda: engine.complete(offer.image, advance))
    if judged.step is Step.AVAILABLE and not extent.check:
        outcome = "downloaded"
        fetched = cleaning.with_room(root, engine, offer.image.digest, _say, lambda: engine.download(offer.image, advance))
        if not extent.download:
            if exactly:
                hold()  # first, for whoever is killed: it counts only while that image is staged or booted
            _stage(root, engine, offer)
            if not exactly:
                hold()  # last: it ends what the node was held to, which an order that comes to nothing must not
            outcome = "staged"
    if outcome == "staged" and extent.apply:
        outcome = applying.put_in_force(root, engine, _say)
    document = {
        **_document(outcome, judged.because, offer, listed, fetched),
        "held": "@" in reference and node.followed(root, engine.listed()) == reference,
    }
    if not extent.check and (judged.step is Step.AVAILABLE or node.remembered(root).get("digest") != offer.image.digest or extent.apply):
        node.remember(root, document)
    code = _said(document, _lines(document), as_json)
    if outcome == "reboots":
        applying.reboot(root, engine, offer.image.digest)
    return ExitCode.NO if outcome == "undone" else code


def _stage(root: Path, engine: Deployments, offer: Offer) -> None:
    """Asks the rules and stages what came."""
    if (text := engine.lock(offer.image)) is not None:
        admission.require_admitted(root, text)
    remembered = _wanted(root, offer.image.digest)
    confirmed = [remembered.confirmed] if remembered.confirmed else []
    cleaning.with_room(root, engine, offer.image.digest, _say, lambda: engine.stage(offer.image, confirmed))
    cleaning.clean_after(root, engine, _say)  # what was staged before and never started may be large


def _wanted(root: Path, digest: str) -> State:
    """What is remembered, read now, since a gate may have spoken while the image came; that it is wanted is kept before it is staged.

    In the other order whoever is killed in between leaves an image that its first boot undoes: nobody would have chosen it.
    """
    with state.alone(root):
        remembered = state.load(inside(root, state.PATH))
        if (now := following.staged(remembered, digest)) != remembered:
            state.save(inside(root, state.PATH), now)
    return now


def _take_back(root: Path, engine: Deployments, digest: str) -> None:
    """The rollback from the booted image, which waits for its reboot, is taken back; a power cut in between lets it stand."""
    _wanted(root, digest)
    with state.alone(root):
        dropped = [one.digest for one in engine.listed() if one.staged]
        engine.discard()
        engine.make_default(digest)
        state.come_back(root)
    for one in dropped:
        _say(f"{one} was staged and is dropped: the booted image starts next again")


def _drop_withdrawn(root: Path, engine: Deployments, judged: Judged, offer: Offer, listed: Sequence[Listed]) -> None:
    """What the tag named and names no more is neither in force nor started: the tag went back to the image that is booted."""
    staged = next((one for one in listed if one.staged), None)
    if judged.step is not Step.CURRENT or (staged is not None and staged.reference != offer.image.reference):
        return
    live.leave(root, _say)
    if staged is not None:
        engine.discard()
        _say(f"{staged.digest} was staged and is dropped: {offer.image.reference} names the booted image again")


def _drop_undone(root: Path, engine: Deployments) -> None:
    """What was undone and is staged all the same, by a rollback that was killed on its way, is not started."""
    staged = next((one.digest for one in engine.listed() if one.staged), None)
    if staged in state.load(inside(root, state.PATH)).quarantined:
        engine.discard()
        _say(f"{staged} was staged and is dropped: it was undone on this node")


def rollback(*, apply: bool, dry_run: bool, as_json: bool, root: Path = ROOT, deployments: Deployments | None = None) -> ExitCode:
    """Makes the earlier deployment the default, and remembers not to take the one that runs again.

    Exit 1 where there is no other deployment, or this is no node; 3 where it could not be done.
    """
    engine, _ = deployments or chosen(root), _lock(root)
    with node.alone(root, _say):
        if not dry_run:
            live.finish_interrupted(root, _say)
        listed, remembered = engine.listed(), state.recovered(root, _say)
        if inside(root, LIVE).exists():
            over = read(LIVE, lambda: live.in_force(root))
            if over.error:
                _say(over.error)
            image = over.value.promised_manifest if over.value else None
            return _left(root, engine, listed, image, dry_run=dry_run, as_json=as_json)
        target = following.to_go_back_to(listed, remembered.confirmed, remembered.quarantined)
        if target is None:
            raise _nothing_to_go_back_to(listed)
        left = [one.digest for one in listed if one.booted]
        dropped = [one.digest for one in listed if one.staged]
        if not dry_run:
            with state.alone(root):
                # Before the bootloader is told: a power cut between the two boots what is remembered as undone, and nobody takes it twice.
                state.remember_undone(root, _say, *left, *dropped)
                engine.discard()
                engine.make_default(target.digest)
                engine.stop_counting()
                state.leave(root)
            telling.tell(root, engine)
        starts, is_ = ("would start", "would be") if dry_run else ("starts", "is")
        lines = [f"{target.digest} {starts} next: {target.version or 'no version'}, {target.reference or 'followed nothing'}"]
        lines += [f"{one}, which was staged, {is_} dropped" for one in dropped]
        lines += [f"{one} runs until then, and is taken again only by its digest" for one in left]
        lines += ["rebooting"] if apply and not dry_run else []
        told = {"digest": target.digest, "left": left, "dropped": dropped, "done": not dry_run, "reboots": apply}
        document = {"schema": ROLLBACK_SCHEMA, **told}
        code = _said(document, lines, as_json)
        if apply and not dry_run:
            engine.reboot()
        return code


def _left(root: Path, engine: Deployments, listed: Sequence[Listed], over: str | None, *, dry_run: bool, as_json: bool) -> ExitCode:
    """The way back from apps that were put in force without a reboot: their image `over` is dropped, and no timer takes it again.

    Another image that is staged meanwhile was never tried: it stays so.
    """
    staged = [one.digest for one in listed if one.staged]
    dropped = [one for one in staged if one == over]
    if not dry_run:
        state.undone(root, _say, over)  # first, as for any rollback
        live.leave(root, _say)
        if dropped:
            engine.discard()
        telling.tell(root, engine)
    booted = next((one.digest for one in listed if one.booted), None)
    will = "would be" if dry_run else "are"
    lines = [f"the apps and models of the booted {booted} {will} in force again"]
    lines += [f"those of {over} are taken again only by its digest"] if over else []
    lines += [f"{one}, which was staged, {'would be' if dry_run else 'is'} dropped" for one in dropped]
    lines += [f"{one} stays staged: the next orderly reboot starts it" for one in staged if one not in dropped]
    document = {
        "schema": ROLLBACK_SCHEMA,
        "digest": booted,
        "left": [over] if over else [],
        "dropped": dropped,
        "done": not dry_run,
        "reboots": False,
    }
    return _said(document, lines, as_json)


def _lock(root: Path) -> Lock:
    text = lock_text(root)
    lock = read_lock(text)
    if lock is None:
        raise not_a_node(text.error)
    return lock


@contextlib.contextmanager
def _failures_kept(root: Path) -> Iterator[None]:
    """What went wrong is remembered too, a machine that refuses by a full disk say: `node status` tells it."""
    try:
        yield
    except OutputError:
        raise
    except Exception as error:
        known, said = error, {"because": f"aistack has a bug: {type(error).__name__}: {error}"}
        if isinstance(error, OSError):
            known = room.full(error) or trouble.refused(error)
        if isinstance(known, DiagnosticError):
            first = known.diagnostics[0]
            said = {"rule": first.rule, "because": "; ".join((first.message, *first.why))}
        node.remember(root, {"schema": SCHEMA, "outcome": "failed", **said})
        if known is error:
            raise
        raise known from error


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _apply_in_window(root: Path, lock: Lock, engine: Deployments) -> None:
    """What is staged is put in force, as far as the node's window lets a timer do that."""
    with _failures_kept(root):
        window = node.credential(root, "aistack.window") or dict(lock.node).get("window")
        if (done := applying.in_window(root, engine, _say, window)) is None:
            return
        outcome, because, staged = done
        image = {"reference": staged.reference, "digest": staged.digest, "version": staged.version}
        node.remember(root, {"schema": SCHEMA, "outcome": outcome, "because": because, **image})
        if outcome == "reboots":
            applying.reboot(root, engine, staged.digest)


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
        "fetched": {name: getattr(fetched, name) for name in ("layers", "new_layers", "bound", "new_bound", "bytes")} if fetched else None,
    }


def _lines(document: dict[str, Any]) -> Iterator[str]:
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
            yield "staged: the next orderly reboot starts it, on trial"
        case "reboots":
            yield "rebooting into it"
        case "live":
            yield "in force: only apps and models differ, so no reboot was needed; the next one starts it, on trial"
        case "in-force":
            yield "its apps and models are in force; the next reboot starts it, on trial"
        case "undone":
            yield "undone: its apps did not pass the gates, and those before it run again; its digest is quarantined"
        case outcome:
            yield f"{outcome}: {document['because']}"
    if document["held"]:
        yield f"held to this image, which was named by its digest, until `aistack node update --to {document['reference']}`"


def _said(document: dict[str, Any], lines: Iterable[str], as_json: bool) -> ExitCode:
    if as_json:
        print(json.dumps({"schema": SCHEMA, **document}, indent=2))
    else:
        for line in lines:
            print(line)
    return ExitCode.OK


def _refused(offer: Offer, judged: Judged) -> DiagnosticError:
    image = offer.image
    if judged.step is Step.OLDER:
        message = f"{image.reference} names an older image than the one that is booted"
        problem = _problem("UPD004", "image-older", message, "`--allow-downgrade` takes it all the same")
    elif judged.step is Step.AHEAD:
        hint = "set the builder's clock right, then: aistack lock RECIPE --reseal"
        problem = _problem("UPD011", "image-ahead", f"{image.reference} names an image from the future", hint)
    else:
        message = f"{image.reference} names an image that no reboot has started"
        problem = _problem("UPD010", "image-given-up", message, "`journalctl -u ostree-finalize-staged` says what went wrong")
        problem = replace(problem, hints=(*problem.hints, f"then: aistack node update --to {image.repository}@{image.digest}"))
    return refuse(replace(problem, why=(judged.because, f"its digest: {image.digest}")))


def _nothing_to_go_back_to(listed: Sequence[Listed]) -> DiagnosticError:
    """Every other deployment was undone, or there is none."""
    undone = tuple(f"undone: {one.digest}, version {one.version or 'unknown'}" for one in listed if not (one.booted or one.staged))
    if undone:
        message, hint = (
            "every other deployment of this node was undone",
            "aistack node update --to HOST/REPOSITORY:TAG@DIGEST",
        )
    else:
        message, hint = "this node has no other deployment", "aistack node update"
    return refuse(replace(_problem("UPD005", "nothing-to-go-back-to", message, hint), why=undone))


def _problem(rule: str, name: str, message: str, hint: str) -> Diagnostic:
    return Diagnostic(rule=rule, name=name, severity=Severity.ERROR, message=message, hints=(hint,))
