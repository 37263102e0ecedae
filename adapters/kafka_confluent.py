"""Apache Kafka through confluent-kafka (librdkafka), in the modes of adapters/kafka_modes.py: the second client of the system ``kafka``.

Settings go by librdkafka's names or by kafka-python's (adapters/kafka_confluent_settings.py); what each mode sets is the same by
name for both clients, so what is left is the clients and their defaults, which docs/kafka-clients.md lists. Keys are placed by
``partitioner=murmur2_random``, which is what Kafka's own client and kafka-python do (librdkafka's default is another hash).

``defaults`` otherwise leaves librdkafka's defaults alone; one is a trap at full speed: with fetch.queue.backoff.ms=1000 and
queued.min.messages=100,000 a consumer that is slower than its broker stands still for a second each time its queue is full. ``tuned`` sets
these two, gives the partition also where there are keys, and lingers for batches of up to 512 KiB, as kafka-python's ``tuned`` does.

The sending side is adapters/kafka_confluent_sender.py and, with transactions, kafka_confluent_transactions.py; the receiving side
kafka_confluent_receiver.py and, where it writes what it processed, kafka_confluent_processor.py; what both clients share, kafka_shared.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from adapters.base import Options, Outcomes, Topology, Wiring
from adapters.capabilities import Assignment, Capabilities, Support
from adapters.kafka_confluent_client import ANSWER_S, Commits, Hears, partitions_of, translated
from adapters.kafka_confluent_depth import held_for
from adapters.kafka_confluent_processor import COMMIT_S, OutputReader, Processor
from adapters.kafka_confluent_receiver import Receiver
from adapters.kafka_confluent_sender import PAYLOAD_BYTES_MAX, Sender
from adapters.kafka_confluent_settings import CONSUMER, PRODUCER, given, in_force
from adapters.kafka_confluent_settings import translated as by_name
from adapters.kafka_confluent_transactions import TransactionalSender
from adapters.kafka_copies import copies
from adapters.kafka_modes import MODES, way_of
from adapters.kafka_shared import BEFORE_S, group_id, named, redelivery_s, topics
from adapters.options import check_profile, choose_mode

_NAME = "confluent-kafka"
_LOOK_S = 0.05  # between two looks at a topic that was just created
_THERE = {KafkaError.TOPIC_ALREADY_EXISTS}
# A group that never committed does not exist; one with a member that was killed goes when its session ends.
_GONE = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.GROUP_ID_NOT_FOUND, KafkaError.NON_EMPTY_GROUP}
_QUIET = {"log_level": 2}  # of clients in the runner: what is wrong they raise
_BASE_PRODUCER: dict[str, Any] = {"partitioner": "murmur2_random"}
_BASE_CONSUMER: dict[str, Any] = {"enable.auto.commit": False, "enable.auto.offset.store": False, "auto.offset.reset": "earliest"}
_TUNED_PRODUCER: dict[str, Any] = {"linger.ms": 5, "batch.size": 512 * 1024}
_TUNED_CONSUMER: dict[str, Any] = {"fetch.queue.backoff.ms": 2, "queued.min.messages": 400_000}


class ConfluentAdapter:
    """Apache Kafka by confluent-kafka."""

    capabilities = Capabilities(
        system="Apache Kafka",
        client=_NAME,
        architecture="broker",
        intermediary=True,
        stores=True,
        fan_out=Support.NATIVE,
        work_sharing=Support.NATIVE,
        partitions=Support.NATIVE,
        modes=MODES,
        confirms=True,
        acks=True,
        assignment=Assignment.PARTITIONS,
        payload_bytes_max=PAYLOAD_BYTES_MAX,
        poll_resolution_s=0.001,  # poll() waits whole milliseconds
        quotas="max.message.bytes and message.max.bytes: 1 MB with the record's overhead; no more members than partitions have work",
    )

    def __init__(self, options: Options) -> None:
        tuned = check_profile(_NAME, options) == "tuned"
        self._explicit = tuned
        mode = choose_mode(self.capabilities, options)
        self._way = way_of(mode)
        settings = given(options)
        self._copies = copies(settings.ours["replication_factor"], settings.ours.get("min_insync_replicas"), options.server)
        self._producer = _BASE_PRODUCER | by_name(self._way.producer) | (_TUNED_PRODUCER if tuned else {}) | settings.producer
        self._consumer = _BASE_CONSUMER | by_name(self._way.consumer) | (_TUNED_CONSUMER if tuned else {}) | settings.consumer
        if options.settings:
            self._check()
        self._window = self._fitting(settings.ours["window"], options.payload_bytes_max)
        self.mode = replace(mode, copies=self._copies.acknowledged(self._producer["acks"]))
        threads = self._way.transactional  # the one that ends transactions
        self.capabilities = replace(self.capabilities, threads=threads, **self._way.capabilities)

    def _check(self) -> None:
        """Let librdkafka look at the settings, without a server. Raises BadSetting for what it does not know or take."""
        with translated([]):
            Producer(_QUIET | self._producer)
            Consumer(_QUIET | self._consumer | {"group.id": "none"})

    def _fitting(self, window: int, payload_bytes_max: int) -> int:
        """The window, or what of it librdkafka's own queue can hold: it must not be full before the window is."""
        settings = in_force(PRODUCER, self._producer)
        room_b = int(settings["queue.buffering.max.kbytes"]) * 1024
        return max(1, min(window, int(settings["queue.buffering.max.messages"]), room_b // payload_bytes_max))

    def wire(self, topology: Topology, run_id: str) -> Wiring:
        """Names of the topic and of the consumer groups, unique to this call; of their output topics, where they have some."""
        return named(topology, run_id, outputs=self._way.processor)

    def prepare(self, wiring: Wiring) -> Wiring:
        """Creates the topics and waits until each partition has a leader; one that is there already is left as it is."""
        with translated(wiring["servers"]):
            admin = _admin(wiring)
            synced = {"min.insync.replicas": str(self._copies.synced)}
            wanted = [NewTopic(topic, wiring["partitions"], self._copies.factor, config=synced) for topic in topics(wiring)]
            for made in admin.create_topics(wanted).values():
                _answer(made, _THERE)
            until = time.monotonic() + ANSWER_S
            for topic in topics(wiring):
                while partitions_of(admin, topic, ANSWER_S) < wiring["partitions"]:
                    if time.monotonic() > until:
                        raise TimeoutError(f"no leader of each partition of {topic}")
                    time.sleep(_LOOK_S)
        return wiring

    def cleanup(self, wiring: Wiring) -> None:
        """Deletes this wiring's topics and consumer groups; what is gone already is fine."""
        with translated(wiring["servers"]):
            admin = _admin(wiring)
            gone = admin.delete_topics(topics(wiring)) | admin.delete_consumer_groups([*wiring["groups"].values()])
            for answer in gone.values():
                _answer(answer, _GONE)

    def producer(self, wiring: Wiring, index: int, outcomes: Outcomes) -> Sender:
        """Connects; raises Unreachable within 10 s, BadSetting for settings that contradict each other.

        With transactions, a producer that is started again has the same transactional.id: the coordinator ends what its
        predecessor left open, as soon as the new one is ready.
        """
        common: dict[str, Any] = {"window": self._window, "explicit": self._explicit}
        with translated(wiring["servers"]):
            if self._way.transactional:
                connect = self._connecting(wiring, f"{wiring['topic']}.{index}")
                return TransactionalSender(connect, wiring, outcomes, limit_s=self._transaction_s(), **common)
            ordered = self._producer["enable.idempotence"]
            return Sender(self._connecting(wiring), wiring, outcomes, ordered=ordered, confirms=self.capabilities.confirms, **common)

    def _connecting(self, wiring: Wiring, transactional_id: str = "", *, asks: bool = True) -> Callable[[Hears], Any]:
        """What makes a Producer, that a broker answers where it ``asks``; raises AdapterError. It is given what is to hear errors."""
        settings = _at(wiring) | self._producer | ({"transactional.id": transactional_id} if transactional_id else {})

        def connect(error_cb: Hears) -> Any:
            with translated(wiring["servers"]):
                client = Producer({**settings, "error_cb": error_cb})
                if asks:
                    client.list_topics(wiring["topic"], timeout=ANSWER_S)
                return client

        return connect

    def consumer(self, wiring: Wiring, group: str, member: int) -> Receiver:
        """Connects (joining is done by poll()); raises Unreachable within 10 s, BadSetting. The group assigns partitions, not we.

        With outputs, one that is started again has its predecessor's transactional.id, as a producer has.
        """
        name, topic, partitions = group_id(wiring, group), wiring["topic"], wiring["partitions"]
        settings = _at(wiring) | self._consumer | {"group.id": name}

        def connect(error_cb: Hears, on_commit: Commits) -> Any:
            client = Consumer({**settings, "error_cb": error_cb, "on_commit": on_commit})
            client.list_topics(topic, timeout=ANSWER_S)
            return client

        with translated(wiring["servers"]):
            if not self._way.processor:
                return Receiver(connect, topic, partitions, before=self._way.commits_before)
            stage = self._connecting(wiring, f"{name}.{member}", asks=False)
            return Processor(connect, topic, partitions, stage=stage, output=wiring["outputs"][group])

    def depth(self, wiring: Wiring, group: str) -> int | None:
        """Messages between a group's committed offsets and the end of each partition (kafka_confluent_depth.py). Raises Unreachable."""
        with translated(wiring["servers"]):
            return held_for(wiring, group, transactional=self._way.transactional)

    def outputs(self, wiring: Wiring, group: str) -> OutputReader:
        """What the group's consumers wrote and committed (of a mode with judged_on_outputs); raises Unreachable within 10 s."""
        settings = self._consumer | {"isolation.level": "read_committed", "group.id": f"{wiring['groups'][group]}.reader"}
        with translated(wiring["servers"]):
            client = Consumer({**_at(wiring), **_QUIET, **settings})
            client.list_topics(wiring["outputs"][group], timeout=ANSWER_S)
            return OutputReader(client, wiring["outputs"][group], wiring["partitions"])

    def redelivery_s(self) -> float:
        """By the settings in force (adapters/kafka_shared.py)."""
        session_s = int(in_force(CONSUMER, self._consumer)["session.timeout.ms"]) / 1000
        if not self._way.transactional and not self._way.processor:
            return redelivery_s(session_s, None)
        return redelivery_s(session_s, self._transaction_s())

    def _transaction_s(self) -> float:
        return int(in_force(PRODUCER, self._producer)["transaction.timeout.ms"]) / 1000

    def effective(self) -> Mapping[str, Mapping[str, Any]]:
        """What decides what is measured, by librdkafka's names, with its defaults below; and how the adapter uses the client."""
        send = "produce() with partition" if self._explicit else "produce() with key (with partition where there is no key)"
        producer: dict[str, Any] = {"send": send, "window": self._window, "outcomes": "on_delivery of each message"}
        producer["acknowledged"] = self._copies.words(self._producer["acks"])
        consumer: dict[str, Any] = {
            "receive": "consume(n, 0), else poll()",
            "commit": "commit(asynchronous=True) after processing, one under way",
        }
        if self._way.transactional:
            producer |= {"transactional.id": "one a producer", "transaction": "what one send() takes"}
        if self._way.commits_before:
            consumer |= {"commit": f"before processing, waits up to {BEFORE_S:.0f} s"}
        if self._way.processor:
            consumer |= {"commit": f"in a transaction with the outputs, after processing, waits up to {COMMIT_S:.0f} s"}
            consumer |= {"transactional.id": "one a member", "transaction": "what one ack() takes"}
            stage = in_force(PRODUCER, self._producer)
            consumer |= {f"output.{name}": stage[name] for name in ("acks", "enable.idempotence", "transaction.timeout.ms")}
        common = {"replication_factor": self._copies.factor, "min_insync_replicas": self._copies.synced}
        return {
            "producer": in_force(PRODUCER, self._producer) | producer | common,
            "consumer": in_force(CONSUMER, self._consumer) | consumer | common,
        }


def _at(wiring: Wiring) -> dict[str, Any]:
    return {"bootstrap.servers": ",".join(wiring["servers"])}


def _admin(wiring: Wiring) -> Any:
    """A client for admin calls that a broker answers. Raises KafkaException."""
    admin = AdminClient(_at(wiring) | _QUIET)
    admin.list_topics(timeout=ANSWER_S)
    return admin


def _answer(answer: Any, fine: set[int]) -> None:
    """Wait for the answer of an admin call; errors that are ``fine`` are."""
    try:
        answer.result(ANSWER_S)
    except KafkaException as error:
        if error.args[0].code() not in fine:
            raise


ADAPTER = ConfluentAdapter
