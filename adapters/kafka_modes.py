"""Kafka's modes: what each sets in kafka-python, and what the documentation promises for it.

Each changes one thing of ``acks-all``: what the producer waits for (acks), whether the broker recognises its retries
(idempotence), whether its messages come in transactions, when the consumer commits, or in a transaction with what. Idempotence
is kafka-python 3's default, so ``acks-all`` has it and ``acks-all-plain`` is what is left without it; acks=1 and acks=0 cannot
have it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adapters.capabilities import Delivery, Mode, Persistence

_ACKS = "https://kafka.apache.org/documentation/#producerconfigs_acks"
_SEMANTICS = "https://kafka.apache.org/documentation/#semantics"
_TRANSACTIONS = "https://kafka.apache.org/documentation/#usingtransactions"
_LATE = "the whole log, from the first message that retention keeps"
_SLOW = "reads later: the log keeps what retention allows"


@dataclass(frozen=True)
class Way:
    """A mode with the settings that make it; ``capabilities``: what an adapter in it declares otherwise than the class."""

    mode: Mode
    producer: Mapping[str, Any]
    consumer: Mapping[str, Any] = field(default_factory=dict)
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    transactional: bool = False  # each producer has a transactional_id, and what it sends comes in transactions
    commits_before: bool = False  # the consumer's commit ends before its messages are processed
    processor: bool = False  # the consumer writes what it processed to its group's output topic, in a transaction with its commit


def _mode(
    name: str, source: str, *, delivery: Delivery = Delivery.AT_LEAST_ONCE, ordering: str = "partition",
    persistence: Persistence = Persistence.PAGE_CACHE,
) -> Mode:  # fmt: skip
    """copies: where acks=all, those that have to be in sync (adapters/kafka_copies.py); the adapter puts it in."""
    return Mode(
        name=name, delivery=delivery, ordering=ordering, persistence=persistence, copies=1,
        late_subscriber=_LATE, slow_consumer=_SLOW, source=source,
    )  # fmt: skip


_IDEMPOTENT = {"acks": "all", "enable_idempotence": True}
# max_in_flight_requests_per_connection is 5 by default: a batch that is retried comes behind those that were sent after it.
_RETRIES = "partition, but for retries"
_SWAPS = {"retries_swap": True}

WAYS: tuple[Way, ...] = (
    Way(_mode("acks-all", _ACKS), _IDEMPOTENT),
    Way(_mode("acks-all-plain", _ACKS, ordering=_RETRIES), {"acks": "all", "enable_idempotence": False}, capabilities=_SWAPS),
    # The leader's own copy only: what it had not handed on is lost with it.
    Way(_mode("acks-1", _ACKS, ordering=_RETRIES), {"acks": 1, "enable_idempotence": False}, capabilities=_SWAPS),
    # At most once on the way in, at least once on the way out: from end to end, nothing is promised.
    Way(
        _mode("acks-0", _ACKS, delivery=Delivery.NONE, ordering=_RETRIES, persistence=Persistence.CLIENT),
        {"acks": 0, "enable_idempotence": False},
        capabilities={"confirms": False} | _SWAPS,
    ),
    # A transaction is seen whole or not at all; its consumer here is outside it, so what it processed it may get again.
    Way(_mode("transactional", _SEMANTICS), _IDEMPOTENT, {"isolation_level": "read_committed"}, transactional=True),
    Way(
        _mode("commit-before", _SEMANTICS, delivery=Delivery.AT_MOST_ONCE),
        _IDEMPOTENT,
        capabilities={"ack_first": True},
        commits_before=True,
    ),
    # The one chain for which Kafka promises it: from the input topic to the output topic, as a reader of committed messages sees that.
    Way(
        _mode("consume-process-produce", _TRANSACTIONS, delivery=Delivery.EXACTLY_ONCE),
        _IDEMPOTENT,
        {"isolation_level": "read_committed"},
        capabilities={"judged_on_outputs": True},
        processor=True,
    ),
)
MODES: tuple[Mode, ...] = tuple(way.mode for way in WAYS)


def way_of(mode: Mode) -> Way:
    """The way whose mode it is."""
    return next(way for way in WAYS if way.mode.name == mode.name)
