"""Adapters that break one promise each, for the real runner: what their audit says must be what they did, to the message.

Each is the TCP adapter with one fault at known ids: one message in five thousand, the first of which is number 2,499 of the trial.
"""

import socket
from collections import deque
from dataclasses import replace
from itertools import count
from typing import ClassVar

from adapters.base import Status
from adapters.capabilities import Delivery
from adapters.options import choose_mode
from adapters.ports import LOOPBACK
from adapters.tcp import CAPABILITIES, Tcp

EVERY, AT = 5_000, 2_499
TAIL = 3  # messages that a close forgets
CANARIES = 1 << 48  # bench.producing.CANARY_ID: the harness's own, which pass untouched
SYSTEMS = ("drops", "repeats", "swaps", "flips", "boasts", "denies", "curtails", "reconnects", "taken", "refuses", "crashes")


def wrong_ids(planned):
    """How many of a first trial's messages are met."""
    return len(range(AT, planned, EVERY))


class Copy:
    """A block of one row that stays as it was when the harness goes on to its next one."""

    count = 1
    keys = None
    sizes = None

    def __init__(self, block, row, payload=None):
        self.first_id = block.first_id + row
        self.size = block.size
        self.partitions = [block.partitions[row]]
        self.payload = block.messages(row, row + 1)[0] if payload is None else payload

    def messages(self, lo, hi):
        return [self.payload][lo:hi]

    def raw(self, lo, hi):
        return memoryview(self.payload)[lo * self.size : hi * self.size]


class WrongProducer:
    """Sends rows as they are up to the next wrong id, which meet() deals with."""

    def __init__(self, inner, outcomes):
        self.inner = inner
        self.outcomes = outcomes

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def send(self, block, lo, hi, timeout_s, group=-1):
        if block.first_id >= CANARIES:
            return self.inner.send(block, lo, hi, timeout_s, group)
        at = lo
        while at < hi:
            stop = min(hi, at + (AT - block.first_id - at) % EVERY)
            if at < stop:
                sent = self.whole(block, at, stop, timeout_s, group)
                at += sent
                if at < stop:
                    break
            else:
                self.meet(block, at, group)
                at += 1
        return at - lo

    def whole(self, block, lo, hi, timeout_s, group):
        return self.inner.send(block, lo, hi, timeout_s, group)

    def surely(self, block, row, group):
        """One row, waited for."""
        while not self.inner.send(block, row, row + 1, 0.1, group):
            self.inner.pump(0.001)

    def meet(self, block, row, group):
        raise NotImplementedError


class DroppingProducer(WrongProducer):
    def meet(self, block, row, group):
        pass


class RepeatingProducer(WrongProducer):
    def meet(self, block, row, group):
        self.surely(block, row, group)
        self.surely(block, row, group)


class FlippingProducer(WrongProducer):
    """Turns one bit: in the body, in the header, in turn."""

    bits = count()

    def meet(self, block, row, group):
        payload = bytearray(block.messages(row, row + 1)[0])
        where = (100, 30, 60)[next(self.bits) % 3]
        payload[where] ^= 1 << where % 8
        self.surely(Copy(block, row, bytes(payload)), 0, group)


class SwappingProducer(WrongProducer):
    """Holds one message back until the next one has gone."""

    def __init__(self, inner, outcomes):
        super().__init__(inner, outcomes)
        self.held = {}

    def meet(self, block, row, group):
        self.held[group] = Copy(block, row)

    def whole(self, block, lo, hi, timeout_s, group):
        held = self.held.pop(group, None)
        if held is None:
            return super().whole(block, lo, hi, timeout_s, group)
        self.surely(block, lo, group)
        self.surely(held, 0, group)
        return 1 + super().whole(block, lo + 1, hi, timeout_s, group)


class BoastingProducer(WrongProducer):
    """Confirms each message before it is sent, and never sends some."""

    def send(self, block, lo, hi, timeout_s, group=-1):
        taken = super().send(block, lo, hi, timeout_s, group)
        if block.first_id < CANARIES:
            self.outcomes.run(block.first_id + lo, taken, Status.CONFIRMED, group)
        return taken

    def meet(self, block, row, group):
        pass


class DenyingProducer(WrongProducer):
    """Reports some as failed that it did send."""

    def whole(self, block, lo, hi, timeout_s, group):
        sent = super().whole(block, lo, hi, timeout_s, group)
        if sent:
            self.outcomes.run(block.first_id + lo, sent, Status.CONFIRMED, group)
        return sent

    def meet(self, block, row, group):
        self.surely(block, row, group)
        self.outcomes.run(block.first_id + row, 1, Status.FAILED, group)


class CurtailingProducer(WrongProducer):
    """Keeps the last messages back until others follow: those that none follows are lost when it ends, and nobody is told."""

    def __init__(self, inner, outcomes):
        super().__init__(inner, outcomes)
        self.held = {}

    def send(self, block, lo, hi, timeout_s, group=-1):
        if block.first_id >= CANARIES:
            return self.inner.send(block, lo, hi, timeout_s, group)
        held = self.held.setdefault(group, deque())
        for row in range(lo, hi):
            held.append(Copy(block, row))
            if len(held) > TAIL:
                self.surely(held.popleft(), 0, group)
        return hi - lo


class ReconnectingProducer(WrongProducer):
    """Connects anew now and then, loses a message by it, and says nothing."""

    def __init__(self, inner, outcomes):
        super().__init__(inner, outcomes)
        self.again = None  # makes another connection
        self.silent = False

    def meet(self, block, row, group):
        if group:  # once for all groups: a connection to each is made
            return
        self.inner.flush(1.0)
        self.inner.close()
        self.inner = self.again()
        self.silent = True
        while not self.inner.ready(1.0):
            pass

    def events(self):
        return [] if self.silent else self.inner.events()


class CrashingProducer(WrongProducer):
    """A bug of an adapter: neither an adapter's error nor a system's."""

    def meet(self, block, row, group):
        raise ZeroDivisionError("a bug of this adapter")


class Wrong:
    """TCP that claims one of three promises, as the variant's mode says; its producer is another one."""

    capabilities = replace(
        CAPABILITIES,
        system="Wrong",
        modes=tuple(
            replace(CAPABILITIES.modes[0], name=name, delivery=delivery)
            for name, delivery in (("none", Delivery.NONE), ("once", Delivery.AT_MOST_ONCE), ("sure", Delivery.AT_LEAST_ONCE))
        ),
    )
    producer_class: ClassVar = WrongProducer

    def __init_subclass__(cls):
        super().__init_subclass__()
        cls.capabilities = replace(cls.capabilities, system=cls.__name__)

    def __init__(self, options):
        self.mode = choose_mode(self.capabilities, options)
        self.inner = Tcp(replace(options, mode=""))

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def producer(self, wiring, index, outcomes):
        return self.producer_class(self.inner.producer(wiring, index, outcomes), outcomes)


class Drops(Wrong):
    producer_class = DroppingProducer


class Repeats(Wrong):
    producer_class = RepeatingProducer


class Swaps(Wrong):
    producer_class = SwappingProducer


class Flips(Wrong):
    producer_class = FlippingProducer


class Boasts(Wrong):
    capabilities = replace(Wrong.capabilities, confirms=True)
    producer_class = BoastingProducer


class Denies(Wrong):
    capabilities = replace(Wrong.capabilities, confirms=True)
    producer_class = DenyingProducer


class Curtails(Wrong):
    producer_class = CurtailingProducer


class Reconnects(Wrong):
    producer_class = ReconnectingProducer

    def producer(self, wiring, index, outcomes):
        made = super().producer(wiring, index, outcomes)
        made.again = lambda: self.inner.producer(wiring, index, outcomes)
        return made


class Crashes(Wrong):
    producer_class = CrashingProducer


class Taken(Tcp):
    """Somebody else listens on the port that its first consumer is given."""

    def wire(self, topology, run_id):
        wiring = super().wire(topology, run_id)
        self.somebody = socket.create_server((LOOPBACK, wiring["groups"][0]["members"][0][1]))
        return wiring


class Refuses(Tcp):
    """Raises what no adapter should, at the runner's own call."""

    def prepare(self, wiring):
        raise RuntimeError("a bug of this adapter, in prepare()")


def distribution(folder):
    """Makes ``folder`` an installed distribution that registers the wrong ones; to be put on PYTHONPATH with tests/."""
    info = folder / "wrong_adapters-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: wrong-adapters\nVersion: 0.1\n")
    points = "".join(f"{name} = wrong_adapters:{name.capitalize()}\n" for name in SYSTEMS)
    (info / "entry_points.txt").write_text(f"[brokerbench.adapters]\n{points}")
    return folder
