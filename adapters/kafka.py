"""Apache Kafka through kafka-python, in the modes of adapters/kafka_modes.py.

``defaults`` sends as the documentation teaches: ``send(topic, value, key=...)``, and Kafka's own partitioner (murmur2 of
the key) chooses the partition, which is also how the harness routes by key. Without keys the harness goes round-robin, so
the partition is given. ``tuned`` always gives the partition and lingers for batches of up to 512 KiB.

The sending side is adapters/kafka_sender.py and, with transactions, kafka_transactions.py; the receiving side, with its
commits, kafka_receiver.py and, where it writes what it processed, kafka_processor.py; what a group has not committed yet is
counted by kafka_depth.py.

kafka-python serves its connections in threads of its own: outcomes come from there, pump() is a plain wait, and it
reconnects by itself, silently. A lost connection is seen here as a fall of its metric ``connection-count`` between two
calls of events(); one that comes back faster is not. After a broker that was away the clients wait up to
reconnect_backoff_max_ms (30 s) before they try again: with session_timeout_ms, delivery_timeout_ms and, for transactions,
transaction_timeout_ms it decides how long recovery takes. All are settings, and printed.
"""

from __future__ import annotations

import contextlib
import difflib
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka import errors as kafka_errors

from adapters.base import Options, Outcomes, Topology, Wiring
from adapters.capabilities import Assignment, Capabilities, Support
from adapters.errors import BadSetting
from adapters.kafka_client import BOOTSTRAP_MS, translated
from adapters.kafka_copies import copies, usual_factor
from adapters.kafka_depth import held_for
from adapters.kafka_modes import MODES, way_of
from adapters.kafka_processor import COMMIT_S, READ_MAX, OutputReader, Processor
from adapters.kafka_receiver import Receiver
from adapters.kafka_sender import PAYLOAD_BYTES_MAX, Sender
from adapters.kafka_shared import BEFORE_S, group_id, named, redelivery_s, topics
from adapters.kafka_transactions import TransactionalSender
from adapters.options import check_profile, choose_mode

# Ours, beside the client's own names.
_OURS: dict[str, int] = {"window": 10_000, "replication_factor": 1, "min_insync_replicas": 1}
# What the harness or the mode decides.
_FIXED: dict[str, str] = {
    "bootstrap_servers": "the server is named by server=",
    "acks": "the mode decides it",
    "enable_idempotence": "the mode decides it: acks-all has it, acks-all-plain has not",
    "isolation_level": "the mode decides it: transactional and consume-process-produce read what is committed",
    "enable_auto_commit": "the mode decides when offsets are committed, and the adapter does it",
    "group_id": "each consumer group of the scenario has its own",
    "transactional_id": "the mode decides it: with transactions, each producer, or each consumer that produces, has its own",
    "auto_offset_reset": "a new group must read from the first message",
    "max_poll_records": "the scenario's batch decides it",
}
_BASE_PRODUCER: dict[str, Any] = {"bootstrap_timeout_ms": BOOTSTRAP_MS, "allow_auto_create_topics": False}
_BASE_CONSUMER: dict[str, Any] = {
    "enable_auto_commit": False,
    "auto_offset_reset": "earliest",
    "bootstrap_timeout_ms": BOOTSTRAP_MS,
    "allow_auto_create_topics": False,
}
# Of a consumer's own producer, where the SPEC says nothing else: given up before a transaction is (COMMIT_S).
_STAGE: dict[str, Any] = {"request_timeout_ms": 5000, "delivery_timeout_ms": 9000}
_TUNED_PRODUCER: dict[str, Any] = {"linger_ms": 5, "batch_size": 512 * 1024}


class KafkaAdapter:
    """Apache Kafka by kafka-python."""

    capabilities = Capabilities(
        system="Apache Kafka",
        client="kafka-python",
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
        threads=True,
        quotas="max.message.bytes and max_request_size: 1 MiB with the record's overhead; no more members than partitions have work",
    )

    def __init__(self, options: Options) -> None:
        self.options = options
        tuned = check_profile("kafka", options) == "tuned"
        self._explicit = tuned
        ours, producer, consumer = _settings(options)
        self._window: int = ours["window"]
        self._copies = copies(ours["replication_factor"], ours.get("min_insync_replicas"), options.server)
        mode = choose_mode(self.capabilities, options)
        self._way = way_of(mode)
        self._producer = _BASE_PRODUCER | dict(self._way.producer) | (_TUNED_PRODUCER if tuned else {}) | producer
        self._stage = _STAGE | self._producer
        self._consumer = _BASE_CONSUMER | dict(self._way.consumer) | {"max_poll_records": options.batch} | consumer
        self.mode = replace(mode, copies=self._copies.acknowledged(self._producer["acks"]))
        self.capabilities = replace(self.capabilities, **self._way.capabilities)

    def wire(self, topology: Topology, run_id: str) -> Wiring:
        """Names of the topic and of the consumer groups, unique to this call; of their output topics, where they have some."""
        members = {group.name: group.members for group in topology.groups}
        return named(topology, run_id, outputs=self._way.processor) | {"members": members}

    def prepare(self, wiring: Wiring) -> Wiring:
        """Creates the topics and waits until each partition has a leader; one that is there already is left as it is."""
        about = {"num_partitions": wiring["partitions"], **self._copies.of_topic()}
        with self._admin(wiring) as admin:
            for topic in topics(wiring):
                try:
                    admin.create_topics({topic: about}, wait_for_metadata=True)
                except kafka_errors.TopicAlreadyExistsError:
                    admin.wait_for_topics([topic])
        return wiring

    def cleanup(self, wiring: Wiring) -> None:
        """Deletes this wiring's topics and consumer groups; what is gone already is fine."""
        with self._admin(wiring) as admin:
            for topic in topics(wiring):
                with contextlib.suppress(kafka_errors.UnknownTopicOrPartitionError):
                    admin.delete_topics([topic])
            for group in wiring["groups"].values():
                # A group that never committed does not exist; one with a member that was killed goes when its session ends.
                with contextlib.suppress(kafka_errors.BrokerResponseError):
                    admin.delete_groups([group])

    def producer(self, wiring: Wiring, index: int, outcomes: Outcomes) -> Sender:
        """Connects; raises Unreachable within 10 s, BadSetting for settings that contradict each other.

        With transactions, a producer that is started again has the same transactional_id: the coordinator ends what its
        predecessor left open, as soon as the new one is ready.
        """
        settings = dict(self._producer)
        if self._way.transactional:
            settings["transactional_id"] = f"{wiring['topic']}.{index}"
        connect = partial(_connected, list(wiring["servers"]), settings)
        if self._way.transactional:
            return TransactionalSender(connect, wiring, outcomes, window=self._window, explicit=self._explicit)
        return Sender(connect, wiring, outcomes, window=self._window, explicit=self._explicit, confirms=self.capabilities.confirms)

    def consumer(self, wiring: Wiring, group: str, member: int) -> Receiver:
        """Connects (joining is done by poll()); raises Unreachable within 10 s, BadSetting. The group assigns partitions, not we.

        With outputs, one that is started again has its predecessor's transactional_id, as a producer has.
        """
        name = group_id(wiring, group)
        with translated(wiring["servers"]):
            client = KafkaConsumer(bootstrap_servers=list(wiring["servers"]), group_id=name, **self._consumer)
            spare = wiring["members"][group] > wiring["partitions"]
            if not self._way.processor:
                return Receiver(client, wiring["topic"], before=self._way.commits_before, spare=spare)
            settings = self._stage | {"transactional_id": f"{name}.{member}"}
            connect = partial(_connected, list(wiring["servers"]), settings)
            try:
                return Processor(client, wiring["topic"], wiring["outputs"][group], connect, spare=spare)
            except BaseException:
                client.close(autocommit=False)
                raise

    def outputs(self, wiring: Wiring, group: str) -> OutputReader:
        """What the group's consumers wrote and committed (of a mode with judged_on_outputs); raises Unreachable within 10 s."""
        servers = list(wiring["servers"])
        with translated(servers):
            settings = self._consumer | {"isolation_level": "read_committed", "max_poll_records": READ_MAX}
            client = KafkaConsumer(bootstrap_servers=servers, group_id=None, **settings)
            return OutputReader(client, wiring["outputs"][group], wiring["partitions"])

    def depth(self, wiring: Wiring, group: str) -> int | None:
        """Messages between a group's committed offsets and the end of each partition (adapters/kafka_depth.py). Raises Unreachable."""
        with translated(wiring["servers"]):
            return held_for(wiring, group, transactional=self._way.transactional)

    def redelivery_s(self) -> float:
        """By the settings in force (adapters/kafka_shared.py)."""
        session_s = float((KafkaConsumer.DEFAULT_CONFIG | self._consumer)["session_timeout_ms"] / 1000)
        if not self._way.transactional and not self._way.processor:
            return redelivery_s(session_s, None)
        return redelivery_s(session_s, float((KafkaProducer.DEFAULT_CONFIG | self._producer)["transaction_timeout_ms"] / 1000))

    def effective(self) -> Mapping[str, Mapping[str, Any]]:
        """Every setting in force that is a plain value (null = the library's or the system's choice)."""
        producer: dict[str, Any] = {
            "send": "partition=" if self._explicit else "key= (partition= where there is no key)",
            "window": self._window,
            "acknowledged": self._copies.words(self._producer["acks"]),
        }
        if self._way.transactional:
            producer |= {"transactional_id": "one a producer", "transaction": "what one send() takes"}
        consumer = {"commit": "commit_async after processing, one under way"}
        if self._way.commits_before:
            consumer = {"commit": f"commit() before processing, waits up to {BEFORE_S:.0f} s"}
        if self._way.processor:
            consumer = {"commit": f"in a transaction with the outputs, after processing, waits up to {COMMIT_S:.0f} s"}
            consumer |= {"transactional_id": "one a member", "transaction": "what one ack() takes"}
            stage = _plain(KafkaProducer.DEFAULT_CONFIG | self._stage)
            consumer |= {f"output_{name}": stage[name] for name in ("acks", "enable_idempotence", "transaction_timeout_ms", *_STAGE)}
        common = {"replication_factor": self._copies.factor, "min_insync_replicas": self._copies.synced}
        return {
            "producer": _plain(KafkaProducer.DEFAULT_CONFIG | self._producer) | producer | common,
            "consumer": _plain(KafkaConsumer.DEFAULT_CONFIG | self._consumer) | consumer | common,
        }

    @contextlib.contextmanager
    def _admin(self, wiring: Wiring) -> Iterator[Any]:
        servers = list(wiring["servers"])
        with translated(servers):
            admin = KafkaAdminClient(bootstrap_servers=servers, bootstrap_timeout_ms=BOOTSTRAP_MS)
            try:
                yield admin
            finally:
                admin.close()


def _connected(servers: list[str], settings: Mapping[str, Any]) -> Any:
    """A KafkaProducer; raises adapters.errors."""
    with translated(servers):
        return KafkaProducer(bootstrap_servers=servers, **settings)


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a client's configuration fits into JSON; without names of servers and passwords."""
    hidden = ("ssl_", "sasl_", "bootstrap_servers", "client_id", "group_id")
    plain: dict[str, Any] = {}
    for name, value in config.items():
        if name.startswith(hidden) or not isinstance(value, bool | int | float | str | None):
            continue
        plain[name] = str(value) if isinstance(value, float) and not math.isfinite(value) else value
    return plain


def _settings(options: Options) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The variant's settings, typed: ours, the producer's, the consumer's (a name that both know goes to both)."""
    ours: dict[str, Any] = dict(_OURS)
    del ours["min_insync_replicas"]  # unless the SPEC says it, by the number of copies
    ours["replication_factor"] = usual_factor(options.server)
    producer: dict[str, Any] = {}
    consumer: dict[str, Any] = {}
    for name, text in options.settings.items():
        if name in _FIXED:
            raise BadSetting(f"kafka: {name} cannot be set: {_FIXED[name]}")
        if name in _OURS:
            ours[name] = _value(name, str(text), _OURS[name])
            if ours[name] < 1:
                raise BadSetting(f"kafka: {name} = {text} is too small; at least 1")
            continue
        known = False
        for defaults, target in ((KafkaProducer.DEFAULT_CONFIG, producer), (KafkaConsumer.DEFAULT_CONFIG, consumer)):
            if name in defaults:
                known = True
                target[name] = _value(name, str(text), defaults[name])
        if not known:
            names = set(KafkaProducer.DEFAULT_CONFIG) | set(KafkaConsumer.DEFAULT_CONFIG) | set(_OURS)
            near = difflib.get_close_matches(name, names.difference(_FIXED), n=1)
            hint = f"did you mean {near[0]!r}?" if near else "the names are those of KafkaProducer and KafkaConsumer"
            raise BadSetting(f"kafka has no setting {name!r}: {hint}")
    return ours, producer, consumer


def _value(name: str, text: str, default: Any) -> Any:
    """``text`` in the type of the library's default."""
    if isinstance(default, bool):
        if text.lower() not in ("true", "false"):
            raise BadSetting(f"kafka: {name} is true or false, not {text!r}")
        return text.lower() == "true"
    if isinstance(default, int | float):
        try:
            return float(text) if isinstance(default, float) and "." in text else int(text)
        except ValueError:
            raise BadSetting(f"kafka: {name} takes a number, not {text!r}") from None
    if default is None or isinstance(default, str):
        return int(text) if text.isdecimal() else text
    raise BadSetting(f"kafka: {name} takes a Python object and cannot be given as a text")


ADAPTER = KafkaAdapter
