"""confluent-kafka as its documentation has it: produce() with one callback for all, consume() in batches, commit() without waiting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, Producer

from bench.overhead.bare.step import Step, payloads

_WAIT_S = 0.001


def _known(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Of the settings in force librdkafka's own: their names have dots; what the adapter says of itself has none, or is one of two."""
    told = ("transactional.id", "output.")
    return {
        name: value for name, value in settings.items() if ("." in name or name in ("acks", "partitioner")) and not name.startswith(told)
    }


def producer(spec: dict[str, Any]) -> Step:
    """As many sends as the adapter's window leaves room for; the partition is given, as the harness gives it without keys."""
    sent = done = 0

    def delivered(_error: object, _message: object) -> None:
        nonlocal done
        done += 1

    servers = ",".join(spec["wiring"]["servers"])
    client = Producer({"bootstrap.servers": servers, "on_delivery": delivered, **_known(spec["settings"])})
    topic, batch = spec["wiring"]["topic"], int(spec["batch"])
    sending = payloads(spec, batch)
    window: int = min(spec["settings"]["window"], spec["window"])
    client.list_topics(topic)

    def step() -> int:
        nonlocal sent
        count = min(batch, window - (sent - done))
        if count <= 0:
            client.poll(_WAIT_S)
            return 0
        for payload in sending[:count]:
            client.produce(topic, payload, None, 0)
        client.poll(0)
        sent += count
        return count

    return step


def consumer(spec: dict[str, Any]) -> Step:
    """One commit under way at a time; joins its group before it says ready."""
    group = next(iter(spec["wiring"]["groups"].values()))
    flying = False

    def committed(_error: object, _partitions: object) -> None:
        nonlocal flying
        flying = False

    servers = ",".join(spec["wiring"]["servers"])
    client = Consumer({"bootstrap.servers": servers, "group.id": group, "on_commit": committed, **_known(spec["settings"])})
    client.subscribe([spec["wiring"]["topic"]])
    batch = int(spec["batch"])
    while not client.assignment():
        client.poll(0.5)

    def step() -> int:
        nonlocal flying
        messages = client.consume(batch, 0)
        if not messages:
            first = client.poll(_WAIT_S)
            if first is None:
                return 0
            messages = [first, *client.consume(batch - 1, 0)]
        values = [message.value() for message in messages]
        if not flying:
            flying = True
            client.commit(message=messages[-1], asynchronous=True)
        return len(values)

    return step
