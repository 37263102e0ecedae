"""The consumer's loop: takes batches, accounts them, acknowledges what was journalled. One trial after another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adapters.base import Batch, Consumer
from adapters.capabilities import Capabilities
from bench.account import CHUNK_B, Account
from bench.clock import now_ns
from bench.histogram import pack
from bench.journal import Writer
from bench.mixed import MixedPool, pool_of
from bench.mixed_account import MixedAccount
from bench.usage import Meter
from bench.workload import Workload

TURN_NS = 10_000_000  # how long a turn may keep the control connection waiting
POLL_S = 0.01


def untapped(account: Account) -> Account:
    """Return the account as it is; bench.calibration puts something before it that writes down what it is given."""
    return account


def account_of(workload: Workload, *, run: int, trial: int, group: int, writer: Writer) -> Account:
    """Return what accounts for one trial of a workload."""
    pool = pool_of(workload)
    made: Account
    if isinstance(pool, MixedPool):
        made = MixedAccount(run=run, trial=trial, group=group, pool=pool, writer=writer)
    else:
        made = Account(run=run, trial=trial, group=group, size=workload.size_b, pool=pool, writer=writer)
    made.keep_positions = bool(workload.faults)  # a client that tries again may write a message twice
    return made


class ConsumerLoop:
    """Serves one member of a group for the life of its endpoint: canaries and late messages are told from the trial's."""

    def __init__(
        self, consumer: Consumer, capabilities: Capabilities, writer: Writer, workload: Workload, *,
        run: int, group: int, name: str, member: int, tap: Callable[[Account], Account] = untapped,
    ) -> None:  # fmt: skip
        self._tap = tap
        self._consumer = consumer
        self._capabilities = capabilities
        self._writer = writer
        self._run = run
        self._group = group
        self._name = name
        self._member = member
        self._last: Batch | None = None
        self._oldest_ns = 0
        self._meter = Meter()
        self.prepare(workload, 0)

    def prepare(self, workload: Workload, trial: int) -> None:
        """Account from now on for ``trial``; what is still pending goes to the trial before."""
        if self._last is not None:
            self._settle()
        self._workload = workload
        self._chunk = max(1, CHUNK_B // workload.size_b)
        if self._capabilities.acks:
            self._chunk = 1 if self._capabilities.in_step else min(self._chunk, workload.ack_every)
        self._age_ns = int(workload.ack_interval_s * 1e9) if self._capabilities.acks else TURN_NS
        self.account = self._tap(account_of(workload, run=self._run, trial=trial, group=self._group, writer=self._writer))
        self._meter = Meter()

    def go(self, at_ns: int) -> None:
        """Set the window of the trial that starts at monotonic ``at_ns``."""
        start = at_ns + int(self._workload.warmup_s * 1e9)
        end = start + int(self._workload.measure_s * 1e9)
        self.account.window(at_ns, start, end)
        self._meter.window(start, end)

    def turn(self, wait_s: float = POLL_S) -> None:
        """Poll for one turn; account and acknowledge when the scenario's cadence says so.

        ``wait_s`` 0 polls once: an idle endpoint must cost its neighbours nothing.
        """
        now = now_ns()
        until = now + (TURN_NS if wait_s else 1)
        account = self.account
        while now < until:
            self._meter.turn(now)
            left_s = wait_s
            if self._last is not None:
                left_s = min(wait_s, max(0.0, (self._oldest_ns + self._age_ns - now) / 1e9))
            batch = self._consumer.poll(self._workload.batch, left_s)
            now = now_ns()
            if batch is not None and (batch.payloads or batch.count):
                if self._last is None:
                    self._oldest_ns = now
                self._last = batch
                account.take(batch, now)
                if account.pending >= self._chunk or (batch.buffer is not None and not account.pending):
                    self._settle()
                    now = now_ns()
            elif self._last is not None and (not self._capabilities.acks or now - self._oldest_ns >= self._age_ns):
                self._settle()
                now = now_ns()

    def _settle(self) -> None:
        """Account, then acknowledge: what is acknowledged is in the journal."""
        batch = self._last
        self._last = None
        self.account.settle()
        if batch is not None and self._capabilities.acks:
            self._consumer.ack(batch, len(batch.payloads) if batch.payloads is not None else batch.count)

    def flush(self) -> None:
        """Account what is pending."""
        if self._last is not None:
            self._settle()
        self._meter.turn(now_ns())

    def report(self) -> dict[str, Any]:
        """Return what is to be known of this trial: counts, usage, histograms (bench.histogram.pack)."""
        account = self.account
        return {
            "group": self._name,
            "member": self._member,
            "received": account.received,
            "in_window": account.in_window,
            "corrupted": account.corrupted,
            "foreign": account.foreign,
            "late": account.late,
            "seconds": dict(account.seconds),
            "slices": account.slices,
            "thirds": [pack(third) for third in account.thirds],
            "latency_seconds": account.latency_seconds(),
            "end_to_end_sent": pack(account.from_sent),
            **self._meter.report(),
        }
