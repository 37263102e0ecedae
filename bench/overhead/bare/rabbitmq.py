"""pika's SelectConnection: mandatory persistent publishes with confirms in the background; manual acks, one a batch.

`tuned` uses the adapter's own subclass of pika's connection, which writes a batch at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pika
from pika.adapters.select_connection import IOLoop

from adapters.rabbitmq import CoalescingConnection
from bench.overhead.bare.step import Step, payloads


def _connected(spec: dict[str, Any], set_up: Callable[[Any, Callable[[], None]], None]) -> tuple[Any, Any, Callable[[float], None]]:
    """A connection and its channel, once ``set_up`` has called back, and a bounded turn of its loop."""
    loop = IOLoop()
    loop.activate_poller()
    host, _, port = spec["wiring"]["servers"][0].rpartition(":")
    ready: list[Any] = []
    connection = (CoalescingConnection if spec["profile"] == "tuned" else pika.SelectConnection)(
        pika.ConnectionParameters(host=host, port=int(port)),
        on_open_callback=lambda one: one.channel(on_open_callback=lambda channel: set_up(channel, lambda: ready.append(channel))),
        custom_ioloop=loop,
    )

    def turn(timeout_s: float) -> None:
        timer = loop.call_later(timeout_s, lambda: None)
        loop.poll()
        loop.process_timeouts()
        loop.remove_timeout(timer)

    while not ready:
        turn(0.1)
    return connection, ready[0], turn


def producer(spec: dict[str, Any]) -> Step:
    """Publishes as far as the adapter's window of unconfirmed messages goes."""
    low = 0

    def confirmed(frame: Any) -> None:
        nonlocal low
        low = max(low, frame.method.delivery_tag)

    connection, channel, turn = _connected(spec, lambda channel, ready: channel.confirm_delivery(confirmed, callback=lambda _: ready()))
    exchange, batch = spec["wiring"]["exchange"], int(spec["batch"])
    sending = payloads(spec, batch)
    properties = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent.value)
    window, hold = int(min(spec["settings"]["window"], spec["window"])), spec["profile"] == "tuned"
    sent = 0

    def step() -> int:
        nonlocal sent
        count = min(batch, window - (sent - low))
        if count > 0:
            publish = channel.basic_publish
            if hold:
                connection.hold()
            for payload in sending[:count]:
                publish(exchange, "0", payload, properties, True)  # mandatory
            if hold:
                connection.release()
            sent += count
        turn(0.0 if count > 0 else 0.001)
        return max(count, 0)

    return step


def consumer(spec: dict[str, Any]) -> Step:
    """Counts in the callback; acknowledges, multiple, each batch or when there is nothing left to read."""
    queue = next(iter(spec["wiring"]["groups"].values()))["queues"][0]
    tag: int = 0
    acked = 0

    def on_message(_channel: Any, method: Any, _properties: Any, _body: bytes) -> None:
        nonlocal tag
        tag = method.delivery_tag

    def set_up(channel: Any, ready: Callable[[], None]) -> None:
        channel.basic_qos(
            prefetch_count=spec["settings"]["prefetch_count"],
            callback=lambda _: channel.basic_consume(queue, on_message, callback=lambda _: ready()),
        )

    _, channel, turn = _connected(spec, set_up)
    batch, seen = spec["ack_every"], 0

    def step() -> int:
        nonlocal acked, seen
        turn(0.01)
        count, seen = tag - seen, tag
        if tag - acked >= batch or (tag > acked and not count):
            channel.basic_ack(tag, multiple=True)
            acked = tag
        return count

    return step
