"""kafka-python as its documentation has it: send() with a callback a message, poll() in batches, commit_async()."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import KafkaTimeoutError

from bench.overhead.bare.step import Step, payloads

_WAIT_S = 0.0005
_ASK_MS = 200


def _known(settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name in defaults and value is not None}


def _await_metadata(client: Any, topic: str) -> None:
    """Ask for the topic's partitions again and again, as the adapter's ready() does: one call waits up to 60 s on one request."""
    patience_ms = client.config["max_block_ms"]
    client.config["max_block_ms"] = _ASK_MS
    while True:
        with contextlib.suppress(KafkaTimeoutError):
            if client.partitions_for(topic):
                break
    client.config["max_block_ms"] = patience_ms


def producer(spec: dict[str, Any]) -> Step:
    """As many sends as the adapter's window leaves room for; the partition is given, as the harness gives it without keys."""
    client = KafkaProducer(bootstrap_servers=spec["wiring"]["servers"], **_known(spec["settings"], KafkaProducer.DEFAULT_CONFIG))
    topic, batch = spec["wiring"]["topic"], int(spec["batch"])
    sending = payloads(spec, batch)
    window: int = min(spec["settings"]["window"], spec["window"])
    sent = done = 0
    _await_metadata(client, topic)

    def confirmed(_result: object) -> None:
        nonlocal done
        done += 1

    def step() -> int:
        nonlocal sent
        count = min(batch, window - (sent - done))
        if count <= 0:
            time.sleep(_WAIT_S)
            return 0
        for payload in sending[:count]:
            future = client.send(topic, payload, None, None, 0)
            future.add_callback(confirmed)
            future.add_errback(confirmed)
        sent += count
        return count

    return step


def consumer(spec: dict[str, Any]) -> Step:
    """One commit under way at a time; joins its group before it says ready."""
    group = next(iter(spec["wiring"]["groups"].values()))
    client = KafkaConsumer(
        spec["wiring"]["topic"],
        bootstrap_servers=spec["wiring"]["servers"],
        group_id=group,
        **_known(spec["settings"], KafkaConsumer.DEFAULT_CONFIG),
    )
    batch, flying = spec["batch"], False
    while not client.assignment():
        client.poll(500)

    def committed(_offsets: object, _result: object) -> None:
        nonlocal flying
        flying = False

    def step() -> int:
        nonlocal flying
        polled = client.poll(10, batch)
        count = 0
        for records in polled.values():
            count += len([record.value for record in records])
        if count and not flying:
            flying = True
            client.commit_async(callback=committed)
        return count

    return step
