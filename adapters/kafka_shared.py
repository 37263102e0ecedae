"""What Kafka's adapters share whichever client library they use (none of either is imported here): names, time limits, commits."""

from __future__ import annotations

import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from adapters.base import Batch, Topology, Wiring
from adapters.errors import BadSetting

BEFORE_S = 10.0  # how long a commit before processing is waited for: a broker that starts again is back by then
# The broker looks so often for transactions that are too old: transaction.abort.timed.out.transaction.cleanup.interval.ms.
_SWEEP_S = 10.0


class _Polled(Protocol):
    """What one poll() gave; ``serial`` rises."""

    serial: int
    positions: Sequence[int]


T = TypeVar("T")
Some = TypeVar("Some", bound=_Polled)


@dataclass(frozen=True, slots=True)
class Done:
    """Acknowledged of a partition and not committed: from the first message to the last, before it was taken away again."""

    first: int
    last: int
    taken: int


def acknowledged(unacked: deque[Some], batch: Batch, upto: int) -> Iterator[tuple[Some, int]]:
    """What an ack() is about, taken from ``unacked``: the batches before this one, each whole, and the first ``upto`` messages of it."""
    token: Some = batch.token
    while unacked and unacked[0].serial < token.serial:
        older = unacked.popleft()
        yield older, len(older.positions)
    yield token, upto
    if upto >= batch.count and unacked and unacked[0] is token:
        unacked.popleft()


def within(seconds: float, work: Callable[[], T]) -> T | None:
    """What ``work`` returns, or None where it has not ended by then: not every call of Kafka's clients keeps to a time limit.

    Its thread goes on, for as long as the client lets it wait. ``work`` does not raise.
    """
    ended: list[T] = []
    thread = threading.Thread(target=lambda: ended.append(work()), name="kafka-call", daemon=True)
    thread.start()
    thread.join(seconds)
    return ended[0] if ended else None


def named(topology: Topology, run_id: str, *, outputs: bool) -> dict[str, Any]:
    """Names of the topic and of the consumer groups, unique to this call; of their output topics, where they have some."""
    topic = f"brokerbench.{run_id}.{uuid.uuid4().hex[:8]}"
    groups = {group.name: f"{topic}.{group.name}" for group in topology.groups}
    written = {group: f"{name}.out" for group, name in groups.items()} if outputs else {}
    return {"topic": topic, "partitions": topology.partitions, "groups": groups, "outputs": written}


def topics(wiring: Wiring) -> list[str]:
    """All of a wiring's topics."""
    return [wiring["topic"], *wiring["outputs"].values()]


def group_id(wiring: Wiring, group: str) -> str:
    """Kafka's name of a group; raises BadSetting where the wiring has no such group."""
    if group not in wiring["groups"]:
        raise BadSetting(f"no group {group!r} in this wiring, which has {', '.join(wiring['groups'])}")
    return str(wiring["groups"][group])


def redelivery_s(session_s: float, transaction_s: float | None) -> float:
    """How long what a dead or silent client held may stay out of everybody's reach; ``transaction_s``: where there are transactions.

    A member's partitions go to others when its session ends; what follows the open transaction of a dead client is read when
    that is aborted, by its successor or, at the latest, by the broker.
    """
    return session_s if transaction_s is None else max(session_s, transaction_s + _SWEEP_S)
