"""When each message is due: arithmetic on integers, no clock, no drift.

Message n of producer i of P is message g = n * P + i of the whole load; at rate r it is due floor(g / r) after the
start, in nanoseconds. An open loop measures from this time, whether or not the sender could keep it (no coordinated
omission: Tene, "How NOT to measure latency").
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

_SECOND = 1_000_000_000


class Constant:
    """A constant rate, messages a second over all producers."""

    def __init__(self, rate_per_s: float, producers: int = 1, index: int = 0) -> None:
        rate = Fraction(rate_per_s).limit_denominator(1000)
        if rate <= 0:
            raise ValueError(f"a rate must be above 0.001 messages a second, not {rate_per_s}")
        # g / rate seconds = g * step / per nanoseconds
        self._per = rate.numerator
        self._step = _SECOND * rate.denominator
        self._producers = producers
        self._index = index

    def block(self, first: int, count: int) -> NDArray[np.int64]:
        """Return the intended times of messages first ... first + count - 1, ns after the start; shape (count,)."""
        g = np.arange(first, first + count, dtype=np.int64) * self._producers + self._index
        whole, rest = np.divmod(g, self._per)  # split, so that g * 10^9 never overflows
        times: NDArray[np.int64] = whole * self._step + rest * self._step // self._per
        return times

    def due(self, elapsed_ns: int) -> int:
        """Return how many messages of this producer are due ``elapsed_ns`` after the start: exact inverse of block()."""
        if elapsed_ns < 0:
            return 0
        last = -(-(elapsed_ns + 1) * self._per // self._step) - 1
        return (last - self._index) // self._producers + 1 if last >= self._index else 0

    def at(self, n: int) -> int:
        """Return the intended time of message n, ns after the start."""
        return (n * self._producers + self._index) * self._step // self._per
