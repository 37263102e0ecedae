"""Payloads of several sizes: from a distribution, from a file of real ones, or cut to a table's lengths.

The body of message n is row n modulo the pool's rows, as bench.payload has it for one size; here each row has a length of its
own. A consumer knows a message's body from its header alone (sequence, length), so sizes need no agreement beyond the pool.
Messages are put together when they are sent: headers by column, bodies by reference.
"""

from __future__ import annotations

import functools
import operator
import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench import corpus, header
from bench.content import compressible
from bench.keys import Router
from bench.payload import APART_B, Block, Pool
from bench.workload import Bodies, Workload

_CUT_B = 16 << 20  # about what a pool takes whose bodies are cut to a table's lengths
_COPIED_B = 64 << 10  # up to this size a row is an object of its own, larger ones are windows of one text
_BLOCK_ROWS = 512
_AHEAD = 4096  # rows that can be taken from the pool as one slice, wherever they begin
_NO_HEADER = bytes(header.SIZE)


class MixedPool:
    """Bodies of several sizes, ``rows``. Message n has row ``n % count``: whole, or where ``cut`` so much of its front as its length says.

    ``sizes``: of messages with whole rows, header included; shape (count,).
    """

    def __init__(self, seed: int, bodies: Bodies) -> None:
        if bodies.file:
            self.rows: Sequence[bytes | memoryview] = corpus.read(bodies.file, digest=bodies.digest).bodies
        else:
            sizes = bodies.sizes_b or (bodies.largest_b,) * max(256, min(1024, _CUT_B // bodies.largest_b))
            self.rows = _made(np.random.default_rng((seed, len(sizes), bodies.largest_b)), sizes, bodies.ratio)
        self.cut = not bodies.file and not bodies.sizes_b
        self.count = len(self.rows)
        self.mean_b = bodies.mean_b
        self.largest_b = bodies.largest_b
        self.sizes = np.array([header.SIZE + len(row) for row in self.rows], dtype=np.int64)
        ahead = -(-max(_AHEAD, self.count) // self.count) + 1
        self._cycle = [*self.rows] * ahead
        # The same with 64 bytes before each row: joined, they lie as messages do.
        self._framed = [part for row in self.rows for part in (_NO_HEADER, row)] * ahead
        self._whole_checks: NDArray[np.uint64] | None = None
        self._cut_check = functools.lru_cache(maxsize=1 << 16)(self._check_of)

    def _check_of(self, row: int, length: int) -> int:
        return zlib.crc32(self.rows[row][:length])

    def bodies(self, first: int, sizes: NDArray[np.int64]) -> list[bytes | memoryview]:
        """Return the bodies of messages ``first`` ... by sequence, which are of ``sizes`` (whole rows: self.sizes of them)."""
        start = first % self.count
        rows = self._cycle[start : start + len(sizes)]
        if not self.cut:
            return rows
        return [row[:length] for row, length in zip(rows, (sizes - header.SIZE).tolist(), strict=True)]

    def checks(self, first: int, sizes: NDArray[np.int64]) -> NDArray[np.uint64]:
        """Return the CRC-32 of the same bodies. Only a producer asks for them."""
        rows = (first + np.arange(len(sizes))) % self.count
        if self.cut:
            lengths = (sizes - header.SIZE).tolist()
            return np.array([self._cut_check(row, length) for row, length in zip(rows.tolist(), lengths, strict=True)], dtype=np.uint64)
        if self._whole_checks is None:
            self._whole_checks = np.array([zlib.crc32(row) for row in self.rows], dtype=np.uint64)
        checks: NDArray[np.uint64] = self._whole_checks[rows]
        return checks

    def body(self, sequence: int, length: int) -> bytes | memoryview | None:
        """Return the body of message ``sequence`` if it is of ``length`` bytes without its header; None where it cannot be."""
        row = self.rows[sequence % self.count]
        if length == len(row):
            return row
        return row[:length] if self.cut and length < len(row) else None

    def expected(self, sequences: NDArray[np.uint64], lengths: NDArray[np.int64]) -> bytearray | None:
        """Return messages of ``sequences`` and ``lengths`` in a row, their headers zero; None where no message has such a length."""
        n = len(sequences)
        rows = sequences % np.uint64(self.count)
        whole = self.sizes[rows]
        if (lengths > whole).any() or not (self.cut or np.array_equal(lengths, whole)):
            return None
        start = int(rows[0])
        if n <= _AHEAD and bool((sequences[1:] - sequences[:-1] == 1).all()):
            parts = self._framed[2 * start : 2 * (start + n)]
        else:
            parts = [_NO_HEADER] * (2 * n)
            parts[1::2] = map(self.rows.__getitem__, rows.tolist())
        if self.cut:
            parts[1::2] = [row[:length] for row, length in zip(parts[1::2], (lengths - header.SIZE).tolist(), strict=True)]
        return bytearray().join(parts)


def _made(rng: np.random.Generator, sizes: Sequence[int], ratio: float) -> list[bytes | memoryview]:
    """Return a body for each of ``sizes``; nothing of one is in another, but those over 64 KiB are windows of one text."""
    large = max(sizes) - header.SIZE
    text = memoryview(b"")
    if large > _COPIED_B:
        pieces = len(sizes) + -(-large // APART_B)
        text = memoryview(compressible(rng, pieces, APART_B, large, ratio) if ratio else rng.bytes(pieces * APART_B))
    rows: list[bytes | memoryview] = []
    for i, size in enumerate(sizes):
        body_b = size - header.SIZE
        if body_b > _COPIED_B:
            rows.append(text[i * APART_B : i * APART_B + body_b])
        else:
            rows.append(compressible(rng, 1, body_b, body_b, ratio) if ratio else rng.bytes(body_b))
    return rows


class MixedBlock:
    """Messages ``first_id`` ... of several sizes (adapters.base.Block), used as bench.payload.Block is.

    ``table``: sizes by message of the trial, header included, read cyclically; message ``origin`` has the first. The pool must be one
    that is cut (Bodies.distribution "replay") and its largest_b no less than any of them. None: the pool's own sizes.
    """

    def __init__(
        self, pool: MixedPool, router: Router, *, run: int, trial: int, producer: int, epoch: int = 0, flags: int = 0,
        table: NDArray[np.int64] | None = None, origin: int = 0,
    ) -> None:  # fmt: skip
        if pool.cut == (table is None):
            raise ValueError("a table of sizes and a pool that is cut to them belong together")
        self.size = pool.largest_b
        self.sizes: Sequence[int] | None = ()
        self.count = _BLOCK_ROWS
        self.first_id = 0
        self.partitions: Sequence[int] = ()
        self.keys: Sequence[bytes] | None = None
        self._pool = pool
        self._router = router
        self._table = pool.sizes if table is None else table
        self._origin = origin if table is not None else 0
        self._bodies: list[bytes | memoryview] = []
        self._head = np.zeros(self.count, dtype=header.DTYPE)
        self._raw = self._head.view(np.uint8).data
        self._words = self._head.view("<u8").reshape(self.count, 8)
        for name, value in (("magic", header.MAGIC), ("run", run), ("trial", trial), ("producer", producer)):
            self._head[name] = value
        self._head["epoch"] = epoch
        self._head["flags"] = flags
        self._intended, self._sent, self._check = self._head["intended_ns"], self._head["sent_ns"], self._head["check"]
        self._counting = np.arange(self.count, dtype=np.int64)
        self._without = np.zeros(self.count, dtype=np.uint64)  # the check without the two times
        self._partial = np.zeros(self.count, dtype=np.uint64)  # without the send time
        self._structs: dict[int, struct.Struct] = {}

    def fill(self, first_id: int, intended_ns: NDArray[np.int64] | None) -> None:
        """Make this the block that starts at ``first_id``; intended_ns has shape (count,), absolute monotonic times.

        None: there is no schedule, stamp_intended() will set the times.
        """
        self.first_id = first_id
        if intended_ns is None:
            intended_ns = self.intended(0)
        sizes = self._table[(first_id - self._origin + self._counting) % len(self._table)]
        self.sizes = sizes.tolist()
        self._bodies = self._pool.bodies(first_id, sizes)
        self.partitions = self._router.lane_list(first_id, self.count)
        self.keys = self._router.keys(first_id, self.count)
        head = self._head
        head["lane"] = self._router.lanes(first_id, self.count)
        head["sequence"] = self._counting + first_id
        head["intended_ns"] = intended_ns
        head["length"] = sizes
        head["body_check"] = self._pool.checks(first_id, sizes)
        head["sent_ns"] = 0
        self._partial[:] = header.checks(self._words)
        np.subtract(self._partial, intended_ns.view(np.uint64) * header.K_INTENDED, out=self._without)

    def intended(self, now_ns: int) -> NDArray[np.int64]:
        """Return ``now_ns`` for every row: the intended times of messages that follow no schedule."""
        return np.full(self.count, now_ns, dtype=np.int64)

    def stamp(self, lo: int, hi: int, sent_ns: int) -> None:
        """Write the send time of rows lo ... hi - 1 and complete their checks."""
        self._sent[lo:hi] = sent_ns
        np.add(self._partial[lo:hi], header.times(sent_ns, header.K_SENT), out=self._check[lo:hi])

    def stamp_intended(self, lo: int, hi: int, now_ns: int) -> None:
        """Set intended and send time of rows to ``now_ns``: the schedule "max" has no intended time of its own."""
        np.add(self._without[lo:hi], header.times(now_ns, header.K_INTENDED), out=self._partial[lo:hi])
        self._intended[lo:hi] = now_ns
        self.stamp(lo, hi, now_ns)

    def messages(self, lo: int, hi: int) -> Sequence[bytes]:
        """Return rows lo ... hi - 1 as bytes objects."""
        n = hi - lo
        unpack = self._structs.get(n)
        if unpack is None:
            unpack = self._structs[n] = struct.Struct(f"{header.SIZE}s" * n)
        return list(map(operator.add, unpack.unpack_from(self._raw, lo * header.SIZE), self._bodies[lo:hi]))

    def views(self, lo: int, hi: int) -> Sequence[bytes | memoryview]:
        """Return the same: rows of several sizes do not lie in one buffer."""
        return self.messages(lo, hi)

    def raw(self, lo: int, hi: int) -> memoryview:
        """Return rows lo ... hi - 1 one after another."""
        return memoryview(b"".join(self.messages(lo, hi)))


@functools.lru_cache(maxsize=2)
def _pool(seed: int, size_b: int, bodies: Bodies | None) -> Pool | MixedPool:
    if bodies is None or bodies.one_size:
        return Pool(seed, size_b, bodies.ratio if bodies else 0.0)
    return MixedPool(seed, bodies)


def pool_of(workload: Workload) -> Pool | MixedPool:
    """Return the bodies of a workload's messages; the same object again for the next trial of the same ones."""
    return _pool(workload.seed, workload.size_b, workload.bodies)


def block_of(
    workload: Workload, pool: Pool | MixedPool, router: Router, *, run: int, trial: int, producer: int, epoch: int = 0, origin: int = 0
) -> Block | MixedBlock:
    """Return the block that a producer fills and sends in a trial whose first message is ``origin``."""
    if isinstance(pool, MixedPool):
        table = None
        if workload.bodies is not None and workload.bodies.table:  # recorded sizes: shared out as bench.pacing shares out the times
            sizes = np.load(workload.bodies.table, mmap_mode="r", allow_pickle=False)[producer :: workload.producers]
            table = np.maximum(sizes, header.SIZE) if len(sizes) else pool.sizes[:1]
        return MixedBlock(pool, router, run=run, trial=trial, producer=producer, epoch=epoch, table=table, origin=origin)
    return Block(pool, router, workload.size_b, run=run, trial=trial, producer=producer, epoch=epoch)
