"""tcp and zeromq made slower by a known share: the truth that ``benchmarks.evidence.power`` looks for.

The adapter, its client and the harness's loop stay as they are; at each send() and poll() the process burns what it owes:
``slow`` percent of all the CPU that it used for anything else (client threads and the harness's own work included, waiting
not). So a process that needs c seconds of CPU for a message needs (1 + slow/100) c, and a pair of processes that CPU time
limits (schedule max) moves 1 / (1 + slow/100) of the messages. Whether it did is measured too (power.md, "measured").
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from time import process_time_ns, thread_time_ns
from typing import Any

import adapters
from adapters import AdapterClass
from adapters.base import Adapter, Batch, Block, Consumer, Options, Outcomes, Producer, Wiring
from adapters.capabilities import Capabilities
from adapters.options import typed_settings
from adapters.tcp import CAPABILITIES as TCP
from adapters.zeromq import CAPABILITIES as ZEROMQ

_LEAST_NS = 2_000  # a smaller debt is left for the next call: looking at the clock costs a tenth of it


class Drag:
    """Burns ``share`` of the CPU that this process uses otherwise."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._start_ns = process_time_ns()
        self._burnt_ns = 0

    def pay(self) -> None:
        """Burn what is owed by now. Costs the same two readings of a clock where ``share`` is 0, so that both sides have them."""
        used_ns = process_time_ns() - self._start_ns
        owed_ns = int(self._share * (used_ns - self._burnt_ns)) - self._burnt_ns
        now_ns = start_ns = thread_time_ns()
        if owed_ns < _LEAST_NS:
            return
        while now_ns - start_ns < owed_ns:
            now_ns = thread_time_ns()
        self._burnt_ns += now_ns - start_ns


class SlowedProducer:
    """The producer of another adapter, with a drag on send()."""

    def __init__(self, inner: Producer, drag: Drag) -> None:
        self._send = inner.send
        self._pay = drag.pay
        self.ready, self.room, self.pump = inner.ready, inner.room, inner.pump
        self.flush, self.events, self.close = inner.flush, inner.events, inner.close

    def send(self, block: Block, lo: int, hi: int, timeout_s: float, group: int = -1) -> int:
        """The inner one's answer, after what is owed was burnt."""
        taken = self._send(block, lo, hi, timeout_s, group)
        self._pay()
        return taken


class SlowedConsumer:
    """The consumer of another adapter, with a drag on poll()."""

    def __init__(self, inner: Consumer, drag: Drag) -> None:
        self._poll = inner.poll
        self._pay = drag.pay
        self.ack, self.settle, self.idle = inner.ack, inner.settle, inner.idle
        self.events: Any = inner.events
        self.close = inner.close

    def poll(self, max_messages: int, timeout_s: float) -> Batch | None:
        """The inner one's answer, after what is owed was burnt."""
        batch = self._poll(max_messages, timeout_s)
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

    def producer(self, wiring: Wiring, index: int, outcomes: Outcomes) -> SlowedProducer:
        """The inner one's producer, slowed."""
        return SlowedProducer(self._inner.producer(wiring, index, outcomes), Drag(self._percent / 100))

    def consumer(self, wiring: Wiring, group: str, member: int) -> SlowedConsumer:
        """The inner one's consumer, slowed."""
        return SlowedConsumer(self._inner.consumer(wiring, group, member), Drag(self._percent / 100))

    def effective(self) -> Mapping[str, Mapping[str, Any]]:
        """The inner one's settings, and by how much both sides are slowed."""
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
