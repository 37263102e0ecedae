"""Poisson arrivals: each producer is an independent process of its share of the rate (their superposition is the whole).

The time of every 512th arrival is a sum of independent Gamma(512) variables; given two of them, the 511 arrivals between
are sorted uniform ones (order statistics; Devroye, "Non-Uniform Random Variate Generation", 1986, chapters V.2 and VI.1).
So block k of 512 needs its own random numbers and the sum of the gammas before it, nothing else of the past. Numbers come from
numpy's counter-based Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), whose key is (seed,
producer) and whose counter is the place: any block is made directly, and always the same (by the same numpy, which does not
promise the stream of its gammas from one version to the next).
"""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

BLOCK = 512
CHUNK = 4096  # gammas made at once: two million messages, 32 KiB
_GAMMAS, _UNIFORMS = 0, 1  # streams
_WORD = (1 << 64) - 1


class Poisson:
    """``rate_per_s`` messages a second over all producers on average, gaps exponential."""

    def __init__(self, rate_per_s: float, producers: int = 1, index: int = 0, seed: int = 0) -> None:
        self._key = np.array([seed & _WORD, index], dtype=np.uint64)
        self._gap_ns = 1e9 * producers / rate_per_s
        self._chunk_starts = [0]  # ns: 8 bytes for each two million messages of the past
        self._chunk = -1
        self._starts: NDArray[np.int64] = np.zeros(0, dtype=np.int64)  # of the chunk's blocks, and its end
        self._block = -1
        self._times: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def _random(self, stream: int, place: int) -> np.random.Generator:
        counter = np.array([0, 0, stream, place], dtype=np.uint64)  # 2^128 numbers apart from every other place
        return np.random.Generator(np.random.Philox(counter=counter, key=self._key))

    def _load_chunk(self, chunk: int) -> None:
        """Make the starts of a chunk's blocks; those before it must have been summed (_reach)."""
        if chunk != self._chunk:
            lengths = np.rint(self._random(_GAMMAS, chunk).standard_gamma(BLOCK, CHUNK) * self._gap_ns).astype(np.int64)
            self._starts = np.concatenate(([0], np.cumsum(lengths))) + self._chunk_starts[chunk]
            self._chunk = chunk
        if chunk + 1 == len(self._chunk_starts):
            self._chunk_starts.append(int(self._starts[-1]))

    def _load_block(self, block: int) -> NDArray[np.int64]:
        """Return the times of a block's 512 messages."""
        if block != self._block:
            chunk, row = divmod(block, CHUNK)
            for before in range(len(self._chunk_starts) - 1, chunk):
                self._load_chunk(before)
            self._load_chunk(chunk)
            start, end = int(self._starts[row]), int(self._starts[row + 1])
            between = np.sort(self._random(_UNIFORMS, block).random(BLOCK - 1))
            self._times = np.append((between * (end - start)).astype(np.int64) + start, end)
            self._block = block
        return self._times

    def block(self, first: int, count: int) -> NDArray[np.int64]:
        """Return the intended times of messages first ... first + count - 1, ns after the start; shape (count,)."""
        if not count:
            return np.zeros(0, dtype=np.int64)
        blocks = range(first // BLOCK, (first + count - 1) // BLOCK + 1)
        times = np.concatenate([self._load_block(block) for block in blocks])
        at = first - blocks[0] * BLOCK
        return times[at : at + count]

    def due(self, elapsed_ns: int) -> int:
        """Return how many messages of this producer are due ``elapsed_ns`` after the start: exact inverse of block()."""
        if elapsed_ns < 0:
            return 0
        times = self._times
        if not len(times) or not times[0] <= elapsed_ns < times[-1]:
            while self._chunk_starts[-1] <= elapsed_ns:
                self._load_chunk(len(self._chunk_starts) - 1)
            chunk = bisect_right(self._chunk_starts, elapsed_ns) - 1
            self._load_chunk(chunk)
            times = self._load_block(chunk * CHUNK + int(np.searchsorted(self._starts, elapsed_ns, side="right")) - 1)
        return self._block * BLOCK + int(np.searchsorted(times, elapsed_ns, side="right"))

    def at(self, n: int) -> int:
        """Return the intended time of message n, ns after the start."""
        return int(self._load_block(n // BLOCK)[n % BLOCK])
