"""What modes declare in words (trial.json, variant.mode), read as levels that can be compared (pure).

A level is a number: more promises more; None where the words are not among those that adapters of this release use
(tests/unit/test_choosing.py holds that all of them are), which then is "not known" and no promise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.choosing.needs import KEY, NONE, PRODUCER, TOTAL

Json = Mapping[str, Any]

_ORDER: Mapping[str, tuple[int, int, int, int]] = {
    # A partition belongs to one member, and every group reads the same log.
    "partition": (TOTAL, TOTAL, KEY, KEY),
    "partition, but for retries": (NONE, NONE, NONE, NONE),
    "shard; none within a call that is taken in part": (NONE, NONE, NONE, NONE),
    # Each group has queues of its own: messages of two producers may stand in them in another order.
    "queue, one consumer": (PRODUCER, NONE, KEY, KEY),
    "message group (one a partition)": (PRODUCER, PRODUCER, KEY, KEY),
    "stream, one consumer": (TOTAL, NONE, KEY, KEY),
    # Members take turns, whatever the key; there are no partitions.
    "pipe": (PRODUCER, NONE, PRODUCER, NONE),
    "producer to one member; what is sent again comes before what is new": (PRODUCER, NONE, PRODUCER, NONE),
    "channel, by one publishing connection": (PRODUCER, NONE, PRODUCER, NONE),
    "channel, one consumer": (PRODUCER, NONE, PRODUCER, NONE),
    "publisher's connection, one consumer": (PRODUCER, NONE, PRODUCER, NONE),
    "best effort": (NONE, NONE, NONE, NONE),
}
"""Declared scope -> what it comes to with one partition (a member a group; several members), and with several partitions (the same)."""

_LATE = {
    "the whole log, from the first message that retention keeps": 2,
    "from any id of the stream; a group here starts at its beginning": 2,
    "from the stream's beginning (deliver_policy: all)": 2,
    "all that is retained (24 hours by default)": 2,
    "the queue's backlog (what came after the queue was declared)": 1,
    "the backlog of its group's queue (4 days by default)": 1,
    "what its group's channel holds": 1,
    "misses what was published before it subscribed": 0,
    "misses what was sent before its subscription arrived": 0,
    "joins the round-robin; what went before went to others": 0,
    "shares from when it is connected; gets what a member that died had not acknowledged": 0,
    "nothing: consumers listen before producers start": 0,
}
"""0: nothing of what came before it; 1: what waited in a queue that was declared; 2: all that is kept, also what others have consumed."""

_SLOW = {
    "reads later: the log keeps what retention allows": 1,
    "the queue grows; past the memory or disk alarm publishers are blocked": 1,
    "the server pushes without regard to prefetch: the client's memory grows": 1,
    "the queue grows; what is given back x-delivery-limit times goes to the dead-letter queue": 1,
    "disconnected when its output buffer passes 32 MB, or 8 MB for 60 s (server defaults); what was in it is lost": 1,
    "pull; its backlog stays in the stream, in the server's memory": 1,
    "pull; its backlog stays in the stream; max_ack_pending messages at most are under way to a group": 1,
    "falls behind; loses what is older than the retention": 1,
    "nats-py drops over pending_msgs_limit; the server cuts it off at max_pending (64 MB) or write_deadline (10 s)": 1,
    "its queue grows; about 120,000 messages may be received and not yet deleted": 1,
    "its queue grows; a message that is received and not deleted holds up its message group": 1,
    "its queue grows; what was received maxReceiveCount times and not deleted goes to the dead-letter queue": 1,
    "what the producer's pipe to it cannot hold (SNDHWM) is dropped, and nobody is told": 1,
    "what the proxy's pipe to it cannot hold (SNDHWM) is dropped, and nobody is told": 1,
    "its channel grows to its capacity (1,000,000 by default); then producers are answered FAILED, and send again": 1,
    "its channel is full at its capacity (1,000 by default); then producers are answered FAILED, and send again": 0,
    "the producer blocks at the high-water mark": 0,
    "the producer stops when the member's credit is used up": 0,
    "the producer blocks when the sockets' buffers are full": 0,
}
"""1: others go on while it is behind (within the limits that the words name); 0: it stops the producer, and so all."""

_PERSISTENCE = {"client library only": 0, "processed by its consumer": 0, "server memory": 1, "page cache": 2, "fsync": 3}
"""What was processed before it was acknowledged is nowhere kept: it has no persistence, and needs none."""
_LOSSLESS, _UNREPEATED = frozenset({"at-least-once", "exactly-once"}), frozenset({"at-most-once", "exactly-once"})
_DELIVERIES = frozenset({"none", *_LOSSLESS, *_UNREPEATED})


def levels(mode: Json) -> dict[str, int | None]:
    """What a mode promises by need: lossless, unrepeated, order (at best), late, replay, isolation, persistence, copies."""
    delivery, late = str(mode.get("delivery")), _LATE.get(str(mode.get("late_subscriber")))
    known, copies = delivery in _DELIVERIES, mode.get("copies")
    return {
        "lossless": int(delivery in _LOSSLESS) if known else None,
        "unrepeated": int(delivery in _UNREPEATED) if known else None,
        "order": _best(str(mode.get("ordering"))),
        "late": None if late is None else int(late >= 1),
        "replay": None if late is None else int(late >= 2),
        "isolation": _SLOW.get(str(mode.get("slow_consumer"))),
        "persistence": _PERSISTENCE.get(str(mode.get("persistence"))),
        "copies": copies if isinstance(copies, int) else None,
    }


def _best(ordering: str) -> int | None:
    found = _ORDER.get(ordering)
    return None if found is None else max(found)


def order(mode: Json, workload: Json) -> int | None:
    """What the declared order comes to with a workload's partitions, members and routing; None where its words are not known.

    A workload that does not say its partitions is taken to have several: what is promised then holds with one, too.
    """
    found = _ORDER.get(str(mode.get("ordering")))
    if found is None:
        return None
    shared = members(workload) > 1
    one, several = found[int(shared)], found[2 + int(shared)]
    if workload.get("partitions") == 1:
        return one
    # Order by key needs that a key's messages go to one partition.
    return NONE if several == KEY and workload.get("routing", "key") != "key" else several


def members(workload: Json) -> int:
    """How many consumers share the work of the largest group."""
    return max((n for n in _groups(workload).values() if isinstance(n, int)), default=1)


def groups(workload: Json) -> int:
    """How many groups each get every message."""
    return len(_groups(workload))


def _groups(workload: Json) -> Json:
    found = workload.get("groups")
    return found if isinstance(found, Mapping) else {}
