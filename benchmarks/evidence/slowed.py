"""tcp and zeromq with a consumer that works, and is slower by a known share: the truth that ``benchmarks.evidence.power`` looks for.

The adapter, its client and the harness's loop stay as they are. In both sides of a comparison the consumer does a fixed piece of work for
each message that poll() returned (a check sum of ``WORK`` bytes: more than everything else costs), so that it is what limits the rate and
never waits. The slowed one then burns ``s`` of the CPU time that its thread has used since it last did so: its own work, the client, the
harness. So it needs 1 + s of the CPU for each message, and delivers 1 / (1 + s) of the rate.

Two other ways were tried and do not slow what is measured. Pauses of all endpoints at once, s / (1 + s) of every 50 ms: without the work
neither endpoint is busy (over tcp they use 1.3 of 2 cores, each waiting for the other in turn), and what a pause took is made up for after
it, when the buffers are full; the rate stayed at 0.98-1.02. Burning a share of every send() and poll() as they are: queues fill, threads
that would have been awake have to be woken, and it changes more than the speed. What it came to is measured and printed (power.md).

No socket buffers are set: 200,000 bytes of each, given to ZeroMQ, made a connection with a busy consumer stall (81-273 k/s, without 276).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from time import thread_time_ns
from typing import Any
from zlib import crc32

import adapters
from adapters import AdapterClass
from adapters.base import Adapter, Batch, Consumer, Options, Outcomes, Producer, Wiring
from adapters.capabilities import Capabilities
from adapters.options import typed_settings
from adapters.tcp import CAPABILITIES as TCP
from adapters.zeromq import CAPABILITIES as ZEROMQ

WORK: Mapping[str, int] = {"tcp": 5_000, "zeromq": 15_000}
"""Bytes whose check sum is computed for each message: about 1 and 3 us, several times what the rest of a receive costs."""


class Drag:
    """Makes its thread slower: each pay() burns ``share`` of the CPU that the thread has used since the last."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._paid_ns = thread_time_ns()

    def pay(self) -> None:
        """Burn. Reads the clock as often as it can be where ``share`` is 0: at least twice, so that both sides pay for that."""
        used_ns = thread_time_ns()
        end_ns = used_ns + int((used_ns - self._paid_ns) * self._share)
        while True:
            self._paid_ns = thread_time_ns()
            if self._paid_ns >= end_ns:
                return


class SlowedConsumer:
    """The consumer of another adapter, with work of ``work`` bytes a message and a drag on poll()."""

    def __init__(self, inner: Consumer, drag: Drag, work: int) -> None:
        self._poll = inner.poll
        self._pay = drag.pay
        self._data = bytes(work)
        self.ack, self.settle, self.idle = inner.ack, inner.settle, inner.idle
        self.events: Any = inner.events
        self.close = inner.close

    def poll(self, max_messages: int, timeout_s: float) -> Batch | None:
        """The inner one's answer, after the work on it. Where nothing came, what that cost is paid for with the next batch."""
        batch = self._poll(max_messages, timeout_s)
        if batch is not None:
            data = self._data
            for _ in range(batch.count):
                crc32(data)
            self._pay()
        return batch


class _Slowed:
    """An adapter of ``_system`` with one setting more: ``slow``, percent."""

    _system = ""
    capabilities: Capabilities

    def __init__(self, options: Options) -> None:
        own = {name: value for name, value in options.settings.items() if name == "slow"}
        read = typed_settings(f"{self._system}_slowed", dataclasses.replace(options, settings=own), {"slow": 0.0}, {"slow": (0.0, 1000.0)})
        self._percent = float(read["slow"])
        rest = {name: value for name, value in options.settings.items() if name != "slow"}
        self._inner: Adapter = adapters.load(self._system)(dataclasses.replace(options, settings=rest))
        self.mode = self._inner.mode
        self.wire, self.prepare, self.cleanup = self._inner.wire, self._inner.prepare, self._inner.cleanup

    def producer(self, wiring: Wiring, index: int, outcomes: Outcomes) -> Producer:
        """The inner one's producer, as it is."""
        return self._inner.producer(wiring, index, outcomes)

    def consumer(self, wiring: Wiring, group: str, member: int) -> SlowedConsumer:
        """The inner one's consumer, slowed."""
        return SlowedConsumer(self._inner.consumer(wiring, group, member), Drag(self._percent / 100), WORK[self._system])

    def effective(self) -> Mapping[str, Mapping[str, Any]]:
        """The inner one's settings, and by how much the consumer is slowed."""
        return {side: {**settings, "slow": self._percent} for side, settings in self._inner.effective().items()}


class SlowedTcp(_Slowed):
    """Raw TCP, slowed."""

    _system = "tcp"
    capabilities = TCP


class SlowedZeroMq(_Slowed):
    """ZeroMQ, slowed."""

    _system = "zeromq"
    capabilities = ZEROMQ


_CLASSES: Mapping[str, AdapterClass] = {"tcp_slowed": SlowedTcp, "zeromq_slowed": SlowedZeroMq}


def register() -> None:
    """Make both known to this process, as ``tcp_slowed`` and ``zeromq_slowed``. Idempotent."""
    for name in _CLASSES.keys() - set(adapters.names()):
        adapters.register(name, _CLASSES[name])
