"""Order by key, as an application means it: nothing of a customer is processed after what the same customer did later.

The audit judges order where a system promises it: within a partition, within one consumer (bench.audit_order). Whoever sends in turn over
the partitions has no order by key, and neither audit nor verdict says so. Here a group is one: a message is behind where a later one of its
key and producer had been processed before, by whichever member, in a record of an earlier time: messages of one poll are of one time. So
what is sent by key has nothing behind as long as a partition's order holds and members take over cleanly. First deliveries only: a repeat
is counted elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pyroaring import BitMap64

from bench.audit_delivered import in_order
from bench.audit_sent import ConsumerSource, Ident, longs
from bench.journal import CANARY, CORRUPT, Kind, read

KeyOf = Callable[[npt.NDArray[np.uint64]], npt.NDArray[np.int64]]
"""The keys, as numbers from 0, of sequences of one producer: a function of the workload."""
_AT_ONCE = 1 << 16  # messages


@dataclass
class KeyOrder:
    """Of one group: deliveries that came behind a later one of their key, and by how many sequence numbers at most."""

    reordered: int = 0
    reordered_max: int = 0


@dataclass
class _Seen:
    """Of one (producer, epoch): what was processed, the highest sequence of each key; and what waits to be counted, with its times."""

    came: BitMap64 = field(default_factory=BitMap64)
    highest: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    parts: list[npt.NDArray[np.uint64]] = field(default_factory=list)
    times: list[npt.NDArray[np.int64]] = field(default_factory=list)
    size: int = 0  # messages that wait


def by_key(
    consumers: Sequence[ConsumerSource], *, trial: int, groups: Sequence[str], keys: Mapping[int, KeyOf]
) -> Mapping[str, KeyOrder]:  # fmt: skip
    """Judge trial ``trial`` for each of ``groups`` (a ConsumerSource has the index). Raises EvidenceMissing.

    ``keys``: by producer. What comes of another one nobody sent, and the audit tells it (unexpected).
    """
    return {
        name: _of_group([one for one in consumers if one.group == index and not one.worked], trial, keys)
        for index, name in enumerate(groups)
    }


def _of_group(sources: Sequence[ConsumerSource], trial: int, keys: Mapping[int, KeyOf]) -> KeyOrder:
    journals = [read(source.folder, source.name, source.start, source.stop) for source in sources]
    chosen = []
    for records in journals:
        rows = records.rows
        mine = (rows["trial"] == trial) & (rows["kind"] == Kind.PROCESSED) & (rows["flags"] & (CANARY | CORRUPT) == 0)
        chosen.append(np.flatnonzero(mine))
    if not sum(map(len, chosen)):
        return KeyOrder()
    rows, consumer, place = in_order([records.rows[i] for records, i in zip(journals, chosen, strict=True)], chosen)
    times = np.maximum.accumulate(rows["t_last"])  # each member's own order stands whatever its clock says, as in in_order()
    found = KeyOrder()
    waiting: dict[Ident, _Seen] = {}
    columns = (column.tolist() for column in (consumer, place, times, rows["producer"], rows["epoch"]))
    for who, at, t, producer, epoch in zip(*columns, strict=True):
        if producer not in keys:
            continue
        one = waiting.setdefault((producer, epoch), _Seen())
        if one.size >= _AT_ONCE and t > one.times[-1][0]:
            _take(found, one, keys[producer])
        sequences = journals[who].sequences(at)
        one.parts.append(sequences)
        one.size += len(sequences)
        one.times.append(np.full(len(sequences), t, np.int64))
    for (producer, _), one in waiting.items():
        _take(found, one, keys[producer])
    return found


def _take(found: KeyOrder, seen: _Seen, key_of: KeyOf) -> None:
    """Count what is behind in what waits, in its order of arrival."""
    sequences, times = np.concatenate(seen.parts), np.concatenate(seen.times)
    seen.parts, seen.times, seen.size = [], [], 0
    first = np.zeros(len(sequences), bool)
    first[np.unique(sequences, return_index=True)[1]] = True
    distinct = BitMap64(longs(sequences))
    again = distinct & seen.came
    if again:
        first &= ~np.isin(sequences, np.asarray(again.to_array(), np.uint64))
    seen.came |= distinct
    if not first.any():
        return
    keys = key_of(sequences[first]).astype(np.int64)
    order = np.argsort(keys, kind="stable")
    keys, numbers, times = keys[order], sequences[first][order].astype(np.int64), times[first][order]
    if len(seen.highest) <= keys[-1]:
        seen.highest = np.concatenate((seen.highest, np.full(int(keys[-1]) + 1 - len(seen.highest), -1, np.int64)))
    # A running maximum within each key: what belongs to a key is lifted above all that belongs to those before it.
    another = np.concatenate(([True], keys[1:] != keys[:-1]))
    lift = np.cumsum(another) * (int(max(numbers.max(), seen.highest.max())) + 2)
    running = np.concatenate(([-1], np.maximum.accumulate(lift + numbers)))
    # Of what has the same time only what came before that time counts: the maximum before its first.
    begins = another | np.concatenate(([True], times[1:] != times[:-1]))
    before = running[np.maximum.accumulate(np.where(begins, np.arange(len(keys)), 0))] - lift  # below 0: of another key
    below = np.maximum(before, seen.highest[keys]) - numbers
    found.reordered += int(np.count_nonzero(below > 0))
    found.reordered_max = max(found.reordered_max, int(below.max()))
    np.maximum.at(seen.highest, keys, numbers)
