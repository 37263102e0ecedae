"""A consumer that works on each message, as an application does: received, worked on, processed, acknowledged, one after another.

Each of these is journalled (the plain loop of bench.consuming journals PROCESSED alone, which implies RECEIVED): who is killed in
between leaves evidence of what it held. Latency here is until a message is *processed*, so it holds the work and the wait behind the
messages of the same poll. What the client needs meanwhile (heartbeats, leases) is Consumer.idle's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from adapters.base import Batch, Consumer
from adapters.capabilities import Capabilities
from bench import header
from bench.account import K_AND_CHECK, Account, cut
from bench.clock import now_ns
from bench.consuming import POLL_S, TURN_NS, ConsumerLoop, untapped
from bench.journal import FEW, Kind, Row, Writer
from bench.payload import HEAD
from bench.workload import Workload

_CHUNK_NS = 5_000_000
"""Messages are worked on one by one, waited for and journalled together up to so much work: a sleep of 100 us takes 160."""
_IDLE_NS = 5_000_000  # how long a turn of an idle endpoint works, where a trial has left it some


def wanted(workload: Workload, capabilities: Capabilities) -> bool:
    """Say whether a consumer of this workload receives and processes apart."""
    slowed = any(fault.kind == "slow" for fault in workload.faults)
    return bool(workload.processing_s) or slowed or (capabilities.acks and capabilities.ack_first)


class WorkingLoop(ConsumerLoop):
    """Serves one member of a group whose messages take time. ``processing_s`` may change at any time (fault: slow)."""

    def __init__(
        self, consumer: Consumer, capabilities: Capabilities, writer: Writer, workload: Workload, *,
        run: int, group: int, name: str, member: int, tap: Callable[[Account], Account] = untapped,
    ) -> None:  # fmt: skip
        self.processing_s = 0.0
        self._held: Batch | None = None  # received, not all of it processed
        self._rows: Sequence[bytes] = ()  # its messages
        self._heads = np.empty(0, dtype=header.DTYPE)
        self._done = 0  # of them processed
        self._chunk_end = 0  # what is being worked on: up to this message, until this time
        self._until_ns = 0
        self._worked: tuple[Batch, int] | None = None  # what the next acknowledgement names
        self._unacked: list[NDArray[np.void]] = []  # headers of what it is about
        super().__init__(consumer, capabilities, writer, workload, run=run, group=group, name=name, member=member, tap=tap)

    def prepare(self, workload: Workload, trial: int) -> None:
        """Account from now on for ``trial``; what is held of the one before is worked on all the same."""
        super().prepare(workload, trial)
        self.processing_s = workload.processing_s[self._group] if trial and workload.processing_s else 0.0  # canaries are no work
        self._every_ns = int(workload.ack_interval_s * 1e9)

    def turn(self, wait_s: float = POLL_S) -> None:
        """Poll where nothing is held, else work on what is; for at most a turn."""
        now = now_ns()
        until = now + (TURN_NS if wait_s else _IDLE_NS)
        polled = False
        while now < until:
            self._meter.turn(now)
            if self._held is not None:
                self._work(min(until, now + TURN_NS))
            elif polled and not wait_s:
                return
            else:
                self._receive(wait_s)
                polled = True
            now = now_ns()

    def finish(self) -> bool:
        """Work on what is held for at most a turn, polling no more; True when there is nothing left to do: a consumer leaves so."""
        if self._held is not None:
            self._work(now_ns() + TURN_NS)
        if self._held is None and self._unacked:
            self._acknowledge()
        return self._held is None

    def flush(self) -> None:
        """Nothing: what is held was not worked on, and stays so; all that was is accounted."""
        self._meter.turn(now_ns())

    def _receive(self, wait_s: float) -> None:
        if self._unacked:
            wait_s = min(wait_s, max(0.0, (self._oldest_ns + self._every_ns - now_ns()) / 1e9))
        batch = self._consumer.poll(self._workload.batch, wait_s)
        now = now_ns()
        if batch is None or not (batch.payloads or batch.count):
            if self._unacked and now - self._oldest_ns >= self._every_ns:
                self._acknowledge()
            return
        rows = batch.payloads if batch.payloads is not None else _rows(batch)
        self._held, self._rows, self._heads = batch, rows, heads_of(rows)
        self._done = self._chunk_end = 0
        self._journal(Kind.RECEIVED, self._heads, now)
        if self._capabilities.acks and self._capabilities.ack_first:
            self._worked, self._unacked = (batch, len(rows)), [self._heads]
            self._acknowledge()

    def _work(self, until_ns: int) -> None:
        """Work until ``until_ns``, or until the chunk is done: then account it, and acknowledge when the cadence says so."""
        work_ns = int(self.processing_s * 1e9)
        if self._chunk_end <= self._done:
            n = max(1, _CHUNK_NS // work_ns) if work_ns else len(self._rows)
            self._chunk_end = min(self._done + n, len(self._rows))
            self._until_ns = now_ns() + work_ns * (self._chunk_end - self._done)
        while (now := now_ns()) < min(self._until_ns, until_ns):
            self._consumer.idle((min(self._until_ns, until_ns) - now) / 1e9)
        if now >= self._until_ns:
            self._finish(now)

    def _finish(self, now: int) -> None:
        """Account the chunk; the time of its journal record is that of its last message."""
        batch, lo, hi = self._held, self._done, self._chunk_end
        assert batch is not None
        redelivered = None if batch.redelivered is None else batch.redelivered[lo:hi]
        positions = None if batch.positions is None else batch.positions[lo:hi]
        self.account.take(Batch(payloads=self._rows[lo:hi], count=hi - lo, redelivered=redelivered, positions=positions), now)
        self.account.settle()
        if self._capabilities.acks and not self._capabilities.ack_first:
            if not self._unacked:
                self._oldest_ns = now
            self._worked = batch, hi
            self._unacked.append(self._heads[lo:hi])
            due = sum(map(len, self._unacked)) >= self._workload.ack_every or now - self._oldest_ns >= self._every_ns
            if due or (self._capabilities.in_step and hi == len(self._rows)):
                self._acknowledge()
        self._done = hi
        if hi == len(self._rows):
            self._held = None

    def _acknowledge(self) -> None:
        """Acknowledge all that was processed (of ack_first: received)."""
        assert self._worked is not None
        batch, upto = self._worked
        if self._consumer.ack(batch, upto) is not False:
            self._journal(Kind.ACKED, np.concatenate(self._unacked), now_ns())
        elif self._capabilities.ack_first or self._capabilities.judged_on_outputs:
            self._held = None  # it comes again: processed now, it could be processed twice, or in vain
        self._unacked = []

    def _journal(self, kind: Kind, heads: NDArray[np.void], t: int) -> None:
        """Write what is sound and of this trial: others are told apart when they are processed."""
        mine = (heads["trial"] == self.account.trial) & (heads["run"] == self._run) & (heads["magic"] == header.MAGIC)
        mine &= heads["flags"] & header.CANARY == 0
        mine &= heads.view("<u8").reshape(-1, 8) @ K_AND_CHECK == 0
        heads = heads[mine]
        if len(heads) > FEW:
            self._writer.batch(kind, heads, trial=self.account.trial, group=self._group, t_first=t, t_last=t)
        elif len(heads):
            names = ["producer", "epoch", "lane", "attempt", "flags", "sequence"]
            rows: list[Row] = heads[names].tolist()
            self._writer.few(kind, rows, trial=self.account.trial, group=self._group, t=t)


def _rows(batch: Batch) -> list[bytes]:
    """The messages of a batch that came as one buffer."""
    assert batch.buffer is not None
    sizes = batch.sizes if batch.sizes is not None else [batch.size] * (len(batch.buffer) // batch.size)
    return cut(batch.buffer, sizes)


def heads_of(rows: Sequence[bytes]) -> NDArray[np.void]:
    """The headers of messages as columns (bench.header.DTYPE), zeros where one is too short to have one; shape (n,)."""
    short = b"\0" * HEAD.itemsize
    data = b"".join(row[: header.SIZE] if len(row) >= header.SIZE else short for row in rows)
    return np.frombuffer(data, dtype=header.DTYPE)
