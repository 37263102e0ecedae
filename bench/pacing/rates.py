"""Schedules that are arithmetic: a constant rate, bursts, steps, a ramp. No state, so any message costs the same.

Message n of producer i of P is message g = n * P + i of the whole load. All but the ramp compute in integers; the ramp in
doubles whose error is far below a nanosecond, by one function for every question, so that its answers agree exactly.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

_SECOND = 1_000_000_000


def _ratio(rate_per_s: float) -> tuple[int, int]:
    """Return (per, step) of a rate: message j is due at j * step / per nanoseconds."""
    # rest * step stays below 2^63: rest < rate * denominator, step = 10^9 * denominator
    most = math.isqrt(int(9e9 / rate_per_s)) if rate_per_s > 0 else 0
    rate = Fraction(rate_per_s).limit_denominator(max(1, min(1000, most)))
    if rate <= 0:
        raise ValueError(f"a rate must be above 0.001 messages a second, not {rate_per_s}")
    return rate.numerator, _SECOND * rate.denominator


def _reached(elapsed_ns: int, per: int, step: int) -> int:
    """Return how many messages of a constant rate are due ``elapsed_ns`` (>= 0) after its start."""
    return -(-(elapsed_ns + 1) * per // step)


class Shared:
    """What a load over all producers leaves to one of them: every P-th message."""

    def __init__(self, producers: int, index: int) -> None:
        self._producers = producers
        self._index = index

    def _load(self, first: int, count: int) -> NDArray[np.int64]:
        """Return the numbers in the whole load of own messages first ... first + count - 1."""
        return np.arange(first, first + count, dtype=np.int64) * self._producers + self._index

    def _own(self, reached: int) -> int:
        """Return how many of the load's first ``reached`` messages are this producer's."""
        return (reached - self._index + self._producers - 1) // self._producers


class Constant(Shared):
    """A constant rate, messages a second over all producers: message g is due floor(g / rate) after the start."""

    def __init__(self, rate_per_s: float, producers: int = 1, index: int = 0) -> None:
        super().__init__(producers, index)
        self._per, self._step = _ratio(rate_per_s)

    def block(self, first: int, count: int) -> NDArray[np.int64]:
        """Return the intended times of messages first ... first + count - 1, ns after the start; shape (count,)."""
        whole, rest = np.divmod(self._load(first, count), self._per)  # split, so that g * 10^9 never overflows
        times: NDArray[np.int64] = whole * self._step + rest * self._step // self._per
        return times

    def due(self, elapsed_ns: int) -> int:
        """Return how many messages of this producer are due ``elapsed_ns`` after the start: exact inverse of block()."""
        return self._own(_reached(elapsed_ns, self._per, self._step)) if elapsed_ns >= 0 else 0

    def at(self, n: int) -> int:
        """Return the intended time of message n, ns after the start."""
        return (n * self._producers + self._index) * self._step // self._per


class Bursts(Shared):
    """``size`` messages due at the same time, as often as gives the mean rate: burst k at floor(k * size / rate)."""

    def __init__(self, rate_per_s: float, size: int, producers: int = 1, index: int = 0) -> None:
        super().__init__(producers, index)
        self._size = size
        self._starts = Constant(rate_per_s, size)

    def block(self, first: int, count: int) -> NDArray[np.int64]:
        """Return the intended times of messages first ... first + count - 1, ns after the start; shape (count,)."""
        bursts = self._load(first, count) // self._size
        if not count:
            return bursts
        low = int(bursts[0])
        times: NDArray[np.int64] = self._starts.block(low, int(bursts[-1]) - low + 1)[bursts - low]
        return times

    def due(self, elapsed_ns: int) -> int:
        """Return how many messages of this producer are due ``elapsed_ns`` after the start: exact inverse of block()."""
        return self._own(self._starts.due(elapsed_ns) * self._size)

    def at(self, n: int) -> int:
        """Return the intended time of message n, ns after the start."""
        return self._starts.at((n * self._producers + self._index) // self._size)


class Steps(Shared):
    """Constant rates one after another, each for its time, from the first again after the last; a rate of 0 is a pause.

    Each step counts from its own start, with a message there: it has ceil(rate * time) of them.
    """

    def __init__(self, steps: Sequence[tuple[float, float]], producers: int = 1, index: int = 0) -> None:
        """``steps``: (messages a second over all producers, seconds), at least one rate above 0."""
        super().__init__(producers, index)
        ratios = [_ratio(rate) if rate else (1, _SECOND) for rate, _ in steps]
        lengths = [round(seconds * _SECOND) for _, seconds in steps]
        counts = [
            _reached(length - 1, *ratio) if rate and length else 0 for (rate, _), length, ratio in zip(steps, lengths, ratios, strict=True)
        ]
        self._starts, self._before = ([0, *accumulate(values)] for values in (lengths, counts))
        self._cycle_ns, self._cycle = self._starts.pop(), self._before.pop()
        if not self._cycle:
            raise ValueError("steps need a rate above 0")
        self._counts = counts
        self._ratios = ratios
        self._per, self._step = (np.array(column, dtype=np.int64) for column in zip(*ratios, strict=True))
        self._starts_at, self._ends = np.array(self._starts, dtype=np.int64), np.cumsum(counts, dtype=np.int64)

    def block(self, first: int, count: int) -> NDArray[np.int64]:
        """Return the intended times of messages first ... first + count - 1, ns after the start; shape (count,)."""
        cycle, within = np.divmod(self._load(first, count), self._cycle)
        k = np.searchsorted(self._ends, within, side="right")
        within -= (self._ends - self._counts)[k]
        whole, rest = np.divmod(within, self._per[k])
        within = whole * self._step[k] + rest * self._step[k] // self._per[k]
        times: NDArray[np.int64] = cycle * self._cycle_ns + self._starts_at[k] + within
        return times

    def due(self, elapsed_ns: int) -> int:
        """Return how many messages of this producer are due ``elapsed_ns`` after the start: exact inverse of block()."""
        if elapsed_ns < 0:
            return 0
        cycle, within = divmod(elapsed_ns, self._cycle_ns)
        k = bisect_right(self._starts, within) - 1
        reached = min(_reached(within - self._starts[k], *self._ratios[k]), self._counts[k])
        return self._own(cycle * self._cycle + self._before[k] + reached)

    def at(self, n: int) -> int:
        """Return the intended time of message n, ns after the start."""
        cycle, within = divmod(n * self._producers + self._index, self._cycle)
        k = bisect_right(self._before, within) - 1  # of steps without messages, which share a count, the last: the one that has some
        per, step = self._ratios[k]
        return cycle * self._cycle_ns + self._starts[k] + (within - self._before[k]) * step // per


class Ramp(Shared):
    """A rate that changes linearly in time from one value to another, and stays at the second.

    In t ns, a * t + s * t^2 / 2 messages are due (a: rate at the start, s: its slope); solved for t in the form that does
    not cancel: t = 2 g / (a + sqrt(a^2 + 2 s g)). Every operation is correctly rounded (IEEE 754), so times never go back.
    """

    def __init__(self, from_per_s: float, to_per_s: float, seconds: float, producers: int = 1, index: int = 0) -> None:
        super().__init__(producers, index)
        self._a, self._b = from_per_s / _SECOND, to_per_s / _SECOND
        self._length = float(round(seconds * _SECOND))
        self._slope = (self._b - self._a) / self._length
        self._there = (self._a + self._b) / 2 * self._length  # messages until the second rate is reached

    def block(self, first: int, count: int) -> NDArray[np.int64]:
        """Return the intended times of messages first ... first + count - 1, ns after the start; shape (count,)."""
        g = self._load(first, count).astype(np.float64)
        root = np.sqrt(np.maximum(self._a * self._a + 2.0 * self._slope * g, 0.0))
        climbing = np.minimum(2.0 * g / (self._a + root), self._length)
        there = self._length + (g - self._there) / self._b
        return np.where(g < self._there, climbing, there).astype(np.int64)

    def _at(self, g: int) -> int:
        """One message's time, by the operations of block() in their order: the same result to the last bit."""
        g_ = float(g)
        if g_ < self._there:
            root = math.sqrt(max(self._a * self._a + 2.0 * self._slope * g_, 0.0))
            return int(min(2.0 * g_ / (self._a + root), self._length))
        return int(self._length + (g_ - self._there) / self._b)

    def due(self, elapsed_ns: int) -> int:
        """Return how many messages of this producer are due ``elapsed_ns`` after the start: exact inverse of block()."""
        if elapsed_ns < 0:
            return 0
        t = float(elapsed_ns)
        reached = self._a * t + self._slope * t * t / 2 if t < self._length else self._there + self._b * (t - self._length)
        g = max(int(reached), 0)
        while g and self._at(g - 1) > elapsed_ns:  # the estimate is a message off at most where gaps are whole nanoseconds
            g -= 1
        while self._at(g) <= elapsed_ns:
            g += 1
        return self._own(g)

    def at(self, n: int) -> int:
        """Return the intended time of message n, ns after the start."""
        return self._at(n * self._producers + self._index)
