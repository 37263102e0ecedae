"""How much of a topic a consumer group has not committed yet, asked through confluent-kafka: the same as adapters/kafka_depth.py.

End offsets minus committed ones. Where there are transactions, messages up to the last stable offset are read as the group would
read them, and counted, since each end of a transaction has an offset too; what lies behind it is counted by its offsets.
Sources: https://kafka.apache.org/documentation/#semantics , KIP-98 (isolation levels, last stable offset)
"""

from __future__ import annotations

from typing import Any

from confluent_kafka import Consumer, IsolationLevel, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # it has it, but does not say so

from adapters.base import Wiring
from adapters.kafka_confluent_client import ANSWER_S

_EMPTY = 20  # looks in a row that bring nothing
_LOOK_S = 0.25
_MANY = 1000


def held_for(wiring: Wiring, group: str, *, transactional: bool) -> int | None:
    """Return the messages that a group has not committed; None where they could not be read. Raises KafkaException."""
    at = {"bootstrap.servers": ",".join(wiring["servers"]), "log_level": 2}
    places = [TopicPartition(wiring["topic"], partition) for partition in range(wiring["partitions"])]
    client = Consumer(
        at
        | {
            "group.id": wiring["groups"][group],
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    try:
        begins = {place.partition: max(place.offset, 0) for place in client.committed(places, timeout=ANSWER_S)}
        ends = _ends(at, places, IsolationLevel.READ_UNCOMMITTED)
        if not transactional:
            return sum(ends[partition] - begin for partition, begin in begins.items())
        stable = _ends(at, places, IsolationLevel.READ_COMMITTED)
        readable = _count(client, wiring["topic"], begins)
    finally:
        client.close()
    return None if readable is None else readable + sum(ends[partition] - stable[partition] for partition in ends)


def _ends(at: dict[str, Any], places: list[TopicPartition], level: IsolationLevel) -> dict[int, int]:
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
    admin = AdminClient(at)  # the answers come as long as it is there
    asked = admin.list_offsets(dict.fromkeys(places, latest), isolation_level=level, request_timeout=ANSWER_S)
    return {place.partition: int(answer.result(ANSWER_S).offset) for place, answer in asked.items()}


def _count(client: Any, topic: str, begins: dict[int, int]) -> int | None:
    """Read each partition from where it begins to its last stable offset; None where it cannot be read on."""
    client.assign([TopicPartition(topic, partition, begin) for partition, begin in begins.items()])
    left, count, empty = set(begins), 0, 0
    while left:
        messages = client.consume(_MANY, _LOOK_S)
        empty = 0 if messages else empty + 1
        if empty == _EMPTY:
            return None
        for message in messages:
            if message.error() is None:
                count += 1
            elif message.error().code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  # librdkafka's public name
                left.discard(message.partition())
    return count
