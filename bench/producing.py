"""The producer's loop: sends what is due, waits in the client, accounts outcomes. One trial each.

Open loop: the schedule says when a message was due, whatever the system does; a system that blocks makes the sender
late, and the lateness is recorded. At each wake-up all that is due is sent, then the loop waits at least one tick:
wake-ups, not messages, are the cost at a set rate.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from adapters.base import Producer, Status
from adapters.capabilities import Capabilities
from bench import header, pacing
from bench.clock import now_ns, sleep_until
from bench.histogram import Histogram, pack
from bench.journal import ALL, Kind, Writer
from bench.keys import router_of
from bench.lateness import Lateness
from bench.mixed import block_of, pool_of
from bench.outcomes import Ledger, Outcomes
from bench.usage import Meter
from bench.workload import Workload

ALIGN = 512  # trials begin at multiples of it, so that blocks keep their bodies
CANARY_ID = 1 << 48
_CONTROL_NS = 2_000_000  # how long a turn may keep the control connection waiting while messages are due
_BUSY_NS = 10_000_000  # the same at full speed: looking there hands the interpreter to a client's threads, whose batches become small
_QUIET_NS = 20_000_000  # the same while there is nothing to send
_RETRY_S = 0.001
_BLOCKED_NS = 1_000_000  # how long a wait in the client lasts while it has no room
_CLOSED_NS = 50_000  # the same in a closed loop, where the wait would become latency
_FLOOD_S = 0.01  # how long one send() waits at full speed: each wait that ends in vain costs 20 us
_STALE_NS = 1_000_000  # a stamp that is older is made anew before its rows are sent
_TOGETHER = 1 << 13  # messages that one OK record holds, where "accepted" is all there is to know
_NEVER = 1 << 62
_KIND = {Status.CONFIRMED: Kind.OK, Status.FAILED: Kind.FAIL, Status.INDETERMINATE: Kind.INFO}


class ProducerTrial:
    """Sends one trial's messages. ``turn()`` until ``finished``; then ``report()``."""

    def __init__(
        self, producer: Producer, capabilities: Capabilities, outcomes: Outcomes, writer: Writer, workload: Workload, *,
        run: int, trial: int, index: int, first_id: int, epoch: int = 0, sent_before: int = 0,
    ) -> None:  # fmt: skip
        """``epoch`` > 0: the producer of the trial was killed, and this one goes on where the schedule is when it starts.

        What was due in between is not sent: nobody was there. ``sent_before``: how many messages the ones before it attempted.
        """
        self.finished = False
        self.first_id = first_id
        self.next_id = self._begun = first_id + sent_before
        self.planned: int | None = None  # None: as many as there is room for ("max")
        self._producer = producer
        self._capabilities = capabilities
        self._outcomes = outcomes
        self._writer = writer
        self._workload = workload
        self._trial = trial
        self._index = index
        self._groups = tuple(range(len(workload.groups))) if capabilities.send_per_group else (-1,)
        router = router_of(workload, index, first_id)
        self._epoch = epoch
        self._block = block_of(workload, pool_of(workload), router, run=run, trial=trial, producer=index, epoch=epoch, origin=first_id)
        self._schedule = pacing.of(workload, index)
        self.planned = pacing.planned(workload, index)
        self._closed = workload.schedule == "closed"
        self._window = min(workload.window, workload.outstanding) if self._closed else workload.window
        self._intended = np.zeros(self._block.count, dtype=np.int64)  # "max": times are set when it is sent
        self._floods = workload.schedule == "max" and not capabilities.confirms
        self._attempted = first_id  # the first id of which the journal says nothing yet
        self._stamp_ns = 0
        self._taken = [(0, 0, 0)] * len(self._groups)  # accepted and not journalled yet: first, end, time of the first
        self._lateness = Lateness()
        self._publish = Histogram()
        self._meter = Meter()
        self._sent_in_second: dict[int, int] = {}
        self._part: tuple[int, int, list[int]] | None = None  # rows lo, hi and how far each group has got
        self._go_ns = self._end_ns = self._deadline_ns = _NEVER
        self._window_ns = (_NEVER, _NEVER)
        self._tick_ns = int(workload.tick_s * 1e9)
        self._spins = self._schedule is not None and self._tick_ns == 0
        self._control_ns = _CONTROL_NS if self._schedule is not None else _BUSY_NS
        self._closed_wait_ns = max(_CLOSED_NS, int(capabilities.pump_resolution_s * 1e9))
        self._wake_ns = 0
        self._most_room = 0
        self._blocked_since = 0
        self._blocked_ns = 0

    def go(self, at_ns: int) -> None:
        """Start the schedule at monotonic ``at_ns``."""
        load = self._workload
        self._go_ns = at_ns
        start = at_ns + int(load.warmup_s * 1e9)
        self._end_ns = start + int(load.measure_s * 1e9)
        self._deadline_ns = self._end_ns + int(load.drain_s * 1e9)
        self._window_ns = (start, self._end_ns)
        self._meter.window(start, self._end_ns)
        last = CANARY_ID if self.planned is None else self.first_id + self.planned  # a canary's confirmation may come as late as now
        self.ledger = Ledger(
            self._publish, groups=len(self._groups), capacity=max(1024, load.window + 2 * load.batch), window_ns=self._window_ns,
            first_id=self.first_id, last_id=last,
        )  # fmt: skip
        if self._epoch:
            self._resume(now_ns() - at_ns)
        self._fill(self.next_id - (self.next_id - self.first_id) % self._block.count)
        self._wake_ns = at_ns

    def _resume(self, elapsed_ns: int) -> None:
        """Begin with the first message that is due from now on, ``elapsed_ns`` after the start of the load."""
        if self._schedule is not None:
            due = self.first_id + min(self._schedule.due(elapsed_ns), self.planned or 0)
            self.next_id = max(self.next_id, due)
        self._begun = self._attempted = self.next_id

    def _fill(self, first_id: int) -> None:
        if self._schedule is None:
            self._block.fill(first_id, None)
            return
        self._intended = self._schedule.block(first_id - self.first_id, self._block.count) + self._go_ns
        self._block.fill(first_id, self._intended)

    def turn(self) -> None:
        """Run for at most a control tick: send what is due, account outcomes, wait."""
        now = now_ns()
        until = now + self._control_ns
        while now < until and not self.finished:
            self._meter.turn(now, self.next_id)
            if now >= self._wake_ns:
                (self._flood if self._floods else self._send_due)(now)
            self._account()
            now = now_ns()
            if self._over(now):
                self._end(now)
                return
            until = self._wait(now, until)
            now = now_ns()
        self._journal_accepted()

    def waits(self, until_ns: int) -> bool:
        """Say whether there is nothing to do before monotonic ``until_ns``."""
        return self._go_ns > until_ns

    def stop(self) -> None:
        """Send no more; flush and finish at the next turn."""
        self._deadline_ns = 0

    def _due(self, now: int) -> int:
        """Return the first id that is not due yet."""
        if self._schedule is None:
            return _NEVER if now < self._end_ns else self.next_id
        return self.first_id + min(self._schedule.due(now - self._go_ns), self.planned or 0)

    def _send_due(self, now: int) -> None:
        """Send all that is due, as far as there is room, for at most a control tick."""
        until = now + self._control_ns
        self._lateness.wake(now)
        while now < until:
            if self._part is None and not self._next_part(now):
                break
            if not self._send_part():
                self._blocked_since = self._blocked_since or now
                self._wake_ns = now  # try again after the next pump
                return
            now = self._lateness.free_ns = now_ns()
            if self._blocked_since:
                self._blocked_ns += now - self._blocked_since
                self._blocked_since = 0
            if self._schedule is None:
                self._account()
        next_due = self._go_ns + self._schedule.at(self.next_id - self.first_id) if self._schedule else now
        self._wake_ns = max(next_due, now + self._tick_ns) if self._schedule else now

    def _flood(self, now: int) -> None:
        """Send at full speed to a client that confirms nothing: _send_due() without all that such a trial has no use for.

        A block is stamped and journalled as one, then sent by the batch: each pause of a sender lets the client's own thread
        fall asleep, and waking it costs more than the pause. Rows that would go later than _STALE_NS are stamped again.
        """
        until = min(now + self._control_ns, self._end_ns)
        block, producer, batch, groups = self._block, self._producer, self._workload.batch, len(self._groups)
        self._wake_ns = now
        while now < until or self._part is not None:
            if self._part is None:
                first = self.next_id
                lo = first - block.first_id
                if lo >= block.count:
                    self._fill(first)
                    lo = 0
                hi = min(lo + batch, block.count, lo + producer.room())
                if hi <= lo:
                    self._blocked_since = self._blocked_since or now
                    return
                if first + hi - lo > self._attempted or now - self._stamp_ns > _STALE_NS:
                    self._stamp_block(lo, hi, now)
                self._part = (lo, hi, [lo] * groups)
            if not self._send_part():
                self._blocked_since = self._blocked_since or now
                return
            now = now_ns()
            if self._blocked_since:
                self._blocked_ns += now - self._blocked_since
                self._blocked_since = 0

    def _stamp_block(self, lo: int, hi: int, now: int) -> None:
        """Stamp rows from ``lo`` on and journal them: all of the block, or only up to ``hi`` where the end of the load is near."""
        first = max(self.next_id, self._attempted)
        hi = self._block.count if now + 2 * _STALE_NS < self._end_ns else max(hi, first - self._block.first_id)
        self._block.stamp_intended(lo, hi, now)
        self._stamp_ns = now
        end = self._block.first_id + hi
        if end > first:
            self._writer.span(
                Kind.ATTEMPT, trial=self._trial, producer=self._index, epoch=self._epoch, first=first, count=end - first, t_first=now,
                t_last=now,
            )  # fmt: skip
            self._attempted = end

    def _next_part(self, now: int) -> bool:
        """Stamp and journal the next rows to send; False when none is due or there is no room."""
        due = self._due(now) - self.next_id
        if due <= 0:
            self._lateness.caught_up()
            return False
        block = self._block
        if self.next_id >= block.first_id + block.count:
            self._fill(self.next_id)
        lo = self.next_id - block.first_id
        room = self._producer.room()
        if self._capabilities.confirms:
            room = min(room, self._window - self.ledger.open // self.ledger.copies)
        self._most_room = max(self._most_room, room)
        n = min(due, self._workload.batch, block.count - lo, room)
        # At full speed a client with a full window frees it message by message: wait for a fair part of it, not for one.
        fair = 0 if self._schedule is not None or self._closed else min(self._workload.batch, self._most_room // 4)
        if n <= 0 or room < fair:
            self._blocked_since = self._blocked_since or now
            return False
        now = now_ns()
        if self._blocked_since:
            self._lateness.free_ns = now
        if self._schedule is None:
            block.stamp_intended(lo, lo + n, now)
            if self._capabilities.confirms:
                self._intended[lo : lo + n] = now  # for the ledger
            if self._window_ns[0] <= now < self._window_ns[1]:
                self._lateness.undue(n)
        else:
            block.stamp(lo, lo + n, now)
            self._lateness.add(self._intended[lo : lo + n], now, self._window_ns)
        self._writer.span(
            Kind.ATTEMPT, trial=self._trial, producer=self._index, epoch=self._epoch, first=self.next_id, count=n, t_first=now, t_last=now
        )
        self._part = (lo, lo + n, [lo] * len(self._groups))
        self._stamp_ns = now
        return True

    def _send_part(self) -> bool:
        """Hand the current rows to the client, to each group; False while some are not accepted."""
        assert self._part is not None
        lo, hi, reached = self._part
        wait_s = _FLOOD_S if self._floods else _RETRY_S if self._blocked_since else 0.0
        done = True
        for i, group in enumerate(self._groups):
            at = reached[i]
            if at >= hi:
                continue
            n = self._producer.send(self._block, at, hi, wait_s, group)
            if n:
                first = self._block.first_id + at
                if self._capabilities.confirms:
                    self.ledger.sent(first, n, self._stamp_ns, self._intended[at : at + n], group)
                else:
                    self._accepted(first, n, i)
                reached[i] = at + n
            done = done and reached[i] >= hi
        if done:
            n = hi - lo
            self.next_id += n
            second = (self._stamp_ns - self._go_ns) // 1_000_000_000
            self._sent_in_second[second] = self._sent_in_second.get(second, 0) + n
            if self._floods and self._window_ns[0] <= self._stamp_ns < self._window_ns[1]:
                self._lateness.undue(n)
            self._part = None
        return done

    def _accepted(self, first: int, n: int, i: int) -> None:
        """Without confirmations "acknowledged" means: the client library took it. Journalled together with what follows it."""
        begun, end, since = self._taken[i]
        if first == end and 0 < end - begun < _TOGETHER:
            self._taken[i] = (begun, first + n, since)
            return
        self._journal_accepted(i)
        self._taken[i] = (first, first + n, self._stamp_ns)

    def _journal_accepted(self, only: int = -1) -> None:
        """Write what was accepted, at the latest at the end of a turn; ``only`` of one group."""
        for i, (first, end, since) in enumerate(self._taken):
            if end <= first or only not in (-1, i):
                continue
            group = self._groups[i]
            self.ledger.resolved[Status.CONFIRMED][max(group, 0)] += end - first
            self._writer.span(
                Kind.OK, trial=self._trial, producer=self._index, epoch=self._epoch, first=first, count=end - first,
                group=ALL if group < 0 else group, t_first=since, t_last=self._stamp_ns,
            )  # fmt: skip
            self._taken[i] = (end, end, 0)

    def _account(self) -> None:
        taken = self._outcomes.take()
        if not taken:
            return
        first, last = taken[0][0], taken[-1][0]
        for status, group, ids in self.ledger.settle(taken):
            kind, where = _KIND[status], ALL if group < 0 else group
            if not isinstance(ids, np.ndarray):
                begin, count = (ids, 1) if isinstance(ids, int) else (ids.start, len(ids))
                self._writer.span(
                    kind, trial=self._trial, producer=self._index, epoch=self._epoch, first=begin, count=count, group=where, t_first=first,
                    t_last=last,
                )  # fmt: skip
                continue
            columns = np.zeros(len(ids), dtype=header.DTYPE)
            columns["producer"] = self._index
            columns["epoch"] = self._epoch
            columns["sequence"] = ids
            self._writer.batch(kind, columns, trial=self._trial, group=where, t_first=first, t_last=last)

    def _over(self, now: int) -> bool:
        if now < self._end_ns and self._deadline_ns:
            return False
        if self._part is not None and now < self._deadline_ns:
            return False
        left = 0 if self.planned is None else self.first_id + self.planned - self.next_id
        return left <= 0 or now >= self._deadline_ns

    def _wait(self, now: int, until: int) -> int:
        """Wait for the next wake-up in the client; return how long this turn may last now."""
        if self._part is not None and not self._capabilities.confirms:
            return until  # blocked, and nothing to hear from the client: the next send() waits for it to take more
        until = max(until, min(self._wake_ns, now + _QUIET_NS))  # a turn's end is no reason to wake: that costs 30 us
        deadline = min(self._wake_ns, until, self._end_ns if now < self._end_ns else _NEVER)
        if self._blocked_since:
            deadline = now + (self._closed_wait_ns if self._closed else _BLOCKED_NS)
        left = 0 if self._spins else deadline - now
        resolution = int(self._capabilities.pump_resolution_s * 1e9)
        if left <= 0:
            if self._blocked_since or self._capabilities.confirms:
                self._producer.pump(0.0)
            return until
        quanta = left if resolution == 0 else left // resolution * resolution
        if quanta > 0:
            self._producer.pump(quanta / 1e9)
        else:
            sleep_until(deadline)
            self._producer.pump(0.0)
        return until

    def _end(self, now: int) -> None:
        """Give up what was not accepted, flush the rest, account it all."""
        self._journal_accepted()
        end, reached = self._attempted, [self.next_id] * len(self._groups)
        if self._part is not None:
            end = max(end, self._block.first_id + self._part[1])
            reached = [self._block.first_id + at for at in self._part[2]]
            self._part = None
        for group, first in zip(self._groups, reached, strict=True):
            if first < end:
                self._writer.span(
                    Kind.FAIL, trial=self._trial, producer=self._index, epoch=self._epoch, first=first, count=end - first,
                    group=ALL if group < 0 else group, t_first=now, t_last=now,
                )  # fmt: skip
        if self._blocked_since:
            self._blocked_ns += now - self._blocked_since
            self._blocked_since = 0
        limit = max(1.0, (self._deadline_ns - now) / 1e9)
        self._producer.flush(min(limit, max(1.0, self._workload.drain_s)))
        self._account()
        self._meter.turn(max(now_ns(), self._end_ns), self.next_id)
        self.finished = True

    def report(self) -> dict[str, Any]:
        """Return what is to be known of this trial: counts, usage, histograms (bench.histogram.pack)."""
        resolved = self.ledger.resolved
        self.ledger.flush()
        return {
            "index": self._index,
            "first_id": self.first_id,
            "planned": self.planned,
            "sent": self.next_id - self._begun,
            "confirmed": int(resolved[Status.CONFIRMED].min()),
            "confirmed_by_group": resolved[Status.CONFIRMED].tolist(),
            "failed": int(resolved[Status.FAILED].sum()),
            "indeterminate": int(resolved[Status.INDETERMINATE].sum()) + max(self.ledger.open, 0),
            "blocked_s": self._blocked_ns / 1e9,
            "late_outcomes": self.ledger.foreign,
            "seconds": self._sent_in_second,
            **self._lateness.report(),
            "publish": pack(self._publish) if self._capabilities.confirms else None,
            **self._meter.report(),
        }
