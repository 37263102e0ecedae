"""What became of the messages that a producer sent: taken from any thread, stamped, coalesced, journalled.

The adapter calls run() or some(); the producer loop calls settle() between sends. Publish latency is the time of the
call minus the send time of the message, so a client that reports late is seen as late: that is what its user gets.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from adapters.base import Status
from bench import header
from bench.clock import now_ns
from bench.histogram import Gathered

if TYPE_CHECKING:
    from bench.histogram import Histogram

Report = tuple[int, int, int, int, int, int]
"""time_ns, first id, count, status, group, step."""

Part = tuple[Status, int, "NDArray[np.uint64] | range | int"]
"""status, group (-1 = all), ascending ids, or neighbours, or one id."""

_STATUS = {int(status): status for status in Status}  # a look-up costs less than Status(code)
_FEW = 8  # below this many reports or messages, one by one costs less than vectors


class Outcomes:
    """adapters.base.Outcomes for one producer process; ``groups`` > 0 where the producer makes the copies."""

    def __init__(self) -> None:
        self._queue: deque[Report] = deque()

    def run(self, first_id: int, count: int, status: Status, group: int = -1, step: int = 1) -> None:
        """Messages first_id, first_id + step, ... (count of them) came to ``status``."""
        self._queue.append((now_ns(), first_id, count, status, group, step))

    def some(self, ids: Sequence[int], status: Status, group: int = -1) -> None:
        """Each message of ``ids`` came to ``status``."""
        now = now_ns()
        self._queue.extend((now, i, 1, status, group, 1) for i in ids)

    def id_of(self, payload: bytes) -> int:
        """Return the id of a payload that the client hands back."""
        return header.sequence_of(payload)

    def take(self) -> list[Report]:
        """Return what was reported since the last call: (time, first, count, status, group, step)."""
        queue = self._queue
        return [queue.popleft() for _ in range(len(queue))]


class Ledger:
    """Accounts outcomes of one trial: counts, publish latency, and ids by (group, status) for the journal.

    The send times of the last ``capacity`` messages are kept in a ring; the sender's window keeps more from being open.
    """

    def __init__(
        self, histogram: Histogram, *, groups: int, capacity: int, window_ns: tuple[int, int], first_id: int, last_id: int
    ) -> None:
        self._latencies = Gathered(histogram)
        self._mask = (1 << (capacity - 1).bit_length()) - 1
        self._sent = np.zeros((max(groups, 1), self._mask + 1), dtype=np.int64)
        self._due = np.zeros(self._mask + 1, dtype=np.int64)
        # An item of a view is a Python int, of an array a numpy scalar: dearer to make, and dearer in all that is done with it.
        self._sent_views, self._due_view = [row.data for row in self._sent], self._due.data
        self._window_ns = window_ns
        self._bounds = (first_id, last_id)
        self.copies = max(groups, 1)
        self.open = 0  # (message, group)s that sent() noted and that have no outcome yet
        self.resolved = {status: np.zeros(self.copies, dtype=np.int64) for status in Status}
        self.foreign = 0

    def sent(self, first_id: int, count: int, sent_ns: int, due_ns: NDArray[np.int64], group: int = -1) -> None:
        """Note that ``count`` messages were accepted by the client, stamped ``sent_ns``; due_ns: their intended times."""
        if count <= _FEW:
            sent, intended, mask = self._sent_views[max(group, 0)], self._due_view, self._mask
            for slot, due in enumerate(due_ns.tolist(), first_id):
                sent[slot & mask], intended[slot & mask] = sent_ns, due
            self.open += count
            return
        lo = first_id & self._mask
        row = self._sent[max(group, 0)]
        if lo + count <= self._mask + 1:
            row[lo : lo + count] = sent_ns
            self._due[lo : lo + count] = due_ns
        else:
            cut = self._mask + 1 - lo
            row[lo:], row[: count - cut] = sent_ns, sent_ns
            self._due[lo:], self._due[: count - cut] = due_ns[:cut], due_ns[cut:]
        self.open += count

    def settle(self, taken: Sequence[Report]) -> list[Part]:
        """Count ``taken`` (Outcomes.take) and return it for the journal: (status, group, ascending ids)."""
        if len(taken) <= _FEW:
            return [part for report in taken if (part := self._settle_one(report)) is not None]
        table = np.array(taken, dtype=np.int64)
        times, firsts, counts, statuses, groups, steps = table.T
        ids = firsts
        if counts.max() > 1:
            ends = np.cumsum(counts)
            within = np.arange(ends[-1], dtype=np.int64) - np.repeat(ends - counts, counts)
            ids = np.repeat(firsts, counts) + within * np.repeat(steps, counts)
            times, statuses, groups = (np.repeat(column, counts) for column in (times, statuses, groups))
        mine = (ids >= self._bounds[0]) & (ids < self._bounds[1])
        if not mine.all():  # an outcome of an earlier trial that came late, or of a canary
            self.foreign += int((~mine).sum())
            ids, times, statuses, groups = ids[mine], times[mine], statuses[mine], groups[mine]
        parts: list[Part] = []
        kinds = groups * 8 + statuses
        for kind in np.unique(kinds):
            chosen = kinds == kind
            group, status = int(kind) // 8, Status(int(kind) % 8)
            self._count(status, group, ids[chosen], times[chosen])
            parts.append((status, group, np.sort(ids[chosen]).astype(np.uint64)))
        return parts

    def flush(self) -> None:
        """Have the histogram hold all that was settled."""
        self._latencies.flush()

    def _settle_one(self, report: Report) -> Part | None:
        """Settle one report without the fixed cost of vectors where it is about one message."""
        time_ns, first, count, code, group, step = report
        low, high = self._bounds
        if not low <= first <= first + (count - 1) * step < high:
            self.foreign += count
            return None
        status = _STATUS[code]
        if count > 1 and step == 1:
            return self._settle_neighbours(time_ns, first, count, status, group)
        if count > 1:
            ids = np.arange(first, first + count * step, step, dtype=np.int64)
            self._count(status, group, ids, time_ns)
            return status, group, ids.astype(np.uint64)
        row = max(group, 0)
        self.resolved[status][row] += 1
        self.open -= 1
        slot = first & self._mask
        if status is Status.CONFIRMED and self._window_ns[0] <= self._due_view[slot] < self._window_ns[1]:
            self._latencies.histogram.add_one(time_ns - self._sent_views[row][slot])
        return status, group, first

    def _settle_neighbours(self, time_ns: int, first: int, count: int, status: Status, group: int) -> Part:
        """Settle a range of ids, whose stamps and intended times ascend: where its ends agree, so does all between."""
        lo, row = first & self._mask, max(group, 0)
        last = lo + count - 1
        start, end = self._window_ns
        sent, due = self._sent_views[row], self._due_view
        if status is Status.CONFIRMED and last <= self._mask and sent[lo] == sent[last] and start <= due[lo] and due[last] < end:
            self.resolved[status][row] += count
            self.open -= count
            self._latencies.histogram.add_one(time_ns - sent[lo], count)
        else:
            self._count(status, group, np.arange(first, first + count, dtype=np.int64), time_ns)
        return status, group, range(first, first + count)

    def _count(self, status: Status, group: int, ids: NDArray[np.int64], times: NDArray[np.int64] | int) -> None:
        row = max(group, 0)
        self.resolved[status][row] += len(ids)
        self.open -= len(ids)
        if status is not Status.CONFIRMED:
            return
        slots = ids & self._mask
        due = self._due[slots]
        measured = (due >= self._window_ns[0]) & (due < self._window_ns[1])
        self._latencies.add((times - self._sent[row, slots])[measured])
