"""How much of a topic a consumer group has not committed yet: end offsets minus committed ones, asked by a client that never joins.

What was processed and not committed is in it. Where there are transactions, offsets count too much: each end of one (a marker), and
what was aborted, has an offset and is no message. There the messages up to the last stable offset are read, as the group would read
them, and counted; what lies behind it, in a transaction that is open, is counted by its offsets.
Sources: https://kafka.apache.org/documentation/#semantics , KIP-98 (isolation levels, last stable offset)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from adapters.base import Wiring
from adapters.kafka_client import BOOTSTRAP_MS

_ANSWER_MS = 5000
_POLL_MS = 250  # a poll that meets markers alone waits to its end for a message
_POLLS = 20  # in a row that bring nothing


def held_for(wiring: Wiring, group: str, *, transactional: bool) -> int | None:
    """Return the messages that a group has not committed; None where they could not be read. Raises kafka.errors.KafkaError."""
    places = [TopicPartition(wiring["topic"], partition) for partition in range(wiring["partitions"])]
    client = _client(wiring, group, "read_uncommitted")
    try:
        ends: dict[TopicPartition, int] = client.end_offsets(places, _ANSWER_MS)
        begins: dict[TopicPartition, int] = {place: client.committed(place, timeout_ms=_ANSWER_MS) or 0 for place in places}
    finally:
        client.close(autocommit=False)
    if not transactional:
        return sum(ends[place] - begins[place] for place in places)
    reader = _client(wiring, group, "read_committed")
    try:
        stable: dict[TopicPartition, int] = reader.end_offsets(places, _ANSWER_MS)
        readable = _count(reader, begins, stable)
    finally:
        reader.close(autocommit=False)
    return None if readable is None else readable + sum(ends[place] - stable[place] for place in places)


def _client(wiring: Wiring, group: str, isolation: str) -> Any:
    return KafkaConsumer(
        bootstrap_servers=list(wiring["servers"]), group_id=wiring["groups"][group], enable_auto_commit=False,
        auto_offset_reset="earliest", isolation_level=isolation, bootstrap_timeout_ms=BOOTSTRAP_MS,
    )  # fmt: skip


def _count(reader: Any, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> int | None:
    """Read each partition from where it begins to where it ends; None where it cannot be read on."""
    left = {place for place, begin in begins.items() if begin < ends[place]}
    reader.assign(list(left))
    for place in left:
        reader.seek(place, begins[place])
    count = idle = 0
    reached = {place: begins[place] for place in left}
    while left:
        for place, records in reader.poll(_POLL_MS).items():
            count += sum(1 for record in records if record.offset < ends[place])
        now = {place: reader.position(place) for place in left}
        idle = idle + 1 if now == reached else 0
        if idle == _POLLS:
            return None
        left = {place for place in left if now[place] < ends[place]}
        reached = {place: now[place] for place in left}
    return count
