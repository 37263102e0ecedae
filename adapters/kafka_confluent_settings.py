"""Settings of Kafka's clients by name: what kafka-python calls one thing and librdkafka (confluent-kafka) another, with both defaults.

A SPEC may use either name: ``linger_ms=5`` and ``linger.ms=5`` are the same setting of ``client=confluent-kafka``, so one list of
settings does for both clients. What differs where nobody sets it is data here too (``DEFAULTS``): docs/kafka-clients.md is made of it, and
tests/integration/test_kafka_confluent_adapter.py holds both columns against the libraries.
Source: https://docs.confluent.io/platform/current/clients/librdkafka/html/md_CONFIGURATION.html (librdkafka 2.16),
https://kafka-python.readthedocs.io/en/master/apidoc/KafkaProducer.html (kafka-python 3.0)
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.base import Options
from adapters.errors import BadSetting
from adapters.kafka_copies import usual_factor

Default = bool | int | str | None


@dataclass(frozen=True)
class Setting:
    """One setting of both clients."""

    name: str  # kafka-python's
    other: str  # librdkafka's
    sides: str  # "producer", "consumer" or "both"
    default: Default  # kafka-python's; None = the library's or the system's choice
    other_default: Default


SETTINGS: tuple[Setting, ...] = (
    Setting("acks", "acks", "producer", -1, -1),
    Setting("enable_idempotence", "enable.idempotence", "producer", True, False),
    Setting("linger_ms", "linger.ms", "producer", 0, 5),
    Setting("batch_size", "batch.size", "producer", 16384, 1_000_000),
    Setting("max_request_size", "message.max.bytes", "producer", 1_048_576, 1_000_000),
    Setting("compression_type", "compression.type", "producer", None, "none"),
    Setting("delivery_timeout_ms", "delivery.timeout.ms", "producer", 120_000, 300_000),
    Setting("request_timeout_ms", "request.timeout.ms", "producer", 30_000, 30_000),
    Setting("transaction_timeout_ms", "transaction.timeout.ms", "producer", 60_000, 60_000),
    Setting("max_in_flight_requests_per_connection", "max.in.flight.requests.per.connection", "both", 5, 1_000_000),
    Setting("retry_backoff_ms", "retry.backoff.ms", "both", 100, 100),
    Setting("reconnect_backoff_ms", "reconnect.backoff.ms", "both", 50, 100),
    Setting("reconnect_backoff_max_ms", "reconnect.backoff.max.ms", "both", 30_000, 10_000),
    Setting("connections_max_idle_ms", "connections.max.idle.ms", "both", 540_000, 0),
    Setting("metadata_max_age_ms", "topic.metadata.refresh.interval.ms", "both", 300_000, 300_000),
    Setting("send_buffer_bytes", "socket.send.buffer.bytes", "both", None, 0),
    Setting("receive_buffer_bytes", "socket.receive.buffer.bytes", "both", None, 0),
    Setting("session_timeout_ms", "session.timeout.ms", "consumer", 45_000, 45_000),
    Setting("heartbeat_interval_ms", "heartbeat.interval.ms", "consumer", 3000, 3000),
    Setting("max_poll_interval_ms", "max.poll.interval.ms", "consumer", 300_000, 300_000),
    Setting("isolation_level", "isolation.level", "consumer", "read_uncommitted", "read_committed"),
    Setting("fetch_min_bytes", "fetch.min.bytes", "consumer", 1, 1),
    Setting("fetch_max_wait_ms", "fetch.wait.max.ms", "consumer", 500, 500),
    Setting("fetch_max_bytes", "fetch.max.bytes", "consumer", 52_428_800, 52_428_800),
    Setting("max_partition_fetch_bytes", "max.partition.fetch.bytes", "consumer", 1_048_576, 1_048_576),
    Setting("check_crcs", "check.crcs", "consumer", True, False),
)
"""``request_timeout_ms`` of kafka-python's consumer has no equal: librdkafka's socket.timeout.ms is of all requests."""

ONLY_HERE: Mapping[str, tuple[str, Default]] = {
    "queue.buffering.max.messages": ("producer", 100_000),
    "queue.buffering.max.kbytes": ("producer", 1_048_576),
    "batch.num.messages": ("producer", 10_000),
    "partitioner": ("producer", "consistent_random"),
    "socket.timeout.ms": ("both", 60_000),
    "queued.min.messages": ("consumer", 100_000),
    "queued.max.messages.kbytes": ("consumer", 65_536),
    "fetch.queue.backoff.ms": ("consumer", 1000),
    "group.protocol": ("consumer", "classic"),
    "enable.auto.commit": ("consumer", True),
    "enable.auto.offset.store": ("consumer", True),
    "auto.offset.reset": ("consumer", "largest"),
    "allow.auto.create.topics": ("consumer", False),
    "partition.assignment.strategy": ("consumer", "range,roundrobin"),
}
"""librdkafka's own that decide what is measured, with its defaults, by side."""

_NAMES = {setting.name: setting for setting in SETTINGS}
_OTHERS = {setting.other: setting for setting in SETTINGS}
_ALIASES = {
    "queue.buffering.max.ms": "linger.ms",
    "message.timeout.ms": "delivery.timeout.ms",
    "compression.codec": "compression.type",
    "fetch.message.max.bytes": "max.partition.fetch.bytes",
    "request.required.acks": "acks",
    "max.in.flight": "max.in.flight.requests.per.connection",
}
# What the harness or the mode decides, by librdkafka's name.
_FIXED: Mapping[str, str] = {
    "bootstrap.servers": "the server is named by server=",
    "metadata.broker.list": "the server is named by server=",
    "acks": "the mode decides it",
    "enable.idempotence": "the mode decides it: acks-all has it, acks-all-plain has not",
    "isolation.level": "the mode decides it: transactional and consume-process-produce read what is committed",
    "enable.auto.commit": "the mode decides when offsets are committed, and the adapter does it",
    "enable.auto.offset.store": "what was not acknowledged must not be committed",
    "group.id": "each consumer group of the scenario has its own",
    "transactional.id": "the mode decides it: with transactions, each producer, or each consumer that produces, has its own",
    "auto.offset.reset": "a new group must read from the first message",
    "partitioner": "keys must go where Kafka's own partitioner puts them: murmur2_random",
    "delivery.report.only.error": "every message has its outcome",
    "produce.offset.report": "it is of an older librdkafka",
}
OURS: Mapping[str, int] = {"window": 10_000, "replication_factor": 1, "min_insync_replicas": 1}
PRODUCER, CONSUMER = "producer", "consumer"


@dataclass(frozen=True)
class Given:
    """A variant's settings, by librdkafka's names: ours, the producer's, the consumer's; what stands in no table here goes to both."""

    ours: dict[str, int]
    producer: dict[str, Any]
    consumer: dict[str, Any]


def given(options: Options) -> Given:
    """Read a variant's settings. Raises BadSetting for what is decided elsewhere, named twice, or has no equal here."""
    found = Given({"window": OURS["window"], "replication_factor": usual_factor(options.server)}, {}, {})
    seen: dict[str, str] = {}
    for name, text in options.settings.items():
        if name in OURS:
            found.ours[name] = _whole(name, str(text), 1)
            continue
        other, value = _renamed(name), str(text)
        if other in _FIXED:
            raise BadSetting(f"confluent-kafka: {name} cannot be set: {_FIXED[other]}")
        if other in seen:
            raise BadSetting(f"confluent-kafka: {seen[other]} and {name} are the same setting; give one of them")
        seen[other] = name
        sides = _sides(other)
        if sides != CONSUMER:
            found.producer[other] = value
        if sides != PRODUCER:
            found.consumer[other] = value
    return found


def _renamed(name: str) -> str:
    """Librdkafka's name of a setting by either name."""
    if name in _NAMES:
        return _NAMES[name].other
    dotted = _ALIASES.get(name, name)
    if "." in dotted or dotted in ("partitioner", "retries"):
        return dotted
    near = difflib.get_close_matches(name, [*_NAMES, *OURS, *(each.replace(".", "_") for each in ONLY_HERE)], n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    raise BadSetting(
        f"confluent-kafka has no setting {name!r}{hint} The names are librdkafka's (linger.ms), or kafka-python's where both have it"
    )


def _sides(other: str) -> str:
    """Whose setting it is, by librdkafka's name."""
    return _OTHERS[other].sides if other in _OTHERS else ONLY_HERE.get(other, ("both",))[0]


def _whole(name: str, text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        raise BadSetting(f"confluent-kafka: {name} takes a whole number, not {text!r}") from None
    if number < least:
        raise BadSetting(f"confluent-kafka: {name} = {text} is too small; at least {least}")
    return number


def translated(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Kafka-python's settings of a mode (adapters/kafka_modes.py) by librdkafka's names."""
    return {_NAMES[name].other: value for name, value in settings.items()}


def in_force(side: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """``settings`` of a side with librdkafka's defaults below them, each in the type of its default."""
    found: dict[str, Any] = {each.other: each.other_default for each in SETTINGS if each.sides in (side, "both")}
    found |= {name: default for name, (whose, default) in ONLY_HERE.items() if whose in (side, "both")}
    for name, value in settings.items():
        found[name] = _typed(value, found.get(name))
    return found


def _typed(value: Any, default: Default) -> Any:
    """A text as a number or a truth, where the default is one: librdkafka has taken it by now."""
    if not isinstance(value, str):
        return value
    if isinstance(default, bool):
        return value.lower() in ("true", "t", "1")
    return int(value) if isinstance(default, int) and value.lstrip("-").isdecimal() else value


def differing() -> list[Setting]:
    """The settings of both clients whose defaults are not the same, in the order of the table."""
    return [each for each in SETTINGS if each.default != each.other_default and (each.default, each.other_default) not in _SAME]


_SAME = ((None, "none"), (None, 0))  # the same, said in two ways
