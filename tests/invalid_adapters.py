"""Adapters that make a trial invalid by one real cause each, for the real runner: what is found must be what they did.

Each is the TCP adapter with one fault in its endpoint's own process. ``t0`` is when a trial's first message came (warm-up included).
"""

import contextlib
import gc
import os
import time
from dataclasses import replace

import bench.consuming
from adapters.base import Event
from adapters.tcp import CAPABILITIES, Tcp

SYSTEMS = ("tcp_trickles", "tcp_sleeps", "tcp_burns", "tcp_fades", "tcp_shifts", "tcp_collects", "tcp_reconnects")
WARMUP_S, MEASURE_S = 0.2, 1.0


class Inner:
    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)


class Consumer(Inner):
    """Knows which trial its messages are of, and since when."""

    trial = 0
    t0 = float("inf")

    def poll(self, max_messages, timeout_s):
        self.before()
        batch = self.inner.poll(max_messages, timeout_s)
        if batch is not None and batch.buffer is not None and len(batch.buffer) >= 64:
            trial = int.from_bytes(batch.buffer[8:12], "little")  # bench.header
            if trial and trial != self.trial:
                self.trial, self.t0 = trial, time.monotonic()
        return batch

    def before(self):
        """What goes wrong before a poll."""


class Stalling(Consumer):
    """Takes nothing from the middle of the window to its end."""

    def before(self):
        since = time.monotonic() - self.t0
        if WARMUP_S + 0.4 < since < WARMUP_S + MEASURE_S:
            time.sleep(WARMUP_S + MEASURE_S + 0.1 - since)


class Fading(Consumer):
    """Looks only every 40 ms at first."""

    def before(self):
        if self.trial and time.monotonic() - self.t0 < WARMUP_S + 0.45 * MEASURE_S:
            time.sleep(0.04)


class Collecting(Consumer):
    """Switches the collector on, and gives it work."""

    def before(self):
        gc.enable()
        self.held = [[] for _ in range(2000)]


class Burning(Consumer):
    """Never waits: asks again and again."""

    def poll(self, max_messages, timeout_s):
        until = time.monotonic() + timeout_s
        while (batch := super().poll(max_messages, 0.0)) is None and time.monotonic() < until:
            pass
        return batch


class Alternating(Consumer):
    """Is slow in every second trial."""

    def before(self):
        if self.trial and self.trial % 2 == 0:
            time.sleep(0.02)


class Reconnecting(Consumer):
    """Says that its connection broke in the trial."""

    told = 0

    def events(self):
        found = list(self.inner.events())
        if self.trial != self.told:
            self.told = self.trial
            found.append(Event("reconnected", detail="by peer"))
        return found


class Oversleeping(Inner):
    """A producer whose client keeps its caller for longer than it was asked to."""

    def pump(self, timeout_s):
        self.inner.pump(timeout_s)
        if timeout_s:
            time.sleep(0.008)


class Invalid(Tcp):
    consumer_class = Consumer

    def __init_subclass__(cls):
        super().__init_subclass__()
        cls.capabilities = replace(CAPABILITIES, system=cls.__name__)

    def consumer(self, wiring, group, member):
        return self.consumer_class(super().consumer(wiring, group, member))


class Trickles(Invalid):
    consumer_class = Stalling


class Fades(Invalid):
    consumer_class = Fading


class Collects(Invalid):
    consumer_class = Collecting


class Reconnects(Invalid):
    consumer_class = Reconnecting


class Alternates(Invalid):
    consumer_class = Alternating


class Burns(Invalid):
    consumer_class = Burning

    def consumer(self, wiring, group, member):
        with contextlib.suppress(PermissionError):  # else a busy machine lets it have less than a core, which is another finding
            os.setpriority(os.PRIO_PROCESS, 0, -15)
        return super().consumer(wiring, group, member)


class Shifts(Invalid):
    """Its consumers' clock is 5 ms behind, as in a time namespace of their own."""

    def consumer(self, wiring, group, member):
        real = bench.consuming.now_ns
        bench.consuming.now_ns = lambda: real() - 5_000_000
        return super().consumer(wiring, group, member)


class Sleeps(Invalid):
    def producer(self, wiring, index, outcomes):
        return Oversleeping(super().producer(wiring, index, outcomes))


class Serves(Invalid):
    """Beside a server whose one thread never rests (test_invalid_trials.BusyServer)."""
