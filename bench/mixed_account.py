"""A consumer's accounting where messages are of several sizes: bench.account's, with a vectorised way of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from adapters.base import Batch
from bench import header
from bench.account import CHUNK_B, FEW, K_AND_CHECK, Account, cut
from bench.journal import Kind, Writer
from bench.mixed import MixedPool
from bench.payload import Pool


class MixedAccount(Account):
    """One consumer's account of one trial of several sizes.

    A chunk is joined, its headers are gathered and checked as columns; then the whole chunk is *predicted* from them (their
    sequences and lengths say which bodies) and compared as one piece. Whatever differs is looked at one by one.
    """

    def __init__(self, *, run: int, trial: int, group: int, pool: MixedPool, writer: Writer) -> None:
        no_bodies = Pool(0, header.SIZE)  # the ways for one size are not taken here
        super().__init__(run=run, trial=trial, group=group, size=header.SIZE, pool=no_bodies, writer=writer)
        self._chunk = max(1, int(CHUNK_B / pool.mean_b))
        self._bodies = pool
        self._sizes: list[int] = []  # of the rows in self._buffers

    def take(self, batch: Batch, now_ns: int) -> None:
        """Note a batch that arrived at ``now_ns``."""
        if batch.buffer is None:
            super().take(batch, now_ns)
            return
        if self._payloads:
            self.settle()  # in the order of arrival
        sizes = batch.sizes if batch.sizes is not None else [batch.size] * (len(batch.buffer) // batch.size)
        self._buffers.append(batch.buffer)
        self._sizes += sizes
        self._stamps.append((now_ns, len(sizes)))
        self.pending += len(sizes)

    def settle(self) -> None:
        """Account all that was taken: to be called before it is acknowledged."""
        payloads, buffers, sizes, stamps, n = self._payloads, self._buffers, self._sizes, self._stamps, self.pending
        if not n:
            return
        self._payloads, self._buffers, self._sizes, self._stamps, self.pending = [], [], [], [], 0
        positions, self._positions = self._positions or None, []
        data = b"".join(payloads or buffers) if n > FEW or buffers else b""
        if n <= FEW or positions or not self._varied(data, np.fromiter(map(len, payloads) if payloads else sizes, np.int64, n), stamps):
            self._odd(payloads or cut(data, sizes), stamps, None, positions)

    def _varied(self, data: bytes, lengths: NDArray[np.int64], stamps: Sequence[tuple[int, int]]) -> bool:
        """Account rows of this trial in which nothing is odd; False (and nothing accounted) sends them the slow way."""
        if int(lengths.min()) < header.SIZE:
            return False
        n = len(lengths)
        starts = np.cumsum(lengths) - lengths
        # An array of 64-byte items that begin at every byte: one indexing takes all headers out, wherever they lie.
        heads = np.ndarray((len(data) - header.SIZE + 1,), "V64", data, 0, (1,))[starts]
        words = heads.view("<u8").reshape(n, 8)
        columns = heads.view(header.DTYPE)
        if not self._of_trial(columns) or not (columns["length"] == lengths).all() or (words @ K_AND_CHECK).any():
            return False
        expected = self._bodies.expected(columns["sequence"], lengths)
        if expected is None or len(expected) != len(data):
            return False
        np.ndarray((len(expected) - header.SIZE + 1,), "V64", expected, 0, (1,))[starts] = heads
        if expected != data:
            return False
        times: NDArray[np.int64] | int = stamps[0][0]
        if len(stamps) > 1:
            table = np.array(stamps, dtype=np.int64)
            times = np.repeat(table[:, 0], table[:, 1])
        self._count(columns["intended_ns"].copy(), columns["sent_ns"].copy(), times, n)
        t_first, t_last = stamps[0][0], stamps[-1][0]
        self._writer.batch(Kind.PROCESSED, columns, trial=self.trial, group=self._group, t_first=t_first, t_last=t_last)
        return True

    def _is_body(self, body: bytes, sequence: int) -> bool:
        return body == self._bodies.body(sequence, len(body))
