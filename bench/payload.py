"""Payloads: a block of messages in one buffer, headers by column, bodies from a seeded pool that both sides know."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench import header
from bench.content import compressible
from bench.keys import Router

POOL_ROWS = 256  # the body of a message is row (sequence & 255)
APART_B = 16 << 10  # of one body's begin to the next's, at most: a multiple of bench.content.CELL_B
_BLOCK_B = 4 << 20  # largest block, bytes, where one message is not larger
_BLOCK_ROWS = 512
_COPIED_B = 64 << 10  # up to this size the pool's bodies are objects of their own
_RUN_B = 400_000  # runs of messages up to so many bytes are compared as one piece: two chunks of bench.account
_CYCLE_B = 8 << 20  # but no more memory than that is spent on it
HEAD = np.dtype((np.void, header.SIZE))  # a header as one item: gathered and put in place by one copy each
_MASK = 0xFFFFFFFFFFFFFFFF
_FEW = 8  # up to so many rows one by one costs less than vectors
_AT_SENT, _AT_CHECK = 40, 56  # of header.DTYPE
_I64, _U64 = struct.Struct("<q"), struct.Struct("<Q")
_K_SEQUENCE = int(header.K_SEQUENCE)
_K_SENT = int(header.K_SENT)
_K_BOTH_TIMES = int(header.K_INTENDED) + int(header.K_SENT)


class Pool:
    """256 bodies of one size: windows of one seeded text.

    Up to 16 KiB nothing of one is in another, so that a client that compresses its batches finds nothing to save (or, with
    ``ratio``, what bench.content put there). Larger ones overlap, 16 KiB apart: else the pool would be gigabytes.
    """

    def __init__(self, seed: int, size: int, ratio: float = 0.0) -> None:
        self.body_b = size - header.SIZE
        apart = min(self.body_b, APART_B)
        rng = np.random.default_rng((seed, size))
        if ratio:
            pieces = POOL_ROWS if apart == self.body_b else POOL_ROWS + -(-self.body_b // APART_B)
            text = compressible(rng, pieces, apart, self.body_b, ratio)
        else:
            text = rng.bytes(self.body_b + apart * (POOL_ROWS - 1))
        # Views of large ones: 256 copies of 16 MiB would be 4 GiB in each endpoint. Small ones are compared faster as bytes.
        source: bytes | memoryview = memoryview(text) if self.body_b > _COPIED_B else text
        self.bodies = [source[apart * i : apart * i + self.body_b] for i in range(POOL_ROWS)]
        self._checks: dict[int, int] = {}
        flat = np.frombuffer(text, dtype=np.uint8)
        self._windows = np.lib.stride_tricks.as_strided(flat, (POOL_ROWS, self.body_b), (apart, 1), writeable=False)
        # The pool over and over as messages lie, with room for headers: for runs of messages to be compared as one piece.
        self._cycle_rows = POOL_ROWS * (2 + _RUN_B // (POOL_ROWS * size)) if self.body_b else 0
        if self._cycle_rows * size > _CYCLE_B:
            self._cycle_rows = 0
        self._cycle = memoryview(bytearray(self._cycle_rows * size))
        self._frames = np.frombuffer(self._cycle, dtype=np.uint8).reshape(self._cycle_rows, size)
        self._slots = np.ndarray((self._cycle_rows,), HEAD, self._cycle, 0, (size,))
        for at in range(0, self._cycle_rows, POOL_ROWS):
            self._frames[at : at + POOL_ROWS, header.SIZE :] = self._windows

    def check(self, row: int) -> int:
        """Return the CRC-32 of body ``row``; computed when it is first asked for, which only a producer does."""
        if row not in self._checks:
            self._checks[row] = zlib.crc32(self.bodies[row])
        return self._checks[row]

    def run(self, first: int, heads: NDArray[np.void]) -> memoryview | None:
        """Return the messages from sequence ``first`` on that have these headers (HEAD, shape (n,)), joined: as they must be.

        Valid until the next call. None where the pool holds no run of so many.
        """
        start, end = first & (POOL_ROWS - 1), (first & (POOL_ROWS - 1)) + len(heads)
        if end > self._cycle_rows:
            return None
        self._slots[start:end] = heads
        size = header.SIZE + self.body_b
        return self._cycle[start * size : end * size]

    def gathered(self, sequences: NDArray[np.uint64], heads: NDArray[np.void]) -> memoryview:
        """Return the same of any sequences."""
        places = sequences & np.uint64(POOL_ROWS - 1)
        if self._cycle_rows:
            messages = self._frames[places]
        else:
            messages = np.empty((len(places), header.SIZE + self.body_b), dtype=np.uint8)
            messages[:, header.SIZE :] = self._windows[places]
        np.ndarray((len(places),), HEAD, messages.data, 0, (messages.shape[1],))[:] = heads
        return memoryview(messages)


class Block:
    """Messages ``first_id`` ... ``first_id + count - 1`` of one producer in one buffer (adapters.base.Block).

    ``fill`` writes all but the send time, ``stamp`` the send time of some rows: one vector addition to the check.
    """

    def __init__(
        self, pool: Pool, router: Router, size: int, *, run: int, trial: int, producer: int, epoch: int = 0, flags: int = 0
    ) -> None:
        self.size = size
        self.sizes: Sequence[int] | None = None
        self.count = max(1, min(_BLOCK_ROWS, 1 << max(0, (_BLOCK_B // size).bit_length() - 1)))
        self.first_id = 0
        self.partitions: Sequence[int] = ()
        self.keys: Sequence[bytes] | None = None
        self._pool = pool
        self._router = router
        self._buffer = np.zeros(self.count * size, dtype=np.uint8)
        self._raw = self._buffer.data
        self._rows = self._buffer.reshape(self.count, size)
        self._head = np.ndarray((self.count,), dtype=header.DTYPE, buffer=self._buffer.data, strides=(size,))
        self._head["magic"] = header.MAGIC
        self._head["run"] = run
        self._head["trial"] = trial
        self._head["producer"] = producer
        self._head["epoch"] = epoch
        self._head["flags"] = flags
        self._head["length"] = size
        words = np.ndarray((self.count, 8), dtype="<u8", buffer=self._buffer.data, strides=(size, 8))
        constant = (int(words[0, 0]), int(words[0, 1]), flags << 48)
        self._constant = np.uint64(sum(word * int(k) for word, k in zip(constant, header.K[:3], strict=True)) & 0xFFFFFFFFFFFFFFFF)
        self._bodies_stay = self.count % POOL_ROWS == 0
        self._structs: dict[int, struct.Struct] = {}
        self._views: list[memoryview] = []
        self._counting = np.arange(self.count, dtype=np.uint64)
        self._without = np.zeros(self.count, dtype=np.uint64)  # the check without first_id and the two times
        self._partial = np.zeros(self.count, dtype=np.uint64)  # without the send time
        self._partial_view = self._partial.data
        self._intended = self._head["intended_ns"]
        self._sequence = self._head["sequence"]
        self._lane = self._head["lane"]
        self._sent = self._head["sent_ns"]
        self._both_times = np.ndarray((self.count, 2), dtype="<i8", buffer=self._buffer.data, offset=32, strides=(size, 8))
        self._check = self._head["check"]
        self._lanes_at: int | None = None
        if self._bodies_stay:
            self._fill_bodies()

    def _fill_bodies(self) -> None:
        which = [(self.first_id + row) & (POOL_ROWS - 1) for row in range(self.count)]
        for row, i in enumerate(which):
            self._rows[row, header.SIZE :] = np.frombuffer(self._pool.bodies[i], dtype=np.uint8)
        checks = np.array([self._pool.check(i) for i in which], dtype=np.uint64)
        self._head["body_check"] = checks
        # What of the checks does not change from block to block: sequences count from 0 here, and have no lane and no time.
        self._base = (np.uint64(self.size) | (checks << np.uint64(32))) * header.K_LENGTH
        self._base += self._counting * header.K_SEQUENCE
        self._base += self._constant

    def fill(self, first_id: int, intended_ns: NDArray[np.int64] | None) -> None:
        """Make this the block that starts at ``first_id``; intended_ns has shape (count,), absolute monotonic times.

        None: there is no schedule, stamp_intended() will set the times. Where bodies are kept from block to block (count a
        multiple of 256), first_id must be a multiple of 256.
        """
        self.first_id = first_id
        if not self._bodies_stay:
            self._fill_bodies()
        elif first_id % POOL_ROWS:
            raise ValueError(f"a block of {self.count} starts at a multiple of {POOL_ROWS}, not at {first_id}")
        self._fill_lanes(first_id)
        np.add(self._counting, np.uint64(first_id), out=self._sequence)
        if intended_ns is None:
            return
        self._intended[:] = intended_ns
        np.multiply(intended_ns.view(np.uint64), header.K_INTENDED, out=self._partial)
        self._partial += self._without
        self._partial += header.times(first_id, header.K_SEQUENCE)

    def _fill_lanes(self, first_id: int) -> None:
        """Set lanes, keys and what of the checks does not depend on times; nothing to do where the block before had the same."""
        at = self._router.place(first_id)
        if at == self._lanes_at and self._bodies_stay:
            return
        self._lanes_at = at
        lanes = self._router.lanes(first_id, self.count)
        self.partitions = self._router.lane_list(first_id, self.count)
        self.keys = self._router.keys(first_id, self.count)
        self._lane[:] = lanes
        np.multiply(lanes, header.K_LANE, out=self._without)
        self._without += self._base

    def intended(self, now_ns: int) -> NDArray[np.int64]:
        """Return ``now_ns`` for every row: the intended times of messages that follow no schedule."""
        return np.full(self.count, now_ns, dtype=np.int64)

    def stamp(self, lo: int, hi: int, sent_ns: int) -> None:
        """Write the send time of rows lo ... hi - 1 and complete their checks."""
        if hi - lo <= _FEW:
            added = sent_ns * _K_SENT
            for row in range(lo, hi):
                at = row * self.size
                _I64.pack_into(self._raw, at + _AT_SENT, sent_ns)
                _U64.pack_into(self._raw, at + _AT_CHECK, self._partial_view[row] + added & _MASK)
            return
        self._sent[lo:hi] = sent_ns
        np.add(self._partial[lo:hi], header.times(sent_ns, header.K_SENT), out=self._check[lo:hi])

    def stamp_intended(self, lo: int, hi: int, now_ns: int) -> None:
        """Set intended and send time of rows to ``now_ns``: the schedule "max" has no intended time of its own.

        After it stamp() holds for other rows only: what it builds on is made by fill().
        """
        moved = np.uint64((self.first_id * _K_SEQUENCE + now_ns * _K_BOTH_TIMES) & _MASK)
        np.add(self._without[lo:hi], moved, out=self._check[lo:hi])
        self._both_times[lo:hi] = now_ns

    def messages(self, lo: int, hi: int) -> Sequence[bytes]:
        """Return rows lo ... hi - 1 as bytes objects: one C call for all of them."""
        n = hi - lo
        unpack = self._structs.get(n)
        if unpack is None:
            unpack = self._structs[n] = struct.Struct(f"{self.size}s" * n)
        return unpack.unpack_from(self._raw, lo * self.size)

    def views(self, lo: int, hi: int) -> Sequence[bytes | memoryview]:
        """Return rows lo ... hi - 1 as views of the buffer: for clients that copy within the call; valid until the next fill().

        They are made once, so a row costs nothing; a bytes object of 1 KiB costs 0.15 us and a malloc under a lock that the
        client's own thread wants.
        """
        if not self._views:
            rows = self._raw.toreadonly()
            self._views = [rows[at : at + self.size] for at in range(0, len(rows), self.size)]
        return self._views[lo:hi]

    def raw(self, lo: int, hi: int) -> memoryview:
        """Return rows lo ... hi - 1 as they stand in the buffer: valid until the next fill()."""
        return self._raw[lo * self.size : hi * self.size]
