"""What a node says to its journal: kinds of entries with the ids by which they are found, and the catalog that explains them.

An id is never given to another kind. Catalog: https://systemd.io/CATALOG; `journalctl -x` shows it beside an entry.
"""

from __future__ import annotations

from aistack.values import dataclass

ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6
"""Priorities, as syslog(3) counts them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A kind of entry: `id` is its MESSAGE_ID; `@FIELD@` in `text` stands for a field of the entry."""

    name: str
    id: str
    priority: int
    subject: str
    text: str


GATE_PASSED = Event(
    name="gate-passed",
    id="84049af82eb4472e9e1d23cdadf6dd7d",
    priority=INFO,
    subject="Gate @AISTACK_PHASE@ let this boot pass",
    text="Gate `check` holds the machine against its lock, `confirm` asks the apps too. Every result: /run/aistack/@AISTACK_PHASE@.json",
)
GATE_FAILED = Event(
    name="gate-failed",
    id="48baeee0d96a45ed9a5d67ecf73515f9",
    priority=ERROR,
    subject="Gate @AISTACK_PHASE@ did not let this boot pass",
    text="""\
Failed, or not to be told: @AISTACK_FAILED@. `aistack node check` and /run/aistack/@AISTACK_PHASE@.json have every result, with what was
read and what mends it. What the node does about it is told when the second gate has decided.""",
)
CONFIRMED = Event(
    name="confirmed",
    id="726577a30c6c47b5a01608c371d16b5f",
    priority=NOTICE,
    subject="System image confirmed",
    text="@AISTACK_DIGEST@ passed both gates: from now on the node goes back to it when a later one fails.",
)
UNDONE = Event(
    name="undone",
    id="6d30271fd42b4b8f8405c55e314adac1",
    priority=ERROR,
    subject="System image undone, the confirmed one starts again",
    text="""\
@AISTACK_DIGEST@ failed (@AISTACK_FAILED@); the node reboots into @AISTACK_CONFIRMED@. Where the image is the cause, it is quarantined:
`aistack node update --to REPOSITORY@DIGEST` takes it all the same. Where nobody knows the cause, the next boot is the experiment.""",
)
FORWARD = Event(
    name="forward-again",
    id="18ab3837957f44bd8362daafa3bf4c65",
    priority=ERROR,
    subject="The earlier system image fails the same check, the newer one starts again",
    text="No image mends @AISTACK_FAILED@: the fault is in this machine. It is marked unfit until an image passes both gates on it.",
)
FELL_BACK = Event(
    name="fell-back",
    id="1c78c7c449af439d8ba4af60f8eef079",
    priority=ERROR,
    subject="The node came back to its confirmed system image",
    text="""\
A newer image failed, or did not come as far as its gates: a panic, a hang or a power cut at each try. @AISTACK_CONFIRMED@ is the default
again, the newer one is quarantined. Its last words: `journalctl --list-boots`, then `journalctl -b NUMBER`.""",
)
UNFIT = Event(
    name="unfit",
    id="53d820ebcb4c41f5895d5ae6b1394e74",
    priority=ERROR,
    subject="This node is unfit",
    text="""\
@AISTACK_FAILED@ failed, and no other system image would help. The node stays up to be looked at: `aistack node check` says what is wrong
and what mends it. The mark goes when an image passes both gates.""",
)
DEGRADED = Event(
    name="degraded",
    id="4411f66ddab345289e79316311a3d5b6",
    priority=WARNING,
    subject="The node serves worse than it should, and nothing is undone",
    text="@AISTACK_FAILED@ failed. The booted image is confirmed, quarantined, or not known: rebooting would not help.",
)
STAGED = Event(
    name="update-staged",
    id="030df499981349bbbf0824c248adc12d",
    priority=NOTICE,
    subject="An update is staged",
    text="The next orderly reboot starts @AISTACK_DIGEST@, on trial. `aistack node rollback` drops it.",
)
NOT_UPDATED = Event(
    name="update-failed",
    id="12fa209ea23a402c9f29da924ccca514",
    priority=WARNING,
    subject="An update was refused or could not be had",
    text="What runs is untouched; what came whole is kept for the next try. `aistack explain @AISTACK_RULE@` says what it means.",
)

WORSE = Event(
    name="node-worse",
    id="334ab90705eb4330b43e0f05f26f5bcf",
    priority=ERROR,
    subject="The node is worse than before: @AISTACK_OUTCOME@",
    text="While it serves: @AISTACK_FAILED@. Nothing was restarted. Every result: /run/aistack/watch.json, or `aistack node check`.",
)
BETTER = Event(
    name="node-better",
    id="b6f4f9338e934294b3b3ba977cc034cf",
    priority=NOTICE,
    subject="The node is better than before: @AISTACK_OUTCOME@",
    text="@AISTACK_FAILED@. Every result: /run/aistack/watch.json, or `aistack node check`.",
)
REPLACED = Event(
    name="apps-replaced",
    id="14465e97fd954750aebb4910b3de6760",
    priority=NOTICE,
    subject="Apps and models were replaced without a reboot",
    text="Those of @AISTACK_DIGEST@ passed both gates and are in force; the next boot starts that system image, on trial.",
)
NOT_REPLACED = Event(
    name="apps-not-replaced",
    id="ea8728463e764db292889e3c52addaaa",
    priority=ERROR,
    subject="New apps failed, and those before them run again",
    text="Those of @AISTACK_DIGEST@ failed a gate (/run/aistack/confirm.json); that system image is dropped and quarantined.",
)

EVENTS = (
    GATE_PASSED,
    GATE_FAILED,
    CONFIRMED,
    UNDONE,
    FORWARD,
    FELL_BACK,
    UNFIT,
    DEGRADED,
    STAGED,
    NOT_UPDATED,
    WORSE,
    BETTER,
    REPLACED,
    NOT_REPLACED,
)


def catalog() -> str:
    """The catalog file's text."""
    return "\n".join(f"-- {one.id}\nSubject: {one.subject}\nDefined-By: aistack\n\n{one.text}\n" for one in EVENTS)
