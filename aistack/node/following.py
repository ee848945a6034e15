"""What a node does about the image that its tag names: a pure function of that image and of what the node has."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import replace
from enum import StrEnum

from aistack.facts.following import DIGEST, HOST, REPOSITORY, TAG
from aistack.node.decide import Reboots, State
from aistack.node.deployments import Image, Listed
from aistack.values import dataclass

MOST_REBOOTS = 3
"""Reboots into one staged image: one power cut during the shutdown must not condemn it, and one that never succeeds must have an end."""


class Step(StrEnum):
    """What an image is to this node; only `AVAILABLE` is fetched."""

    CURRENT = "current"
    STAGED = "staged"
    AVAILABLE = "available"
    QUARANTINED = "quarantined"
    GIVEN_UP = "given-up"
    OLDER = "older"
    AHEAD = "ahead"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """An image that could be taken; `sealed` is when its lock was sealed (UTC, ISO 8601), empty where it does not say."""

    image: Image
    version: str | None
    sealed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The step, and why."""

    step: Step
    because: str


def judge(
    offer: Offer,
    listed: Sequence[Listed],
    state: State,
    sealed_here: str,
    *,
    named: bool,
    allow_downgrade: bool,
    latest: str | None = None,
    left: bool = False,
) -> Judged:
    """What is to be done about an offer.

    `sealed_here` is when the booted image's lock was sealed. `named`: a person gave the very digest, so what went before does not count.
    An image that does not say when it was sealed is older than every one that does: else leaving it out would be a way around.
    `latest` is the latest time of sealing that can be true, None where this machine's clock cannot tell: it was set by nobody.
    `left`: somebody went back from the booted image by hand, and the next boot starts another one. Naming it takes that back; where it was
    never confirmed, it has to prove itself as anything that is staged.
    """
    digest = offer.image.digest
    staged = next((one for one in listed if one.staged), None)
    undone = digest in state.quarantined and not named
    if staged is not None and staged.digest == digest and not undone:
        return Judged(step=Step.STAGED, because="it is staged: the next orderly reboot starts it")
    if any(one.booted and one.digest == digest for one in listed):
        if not left:
            return Judged(step=Step.CURRENT, because="it is the one that is booted")
        if not named:
            return Judged(step=Step.CURRENT, because="it is booted until the reboot of a rollback; it is taken again only by its digest")
        if state.confirmed != digest:
            return Judged(step=Step.AVAILABLE, because="it is booted, and a rollback left it before it was confirmed")
        return Judged(step=Step.CURRENT, because="it is booted, and named by its digest it starts next again, whatever was rolled back")
    if undone:
        return Judged(step=Step.QUARANTINED, because="it was undone on this node; it is taken again only by its digest")
    if given_up(state, digest) and not named:
        because = f"{MOST_REBOOTS} reboots were to start it: no shutdown put it in place; it is taken again only by its digest"
        return Judged(step=Step.GIVEN_UP, because=because)
    if latest and offer.sealed > latest:
        return Judged(step=Step.AHEAD, because=f"it was sealed {offer.sealed}, which is yet to come")
    believed = not (latest and sealed_here > latest)  # else what is booted would outrank every image to come
    if offer.sealed < sealed_here and believed and not allow_downgrade:
        because = f"it was sealed {offer.sealed or 'nobody knows when'}, the booted one {sealed_here}"
        return Judged(step=Step.OLDER, because=because)
    return Judged(step=Step.AVAILABLE, because="the tag names another image than the one that is booted")


def given_up(state: State, digest: str) -> bool:
    """Whether reboots into that image are no use."""
    return state.reboots is not None and state.reboots.digest == digest and state.reboots.times >= MOST_REBOOTS


def rebooting(state: State, digest: str) -> State:
    """What a node remembers from before a reboot into what is staged."""
    times = state.reboots.times if state.reboots is not None and state.reboots.digest == digest else 0
    return replace(state, reboots=Reboots(digest=digest, times=times + 1))


def staged(state: State, digest: str) -> State:
    """What a node remembers before that image is staged: what was undone or given up was named by somebody who knows, and begins anew."""
    others = tuple(one for one in state.quarantined if one != digest)
    return replace(state, quarantined=others, reboots=None if given_up(state, digest) else state.reboots)


def named(to: str, current: str | None) -> str | None:
    """HOST/REPOSITORY:TAG[@DIGEST] as it is given by hand, None where it is none.

    The tag may be left out beside a digest of the repository that is followed (`current`); of another one nobody knows what to follow then.
    """
    found = re.fullmatch(rf"({HOST}{REPOSITORY})({TAG})?({DIGEST})?", to)
    if found is None:
        return None
    name, tag, digest = found[1], found[2], found[3] or ""
    if tag is None and digest and current and current.rpartition(":")[0] == name:
        return f"{current}{digest}"
    return f"{name}{tag}{digest}" if tag else None


def to_go_back_to(listed: Sequence[Listed], confirmed: str | None, quarantined: Collection[str]) -> Listed | None:
    """The deployment that a rollback starts: the confirmed one where another is booted, else the first other one that was never undone.

    The booted image itself may be there twice, where it was staged again: that is no way back from it.
    """
    left = [one.digest for one in listed if one.booted]
    others = [one for one in listed if not one.staged and one.digest not in left]
    others = [one for one in others if one.digest == confirmed or one.digest not in quarantined]
    return next((one for one in others if one.digest == confirmed), others[0] if others else None)
