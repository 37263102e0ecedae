"""A consumer's accounting, online: checks every message, records its latency, journals that it was processed.

Messages are accounted in chunks of about 200 kB (in the cache) or one acknowledgement's worth, by numpy; up to eight at a
time by plain integers, because a vectorised account costs 100 us whatever its size. Latency is computed here, from the
header: it cannot be recovered from the journal's ranges.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adapters.base import Batch
from bench import header
from bench.histogram import Gathered, Histogram, in_use, pack_counts
from bench.journal import REDELIVERED, Kind, Row, Writer
from bench.payload import HEAD, Pool

FEW = 8
_IN_A_ROW = 24  # of one poll and sender: one by one 0.7-2.1 us each, by vectors 110 us after a sleep, however few they are
CHUNK_B = 200_000
SLICES = 12
"""Equal parts of the window whose deliveries are counted apart (bench.analysis.steady)."""
_SECOND = 1_000_000_000
_U32 = 0xFFFFFFFF
_U16 = 0xFFFF
K_AND_CHECK = np.append(header.K, np.uint64(0xFFFFFFFFFFFFFFFF))  # a header's eight words times these is 0
_COUNTING = np.arange(1 << 13, dtype=np.uint64)
_OF_ROW = ["producer", "epoch", "lane", "attempt", "flags", "sequence"]
_RUNS = 32  # up to so many runs of one value are recorded one by one


def _in_a_row(payloads: Sequence[bytes]) -> bool:
    """Say whether the sequences at both ends are as far apart as they are from one sender through a pipe."""
    first, last = payloads[0], payloads[-1]
    whole = min(len(first), len(last)) >= header.SIZE
    return whole and header.sequence_of(last) - header.sequence_of(first) == len(payloads) - 1


def _add(values: NDArray[np.int64], *latencies: Gathered) -> None:
    """Record ``values``. A sender that stamps a batch at a time, and a poll that is stamped as one, give runs of one value."""
    if not len(values):
        return  # a chunk's times may lie on both sides of a window or third, and none in it
    cuts = (values[1:] != values[:-1]).nonzero()[0]
    if len(cuts) >= _RUNS or len(cuts) * 8 > len(values):
        for one in latencies:
            one.add(values)
        return
    at = 0
    for cut in (*cuts.tolist(), len(values) - 1):
        value = int(values[at])
        for one in latencies:
            one.histogram.add_one(value, cut + 1 - at)
        at = cut + 1


def cut(data: bytes | memoryview, sizes: Sequence[int]) -> list[bytes]:
    """Return the rows of a buffer as payloads."""
    return [bytes(data[end - size : end]) for size, end in zip(sizes, itertools.accumulate(sizes), strict=True)]


class Account:
    """One consumer's account of one trial.

    ``window_ns``: absolute monotonic [start, end) of the measured part. A latency counts when the message was *due* in
    it, a delivery when it *arrived* in it.
    """

    def __init__(self, *, run: int, trial: int, group: int, size: int, pool: Pool, writer: Writer) -> None:
        self.trial = trial
        self.received = 0
        self.slices = [0] * SLICES
        self.corrupted = 0
        self.late = 0
        self.foreign = 0  # sound, but of another run: never attempted here
        self.seconds: Counter[int] = Counter()
        self._second = -1  # the one that messages arrive in now
        self._latency_seconds: list[tuple[int, NDArray[np.int64]]] = []  # by the second of arrival: bench.histogram.in_use
        self._counts_before: NDArray[np.int64] | int = 0
        self._n_before = 0
        self._thirds = (Gathered(), Gathered(), Gathered())
        self._from_sent = Gathered()
        self.canaries: set[tuple[int, int]] = set()
        self.keep_positions = False  # journal the broker's positions, where it gives them: tells a repeated write from a repeated delivery
        self._run = run
        self._group = group
        self._size = size
        self._pool = pool
        self._writer = writer
        self._go_ns = 0
        self._window_ns = (0, 0)
        self._due_ns = (0, 0, 0, 0)
        self._first_word = header.MAGIC | run << 32
        self._chunk = max(1, CHUNK_B // size)
        self._payloads: list[bytes] = []
        self._positions: list[int] = []  # of them, where they are kept
        self._buffers: list[memoryview] = []
        self._stamps: list[tuple[int, int]] = []  # time, count
        self.pending = 0

    def window(self, go_ns: int, start_ns: int, end_ns: int) -> None:
        """Set the start of the load and the measured window: absolute monotonic times."""
        self._go_ns = go_ns
        self._window_ns = (start_ns, end_ns)
        third = (end_ns - start_ns) // 3
        self._due_ns = (start_ns, start_ns + third, start_ns + 2 * third, end_ns)

    @property
    def in_window(self) -> int:
        """How many arrived within the window."""
        return sum(self.slices)

    @property
    def thirds(self) -> tuple[Histogram, ...]:
        """End to end from intended time, by the third of the window that a message was due in."""
        return tuple(third.flush() for third in self._thirds)

    @property
    def from_sent(self) -> Histogram:
        """End to end from the time of sending, of all that was due within the window."""
        return self._from_sent.flush()

    @property
    def end_to_end(self) -> Histogram:
        """Of all that was due within the window, from intended time."""
        whole = Histogram()
        for third in self.thirds:
            whole.merge(third)
        return whole

    def latency_seconds(self) -> list[tuple[int, str]]:
        """Return (second of arrival counted from go, the latencies' counts): those of end_to_end, cut where a second began."""
        self._next_second(-1)
        return [(second, pack_counts(used)) for second, used in self._latency_seconds]

    def _came(self, second: int, n: int) -> None:
        """Count ``n`` arrivals, before their latencies are recorded."""
        if second != self._second:
            self._next_second(second)
        self.seconds[second] += n

    def _next_second(self, second: int) -> None:
        """Close the second that messages arrived in: what the histograms have counted more since the last one was closed."""
        thirds = self.thirds
        n = sum(third.n for third in thirds)
        if n > self._n_before:
            counts: NDArray[np.int64] = sum(third.counts for third in thirds[1:]) + thirds[0].counts
            self._latency_seconds.append((self._second, in_use(counts - self._counts_before)))
            self._counts_before, self._n_before = counts, n
        self._second = second

    def take(self, batch: Batch, now_ns: int) -> None:
        """Note a batch that arrived at ``now_ns``; it is accounted at the next settle(), or now where it is large or odd."""
        if batch.buffer is not None and batch.sizes is not None:  # of one that sends several sizes: not this trial's
            self.settle()
            self._odd(cut(batch.buffer, batch.sizes), [(now_ns, len(batch.sizes))])
            return
        if batch.buffer is not None:
            self._take_buffer(batch.buffer, batch.size, now_ns)
            return
        payloads = batch.payloads or ()
        positions = batch.positions if self.keep_positions else None
        if self._buffers or (self.pending and bool(self._positions) != (positions is not None)):
            self.settle()  # in the order of arrival
        if batch.redelivered is not None and any(batch.redelivered):
            self.settle()
            self._odd(payloads, [(now_ns, len(payloads))], batch.redelivered, positions)
            return
        for at in range(0, len(payloads), self._chunk):  # a poll may be larger than what stays in the cache
            part = payloads[at : at + self._chunk]
            self._payloads += part
            if positions is not None:
                self._positions += positions[at : at + self._chunk]
            self._stamps.append((now_ns, len(part)))
            self.pending += len(part)
            if at + self._chunk < len(payloads):
                self.settle()

    def _take_buffer(self, buffer: memoryview, size: int, now_ns: int) -> None:
        """Keep a buffer of rows until there is a chunk of them: small ones are joined, for 20 ns a message less."""
        n = len(buffer) // size
        if self._payloads or (self._buffers and (size != self._size or n >= self._chunk)):
            self.settle()
        if size != self._size:
            self._odd([bytes(buffer[at : at + size]) for at in range(0, n * size, size)], [(now_ns, n)])
        elif n >= self._chunk:
            step = -(-n // (n // self._chunk)) * size  # equal parts: none so small that its fixed cost shows
            for at in range(0, len(buffer), step):
                part = bytearray(buffer[at : at + step])
                self._same_size(part, len(part) // size, [(now_ns, len(part) // size)])
        else:
            self._buffers.append(buffer)
            self._stamps.append((now_ns, n))
            self.pending += n

    def settle(self) -> None:
        """Account all that was taken: to be called before it is acknowledged."""
        payloads, buffers, stamps, n = self._payloads, self._buffers, self._stamps, self.pending
        if not n:
            return
        self._payloads, self._buffers, self._stamps, self.pending = [], [], [], 0
        positions, self._positions = self._positions or None, []
        if buffers:
            self._same_size(bytearray().join(buffers), n, stamps)
            return
        if n <= FEW or (n <= _IN_A_ROW and len(stamps) == 1 and _in_a_row(payloads)):
            self._few(payloads, [t for t, n in stamps for _ in range(n)], None, positions)
            return
        joined = bytearray().join(payloads)
        # Others of two sizes that make up for each other would put rows where no header is: told by its check.
        if len(joined) != n * self._size or not self._rows(joined, n, stamps, positions):
            self._odd(payloads, stamps, None, positions)

    def _same_size(self, data: bytearray, n: int, stamps: Sequence[tuple[int, int]]) -> None:
        """Account ``n`` rows of the trial's size."""
        if n <= FEW or not self._rows(data, n, stamps):
            size = self._size
            self._odd([bytes(data[at : at + size]) for at in range(0, n * size, size)], stamps)

    def _rows(self, data: bytearray, n: int, stamps: Sequence[tuple[int, int]], positions: Sequence[int] | None = None) -> bool:
        """Account rows of this trial in which nothing is odd; False (and nothing accounted) sends them the slow way.

        Headers are taken out, what must lie there is put together with them (bench.payload.Pool), and all is compared as one piece
        of memory. A bytearray, because that compares with any buffer by memcmp; bytes and memoryview do not.
        """
        words = header.words_of(data)
        if words[0] != self._first_word or words[1] & _U32 != self.trial or words[2] >> 48 or words[6] & _U32 != self._size:
            return False
        times: NDArray[np.int64] | int = stamps[0][0]
        if len(stamps) > 1:
            table = np.array(stamps, dtype=np.int64)
            times = np.repeat(table[:, 0], table[:, 1])
        heads = np.ndarray((n,), HEAD, data, 0, (self._size,)).copy()
        return (positions is None and self._dense(data, heads, words, times)) or self._mixed(data, heads, times, positions)

    def _dense(self, data: bytearray, heads: NDArray[np.void], first_words: tuple[int, ...], times: NDArray[np.int64] | int) -> bool:
        """Account one sender's messages in a row, as they come through a pipe: all but lane and times is known beforehand.

        Each numpy call costs about a microsecond, whatever it is about, and comparing bytes less than comparing fields.
        """
        n, size = len(heads), self._size
        _, w1, w2, first, *_ = first_words
        words = heads.view("<u8").reshape(n, 8)
        if n > len(_COUNTING) or int(words[-1, 3]) - first != n - 1 or not ((words[:, 3] - _COUNTING[:n]) == first).all():
            return False
        # magic, run, trial, producer, epoch; then attempt and flags; then the length; then the body; all by the header's check.
        if np.ndarray((n,), "V16", heads.data, 0, (header.SIZE,)).tobytes() != bytes(data[:16]) * n:
            return False
        halves = heads.view("<u4").reshape(n, 16)
        if not (halves[:, 5] == w2 >> 32).all() or not (halves[:, 12] == size).all() or (words @ K_AND_CHECK).any():
            return False
        if size > header.SIZE:
            expected = self._pool.run(first, heads)
            if expected is None or data != expected:
                return False
        signed = heads.view("<i8").reshape(n, 8)
        self._count(signed[:, 4].copy(), signed[:, 5].copy(), times, n)
        t_first, t_last = (times, times) if isinstance(times, int) else (int(times[0]), int(times[-1]))
        self._writer.span(
            Kind.PROCESSED, trial=self.trial, producer=w1 >> 32 & _U16, epoch=w1 >> 48, first=first, count=n, group=self._group,
            attempt=w2 >> 32 & _U16, t_first=t_first, t_last=t_last,
        )  # fmt: skip
        return True

    def _mixed(
        self, data: bytearray, heads: NDArray[np.void], times: NDArray[np.int64] | int, positions: Sequence[int] | None = None
    ) -> bool:
        """Account messages of this trial in any order, of any producers."""
        n = len(heads)
        words, columns = heads.view("<u8").reshape(n, 8), heads.view(header.DTYPE)
        if not self._alike(columns) or (words @ K_AND_CHECK).any():
            return False
        if data != self._pool.gathered(columns["sequence"], heads):
            return False
        self._count(columns["intended_ns"].copy(), columns["sent_ns"].copy(), times, n)
        t_first, t_last = (times, times) if isinstance(times, int) else (int(times[0]), int(times[-1]))
        common = {"trial": self.trial, "group": self._group, "t_first": t_first, "t_last": t_last}
        if positions is None:
            self._writer.batch(Kind.PROCESSED, columns, **common)
        else:
            self._writer.placed(Kind.PROCESSED, columns[_OF_ROW].tolist(), positions, **common)
        return True

    def _alike(self, columns: NDArray[np.void]) -> bool:
        """Say whether all rows are of this trial and size."""
        return self._of_trial(columns) and bool((columns["length"] == self._size).all())

    def _of_trial(self, columns: NDArray[np.void]) -> bool:
        """Say whether all rows are of this run and trial, and no canary (producers and attempts may differ)."""
        sound = columns["magic"] | columns["run"].astype(np.uint64) << np.uint64(32) == self._first_word
        sound &= columns["trial"] == self.trial
        sound &= columns["flags"] == 0
        return bool(sound.all())

    def _count(self, intended: NDArray[np.int64], sent: NDArray[np.int64], times: NDArray[np.int64] | int, n: int) -> None:
        first, last = (times, times) if isinstance(times, int) else (int(times[0]), int(times[-1]))  # polls are stamped in order
        second = (first - self._go_ns) // _SECOND
        if not isinstance(times, int) and (last - self._go_ns) // _SECOND != second:
            at = int(np.searchsorted(times, self._go_ns + (second + 1) * _SECOND))
            self._count(intended[:at], sent[:at], times[:at], at)
            self._count(intended[at:], sent[at:], times[at:], n - at)
            return
        self._came(second, n)
        start, end = self._window_ns
        low, high = int(intended.min()), int(intended.max())
        if high >= start and low < end:
            for third, begin, over in zip(self._thirds, self._due_ns, self._due_ns[1:], strict=False):
                if high < begin or low >= over:
                    continue
                due = slice(None) if low >= begin and high < over else (intended >= begin) & (intended < over)
                if (intended == sent).all():  # the schedule "max"
                    _add((times - sent)[due], third, self._from_sent)
                else:
                    _add((times - intended)[due], third)
                    _add((times - sent)[due], self._from_sent)
        self.received += n
        if isinstance(times, int):
            if start <= times < end:
                self.slices[(times - start) * SLICES // (end - start)] += n
            return
        self._arrived(times, n)

    def _arrived(self, times: NDArray[np.int64], n: int) -> None:
        """Count arrivals by slices of the window; polls are stamped in order."""
        start, end = self._window_ns
        first, last, length = int(times[0]), int(times[-1]), max(end - start, 1)
        at = (first - start) * SLICES // length
        if first >= start and at < SLICES and at == (last - start) * SLICES // length:
            self.slices[at] += n
            return
        inside = times[(times >= start) & (times < end)]
        for one, count in enumerate(np.bincount((inside - start) * SLICES // length, minlength=SLICES).tolist()):
            self.slices[one] += count

    def _odd(
        self, payloads: Sequence[bytes], stamps: Sequence[tuple[int, int]], redelivered: Sequence[bool] | None = None,
        positions: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        """Account one by one where a chunk holds canaries, another trial's messages, other sizes, redeliveries or damage."""
        times = [t for t, n in stamps for _ in range(n)]
        for lo in range(0, len(payloads), FEW):
            again = None if redelivered is None else redelivered[lo : lo + FEW]
            places = None if positions is None else positions[lo : lo + FEW]
            self._few(payloads[lo : lo + FEW], times[lo : lo + FEW], again, places)

    def _few(
        self, payloads: Sequence[bytes], times: Sequence[int], redelivered: Sequence[bool] | None = None,
        positions: Sequence[int] | None = None,
    ) -> None:  # fmt: skip
        start, end = self._window_ns
        rows: list[Row] = []
        places: list[int] = []
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
            if positions is not None:
                places.append(positions[i])
            self._came((now_ns - self._go_ns) // _SECOND, 1)
            if start <= words[4] < end:
                _, second, third, _ = self._due_ns
                self._thirds[(words[4] >= second) + (words[4] >= third)].histogram.add_one(now_ns - words[4])
                self._from_sent.histogram.add_one(now_ns - words[5])
            self.received += 1
            if start <= now_ns < end:
                self.slices[(now_ns - start) * SLICES // (end - start)] += 1
        self._journal(rows, None if positions is None else places, times[-1])

    def _journal(self, rows: Sequence[Row], positions: Sequence[int] | None, t: int) -> None:
        """Write that these messages of the trial were processed."""
        if positions is not None:
            self._writer.placed(Kind.PROCESSED, rows, positions, trial=self.trial, group=self._group, t_first=t, t_last=t)
        elif rows:
            self._writer.few(Kind.PROCESSED, rows, trial=self.trial, group=self._group, t=t)

    def _sound(self, payload: bytes) -> tuple[int, ...] | None:
        """Return the header's words, or None when header or body is damaged."""
        if len(payload) < header.SIZE:
            return None
        words = header.words_of(payload)
        if words[0] & _U32 != header.MAGIC or not header.holds(words) or words[6] & _U32 != len(payload):
            return None
        if words[0] != self._first_word or words[1] & _U32 != self.trial or words[2] >> 48 & header.CANARY:
            return words  # another size, another pool: its header is all that can be checked
        return words if self._is_body(payload[header.SIZE :], words[3]) else None

    def _is_body(self, body: bytes, sequence: int) -> bool:
        """Say whether ``body`` is that of message ``sequence``."""
        return body == self._pool.bodies[sequence & 0xFF]
