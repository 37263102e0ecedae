"""What the tests of Kafka's adapter share: a topic of their own, both sides open on it, and two looks past the adapter."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from adapter_parts import Ledger, id_of, prepared
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from adapters import kafka
from adapters.base import Group, Options, Topology

PARTITIONS = 4


def wired(servers, topology=None, adapter=kafka.ADAPTER, **options) -> AbstractContextManager[tuple[Any, dict]]:
    return prepared(adapter(Options(**options)), topology or Topology(1, (Group("g"),), PARTITIONS), "kafka-test", servers)


@contextmanager
def producing(adapter, wiring):
    ledger = Ledger()
    producer = adapter.producer(wiring, 0, ledger)
    try:
        assert producer.ready(20.0)
        yield producer, ledger
    finally:
        producer.close()


@contextmanager
def consuming(adapter, wiring, member=0):
    consumer = adapter.consumer(wiring, "g", member)
    try:
        yield consumer
    finally:
        consumer.close()


def log_of(wiring, want, **settings):
    """id -> (partition, key), read by a plain client that is in no group; ``settings``: its own."""
    reader = KafkaConsumer(bootstrap_servers=wiring["servers"], auto_offset_reset="earliest", **settings)
    try:
        reader.assign([TopicPartition(wiring["topic"], partition) for partition in range(wiring["partitions"])])
        seen = {}
        end = time.monotonic() + 20.0
        while len(seen) < want and time.monotonic() < end:
            for records in reader.poll(timeout_ms=200).values():
                seen |= {id_of(record.value): (record.partition, record.key) for record in records}
        return seen
    finally:
        reader.close()


def committed(wiring):
    admin = KafkaAdminClient(bootstrap_servers=wiring["servers"])
    try:
        group = wiring["groups"]["g"]
        offsets = admin.list_group_offsets({group: None})[group]
        return {partition.partition: about.offset for partition, about in offsets.items()}
    finally:
        admin.close()


def polled(consumer, want):
    """One batch, of at least one message."""
    end = time.monotonic() + 30.0
    while (batch := consumer.poll(want, 0.2)) is None:
        assert time.monotonic() < end
    return batch


def outputs_of(adapter, wiring, want):
    """Ids in the group's output in their order, of what is committed; ``want`` of them, and what follows at once."""
    reader = adapter.outputs(wiring, "g")
    try:
        found = []
        end = time.monotonic() + 20.0
        while len(found) < want and time.monotonic() < end:
            found += [id_of(output.payload) for output in reader.read()]
        return found + [id_of(output.payload) for output in reader.read()]
    finally:
        reader.close()
