"""A consumer's accounting, online: checks every message, records its latency, journals that it was processed.

Messages are accounted in chunks of about 100 kB (in the cache) or one acknowledgement's worth, by numpy; up to eight at a
time by plain integers, because a vectorised account costs 100 us whatever its size. Latency is computed here, from the
header: it cannot be recovered from the journal's ranges.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adapters.base import Batch
from bench import header
from bench.histogram import Histogram
from bench.journal import REDELIVERED, Kind, Writer
from bench.payload import Pool

FEW = 8
CHUNK_B = 100_000
_SECOND = 1_000_000_000
_U32 = 0xFFFFFFFF
_U16 = 0xFFFF
_SAME = np.array(  # the bits of a header that all messages of one producer's trial share
    [0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFF00000000, 0, 0, 0, 0xFFFFFFFF, 0], dtype=np.uint64
)


class Account:
    """One consumer's account of one trial.

    ``window_ns``: absolute monotonic [start, end) of the measured part. A latency counts when the message was *due* in
    it, a delivery when it *arrived* in it.
    """

    def __init__(self, *, run: int, trial: int, group: int, size: int, pool: Pool, writer: Writer) -> None:
        self.trial = trial
        self.received = 0
        self.in_window = 0
        self.corrupted = 0
        self.late = 0
        self.foreign = 0  # sound, but of another run: never attempted here
        self.seconds: Counter[int] = Counter()
        self.end_to_end = Histogram()
        self.from_sent = Histogram()
        self.canaries: set[tuple[int, int]] = set()
        self._run = run
        self._group = group
        self._size = size
        self._pool = pool
        self._writer = writer
        self._go_ns = 0
        self._window_ns = (0, 0)
        self._first_word = header.MAGIC | run << 32
        self._payloads: list[bytes] = []
        self._stamps: list[tuple[int, int]] = []  # time, count
        self.pending = 0

    def window(self, go_ns: int, start_ns: int, end_ns: int) -> None:
        """Set the start of the load and the measured window: absolute monotonic times."""
        self._go_ns = go_ns
        self._window_ns = (start_ns, end_ns)

    def take(self, batch: Batch, now_ns: int) -> None:
        """Note a batch that arrived at ``now_ns``; it is accounted at the next settle()."""
        if batch.buffer is not None:
            self._buffer(batch.buffer, batch.size, now_ns)
            return
        payloads = batch.payloads or ()
        if batch.redelivered is not None and any(batch.redelivered):
            self.settle()  # in the order of arrival
            self._odd(payloads, [(now_ns, len(payloads))], batch.redelivered)
            return
        self._payloads += payloads
        self._stamps.append((now_ns, len(payloads)))
        self.pending += len(payloads)

    def settle(self) -> None:
        """Account all that was taken: to be called before it is acknowledged."""
        payloads, stamps = self._payloads, self._stamps
        if not payloads:
            return
        self._payloads, self._stamps, self.pending = [], [], 0
        if len(payloads) <= FEW:
            self._few(payloads, [t for t, n in stamps for _ in range(n)])
            return
        joined = b"".join(payloads)
        same = len(joined) == len(payloads) * self._size and all(len(p) == self._size for p in (payloads[0], payloads[-1]))
        if not same:
            self._odd(payloads, stamps)
            return
        rows = np.frombuffer(joined, dtype=np.uint8).reshape(len(payloads), self._size)
        times: NDArray[np.int64] | int = stamps[0][0]
        if len(stamps) > 1:
            table = np.array(stamps, dtype=np.int64)
            times = np.repeat(table[:, 0], table[:, 1])
        if not self._rows(rows, times):
            self._odd(payloads, stamps)

    def _buffer(self, buffer: memoryview, size: int, now_ns: int) -> None:
        rows = np.frombuffer(buffer, dtype=np.uint8).reshape(-1, size)
        step = max(1, CHUNK_B // size)
        for lo in range(0, len(rows), step):
            part = rows[lo : lo + step]
            if size != self._size or len(part) <= FEW or not self._rows(part, now_ns):
                self._odd([bytes(row) for row in part], [(now_ns, len(part))])

    def _rows(self, rows: NDArray[np.uint8], times: NDArray[np.int64] | int) -> bool:
        """Account rows of this trial in which nothing is odd; False (and nothing accounted) sends them the slow way.

        Written for a low fixed cost: each numpy call costs about a microsecond, whatever it is about.
        """
        n = len(rows)
        words = np.ndarray((n, 8), dtype="<u8", buffer=rows.data, strides=(self._size, 8)).copy()
        w0, w1, w2, *_, w6, _ = (int(word) for word in words[0])
        if w0 != self._first_word or w1 & _U32 != self.trial or w2 >> 48 or w6 & _U32 != self._size:
            return False
        columns = words.view(header.DTYPE)[:, 0]
        # One comparison says that all rows are of this run, trial, producer, epoch, attempt, flags and length.
        same = bool((words & _SAME == words[0] & _SAME).all())
        if not same and not self._alike(columns):
            return False
        if not np.array_equal(words[:, :7] @ header.K, words[:, 7]):
            return False
        sequences = columns["sequence"]
        first, last = int(sequences[0]), int(sequences[-1])
        dense = same and last - first == n - 1 and (n == 1 or bool((sequences[1:] - sequences[:-1] == 1).all()))
        bodies = self._pool.run(first, n) if dense else None
        if not np.array_equal(rows[:, header.SIZE :], self._pool.rows(sequences) if bodies is None else bodies):
            return False
        self._count(columns, times, n)
        t_first, t_last = (times, times) if isinstance(times, int) else (int(times[0]), int(times[-1]))
        if dense:
            self._writer.span(
                Kind.PROCESSED, trial=self.trial, producer=w1 >> 32 & _U16, epoch=w1 >> 48, first=first, count=n, group=self._group,
                attempt=w2 >> 32 & _U16, t_first=t_first, t_last=t_last,
            )  # fmt: skip
        else:
            self._writer.batch(Kind.PROCESSED, columns, trial=self.trial, group=self._group, t_first=t_first, t_last=t_last)
        return True

    def _alike(self, columns: NDArray[np.void]) -> bool:
        """Say whether all rows are of this run, trial and size, and no canary (producers and attempts may differ)."""
        sound = columns["magic"] | columns["run"].astype(np.uint64) << np.uint64(32) == self._first_word
        sound &= columns["trial"] == self.trial
        sound &= columns["flags"] == 0
        sound &= columns["length"] == self._size
        return bool(sound.all())

    def _count(self, columns: NDArray[np.void], times: NDArray[np.int64] | int, n: int) -> None:
        start, end = self._window_ns
        intended, sent = columns["intended_ns"], columns["sent_ns"]
        low, high = int(intended.min()), int(intended.max())
        if low >= start and high < end:
            if isinstance(times, int) and low == high:
                self.end_to_end.add_one(times - low, n)
            else:
                self.end_to_end.add(times - intended)
            if isinstance(times, int) and int(sent[0]) == int(sent[-1]) and bool((sent == sent[0]).all()):
                self.from_sent.add_one(times - int(sent[0]), n)
            else:
                self.from_sent.add(times - sent)
        elif high >= start and low < end:
            measured = (intended >= start) & (intended < end)
            self.end_to_end.add((times - intended)[measured])
            self.from_sent.add((times - sent)[measured])
        self.received += n
        if isinstance(times, int):
            self.seconds[(times - self._go_ns) // _SECOND] += n
            self.in_window += n if start <= times < end else 0
            return
        self.in_window += int(((times >= start) & (times < end)).sum())
        for second, count in zip(*np.unique((times - self._go_ns) // _SECOND, return_counts=True), strict=True):
            self.seconds[int(second)] += int(count)

    def _odd(self, payloads: Sequence[bytes], stamps: Sequence[tuple[int, int]], redelivered: Sequence[bool] | None = None) -> None:
        """Account one by one where a chunk holds canaries, another trial's messages, other sizes, redeliveries or damage."""
        times = [t for t, n in stamps for _ in range(n)]
        for lo in range(0, len(payloads), FEW):
            again = None if redelivered is None else redelivered[lo : lo + FEW]
            self._few(payloads[lo : lo + FEW], times[lo : lo + FEW], again)

    def _few(self, payloads: Sequence[bytes], times: Sequence[int], redelivered: Sequence[bool] | None = None) -> None:
        start, end = self._window_ns
        rows: list[tuple[int, int, int, int, int, int]] = []
        for i, (payload, now_ns) in enumerate(zip(payloads, times, strict=True)):
            words = self._sound(payload)
            if words is None:
                self.corrupted += 1
                self._writer.corrupt(trial=self.trial, group=self._group, t=now_ns)
                continue
            if words[0] != self._first_word:
                self.foreign += 1
                continue
            trial = words[1] & _U32
            row = (words[1] >> 32 & _U16, words[1] >> 48, words[2] & _U32, words[2] >> 32 & _U16, words[2] >> 48, words[3])
            if row[4] & header.CANARY:
                self.canaries.add((row[0], row[2]))
                continue
            if redelivered is not None and redelivered[i]:
                row = (*row[:4], row[4] | REDELIVERED, row[5])
            if trial != self.trial:
                self.late += 1
                self._writer.few(Kind.PROCESSED, [row], trial=trial, group=self._group, t=now_ns)
                continue
            rows.append(row)
            if start <= words[4] < end:
                self.end_to_end.add_one(now_ns - words[4])
                self.from_sent.add_one(now_ns - words[5])
            self.received += 1
            self.in_window += start <= now_ns < end
            self.seconds[(now_ns - self._go_ns) // _SECOND] += 1
        if rows:
            self._writer.few(Kind.PROCESSED, rows, trial=self.trial, group=self._group, t=times[-1])

    def _sound(self, payload: bytes) -> tuple[int, ...] | None:
        """Return the header's words, or None when header or body is damaged."""
        if len(payload) < header.SIZE:
            return None
        words = header.words_of(payload)
        if words[0] & _U32 != header.MAGIC or not header.holds(words) or words[6] & _U32 != len(payload):
            return None
        if words[0] != self._first_word or words[1] & _U32 != self.trial or words[2] >> 48 & header.CANARY:
            return words  # another size, another pool: its header is all that can be checked
        return words if payload[header.SIZE :] == self._pool.bodies[words[3] & 0xFF] else None
