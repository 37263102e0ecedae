"""nats-py: publish() in batches, each with a reply subject where JetStream confirms; what comes is counted in callbacks."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from bench.overhead.bare.step import Step, payloads

_WAIT_S = 0.01  # of a step in which nothing can be done


class _Link:
    """A connected client on an event loop that runs in run() and wait()."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.loop = asyncio.new_event_loop()
        self.client = Client()
        self._waits = False
        own = spec["settings"]
        connect = self.client.connect(
            f"nats://{spec['wiring']['servers'][0]}", pending_size=own["pending_size"], ping_interval=own["ping_interval"]
        )
        self.run(connect)

    def run(self, work: Any) -> None:
        self.loop.run_until_complete(work)

    def wait(self) -> None:
        timer = self.loop.call_later(_WAIT_S, self.loop.stop)
        self._waits = True
        self.loop.run_forever()
        self._waits = False
        timer.cancel()

    def came(self) -> None:
        if self._waits:
            self.loop.stop()


def producer(spec: dict[str, Any]) -> Step:
    """A batch a step, as long as the client's buffer and, in JetStream, the window have room."""
    link, subject = _Link(spec), spec["wiring"]["subjects"][0]
    sending = payloads(spec, spec["batch"])
    window = spec["settings"].get("publish_async_max_pending", 0)
    limit = spec["settings"]["pending_size"] - sum(map(len, sending)) - 256 * len(sending)
    inbox = link.client.new_inbox() + "."
    outstanding = number = 0

    async def answered(answer: Msg) -> None:
        nonlocal outstanding
        int(answer.subject[len(inbox) :])
        outstanding -= 1
        link.came()

    async def send() -> None:
        nonlocal outstanding, number
        for payload in sending:
            number += 1
            await link.client.publish(subject, payload, f"{inbox}{number}" if window else "")
        outstanding += len(sending) if window else 0
        await asyncio.sleep(0)  # nats-py's own task writes to the socket

    if window:
        link.run(link.client.subscribe(inbox + "*", cb=answered))

    def step() -> int:
        if link.client.pending_data_size > limit or (window and outstanding + len(sending) > window):
            link.wait()
            return 0
        link.run(send())
        return len(sending)

    return step


def consumer(spec: dict[str, Any]) -> Step:
    """What has come by the end of a wait; in JetStream each is acknowledged, and asked for by requests of fetch_batch."""
    if "fetch_batch" in spec["settings"]:
        return _fetching(spec)
    link, wiring = _Link(spec), spec["wiring"]
    (group,) = wiring["groups"].values()
    came: list[Msg] = []

    async def arrived(message: Msg) -> None:
        came.append(message)
        link.came()

    link.run(link.client.subscribe(f"{wiring['name']}.*", queue=group, cb=arrived))
    link.run(link.client.flush())

    def step() -> int:
        if not came:
            link.wait()
        count = len(came)
        came.clear()
        return count

    return step


def _fetching(spec: dict[str, Any]) -> Step:
    link, wiring = _Link(spec), spec["wiring"]
    (group,) = wiring["groups"].values()
    fetched = spec["settings"]["fetch_batch"]
    request = json.dumps({"batch": fetched, "expires": 30_000_000_000}).encode()
    inbox, asked = link.client.new_inbox(), 0
    came: list[Msg] = []

    async def ask() -> None:
        nonlocal asked
        asked = fetched
        await link.client.publish(f"$JS.API.CONSUMER.MSG.NEXT.{wiring['name']}.{group}", request, inbox)

    async def arrived(message: Msg) -> None:
        nonlocal asked
        if message.reply:  # else the request's time is up
            came.append(message)
            asked -= 1
        if not message.reply or asked <= 0:
            await ask()
        link.came()

    async def acknowledge(messages: list[Msg]) -> None:
        for message in messages:
            await link.client.publish(message.reply, b"+ACK")
        await asyncio.sleep(0)

    link.run(link.client.subscribe(inbox, cb=arrived))
    link.run(ask())

    def step() -> int:
        if not came:
            link.wait()
        taken = came.copy()
        came.clear()
        if taken:
            link.run(acknowledge(taken))
        return len(taken)

    return step
