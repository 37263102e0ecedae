"""Order and place within lanes, of the accountant (bench.audit): what came below what, and where a loss lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

from bench.audit_sent import LaneOf, longs
from bench.journal import ANY_LANE

CHUNK: Final = 1 << 20  # sequences unrolled at a time


@dataclass
class Order:
    """The highest sequence that one consumer has seen in each lane of one (producer, epoch).

    Dense ranges over all lanes that lie above everything before wait in ``pending`` (ascending): their lanes are worked out
    only when something arrives below them.
    """

    producer: int
    lane_of: LaneOf | None
    lanes: dict[int, int] = field(default_factory=dict)
    top: int = -1
    pending: list[tuple[int, int]] = field(default_factory=list)
    reordered: int = 0
    reordered_max: int = 0
    misplaced: BitMap64 = field(default_factory=BitMap64)  # which came below it

    def dense(self, first: int, stop: int, lane: int) -> bool:
        """Take first..stop-1 where nothing in it can be out of order; False = it must be listed. All are first deliveries."""
        if lane == ANY_LANE and self.lane_of is not None:
            if first <= self.top:
                return False
            if self.pending and self.pending[-1][1] == first:
                self.pending[-1] = (self.pending[-1][0], stop)
            else:
                self.pending.append((first, stop))
                if len(self.pending) > CHUNK:
                    self._fold(0)
            self.top = stop - 1
            return True
        if self.pending and first <= self.top:
            self._fold(first)
        below = self.lanes.get(lane, -1) - first
        if below > 0:
            if stop - first > 1:
                return False
            self.reordered += 1  # a message alone needs no vectors
            self.reordered_max = max(self.reordered_max, below)
            self.misplaced.add(first)
            return True
        self.lanes[lane] = stop - 1
        self.top = max(self.top, stop - 1)
        return True

    def listed(self, sequences: npt.NDArray[np.uint64], lanes: npt.NDArray[Any] | int, fresh: npt.NDArray[np.bool_] | None) -> None:
        """Take sequences in their order of arrival; ``fresh``: which are first deliveries (None = all)."""
        if isinstance(lanes, int) and lanes == ANY_LANE and self.lane_of is not None:
            lanes = self.lane_of(self.producer, sequences)
        if self.pending:
            self._fold(int(sequences.min()))
        numbers = sequences.astype(np.int64)
        self.top = max(self.top, int(numbers.max()))
        if isinstance(lanes, int):
            self._lane(lanes, numbers, fresh)
            return
        order = np.argsort(lanes, kind="stable")
        lanes, numbers = lanes[order], numbers[order]
        fresh = None if fresh is None else fresh[order]
        starts = [0, *(np.flatnonzero(lanes[1:] != lanes[:-1]) + 1).tolist()]
        for lo, hi in zip(starts, [*starts[1:], len(numbers)], strict=True):
            self._lane(int(lanes[lo]), numbers[lo:hi], None if fresh is None else fresh[lo:hi])

    def _lane(self, lane: int, numbers: npt.NDArray[np.int64], fresh: npt.NDArray[np.bool_] | None) -> None:
        highest = np.empty(len(numbers) + 1, np.int64)  # before each, and after the last
        highest[0] = self.lanes.get(lane, -1)
        highest[1:] = numbers
        np.maximum.accumulate(highest, out=highest)
        self.lanes[lane] = int(highest[-1])
        below = highest[:-1] - numbers
        if fresh is not None:
            below, numbers = below[fresh], numbers[fresh]
        behind = below > 0
        count = int(np.count_nonzero(behind))
        if count:
            self.reordered += count
            self.reordered_max = max(self.reordered_max, int(below.max()))
            self.misplaced.update(longs(numbers[behind].astype(np.uint64)))

    def _fold(self, low: int) -> None:
        """Work out the lanes of what is pending from ``low`` on; what is below cannot matter to anything from ``low`` on."""
        assert self.lane_of is not None
        while self.pending and self.pending[-1][1] > low:
            first, stop = self.pending.pop()
            start = max(first, low, stop - CHUNK)
            if first < start:
                self.pending.append((first, start))
            numbers = np.arange(start, stop, dtype=np.uint64)[::-1]
            lanes, last = np.unique(self.lane_of(self.producer, numbers), return_index=True)
            for lane, number in zip(lanes.tolist(), numbers[last].tolist(), strict=True):
                self.lanes[lane] = max(self.lanes.get(lane, -1), number)


# --- where a loss lies -----------------------------------------------------------------------------------------------


def windows(bitmap: BitMap64, *, backwards: bool = False) -> Iterator[npt.NDArray[np.uint64]]:
    """The members of ``bitmap``, ascending in each window, windows from the lowest or from the highest on."""
    if not bitmap:
        return
    starts: Sequence[int] = range(bitmap.min() // CHUNK * CHUNK, bitmap.max() + 1, CHUNK)
    for start in reversed(starts) if backwards else starts:
        if bitmap.range_cardinality(start, start + CHUNK):
            window = BitMap64()
            window.add_range(start, start + CHUNK)
            yield np.asarray((bitmap & window).to_array(), dtype=np.uint64)


def places(lost: BitMap64, seen: BitMap64, producer: int, lane_of: LaneOf | None) -> tuple[int, int, int]:
    """How many of ``lost`` lie before the first, between, after the last of ``seen`` in their lanes; before, where nothing was seen."""
    if lane_of is None:
        if not seen:
            return len(lost), 0, 0
        prefix, tail = lost.range_cardinality(0, seen.min()), lost.range_cardinality(seen.max() + 1, 1 << 64 - 1)
        return prefix, len(lost) - prefix - tail, tail
    wanted: set[int] = set()
    for window in windows(lost):
        wanted.update(np.unique(lane_of(producer, window)).tolist())
    lows = _bounds(seen, producer, lane_of, wanted, backwards=False)
    highs = _bounds(seen, producer, lane_of, wanted, backwards=True)
    prefix = tail = 0
    for window in windows(lost):
        lanes, inverse = np.unique(lane_of(producer, window), return_inverse=True)
        low = np.array([lows.get(lane, (1 << 64) - 1) for lane in lanes.tolist()], np.uint64)[inverse]
        high = np.array([highs.get(lane, (1 << 64) - 1) for lane in lanes.tolist()], np.uint64)[inverse]
        prefix += int(np.count_nonzero(window < low))
        tail += int(np.count_nonzero(window > high))
    return prefix, len(lost) - prefix - tail, tail


def _bounds(seen: BitMap64, producer: int, lane_of: LaneOf, wanted: set[int], *, backwards: bool) -> dict[int, int]:
    """The lowest (or highest) sequence seen in each wanted lane: looks no further than needed."""
    found: dict[int, int] = {}
    for window in windows(seen, backwards=backwards):
        numbers = window[::-1] if backwards else window
        lanes, index = np.unique(lane_of(producer, numbers), return_index=True)
        for lane, number in zip(lanes.tolist(), numbers[index].tolist(), strict=True):
            found.setdefault(lane, number)
        if wanted <= found.keys():
            break
    return found
