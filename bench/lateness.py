"""How far behind its schedule a sender was, in two: woken late (ours) and blocked (the client's or the system's).

A message that was due at d is handed over at s; s - d is its lateness. Since the sender woke (at w) it has perhaps been held up:
by a send() that took its time, by a client or a window that was full; it was free again at f <= s. What of the message's wait
lies within [w, f] is blocked, f - max(d, w) or 0; the rest is woken: it woke late, or took its own time. The two add up to
the lateness, message by message. A stretch of sending lasts until nothing is due any more.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.histogram import Gathered, pack


class Lateness:
    """One producer's, of one trial. The sender says when it wakes (`wake`) and when it is free again (`free_ns`)."""

    def __init__(self) -> None:
        self.free_ns = 0
        self._woke_ns = 0
        self._behind = False  # the last stretch has not ended: it goes on
        self._prompt = Gathered()  # of messages that nothing held up: woken is all of it, blocked 0
        self._held = (Gathered(), Gathered(), Gathered())  # of the others: lateness, woken, blocked

    def wake(self, now_ns: int) -> None:
        """The sender looks for what is due, after it slept; no change where it was still behind."""
        if not self._behind:
            self._woke_ns = self.free_ns = now_ns
            self._behind = True

    def caught_up(self) -> None:
        """Nothing is due any more."""
        self._behind = False

    def undue(self, count: int) -> None:
        """Record ``count`` messages that are due when they are sent."""
        self._prompt.histogram.add_one(0, count)

    def add(self, due_ns: NDArray[np.int64], now_ns: int, window_ns: tuple[int, int]) -> None:
        """Record messages that are handed over at ``now_ns``; those count that were due in the window; due_ns ascending, not empty."""
        start, end = window_ns
        held = self.free_ns > self._woke_ns and self.free_ns > due_ns[0]
        if due_ns[0] < start or due_ns[-1] >= end:
            due_ns = due_ns[(due_ns >= start) & (due_ns < end)]
        late = now_ns - due_ns
        if not held:
            self._prompt.add(late)
            return
        blocked = np.maximum(self.free_ns - np.maximum(due_ns, self._woke_ns), 0)
        for gathered, values in zip(self._held, (late, late - blocked, blocked), strict=True):
            gathered.add(values)

    def report(self) -> dict[str, dict[str, str | int]]:
        """Return the three histograms, packed (bench.histogram.pack): lateness, lateness_woken, lateness_blocked."""
        prompt, (late, woken, blocked) = self._prompt.flush(), (one.flush() for one in self._held)
        late.merge(prompt)
        woken.merge(prompt)
        blocked.add_one(0, prompt.n)
        self._prompt = Gathered()
        return {"lateness": pack(late), "lateness_woken": pack(woken), "lateness_blocked": pack(blocked)}
