"""rstream's Client on an event loop: a frame a batch, confirms in the background; chunks as they come, an offset stored each batch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rstream import schema
from rstream.client import Client
from rstream.constants import OffsetType

from bench.overhead.bare.step import Step, payloads

HEAD = b"\x00\x53\x75\xb0"  # of an AMQP 1.0 message: a data section, whose length follows


def _connected(spec: dict[str, Any]) -> tuple[asyncio.AbstractEventLoop, Client, Callable[[float], None]]:
    """A loop, a client on it, and a bounded turn of the loop."""
    loop = asyncio.new_event_loop()
    host, _, port = spec["wiring"]["servers"][0].rpartition(":")
    client = Client(host, int(port), frame_max=spec["settings"]["frame_max"], heartbeat=spec["settings"]["heartbeat"])

    async def connect() -> None:
        await client.start()
        await client.authenticate("/", "guest", "guest")

    def turn(timeout_s: float) -> None:
        timer = loop.call_later(timeout_s, loop.stop)
        loop.run_forever()
        timer.cancel()

    loop.run_until_complete(connect())
    return loop, client, turn


def producer(spec: dict[str, Any]) -> Step:
    """Publishes as far as the adapter's window of unconfirmed messages goes."""
    loop, client, turn = _connected(spec)
    loop.run_until_complete(client.declare_publisher(spec["wiring"]["streams"][0], None, 0))
    batch, window = int(spec["batch"]), int(min(spec["settings"]["window"], spec["window"]))
    sending = payloads(spec, batch)
    sent = confirmed = 0

    def on_confirm(frame: schema.PublishConfirm) -> None:
        nonlocal confirmed
        confirmed += len(frame.publishing_ids)

    client.add_handler(schema.PublishConfirm, on_confirm, name="0")

    def step() -> int:
        nonlocal sent
        count = min(batch, window - (sent - confirmed))
        writing = None  # asyncio itself holds tasks weakly
        if count > 0:
            bodies = enumerate(sending[:count], sent)
            messages = [schema.Message(number, None, HEAD + len(body).to_bytes(4, "big") + body) for number, body in bodies]
            writing = loop.create_task(client.send_publish_frame(schema.Publish(0, messages=messages)))
            sent += count
        turn(0.0 if count > 0 else 0.001)
        while writing is not None and not writing.done():  # the socket is full
            turn(0.001)
        return max(count, 0)

    return step


def consumer(spec: dict[str, Any]) -> Step:
    """Counts in the handler; stores an offset each batch."""
    loop, client, turn = _connected(spec)
    stream, (group,) = spec["wiring"]["streams"][0], spec["wiring"]["groups"]
    batch, credit = spec["ack_every"], spec["settings"]["initial_credit"]
    offset = seen = stored = 0
    tasks: set[asyncio.Task[None]] = set()

    def start(work: Any) -> None:
        task = loop.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def on_deliver(frame: schema.Deliver) -> None:
        nonlocal offset
        bodies = [body[8:] for body in frame.get_messages()]
        offset = frame.chunk_first_offset + len(bodies)
        start(client.credit(0, 1))

    async def subscribe() -> None:
        client.add_handler(schema.Deliver, on_deliver, name="0")
        await client.run_queue_listener_task(0, on_deliver)
        await client.subscribe(stream, 0, schema.OffsetSpec.from_params(OffsetType.OFFSET, 0), credit)

    loop.run_until_complete(subscribe())

    def step() -> int:
        nonlocal seen, stored
        turn(0.01)
        count, seen = offset - seen, offset
        if offset - stored >= batch or (offset > stored and not count):
            stored = offset
            start(client.store_offset(stream, group, offset - 1))
        return count

    return step
