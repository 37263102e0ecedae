"""Core NATS: publish(), and a subscription with a queue group."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Sequence
from itertools import islice

import nats.errors
from nats.aio.msg import Msg

from adapters.base import Batch, Block, Event, Wiring
from adapters.errors import Refused, Unreachable, Unsupported
from adapters.nats_link import Link
from adapters.options import Value

PAYLOAD_BYTES_MAX = 1 << 20  # the server's max_payload, unless it is set otherwise
FRAME_BYTES = 256  # what a message takes of the client's buffer besides its payload: two subjects and two numbers

# subscribe()'s own parameters and defaults.
SUBSCRIBE: dict[str, Value] = {"pending_msgs_limit": 512 << 10, "pending_bytes_limit": 128 << 20}


class CoreProducer:
    """publish() of nats-py, as long as its buffer has room."""

    def __init__(self, link: Link, wiring: Wiring) -> None:
        self._link = link
        self._subjects: Sequence[str] = wiring["subjects"]
        self._bytes = 1024  # of the largest message so far

    def ready(self, timeout_s: float) -> bool:
        """Whether the server answers a PING."""
        if not self._link.up:
            self._link.serve(timeout_s)
            return False
        with contextlib.suppress(nats.errors.Error, OSError):
            self._link.run(self._link.client.flush(max(timeout_s, 0.01)))  # type: ignore[arg-type]  # it says int, and takes seconds
            return True
        return False

    def room(self) -> int:
        """What the client's buffer has room for; nothing while there is no connection."""
        if not self._link.up:
            return 0
        left = self._link.settings["pending_size"] - self._link.client.pending_data_size
        return max(0, int(left) // (self._bytes + FRAME_BYTES))

    def send(self, block: Block, lo: int, hi: int, timeout_s: float, group: int = -1) -> int:
        """Publishes what there is room for; waits for room. Raises Refused when too long, Unreachable when nats-py has given up."""
        del group
        limit = min(PAYLOAD_BYTES_MAX, self._link.client.max_payload)
        if block.size > limit:
            raise Refused(f"NATS takes at most {limit} bytes (max_payload), not {block.size}")
        if self._link.closed or self._link.client.is_closed:
            raise Unreachable(f"nats: the connection is closed ({self._link.client.last_error})")
        self._bytes = max(self._bytes, block.size)
        if timeout_s > 0 and not self.room():
            self._link.serve(timeout_s)
        count = min(hi - lo, self.room())
        if count > 0:
            self._link.run(self._publish(block, lo, lo + count))
        return max(count, 0)

    async def _publish(self, block: Block, lo: int, hi: int) -> None:
        publish, subjects = self._link.client.publish, self._subjects
        for payload, partition in zip(block.messages(lo, hi), islice(block.partitions, lo, hi), strict=True):
            await publish(subjects[partition], payload)
        await asyncio.sleep(0)  # nats-py's own task writes it to the socket

    def pump(self, timeout_s: float) -> None:
        """Lets nats-py work."""
        self._link.serve(timeout_s)

    def flush(self, timeout_s: float) -> int | None:
        """0: nothing is ever told. Waits until the server has all that was published, if it is there (PING, PONG)."""
        if self._link.up:
            self.ready(timeout_s)
        return 0

    def events(self) -> Sequence[Event]:
        """Connections lost and made again, errors."""
        return self._link.events()

    def close(self) -> None:
        """Closes the connection, after what was published has gone out."""
        self._link.close()


class CoreConsumer:
    """A member of a queue group."""

    def __init__(self, link: Link, wiring: Wiring, group: str) -> None:
        self._link = link
        self._buffer: deque[Msg] = deque()
        self._waits = False
        self._free = asyncio.Event()  # not while the application works
        self._told = [Event("assigned")]
        link.run(self._subscribe(wiring, group))

    async def _subscribe(self, wiring: Wiring, group: str) -> None:
        limits = {name: self._link.settings[name] for name in SUBSCRIBE}
        await self._link.client.subscribe(f"{wiring['name']}.*", queue=group, cb=self._arrived, **limits)
        await self._link.client.flush()  # answered after the subscription is in force

    async def _arrived(self, message: Msg) -> None:
        """One after the other: while the application works, those behind it count against nats-py's limits, as with any callback."""
        await self._free.wait()
        self._buffer.append(message)
        if self._waits:
            self._link.stop()

    def poll(self, max_messages: int, timeout_s: float) -> Batch | None:
        """What has arrived, at most max_messages; waits for the first only, and reads no more while some is left."""
        if self._link.closed:
            return None
        self._free.set()
        self._refill()
        if not self._buffer:
            self._waits = True
            self._link.serve(timeout_s)
            self._waits = False
        if not self._buffer:
            return None
        return self._batch([self._buffer.popleft() for _ in range(min(max_messages, len(self._buffer)))])

    def _refill(self) -> None:
        """Nothing: messages come by themselves."""

    def _batch(self, messages: Sequence[Msg]) -> Batch:
        return Batch([message.data for message in messages], count=len(messages))

    def ack(self, batch: Batch, upto: int) -> None:
        """Nothing: core NATS knows no acknowledgements."""

    def settle(self, batch: Batch, index: int, how: str) -> None:
        """Raises Unsupported."""
        raise Unsupported(f"core NATS knows no acknowledgements: message {index} of {batch.count} cannot be settled ({how})")

    def idle(self, seconds: float) -> None:
        """Waits; nats-py goes on reading, and answers the server's PINGs."""
        self._free.clear()
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            self._refill()
            self._link.serve(left_s)

    def events(self) -> Sequence[Event]:
        """ready, assigned (shared), closed, reconnected, ack-failed, error."""
        told, self._told = self._told, []
        return [*self._link.events(), *told]

    def close(self) -> None:
        """Closes the connection."""
        self._link.close()
