"""tcp and zeromq made slower by a known share: the truth that ``benchmarks.evidence.power`` looks for.

The adapter, its client and the harness's loop stay as they are; but once in each 50 ms of the clock that all processes share, at its
first send() or poll() there, each endpoint burns CPU for 50 ms * s / (1 + s) and does nothing else. So all of a variant stands still
together for that share of the time and is itself for the rest: its rate at full speed is 1 / (1 + s) of what it was. CPU a message
grows too, by 1 + s where a process has nothing to wait for, by more where it has.

Burning a share of every call instead was tried, and changes more than the speed: queues fill, and threads that would have been awake
have to be woken. Where others use the cores, pauses cost more than they should too (what burns CPU loses its turn). So whether it came
out as it should is measured in each evidence, and printed: power.md.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from time import perf_counter_ns
from typing import Any

import adapters
from adapters import AdapterClass
from adapters.base import Adapter, Batch, Block, Consumer, Options, Outcomes, Producer, Wiring
from adapters.capabilities import Capabilities
from adapters.options import typed_settings
from adapters.tcp import CAPABILITIES as TCP
from adapters.zeromq import CAPABILITIES as ZEROMQ

PERIOD_NS = 50_000_000  # a window of half a second has ten of them; a send() or poll() of 256 messages takes a hundredth of one


class Drag:
    """Keeps this process from its work for ``share`` / (1 + ``share``) of the time."""

    def __init__(self, share: float) -> None:
        self._pause_ns = round(PERIOD_NS * share / (1 + share))
        self._paid = perf_counter_ns() // PERIOD_NS

    def pay(self) -> None:
        """Burn this period's pause, if it has not been. Reads the clock as often where ``share`` is 0, so that both sides do."""
        now_ns = perf_counter_ns()
        period = now_ns // PERIOD_NS
        if period == self._paid:
            return
        self._paid = period
        end_ns = now_ns + self._pause_ns
        while now_ns < end_ns:
            now_ns = perf_counter_ns()


class SlowedProducer:
    """The producer of another adapter, with a drag on send()."""

    def __init__(self, inner: Producer, drag: Drag) -> None:
        self._send = inner.send
        self._pay = drag.pay
        self.ready, self.room, self.pump = inner.ready, inner.room, inner.pump
        self.flush, self.events, self.close = inner.flush, inner.events, inner.close

    def send(self, block: Block, lo: int, hi: int, timeout_s: float, group: int = -1) -> int:
        """The inner one's answer, after the pause where one is due."""
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
        """The inner one's answer, after the pause where one is due."""
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
