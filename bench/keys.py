"""Which key and which partition a message has: functions of (seed, producer, sequence), known to both sides."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from bench.workload import Workload

PERIOD = 1 << 16  # keys repeat after so many messages: long against any batch, small enough for a cache
BLOCK_MAX = 1 << 10  # ranges up to this length are looked up, longer ones computed

_M = 0x5BD1E995
_U32 = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """MurmurHash2 as Kafka's default partitioner has it (seed 0x9747b28c, 32 bits).

    Used for every system, so that Kafka's own choice of a partition for a key and ours are the same and a lane is one
    Kafka partition. Source: org.apache.kafka.common.utils.Utils.murmur2.
    """
    h = (0x9747B28C ^ len(data)) & _U32
    whole = len(data) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * _M & _U32
        k = (k ^ (k >> 24)) * _M & _U32
        h = (h * _M & _U32) ^ k
    tail = data[whole:]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * _M & _U32
    h = (h ^ (h >> 13)) * _M & _U32
    return h ^ (h >> 15)


def drawn_keys(count: int, zipf: float, seed: int, producer: int) -> NDArray[np.int64]:
    """Return which of ``count`` keys each message of a producer is about, by its place in the cycle; shape (PERIOD,)."""
    weights = np.arange(1, count + 1, dtype=np.float64) ** -zipf
    return np.random.default_rng((seed, producer)).choice(count, size=PERIOD, p=weights / weights.sum())


class Router:
    """Lanes and keys by sequence for one producer.

    ``routing`` "key": customers as keys, drawn once by ``seed`` (uniform for ``zipf`` 0, else P(k) proportional to
    1 / rank^zipf) into a table of PERIOD entries that is read cyclically. "round-robin": sequence modulo partitions.
    """

    def __init__(self, routing: str, partitions: int, *, count: int = 1, zipf: float = 0.0, seed: int = 0, producer: int = 0) -> None:
        self.partitions = partitions
        self.keyed = routing == "key"
        if not self.keyed:
            # A block of any sequence is a slice of this: two slices a block, where arithmetic took eight calls of numpy.
            self._turn = np.arange(partitions + BLOCK_MAX, dtype=np.int64).__mod__(partitions).astype(np.uint32)
            self._turn_list: list[int] = self._turn.tolist()
            return
        names = [b"customer-%06d" % i for i in range(count)]
        lane_of_key = np.array([(murmur2(name) & 0x7FFFFFFF) % partitions for name in names], dtype=np.uint32)
        drawn = drawn_keys(count, zipf, seed, producer)
        self._lanes: NDArray[np.uint32] = lane_of_key[drawn]
        self._lane_list: list[int] = self._lanes.tolist()
        self._keys = [names[i] for i in drawn]

    def place(self, first: int) -> int:
        """Return where in the cycle of lanes and keys ``first`` stands: what starts at one place has the same lanes and keys."""
        return first & (PERIOD - 1) if self.keyed else first % self.partitions

    def lanes(self, first: int, count: int) -> NDArray[np.uint32]:
        """Return the lane (partition) of each sequence first ... first + count - 1; shape (count,). Not to be written to."""
        if not self.keyed and count <= BLOCK_MAX:
            at = first % self.partitions
            return self._turn[at : at + count]
        if self.keyed and (at := first & (PERIOD - 1)) + count <= PERIOD:
            return self._lanes[at : at + count]
        return self.lanes_of(np.arange(first, first + count, dtype=np.int64))

    def lane_list(self, first: int, count: int) -> list[int]:
        """Return the same as lanes(), as a list of plain integers."""
        if not self.keyed and count <= BLOCK_MAX:
            at = first % self.partitions
            return self._turn_list[at : at + count]
        if self.keyed and (at := first & (PERIOD - 1)) + count <= PERIOD:
            return self._lane_list[at : at + count]
        lanes: list[int] = self.lanes(first, count).tolist()
        return lanes

    def lanes_of(self, sequences: NDArray[np.int64]) -> NDArray[np.uint32]:
        """Return the lane of each of ``sequences``; the same shape."""
        if not self.keyed:
            return (sequences % self.partitions).astype(np.uint32)
        lanes: NDArray[np.uint32] = self._lanes[sequences & (PERIOD - 1)]
        return lanes

    def keys(self, first: int, count: int) -> Sequence[bytes] | None:
        """Return the keys of a range of sequences; None when routing is round-robin."""
        if not self.keyed:
            return None
        lo = first & (PERIOD - 1)
        if lo + count <= PERIOD:
            return self._keys[lo : lo + count]
        return [self._keys[(first + i) & (PERIOD - 1)] for i in range(count)]


class RecordedRouter(Router):
    """Lanes and keys as they were recorded: message ``origin`` + i has key names[index[i]]; after the last from the first again.

    ``lane_of_key``: shape (names,), by murmur2 as any key's; ``index``: shape (messages of this producer,).
    """

    def __init__(self, names: Sequence[bytes], lane_of_key: NDArray[np.uint32], index: NDArray[np.int64], *, origin: int) -> None:
        self.keyed = True
        self._names = names
        self._index = index
        self._by_message = lane_of_key[index]
        self._origin = origin

    def place(self, first: int) -> int:
        """Return which of the recorded messages ``first`` is."""
        return (first - self._origin) % len(self._index)

    def _rows(self, first: int, count: int) -> NDArray[np.int64]:
        return np.arange(first - self._origin, first - self._origin + count) % len(self._index)

    def lanes(self, first: int, count: int) -> NDArray[np.uint32]:
        """Return the lane of each sequence first ... first + count - 1; shape (count,)."""
        lanes: NDArray[np.uint32] = self._by_message[self._rows(first, count)]
        return lanes

    def lane_list(self, first: int, count: int) -> list[int]:
        """Return the same as a list of plain integers."""
        lanes: list[int] = self.lanes(first, count).tolist()
        return lanes

    def lanes_of(self, sequences: NDArray[np.int64]) -> NDArray[np.uint32]:
        """Return the lane of each of ``sequences``; the same shape."""
        lanes: NDArray[np.uint32] = self._by_message[(sequences - self._origin) % len(self._index)]
        return lanes

    def keys(self, first: int, count: int) -> Sequence[bytes]:
        """Return the keys of a range of sequences."""
        return [self._names[i] for i in self._index[self._rows(first, count)].tolist()]


@functools.lru_cache(maxsize=4)
def _recorded(path: str, partitions: int) -> tuple[list[bytes], NDArray[np.uint32], NDArray[np.int64]]:
    """Return distinct keys, their lanes, and the key of each message of all producers; a run's file stays as it is."""
    with np.load(path, allow_pickle=False) as table:
        names: list[bytes] = table["names"].tolist()
        index: NDArray[np.int64] = table["index"]
    return names, np.array([(murmur2(name) & 0x7FFFFFFF) % partitions for name in names], dtype=np.uint32), index


def router_of(load: Workload, producer: int, origin: int) -> Router:
    """Return the lanes and keys of one producer in a trial whose first message is ``origin``.

    Recorded ones are shared out among producers as the times are.
    """
    if load.key_table and load.routing == "key":
        names, lane_of_key, index = _recorded(load.key_table, load.partitions)
        mine = index[producer :: load.producers]
        return RecordedRouter(names, lane_of_key, mine if len(mine) else index[:1], origin=origin)
    return Router(load.routing, load.partitions, count=load.key_count, zipf=load.key_zipf, seed=load.seed, producer=producer)


def keys_of(load: Workload, producer: int, origin: int) -> Callable[[NDArray[np.uint64]], NDArray[np.int64]]:
    """Return what tells the key of a producer's sequences, as a number from 0, in a trial whose first message is ``origin``.

    Of a load that is sent in turn over the partitions too: what its messages are about is the same as if they were sent by key.
    """
    if load.key_table:
        index = _recorded(load.key_table, load.partitions)[2][producer :: load.producers]
        return lambda sequences: index[(sequences.astype(np.int64) - origin) % len(index)]
    drawn = drawn_keys(load.key_count, load.key_zipf, load.seed, producer)
    return lambda sequences: drawn[sequences.astype(np.int64) & (PERIOD - 1)]
