"""A recorded load played again: the times of a file (bench.replay_file makes it of a CSV), shared message by message."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NEVER = 1 << 62


class Replay:
    """Message g is due at times[g], ns after the start, ascending; after the last there is none."""

    def __init__(self, times: NDArray[np.int64], producers: int = 1, index: int = 0) -> None:
        self._times = np.ascontiguousarray(times[index::producers])

    @classmethod
    def of_file(cls, path: Path, producers: int = 1, index: int = 0) -> Replay:
        """Read a ``.npy`` file of int64 times, shape (messages,)."""
        return cls(np.load(path, mmap_mode="r", allow_pickle=False), producers, index)

    def block(self, first: int, count: int) -> NDArray[np.int64]:
        """Return the intended times of messages first ... first + count - 1, ns after the start; NEVER past the end; shape (count,)."""
        times = self._times[first : first + count]
        return np.concatenate((times, np.full(count - len(times), NEVER, dtype=np.int64)))

    def due(self, elapsed_ns: int) -> int:
        """Return how many messages of this producer are due ``elapsed_ns`` after the start: exact inverse of block()."""
        return int(np.searchsorted(self._times, elapsed_ns, side="right"))

    def at(self, n: int) -> int:
        """Return the intended time of message n, ns after the start; NEVER past the end."""
        return int(self._times[n]) if n < len(self._times) else NEVER
